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

/// How the server is.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Condition {
    /// Every part answers.
    Up,
    /// A part does not answer that the server can do without: while the cache is away, limits are counted in this process
    /// and nobody can sign in; while the queue is, events wait in the store.
    Degraded,
    /// The store does not answer.
    Down,
}

/// What the server stands on.
#[derive(Serialize, ToSchema)]
struct HealthReport {
    /// `up` where every part is.
    status: Condition,
    /// The running version.
    version: &'static str,
    /// How long the process runs, in seconds.
    uptime_seconds: u64,
    /// The store.
    store: Part,
    /// What processes share, where they share something: see `REDIS_URL`.
    #[serde(skip_serializing_if = "Option::is_none")]
    cache: Option<Part>,
    /// What events go through, where that is not the store alone: see `RABBITMQ_URL` and `QUEUE`.
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<Part>,
}

/// Whether the process runs, or takes requests.
#[derive(Serialize, ToSchema)]
struct Probe {
    /// `live`, `ready` or `not_ready`.
    status: &'static str,
}

/// Tell how the server and what it stands on are
///
/// Each part is looked at once per `HEALTH_CHECK_INTERVAL`, whoever asks how often.
#[utoipa::path(
    get, path = "/health", tag = "Operations",
    responses((status = 200, description = "The server can work.", body = HealthReport),
              (status = 503, description = "The store does not answer.", body = HealthReport)),
    extensions(("x-permission" = json!("public")))
)]
async fn health(State(state): State<AppState>) -> Response {
    let store = state.health().store(state.crm()).await;
    let cache = state.health().cache(state.crm()).await;
    let queue = state.health().queue(state.crm()).await;
    let uptime = state.crm().now().since(state.health().started());
    let is_up = |part: &Part| part.status == Status::Up;
    let (code, status) = match (is_up(&store), [&cache, &queue].into_iter().flatten().all(is_up)) {
        (true, true) => (StatusCode::OK, Condition::Up),
        (true, false) => (StatusCode::OK, Condition::Degraded),
        (false, _) => (StatusCode::SERVICE_UNAVAILABLE, Condition::Down),
    };
    let version = env!("CARGO_PKG_VERSION");
    let report = HealthReport { status, version, uptime_seconds: uptime.as_secs(), store, cache, queue };
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
/// Prometheus' text format. Labels are route templates, methods, statuses and kinds of jobs and events, never ids. What
/// waits and what was given up is counted once per `HEALTH_CHECK_INTERVAL`.
#[utoipa::path(
    get, path = "/metrics", tag = "Operations",
    responses((status = 200, description = "The metrics.", body = String, content_type = "text/plain")),
    extensions(("x-permission" = json!("public")))
)]
async fn metrics(State(state): State<AppState>) -> Response {
    let store_up = state.health().store(state.crm()).await.status == Status::Up;
    let backlog = state.health().backlog(state.crm()).await;
    let text = state.metrics().render(state.health().started(), store_up, backlog.as_ref());
    let mut response = text.into_response();
    let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}
