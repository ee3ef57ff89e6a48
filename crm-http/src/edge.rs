//! The one layer around every route: request id, client address, cross-origin rules, limits, time-outs, panics, the
//! form of errors, security headers, compression, log line and metrics. One layer instead of a stack of a dozen,
//! because each of those costs an allocation or two on every request.

pub(crate) mod client;
mod compression;
mod cors;
pub(crate) mod exchange;
mod headers;
pub(crate) mod idempotency;
pub(crate) mod limits;
mod record;

use std::{
    any::Any,
    convert::Infallible,
    panic::AssertUnwindSafe,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::{
    body::Body,
    extract::{ConnectInfo, MatchedPath, Request},
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
};
use crm_core::id::new_uuid;
use futures::{FutureExt as _, future::BoxFuture};
use tower::{Layer, Service};
use tracing::Instrument as _;

pub(crate) use self::idempotency::Lookup;
use self::{client::client_address, exchange::Exchange};
use crate::{
    extract::{Pairs, shows_credentials},
    problem::Problem,
    router::{ALIAS, API},
    state::AppState,
};

/// The name of the request's id.
pub(crate) const REQUEST_ID: &str = "x-request-id";
/// A request id longer than this is not taken over.
const REQUEST_ID_LIMIT: usize = 128;
/// When to try again after an answer took too long.
const RETRY_AFTER_TIMEOUT: Duration = Duration::from_secs(5);

/// Puts [`Edge`] around a route.
#[derive(Clone, Debug)]
pub(crate) struct EdgeLayer {
    pub(crate) state: AppState,
    /// Reads what a request has written whose answer was lost.
    pub(crate) lookup: Lookup,
}

impl<S> Layer<S> for EdgeLayer {
    type Service = Edge<S>;

    fn layer(&self, inner: S) -> Edge<S> {
        Edge { inner, state: self.state.clone(), lookup: self.lookup.clone() }
    }
}

/// A route with everything around it.
#[derive(Clone, Debug)]
pub(crate) struct Edge<S> {
    inner: S,
    state: AppState,
    lookup: Lookup,
}

impl<S> Service<Request> for Edge<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        // The service that was polled ready answers; its clone waits for the next request.
        let clone = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, clone);
        let (state, lookup) = (self.state.clone(), self.lookup.clone());
        Box::pin(async move { Ok(answer(state, lookup, request, inner).await) })
    }
}

/// What of a request is needed when its answer goes out.
struct Asked {
    method: Method,
    route: Option<MatchedPath>,
    origin: Option<HeaderValue>,
    accepts: Accepts,
}

/// What the client can read.
#[derive(Clone, Debug, Default)]
struct Accepts {
    problem_json: bool,
    encoding: Option<HeaderValue>,
}

async fn answer<S>(state: AppState, lookup: Lookup, mut request: Request, inner: S) -> Response
where
    S: Service<Request, Response = Response, Error = Infallible> + Send + 'static,
    S::Future: Send + 'static,
{
    let started = Instant::now();
    let _in_flight = state.metrics().request_begins();
    let options = state.options();
    let headers = request.headers();
    let request_id = request_id(&state, headers);
    let peer = request.extensions().get::<ConnectInfo<std::net::SocketAddr>>().map(|peer| peer.0.ip());
    let client = client_address(peer, headers, &options.trusted_proxies);
    let asked = Asked {
        method: request.method().clone(),
        route: request.extensions().get::<MatchedPath>().cloned(),
        origin: headers.get(header::ORIGIN).cloned(),
        accepts: accepts(headers),
    };
    let exchange = Exchange::new(request_id, client);
    let span = tracing::error_span!("request", request_id = exchange.request_id());

    let mut response = async {
        if cors::is_preflight(&request) {
            return StatusCode::NO_CONTENT.into_response();
        }
        if let Some(problem) = refused(&state, &asked, &exchange, request.uri(), request.headers()).await {
            return problem.into_response();
        }
        request.extensions_mut().insert(exchange.clone());
        if idempotency::applies(&state, &request) {
            return idempotency::carry_out(state.clone(), lookup, request, inner, asked.accepts.problem_json).await;
        }
        let mut inner = inner;
        let called = AssertUnwindSafe(async move { inner.call(request).await }).catch_unwind();
        match in_time(&state, Some(&exchange), called).await {
            Ok(Ok(Ok(response))) => response,
            Ok(Err(panic)) => {
                log_panic(panic.as_ref());
                Problem::internal().into_response()
            }
            Err(_elapsed) => took_too_long(&state).into_response(),
        }
    }
    .instrument(span.clone())
    .await;

    finish(&state, &asked, &exchange, &mut response);
    if let Some(encoding) = &asked.accepts.encoding
        && compression::is_worthwhile(&asked, &response)
    {
        response = compression::compress(encoding, response).await;
    }
    let elapsed = started.elapsed();
    let route = asked.route.as_ref().map_or("unmatched", MatchedPath::as_str);
    state.metrics().request_ends(&asked.method, route, response.status(), elapsed);
    span.in_scope(|| record::log(&asked.method, route, response.status(), elapsed, &exchange));
    response
}

/// What comes of a request within its time. A file that goes on arriving is not cut off.
async fn in_time<T>(
    state: &AppState,
    exchange: Option<&Exchange>,
    called: impl Future<Output = T>,
) -> Result<T, tokio::time::error::Elapsed> {
    let mut called = std::pin::pin!(called);
    loop {
        match tokio::time::timeout(state.options().request_timeout, called.as_mut()).await {
            Err(_elapsed) if exchange.is_some_and(Exchange::got_further) => {}
            ended => return ended,
        }
    }
}

/// What is refused before any handler sees it.
async fn refused(
    state: &AppState,
    asked: &Asked,
    exchange: &Exchange,
    uri: &Uri,
    headers: &HeaderMap,
) -> Option<Problem> {
    let route = asked.route.as_ref().map(MatchedPath::as_str);
    // Who shows credentials is counted once they are known, where the route asks for them at all.
    let anonymous = !shows_credentials(headers, state.options().https)
        || route.is_none_or(|route| state.is_public(asked.method.as_str(), route));
    if anonymous
        && !route.is_some_and(counts_itself)
        && uri.path().starts_with(ALIAS)
        && let Err(problem) = limits::of_anybody(state, exchange).await
    {
        return Some(problem);
    }
    let length = uri.path_and_query().map_or(0, |text| text.as_str().len());
    if length > state.options().uri_limit {
        return Some(Problem::uri_too_long(state.options().uri_limit));
    }
    if let Some(query) = uri.query()
        && let Err(errors) = Pairs::parse(query)
    {
        return Some(Problem::invalid(errors));
    }
    None
}

/// Whether a route counts only those who are not who they say: vendors bring receipts, and providers of mail the wish of
/// many to unsubscribe, all from a few addresses, and both show something signed.
fn counts_itself(route: &str) -> bool {
    let route = route.strip_prefix(API).or_else(|| route.strip_prefix(ALIAS));
    matches!(route, Some("/delivery-receipt" | "/unsubscribe/{token}"))
}

/// Completes an answer: the body of an error, and every header.
fn finish(state: &AppState, asked: &Asked, exchange: &Exchange, response: &mut Response) {
    // The router adds Allow to this answer as to a 405.
    if asked.method == Method::OPTIONS && response.status() == StatusCode::METHOD_NOT_ALLOWED {
        response.extensions_mut().remove::<Problem>();
        *response.status_mut() = StatusCode::NO_CONTENT;
    }
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        exchange.note_code(problem.code());
        let rfc_9457 = asked.accepts.problem_json;
        let body = problem.body(exchange.request_id(), rfc_9457);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(Problem::content_type(rfc_9457)));
        response.headers_mut().remove(header::CONTENT_LENGTH);
        response.headers_mut().append(header::VARY, HeaderValue::from_static("Accept"));
        *response.body_mut() = if asked.method == Method::HEAD { Body::empty() } else { Body::from(body) };
    }
    let headers = response.headers_mut();
    limits::apply(&exchange.notes().limits, headers);
    cors::apply(&state.options().allowed_origins, asked, headers);
    headers::apply(headers, state.options().https);
    if let Ok(request_id) = HeaderValue::from_str(exchange.request_id()) {
        headers.insert(REQUEST_ID, request_id);
    }
}

/// The client's request id if it is sane, else a new one.
fn request_id(state: &AppState, headers: &HeaderMap) -> Box<str> {
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok()).filter(|value| {
        (1..=REQUEST_ID_LIMIT).contains(&value.len())
            && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    });
    given.map_or_else(|| new_uuid(state.crm().now(), state.crm().random()).to_string().into(), Into::into)
}

fn accepts(headers: &HeaderMap) -> Accepts {
    let problem_json = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.to_ascii_lowercase().contains("application/problem+json"));
    Accepts { problem_json, encoding: headers.get(header::ACCEPT_ENCODING).cloned() }
}

fn took_too_long(state: &AppState) -> Problem {
    tracing::error!("A request took longer than {} s.", state.options().request_timeout.as_secs());
    Problem::unavailable("The answer took too long.", RETRY_AFTER_TIMEOUT)
}

fn log_panic(panic: &(dyn Any + Send)) {
    let cause = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("unknown");
    tracing::error!(cause, "A request panicked.");
}
