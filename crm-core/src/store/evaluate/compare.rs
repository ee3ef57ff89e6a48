//! How two values compare.

use std::cmp::Ordering;

use crate::store::Value;

/// How two values of one kind compare: texts by code point, ids by their bytes, false before true. Nothing where one
/// is missing or the kinds differ.
#[must_use]
pub fn compare_values(left: &Value, right: &Value) -> Option<Ordering> {
    Some(match (left, right) {
        (Value::Bool(left), Value::Bool(right)) => left.cmp(right),
        (Value::Integer(left), Value::Integer(right)) => left.cmp(right),
        (Value::Number(left), Value::Number(right)) => return left.partial_cmp(right),
        (Value::Money(left), Value::Money(right)) => left.cmp(right),
        // UTF-8 keeps the order of code points.
        (Value::Text(left), Value::Text(right)) => left.as_bytes().cmp(right.as_bytes()),
        (Value::Timestamp(left), Value::Timestamp(right)) => left.cmp(right),
        (Value::Date(left), Value::Date(right)) => left.cmp(right),
        (Value::Id(left), Value::Id(right)) => left.cmp(right),
        (Value::TextList(left), Value::TextList(right)) => left.cmp(right),
        (Value::Json(left), Value::Json(right)) => left.as_str().cmp(right.as_str()),
        _ => return None,
    })
}

/// A total order: missing before everything, then [`compare_values`].
#[must_use]
pub fn order_values(left: &Value, right: &Value) -> Ordering {
    compare_values(left, right).unwrap_or_else(|| rank(left).cmp(&rank(right)))
}

const fn rank(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Integer(_) => 2,
        Value::Number(_) => 3,
        Value::Money(_) => 4,
        Value::Text(_) => 5,
        Value::Timestamp(_) => 6,
        Value::Date(_) => 7,
        Value::Id(_) => 8,
        Value::TextList(_) => 9,
        Value::Json(_) => 10,
    }
}

/// A value in the order of [`order_values`], to be a key of a map.
#[derive(Clone, Debug)]
pub struct Ordered(pub Value);

impl PartialEq for Ordered {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ordered {}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> Ordering {
        order_values(&self.0, &other.0)
    }
}
