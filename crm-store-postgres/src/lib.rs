//! The CRM's store on PostgreSQL 13 and newer.
//!
//! [`PostgresStore`] keeps every collection in a table of its name, with a column of a fitting type for each field, so
//! that people can read it with plain SQL and reporting tools. What it promises is the contract in
//! [`crm_core::store`], proved by its suite. It needs no extension.
//!
//! ```no_run
//! use crm_core::{
//!     audit::AuditEntry,
//!     crm::collections,
//!     record::Record as _,
//!     store::{Filter, Scope, Store as _, StoreError},
//! };
//! use crm_store_postgres::PostgresStore;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), StoreError> {
//! let store = PostgresStore::connect("postgres://crm:secret@localhost/crm").await?;
//! store.migrate(collections(), &|step, done, all| println!("{step}: {done} of {all}")).await?;
//! assert_eq!(store.count(Scope::Installation, AuditEntry::COLLECTION, &Filter::ALL).await?, 0);
//! store.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! # How the pieces fit
//!
//! - `layout` and `schema` derive tables, indexes and triggers from a declaration; `migrate` brings a database to them,
//!   `custom` builds the indexes on custom fields.
//! - `compile` makes SQL of filters, `plan` of orders and pages; `statement` holds text and arguments; `search` makes
//!   trigrams; `row` takes values in and out, in the server's `binary` form, and `json` keeps the type of numbers.
//! - `pool` lends connections to `read` and `aggregate`, and to `writer`, which runs commits: `write` makes SQL of
//!   changes, `together` of a whole commit where it can be one statement, `alike` of changes that differ in their values
//!   only, `gather` of many commits that only add, and `lost` finds out what became of a commit whose connection was lost.
//! - `failure` says what went wrong, in the contract's errors and in sentences.
//!
//! # In the database
//!
//! Money is `numeric(19,4)`, instants are `timestamptz`, lists `text[]`, custom fields `jsonb`. Texts compare by code
//! point (`COLLATE "C"`), whatever the database's locale. `…_folded` columns hold the form in which case and accents
//! make no difference, `…_trigrams` the digests by which a search finds its candidates: who writes with SQL writes them
//! too. A table named after an index over a list has one row for each element; triggers keep it. The comment of an
//! index or such a table is the statement that made it, and `crm_migrations` says which steps have run.

mod aggregate;
mod alike;
mod binary;
mod compile;
mod custom;
mod failure;
mod gather;
mod growth;
mod json;
mod layout;
mod lost;
mod migrate;
mod options;
mod plan;
mod pool;
mod read;
mod row;
mod schema;
mod search;
mod statement;
mod store;
mod together;
mod write;
mod writer;

pub use self::{options::PostgresOptions, store::PostgresStore};
