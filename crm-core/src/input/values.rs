use std::borrow::Cow;

use serde_json::value::RawValue;
use unicode_normalization::UnicodeNormalization as _;

use super::FromInput;
use crate::{
    error::FieldErrors,
    store::{Json, Money},
    time::Timestamp,
};

/// A list longer than this is refused before its elements are read; a field may have a lower bound of its own.
const LIST_LIMIT: usize = 10_000;
/// The longest text that a plain `String` member takes, in bytes.
const TEXT_LIMIT: usize = 65_536;

fn wrong(message: &str) -> FieldErrors {
    FieldErrors::one("", "INVALID_TYPE", message)
}

/// The text of a JSON string, in normal form C, without NUL.
///
/// # Errors
/// `INVALID_TYPE` where it is no string, `INVALID_TEXT` for a NUL.
pub(crate) fn text(json: &RawValue) -> Result<String, FieldErrors> {
    let text: Cow<'_, str> =
        serde_json::from_str::<String>(json.get()).map(Cow::Owned).map_err(|_| wrong("must be a text"))?;
    if text.contains('\0') {
        return Err(FieldErrors::one("", "INVALID_TEXT", "must not contain the character NUL"));
    }
    Ok(text.nfc().collect())
}

impl FromInput for String {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        let text = text(json)?;
        if text.len() > TEXT_LIMIT {
            return Err(FieldErrors::one("", "TOO_LONG", format!("must have at most {TEXT_LIMIT} bytes")));
        }
        Ok(text)
    }
}

impl FromInput for bool {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        serde_json::from_str(json.get()).map_err(|_| wrong("must be true or false"))
    }
}

impl FromInput for i64 {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        serde_json::from_str(json.get())
            .map_err(|_| wrong("must be a whole number between -9223372036854775808 and 9223372036854775807"))
    }
}

impl FromInput for f64 {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        match serde_json::from_str::<Self>(json.get()) {
            Ok(number) if number.is_finite() => Ok(number),
            _ => Err(wrong("must be a number")),
        }
    }
}

impl FromInput for Money {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        json.get().parse().map_err(|error: crate::store::MoneyError| wrong(&error.to_string()))
    }
}

impl FromInput for Timestamp {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        text(json)?
            .parse()
            .map_err(|error: crate::time::TimestampError| FieldErrors::one("", "INVALID_FORMAT", error.to_string()))
    }
}

impl FromInput for jiff::civil::Date {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        parse_date(&text(json)?)
            .ok_or_else(|| FieldErrors::one("", "INVALID_FORMAT", "must be a date such as 2026-01-31"))
    }
}

/// A date written `YYYY-MM-DD`, between the years 1 and 9999.
#[must_use]
pub(crate) fn parse_date(text: &str) -> Option<jiff::civil::Date> {
    if text.len() != 10
        || !text
            .bytes()
            .enumerate()
            .all(|(at, byte)| if at == 4 || at == 7 { byte == b'-' } else { byte.is_ascii_digit() })
    {
        return None;
    }
    text.parse().ok().filter(|date: &jiff::civil::Date| date.year() >= 1)
}

impl FromInput for uuid::Uuid {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        let text = text(json)?;
        if text.len() == 36
            && let Ok(id) = text.parse()
        {
            return Ok(id);
        }
        Err(FieldErrors::one("", "INVALID_FORMAT", "must be an id such as 0198c1de-5f00-7000-8000-000000000001"))
    }
}

impl FromInput for Json {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        let value: serde_json::Value =
            serde_json::from_str(json.get()).map_err(|_| wrong("must be JSON whose numbers are in range"))?;
        Ok(Self::from_value(&value))
    }
}

impl<T: FromInput> FromInput for Vec<T> {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        let items: Vec<&RawValue> = serde_json::from_str(json.get()).map_err(|_| wrong("must be a list"))?;
        if items.len() > LIST_LIMIT {
            return Err(FieldErrors::one("", "TOO_MANY", format!("must have at most {LIST_LIMIT} elements")));
        }
        let mut errors = FieldErrors::new();
        let values: Self = items
            .iter()
            .enumerate()
            .filter_map(|(position, item)| errors.take(&format!("[{position}]"), T::from_input(item)))
            .collect();
        errors.or(values)
    }
}

impl FromInput for Box<RawValue> {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        Ok(json.to_owned())
    }
}
