use std::convert::Infallible;

use axum::{
    body::{Body, HttpBody as _},
    extract::{MatchedPath, Request},
    http::{HeaderValue, Method, header},
    response::Response,
};
use tower::{ServiceExt as _, service_fn};
use tower_http::{CompressionLevel, compression::Compression};

use super::Asked;

/// A smaller body does not get smaller.
const LEAST: u64 = 1024;

/// Whether the answer gains by compression and gives nothing away by it: the length of an answer that holds a secret
/// beside what the client sent tells about the secret.
pub(super) fn is_worthwhile(asked: &Asked, response: &Response) -> bool {
    let route = asked.route.as_ref().map_or("", MatchedPath::as_str);
    let headers = response.headers();
    asked.method != Method::HEAD
        && response.body().size_hint().exact().is_none_or(|length| length >= LEAST)
        && !headers.contains_key(header::CONTENT_ENCODING)
        && !headers.contains_key(header::SET_COOKIE)
        && !route.contains("/auth/")
        && !route.contains("/api-keys")
        && headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(|content_type| {
            // An encoder keeps events back until it has enough of them.
            (content_type.starts_with("text/") && !content_type.starts_with("text/event-stream"))
                || content_type.starts_with("application/json")
                || content_type.starts_with("application/x-ndjson")
                || content_type.starts_with("application/javascript")
        })
}

/// The answer in the best encoding that the client takes.
pub(super) async fn compress(accepted: &HeaderValue, response: Response) -> Response {
    let mut asked = Request::new(Body::empty());
    asked.headers_mut().insert(header::ACCEPT_ENCODING, accepted.clone());
    let mut held = Some(response);
    let answered = service_fn(move |_: Request| {
        let response = held.take().unwrap_or_default();
        async move { Ok::<_, Infallible>(response) }
    });
    let Ok(response) = Compression::new(answered).quality(CompressionLevel::Fastest).oneshot(asked).await;
    response.map(Body::new)
}
