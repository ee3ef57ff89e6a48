use serde_json::{Value, value::RawValue};

use crate::{error::FieldErrors, input::FromInput, store::Json};

/// The longest metadata, in bytes of compact JSON.
pub const MAX_METADATA_BYTES: usize = 16 * 1024;
/// How deep metadata may be nested; the object itself is the first level.
pub const MAX_METADATA_DEPTH: usize = 10;

/// A caller's own JSON object: at most 16 KB and 10 levels, numbers being 64-bit integers or finite doubles.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Metadata(Json);

impl Metadata {
    /// As it is stored.
    #[must_use]
    pub const fn as_json(&self) -> &Json {
        &self.0
    }

    /// Stored metadata after a merge patch (RFC 7396): members replace members, `null` removes one.
    pub(crate) fn merged(stored: &Json, patch: &Self) -> Result<Json, FieldErrors> {
        let mut value = stored.to_value();
        merge(&mut value, patch.0.to_value());
        checked(&value)
    }
}

fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(members) = target else { return };
    for (name, change) in patch {
        if change.is_null() {
            members.remove(&name);
        } else {
            merge(members.entry(name).or_insert(Value::Null), change);
        }
    }
}

fn wrong(code: &'static str, message: impl Into<String>) -> FieldErrors {
    FieldErrors::one("", code, message)
}

fn checked(value: &Value) -> Result<Json, FieldErrors> {
    if !value.is_object() {
        return Err(wrong("INVALID_TYPE", "must be a JSON object"));
    }
    if !is_shallow(value, MAX_METADATA_DEPTH) {
        return Err(wrong("TOO_DEEP", format!("must be nested at most {MAX_METADATA_DEPTH} levels")));
    }
    if !is_storable(value) {
        return Err(wrong("INVALID_VALUE", "must not contain the character NUL or whole numbers beyond 64 bits"));
    }
    let json = Json::from_value(value);
    if json.as_str().len() > MAX_METADATA_BYTES {
        return Err(wrong("TOO_LONG", format!("must have at most {MAX_METADATA_BYTES} bytes")));
    }
    Ok(json)
}

impl FromInput for Metadata {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        // White space does not count, but what could never fit is not read.
        if json.get().len() > 16 * MAX_METADATA_BYTES {
            return Err(wrong("TOO_LONG", format!("must have at most {MAX_METADATA_BYTES} bytes")));
        }
        let value = serde_json::from_str(json.get())
            .map_err(|_| wrong("INVALID_TYPE", "must be a JSON object whose numbers are in range"))?;
        checked(&value).map(Self)
    }
}

fn is_shallow(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels > 0 && items.iter().all(|item| is_shallow(item, levels - 1)),
        Value::Object(members) => levels > 0 && members.values().all(|member| is_shallow(member, levels - 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

fn is_storable(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) => true,
        Value::Number(number) => number.is_i64() || number.is_f64(),
        Value::String(text) => !text.contains('\0'),
        Value::Array(items) => items.iter().all(is_storable),
        Value::Object(members) => members.iter().all(|(name, member)| !name.contains('\0') && is_storable(member)),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::value::RawValue;

    use super::{MAX_METADATA_BYTES, Metadata};
    use crate::input::FromInput as _;

    fn read(text: String) -> Result<String, &'static str> {
        let raw = RawValue::from_string(text).unwrap();
        Metadata::from_input(&raw)
            .map(|metadata| metadata.as_json().as_str().to_owned())
            .map_err(|errors| errors.iter().next().unwrap().code)
    }

    #[rstest]
    #[case(r#"{ "a.b": [1, 2.5, null], "$set": {"": "x"} }"#, Ok(r#"{"a.b":[1,2.5,null],"$set":{"":"x"}}"#))]
    #[case("[]", Err("INVALID_TYPE"))]
    #[case("null", Err("INVALID_TYPE"))]
    #[case(r#"{"n":1e999}"#, Err("INVALID_TYPE"))]
    #[case(r#"{"n":18446744073709551615}"#, Err("INVALID_VALUE"))]
    #[case(r#"{"n":"\u0000"}"#, Err("INVALID_VALUE"))]
    fn metadata_is_an_object_that_can_be_kept(#[case] text: &str, #[case] expected: Result<&str, &str>) {
        let read = read(text.to_owned());
        match expected {
            // The order of members is not promised.
            Ok(expected) => assert_eq!(
                serde_json::from_str::<serde_json::Value>(&read.unwrap()).unwrap(),
                serde_json::from_str::<serde_json::Value>(expected).unwrap()
            ),
            Err(code) => assert_eq!(read, Err(code)),
        }
    }

    #[test]
    fn metadata_is_bounded() {
        assert!(read(format!(r#"{{"a":"{}"}}"#, "x".repeat(MAX_METADATA_BYTES - 8))).is_ok());
        assert_eq!(read(format!(r#"{{"a":"{}"}}"#, "x".repeat(MAX_METADATA_BYTES))), Err("TOO_LONG"));
        assert!(read(format!(r#"{{"a":{}{}}}"#, "[".repeat(9), "]".repeat(9))).is_ok());
        assert_eq!(read(format!(r#"{{"a":{}{}}}"#, "[".repeat(10), "]".repeat(10))), Err("TOO_DEEP"));
    }
}
