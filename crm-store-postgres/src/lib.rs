//! The CRM's store on PostgreSQL 13 and newer.

mod aggregate;
mod binary;
mod compile;
mod custom;
mod failure;
mod json;
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
mod together;
mod write;
mod writer;

pub use self::{options::PostgresOptions, store::PostgresStore};
