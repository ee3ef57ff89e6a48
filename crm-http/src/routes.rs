//! The routes: each module mirrors a capability of crm-core. Extract, call, shape the answer; no rule lives here.
//!
//! A handler documents its success and the refusals that are its own (`409`, `412`); what any route can answer is
//! added by [`crate::openapi`]. `412` among the responses documents the `If-Match` header too.
//!
//! ```text
//! /// Change a question
//! ///
//! /// What is not given stays as it is.
//! #[utoipa::path(
//!     patch, path = "/faqs/{id}", tag = "FAQs", request_body = ChangedFaq,
//!     responses((status = 200, description = "The question as it is now.", body = Faq),
//!               (status = 412)),
//!     extensions(("x-permission" = json!("faqs:write")))
//! )]
//! async fn change(
//!     State(crm): State<Crm>,
//!     by: Principal,
//!     Path(id): Path<FaqId>,
//!     IfMatch(version): IfMatch,
//!     Body(change): Body<ChangedFaq>,
//! ) -> Result<Record<Faq>> {
//!     let faq = crm.faqs().change(&by, id, version, change).await?;
//!     Ok(Record::new(faq.meta.version, faq))
//! }
//!
//! pub(crate) fn routes() -> OpenApiRouter<AppState> {
//!     OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(get, change, remove))
//! }
//! ```

mod agent;
mod ai;
mod api_key;
mod audit;
mod auth;
mod campaign;
mod complaint;
mod customer;
mod delivery;
mod documentation;
mod export;
mod field;
mod group;
mod health;
mod import;
mod job;
mod note;
mod order;
mod organization;
pub(crate) mod parameters;
mod person;
mod role;
mod segment;
mod statistics;
mod tag;
mod team;
mod webhook;

use utoipa_axum::router::OpenApiRouter;

pub(crate) use self::documentation::routes as documentation;
use crate::state::AppState;

/// The routes under `/api/v1`, and under `/api`. Each capability is one line.
pub(crate) fn api() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .merge(audit::routes())
        .merge(auth::routes())
        .merge(api_key::routes())
        .merge(agent::routes())
        .merge(team::routes())
        .merge(role::routes())
        .merge(organization::routes())
        .merge(customer::routes())
        .merge(person::routes())
        .merge(complaint::routes())
        .merge(export::routes())
        .merge(group::routes())
        .merge(tag::routes())
        .merge(note::routes())
        .merge(order::routes())
        .merge(statistics::routes())
        .merge(segment::routes())
        .merge(field::routes())
        .merge(import::routes())
        .merge(campaign::routes())
        .merge(job::routes())
        .merge(webhook::routes())
        .merge(delivery::routes())
        .merge(ai::routes())
}

/// The routes outside of it.
pub(crate) fn outside() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().merge(health::routes()).merge(auth::well_known())
}
