//! Documents of the database and rows of the contract.

use bson::{
    Bson, DateTime, Document, RawDocumentBuf,
    raw::{RawBsonRef, RawDocument},
    spec::BinarySubtype,
};
use crm_core::{
    store::{Field, FieldKind, Json, Money, Row, StoreError, StoreResult, Value, fold::fold, head},
    time::Timestamp,
};
use uuid::Uuid;

use crate::{decimal, failure, json, layout::Layout, search};

/// The largest document that MongoDB takes.
const LARGEST: usize = 16 * 1024 * 1024;

/// What is kept beside a field so that the engine need not fold, nor look at types.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Shadow {
    /// The folded text.
    Text,
    /// The folded elements of a list.
    Elements,
    /// The ways in which custom fields can be read: see [`json`].
    Members,
}

impl Shadow {
    /// The name of the field's shadow.
    pub(crate) fn name(self, field: &str) -> String {
        match self {
            Self::Text | Self::Elements => format!("{field}_folded"),
            Self::Members => format!("{field}_values"),
        }
    }
}

/// The value as the database has it; nothing where it is missing.
///
/// # Errors
/// [`StoreError::TooLarge`] for JSON that is deeper than a document may be.
pub(crate) fn to_bson(value: &Value) -> StoreResult<Option<Bson>> {
    Ok(Some(match value {
        Value::Null => return Ok(None),
        Value::Bool(value) => Bson::Boolean(*value),
        Value::Integer(value) => Bson::Int64(*value),
        // There are two zeros, which are equal; only one is kept, so that whatever compares bytes finds them equal too.
        Value::Number(value) => Bson::Double(*value + 0.0),
        Value::Money(value) => Bson::Decimal128(decimal::of_money(*value)),
        Value::Text(value) => Bson::String(value.clone()),
        Value::Timestamp(value) => Bson::DateTime(DateTime::from_millis(value.as_milliseconds())),
        Value::Date(value) => Bson::String(value.to_string()),
        Value::Id(value) => (*value).into(),
        Value::TextList(elements) => Bson::Array(elements.iter().cloned().map(Bson::String).collect()),
        Value::Json(value) => json::to_bson(value.as_str())?,
    }))
}

/// What a field and its shadow are when the field has the value; both nothing where it is missing.
///
/// # Errors
/// As [`to_bson`].
pub(crate) fn with_shadow(value: &Value, shadow: Option<Shadow>) -> StoreResult<(Option<Bson>, Option<Bson>)> {
    Ok(match (shadow, value) {
        (Some(Shadow::Text), Value::Text(text)) => (to_bson(value)?, Some(Bson::String(fold(text)))),
        (Some(Shadow::Elements), Value::TextList(elements)) => {
            let folded = elements.iter().map(|element| Bson::String(fold(element))).collect();
            (to_bson(value)?, Some(Bson::Array(folded)))
        }
        (Some(Shadow::Members), Value::Json(json)) => {
            let (document, values) = json::custom(json.as_str())?;
            (Some(document), Some(Bson::Document(values)))
        }
        _ => (to_bson(value)?, None),
    })
}

/// The document of a new row.
///
/// # Errors
/// [`StoreError::TooLarge`] where it is larger or deeper than MongoDB takes.
pub(crate) fn encode(layout: &Layout, row: &Row) -> StoreResult<RawDocumentBuf> {
    let organization = match row.0.get(head::ORGANIZATION_ID) {
        Some(Value::Id(organization)) => *organization,
        _ => Uuid::nil(),
    };
    let mut document = Document::new();
    document.insert("_id", layout.key(organization, row.id()));
    let mut shadows = Vec::with_capacity(layout.shadows.len());
    for (position, (field, value)) in layout.collection.fields.iter().zip(&row.0).enumerate() {
        if position == head::VERSION {
            document.insert(field.name, 1_i64);
            continue;
        }
        let shadow = layout.shadow(position);
        let (value, shadowed) = with_shadow(value, shadow)?;
        if let Some(value) = value {
            document.insert(field.name, value);
        }
        if let (Some(shadow), Some(shadowed)) = (shadow, shadowed) {
            shadows.push((shadow.name(field.name), shadowed));
        }
    }
    document.extend(shadows);
    if !layout.searched.is_empty() {
        document.insert(search::TRIGRAMS, search::trigrams_of(layout, row));
    }
    let raw = RawDocumentBuf::try_from(&document).map_err(StoreError::engine)?;
    if raw.as_bytes().len() > LARGEST {
        return Err(failure::too_large(layout.collection));
    }
    Ok(raw)
}

/// The row of a document, what is not declared left aside.
///
/// # Errors
/// [`StoreError::Engine`] where a value is not of its field's kind: somebody else wrote it.
pub(crate) fn decode(fields: &[Field], document: &RawDocument) -> StoreResult<Row> {
    let mut values = vec![Value::Null; fields.len()];
    // Fields nearly always come in the declared order.
    let mut next = 0;
    for element in document {
        let (name, value) = element.map_err(StoreError::engine)?;
        let name = name.as_str();
        let position = match fields.iter().skip(next).position(|field| field.name == name) {
            Some(ahead) => next + ahead,
            None => match fields.iter().position(|field| field.name == name) {
                Some(position) => position,
                None => continue,
            },
        };
        next = position + 1;
        values[position] = decode_value(value, fields[position].kind)
            .ok_or_else(|| StoreError::engine(format!("the field {name} holds {:?}", value.element_type())))?;
    }
    // A program of an older version that still ran after the migration adds records without the newest fields.
    for (value, field) in values.iter_mut().zip(fields).filter(|(value, field)| !field.optional && value.is_null()) {
        *value = default_of(field.kind).unwrap_or(Value::Null);
    }
    Ok(Row(values))
}

/// What a field that is never missing holds in records that are older than it. Nothing for a kind of which no value goes
/// without saying.
pub(crate) fn default_of(kind: FieldKind) -> Option<Value> {
    Some(match kind {
        FieldKind::Bool => Value::Bool(false),
        FieldKind::Integer => Value::Integer(0),
        FieldKind::Number => Value::Number(0.0),
        FieldKind::Money => Value::Money(Money::ZERO),
        FieldKind::Text => Value::Text(String::new()),
        FieldKind::TextList => Value::TextList(Vec::new()),
        FieldKind::Json => Value::Json(Json::from_trusted("{}")),
        FieldKind::Timestamp | FieldKind::Date | FieldKind::Id => return None,
    })
}

/// The value of the kind; a null is missing, but for JSON. Nothing where it is of another kind.
pub(crate) fn decode_value(value: RawBsonRef<'_>, kind: FieldKind) -> Option<Value> {
    Some(match (kind, value) {
        (FieldKind::Json, value) => Value::Json(json::from_bson(value).ok()?),
        (_, RawBsonRef::Null | RawBsonRef::Undefined) => Value::Null,
        (FieldKind::Bool, RawBsonRef::Boolean(value)) => Value::Bool(value),
        (FieldKind::Integer, value) => Value::Integer(integer(value)?),
        (FieldKind::Number, RawBsonRef::Double(value)) => Value::Number(value),
        (FieldKind::Number, RawBsonRef::Int32(value)) => Value::Number(f64::from(value)),
        (FieldKind::Money, RawBsonRef::Decimal128(value)) => Value::Money(decimal::to_money(value)?),
        (FieldKind::Text, RawBsonRef::String(value)) => Value::Text(value.to_owned()),
        (FieldKind::Timestamp, RawBsonRef::DateTime(value)) => {
            Value::Timestamp(Timestamp::from_milliseconds(value.timestamp_millis())?)
        }
        (FieldKind::Date, RawBsonRef::String(value)) => Value::Date(value.parse().ok()?),
        (FieldKind::Id, RawBsonRef::Binary(value)) if value.subtype == BinarySubtype::Uuid => {
            Value::Id(Uuid::from_slice(value.bytes).ok()?)
        }
        (FieldKind::TextList, RawBsonRef::Array(elements)) => {
            let texts = elements.into_iter().map(|element| match element {
                Ok(RawBsonRef::String(text)) => Some(text.to_owned()),
                _ => None,
            });
            Value::TextList(texts.collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

/// A whole number, also one that a person wrote in the shell, where numbers are doubles.
pub(crate) fn integer(value: RawBsonRef<'_>) -> Option<i64> {
    match value {
        RawBsonRef::Int64(value) => Some(value),
        RawBsonRef::Int32(value) => Some(i64::from(value)),
        #[expect(clippy::cast_possible_truncation, reason = "a whole number below 2^53 is exact in both")]
        RawBsonRef::Double(value) if value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0 => {
            Some(value as i64)
        }
        RawBsonRef::Decimal128(value) => i64::try_from(decimal::scaled(value, 0)?).ok(),
        _ => None,
    }
}
