//! JSON as documents, and back.
//!
//! MongoDB reads a dot in a name as a path and a dollar sign as an operator, so the names of members are escaped: `.`,
//! `$`, `%` and NUL become `%2E`, `%24`, `%25` and `%00`, and the empty name becomes `%`. Other names stay as they are,
//! so that `db.customers.find({"custom.city": "Oslo"})` is what a person writes.
//!
//! Beside custom fields lies every way in which they can be read (see [`FieldKind`] in a `FieldRef`), each in the form
//! that a declared field of the kind has. So filters, orders and indexes need no guards for JSON of another type.

use std::{borrow::Cow, fmt};

use bson::{Bson, Document, raw::RawBsonRef};
use crm_core::store::{FieldKind, Json, Money, StoreError, StoreResult, Value, evaluate::read_custom, fold::fold};
use serde::de::{DeserializeSeed, Deserializer as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::{decimal, row};

/// The folded form of a custom text, beside the ways of [`way`].
pub(crate) const FOLDED: &str = "folded";

/// How deep a document may be: MongoDB takes 100 levels, and the outer ones are ours.
const DEPTH: usize = 90;

/// The name of what a custom field is when read as the kind; nothing for JSON, which is the whole.
pub(crate) const fn way(kind: FieldKind) -> Option<&'static str> {
    Some(match kind {
        FieldKind::Bool => "bool",
        FieldKind::Integer => "integer",
        FieldKind::Number => "number",
        FieldKind::Money => "money",
        FieldKind::Text => "text",
        FieldKind::Timestamp => "timestamp",
        FieldKind::Date => "date",
        FieldKind::Id => "id",
        FieldKind::TextList => "list",
        FieldKind::Json => return None,
    })
}

/// The name of a member as the name of a field.
pub(crate) fn escape(name: &str) -> Cow<'_, str> {
    if name.is_empty() {
        return Cow::Borrowed("%");
    }
    if !name.contains(['.', '$', '%', '\0']) {
        return Cow::Borrowed(name);
    }
    let mut escaped = String::with_capacity(name.len() + 8);
    for character in name.chars() {
        match character {
            '.' => escaped.push_str("%2E"),
            '$' => escaped.push_str("%24"),
            '%' => escaped.push_str("%25"),
            '\0' => escaped.push_str("%00"),
            other => escaped.push(other),
        }
    }
    Cow::Owned(escaped)
}

/// The name of the member. What no [`escape`] makes stays as it is.
pub(crate) fn unescape(name: &str) -> Cow<'_, str> {
    if name == "%" {
        return Cow::Borrowed("");
    }
    if !name.contains('%') {
        return Cow::Borrowed(name);
    }
    Cow::Owned(name.replace("%2E", ".").replace("%24", "$").replace("%00", "\0").replace("%25", "%"))
}

/// The JSON as a value of the database.
///
/// # Errors
/// [`StoreError::TooLarge`] where it is deeper than a document may be.
pub(crate) fn to_bson(text: &str) -> StoreResult<Bson> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    Tree { depth: 0 }.deserialize(&mut deserializer).map_err(|error| {
        if error.to_string().contains(TOO_DEEP) || error.to_string().contains("recursion limit") {
            StoreError::TooLarge(format!("JSON is nested deeper than {DEPTH} levels"))
        } else {
            StoreError::Misuse(format!("a value is no JSON: {error}"))
        }
    })
}

const TOO_DEEP: &str = "nested too deep";

/// Reads any JSON; of members of one name the first counts.
#[derive(Clone, Copy)]
struct Tree {
    depth: usize,
}

impl Tree {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth < DEPTH { Ok(Self { depth: self.depth + 1 }) } else { Err(E::custom(TOO_DEEP)) }
    }
}

impl<'de> DeserializeSeed<'de> for Tree {
    type Value = Bson;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Bson, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree {
    type Value = Bson;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Bson, E> {
        Ok(Bson::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Bson, E> {
        Ok(Bson::Boolean(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Bson, E> {
        Ok(Bson::Int64(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Bson, E> {
        #[expect(clippy::cast_precision_loss, reason = "beyond 64 bits with a sign, JSON numbers are doubles here")]
        Ok(i64::try_from(value).map_or(Bson::Double(value as f64), Bson::Int64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Bson, E> {
        Ok(Bson::Double(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Bson, E> {
        Ok(Bson::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Bson, E> {
        Ok(Bson::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Bson, A::Error> {
        let inner = self.deeper()?;
        let mut array = Vec::new();
        while let Some(element) = elements.next_element_seed(inner)? {
            array.push(element);
        }
        Ok(Bson::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Bson, A::Error> {
        let inner = self.deeper()?;
        let mut document = Document::new();
        while let Some(name) = members.next_key::<Cow<'_, str>>()? {
            let value = members.next_value_seed(inner)?;
            document.entry(escape(&name).into_owned()).or_insert(value);
        }
        Ok(Bson::Document(document))
    }
}

/// Custom fields as a value of the database, and the ways in which they can be read.
///
/// # Errors
/// As [`to_bson`].
pub(crate) fn custom(text: &str) -> StoreResult<(Bson, Document)> {
    let Ok(members) = serde_json::Deserializer::from_str(text).deserialize_map(Members) else {
        return Ok((to_bson(text)?, Document::new()));
    };
    let mut document = Document::new();
    let mut values = Document::new();
    for (name, json) in members {
        let name = escape(&name);
        if document.contains_key(&name) {
            continue;
        }
        let json = json.get();
        let value = match exact(json) {
            Some(decimal) => Bson::Decimal128(decimal),
            None => to_bson(json)?,
        };
        if value != Bson::Null {
            values.insert(name.as_ref(), ways(json)?);
        }
        document.insert(name.as_ref(), value);
    }
    Ok((Bson::Document(document), values))
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::with_capacity(map.size_hint().unwrap_or(8));
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(members)
    }
}

/// A number whose digits are an amount of money that no double holds: it is kept as a decimal.
fn exact(json: &str) -> Option<bson::Decimal128> {
    let amount: Money = json.parse().ok()?;
    if json.parse::<i64>().is_ok() {
        return None;
    }
    let nearest: f64 = json.parse().ok()?;
    let kept: Result<Money, _> = serde_json::Value::from(nearest).to_string().parse();
    (kept != Ok(amount)).then(|| decimal::of_money(amount))
}

/// The ways in which the JSON can be read.
fn ways(json: &str) -> StoreResult<Document> {
    const STRING: &[FieldKind] = &[FieldKind::Text, FieldKind::Date];
    const NUMBER: &[FieldKind] = &[FieldKind::Integer, FieldKind::Number, FieldKind::Money, FieldKind::Timestamp];

    let kinds: &[FieldKind] = match json.as_bytes().first() {
        Some(b't' | b'f') => &[FieldKind::Bool],
        Some(b'"') => STRING,
        Some(b'-' | b'0'..=b'9') => NUMBER,
        Some(b'[') => &[FieldKind::TextList],
        _ => &[],
    };
    let mut document = Document::new();
    for kind in kinds {
        let value = read_custom(json, *kind);
        if let Value::Text(text) = &value {
            document.insert(FOLDED, fold(text));
        }
        if let (Some(way), Some(value)) = (way(*kind), row::to_bson(&value)?) {
            document.insert(way, value);
        }
    }
    Ok(document)
}

/// The value as JSON text. What JSON does not have, which only somebody else can have written, becomes a text.
pub(crate) fn from_bson(value: RawBsonRef<'_>) -> Result<Json, bson::error::Error> {
    let mut text = String::new();
    write(&mut text, value)?;
    Ok(Json::from_trusted(text))
}

fn write(text: &mut String, value: RawBsonRef<'_>) -> Result<(), bson::error::Error> {
    match value {
        RawBsonRef::Null | RawBsonRef::Undefined => text.push_str("null"),
        RawBsonRef::Boolean(value) => text.push_str(if value { "true" } else { "false" }),
        RawBsonRef::Int32(value) => text.push_str(&value.to_string()),
        RawBsonRef::Int64(value) => text.push_str(&value.to_string()),
        RawBsonRef::Double(value) => text.push_str(&serde_json::Value::from(value).to_string()),
        RawBsonRef::Decimal128(value) => match decimal::to_money(value) {
            Some(amount) => text.push_str(&amount.to_string()),
            None => quote(text, &value.to_string()),
        },
        RawBsonRef::String(value) => quote(text, value),
        RawBsonRef::Array(elements) => {
            text.push('[');
            for (place, element) in elements.into_iter().enumerate() {
                if place > 0 {
                    text.push(',');
                }
                write(text, element?)?;
            }
            text.push(']');
        }
        RawBsonRef::Document(members) => {
            text.push('{');
            for (place, member) in members.into_iter().enumerate() {
                let (name, member) = member?;
                if place > 0 {
                    text.push(',');
                }
                quote(text, &unescape(name.as_str()));
                text.push(':');
                write(text, member)?;
            }
            text.push('}');
        }
        other => quote(text, &Bson::try_from(other).map_or_else(|_| String::new(), |value| value.to_string())),
    }
    Ok(())
}

fn quote(text: &mut String, value: &str) {
    text.push_str(&serde_json::Value::from(value).to_string());
}

#[cfg(test)]
mod tests {
    use bson::{RawDocumentBuf, doc};
    use proptest::prelude::*;

    use super::*;

    fn round(text: &str) -> String {
        let document = RawDocumentBuf::try_from(doc! { "json": to_bson(text).unwrap() }).unwrap();
        from_bson(document.get("json").unwrap().unwrap()).unwrap().as_str().to_owned()
    }

    #[test]
    fn json_comes_back() {
        for text in [
            "null",
            "true",
            "-9223372036854775808",
            "1.0",
            "1e300",
            "\"a\\\"\\u0001\"",
            "[]",
            "[1,[2.5,{}],\"x\"]",
            "{\"\":{\"$a\":1,\"b.c\":[{\"%\":null}]},\"%2E\":2}",
        ] {
            let expected: serde_json::Value = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::from_str::<serde_json::Value>(&round(text)).unwrap(), expected, "{text}");
        }
        assert_eq!(round("{\"a\":1,\"a\":2}"), "{\"a\":1}");
    }

    #[test]
    fn what_is_too_deep_is_too_large() {
        let deep = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        assert!(to_bson(&deep(DEPTH)).is_ok());
        for levels in [DEPTH + 1, 5_000] {
            assert!(matches!(to_bson(&deep(levels)), Err(StoreError::TooLarge(_))), "{levels}");
        }
    }

    #[test]
    fn custom_fields_are_read_in_every_way() {
        let text = "{\"a.b\":\"Né\",\"n\":5,\"m\":99999999999999.9999,\"d\":\"2024-02-29\",\"l\":[\"x\"],\"o\":{},\"z\":null,\"t\":true}";
        let (document, values) = custom(text).unwrap();
        assert_eq!(
            values,
            doc! {
                "a%2Eb": { "folded": "ne", "text": "Né" },
                "n": { "integer": 5_i64, "number": 5.0, "money": "5.0000".parse::<bson::Decimal128>().unwrap(),
                       "timestamp": bson::DateTime::from_millis(5) },
                "m": { "number": 1e14, "money": "99999999999999.9999".parse::<bson::Decimal128>().unwrap() },
                "d": { "folded": "2024-02-29", "text": "2024-02-29", "date": "2024-02-29" },
                "l": { "list": ["x"] },
                "o": {},
                "t": { "bool": true },
            }
        );
        let document = RawDocumentBuf::try_from(doc! { "json": document }).unwrap();
        let json = from_bson(document.get("json").unwrap().unwrap()).unwrap();
        assert!(json.as_str().contains("99999999999999.9999"), "{json:?}");
        assert_eq!(custom("[1]").unwrap().1, Document::new());
    }

    proptest! {
        #[test]
        fn names_come_back(name in any::<String>()) {
            let escaped = escape(&name);
            prop_assert!(!escaped.is_empty() && !escaped.contains(['.', '$', '\0']));
            prop_assert_eq!(unescape(&escaped), name.as_str());
        }

        #[test]
        fn any_text_is_answered(text in any::<String>()) {
            let _ = to_bson(&text);
            let _ = custom(&text);
        }
    }
}
