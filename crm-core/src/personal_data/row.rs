use serde::{Serialize, Serializer, ser::SerializeMap as _};

use crate::store::{Collection, Row, Value};

/// What nobody is shown: a salt only keeps others from guessing.
const HIDDEN: [&str; 1] = ["salt"];

/// A stored row as JSON, by the names of its fields.
pub(super) struct ShownRow<'a>(pub(super) &'static Collection, pub(super) &'a Row);

impl Serialize for ShownRow<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (field, value) in self.0.fields.iter().zip(&self.1.0) {
            if !HIDDEN.contains(&field.name) {
                map.serialize_entry(field.name, &ShownValue(value))?;
            }
        }
        map.end()
    }
}

struct ShownValue<'a>(&'a Value);

impl Serialize for ShownValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Null => serializer.serialize_none(),
            Value::Bool(value) => value.serialize(serializer),
            Value::Integer(value) => value.serialize(serializer),
            Value::Number(value) => value.serialize(serializer),
            Value::Money(value) => value.serialize(serializer),
            Value::Text(value) => value.serialize(serializer),
            Value::Timestamp(value) => value.serialize(serializer),
            Value::Date(value) => serializer.collect_str(value),
            Value::Id(value) => value.serialize(serializer),
            Value::TextList(value) => value.serialize(serializer),
            Value::Json(value) => value.serialize(serializer),
        }
    }
}
