use axum::{
    extract::FromRequestParts,
    http::{header, request::Parts},
};
use crm_core::error::FieldErrors;

use crate::{
    problem::{Problem, Result},
    state::AppState,
};

/// The version of a well-formed tag that is none of ours: no record has it, so that it never matches.
const NO_VERSION: i64 = -1;

/// The version that the client believes the record to have: nothing where it does not say, or says `*`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct IfMatch(pub(crate) Option<i64>);

impl FromRequestParts<AppState> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self> {
        let mut values = parts.headers.get_all(header::IF_MATCH).iter();
        let Some(value) = values.next() else {
            return Ok(Self(None));
        };
        let parsed = if values.next().is_some() { None } else { value.to_str().ok().and_then(parse) };
        parsed.ok_or_else(|| {
            let message = "must be the ETag of the record, such as \"3\", or *";
            Problem::invalid(FieldErrors::one("If-Match", "INVALID_ETAG", message))
        })
    }
}

fn parse(value: &str) -> Option<IfMatch> {
    let value = value.trim();
    if value == "*" {
        return Some(IfMatch(None));
    }
    let tag = value.strip_prefix("W/").unwrap_or(value).strip_prefix('"')?.strip_suffix('"')?;
    if !tag.bytes().all(|byte| byte == 0x21 || (0x23..0x7f).contains(&byte)) {
        return None;
    }
    let digits = !tag.is_empty() && tag.bytes().all(|byte| byte.is_ascii_digit());
    let version = if digits { tag.parse().unwrap_or(NO_VERSION) } else { NO_VERSION };
    Some(IfMatch(Some(version)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_a_version() {
        for (value, expected) in [
            ("\"5\"", Some(IfMatch(Some(5)))),
            ("W/\"5\"", Some(IfMatch(Some(5)))),
            (" \"12\" ", Some(IfMatch(Some(12)))),
            ("*", Some(IfMatch(None))),
            ("\"abc\"", Some(IfMatch(Some(NO_VERSION)))),
            ("\"99999999999999999999\"", Some(IfMatch(Some(NO_VERSION)))),
            ("5", None),
            ("\"5", None),
            ("\"", None),
            ("\"1\", \"2\"", None),
            ("w/\"5\"", None),
            ("", None),
        ] {
            assert_eq!(parse(value), expected, "{value}");
        }
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_text_never_panics(value: String) {
            let _ = parse(&value);
        }
    }
}
