//! The columns that orders and indexes run by.

use crate::store::{Collection, Field, FieldKind, FieldRef, Index, Placement, Position, Query, Value, fold::fold};

/// Which form of a field's value is meant.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Form {
    /// The value itself.
    Value,
    /// The folded form that is kept beside a text.
    Folded,
}

/// What rows are compared by: a field, or its folded form.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Column {
    /// The field, declared or custom.
    pub field: FieldRef,
    /// Which form of it.
    pub form: Form,
}

/// One key of an order.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Key {
    /// Compared one after the other, at least one: for a text its folded form, then itself. They are missing together.
    pub columns: Vec<Column>,
    /// Whether the key runs downward.
    pub descending: bool,
    /// Whether its value can be missing.
    pub optional: bool,
}

/// A column of a declared index.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct IndexColumn {
    /// The field.
    pub field: &'static Field,
    /// Which form of it.
    pub form: Form,
    /// Whether it runs downward.
    pub descending: bool,
}

impl Column {
    /// The value of a field.
    #[must_use]
    pub const fn value(field: FieldRef) -> Self {
        Self { field, form: Form::Value }
    }

    /// The folded form of a text.
    #[must_use]
    pub const fn folded(field: FieldRef) -> Self {
        Self { field, form: Form::Folded }
    }

    fn is_id(&self) -> bool {
        self.field.key.is_none() && self.field.name == "id"
    }
}

/// The columns by which an order over the field runs: for a text whose folded form is kept, that form comes first.
#[must_use]
pub fn sort_columns(collection: &'static Collection, field: &FieldRef) -> Vec<Column> {
    let is_folded = field.kind == FieldKind::Text
        && (field.key.is_some() || collection.field(&field.name).is_some_and(|field| collection.keeps_folded(field)));
    let value = Column::value(field.clone());
    if is_folded { vec![Column::folded(field.clone()), value] } else { vec![value] }
}

/// The columns of an index: the organization where it leads, the fields (a text whose folded form is kept by that form
/// and then by itself), and the id, in the direction of the column before. Nothing for an index that names a field
/// which is not declared, and for one without fields, which orders nothing.
#[must_use]
pub fn index_columns(collection: &'static Collection, index: &Index) -> Option<Vec<IndexColumn>> {
    if index.fields.is_empty() {
        return None;
    }
    let mut columns = Vec::new();
    let mut push = |name: &str, descending: bool| {
        let field = collection.field(name)?;
        if field.kind == FieldKind::Text && collection.keeps_folded(field) {
            columns.push(IndexColumn { field, form: Form::Folded, descending });
        }
        columns.push(IndexColumn { field, form: Form::Value, descending });
        Some(())
    };
    if collection.placement == Placement::Tenant {
        push("organization_id", false)?;
    }
    for part in index.fields {
        push(part.name, part.descending)?;
    }
    let last = index.fields.last();
    if last.is_none_or(|last| last.name != "id") {
        push("id", last.is_some_and(|last| last.descending))?;
    }
    Some(columns)
}

/// The keys of a query's order, the id last: nothing after an id orders anything.
pub(super) fn keys(collection: &'static Collection, query: &Query) -> Vec<Key> {
    let mut keys: Vec<Key> = Vec::with_capacity(query.sort.len() + 1);
    for sort in &query.sort {
        let declared = collection.field(&sort.field.name);
        keys.push(Key {
            columns: sort_columns(collection, &sort.field),
            descending: sort.descending,
            optional: sort.field.key.is_some() || declared.is_some_and(|field| field.optional),
        });
        if keys.last().is_some_and(|key| key.columns[0].is_id()) {
            return keys;
        }
    }
    let id = Column::value(FieldRef::declared("id", FieldKind::Id));
    keys.push(Key { columns: vec![id], descending: query.id_descending(), optional: false });
    keys
}

/// The values of a position for the columns of each key; nothing for a missing one.
pub(super) fn values(keys: &[Key], position: &Position) -> Vec<Option<Vec<Value>>> {
    let id = Value::Id(position.id);
    keys.iter()
        .zip(position.keys.iter().chain([&id]))
        .map(|(key, value)| {
            let of_column = |column: &Column| match (column.form, value) {
                (Form::Folded, Value::Text(text)) => Value::Text(fold(text)),
                _ => value.clone(),
            };
            (!value.is_null()).then(|| key.columns.iter().map(of_column).collect())
        })
        .collect()
}
