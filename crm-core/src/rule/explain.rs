use serde::{Serialize, Serializer, ser::SerializeMap as _};

use super::{
    canonical::Plain,
    tree::{Node, seen},
};
use crate::{
    store::{Collection, RelatedFilter, Row, Value, evaluate},
    time::Timestamp,
};

/// Why a rule holds or does not hold on a record: its tree, with the result of each part.
///
/// As JSON it is the rule with `result` in each object, and `seen` (the record's value) in each condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// Whether this part holds.
    pub result: bool,
    /// The part.
    pub part: Explained,
}

/// A part of a rule with its parts.
#[derive(Clone, Debug, PartialEq)]
pub enum Explained {
    /// `and`.
    And(Vec<Explanation>),
    /// `or`.
    Or(Vec<Explanation>),
    /// `not`.
    Not(Box<Explanation>),
    /// One condition.
    Condition {
        /// The field.
        field: String,
        /// The operator.
        operator: &'static str,
        /// The operand as the rule has it.
        value: serde_json::Value,
        /// The value that the record has; null where it is missing.
        seen: Value,
    },
    /// A measure over related records.
    Related {
        /// Which, such as `orders`.
        name: &'static str,
        /// The measure as the rule has it.
        condition: serde_json::Value,
        /// What was measured.
        seen: Value,
    },
}

impl Serialize for Explanation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match &self.part {
            Explained::And(parts) => map.serialize_entry("and", parts)?,
            Explained::Or(parts) => map.serialize_entry("or", parts)?,
            Explained::Not(part) => map.serialize_entry("not", part)?,
            Explained::Related { name, condition, seen } => {
                map.serialize_entry(name, condition)?;
                map.serialize_entry("seen", &Plain(seen))?;
            }
            Explained::Condition { field, operator, value, seen } => {
                map.serialize_entry("field", field)?;
                map.serialize_entry("op", operator)?;
                map.serialize_entry("value", value)?;
                map.serialize_entry("seen", &Plain(seen))?;
            }
        }
        map.serialize_entry("result", &self.result)?;
        map.end()
    }
}

pub(crate) fn explain(
    collection: &'static Collection,
    node: &Node,
    as_of: Timestamp,
    row: &Row,
    related: &dyn Fn(&RelatedFilter) -> Value,
) -> Explanation {
    let inner = |node: &Node| explain(collection, node, as_of, row, related);
    match node {
        Node::And(nodes) => {
            let parts: Vec<Explanation> = nodes.iter().map(inner).collect();
            Explanation { result: parts.iter().all(|part| part.result), part: Explained::And(parts) }
        }
        Node::Or(nodes) => {
            let parts: Vec<Explanation> = nodes.iter().map(inner).collect();
            Explanation { result: parts.iter().any(|part| part.result), part: Explained::Or(parts) }
        }
        Node::Not(node) => {
            let part = inner(node);
            Explanation { result: !part.result, part: Explained::Not(Box::new(part)) }
        }
        Node::Condition(condition) => {
            let stored = evaluate::field_value(collection, &condition.field.stored, row).into_owned();
            Explanation {
                result: evaluate::matches(collection, &node.filter(as_of), row),
                part: Explained::Condition {
                    field: condition.field.name.clone(),
                    operator: condition.operator.symbol(),
                    value: serde_json::to_value(&condition.operands).unwrap_or_default(),
                    seen: seen(&condition.field, stored, as_of),
                },
            }
        }
        Node::Related(condition) => {
            let filter = condition.filter(as_of);
            let measured = related(&filter);
            Explanation {
                result: filter.comparison.holds(evaluate::compare_values(&measured, &filter.value)),
                part: Explained::Related {
                    name: condition.relation.name,
                    condition: serde_json::to_value(condition).unwrap_or_default(),
                    seen: measured,
                },
            }
        }
    }
}
