//! The meaning of filters, orders and aggregates: the reference that every store must equal.

use std::borrow::Cow;

use super::{Collection, FieldRef, Filter, Row, Value};

/// Whether a row of the collection matches.
#[must_use]
pub fn matches(_collection: &'static Collection, _filter: &Filter, _row: &Row) -> bool {
    true
}

/// The value that a field reference names in a row.
#[must_use]
pub fn field_value<'a>(_collection: &'static Collection, _field: &FieldRef, _row: &'a Row) -> Cow<'a, Value> {
    Cow::Owned(Value::Null)
}
