//! The CRM's embedded store: one SQLite file, nothing to install.
//!
//! [`SqliteStore`] keeps every collection in a table of its name, with a column for each field, so that people can
//! read the file with plain SQL. What it promises is the contract in [`crm_core::store`], proved by its suite.
//!
//! ```
//! use crm_core::{
//!     audit::AuditEntry,
//!     crm::collections,
//!     record::Record as _,
//!     store::{Filter, Scope, Store as _, StoreError},
//! };
//! use crm_store_sqlite::SqliteStore;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), StoreError> {
//! # let folder = tempfile::tempdir().map_err(StoreError::engine)?;
//! let store = SqliteStore::open(folder.path().join("crm.db")).await?;
//! store.migrate(collections(), &|step, done, all| println!("{step}: {done} of {all}")).await?;
//! assert_eq!(store.count(Scope::Installation, AuditEntry::COLLECTION, &Filter::ALL).await?, 0);
//!
//! // While it runs; a copy of the file alone would lack what is still in the log beside it.
//! store.backup(folder.path().join("backup.db")).await?;
//! store.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! # How the pieces fit
//!
//! - `layout` and `schema` derive tables, indexes and triggers from a declaration; `migrate` brings a file to them.
//! - `compile` makes SQL of filters, `plan` of orders and pages, and chooses the index; `statement` holds text and
//!   arguments; `search` knows trigrams; `row` takes values in and out.
//! - `pool` lends connections to `read` and `aggregate`.
//! - `write` makes SQL of changes, and `writer`, the one task that writes, runs what waits in one transaction.
//! - `failure` says what went wrong, in the contract's errors and in sentences.
//!
//! # In the file
//!
//! Ids are the 16 bytes of a UUID, half the size of their text in each of the indexes that they lead (in SQL:
//! `id = x'0198…'`, or `hex(id)` to read one). Instants are milliseconds since 1970, money is in ten-thousandths,
//! lists and custom fields are JSON text; the comments in the schema say so too. `…_folded` columns hold the form in
//! which case and accents make no difference. Tables named after an index over a list have one row for each element,
//! `…_search` is the full-text index of trigrams; triggers keep both, also when a person writes with SQL, as long as
//! the `…_folded` columns are written too.

mod aggregate;
mod compile;
mod failure;
mod layout;
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
mod write;
mod writer;

pub use self::{
    options::{Durability, SqliteOptions},
    store::SqliteStore,
};
