use axum::{extract::FromRequestParts, http::request::Parts};
use crm_core::{error::FieldErrors, input::snake_case};

use crate::{
    problem::{Problem, Result},
    state::AppState,
};

/// More parameters than this are refused.
const PAIRS_LIMIT: usize = 200;
/// A parameter's name is shown up to so many characters.
const NAME_SHOWN: usize = 100;

/// The parameters of the query string, in their order, each named once. `camelCase` names the same as `snake_case`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Pairs(Vec<(String, String)>);

impl FromRequestParts<AppState> for Pairs {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self> {
        Ok(Self::parse(parts.uri.query().unwrap_or_default())?)
    }
}

impl Pairs {
    /// Reads a query string.
    ///
    /// # Errors
    /// `INVALID_TEXT` for escapes that are none, bytes that are no UTF-8 and NUL; `DUPLICATE_PARAMETER`.
    pub(crate) fn parse(query: &str) -> Result<Self, FieldErrors> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            if pairs.len() == PAIRS_LIMIT {
                let message = format!("has more than {PAIRS_LIMIT} parameters");
                return Err(FieldErrors::one("query", "TOO_MANY", message));
            }
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let Some(name) = decode(name) else {
                return Err(FieldErrors::one(
                    "query",
                    "INVALID_TEXT",
                    "a parameter's name is not percent-encoded UTF-8",
                ));
            };
            let shown: String = name.chars().take(NAME_SHOWN).collect();
            let Some(value) = decode(value) else {
                return Err(FieldErrors::one(shown, "INVALID_TEXT", "is not percent-encoded UTF-8 without NUL"));
            };
            if pairs.iter().any(|(given, _)| *given == name) {
                return Err(FieldErrors::one(shown, "DUPLICATE_PARAMETER", "is given more than once"));
            }
            pairs.push((name, value));
        }
        Ok(Self(pairs))
    }

    /// Goes on only if every parameter is one of these.
    ///
    /// # Errors
    /// 400 naming each other one, and what is allowed.
    pub(crate) fn only(&self, allowed: &[&str]) -> Result<(), FieldErrors> {
        let mut errors = FieldErrors::new();
        for (place, (name, _)) in self.0.iter().enumerate() {
            let shown: String = name.chars().take(NAME_SHOWN).collect();
            let name = snake_case(name);
            if allowed.contains(&name.as_ref()) {
                if self.0.iter().take(place).any(|(before, _)| snake_case(before) == name) {
                    errors.add(shown, "DUPLICATE_PARAMETER", "is given more than once, under different names");
                }
                continue;
            }
            let message = match allowed {
                [] => "is not a parameter here; none is".to_owned(),
                _ => format!("is not a parameter here; allowed are: {}", allowed.join(", ")),
            };
            errors.add(shown, "UNKNOWN_PARAMETER", message);
        }
        errors.or(())
    }

    /// The value of a parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(given, _)| snake_case(given) == name).map(|(_, value)| value.as_str())
    }

    /// Takes a parameter out, so that what remains can be read as filters.
    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        let position = self.0.iter().position(|(given, _)| snake_case(given) == name)?;
        Some(self.0.remove(position).1)
    }

    /// Takes a yes-or-no parameter out; not given is no.
    ///
    /// # Errors
    /// 400 where it is neither `true` nor `false`.
    pub(crate) fn take_flag(&mut self, name: &str) -> Result<bool, FieldErrors> {
        match self.take(name).as_deref() {
            Some("true") => Ok(true),
            Some("false") | None => Ok(false),
            Some(_) => Err(FieldErrors::one(name, "INVALID_VALUE", "must be true or false")),
        }
    }

    /// All parameters in their order.
    pub(crate) fn into_pairs(self) -> Vec<(String, String)> {
        self.0
    }
}

/// Percent-decoding as forms write it: `+` is a space. Nothing for a broken escape, bytes that are no UTF-8, and NUL.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let high = char::from(rest.next()?).to_digit(16)?;
                let low = char::from(rest.next()?).to_digit(16)?;
                bytes.push(u8::try_from(high * 16 + low).ok().filter(|byte| *byte != 0)?);
            }
            0 => return None,
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pairs_are_decoded_strictly() {
        let pairs = Pairs::parse("a=1&b[gte]=x%20y+z&c&%C3%A9=%e2%82%ac&&q=a=b").unwrap();
        let read = pairs.into_pairs();
        let wanted = [("a", "1"), ("b[gte]", "x y z"), ("c", ""), ("é", "€"), ("q", "a=b")];
        assert_eq!(read, wanted.map(|(name, value)| (name.to_owned(), value.to_owned())));
        for (query, field, code) in [
            ("a=%", "a", "INVALID_TEXT"),
            ("a=%2", "a", "INVALID_TEXT"),
            ("a=%zz", "a", "INVALID_TEXT"),
            ("a=%ff", "a", "INVALID_TEXT"),
            ("a=%00", "a", "INVALID_TEXT"),
            ("%ff=1", "query", "INVALID_TEXT"),
            ("a=1&a=2", "a", "DUPLICATE_PARAMETER"),
            ("a=1&%61=1", "a", "DUPLICATE_PARAMETER"),
        ] {
            let errors = Pairs::parse(query).unwrap_err();
            let error = errors.iter().next().unwrap();
            assert_eq!((error.field.as_str(), error.code), (field, code), "{query}");
        }
        let many: Vec<String> = (0..=PAIRS_LIMIT).map(|number| format!("p{number}=")).collect();
        assert!(Pairs::parse(&many.join("&")).is_err());
    }

    #[test]
    fn unknown_parameters_are_named() {
        let mut pairs = Pairs::parse("limit=5&limt=6&all=true&any=maybe").unwrap();
        let errors = pairs.only(&["limit", "all", "any"]).unwrap_err();
        assert_eq!(errors.iter().map(|error| error.field.as_str()).collect::<Vec<_>>(), ["limt"]);
        assert_eq!(pairs.get("limit"), Some("5"));
        assert_eq!(pairs.take_flag("all"), Ok(true));
        assert_eq!(pairs.take_flag("all"), Ok(false));
        assert!(pairs.take_flag("any").is_err());
        let camel = Pairs::parse("minScore=1&dryRun=true").unwrap();
        assert_eq!((camel.only(&["min_score", "dry_run"]), camel.get("min_score")), (Ok(()), Some("1")));
        let twice = Pairs::parse("minScore=1&min_score=1").unwrap();
        assert_eq!(
            twice.only(&["min_score"]).unwrap_err().iter().map(|error| error.code).collect::<Vec<_>>(),
            ["DUPLICATE_PARAMETER"]
        );
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(query: String) {
            let _ = Pairs::parse(&query);
        }

        #[test]
        fn what_is_encoded_is_read_back(name in "[a-z]{1,5}", value in "[^\\x00]{0,20}") {
            let query: String = url::form_urlencoded::Serializer::new(String::new()).append_pair(&name, &value).finish();
            let pairs = Pairs::parse(&query).unwrap();
            prop_assert_eq!(pairs.get(&name), Some(value.as_str()));
        }
    }
}
