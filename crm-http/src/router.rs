use axum::{Router, response::IntoResponse as _};
use crm_core::Crm;
use utoipa_axum::router::OpenApiRouter;

use crate::{
    edge::{EdgeLayer, Lookup},
    openapi,
    options::RouterOptions,
    problem::Problem,
    routes,
    state::AppState,
};

/// Where the documented routes stand.
pub(crate) const API: &str = "/api/v1";
/// Where they answer too.
pub(crate) const ALIAS: &str = "/api";

/// Every route of the CRM, to be served or mounted.
///
/// For the addresses of clients (rate limits, audit trail) serve it with
/// [`into_make_service_with_connect_info`](axum::Router::into_make_service_with_connect_info), or by
/// [`server::serve`](crate::server::serve).
pub fn router(crm: Crm, options: RouterOptions) -> Router {
    let (routes, described) = described().split_for_parts();
    let (alias, _same) = routes::api().split_for_parts();
    let document = openapi::complete(&described, options.base_url.as_deref());
    let state = AppState::new(crm, options, openapi::public_routes(&document));
    let lookup = Lookup::new(routes.clone().with_state(state.clone()));
    routes
        .nest(ALIAS, alias)
        .merge(routes::documentation(&document))
        .fallback(|| async { Problem::no_route().into_response() })
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed().into_response() })
        .layer(EdgeLayer { state: state.clone(), lookup })
        .with_state(state)
}

/// The OpenAPI 3.1 document of the routes; `base_url` is where they are served, `/` where not given.
#[must_use]
pub fn document(base_url: Option<&str>) -> serde_json::Value {
    openapi::complete(described().get_openapi(), base_url)
}

fn described() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(openapi::skeleton()).nest(API, routes::api()).merge(routes::outside())
}
