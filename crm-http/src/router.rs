use std::{collections::HashMap, sync::LazyLock};

use axum::{Router, response::IntoResponse as _};
use crm_core::Crm;
use serde_json::Value;
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

/// What is the same in every router: describing the routes takes longer than all else that a router needs.
struct Described {
    routes: Router<AppState>,
    /// The same routes at the other address.
    alias: Router<AppState>,
    document: Value,
    public: HashMap<String, Vec<String>>,
}

static DESCRIBED: LazyLock<Described> = LazyLock::new(|| {
    let described = OpenApiRouter::with_openapi(openapi::skeleton()).nest(API, routes::api()).merge(routes::outside());
    let (routes, described) = described.split_for_parts();
    let (alias, _same) = routes::api().split_for_parts();
    let document = openapi::complete(&described);
    let public = openapi::public_routes(&document);
    Described { routes, alias, document, public }
});

/// Every route of the CRM, to be served or mounted.
///
/// For the addresses of clients (rate limits, audit trail) serve it with
/// [`into_make_service_with_connect_info`](axum::Router::into_make_service_with_connect_info), or by
/// [`server::serve`](crate::server::serve).
pub fn router(crm: Crm, options: RouterOptions) -> Router {
    let Described { routes, alias, public, .. } = &*DESCRIBED;
    let documentation = routes::documentation(options.base_url.clone());
    let state = AppState::new(crm, options, public.clone());
    let lookup = Lookup::new(routes.clone().with_state(state.clone()));
    routes
        .clone()
        .nest(ALIAS, alias.clone())
        .merge(documentation)
        .fallback(|| async { Problem::no_route().into_response() })
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed().into_response() })
        .layer(EdgeLayer { state: state.clone(), lookup })
        .with_state(state)
}

/// The OpenAPI 3.1 document of the routes; `base_url` is where they are served, `/` where not given.
#[must_use]
pub fn document(base_url: Option<&str>) -> Value {
    openapi::served_at(DESCRIBED.document.clone(), base_url)
}
