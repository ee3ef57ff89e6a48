use std::time::Duration;

use axum::http::{Method, StatusCode};

use super::exchange::Exchange;

/// The one log line of a request: what was asked, what was answered, how long it took and for whom. Never a token, a
/// body or a query string; the request id comes from the span.
pub(super) fn log(method: &Method, route: &str, status: StatusCode, elapsed: Duration, exchange: &Exchange) {
    let duration_ms = f64::from(u32::try_from(elapsed.as_micros()).unwrap_or(u32::MAX)) / 1000.0;
    let notes = exchange.notes();
    let organization = notes.organization.map(tracing::field::display);
    let user = notes.actor.map(tracing::field::display);
    macro_rules! log {
        ($level:ident) => {
            tracing::$level!(
                method = method.as_str(),
                route,
                status = status.as_u16(),
                duration_ms,
                code = notes.code,
                organization,
                user,
                "{method} {route} {}",
                status.as_u16()
            )
        };
    }
    if status.is_server_error() {
        log!(error);
    } else if route.starts_with("/health") || route == "/metrics" {
        log!(debug);
    } else {
        log!(info);
    }
}
