//! The meaning of filters, orders, aggregates and assignments: the reference that every store must equal.
//!
//! Nothing here is fast for many rows; everything here is plain. An engine answers in its own way and the
//! conformance suite (feature `conformance`) compares its answers with these functions. What an engine may share
//! with the others instead of writing again are the checks ([`check_query`] and its kin): they refuse what does
//! not fit the declaration, in the same words everywhere.

mod aggregate;
mod assign;
mod check;
mod compare;
#[cfg(test)]
pub(super) mod example;
mod filter;
mod member;
mod order;

use std::borrow::Cow;

pub use self::{
    aggregate::aggregate,
    assign::apply,
    check::{
        check_aggregation, check_assignments, check_change, check_claim, check_collection, check_custom_index,
        check_filter, check_query, check_row, visible_organization,
    },
    compare::{Ordered, compare_values, order_values},
    filter::{NoRelated, RelatedRows, matches_with},
    order::{Order, Place, compare_rows, compare_to_position, position},
};
use super::{Collection, FieldKind, FieldRef, Filter, Row, Value};

/// Whether a row of the collection matches, where the filter looks at nothing but the row itself: related records
/// count as none. Allocates nothing for comparisons of declared fields.
///
/// A filter that does not fit the declaration ([`check_filter`]) matches as if the field were missing.
#[must_use]
pub fn matches(collection: &'static Collection, filter: &Filter, row: &Row) -> bool {
    matches_with(collection, filter, row, &NoRelated)
}

/// The value that a field reference names in a row; missing where it names none.
#[must_use]
pub fn field_value<'a>(collection: &'static Collection, field: &FieldRef, row: &'a Row) -> Cow<'a, Value> {
    let stored = collection.position(&field.name).and_then(|position| row.0.get(position)).unwrap_or(&MISSING);
    match (&field.key, stored) {
        (None, _) => Cow::Borrowed(stored),
        (Some(key), Value::Json(json)) => {
            Cow::Owned(member::read(member::find(&member::members(json.as_str()), key), field.kind))
        }
        (Some(_), _) => Cow::Borrowed(&MISSING),
    }
}

/// What the JSON of one custom field is when read as the kind, as [`FieldRef::kind`] tells: missing where it is of
/// another type. A store that keeps custom fields in types of its own need not tell them apart again.
#[must_use]
pub fn read_custom(json: &str, kind: FieldKind) -> Value {
    member::read_text(json, kind)
}

pub(crate) static MISSING: Value = Value::Null;
