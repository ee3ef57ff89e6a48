//! One value of a custom field: read from JSON, written as JSON, and as text.

use jiff::civil::Date;
use serde_json::value::RawValue;

use super::{CustomFieldType, ValueContext};
use crate::{
    contact::{Email, Phone},
    error::FieldErrors,
    input::{self, FromInput as _},
    store::Money,
    time::Timestamp,
};

/// The longest text of a custom field, in characters.
pub(super) const MAX_TEXT: usize = 10_000;
/// The longest web address, in bytes.
const MAX_URL: usize = 2_048;
/// Beyond this a double no longer tells neighbouring whole numbers apart.
const MAX_EXACT: f64 = 9_007_199_254_740_991.0;

/// A value that is of its field's type. Whether it also obeys the field's rules is told by those.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum FieldValue {
    Text(String),
    Number(f64),
    Date(Date),
    Boolean(bool),
    Datetime(Timestamp),
    Money(Money),
    List(Vec<String>),
}

fn refuse<T>(code: &'static str, message: &str) -> Result<T, FieldErrors> {
    Err(FieldErrors::one("", code, message))
}

impl FieldValue {
    /// Reads a value as the API takes it.
    pub(super) fn read(kind: CustomFieldType, json: &RawValue, context: &ValueContext) -> Result<Self, FieldErrors> {
        match kind {
            CustomFieldType::Number => number(json.get()).map(Self::Number),
            CustomFieldType::Boolean => bool::from_input(json).map(Self::Boolean),
            CustomFieldType::Money => Money::from_input(json).map(Self::Money),
            CustomFieldType::MultiList => {
                let items = Vec::<String>::from_input(json)?;
                Ok(Self::List(distinct(items.iter().map(|item| item.trim().to_owned()))))
            }
            _ => Self::of_text(kind, &input::text(json)?, context),
        }
    }

    /// Reads a value of the type from its text.
    pub(super) fn of_text(kind: CustomFieldType, text: &str, context: &ValueContext) -> Result<Self, FieldErrors> {
        let text = text.trim();
        match kind {
            CustomFieldType::Text => plain_text(text).map(Self::Text),
            CustomFieldType::List => Ok(Self::Text(text.to_owned())),
            CustomFieldType::Number => number(text).map(Self::Number),
            CustomFieldType::Date => match input::parse_date(text) {
                Some(date) => Ok(Self::Date(date)),
                None => refuse("INVALID_FORMAT", "must be a date such as 2026-01-31"),
            },
            CustomFieldType::Boolean => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "1" => Ok(Self::Boolean(true)),
                "false" | "no" | "0" => Ok(Self::Boolean(false)),
                _ => refuse("INVALID_FORMAT", "must be true or false"),
            },
            CustomFieldType::Datetime => {
                text.parse().map(Self::Datetime).map_err(|error: crate::time::TimestampError| {
                    FieldErrors::one("", "INVALID_FORMAT", error.to_string())
                })
            }
            CustomFieldType::Email => Email::parse(text).map(|email| Self::Text(email.as_str().to_owned())),
            CustomFieldType::Phone => {
                Phone::parse(text, context.country).map(|phone| Self::Text(phone.as_str().to_owned()))
            }
            CustomFieldType::Url => web_address(text).map(Self::Text),
            CustomFieldType::MultiList => {
                Ok(Self::List(if text.is_empty() { Vec::new() } else { vec![text.to_owned()] }))
            }
            CustomFieldType::Money => text
                .parse()
                .map(Self::Money)
                .map_err(|error: crate::store::MoneyError| FieldErrors::one("", "INVALID_FORMAT", error.to_string())),
        }
    }

    /// Reads what is stored; nothing where it is of another type.
    pub(super) fn of_stored(kind: CustomFieldType, json: &RawValue) -> Option<Self> {
        let text = || serde_json::from_str::<String>(json.get()).ok();
        match kind {
            CustomFieldType::Text
            | CustomFieldType::List
            | CustomFieldType::Email
            | CustomFieldType::Phone
            | CustomFieldType::Url => text().map(Self::Text),
            CustomFieldType::Number => number(json.get()).ok().map(Self::Number),
            CustomFieldType::Date => input::parse_date(&text()?).map(Self::Date),
            CustomFieldType::Boolean => serde_json::from_str(json.get()).ok().map(Self::Boolean),
            CustomFieldType::Datetime => {
                let milliseconds = serde_json::from_str(json.get()).ok()?;
                Timestamp::from_milliseconds(milliseconds).map(Self::Datetime)
            }
            CustomFieldType::MultiList => serde_json::from_str(json.get()).ok().map(Self::List),
            CustomFieldType::Money => json.get().parse().ok().map(Self::Money),
        }
    }

    /// The JSON that is stored.
    pub(super) fn to_stored(&self) -> String {
        match self {
            Self::Datetime(instant) => instant.as_milliseconds().to_string(),
            _ => self.to_json(),
        }
    }

    /// The JSON that the API shows.
    pub(super) fn to_json(&self) -> String {
        match self {
            Self::Number(number) => number_text(*number),
            Self::Boolean(value) => value.to_string(),
            Self::Money(amount) => amount.to_string(),
            Self::List(items) => json_of(items),
            Self::Text(_) | Self::Date(_) | Self::Datetime(_) => json_of(&self.to_text()),
        }
    }

    /// The value as text: what equal values have equal, and what another type is read from.
    pub(super) fn to_text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(number) => number_text(*number),
            Self::Date(date) => date.to_string(),
            Self::Boolean(value) => value.to_string(),
            Self::Datetime(instant) => instant.to_string(),
            Self::Money(amount) => amount.to_string(),
            Self::List(items) => items.join(", "),
        }
    }

    /// Whether there is nothing in it: what `required` refuses.
    pub(super) fn is_blank(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::List(items) => items.is_empty(),
            _ => false,
        }
    }
}

fn json_of(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}

fn distinct(items: impl Iterator<Item = String>) -> Vec<String> {
    let mut found = std::collections::HashSet::new();
    items.filter(|item| found.insert(item.clone())).collect()
}

/// Text without control characters, but line feed and tab.
fn plain_text(text: &str) -> Result<String, FieldErrors> {
    if text.len() > MAX_TEXT && text.chars().count() > MAX_TEXT {
        return refuse("TOO_LONG", "must have at most 10000 characters");
    }
    if text.chars().any(|character| character.is_control() && !matches!(character, '\n' | '\t' | '\r')) {
        return refuse("INVALID_TEXT", "must not contain control characters");
    }
    Ok(text.replace("\r\n", "\n").replace('\r', "\n"))
}

/// A number written as JSON writes it.
fn number(text: &str) -> Result<f64, FieldErrors> {
    // The grammar is JSON's; the standard library rounds correctly where serde_json is content with a neighbour.
    let is_json = serde_json::from_str::<f64>(text).is_ok();
    match text.parse::<f64>() {
        Ok(number) if is_json && number.is_finite() => {
            let is_whole = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
            if is_whole && number.abs() > MAX_EXACT {
                return refuse(
                    "OUT_OF_RANGE",
                    "must be between -9007199254740991 and 9007199254740991 where it is whole",
                );
            }
            // There is one zero.
            Ok(number + 0.0)
        }
        _ => refuse("INVALID_TYPE", "must be a number"),
    }
}

fn number_text(number: f64) -> String {
    if number.fract() == 0.0 && number.abs() <= MAX_EXACT {
        #[expect(clippy::cast_possible_truncation, reason = "whole, and in the range of exact doubles")]
        let whole = number as i64;
        whole.to_string()
    } else {
        json_of(&number)
    }
}

/// An address of the web in the one form in which two spellings of it are equal (WHATWG URL).
fn web_address(text: &str) -> Result<String, FieldErrors> {
    const FORM: &str = "must be a web address such as https://example.com/page, without a user name or password";
    if text.len() > MAX_URL {
        return refuse("TOO_LONG", "must have at most 2048 bytes");
    }
    let Ok(url) = url::Url::parse(text) else {
        return refuse("INVALID_FORMAT", FORM);
    };
    if !matches!(url.scheme(), "http" | "https")
        || !url.username().is_empty()
        || url.password().is_some()
        || url.host_str().is_none_or(str::is_empty)
        || text.chars().any(char::is_control)
    {
        return refuse("INVALID_FORMAT", FORM);
    }
    let address = String::from(url);
    if address.len() > MAX_URL {
        return refuse("TOO_LONG", "must have at most 2048 bytes");
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::{super::CustomFieldType, FieldValue};
    use crate::{contact::Country, field::ValueContext, time::Timestamp};

    fn context() -> ValueContext {
        ValueContext { now: Timestamp::default(), country: Country::parse("IN").ok() }
    }

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).expect("JSON")
    }

    #[test]
    fn values_have_one_form() {
        for (kind, json, stored, shown) in [
            ("text", r#"" Caf\u0065\u0301 ""#, r#""Café""#, r#""Café""#),
            ("text", r#""a\r\nb""#, r#""a\nb""#, r#""a\nb""#),
            ("number", "1.0", "1", "1"),
            ("number", "-0.0", "0", "0"),
            ("number", "1e2", "100", "100"),
            ("number", "0.1", "0.1", "0.1"),
            ("date", r#""2024-02-29""#, r#""2024-02-29""#, r#""2024-02-29""#),
            ("boolean", "true", "true", "true"),
            ("list", r#""gold""#, r#""gold""#, r#""gold""#),
            ("datetime", r#""2026-01-31T10:00:00+01:00""#, "1769850000000", r#""2026-01-31T09:00:00.000Z""#),
            ("email", r#""A@Example.com""#, r#""a@example.com""#, r#""a@example.com""#),
            ("phone", r#""98765 43210""#, r#""+919876543210""#, r#""+919876543210""#),
            ("url", r#""HTTP://Example.com:80/a b""#, r#""http://example.com/a%20b""#, r#""http://example.com/a%20b""#),
            ("multi_list", r#"["a","b","a"]"#, r#"["a","b"]"#, r#"["a","b"]"#),
            ("money", "99999999999999.9999", "99999999999999.9999", "99999999999999.9999"),
            ("money", "1.50", "1.5", "1.5"),
        ] {
            let kind: CustomFieldType = kind.parse().expect("a type");
            let value = FieldValue::read(kind, &raw(json), &context()).expect(json);
            assert_eq!(value.to_stored(), stored, "{kind} {json}");
            assert_eq!(value.to_json(), shown, "{kind} {json}");
            assert_eq!(FieldValue::of_stored(kind, &raw(stored)), Some(value), "{kind} {json}");
        }
    }

    #[test]
    fn values_of_another_type_are_refused() {
        for (kind, json) in [
            ("text", "1"),
            ("text", r#""\u0000""#),
            ("text", r#""\u001b[1m""#),
            ("number", r#""1""#),
            ("number", "1e999"),
            ("number", "9007199254740993"),
            ("number", "true"),
            ("date", r#""2023-02-29""#),
            ("date", r#""2023-2-1""#),
            ("date", "20230101"),
            ("boolean", "1"),
            ("boolean", r#""true""#),
            ("list", r#"["a"]"#),
            ("datetime", r#""2026-01-31""#),
            ("datetime", r#""2026-01-31T10:00:00""#),
            ("datetime", "1769850000000"),
            ("email", r#""a""#),
            ("phone", r#""12""#),
            ("url", r#""example.com""#),
            ("url", r#""javascript:alert(1)""#),
            ("url", r#""https://a:b@example.com""#),
            ("multi_list", r#""a""#),
            ("multi_list", "[1]"),
            ("money", r#""1""#),
            ("money", "1.00001"),
            ("money", "{\"$gt\":0}"),
        ] {
            let kind: CustomFieldType = kind.parse().expect("a type");
            assert!(FieldValue::read(kind, &raw(json), &context()).is_err(), "{kind} {json}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_and_reads_back_as_itself(
            kind in prop::sample::select(CustomFieldType::ALL),
            text in any::<String>(),
        ) {
            let json = raw(&serde_json::to_string(&text).unwrap());
            if let Ok(value) = FieldValue::read(kind, &json, &context()) {
                prop_assert_eq!(FieldValue::read(kind, &raw(&value.to_json()), &context()), Ok(value.clone()));
                prop_assert_eq!(FieldValue::of_stored(kind, &raw(&value.to_stored())), Some(value));
            }
        }

        #[test]
        fn any_number_is_read_or_refused_and_reads_back_as_itself(number in any::<f64>(), whole in any::<i64>()) {
            for text in [serde_json::to_string(&number).unwrap(), whole.to_string()] {
                for kind in [CustomFieldType::Number, CustomFieldType::Money] {
                    if let Ok(value) = FieldValue::read(kind, &raw(&text), &context()) {
                        prop_assert_eq!(FieldValue::read(kind, &raw(&value.to_json()), &context()), Ok(value.clone()));
                        prop_assert_eq!(FieldValue::of_stored(kind, &raw(&value.to_stored())), Some(value));
                    }
                }
            }
        }
    }
}
