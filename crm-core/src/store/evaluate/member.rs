//! Reading custom fields out of JSON text.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer as _,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{
    store::{FieldKind, Json, Value},
    time::Timestamp,
};

/// The members of a JSON object, their values not looked into.
pub(super) type Members<'a> = Vec<(Cow<'a, str>, &'a RawValue)>;

#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

struct MembersVisitor;

impl<'a> Visitor<'a> for MembersVisitor {
    type Value = Members<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::with_capacity(map.size_hint().unwrap_or(8));
        while let Some((Key(key), value)) = map.next_entry::<Key<'a>, &'a RawValue>()? {
            members.push((key, value));
        }
        Ok(members)
    }
}

/// The members of an object; none where the text is anything else.
pub(super) fn members(json: &str) -> Members<'_> {
    serde_json::Deserializer::from_str(json).deserialize_map(MembersVisitor).unwrap_or_default()
}

pub(super) fn find<'a>(members: &Members<'a>, key: &str) -> Option<&'a RawValue> {
    members.iter().find(|(name, _)| name == key).map(|(_, value)| *value)
}

/// The member as a value of the kind: see [`crate::store::FieldRef::kind`]. JSON of another type is missing.
pub(super) fn read(member: Option<&RawValue>, kind: FieldKind) -> Value {
    member.map(|member| read_text(member.get(), kind)).unwrap_or_default()
}

pub(super) fn read_text(json: &str, kind: FieldKind) -> Value {
    read_present(json, kind).unwrap_or_default()
}

fn read_present(json: &str, kind: FieldKind) -> Option<Value> {
    let first = *json.as_bytes().first()?;
    let is_number = first == b'-' || first.is_ascii_digit();
    match kind {
        FieldKind::Bool => matches!(first, b't' | b'f').then_some(Value::Bool(first == b't')),
        FieldKind::Integer => is_number.then(|| json.parse().ok()).flatten().map(Value::Integer),
        FieldKind::Number => {
            is_number.then(|| json.parse().ok()).flatten().filter(|number: &f64| number.is_finite()).map(Value::Number)
        }
        FieldKind::Money => is_number.then(|| json.parse().ok()).flatten().map(Value::Money),
        FieldKind::Timestamp => {
            let milliseconds = is_number.then(|| json.parse().ok()).flatten()?;
            Timestamp::from_milliseconds(milliseconds).map(Value::Timestamp)
        }
        FieldKind::Text => string(json).map(|text| Value::Text(text.into_owned())),
        FieldKind::Date => string(json).and_then(|text| date(&text)).map(Value::Date),
        FieldKind::TextList => serde_json::from_str(json).ok().map(Value::TextList),
        FieldKind::Json => (first != b'n').then(|| Value::Json(Json::from_trusted(json))),
        FieldKind::Id => None,
    }
}

fn string(json: &str) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Key<'_>>(json).ok().map(|text| text.0)
}

/// Reads `YYYY-MM-DD`, years 0001 to 9999, and nothing else.
fn date(text: &str) -> Option<jiff::civil::Date> {
    let shaped = text.len() == 10
        && text.bytes().enumerate().all(|(place, byte)| match place {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    if !shaped {
        return None;
    }
    let date = jiff::civil::Date::new(text[..4].parse().ok()?, text[5..7].parse().ok()?, text[8..].parse().ok()?);
    date.ok().filter(|date| date.year() >= 1)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;
    use rstest::rstest;

    use super::{FieldKind, Json, Value, find, members, read};
    use crate::{store::Money, time::Timestamp};

    fn member(json: &str, key: &str, kind: FieldKind) -> Value {
        read(find(&members(json), key), kind)
    }

    fn money(ten_thousandths: i64) -> Value {
        Value::Money(Money::from_ten_thousandths(ten_thousandths).unwrap())
    }

    #[rstest]
    #[case("true", FieldKind::Bool, Value::Bool(true))]
    #[case("\"true\"", FieldKind::Bool, Value::Null)]
    #[case("-9223372036854775808", FieldKind::Integer, Value::Integer(i64::MIN))]
    #[case("9223372036854775808", FieldKind::Integer, Value::Null)]
    #[case("1.0", FieldKind::Integer, Value::Null)]
    #[case("1.5", FieldKind::Number, Value::Number(1.5))]
    #[case("7", FieldKind::Number, Value::Number(7.0))]
    #[case("1e400", FieldKind::Number, Value::Null)]
    #[case("99999999999999.9999", FieldKind::Money, money(999_999_999_999_999_999))]
    #[case("-0.0001", FieldKind::Money, money(-1))]
    #[case("12", FieldKind::Money, money(120_000))]
    #[case("0.00001", FieldKind::Money, Value::Null)]
    #[case("0", FieldKind::Timestamp, Value::Timestamp(Timestamp::default()))]
    #[case("9999999999999999", FieldKind::Timestamp, Value::Null)]
    #[case("\"2024-02-29\"", FieldKind::Date, Value::Date(date(2024, 2, 29)))]
    #[case("\"2023-02-29\"", FieldKind::Date, Value::Null)]
    #[case("\"20240229\"", FieldKind::Date, Value::Null)]
    #[case("\"0000-01-01\"", FieldKind::Date, Value::Null)]
    #[case("\"a\\n\\u00e9\"", FieldKind::Text, Value::Text("a\né".to_owned()))]
    #[case("5", FieldKind::Text, Value::Null)]
    #[case("[\"a\",\"b\"]", FieldKind::TextList, Value::TextList(vec!["a".to_owned(), "b".to_owned()]))]
    #[case("[\"a\",1]", FieldKind::TextList, Value::Null)]
    #[case("{\"a\":1}", FieldKind::Json, Value::Json(Json::from_trusted("{\"a\":1}")))]
    #[case("null", FieldKind::Json, Value::Null)]
    #[case("null", FieldKind::Text, Value::Null)]
    fn members_are_read_by_kind(#[case] json: &str, #[case] kind: FieldKind, #[case] expected: Value) {
        for key in ["k", "", "a.b", "$x", "it's \"quoted\""] {
            let object = format!("{{\"other\": [1, {{\"k\": 2}}], {}: {json} }}", serde_json::to_string(key).unwrap());
            assert_eq!(member(&object, key, kind), expected, "{object}");
        }
    }

    #[rstest]
    #[case("[1]")]
    #[case("\"k\"")]
    #[case("null")]
    #[case("")]
    #[case("{\"k\"")]
    fn what_is_no_object_has_no_members(#[case] json: &str) {
        assert_eq!(member(json, "k", FieldKind::Json), Value::Null);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in any::<String>()) {
            for kind in [FieldKind::Text, FieldKind::Date, FieldKind::Money, FieldKind::TextList] {
                member(&text, "k", kind);
                member(&format!("{{\"k\":{text}}}"), "k", kind);
                member(&serde_json::json!({ "k": text }).to_string(), "k", kind);
            }
        }
    }
}
