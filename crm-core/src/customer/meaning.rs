//! What a JSON text says, whatever way it is written.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// One form for all texts that say the same: members by name, no white space, numbers by their digits. No number is read as
/// a double, which would take two amounts for one.
pub(super) fn meaning(json: &str) -> String {
    let mut form = String::with_capacity(json.len());
    match serde_json::from_str(json) {
        Ok(json) => write(json, &mut form),
        // No JSON says nothing but itself.
        Err(_) => form.push_str(json),
    }
    form
}

/// Whether two texts say the same.
pub(super) fn same(one: &str, other: &str) -> bool {
    one == other || meaning(one) == meaning(other)
}

fn write(json: &RawValue, form: &mut String) {
    let text = json.get();
    match text.as_bytes().first() {
        Some(b'{') => {
            let members: BTreeMap<String, &RawValue> = serde_json::from_str(text).unwrap_or_default();
            let mut opening = '{';
            for (name, member) in members {
                form.push(opening);
                form.push_str(&quoted(&name));
                form.push(':');
                write(member, form);
                opening = ',';
            }
            form.push_str(if opening == '{' { "{}" } else { "}" });
        }
        Some(b'[') => {
            let elements: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
            form.push('[');
            for element in elements {
                write(element, form);
                form.push(',');
            }
            form.push(']');
        }
        Some(b'"') => match serde_json::from_str::<String>(text) {
            Ok(said) => form.push_str(&quoted(&said)),
            Err(_) => form.push_str(text),
        },
        Some(b'-' | b'0'..=b'9') => form.push_str(&number(text)),
        _ => form.push_str(text),
    }
}

fn quoted(text: &str) -> String {
    // A text can always be written as JSON.
    serde_json::to_string(text).unwrap_or_default()
}

/// The digits without zeros at either end, and the power of ten of the last.
fn number(text: &str) -> String {
    let (sign, unsigned) = text.strip_prefix('-').map_or(("", text), |unsigned| ("-", unsigned));
    let (mantissa, power) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let Ok(power) = power.parse::<i64>() else { return text.to_owned() };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    let significant = digits.trim_end_matches('0');
    if significant.is_empty() {
        return "0".to_owned();
    }
    let places = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let power = power.saturating_sub(places(fraction.len())).saturating_add(places(digits.len() - significant.len()));
    format!("{sign}{significant}e{power}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_that_say_the_same_are_told_from_others() {
        for (one, other) in [
            ("1", "1.0"),
            ("100", "1e2"),
            ("0.0012", "12E-4"),
            ("-0", "0.00"),
            (r#"{"a":1,"b":[true, null]}"#, r#" { "b" : [true,null], "a": 1.00 } "#),
            (r#""\u00e9\/""#, "\"é/\""),
            ("{}", "{ }"),
        ] {
            assert!(same(one, other), "{one} and {other}");
        }
        for (one, other) in [
            ("99999999999999.9999", "99999999999999.9998"),
            ("1", "-1"),
            ("1", "\"1\""),
            ("null", "0"),
            ("{}", r#"{"a":null}"#),
            ("[1,2]", "[2,1]"),
            ("[]", "{}"),
            ("10", "1"),
            ("1e99999999999999999999", "1e99999999999999999998"),
        ] {
            assert!(!same(one, other), "{one} and {other}");
        }
    }

    proptest! {
        #[test]
        fn any_text_has_a_meaning(text in any::<String>(), number in any::<f64>()) {
            prop_assert!(same(&text, &text));
            if number.is_finite() {
                let (plain, scientific) = (format!("{number}"), format!("{number:e}"));
                prop_assert!(same(&plain, &scientific));
            }
        }
    }
}
