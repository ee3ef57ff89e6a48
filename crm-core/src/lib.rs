//! The CRM that Rust programs link: customers with custom fields, rules, accounts and access, over any [`store::Store`].

// The derive names this crate by its public name, also in here.
extern crate self as crm_core;

pub mod access;
pub mod account;
pub mod ai;
pub mod audit;
pub mod background;
pub mod backlog;
pub mod campaign;
pub mod complaint;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod contact;
pub mod crm;
pub mod customer;
pub mod delivery;
pub mod error;
pub mod event;
pub mod field;
mod hint;
pub mod id;
pub mod idempotency;
pub mod import_file;
pub mod input;
pub mod job;
pub mod lease;
pub mod limit;
pub mod list;
pub mod operation;
pub mod order;
pub mod personal_data;
pub mod port;
pub mod record;
pub mod related;
pub mod repo;
pub mod resealing;
pub mod rule;
pub mod secret;
pub mod segment;
pub mod statistics;
pub mod store;
mod taking;
pub mod tenancy;
pub mod text;
pub mod time;
pub mod timeline;
mod turn;
pub mod webhook;

/// Written on implementations of the ports and of [`store::Store`].
pub use async_trait::async_trait;
#[cfg(feature = "openapi")]
#[doc(hidden)]
pub use utoipa;

pub use crate::{
    crm::{Crm, CrmBuilder},
    error::{Error, Result},
};
