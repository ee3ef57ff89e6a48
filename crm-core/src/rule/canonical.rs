//! The one JSON form of a rule.

use serde::{Serialize, Serializer, ser::SerializeMap as _};

use super::{
    operand::Operand,
    tree::{Condition, Measure, Node, Operands, RelatedCondition},
};
use crate::store::Value;

/// A value as JSON, numbers with every digit.
pub(crate) struct Plain<'a>(pub(crate) &'a Value);

impl Serialize for Plain<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(value) => value.serialize(serializer),
            Value::Integer(value) => value.serialize(serializer),
            Value::Number(value) => value.serialize(serializer),
            Value::Money(value) => value.serialize(serializer),
            Value::Text(value) => value.serialize(serializer),
            Value::Timestamp(value) => value.serialize(serializer),
            Value::Date(value) => serializer.collect_str(value),
            Value::Id(value) => serializer.collect_str(value),
            Value::TextList(value) => value.serialize(serializer),
            Value::Json(value) => value.serialize(serializer),
        }
    }
}

impl Serialize for Operand {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Fixed(value) => Plain(value).serialize(serializer),
            Self::Relative(moment) => serializer.collect_str(moment),
        }
    }
}

impl Serialize for Operands {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::One(operand) => operand.serialize(serializer),
            Self::Many(operands) => operands.serialize(serializer),
            Self::Flag(flag) => flag.serialize(serializer),
            Self::Span(span) => serializer.collect_str(span),
        }
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (name, nodes) = match self {
            Self::And(nodes) => ("and", nodes),
            Self::Or(nodes) => ("or", nodes),
            Self::Condition(condition) => return condition.serialize(serializer),
            Self::Not(node) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("not", node)?;
                return map.end();
            }
            Self::Related(related) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry(related.relation.name, related)?;
                return map.end();
            }
        };
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(name, nodes)?;
        map.end()
    }
}

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("field", &self.field.name)?;
        map.serialize_entry("op", self.operator.symbol())?;
        map.serialize_entry("value", &self.operands)?;
        map.end()
    }
}

struct Bound<'a>(&'a RelatedCondition);

impl Serialize for Bound<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("op", self.0.comparison.symbol())?;
        map.serialize_entry("value", &Plain(&self.0.value))?;
        map.end()
    }
}

impl Serialize for RelatedCondition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(filter) = &self.filter {
            map.serialize_entry("where", filter)?;
        }
        if let Some(span) = self.within_last {
            map.serialize_entry("within_last", &span.to_string())?;
        }
        let measure = match self.measure {
            Measure::Count => "count",
            Measure::Total(_) => "total",
        };
        map.serialize_entry(measure, &Bound(self))?;
        map.end()
    }
}
