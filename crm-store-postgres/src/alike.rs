//! Changes of single records that differ in nothing but the record and the values: one `UPDATE` for all of them.

use crm_core::store::{Assignment, Change, Collection, Field, FieldKind, Filter, StoreResult, Value, WhenUnmet};
use uuid::Uuid;

use crate::{
    compile::Rows,
    layout::{Layout, Layouts},
    row::Shadow,
    statement::{Statement, identifier},
    write::{from_text, to_text},
};

/// Changes that one `UPDATE` makes, in the order of their records' ids.
pub(crate) struct Alike<'a> {
    collection: &'static Collection,
    /// The fields that each sets.
    positions: Vec<usize>,
    condition: Option<&'a (Filter, WhenUnmet)>,
    is_versioned: bool,
    records: Vec<Record<'a>>,
}

/// One of the changes.
struct Record<'a> {
    /// Its place in the commit.
    place: usize,
    id: Uuid,
    expected_version: Option<i64>,
    values: Vec<&'a Value>,
}

impl<'a> Alike<'a> {
    /// The change by itself, where others may be made with it: one that sets fields and adds to none.
    fn of(place: usize, change: &'a Change) -> Option<Self> {
        let Change::Update { collection, id, expected_version, condition, assignments } = change else { return None };
        let set = |assignment: &'a Assignment| match assignment {
            Assignment::Set(position, value) if collection.fields.get(*position).is_some() => Some((*position, value)),
            Assignment::Set(..) | Assignment::Increment(..) => None,
        };
        let (positions, values) = assignments.iter().map(set).collect::<Option<(Vec<usize>, Vec<&Value>)>>()?;
        let record = Record { place, id: *id, expected_version: *expected_version, values };
        let is_versioned = expected_version.is_some();
        Some(Self { collection, positions, condition: condition.as_ref(), is_versioned, records: vec![record] })
    }

    /// Takes another's records too, or gives it back where it differs in more than these.
    fn join(&mut self, other: Self) -> Result<(), Self> {
        let is_alike = self.collection.name == other.collection.name
            && self.is_versioned == other.is_versioned
            && self.positions == other.positions
            && self.condition == other.condition;
        if !is_alike {
            return Err(other);
        }
        self.records.extend(other.records);
        Ok(())
    }

    pub(crate) const fn collection(&self) -> &'static Collection {
        self.collection
    }

    /// The places of the changes in the commit, in the order in which they are answered.
    pub(crate) fn places(&self) -> Vec<usize> {
        self.records.iter().map(|record| record.place).collect()
    }

    /// The first of the records.
    pub(crate) fn first_id(&self) -> Option<Uuid> {
        self.records.first().map(|record| record.id)
    }

    /// Writes the change of all of them; it answers each record's place here, from 1, and its new version.
    pub(crate) fn push(
        &self,
        statement: &mut Statement,
        layouts: &Layouts,
        layout: &Layout,
        organization: Option<Uuid>,
    ) -> StoreResult<()> {
        let owner = organization.filter(|_| layout.is_tenant());
        statement.push("UPDATE ").push(&layout.table).push(" AS t SET ");
        let mut columns: Vec<(usize, &Field)> = Vec::with_capacity(self.positions.len());
        let mut shadows: Vec<(usize, Shadow)> = Vec::new();
        for (column, position) in self.positions.iter().enumerate() {
            let Some(field) = self.collection.fields.get(*position) else { continue };
            columns.push((column, field));
            // There are no arrays of arrays of different lengths, so lists travel as literals.
            let cast = if field.kind == FieldKind::TextList { "::text[]" } else { "" };
            statement.push(&format!("{} = r.c{column}{cast},", identifier(field.name)));
            for (_, shadow) in layout.shadows.iter().filter(|(shadowed, _)| shadowed == position) {
                let value = from_text(*shadow, &format!("r.s{}", shadows.len()));
                statement.push(&format!("{} = {value},", identifier(&shadow.name(field))));
                shadows.push((column, *shadow));
            }
        }
        statement.push("\"version\" = t.\"version\" + 1 FROM unnest(");
        let ids: Vec<Value> = self.records.iter().map(|record| Value::Id(record.id)).collect();
        statement.bind_array(FieldKind::Id, ids.iter());
        let mut names = String::from("id");
        if self.is_versioned {
            let versions: Vec<Value> =
                self.records.iter().map(|record| record.expected_version.map_or(Value::Null, Value::Integer)).collect();
            statement.push(",").bind_array(FieldKind::Integer, versions.iter());
            names.push_str(",version");
        }
        for (column, field) in &columns {
            let values = self.records.iter().filter_map(|record| record.values.get(*column).copied());
            statement.push(",").bind_array(field.kind, values);
            names.push_str(&format!(",c{column}"));
        }
        for (place, (column, shadow)) in shadows.iter().enumerate() {
            let casts = self.records.iter().map(|record| {
                let value = record.values.get(*column)?;
                shadow.of(owner, value).map(to_text)
            });
            statement.push(",").bind_texts(casts.collect());
            names.push_str(&format!(",s{place}"));
        }
        statement.push(&format!(") WITH ORDINALITY AS r({names},place) WHERE "));
        if let Some(organization) = organization {
            statement.push("t.\"organization_id\" = ").bind_id(organization).push(" AND ");
        }
        statement.push("t.\"id\" = r.id");
        if self.is_versioned {
            statement.push(" AND t.\"version\" = r.version");
        }
        if let Some((filter, _)) = self.condition {
            statement.push(" AND ");
            let rows = Rows::new(layouts, layout, organization, filter).of_written();
            rows.push_condition(statement, filter, false)?;
        }
        statement.push(" RETURNING r.place,t.\"version\"");
        Ok(())
    }
}

/// The changes of a commit that others are alike, and the places of the rest; nothing where these would be more than
/// `most` in all.
pub(crate) fn alike(changes: &[Change], most: usize) -> Option<(Vec<Alike<'_>>, Vec<usize>)> {
    let mut groups: Vec<Alike<'_>> = Vec::new();
    let mut rest = Vec::new();
    for (place, change) in changes.iter().enumerate() {
        let mut left = Alike::of(place, change);
        if left.is_none() {
            rest.push(place);
        }
        // What a commit changes is mostly alike what it changed last.
        for group in groups.iter_mut().rev() {
            left = left.and_then(|one| group.join(one).err());
        }
        groups.extend(left);
        if groups.len() + rest.len() > most {
            return None;
        }
    }
    let (mut groups, single): (Vec<_>, Vec<_>) = groups.into_iter().partition(|group| group.records.len() > 1);
    rest.extend(single.iter().flat_map(|one: &Alike<'_>| one.places()));
    for group in &mut groups {
        group.records.sort_by_key(|record| record.id);
    }
    Some((groups, rest))
}
