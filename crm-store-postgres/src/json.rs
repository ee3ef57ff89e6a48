//! JSON on its way into `jsonb` and out of it.
//!
//! `jsonb` keeps numbers as exact decimals: their digits and trailing zeros stay, an exponent does not. A double that
//! was written with one, such as `1e16`, would come back as an integer; so it is written out, with a fraction, and
//! written short again when it is read.

use std::borrow::Cow;

/// A token longer than this was made by writing an exponent out.
const LONG: usize = 40;
/// So is a whole number with a fraction of nothing that is longer than any integer.
const LONG_WHOLE: usize = 19;

/// The JSON as it is stored.
pub(crate) fn to_stored(text: &str) -> Cow<'_, str> {
    replace_numbers(
        text,
        |token| token.contains(['e', 'E']),
        |number| {
            let mut written = format!("{number}");
            if !written.contains('.') {
                written.push_str(".0");
            }
            written
        },
    )
}

/// The JSON that was stored.
pub(crate) fn from_stored(text: &str) -> Cow<'_, str> {
    let was_short = |token: &str| token.len() > LONG || token.len() > LONG_WHOLE && token.ends_with(".0");
    replace_numbers(text, was_short, |number| format!("{number:e}"))
}

/// Writes every number anew that is to be.
fn replace_numbers(text: &str, is_meant: impl Fn(&str) -> bool, write: impl Fn(f64) -> String) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let mut replaced = String::new();
    let mut copied = 0;
    let mut place = 0;
    while let Some(byte) = bytes.get(place) {
        match byte {
            b'"' => place = end_of_string(bytes, place),
            b'-' | b'0'..=b'9' => {
                let length = bytes[place..].iter().take_while(|byte| is_numeric(**byte)).count();
                let token = &text[place..place + length];
                if let Some(number) =
                    is_meant(token).then(|| token.parse().ok()).flatten().filter(|it: &f64| it.is_finite())
                {
                    replaced.push_str(&text[copied..place]);
                    replaced.push_str(&write(number));
                    copied = place + length;
                }
                place += length;
            }
            _ => place += 1,
        }
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    replaced.push_str(&text[copied..]);
    Cow::Owned(replaced)
}

const fn is_numeric(byte: u8) -> bool {
    matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')
}

/// The place behind the string that begins here.
fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut place = start + 1;
    while let Some(byte) = bytes.get(place) {
        match byte {
            b'"' => return place + 1,
            b'\\' => place += 2,
            _ => place += 1,
        }
    }
    place
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn exponents_are_written_out() {
        let kept = "{\"1e5\":\"2e5\\\"3e5\",\"a\":[1,2.50,\"4e4\"]}";
        for (json, stored) in [(kept, kept), ("[1e16,-2.5E-3,7]", "[10000000000000000.0,-0.0025,7]"), ("1e0", "1.0")] {
            assert_eq!(to_stored(json), stored);
        }
    }

    #[test]
    fn amounts_keep_every_digit() {
        let json = "[99999999999999.9999,-9223372036854775808,0.30000000000000004]";
        assert_eq!(from_stored(&to_stored(json)), json);
    }

    proptest! {
        #[test]
        fn doubles_come_back(number in any::<f64>().prop_filter("finite", |number| number.is_finite())) {
            let json = serde_json::Value::from(number).to_string();
            let back: f64 = from_stored(&to_stored(&json)).parse().unwrap();
            prop_assert_eq!(back, number);
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in any::<String>()) {
            let text = text.as_str();
            prop_assert!(!from_stored(&to_stored(text)).is_empty() || text.is_empty());
        }
    }
}
