//! What goes wrong, as an answer. The one place that decides the status of an error.

use std::{borrow::Cow, error::Error as _, sync::Arc, time::Duration};

use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use crm_core::{
    ai::sentence::Refusal,
    error::{Error, FieldError, FieldErrors},
    idempotency::Effect,
};
use serde::{Serialize, Serializer, ser::SerializeMap as _};
use uuid::Uuid;

/// The result of a handler.
pub(crate) type Result<T, E = Problem> = std::result::Result<T, E>;

/// More wrong fields than this are counted, not listed.
const LISTED: usize = 200;
/// The problem type of RFC 9457 for a spent quota.
const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";

/// An error as a client sees it. The edge writes its body, in the form that the client accepts.
#[derive(Clone, Debug)]
pub(crate) struct Problem(Arc<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    status: StatusCode,
    code: &'static str,
    message: Cow<'static, str>,
    errors: Vec<FieldError>,
    matches: Vec<Uuid>,
    violated: Vec<&'static str>,
    headers: Vec<(HeaderName, HeaderValue)>,
    sentence: Option<Box<Refusal>>,
}

impl Problem {
    /// A problem with nothing but a status, a code and a sentence.
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Arc::new(Inner {
            status,
            code,
            message: message.into(),
            errors: Vec::new(),
            matches: Vec::new(),
            violated: Vec::new(),
            headers: Vec::new(),
            sentence: None,
        }))
    }

    /// 400 with the wrong fields.
    #[expect(clippy::needless_pass_by_value, reason = "the errors end here, as every caller means them to")]
    pub(crate) fn invalid(errors: FieldErrors) -> Self {
        let more = errors.iter().count().saturating_sub(LISTED);
        let message = match more {
            0 => Cow::Borrowed("Some fields are not valid."),
            _ => Cow::Owned(format!("Some fields are not valid; {more} more than listed.")),
        };
        Self::new(StatusCode::BAD_REQUEST, "VALIDATION_ERROR", message)
            .edit(|inner| inner.errors = errors.iter().take(LISTED).cloned().collect())
    }

    /// 404 of a path that leads nowhere.
    pub(crate) fn no_route() -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", "There is nothing at this address.")
    }

    /// 404 of a record.
    pub(crate) fn no_record() -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", "There is no such record.")
    }

    /// 405; the router adds `Allow`.
    pub(crate) fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "METHOD_NOT_ALLOWED",
            "This address does not take this method; the Allow header names those it takes.",
        )
    }

    /// 413 of a body beyond `limit` bytes.
    pub(crate) fn too_large(limit: usize) -> Self {
        let message = format!("The body is larger than {} KB.", limit / 1024);
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE", message)
    }

    /// 415 of a body that is not JSON.
    pub(crate) fn not_json() -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "UNSUPPORTED_MEDIA_TYPE",
            "The body must be JSON in UTF-8, sent with the header Content-Type: application/json.",
        )
    }

    /// 408 of a body that does not arrive.
    pub(crate) fn slow_body() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "REQUEST_TIMEOUT", "The body did not arrive in time.")
            .with_header(header::CONNECTION, HeaderValue::from_static("close"))
    }

    /// 414 of an address longer than `limit` bytes.
    pub(crate) fn uri_too_long(limit: usize) -> Self {
        let message = format!("The address is longer than {limit} bytes; long filters go into a POST …/search.");
        Self::new(StatusCode::URI_TOO_LONG, "URI_TOO_LONG", message)
    }

    /// 409 of a request that is in hand.
    pub(crate) fn still_running(retry_after: Duration) -> Self {
        Self::new(StatusCode::CONFLICT, "CONFLICT", "The first request with this key is still being carried out.")
            .with_retry_after(retry_after)
    }

    /// 409 of a request that was carried out, at least in part, and whose answer is lost.
    pub(crate) fn lost_answer(effect: Option<&Effect>) -> Self {
        let message = effect.map_or_else(
            || {
                "The request with this key was begun, and its answer was lost: look at what it has done, and send what \
                 is missing under another key."
                    .to_owned()
            },
            |Effect { record_type, record_id, .. }| {
                format!(
                    "The request with this key was carried out, and its answer was lost: look at {record_id} of \
                     {record_type}, and use another key for another request."
                )
            },
        );
        Self::new(StatusCode::CONFLICT, "CONFLICT", message)
    }

    /// 422 of a key that was used for another request.
    pub(crate) fn idempotency_mismatch() -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "IDEMPOTENCY_MISMATCH",
            "This key was used for a request with another body or query: use another key.",
        )
    }

    /// 500 with nothing told.
    pub(crate) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", "Something went wrong on our side.")
    }

    /// 503 with the time to try again.
    pub(crate) fn unavailable(message: impl Into<Cow<'static, str>>, retry_after: Duration) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", message).with_retry_after(retry_after)
    }

    /// 429 naming the policies that are spent.
    pub(crate) fn rate_limited(retry_after: Duration, violated: Vec<&'static str>) -> Self {
        let message = format!("Too many requests: try again in {} s.", seconds(retry_after));
        Self::new(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED", message)
            .with_retry_after(retry_after)
            .edit(|inner| inner.violated = violated)
    }

    /// 422 of a sentence that makes no rule.
    fn sentence(refusal: Box<Refusal>) -> Self {
        let code = refusal.code.name();
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, refusal.message.clone()).edit(|inner| {
            inner.errors = vec![FieldError { field: "text".to_owned(), message: refusal.message.clone(), code }];
            inner.sentence = Some(refusal);
        })
    }

    /// With one more header.
    pub(crate) fn with_header(self, name: HeaderName, value: HeaderValue) -> Self {
        self.edit(|inner| inner.headers.push((name, value)))
    }

    fn with_retry_after(self, retry_after: Duration) -> Self {
        self.with_header(header::RETRY_AFTER, HeaderValue::from(seconds(retry_after)))
    }

    fn edit(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// The code that programs read.
    pub(crate) fn code(&self) -> &'static str {
        self.0.code
    }

    /// The content type of the body.
    pub(crate) const fn content_type(rfc_9457: bool) -> &'static str {
        if rfc_9457 { "application/problem+json; charset=utf-8" } else { crate::respond::JSON }
    }

    /// The body in this API's own envelope, or in the form of RFC 9457.
    pub(crate) fn body(&self, request_id: &str, rfc_9457: bool) -> Bytes {
        let body = if rfc_9457 {
            serde_json::to_vec(&Rfc9457 { problem: &self.0, request_id })
        } else {
            serde_json::to_vec(&Envelope {
                status: "error",
                message: &self.0.message,
                code: self.0.code,
                errors: &self.0.errors,
                matches: &self.0.matches,
                sentence: self.0.sentence.as_deref().map(About::from),
                request_id,
            })
        };
        Bytes::from(body.unwrap_or_default())
    }
}

/// Whole seconds, rounded up, at least one: never earlier than the reset.
fn seconds(duration: Duration) -> u64 {
    (duration.as_secs() + u64::from(duration.subsec_nanos() > 0)).max(1)
}

/// Logs a fault with its causes: they are for the log, never for the client.
fn log_fault(error: &Error) {
    let mut causes = Vec::new();
    let mut cause = error.source();
    while let Some(found) = cause {
        causes.push(found.to_string());
        cause = found.source();
    }
    tracing::error!(code = error.code(), cause = causes.join(": "), "A request failed: {error}");
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let code = error.code();
        let status = match &error {
            Error::Invalid(_) => StatusCode::BAD_REQUEST,
            Error::Sentence(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Error::Unauthenticated(_) | Error::TokenExpired | Error::TokenRevoked | Error::TotpRequired => {
                StatusCode::UNAUTHORIZED
            }
            Error::Forbidden(_) => StatusCode::FORBIDDEN,
            Error::NotFound(_) => StatusCode::NOT_FOUND,
            Error::Conflict(_) | Error::Duplicate { .. } | Error::InvalidState(_) => StatusCode::CONFLICT,
            Error::VersionConflict { .. } => StatusCode::PRECONDITION_FAILED,
            Error::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Error::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Error::Upstream(_) => StatusCode::BAD_GATEWAY,
            Error::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if matches!(status, StatusCode::INTERNAL_SERVER_ERROR | StatusCode::BAD_GATEWAY) {
            log_fault(&error);
        }
        match error {
            Error::Invalid(errors) => Self::invalid(errors),
            Error::Sentence(refusal) => Self::sentence(refusal),
            Error::Duplicate { message, fields, matches } => Self::new(status, code, message).edit(|inner| {
                inner.errors = fields
                    .into_iter()
                    .map(|field| FieldError { field, message: "is taken".to_owned(), code: "DUPLICATE" })
                    .collect();
                inner.matches = matches;
            }),
            Error::RateLimited { retry_after } => Self::rate_limited(retry_after, Vec::new()),
            Error::Unavailable { message, retry_after } => {
                tracing::warn!("Not available: {message}");
                Self::unavailable(message, retry_after)
            }
            Error::Unauthenticated(_) | Error::TokenExpired | Error::TokenRevoked | Error::TotpRequired => {
                Self::new(status, code, error.to_string())
                    .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
            }
            error if status == StatusCode::INTERNAL_SERVER_ERROR => {
                drop(error);
                Self::internal()
            }
            error => Self::new(status, code, error.to_string()),
        }
    }
}

impl From<FieldErrors> for Problem {
    fn from(errors: FieldErrors) -> Self {
        Self::invalid(errors)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.0.status.into_response();
        for (name, value) in &self.0.headers {
            response.headers_mut().insert(name.clone(), value.clone());
        }
        response.extensions_mut().insert(self);
        response
    }
}

#[derive(Serialize)]
struct Envelope<'a> {
    status: &'static str,
    message: &'a str,
    code: &'static str,
    errors: &'a [FieldError],
    #[serde(skip_serializing_if = "<[Uuid]>::is_empty")]
    matches: &'a [Uuid],
    #[serde(flatten)]
    sentence: Option<About<'a>>,
    request_id: &'a str,
}

/// What of a sentence is refused, and what could be said instead.
#[derive(Serialize)]
struct About<'a> {
    near: &'a str,
    supported: &'a [String],
    examples: &'a [String],
}

impl<'a> From<&'a Refusal> for About<'a> {
    fn from(refusal: &'a Refusal) -> Self {
        Self { near: &refusal.near, supported: &refusal.supported, examples: &refusal.examples }
    }
}

struct Rfc9457<'a> {
    problem: &'a Inner,
    request_id: &'a str,
}

impl Serialize for Rfc9457<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Inner { status, code, message, errors, matches, violated, sentence, .. } = self.problem;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", if violated.is_empty() { "about:blank" } else { QUOTA_EXCEEDED })?;
        map.serialize_entry("title", status.canonical_reason().unwrap_or_default())?;
        map.serialize_entry("status", &status.as_u16())?;
        map.serialize_entry("detail", message)?;
        map.serialize_entry("code", code)?;
        let errors: Vec<_> = errors.iter().map(Detail::from).collect();
        map.serialize_entry("errors", &errors)?;
        if !matches.is_empty() {
            map.serialize_entry("matches", matches)?;
        }
        if !violated.is_empty() {
            map.serialize_entry("violated-policies", violated)?;
        }
        if let Some(Refusal { near, supported, examples, .. }) = sentence.as_deref() {
            map.serialize_entry("near", near)?;
            map.serialize_entry("supported", supported)?;
            map.serialize_entry("examples", examples)?;
        }
        map.serialize_entry("request_id", self.request_id)?;
        map.end()
    }
}

#[derive(Serialize)]
struct Detail<'a> {
    field: &'a str,
    detail: &'a str,
    code: &'static str,
}

impl<'a> From<&'a FieldError> for Detail<'a> {
    fn from(error: &'a FieldError) -> Self {
        Self { field: &error.field, detail: &error.message, code: error.code }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn body(problem: &Problem, rfc_9457: bool) -> Value {
        serde_json::from_slice(&problem.body("r-1", rfc_9457)).unwrap()
    }

    #[test]
    fn the_envelope_lists_wrong_fields() {
        let problem = Problem::from(Error::invalid("email", "REQUIRED", "is required"));
        assert_eq!(
            body(&problem, false),
            json!({
                "status": "error", "message": "Some fields are not valid.", "code": "VALIDATION_ERROR",
                "errors": [{"field": "email", "message": "is required", "code": "REQUIRED"}], "request_id": "r-1",
            })
        );
        assert_eq!(
            body(&problem, true),
            json!({
                "type": "about:blank", "title": "Bad Request", "status": 400, "detail": "Some fields are not valid.",
                "code": "VALIDATION_ERROR", "request_id": "r-1",
                "errors": [{"field": "email", "detail": "is required", "code": "REQUIRED"}],
            })
        );
    }

    #[test]
    fn a_fault_tells_nothing() {
        let problem = Problem::from(Error::internal("the password is swordfish"));
        assert!(!body(&problem, false).to_string().contains("swordfish"));
        assert_eq!(problem.into_response().status(), StatusCode::INTERNAL_SERVER_ERROR);
    }

    #[test]
    fn a_wait_is_never_too_short() {
        let response = Problem::rate_limited(Duration::from_millis(1500), vec!["per-minute"]).into_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
        assert_eq!(seconds(Duration::ZERO), 1);
    }
}
