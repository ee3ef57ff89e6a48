//! The CRM's store on MongoDB 6 and newer: a replica set or a sharded cluster.
//!
//! [`MongoStore`] keeps every collection in one of its name, with a field for each declared one in the type that MongoDB
//! has for it, so that people can look with `mongosh`. What it promises is the contract in [`crm_core::store`], proved
//! by its suite.
//!
//! ```no_run
//! use crm_core::{
//!     audit::AuditEntry,
//!     crm::collections,
//!     record::Record as _,
//!     store::{Filter, Scope, Store as _, StoreError},
//! };
//! use crm_store_mongo::MongoStore;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), StoreError> {
//! let store = MongoStore::connect("mongodb://127.0.0.1:27017/crm?replicaSet=rs0").await?;
//! store.migrate(collections(), &|step, done, all| println!("{step}: {done} of {all}")).await?;
//! assert_eq!(store.count(Scope::Installation, AuditEntry::COLLECTION, &Filter::ALL).await?, 0);
//! store.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! # How the pieces fit
//!
//! - `layout` and `schema` derive documents and indexes from a declaration; `migrate` brings a database to them.
//! - `compile` makes query documents of filters; `search` knows trigrams.
//! - `row` takes values in and out, with `decimal` for money and `json` for free-form JSON and custom fields.
//! - `session` holds commands together: `read` and `aggregate` see one state of the database; `related` finds whom the
//!   conditions on related records mean.
//! - `write` makes commands of changes, and `transaction` runs them, again where others were in the way.
//! - `failure` says what went wrong, in the contract's errors and in sentences.
//!
//! # In the database
//!
//! - `_id` is the record's id, led by the organization where the record is an organization's: `{o: …, i: …}`. Two
//!   organizations may use the same id, the records of one lie together in the order of their ids, and no further index is
//!   needed for either. The fields `organization_id` and `id` are there all the same, under their declared names.
//! - A value that is missing is a field that is not there. Whole numbers are 64-bit integers, money is Decimal128 with
//!   four places, instants are dates, days are ISO texts, ids are binary UUIDs, JSON is documents.
//! - `…_folded` holds the form in which case and accents make no difference, `…_values` the ways in which each
//!   custom field can be read, and `search_trigrams` the trigrams of what can be searched. Who writes with `mongosh` has to
//!   write these too.
//! - Names of JSON members are escaped where MongoDB gives a letter a meaning: `.` is `%2E`, `$` is `%24`, `%` is `%25`,
//!   and the empty name is `%`.
//! - `crm_schema` says what the database is.

mod aggregate;
mod compile;
mod decimal;
mod failure;
mod json;
mod layout;
mod migrate;
mod options;
mod read;
mod related;
mod row;
mod schema;
mod search;
mod session;
mod store;
mod transaction;
mod write;

pub use self::{options::MongoOptions, store::MongoStore};
