//! How a collection lies in the database.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use crm_core::store::{
    Collection, Field, FieldKind, Index, Placement,
    plan::{Form, IndexColumn, index_columns},
};

use crate::{growth::Growth, row::Shadow, statement::identifier};

/// The name under which a statement knows the rows of its collection.
pub(crate) const ALIAS: &str = "t";

/// How many characters of a text an index keeps: PostgreSQL refuses an entry of more than 2,704 bytes. A text of fewer
/// characters is whole in its index, so its order there is right; see `plan` for longer ones.
pub(crate) const INDEXED_CHARACTERS: usize = 128;

/// The longest element of a list that an element table keeps; a longer one is looked for in the lists.
pub(crate) const ELEMENT_CHARACTERS: usize = 400;

/// How many bytes of a name PostgreSQL keeps.
const NAME: usize = 63;

/// A collection with the SQL names that follow from its declaration.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) collection: &'static Collection,
    /// The table, quoted.
    pub(crate) table: String,
    /// The fields in their order, as a statement selects them.
    pub(crate) selected: String,
    /// The fields in their order and the shadows, quoted, as a statement inserts them.
    pub(crate) inserted: String,
    /// The shadows: whose they are and what they hold.
    pub(crate) shadows: Vec<(usize, Shadow)>,
    /// The tables that index the elements of lists.
    pub(crate) elements: Vec<ElementTable>,
    /// For each field, whether an index has its folded form.
    folded_in_index: Vec<bool>,
    /// How the table grows.
    pub(crate) growth: Growth,
}

/// A table with a row for each element of a list: what an index that a list leads becomes.
#[derive(Debug)]
pub(crate) struct ElementTable {
    /// The name, not quoted.
    pub(crate) name: String,
    /// The list.
    pub(crate) list: &'static str,
    /// The columns after the organization and the element, the id last.
    pub(crate) columns: Vec<IndexColumn>,
}

impl Layout {
    pub(crate) fn new(collection: &'static Collection) -> Self {
        let shadows: Vec<(usize, Shadow)> = collection
            .fields
            .iter()
            .enumerate()
            .flat_map(|(position, field)| shadows(collection, field).iter().map(move |shadow| (position, *shadow)))
            .collect();
        let selected: Vec<String> =
            collection.fields.iter().map(|field| format!("{ALIAS}.{}", identifier(field.name))).collect();
        let mut inserted: Vec<String> = collection.fields.iter().map(|field| identifier(field.name)).collect();
        inserted
            .extend(shadows.iter().map(|(position, shadow)| identifier(&shadow.name(&collection.fields[*position]))));
        let folded_in_index = collection
            .fields
            .iter()
            .map(|field| {
                let named = |index: &Index| index.fields.iter().any(|part| part.name == field.name);
                field.kind == FieldKind::Text && collection.keeps_folded(field) && collection.indexes.iter().any(named)
            })
            .collect();
        let mut elements: Vec<ElementTable> = Vec::new();
        for index in collection.indexes {
            elements.extend(ElementTable::of(collection, index));
        }
        Self {
            collection,
            table: identifier(collection.name),
            selected: selected.join(","),
            inserted: inserted.join(","),
            shadows,
            elements,
            folded_in_index,
            growth: Growth::default(),
        }
    }

    /// Whether the organization leads every key and index.
    pub(crate) const fn is_tenant(&self) -> bool {
        matches!(self.collection.placement, Placement::Tenant)
    }

    /// Whether an equality should name the folded form too, so that an index is of use to it.
    pub(crate) fn is_folded_in_index(&self, name: &str) -> bool {
        self.collection.position(name).is_some_and(|position| self.folded_in_index[position])
    }

    /// The table in which the elements of the list lead.
    pub(crate) fn element_table(&self, list: &str) -> Option<&ElementTable> {
        self.elements.iter().find(|table| table.list == list)
    }

    /// Whether anything is searched.
    pub(crate) const fn is_searched(&self) -> bool {
        !self.collection.search.is_empty()
    }

    /// The expression whose value are the trigrams of all searched fields. `prefix` is the table's name and a dot, or
    /// nothing.
    pub(crate) fn trigrams(&self, prefix: &str) -> String {
        let columns: Vec<String> = self
            .shadows
            .iter()
            .filter(|(_, shadow)| *shadow == Shadow::Trigrams)
            .map(|(position, shadow)| {
                format!("{prefix}{}", identifier(&shadow.name(&self.collection.fields[*position])))
            })
            .collect();
        format!("({})", columns.join(" || "))
    }

    /// The name of a declared index, not quoted.
    pub(crate) fn index_name(&self, index: &Index) -> String {
        short_name(&format!("{}_{}", self.collection.name, index.name))
    }
}

impl ElementTable {
    fn of(collection: &'static Collection, index: &Index) -> Option<Self> {
        let columns = index_columns(collection, index)?;
        let leader = index.fields.first()?;
        let place = columns
            .iter()
            .position(|column| column.field.name == leader.name && column.field.kind == FieldKind::TextList)?;
        let mut columns = columns[place + 1..].to_vec();
        // Only what every record has: the plans of pages count on that.
        if columns.iter().any(|column| column.field.optional || column.field.kind == FieldKind::TextList) {
            columns.retain(|column| column.field.name == "id");
        }
        let name = short_name(&format!("{}_{}", collection.name, index.name));
        Some(Self { name, list: collection.field(leader.name)?.name, columns })
    }
}

/// The name of a column's form, not quoted.
pub(crate) fn column_name(field: &Field, form: Form) -> String {
    match form {
        Form::Value => field.name.to_owned(),
        Form::Folded => Shadow::Text.name(field),
    }
}

/// What is kept beside the field.
fn shadows(collection: &'static Collection, field: &Field) -> &'static [Shadow] {
    let searched = collection.search.contains(&field.name);
    match field.kind {
        FieldKind::Text if searched => &[Shadow::Text, Shadow::Trigrams],
        FieldKind::Text if field.folded => &[Shadow::Text],
        FieldKind::TextList if searched => &[Shadow::Elements, Shadow::Trigrams],
        FieldKind::Json if field.custom => &[Shadow::Members],
        _ => &[],
    }
}

/// A name that PostgreSQL keeps whole: the end of a long one becomes a digest of it.
pub(crate) fn short_name(name: &str) -> String {
    if name.len() <= NAME {
        return name.to_owned();
    }
    let mut end = NAME - 9;
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}_{:08x}", &name[..end], digest([name.as_bytes()]))
}

/// A stable digest of 32 bits (FNV-1a, mixed): it is stored, so it must never change.
pub(crate) fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u32 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in parts.into_iter().flatten() {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    u32::try_from(hash >> 32).unwrap_or(0)
}

/// The layouts that were asked for, made once each.
#[derive(Debug, Default)]
pub(crate) struct Layouts(RwLock<HashMap<&'static str, Arc<Layout>>>);

impl Layouts {
    pub(crate) fn of(&self, collection: &'static Collection) -> Arc<Layout> {
        // A layout is whole before it is put in, so a poisoned lock still guards sound ones.
        if let Some(layout) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(collection.name) {
            return Arc::clone(layout);
        }
        let layout = Arc::new(Layout::new(collection));
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(collection.name, Arc::clone(&layout));
        layout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_keep_apart() {
        let long = "x".repeat(70);
        assert_eq!(short_name("customers_by_name"), "customers_by_name");
        assert_eq!(short_name(&long).len(), NAME);
        assert_ne!(short_name(&long), short_name(&format!("{long}y")));
        assert!(short_name(&"é".repeat(40)).len() <= NAME);
    }

    #[test]
    fn the_digest_stays_what_it_is() {
        assert_eq!(digest([b"abc".as_slice()]), digest([b"a".as_slice(), b"bc"]));
        assert_eq!(digest([b"abc".as_slice()]), 4_045_450_976);
    }
}
