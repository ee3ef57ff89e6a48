use std::time::Duration;

use axum::{
    body::BodyDataStream,
    extract::{FromRequest, Request},
    http::{HeaderMap, header},
};
use crm_core::{error::FieldErrors, input::FromInput};
use futures::StreamExt as _;
use serde_json::value::RawValue;

use crate::{
    json,
    options::RouterOptions,
    problem::{Problem, Result},
    state::AppState,
};

/// A body beyond the limit is read on and dropped up to so much, so that the client gets to read the answer.
const DRAINED: usize = 16 * 1024 * 1024;
/// For at most so long.
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// A JSON body, read strictly.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T);

impl<T: FromInput> FromRequest<AppState> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &AppState) -> Result<Self> {
        let (parts, body) = request.into_parts();
        let bytes = read_json(&parts.headers, body, state.options()).await?;
        if bytes.is_empty() {
            return match T::absent() {
                Some(value) => Ok(Self(value)),
                None => Err(Problem::invalid(FieldErrors::one("body", "REQUIRED", "a JSON body is required"))),
            };
        }
        if !is_json(&parts.headers) {
            return Err(Problem::not_json());
        }
        let text = json::check(&bytes)?;
        let raw: &RawValue = serde_json::from_str(text.trim_matches([' ', '\t', '\n', '\r']))
            .map_err(|error| FieldErrors::one("body", "INVALID_JSON", format!("is not valid JSON: {error}")))?;
        T::from_input(raw).map(Self).map_err(|errors| Problem::invalid(errors.of_body()))
    }
}

/// The bytes of a JSON body, within the limits of size and time.
///
/// # Errors
/// 413, 408, or 400 where it broke off.
pub(crate) async fn read_json(headers: &HeaderMap, body: axum::body::Body, options: &RouterOptions) -> Result<Vec<u8>> {
    let read = read(headers, body.into_data_stream(), options.body_limit);
    tokio::time::timeout(options.body_timeout, read).await.map_err(|_| Problem::slow_body())?
}

async fn read(headers: &HeaderMap, mut stream: BodyDataStream, limit: usize) -> Result<Vec<u8>> {
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok())
        .and_then(|length| length.parse::<usize>().ok());
    if declared.is_some_and(|length| length > limit) {
        // A client that asks first has sent nothing yet.
        if !headers.contains_key(header::EXPECT) {
            drain(stream).await;
        }
        return Err(Problem::too_large(limit));
    }
    let mut bytes = Vec::with_capacity(declared.unwrap_or(0));
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| {
            tracing::debug!(%error, "A body broke off.");
            Problem::invalid(FieldErrors::one("body", "INCOMPLETE", "broke off before its end"))
        })?;
        if bytes.len() + chunk.len() > limit {
            drain(stream).await;
            return Err(Problem::too_large(limit));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

pub(super) async fn drain(mut stream: BodyDataStream) {
    let drained = async {
        let mut dropped = 0;
        while let Some(Ok(chunk)) = stream.next().await {
            dropped += chunk.len();
            if dropped > DRAINED {
                break;
            }
        }
    };
    // Past the time the connection is closed with what it still brings.
    let _ = tokio::time::timeout(DRAIN_TIME, drained).await;
}

/// Whether the content type is JSON in UTF-8.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    let Some(content_type) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let mut parts = content_type.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
    let json = matches!(essence.as_str(), "application/json" | "application/merge-patch+json");
    json && parts.all(|parameter| match parameter.split_once('=') {
        Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
            let value = value.trim().trim_matches('"');
            value.eq_ignore_ascii_case("utf-8") || value.eq_ignore_ascii_case("utf8")
        }
        _ => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_in_utf_8_is_json() {
        for (content_type, expected) in [
            ("application/json", true),
            ("Application/JSON; charset=UTF-8", true),
            ("application/json;charset=\"utf-8\"", true),
            ("application/merge-patch+json", true),
            ("application/json; charset=latin1", false),
            ("text/plain", false),
            ("application/x-www-form-urlencoded", false),
            ("application/jsonp", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, content_type.parse().unwrap());
            assert_eq!(is_json(&headers), expected, "{content_type}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
