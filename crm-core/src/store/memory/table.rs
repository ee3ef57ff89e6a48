//! The rows of one collection with their unique keys.

use std::collections::{BTreeMap, btree_map::Entry};

use uuid::Uuid;

use crate::store::{Collection, Placement, Row, StoreError, StoreResult, UniqueKey, evaluate::Ordered};

/// Organization (nil for the installation's collections) and id.
pub(super) type Key = (Uuid, Uuid);

/// The values of a unique key, led by the organization where the collection is the tenants'.
type Taken = (&'static str, Uuid, Vec<Ordered>);

#[derive(Debug, Default)]
pub(super) struct Table {
    rows: BTreeMap<Key, Row>,
    taken: BTreeMap<Taken, Key>,
}

impl Table {
    pub(super) fn rows(&self) -> impl Iterator<Item = (&Key, &Row)> {
        self.rows.iter()
    }

    pub(super) fn row(&self, key: Key) -> Option<&Row> {
        self.rows.get(&key)
    }

    /// Puts the row (or nothing) in place of what is there, which it answers. Where a unique key is another row's,
    /// nothing is changed.
    pub(super) fn replace(
        &mut self,
        collection: &'static Collection,
        key: Key,
        row: Option<Row>,
    ) -> StoreResult<Option<Row>> {
        let wanted: Vec<(&UniqueKey, Taken)> = row.iter().flat_map(|row| unique_values(collection, key, row)).collect();
        for (unique, values) in &wanted {
            if self.taken.get(values).is_some_and(|holder| *holder != key) {
                return Err(duplicate(collection, unique.name, unique.fields));
            }
        }
        let before = match row {
            Some(row) => self.rows.insert(key, row),
            None => self.rows.remove(&key),
        };
        for (_, values) in before.iter().flat_map(|row| unique_values(collection, key, row)) {
            if let Entry::Occupied(holder) = self.taken.entry(values) {
                holder.remove();
            }
        }
        self.taken.extend(wanted.into_iter().map(|(_, values)| (values, key)));
        Ok(before)
    }
}

/// The unique keys that the row takes: those of which no value is missing.
fn unique_values(
    collection: &'static Collection,
    key: Key,
    row: &Row,
) -> impl Iterator<Item = (&'static UniqueKey, Taken)> {
    let leading = match collection.placement {
        Placement::Tenant => key.0,
        Placement::Installation => Uuid::nil(),
    };
    collection.unique.iter().filter_map(move |unique| {
        let values = unique.fields.iter().map(|name| {
            let value = row.0.get(collection.position(name)?)?;
            (!value.is_null()).then(|| Ordered(value.clone()))
        });
        Some((unique, (unique.name, leading, values.collect::<Option<Vec<_>>>()?)))
    })
}

pub(super) fn duplicate(collection: &'static Collection, key: &str, fields: &[&str]) -> StoreError {
    StoreError::Duplicate {
        collection: collection.name,
        key: key.to_owned(),
        fields: fields.iter().map(|field| (*field).to_owned()).collect(),
    }
}
