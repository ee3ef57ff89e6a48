//! Texts that are checked once, where they come in.

use std::{fmt, ops::Deref, str::FromStr};

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use unicode_normalization::UnicodeNormalization as _;

use crate::{
    error::FieldErrors,
    input::{self, FromInput},
    record::{DecodeError, FieldType},
    store::{FieldKind, Value},
};

/// One line of text: trimmed, normal form C, 1 to `MAX` characters, none of them a control character.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Line<const MAX: usize>(String);

/// Text of several lines: trimmed, normal form C, 1 to `MAX` characters, no control characters but line feed and tab.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Text<const MAX: usize>(String);

/// Direction overrides and isolates: they make a name read as another.
const fn reorders(character: char) -> bool {
    matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn checked(text: &str, maximum: usize, control_allowed: fn(char) -> bool) -> Result<String, FieldErrors> {
    let text: String = text.trim().nfc().collect();
    if text.is_empty() {
        return Err(FieldErrors::one("", "REQUIRED", "must not be empty"));
    }
    if text.len() > maximum && text.chars().count() > maximum {
        return Err(FieldErrors::one("", "TOO_LONG", format!("must have at most {maximum} characters")));
    }
    if text.chars().any(|character| character.is_control() && !control_allowed(character) || reorders(character)) {
        return Err(FieldErrors::one("", "INVALID_TEXT", "must not contain control characters"));
    }
    Ok(text)
}

macro_rules! checked_text {
    ($name:ident, $label:literal, $control:expr) => {
        impl<const MAX: usize> $name<MAX> {
            /// Checks and normalises a text.
            ///
            /// # Errors
            /// `REQUIRED` where nothing is left after trimming, `TOO_LONG`, `INVALID_TEXT` for a control character.
            pub fn parse(text: &str) -> Result<Self, FieldErrors> {
                checked(text, MAX, $control).map(Self)
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl<const MAX: usize> Deref for $name<MAX> {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl<const MAX: usize> AsRef<str> for $name<MAX> {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl<const MAX: usize> fmt::Display for $name<MAX> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<const MAX: usize> FromStr for $name<MAX> {
            type Err = FieldErrors;

            fn from_str(text: &str) -> Result<Self, FieldErrors> {
                Self::parse(text)
            }
        }

        impl<const MAX: usize> From<$name<MAX>> for String {
            fn from(text: $name<MAX>) -> Self {
                text.0
            }
        }

        impl<const MAX: usize> Serialize for $name<MAX> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de, const MAX: usize> serde::Deserialize<'de> for $name<MAX> {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }

        impl<const MAX: usize> FromInput for $name<MAX> {
            fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
                Self::parse(&input::text(json)?)
            }
        }

        impl<const MAX: usize> FieldType for $name<MAX> {
            const KIND: FieldKind = FieldKind::Text;

            fn to_value(&self) -> Value {
                Value::Text(self.0.clone())
            }

            /// Takes what is stored as it is: it was checked when it came in.
            fn from_value(value: Value) -> Result<Self, DecodeError> {
                String::from_value(value).map(Self)
            }
        }

        #[cfg(feature = "openapi")]
        impl<const MAX: usize> utoipa::PartialSchema for $name<MAX> {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .min_length(Some(1))
                    .max_length(Some(MAX))
                    .build()
                    .into()
            }
        }

        #[cfg(feature = "openapi")]
        impl<const MAX: usize> utoipa::ToSchema for $name<MAX> {
            fn name() -> std::borrow::Cow<'static, str> {
                std::borrow::Cow::Owned(format!("{}{MAX}", $label))
            }
        }
    };
}

checked_text!(Line, "Line", |_| false);
checked_text!(Text, "Text", |character| matches!(character, '\n' | '\t'));

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Line, Text};

    #[test]
    fn lines_are_trimmed_normalised_and_bounded() {
        assert_eq!(Line::<9>::parse("  Ame\u{301}lie ").map(|line| line.to_string()), Ok("Amélie".to_owned()));
        for (text, code) in
            [(" ", "REQUIRED"), ("abcdef", "TOO_LONG"), ("a\nb", "INVALID_TEXT"), ("a\u{202e}b", "INVALID_TEXT")]
        {
            let errors = Line::<5>::parse(text).expect_err(text);
            assert_eq!(errors.iter().map(|error| error.code).collect::<Vec<_>>(), [code], "{text:?}");
        }
        assert!(Text::<5>::parse("a\nb").is_ok());
        assert!(Line::<5>::parse("ééééé").is_ok(), "characters count, not bytes");
    }

    proptest! {
        #[test]
        fn a_line_reads_back_as_itself(text in any::<String>()) {
            if let Ok(line) = Line::<50>::parse(&text) {
                prop_assert_eq!(Line::parse(line.as_str()), Ok(line.clone()));
            }
        }
    }
}
