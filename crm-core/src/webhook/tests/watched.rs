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
    Change, Collection, Outcome, Page, Query, Row, Scope, Store, StoreError, StoreResult, double::Meddler,
    memory::MemoryStore,
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
impl Meddler for Watched {
    fn inner(&self) -> &dyn Store {
        &self.inner
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

    async fn commit(&self, scope: Scope, changes: Vec<Change>) -> StoreResult<Vec<Outcome>> {
        self.verdict(scope, &changes)?;
        // As on an engine that takes its time.
        tokio::task::yield_now().await;
        self.inner.commit(scope, changes).await
    }
}
