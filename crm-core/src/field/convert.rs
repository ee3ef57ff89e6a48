//! From one type to another, without losing anything.

use super::{
    CustomFieldType, ValueContext,
    time_bound::{day_of, first_instant},
    value::FieldValue,
};
use crate::error::FieldErrors;

/// A value of the type `from` as one of the type `to`; nothing where it is blank. Options are those of the field.
///
/// # Errors
/// What stands in the way: a value converts only where nothing of it is lost.
pub(super) fn convert(
    value: &FieldValue,
    to: CustomFieldType,
    options: &[String],
    context: &ValueContext,
) -> Result<Option<FieldValue>, FieldErrors> {
    let converted = match (value, to) {
        (value, to) if value.is_blank() && to != CustomFieldType::Text && to != CustomFieldType::MultiList => {
            return Ok(None);
        }
        (FieldValue::List(items), CustomFieldType::MultiList) => FieldValue::List(items.clone()),
        (FieldValue::List(items), to) if items.len() > 1 && to != CustomFieldType::Text => {
            return refuse("has more than one option");
        }
        (FieldValue::Date(date), CustomFieldType::Datetime) => FieldValue::Datetime(first_instant(*date)),
        (FieldValue::Datetime(instant), CustomFieldType::Date) => {
            let date = day_of(*instant);
            if first_instant(date) != *instant {
                return refuse("has a time of day, which would be lost");
            }
            FieldValue::Date(date)
        }
        (FieldValue::Boolean(value), CustomFieldType::Number) => FieldValue::Number(f64::from(u8::from(*value))),
        (value, to) => {
            let text = value.to_text();
            let converted = FieldValue::of_text(to, &text, context)?;
            if matches!(value, FieldValue::Money(_)) && to == CustomFieldType::Number && converted.to_text() != text {
                return refuse("has more digits than a number keeps");
            }
            converted
        }
    };
    match &converted {
        FieldValue::Text(text) if to == CustomFieldType::List && !options.contains(text) => {
            refuse(&format!("is not an option: {}", quoted(text)))
        }
        FieldValue::List(items) => match items.iter().find(|item| !options.contains(item)) {
            Some(item) => refuse(&format!("is not an option: {}", quoted(item))),
            None => Ok(Some(converted)),
        },
        _ => Ok(Some(converted)),
    }
}

fn refuse<T>(message: &str) -> Result<T, FieldErrors> {
    Err(FieldErrors::one("", "CANNOT_CONVERT", message))
}

/// A text in quotes, cut where it is long.
pub(super) fn quoted(text: &str) -> String {
    let mut short: String = text.chars().take(60).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::{super::CustomFieldType, FieldValue, ValueContext, convert};
    use crate::{contact::Country, time::Timestamp};

    fn context() -> ValueContext {
        ValueContext { now: Timestamp::default(), country: Country::parse("IN").ok() }
    }

    fn through(from: &str, to: &str, json: &str) -> Result<Option<String>, String> {
        let (from, to) = (from.parse().expect("a type"), to.parse().expect("a type"));
        let json = RawValue::from_string(json.to_owned()).expect("JSON");
        let value = FieldValue::read(from, &json, &context()).expect("a value");
        let options = ["gold".to_owned(), "silver".to_owned(), "5".to_owned()];
        convert(&value, to, &options, &context())
            .map(|value| value.map(|value| value.to_json()))
            .map_err(|errors| errors.to_string())
    }

    #[test]
    fn values_convert_where_nothing_is_lost() {
        for (from, to, json, converted) in [
            ("text", "number", r#"" 5.50 ""#, Some("5.5")),
            ("text", "number", r#""five""#, None),
            ("text", "number", r#""0x10""#, None),
            ("text", "money", r#""12.3456""#, Some("12.3456")),
            ("text", "money", r#""12.34567""#, None),
            ("text", "date", r#""2026-01-31""#, Some(r#""2026-01-31""#)),
            ("text", "date", r#""31.1.2026""#, None),
            ("text", "datetime", r#""2026-01-31T00:00:00Z""#, Some(r#""2026-01-31T00:00:00.000Z""#)),
            ("text", "boolean", r#""Yes""#, Some("true")),
            ("text", "boolean", r#""maybe""#, None),
            ("text", "email", r#""A@B.com""#, Some(r#""a@b.com""#)),
            ("text", "phone", r#""98765 43210""#, Some(r#""+919876543210""#)),
            ("text", "url", r#""https://example.com""#, Some(r#""https://example.com/""#)),
            ("text", "list", r#""gold""#, Some(r#""gold""#)),
            ("text", "list", r#""Gold""#, None),
            ("text", "multi_list", r#""gold""#, Some(r#"["gold"]"#)),
            ("list", "multi_list", r#""gold""#, Some(r#"["gold"]"#)),
            ("multi_list", "list", r#"["gold"]"#, Some(r#""gold""#)),
            ("multi_list", "list", r#"["gold","silver"]"#, None),
            ("multi_list", "text", r#"["gold","silver"]"#, Some(r#""gold, silver""#)),
            ("multi_list", "number", r#"["5"]"#, Some("5")),
            ("number", "text", "5.5", Some(r#""5.5""#)),
            ("number", "list", "5", Some(r#""5""#)),
            ("number", "money", "5.5", Some("5.5")),
            ("number", "money", "5.00001", None),
            ("number", "money", "1e300", None),
            ("money", "number", "12.5", Some("12.5")),
            ("money", "number", "99999999999999.9999", None),
            ("number", "date", "20260131", None),
            ("date", "datetime", r#""2026-01-31""#, Some(r#""2026-01-31T00:00:00.000Z""#)),
            ("datetime", "date", r#""2026-01-31T00:00:00Z""#, Some(r#""2026-01-31""#)),
            ("datetime", "date", r#""2026-01-31T10:00:00Z""#, None),
            ("datetime", "number", r#""2026-01-31T10:00:00Z""#, None),
            ("boolean", "number", "true", Some("1")),
            ("boolean", "text", "false", Some(r#""false""#)),
            ("email", "phone", r#""a@b.com""#, None),
        ] {
            assert_eq!(through(from, to, json).ok().flatten().as_deref(), converted, "{from} {json} to {to}");
        }
    }

    #[test]
    fn what_is_blank_converts_to_nothing() {
        assert_eq!(through("text", "number", r#""""#), Ok(None));
        assert_eq!(through("multi_list", "list", "[]"), Ok(None));
        assert_eq!(through("text", "multi_list", r#""""#), Ok(Some("[]".to_owned())));
    }

    proptest! {
        #[test]
        fn a_conversion_gives_a_value_of_the_type(
            text in "[ -~]{0,12}|[0-9]{1,12}(\\.[0-9]{1,5})?",
            from in prop::sample::select(CustomFieldType::ALL),
            to in prop::sample::select(CustomFieldType::ALL),
        ) {
            let options = vec![text.trim().to_owned()];
            if let Ok(value) = FieldValue::of_text(from, &text, &context())
                && let Ok(Some(converted)) = convert(&value, to, &options, &context())
            {
                let stored = RawValue::from_string(converted.to_stored()).expect("JSON");
                prop_assert_eq!(FieldValue::of_stored(to, &stored), Some(converted.clone()));
                // Converting again changes nothing.
                prop_assert_eq!(convert(&converted, to, &options, &context()), Ok(Some(converted)).map(|value: Option<FieldValue>| value.filter(|value| !value.is_blank() || matches!(to, CustomFieldType::Text | CustomFieldType::MultiList))));
            }
        }
    }
}
