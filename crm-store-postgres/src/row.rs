//! Rows of the database and rows of the contract.

use std::fmt;

use crm_core::store::{Field, FieldKind, Json, Row, StoreError, StoreResult, Value, fold::fold};
use serde::{
    Deserializer as _,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;
use sqlx::{Row as _, ValueRef as _, error::BoxDynError, postgres::PgRow};
use uuid::Uuid;

use crate::{binary, failure, search};

/// Reads the fields of a collection, which are the first columns, in order.
pub(crate) fn decode(fields: &[Field], row: &PgRow) -> StoreResult<Row> {
    let mut values = Vec::with_capacity(fields.len());
    for (column, field) in fields.iter().enumerate() {
        let value = decode_column(row, column, field.kind)
            .map_err(|error| StoreError::engine(format!("the column {} cannot be read: {error}", field.name)))?;
        values.push(value);
    }
    Ok(Row(values))
}

/// Reads one column as a value of the kind.
pub(crate) fn decode_column(row: &PgRow, column: usize, kind: FieldKind) -> Result<Value, BoxDynError> {
    let raw = row.try_get_raw(column)?;
    if raw.is_null() {
        return Ok(Value::Null);
    }
    binary::read(kind, raw.as_bytes()?)
}

/// An integer column; 0 where it is missing.
pub(crate) fn integer(row: &PgRow, column: usize) -> StoreResult<i64> {
    Ok(optional_integer(row, column)?.unwrap_or(0))
}

/// An integer column.
pub(crate) fn optional_integer(row: &PgRow, column: usize) -> StoreResult<Option<i64>> {
    let raw = row.try_get_raw(column).map_err(failure::running)?;
    if raw.is_null() {
        return Ok(None);
    }
    raw.as_bytes().and_then(binary::integer).map(Some).map_err(StoreError::engine)
}

/// What is kept beside a field so that the engine need not fold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Shadow {
    /// The folded text.
    Text,
    /// The folded elements of a list as one text, with [`search::SEPARATOR`] between them.
    Elements,
    /// A JSON object with the folded form of every custom text.
    Members,
    /// The trigrams of the folded text or elements.
    Trigrams,
}

/// The shadow of one value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cast {
    Text(String),
    Json(Json),
    Integers(Vec<i32>),
}

impl Shadow {
    /// The name of the field's shadow, not quoted.
    pub(crate) fn name(self, field: &Field) -> String {
        match self {
            Self::Text | Self::Elements | Self::Members => format!("{}_folded", field.name),
            Self::Trigrams => format!("{}_trigrams", field.name),
        }
    }

    /// The type of its column.
    pub(crate) const fn sql_type(self) -> &'static str {
        match self {
            Self::Text | Self::Elements => "text COLLATE \"C\"",
            Self::Members => "jsonb",
            Self::Trigrams => "integer[]",
        }
    }

    /// The shadow that a value throws. `owner` is the organization whose rows are searched apart from others'.
    pub(crate) fn of(self, owner: Option<Uuid>, value: &Value) -> Option<Cast> {
        Some(match (self, value) {
            (Self::Text, Value::Text(text)) => Cast::Text(fold(text)),
            (Self::Elements, Value::TextList(elements)) => Cast::Text(search::joined(elements)),
            (Self::Members, Value::Json(json)) => Cast::Json(Json::from_trusted(members(json.as_str()))),
            (Self::Trigrams, Value::Text(text)) => Cast::Integers(search::trigrams(owner, &fold(text))),
            (Self::Trigrams, Value::TextList(elements)) => {
                Cast::Integers(search::trigrams(owner, &search::joined(elements)))
            }
            _ => return None,
        })
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = serde_json::Map<String, serde_json::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut shadow = serde_json::Map::new();
        while let Some((key, value)) = map.next_entry::<String, &'de RawValue>()? {
            if let Ok(text) = serde_json::from_str::<String>(value.get()) {
                shadow.insert(key, fold(&text).into());
            }
        }
        Ok(shadow)
    }
}

fn members(json: &str) -> String {
    let shadow = serde_json::Deserializer::from_str(json).deserialize_map(Members).unwrap_or_default();
    serde_json::Value::Object(shadow).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shadows_fold_what_filters_look_at() {
        assert_eq!(Shadow::Text.of(None, &Value::Text("José".into())), Some(Cast::Text("jose".to_owned())));
        let list = Value::TextList(vec!["Ä".into(), "b".into()]);
        assert_eq!(Shadow::Elements.of(None, &list), Some(Cast::Text("a\u{1}b".to_owned())));
        let json = Value::Json(Json::from_trusted("{\"a\":\"ÀB\",\"n\":12.5,\"yes\":true,\"\":\"X\"}"));
        let expected = Json::from_trusted("{\"\":\"x\",\"a\":\"ab\"}");
        assert_eq!(Shadow::Members.of(None, &json), Some(Cast::Json(expected)));
        assert_eq!(Shadow::Text.of(None, &Value::Null), None);
    }
}
