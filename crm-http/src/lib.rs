//! The CRM as one server: REST under `/api/v1`, an OpenAPI document with two readers of it, health and metrics.
//!
//! The binary reads its [`settings`], opens a store and serves. A program that has an axum application of its own
//! mounts the same [`router`] in it:
//!
//! ```no_run
//! # async fn mount(store: crm_core::store::SharedStore) {
//! use crm_core::Crm;
//! use crm_http::{RouterOptions, router};
//!
//! let crm = Crm::builder(store).build();
//! let app: axum::Router = axum::Router::new()
//!     .route("/shop", axum::routing::get(|| async { "Our own page" }))
//!     .merge(router(crm, RouterOptions::default()));
//! # drop(app);
//! # }
//! ```

mod cookies;
mod csrf;
pub mod demo;
mod edge;
mod extract;
mod health;
mod json;
mod listed;
pub mod logging;
mod metrics;
mod openapi;
mod options;
mod problem;
mod respond;
mod router;
mod routes;
pub mod server;
pub mod settings;
mod state;
mod watching;

pub use self::{
    options::{Origins, RouterOptions},
    router::{document, router},
};
