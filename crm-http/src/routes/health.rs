use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    health::{Part, Status},
    respond,
    state::AppState,
};

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(health)).routes(routes!(live)).routes(routes!(ready)).routes(routes!(metrics))
}

/// What the server stands on.
#[derive(Serialize, ToSchema)]
struct HealthReport {
    /// `up` where every part is.
    status: Status,
    /// The running version.
    version: &'static str,
    /// How long the process runs, in seconds.
    uptime_seconds: u64,
    /// The store.
    store: Part,
}

/// Whether the process runs, or takes requests.
#[derive(Serialize, ToSchema)]
struct Probe {
    /// `live`, `ready` or `not_ready`.
    status: &'static str,
}

/// Tell how the server and what it stands on are
///
/// The store is looked at once per `HEALTH_CHECK_INTERVAL`, whoever asks how often.
#[utoipa::path(
    get, path = "/health", tag = "Operations",
    responses((status = 200, description = "Every part answers.", body = HealthReport),
              (status = 503, description = "A part does not answer.", body = HealthReport)),
    extensions(("x-permission" = json!("public")))
)]
async fn health(State(state): State<AppState>) -> Response {
    let store = state.health().store(state.crm()).await;
    let uptime = state.crm().now().since(state.health().started());
    let status = store.status;
    let report = HealthReport { status, version: env!("CARGO_PKG_VERSION"), uptime_seconds: uptime.as_secs(), store };
    let code = if status == Status::Up { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    respond::json(code, &report)
}

/// Tell that the process runs
///
/// Looks at nothing else: restarting the server does not mend its store.
#[utoipa::path(
    get, path = "/health/live", tag = "Operations",
    responses((status = 200, description = "The process runs.", body = Probe)),
    extensions(("x-permission" = json!("public")))
)]
async fn live() -> Response {
    respond::json(StatusCode::OK, &Probe { status: "live" })
}

/// Tell whether the server takes requests
///
/// Not before the store answers, and not after the process was told to stop.
#[utoipa::path(
    get, path = "/health/ready", tag = "Operations",
    responses((status = 200, description = "Requests are taken.", body = Probe),
              (status = 503, description = "Requests should go elsewhere.", body = Probe)),
    extensions(("x-permission" = json!("public")))
)]
async fn ready(State(state): State<AppState>) -> Response {
    let stopping = state.options().stopping.is_cancelled();
    if !stopping && state.health().store(state.crm()).await.status == Status::Up {
        respond::json(StatusCode::OK, &Probe { status: "ready" })
    } else {
        respond::json(StatusCode::SERVICE_UNAVAILABLE, &Probe { status: "not_ready" })
    }
}

/// Count requests and resources
///
/// Prometheus' text format. Labels are route templates, methods and statuses, never ids.
#[utoipa::path(
    get, path = "/metrics", tag = "Operations",
    responses((status = 200, description = "The metrics.", body = String, content_type = "text/plain")),
    extensions(("x-permission" = json!("public")))
)]
async fn metrics(State(state): State<AppState>) -> Response {
    let store_up = state.health().store(state.crm()).await.status == Status::Up;
    let text = state.metrics().render(state.health().started(), store_up);
    let mut response = text.into_response();
    let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}
