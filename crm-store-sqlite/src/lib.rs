//! The CRM's embedded store: one SQLite file, nothing to install.
//!
//! [`SqliteStore`] keeps every collection in a table of its name, with a column for each field, so that people can
//! read it with plain SQL.
//!
//! ```
//! use crm_core::store::{Store as _, StoreError};
//! use crm_store_sqlite::SqliteStore;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), StoreError> {
//! # let folder = tempfile::tempdir().map_err(StoreError::engine)?;
//! # let path = folder.path().join("crm.db");
//! let store = SqliteStore::open(&path).await?;
//! store.migrate(crm_core::crm::collections(), &|step, done, all| println!("{step} {done}/{all}")).await?;
//! store.close().await;
//! # Ok(())
//! # }
//! ```

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
