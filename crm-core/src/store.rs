//! The storage contract: what an engine must do for the CRM to run on it.
//!
//! A [`Store`] knows nothing of the CRM. It keeps flat typed [`Row`]s of declared [`Collection`]s, answers
//! [`Filter`]s, and writes a list of [`Change`]s all or not at all. The meaning of every filter, order and
//! aggregate is the in-process evaluator ([`evaluate`]); the public suite (feature `conformance`) proves a
//! store equal to it. Every call names its [`Scope`], so that organizations are kept apart by the contract
//! and not by the caller's care.

mod aggregate;
mod change;
mod collection;
pub mod condition;
#[cfg(any(test, feature = "conformance"))]
pub mod double;
pub mod evaluate;
mod failure;
mod filter;
pub mod fold;
pub mod memory;
pub mod plan;
mod query;
mod value;

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use uuid::Uuid;

pub use self::{
    aggregate::{AggregateRow, Aggregation, Group, Measure, Measured},
    change::{Assignment, Change, Outcome, WhenUnmet},
    collection::{Collection, Field, Index, IndexField, Placement, UniqueKey, head},
    failure::StoreError,
    filter::{Comparison, FieldRef, Filter, RelatedFilter, RelatedMeasure},
    query::{Page, Position, Query, Sort},
    value::{FieldKind, Json, Money, MoneyError, Row, Value},
};
use crate::id::OrganizationId;

/// The result of a storage call.
pub type StoreResult<T> = Result<T, StoreError>;

/// Whose data a call may touch.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Scope {
    /// One organization's. In a tenant collection only its rows exist; in an installation collection only the
    /// rows whose `organization_id` is this one are read, claimed or changed by filter.
    Organization(OrganizationId),
    /// The installation's own collections, over all organizations: signing in, relays, the super-administrator.
    /// Tenant collections are refused with [`StoreError::OutOfScope`].
    Installation,
}

/// Tells how far a long start-up step is: what is being done, steps done, steps in all.
pub type Progress<'a> = &'a (dyn Fn(&str, u64, u64) + Send + Sync);

/// A custom field that wants an index: the JSON column's member `key`, in one organization's rows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CustomIndex {
    /// The collection.
    pub collection: &'static Collection,
    /// The JSON field that holds custom fields.
    pub field: &'static str,
    /// The member's name.
    pub key: String,
    /// What its values are.
    pub kind: FieldKind,
}

/// An engine that keeps the CRM's records.
///
/// A failure is a value ([`StoreError`]); a store retries inside what is safe to run again (serialization
/// failures, lost elections), within a deadline.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Brings the database to the declared collections: creates what is missing, adds columns and indexes,
    /// runs the numbered migrations, all under one lock. Safe to call at every start and from many processes.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] with a sentence for a person where the database is from a newer program,
    /// read-only, full, locked or corrupt.
    async fn migrate(&self, collections: &'static [&'static Collection], progress: Progress<'_>) -> StoreResult<()>;

    /// The rows with these ids that exist in the scope, in the order of `ids`, missing ones left out. The ids differ.
    async fn get(&self, scope: Scope, collection: &'static Collection, ids: &[Uuid]) -> StoreResult<Vec<Row>>;

    /// One page of the rows that match.
    async fn find(&self, scope: Scope, collection: &'static Collection, query: &Query) -> StoreResult<Page>;

    /// All rows that match, in the query's order, in constant memory; `limit`, where not 0, bounds them.
    /// Rows written meanwhile may or may not appear; none appears twice.
    fn stream<'a>(
        &'a self,
        scope: Scope,
        collection: &'static Collection,
        query: Query,
    ) -> BoxStream<'a, StoreResult<Row>>;

    /// How many rows match.
    async fn count(&self, scope: Scope, collection: &'static Collection, filter: &Filter) -> StoreResult<u64>;

    /// Measures over the rows that match, one answer for each group, ordered by the group's values ascending.
    async fn aggregate(
        &self,
        scope: Scope,
        collection: &'static Collection,
        aggregation: &Aggregation,
    ) -> StoreResult<Vec<AggregateRow>>;

    /// Makes every change, in list order, or none. The answer has one [`Outcome`] for each change. When it
    /// returns, the changes survive the death of the process and of the machine.
    async fn commit(&self, scope: Scope, changes: Vec<Change>) -> StoreResult<Vec<Outcome>>;

    /// Picks up to `limit` matching rows that no other call is picking, makes `set` on each (and bumps the version), and
    /// returns them as they are afterwards. Each row goes to one caller; `sort` is a preference.
    async fn claim(
        &self,
        scope: Scope,
        collection: &'static Collection,
        filter: &Filter,
        sort: &[Sort],
        limit: usize,
        set: &[(usize, Value)],
    ) -> StoreResult<Vec<Row>>;

    /// Builds (or keeps) an index for a custom field, beside running work.
    async fn create_custom_index(&self, scope: Scope, index: &CustomIndex) -> StoreResult<()>;

    /// Drops such an index; none there is no error.
    async fn drop_custom_index(&self, scope: Scope, index: &CustomIndex) -> StoreResult<()>;

    /// Answers where the engine does.
    async fn health(&self) -> StoreResult<()>;

    /// The engine's name for people and metrics, such as `sqlite`.
    fn engine(&self) -> &'static str;

    /// Finishes what is in hand and lets go of files and connections.
    async fn close(&self);
}

/// A store that many hold.
pub type SharedStore = Arc<dyn Store>;
