use std::{fmt, str::FromStr};

/// The longest key.
const LONGEST: usize = 255;

/// The value of `Idempotency-Key`: 1 to 255 visible ASCII characters, bare or as a quoted string of RFC 8941. Both
/// spellings are the same key.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct IdempotencyKey(String);

/// The text is no key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be 1 to {LONGEST} visible ASCII characters, bare or in double quotes, and stand once")]
pub struct InvalidKey;

impl IdempotencyKey {
    /// The key without quotes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for IdempotencyKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let text = text.trim_matches([' ', '\t']);
        let key = match text.strip_prefix('"') {
            Some(rest) => unquoted(rest).ok_or(InvalidKey)?,
            None => text.to_owned(),
        };
        let fits = (1..=LONGEST).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
        if fits { Ok(Self(key)) } else { Err(InvalidKey) }
    }
}

/// What stands after the opening quote: nothing may follow the closing one.
fn unquoted(rest: &str) -> Option<String> {
    let mut key = String::with_capacity(rest.len());
    let mut characters = rest.chars();
    loop {
        match characters.next()? {
            '"' => return characters.next().is_none().then_some(key),
            '\\' => key.push(characters.next().filter(|character| matches!(character, '"' | '\\'))?),
            character => key.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_is_bare_or_quoted() {
        let longest = "k".repeat(255);
        for (text, expected) in [
            ("8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324"),
            ("\"8e03978e\"", "8e03978e"),
            (" \"a\" ", "a"),
            ("\"a\\\"b\\\\c\"", "a\"b\\c"),
            ("a\"b", "a\"b"),
            ("~!#$%&'()*+,-./:;<=>?@[]^_`{|}", "~!#$%&'()*+,-./:;<=>?@[]^_`{|}"),
            (longest.as_str(), longest.as_str()),
        ] {
            assert_eq!(text.parse::<IdempotencyKey>().as_ref().map(IdempotencyKey::as_str), Ok(expected), "{text}");
        }
        let too_long = "k".repeat(256);
        for text in [
            "",
            " ",
            "\"\"",
            "\"",
            "\"a",
            "\"a\"b",
            "\"a\";q=1",
            "\"a\\b\"",
            "a b",
            "\"a b\"",
            "é",
            "a\u{7f}",
            &too_long,
        ] {
            assert_eq!(text.parse::<IdempotencyKey>(), Err(InvalidKey), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_an_answer(text in any::<String>()) {
            let _ = text.parse::<IdempotencyKey>();
            let _ = format!("\"{text}").parse::<IdempotencyKey>();
        }

        #[test]
        fn both_spellings_are_one_key(key in "[!#-~&&[^\\\\]]{1,255}") {
            prop_assert_eq!(key.parse::<IdempotencyKey>(), format!("\"{key}\"").parse::<IdempotencyKey>());
        }
    }
}
