//! The OpenAPI document and two readers of it, all from the binary: nothing is loaded from elsewhere.

use std::sync::{Arc, LazyLock, OnceLock};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::Path,
    http::{HeaderValue, header},
    response::{IntoResponse as _, Redirect, Response},
    routing::get,
};
use utoipa_swagger_ui::Config;

use crate::{problem::Problem, respond, router, state::AppState};

/// What the two readers need and nothing more: scripts of ours, styles they write into the page, and for Redoc's
/// search a worker that it makes itself.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; \
     worker-src 'self' blob:; connect-src 'self'; form-action 'self'; base-uri 'self'; object-src 'none'; \
     frame-ancestors 'none'",
);
const CACHED: HeaderValue = HeaderValue::from_static("public, max-age=3600");

const REDOC_PAGE: &str = r#"<!DOCTYPE html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>CRM API</title>
    <link rel="icon" href="data:,">
  </head>
  <body>
    <div id="redoc"></div>
    <script src="/redoc/bundle.js"></script>
    <script src="/redoc/start.js"></script>
  </body>
</html>
"#;
const REDOC_START: &str = r#"Redoc.init("/openapi.json", { hideDownloadButton: false, nativeScrollbars: true }, document.getElementById("redoc"));
"#;

/// Redoc's script, cut out of the page that aide makes with it.
static REDOC_BUNDLE: LazyLock<Bytes> = LazyLock::new(|| {
    let page = aide::redoc::Redoc::new("").html();
    let script = page.split_once("<script>").map_or("", |(_, rest)| rest);
    let bundle = script.rsplit_once("Redoc.init(").map_or("", |(bundle, _)| bundle);
    Bytes::copy_from_slice(bundle.trim().as_bytes())
});

/// `/openapi.json`, `/docs` and `/redoc` of the routes that are served at that address.
pub(crate) fn routes(base_url: Option<String>) -> Router<AppState> {
    // Written when it is first asked for: a start does not wait for it.
    let written = Arc::new(OnceLock::new());
    let document = move || {
        let document: &Bytes = written.get_or_init(|| router::document(base_url.as_deref()).to_string().into());
        document.clone()
    };
    let swagger = Arc::new(Config::from("/openapi.json").validator_url("none").persist_authorization(true));
    Router::new()
        .route("/openapi.json", get(move || async move { file(respond::JSON, document(), "no-cache") }))
        .route("/docs", get(|| async { Redirect::permanent("/docs/") }))
        .route(
            "/docs/",
            get({
                let swagger = Arc::clone(&swagger);
                move || async move { swagger_file("index.html", swagger) }
            }),
        )
        .route("/docs/{*file}", get(move |Path(file): Path<String>| async move { swagger_file(&file, swagger) }))
        .route("/redoc", get(|| async { page("text/html; charset=utf-8", Body::from(REDOC_PAGE)) }))
        .route(
            "/redoc/bundle.js",
            get(|| async { page("text/javascript; charset=utf-8", Body::from(REDOC_BUNDLE.clone())) }),
        )
        .route("/redoc/start.js", get(|| async { page("text/javascript; charset=utf-8", Body::from(REDOC_START)) }))
}

fn file(content_type: &'static str, body: impl Into<Body>, cache: &'static str) -> Response {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    response
}

fn page(content_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CONTENT_SECURITY_POLICY, PAGE_POLICY);
    headers.insert(header::CACHE_CONTROL, CACHED);
    response
}

fn swagger_file(path: &str, config: Arc<Config<'static>>) -> Response {
    match utoipa_swagger_ui::serve(path, config) {
        Ok(Some(file)) => {
            let mut response = page("text/html", Body::from(file.bytes.into_owned()));
            if let Ok(content_type) = HeaderValue::try_from(file.content_type) {
                response.headers_mut().insert(header::CONTENT_TYPE, content_type);
            }
            if file.gzpipped {
                response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
            response
        }
        Ok(None) => Problem::no_route().into_response(),
        Err(error) => {
            tracing::error!(%error, "A file of the documentation could not be read.");
            Problem::internal().into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::REDOC_BUNDLE;

    #[test]
    fn the_bundle_of_redoc_is_whole() {
        assert!(REDOC_BUNDLE.len() > 500_000, "{} bytes", REDOC_BUNDLE.len());
        assert!(!REDOC_BUNDLE.ends_with(b"</script>"));
    }
}
