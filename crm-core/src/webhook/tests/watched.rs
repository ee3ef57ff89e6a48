//! A store that counts what is read, and refuses what it is told to.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::{StreamExt as _, stream::BoxStream};
use uuid::Uuid;

use crate::store::{
    AggregateRow, Aggregation, Change, Collection, CustomIndex, Filter, Outcome, Page, Progress, Query, Row, Scope,
    Sort, Store, StoreError, StoreResult, Value, memory::MemoryStore,
};

struct Refusal {
    times: usize,
    concerns: fn(&Scope, &[Change]) -> bool,
    error: fn() -> StoreError,
}

#[derive(Default)]
pub(super) struct Watched {
    inner: MemoryStore,
    reads: AtomicUsize,
    rows: AtomicUsize,
    refusal: Mutex<Option<Refusal>>,
    spared: AtomicUsize,
    refused: AtomicUsize,
}

/// The store is away.
pub(super) fn away() -> StoreError {
    StoreError::Unavailable { message: "away".to_owned(), retry_after: Duration::from_secs(1) }
}

impl Watched {
    /// Refuses the next commits that are meant.
    pub(super) fn refuse(&self, times: usize, concerns: fn(&Scope, &[Change]) -> bool, error: fn() -> StoreError) {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(Refusal { times, concerns, error });
    }

    /// Lets so many of them pass first.
    pub(super) fn spare(&self, times: usize) {
        self.spared.store(times, Ordering::SeqCst);
    }

    pub(super) fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }

    pub(super) fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }

    pub(super) fn rows_read(&self) -> usize {
        self.rows.load(Ordering::SeqCst)
    }

    fn read(&self, rows: usize) {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.rows.fetch_add(rows, Ordering::SeqCst);
    }

    fn verdict(&self, scope: Scope, changes: &[Change]) -> StoreResult<()> {
        let mut refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(refusal) = refusal.as_mut().filter(|refusal| refusal.times > 0) else { return Ok(()) };
        if !(refusal.concerns)(&scope, changes) {
            return Ok(());
        }
        let spared = self.spared.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if spared.is_ok() {
            return Ok(());
        }
        refusal.times -= 1;
        self.refused.fetch_add(1, Ordering::SeqCst);
        Err((refusal.error)())
    }
}

#[async_trait]
impl Store for Watched {
    async fn migrate(&self, collections: &'static [&'static Collection], progress: Progress<'_>) -> StoreResult<()> {
        self.inner.migrate(collections, progress).await
    }

    async fn get(&self, scope: Scope, collection: &'static Collection, ids: &[Uuid]) -> StoreResult<Vec<Row>> {
        self.read(ids.len());
        self.inner.get(scope, collection, ids).await
    }

    async fn find(&self, scope: Scope, collection: &'static Collection, query: &Query) -> StoreResult<Page> {
        let page = self.inner.find(scope, collection, query).await?;
        self.read(page.rows.len());
        Ok(page)
    }

    fn stream<'a>(
        &'a self,
        scope: Scope,
        collection: &'static Collection,
        query: Query,
    ) -> BoxStream<'a, StoreResult<Row>> {
        self.read(0);
        let counted = |_: &StoreResult<Row>| {
            self.rows.fetch_add(1, Ordering::SeqCst);
        };
        self.inner.stream(scope, collection, query).inspect(counted).boxed()
    }

    async fn count(&self, scope: Scope, collection: &'static Collection, filter: &Filter) -> StoreResult<u64> {
        self.inner.count(scope, collection, filter).await
    }

    async fn aggregate(
        &self,
        scope: Scope,
        collection: &'static Collection,
        aggregation: &Aggregation,
    ) -> StoreResult<Vec<AggregateRow>> {
        self.inner.aggregate(scope, collection, aggregation).await
    }

    async fn commit(&self, scope: Scope, changes: Vec<Change>) -> StoreResult<Vec<Outcome>> {
        self.verdict(scope, &changes)?;
        // As on an engine that takes its time.
        tokio::task::yield_now().await;
        self.inner.commit(scope, changes).await
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
        self.inner.claim(scope, collection, filter, sort, limit, set).await
    }

    async fn create_custom_index(&self, scope: Scope, index: &CustomIndex) -> StoreResult<()> {
        self.inner.create_custom_index(scope, index).await
    }

    async fn drop_custom_index(&self, scope: Scope, index: &CustomIndex) -> StoreResult<()> {
        self.inner.drop_custom_index(scope, index).await
    }

    async fn health(&self) -> StoreResult<()> {
        self.inner.health().await
    }

    fn engine(&self) -> &'static str {
        self.inner.engine()
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
