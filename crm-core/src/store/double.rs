//! Stores for tests: another store, but for the calls that a test wants to be otherwise.

use std::{
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use futures::stream::BoxStream;
use uuid::Uuid;

use super::{
    AggregateRow, Aggregation, Change, Collection, CustomIndex, Filter, Outcome, Page, Progress, Query, Row, Scope,
    Sort, Store, StoreResult, Value,
};

/// How a store differs from another: every call is that of [`Meddler::inner`] unless it is written anew.
#[async_trait]
pub trait Meddler: Send + Sync + 'static {
    /// The store that does what is not written anew.
    fn inner(&self) -> &dyn Store;

    /// [`Store::migrate`].
    async fn migrate(&self, collections: &'static [&'static Collection], progress: Progress<'_>) -> StoreResult<()> {
        self.inner().migrate(collections, progress).await
    }

    /// [`Store::get`].
    async fn get(&self, scope: Scope, collection: &'static Collection, ids: &[Uuid]) -> StoreResult<Vec<Row>> {
        self.inner().get(scope, collection, ids).await
    }

    /// [`Store::find`].
    async fn find(&self, scope: Scope, collection: &'static Collection, query: &Query) -> StoreResult<Page> {
        self.inner().find(scope, collection, query).await
    }

    /// [`Store::stream`].
    fn stream<'a>(
        &'a self,
        scope: Scope,
        collection: &'static Collection,
        query: Query,
    ) -> BoxStream<'a, StoreResult<Row>> {
        self.inner().stream(scope, collection, query)
    }

    /// [`Store::count`].
    async fn count(&self, scope: Scope, collection: &'static Collection, filter: &Filter) -> StoreResult<u64> {
        self.inner().count(scope, collection, filter).await
    }

    /// [`Store::aggregate`].
    async fn aggregate(
        &self,
        scope: Scope,
        collection: &'static Collection,
        aggregation: &Aggregation,
    ) -> StoreResult<Vec<AggregateRow>> {
        self.inner().aggregate(scope, collection, aggregation).await
    }

    /// [`Store::commit`].
    async fn commit(&self, scope: Scope, changes: Vec<Change>) -> StoreResult<Vec<Outcome>> {
        self.inner().commit(scope, changes).await
    }

    /// [`Store::claim`].
    async fn claim(
        &self,
        scope: Scope,
        collection: &'static Collection,
        filter: &Filter,
        sort: &[Sort],
        limit: usize,
        set: &[(usize, Value)],
    ) -> StoreResult<Vec<Row>> {
        self.inner().claim(scope, collection, filter, sort, limit, set).await
    }
}

/// The store that a [`Meddler`] makes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Double<M>(pub M);

impl<M> Deref for Double<M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.0
    }
}

#[async_trait]
impl<M: Meddler> Store for Double<M> {
    async fn migrate(&self, collections: &'static [&'static Collection], progress: Progress<'_>) -> StoreResult<()> {
        self.0.migrate(collections, progress).await
    }

    async fn get(&self, scope: Scope, collection: &'static Collection, ids: &[Uuid]) -> StoreResult<Vec<Row>> {
        self.0.get(scope, collection, ids).await
    }

    async fn find(&self, scope: Scope, collection: &'static Collection, query: &Query) -> StoreResult<Page> {
        self.0.find(scope, collection, query).await
    }

    fn stream<'a>(
        &'a self,
        scope: Scope,
        collection: &'static Collection,
        query: Query,
    ) -> BoxStream<'a, StoreResult<Row>> {
        self.0.stream(scope, collection, query)
    }

    async fn count(&self, scope: Scope, collection: &'static Collection, filter: &Filter) -> StoreResult<u64> {
        self.0.count(scope, collection, filter).await
    }

    async fn aggregate(
        &self,
        scope: Scope,
        collection: &'static Collection,
        aggregation: &Aggregation,
    ) -> StoreResult<Vec<AggregateRow>> {
        self.0.aggregate(scope, collection, aggregation).await
    }

    async fn commit(&self, scope: Scope, changes: Vec<Change>) -> StoreResult<Vec<Outcome>> {
        self.0.commit(scope, changes).await
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
        self.0.claim(scope, collection, filter, sort, limit, set).await
    }

    async fn create_custom_index(&self, scope: Scope, index: &CustomIndex) -> StoreResult<()> {
        self.0.inner().create_custom_index(scope, index).await
    }

    async fn drop_custom_index(&self, scope: Scope, index: &CustomIndex) -> StoreResult<()> {
        self.0.inner().drop_custom_index(scope, index).await
    }

    async fn health(&self) -> StoreResult<()> {
        self.0.inner().health().await
    }

    fn engine(&self) -> &'static str {
        self.0.inner().engine()
    }

    async fn close(&self) {
        self.0.inner().close().await;
    }
}

/// What was asked of a [`Recorder`].
#[derive(Clone, Debug)]
pub struct Asked {
    /// Whose rows.
    pub scope: Scope,
    /// Which rows.
    pub collection: &'static Collection,
    /// The page, or what was claimed.
    pub query: Query,
    /// What a claim writes.
    pub set: Option<Vec<(usize, Value)>>,
}

/// Writes down which pages and claims are asked for: for tests of how an engine finds them.
#[derive(Debug)]
pub struct Recorder<S> {
    inner: Arc<S>,
    asked: Mutex<Vec<Asked>>,
}

impl<S: Store> Recorder<S> {
    /// In front of a store.
    #[must_use]
    pub const fn new(inner: Arc<S>) -> Self {
        Self { inner, asked: Mutex::new(Vec::new()) }
    }

    /// What was asked since this was last called.
    #[must_use]
    pub fn take(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.asked())
    }

    fn asked(&self) -> MutexGuard<'_, Vec<Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl<S: Store> Meddler for Recorder<S> {
    fn inner(&self) -> &dyn Store {
        self.inner.as_ref()
    }

    async fn find(&self, scope: Scope, collection: &'static Collection, query: &Query) -> StoreResult<Page> {
        self.asked().push(Asked { scope, collection, query: query.clone(), set: None });
        self.inner.find(scope, collection, query).await
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
        let query = Query::new(filter.clone(), limit).sorted(sort.to_vec());
        self.asked().push(Asked { scope, collection, query, set: Some(set.to_vec()) });
        self.inner.claim(scope, collection, filter, sort, limit, set).await
    }
}
