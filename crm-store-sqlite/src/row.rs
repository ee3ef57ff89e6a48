//! Rows of the database and rows of the contract.

use std::{collections::BTreeMap, fmt};

use crm_core::{
    store::{Field, FieldKind, Json, Money, Row, StoreError, StoreResult, Value, fold::fold},
    time::Timestamp,
};
use serde::{
    Deserializer as _,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;
use sqlx::{Decode, Row as _, Sqlite, ValueRef as _, error::BoxDynError, sqlite::SqliteRow};
use uuid::Uuid;

use crate::failure;

/// Reads the fields of a collection, which are the first columns, in order.
pub(crate) fn decode(fields: &[Field], row: &SqliteRow) -> StoreResult<Row> {
    let mut values = Vec::with_capacity(fields.len());
    for (column, field) in fields.iter().enumerate() {
        let value = decode_column(row, column, field.kind)
            .map_err(|error| StoreError::engine(format!("the column {} cannot be read: {error}", field.name)))?;
        values.push(value);
    }
    Ok(Row(values))
}

/// Reads one column as a value of the kind.
pub(crate) fn decode_column(row: &SqliteRow, column: usize, kind: FieldKind) -> Result<Value, BoxDynError> {
    let raw = row.try_get_raw(column)?;
    if raw.is_null() {
        return Ok(Value::Null);
    }
    Ok(match kind {
        FieldKind::Bool => Value::Bool(<i64 as Decode<Sqlite>>::decode(raw)? != 0),
        FieldKind::Integer => Value::Integer(Decode::<Sqlite>::decode(raw)?),
        FieldKind::Number => Value::Number(Decode::<Sqlite>::decode(raw)?),
        FieldKind::Money => {
            let amount = Decode::<Sqlite>::decode(raw)?;
            Value::Money(Money::from_ten_thousandths(amount).ok_or("no amount of money")?)
        }
        FieldKind::Text => Value::Text(Decode::<Sqlite>::decode(raw)?),
        FieldKind::Timestamp => {
            let milliseconds = Decode::<Sqlite>::decode(raw)?;
            Value::Timestamp(Timestamp::from_milliseconds(milliseconds).ok_or("no instant")?)
        }
        FieldKind::Date => Value::Date(<&str as Decode<Sqlite>>::decode(raw)?.parse()?),
        FieldKind::Id => Value::Id(Uuid::from_slice(<&[u8] as Decode<Sqlite>>::decode(raw)?)?),
        FieldKind::TextList => Value::TextList(serde_json::from_str(<&str as Decode<Sqlite>>::decode(raw)?)?),
        FieldKind::Json => Value::Json(Json::from_trusted(<&str as Decode<Sqlite>>::decode(raw)?)),
    })
}

/// An integer column.
pub(crate) fn integer(row: &SqliteRow, column: usize) -> StoreResult<i64> {
    row.try_get_unchecked(column).map_err(failure::running)
}

/// What is kept beside a field so that the engine need not fold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Shadow {
    /// The folded text.
    Text,
    /// The folded elements of a list, as a JSON array.
    Elements,
    /// A JSON object with the folded form of every custom text, and in ten-thousandths every custom number that is
    /// an amount of money.
    Members,
}

impl Shadow {
    /// The shadow that a value throws.
    pub(crate) fn of(self, value: &Value) -> Option<String> {
        match (self, value) {
            (Self::Text, Value::Text(text)) => Some(fold(text)),
            (Self::Elements, Value::TextList(elements)) => {
                let folded: Vec<serde_json::Value> = elements.iter().map(|element| fold(element).into()).collect();
                Some(serde_json::Value::Array(folded).to_string())
            }
            (Self::Members, Value::Json(json)) => Some(members(json.as_str())),
            _ => None,
        }
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    // In the order of the names, whatever the order of JSON objects in the build.
    type Value = BTreeMap<String, serde_json::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut shadow = BTreeMap::new();
        while let Some((key, value)) = map.next_entry::<String, &'de RawValue>()? {
            let value = value.get();
            let folded = match value.as_bytes().first() {
                Some(b'"') => serde_json::from_str::<String>(value).ok().map(|text| fold(&text).into()),
                Some(b'-' | b'0'..=b'9') => {
                    value.parse::<Money>().ok().map(|amount| amount.as_ten_thousandths().into())
                }
                _ => None,
            };
            // The first of members of one name counts, here as in the engine.
            if let Some(folded) = folded {
                shadow.entry(key).or_insert(folded);
            }
        }
        Ok(shadow)
    }
}

fn members(json: &str) -> String {
    let shadow = serde_json::Deserializer::from_str(json).deserialize_map(Members).unwrap_or_default();
    serde_json::to_string(&shadow).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shadows_fold_what_filters_look_at() {
        assert_eq!(Shadow::Text.of(&Value::Text("José".into())).as_deref(), Some("jose"));
        assert_eq!(
            Shadow::Elements.of(&Value::TextList(vec!["Ä".into(), "b".into()])).as_deref(),
            Some("[\"a\",\"b\"]")
        );
        let json = Json::from_trusted("{\"a\":\"ÀB\",\"n\":12.5,\"many\":0.00001,\"yes\":true,\"\":\"X\"}");
        assert_eq!(Shadow::Members.of(&Value::Json(json)).as_deref(), Some("{\"\":\"x\",\"a\":\"ab\",\"n\":125000}"));
        assert_eq!(Shadow::Members.of(&Value::Json(Json::from_trusted("[1]"))).as_deref(), Some("{}"));
        assert_eq!(Shadow::Text.of(&Value::Null), None);
    }
}
