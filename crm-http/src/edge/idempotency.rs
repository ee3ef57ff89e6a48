//! `Idempotency-Key`: a request that is sent again takes effect once and is answered as the first time.
//!
//! The service marks the claim in the commit of the effect (see [`crm_core::idempotency`]); here the key is read, the
//! request is told from another one by its fingerprint, and its answer is kept and given again.
//!
//! Kept is the answer of a request that was carried out: a success, and a refusal that comes of what is there (404,
//! 409, 410, 412, 422). Not kept is what would be otherwise at the next try: credentials, quotas, malformed requests,
//! and a fault where nothing was written. Such a request is free to be sent again under the same key.

mod fingerprint;
mod lost_answer;

use std::{convert::Infallible, panic::AssertUnwindSafe, time::Duration};

use axum::{
    body::{Body, HttpBody as _, to_bytes},
    extract::{FromRequestParts as _, MatchedPath, Request},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use crm_core::{
    access::Principal,
    error::FieldErrors,
    idempotency::{Answer, Begun, Claim, IdempotencyKey, KeyedRequest},
};
use futures::{FutureExt as _, StreamExt as _};
use tower::Service;
use tracing::Instrument as _;

use self::fingerprint::{Arriving, Payload};
pub(crate) use self::lost_answer::Lookup;
use super::exchange::Exchange;
use crate::{
    extract::{Authenticated, read_json},
    problem::{Problem, Result},
    router::{ALIAS, API},
    state::AppState,
};

/// The name of the key's header.
pub(crate) const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Stands on an answer that is given again.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// The headers that are given again.
const KEPT_HEADERS: [HeaderName; 3] = [header::CONTENT_TYPE, header::ETAG, header::LOCATION];
/// A longer answer is not kept.
const LONGEST_ANSWER: usize = 1024 * 1024;
/// A claim is held for so much longer than the request may take.
const MARGIN: Duration = Duration::from_secs(30);
/// So much of a form with a file is no file at most.
const FORM_MARGIN: u64 = 1024 * 1024;
/// What the body of every refusal ends with, before the id.
const REQUEST_ID_MEMBER: &[u8] = b"\"request_id\":\"";

/// Whether a request names a key that counts.
pub(super) fn applies(state: &AppState, request: &Request) -> bool {
    let Some(route) = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str) else { return false };
    matches!(*request.method(), Method::POST | Method::PATCH)
        && request.headers().contains_key(KEY)
        && route.starts_with(ALIAS)
        && !state.is_public(request.method().as_str(), route)
}

/// Carries out a request with a key, or answers it from what is known of it.
pub(super) async fn carry_out<S>(
    state: AppState,
    lookup: Lookup,
    request: Request,
    inner: S,
    rfc_9457: bool,
) -> Response
where
    S: Service<Request, Response = Response, Error = Infallible> + Send + 'static,
    S::Future: Send + 'static,
{
    match begin(state, lookup, request, rfc_9457).await {
        Ok(Beginning::Answered(response)) => response,
        Ok(Beginning::First(attempt, request)) => {
            // A client that goes away must find the answer when it comes back: the attempt goes on without it.
            let attempt = tokio::spawn(attempt.run(request, inner).in_current_span());
            attempt.await.unwrap_or_else(|error| {
                tracing::error!(%error, "An attempt at a request broke.");
                Problem::internal().into_response()
            })
        }
        Err(problem) => problem.into_response(),
    }
}

enum Beginning {
    Answered(Response),
    First(Box<Attempt>, Request),
}

/// The first attempt at a request, or one after an earlier one died.
struct Attempt {
    state: AppState,
    by: Principal,
    claim: Claim,
    /// What tells the fingerprint of a body that arrives while the request is carried out.
    arriving: Option<Arriving>,
    request_id: Box<str>,
    rfc_9457: bool,
}

async fn begin(state: AppState, lookup: Lookup, request: Request, rfc_9457: bool) -> Result<Beginning> {
    let (mut parts, body) = request.into_parts();
    let mut by = Principal::from_request_parts(&mut parts, &state).await?;
    let exchange = parts.extensions.get::<Exchange>().cloned().ok_or_else(Problem::internal)?;
    let key = key(&parts.headers)?;
    let mut payload = Payload::new(parts.uri.query().unwrap_or_default());
    let (mut body, mut arriving) = (body, None);
    if fingerprint::is_held(&parts.headers) {
        let bytes = read_json(&parts.headers, body, state.options()).await?;
        payload.add_json(&bytes);
        body = Body::from(bytes);
    } else {
        let (counted, told) = payload.clone().add_arriving(&parts.headers, body);
        (body, arriving) = (counted, Some(told));
    }
    let fingerprint = arriving.is_none().then(|| payload.fingerprint());
    let path = address(&parts).to_owned();
    let asked =
        KeyedRequest { key: &key, method: parts.method.as_str(), path: &path, fingerprint: fingerprint.as_deref() };
    let idempotency = state.crm().idempotency();
    let hold = hold(&state);
    let request_id: Box<str> = exchange.request_id().into();
    match idempotency.begin(&by, &asked, hold).await? {
        Begun::First(claim) => {
            by.context.claim = Some(claim);
            parts.extensions.insert(Authenticated(by.clone()));
            let attempt = Attempt { state, by, claim, arriving, request_id, rfc_9457 };
            Ok(Beginning::First(Box::new(attempt), Request::from_parts(parts, body)))
        }
        Begun::Answered { fingerprint, answer } => {
            same_body(&state, arriving, body, fingerprint.as_deref()).await?;
            Ok(Beginning::Answered(replayed(&answer, &request_id)))
        }
        Begun::Interrupted { claim, fingerprint, effect } => {
            let compared = same_body(&state, arriving, body, fingerprint.as_deref());
            if let Err(problem) = held(&state, &by, claim, compared).await {
                idempotency.release(&by, claim).await?;
                return Err(problem);
            }
            parts.extensions.insert(Authenticated(by.clone()));
            let made_up = match &effect {
                Some(effect) => lookup.answer(&parts, &path, effect).await,
                None => None,
            };
            let Some(answer) = made_up else {
                idempotency.release(&by, claim).await?;
                return Err(Problem::lost_answer(effect.as_ref()));
            };
            idempotency.finish(&by, claim, None, &answer).await?;
            Ok(Beginning::Answered(replayed(&answer, &request_id)))
        }
        Begun::Mismatch => Err(Problem::idempotency_mismatch()),
        Begun::Running { retry_after } => Err(Problem::still_running(retry_after)),
    }
}

/// The key of the request: its header stands once.
fn key(headers: &HeaderMap) -> Result<IdempotencyKey> {
    let mut values = headers.get_all(KEY).iter();
    let (value, more) = (values.next(), values.next());
    let text = value.filter(|_| more.is_none()).and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.parse().map_err(|error: crm_core::idempotency::InvalidKey| {
        Problem::invalid(FieldErrors::one("Idempotency-Key", "INVALID_KEY", error.to_string()))
    })
}

/// The path below the API, which has two addresses.
fn address(parts: &Parts) -> &str {
    let path = parts.uri.path();
    path.strip_prefix(API).or_else(|| path.strip_prefix(ALIAS)).unwrap_or(path)
}

/// How long a claim is held that nothing is heard of.
fn hold(state: &AppState) -> Duration {
    state.options().request_timeout.saturating_add(MARGIN)
}

/// What comes of work, while the claim is held for as long as it takes: a large file may take hours to arrive.
async fn held<T>(state: &AppState, by: &Principal, claim: Claim, work: impl Future<Output = T>) -> T {
    let hold = hold(state);
    let renewing = async {
        loop {
            tokio::time::sleep(hold / 3).await;
            if let Err(error) = state.crm().idempotency().hold_on(by, claim, hold).await {
                tracing::warn!(%error, "The claim of a request with a key could not be held on to.");
            }
        }
    };
    tokio::select! {
        done = work => done,
        never = renewing => never,
    }
}

/// Goes on where a body that was not held in memory is the same as the first one. It is read and dropped.
async fn same_body(state: &AppState, arriving: Option<Arriving>, body: Body, first: Option<&str>) -> Result<()> {
    let (Some(arriving), Some(first)) = (arriving, first) else { return Ok(()) };
    let options = state.options();
    let mut stream = body.into_data_stream();
    let mut left = options.upload_limit.saturating_add(FORM_MARGIN);
    loop {
        let next = tokio::time::timeout(options.body_timeout, stream.next());
        let Some(Ok(chunk)) = next.await.map_err(|_| Problem::slow_body())? else { break };
        // The first was no longer than that.
        left = left.checked_sub(chunk.len() as u64).ok_or_else(Problem::idempotency_mismatch)?;
    }
    match arriving.fingerprint() {
        Some(second) if second == first => Ok(()),
        Some(_) => Err(Problem::idempotency_mismatch()),
        None => Err(Problem::invalid(FieldErrors::one("body", "INCOMPLETE", "broke off before its end"))),
    }
}

impl Attempt {
    /// Carries out the request and keeps its answer.
    async fn run<S>(self, request: Request, mut inner: S) -> Response
    where
        S: Service<Request, Response = Response, Error = Infallible> + Send + 'static,
        S::Future: Send + 'static,
    {
        let exchange = request.extensions().get::<Exchange>().cloned();
        let called = AssertUnwindSafe(async move { inner.call(request).await }).catch_unwind();
        let called = super::in_time(&self.state, exchange.as_ref(), called);
        let response = match held(&self.state, &self.by, self.claim, called).await {
            Ok(Ok(Ok(response))) => response,
            Ok(Err(panic)) => {
                super::log_panic(panic.as_ref());
                Problem::internal().into_response()
            }
            Err(_elapsed) => super::took_too_long(&self.state).into_response(),
        };
        self.keep(response).await
    }

    async fn keep(&self, response: Response) -> Response {
        let fingerprint = self.arriving.as_ref().map(Arriving::fingerprint);
        // A body that was not read to its end cannot be told from another.
        let is_known = !matches!(fingerprint, Some(None));
        let (response, answer) =
            if is_kept(response.status()) && is_known { self.kept(response).await } else { (response, None) };
        let idempotency = self.state.crm().idempotency();
        let noted = match answer {
            Some(answer) => idempotency.finish(&self.by, self.claim, fingerprint.flatten().as_deref(), &answer).await,
            None => idempotency.release(&self.by, self.claim).await,
        };
        if let Err(error) = noted {
            // The answer is true all the same; a retry is told it from the record.
            tracing::warn!(%error, "The answer to a request with a key was not kept.");
        }
        response
    }

    /// The response and what is kept of it; nothing of one that is too long or still being made.
    async fn kept(&self, response: Response) -> (Response, Option<Answer>) {
        let status = response.status().as_u16();
        let (mut parts, body) = response.into_parts();
        let mut headers = Vec::new();
        let (body, kept) = if let Some(problem) = parts.extensions.get::<Problem>() {
            let kept = problem.body(&self.request_id, self.rfc_9457);
            headers.push((header::CONTENT_TYPE.as_str().to_owned(), Problem::content_type(self.rfc_9457).to_owned()));
            (body, kept)
        } else {
            let length = body.size_hint().exact().and_then(|length| usize::try_from(length).ok());
            if length.is_none_or(|length| length > LONGEST_ANSWER) {
                return (Response::from_parts(parts, body), None);
            }
            match to_bytes(body, LONGEST_ANSWER).await {
                Ok(bytes) => (Body::from(bytes.clone()), bytes),
                Err(error) => {
                    tracing::error!(%error, "An answer broke off.");
                    parts.status = StatusCode::INTERNAL_SERVER_ERROR;
                    return (Problem::internal().into_response(), None);
                }
            }
        };
        for name in KEPT_HEADERS {
            if let Some(value) = parts.headers.get(&name).and_then(|value| value.to_str().ok()) {
                headers.push((name.as_str().to_owned(), value.to_owned()));
            }
        }
        (Response::from_parts(parts, body), Some(Answer { status, headers, body: kept.to_vec() }))
    }
}

/// Whether a status is that of a request that was carried out.
fn is_kept(status: StatusCode) -> bool {
    status.is_success()
        || matches!(
            status,
            StatusCode::NOT_FOUND
                | StatusCode::CONFLICT
                | StatusCode::GONE
                | StatusCode::PRECONDITION_FAILED
                | StatusCode::UNPROCESSABLE_ENTITY
        )
}

/// The answer of the first time.
fn replayed(answer: &Answer, request_id: &str) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = if status.is_success() { answer.body.clone() } else { with_request_id(&answer.body, request_id) };
    let mut response = Response::new(Body::from(Bytes::from(body)));
    *response.status_mut() = status;
    for (name, value) in &answer.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

/// A refusal names the request by which it can be found in the log: that is this one.
fn with_request_id(body: &[u8], request_id: &str) -> Vec<u8> {
    let place = body.windows(REQUEST_ID_MEMBER.len()).rposition(|window| window == REQUEST_ID_MEMBER);
    match place.and_then(|place| body.get(..place)) {
        Some(before) => [before, REQUEST_ID_MEMBER, request_id.as_bytes(), b"\"}"].concat(),
        None => body.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_request_that_it_answers() {
        let problem = Problem::no_record();
        for rfc_9457 in [false, true] {
            let first = problem.body("first", rfc_9457);
            assert_eq!(with_request_id(&first, "second"), problem.body("second", rfc_9457));
        }
        assert_eq!(with_request_id(b"{}", "second"), b"{}");
    }

    #[test]
    fn what_is_kept_was_carried_out() {
        for status in [200, 201, 202, 204, 404, 409, 410, 412, 422] {
            assert!(is_kept(StatusCode::from_u16(status).unwrap()), "{status}");
        }
        for status in [400, 401, 403, 405, 408, 413, 415, 429, 500, 502, 503, 504] {
            assert!(!is_kept(StatusCode::from_u16(status).unwrap()), "{status}");
        }
    }

    #[test]
    fn a_key_stands_once() {
        let headers = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(KEY, value.parse().unwrap());
            }
            headers
        };
        assert_eq!(key(&headers(&["\"a\""])).unwrap().as_str(), "a");
        for values in [&[][..], &["a", "a"], &[""], &["a b"]] {
            assert!(key(&headers(values)).is_err(), "{values:?}");
        }
    }
}
