//! A store in which a record of one organization cannot be read.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use futures::stream::BoxStream;
use uuid::Uuid;

use crate::{
    id::OrganizationId,
    store::{
        AggregateRow, Aggregation, Change, Collection, CustomIndex, Filter, Outcome, Page, Progress, Query, Row, Scope,
        Sort, Store, StoreError, StoreResult, Value, head, memory::MemoryStore,
    },
};

pub(super) struct Damaged {
    store: MemoryStore,
    organization: OrganizationId,
    damaged: AtomicBool,
}

impl Damaged {
    pub(super) fn new(organization: OrganizationId) -> Self {
        Self { store: MemoryStore::new(), organization, damaged: AtomicBool::new(false) }
    }

    pub(super) fn damage(&self) {
        self.damaged.store(true, Ordering::SeqCst);
    }

    pub(super) fn mend(&self) {
        self.damaged.store(false, Ordering::SeqCst);
    }
}

#[async_trait]
impl Store for Damaged {
    async fn migrate(&self, collections: &'static [&'static Collection], progress: Progress<'_>) -> StoreResult<()> {
        self.store.migrate(collections, progress).await
    }

    async fn get(&self, scope: Scope, collection: &'static Collection, ids: &[Uuid]) -> StoreResult<Vec<Row>> {
        self.store.get(scope, collection, ids).await
    }

    async fn find(&self, scope: Scope, collection: &'static Collection, query: &Query) -> StoreResult<Page> {
        let page = self.store.find(scope, collection, query).await?;
        let theirs = |row: &Row| row.0.get(head::ORGANIZATION_ID) == Some(&Value::Id(self.organization.into()));
        if self.damaged.load(Ordering::SeqCst) && page.rows.iter().any(theirs) {
            return Err(StoreError::engine("a column cannot be read"));
        }
        Ok(page)
    }

    fn stream<'a>(
        &'a self,
        scope: Scope,
        collection: &'static Collection,
        query: Query,
    ) -> BoxStream<'a, StoreResult<Row>> {
        self.store.stream(scope, collection, query)
    }

    async fn count(&self, scope: Scope, collection: &'static Collection, filter: &Filter) -> StoreResult<u64> {
        self.store.count(scope, collection, filter).await
    }

    async fn aggregate(
        &self,
        scope: Scope,
        collection: &'static Collection,
        aggregation: &Aggregation,
    ) -> StoreResult<Vec<AggregateRow>> {
        self.store.aggregate(scope, collection, aggregation).await
    }

    async fn commit(&self, scope: Scope, changes: Vec<Change>) -> StoreResult<Vec<Outcome>> {
        self.store.commit(scope, changes).await
    }

    async fn claim(
        &self,
        scope: Scope,
        collection: &'static Collection,
        filter: &Filter,
        sort: &[Sort],
        limit: usize,
        set: &[(usize, Value)],
    ) -> StoreResult<Vec<Row>> {
        self.store.claim(scope, collection, filter, sort, limit, set).await
    }

    async fn create_custom_index(&self, scope: Scope, index: &CustomIndex) -> StoreResult<()> {
        self.store.create_custom_index(scope, index).await
    }

    async fn drop_custom_index(&self, scope: Scope, index: &CustomIndex) -> StoreResult<()> {
        self.store.drop_custom_index(scope, index).await
    }

    async fn health(&self) -> StoreResult<()> {
        self.store.health().await
    }

    fn engine(&self) -> &'static str {
        self.store.engine()
    }

    async fn close(&self) {
        self.store.close().await;
    }
}
