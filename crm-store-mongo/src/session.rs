//! Commands that belong together: one state of the database for several reads, or a transaction.

use std::{
    future::Future,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    time::Duration,
};

use bson::{Document, RawDocumentBuf};
use crm_core::store::{Collection, Row, StoreError, StoreResult};
use mongodb::{ClientSession, options::FindOptions};
use tokio::time::Instant;

use crate::{failure, layout::Layout, row, store::MongoStore};

/// Why a command of a session did not do what it should. The driver's own errors stay as they are until it is clear
/// whether the commands are to be run again.
#[derive(Debug)]
pub(crate) enum Fault {
    Store(StoreError),
    Driver(mongodb::error::Error),
    /// Of a command that writes to the collection.
    Writing(&'static Collection, mongodb::error::Error),
}

impl Fault {
    pub(crate) const fn driver(&self) -> Option<&mongodb::error::Error> {
        match self {
            Self::Driver(error) | Self::Writing(_, error) => Some(error),
            Self::Store(_) => None,
        }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<mongodb::error::Error> for Fault {
    fn from(error: mongodb::error::Error) -> Self {
        Self::Driver(error)
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Store(error) => error,
            Fault::Driver(error) => failure::running(error),
            Fault::Writing(collection, error) => failure::writing(collection, error),
        }
    }
}

/// A store and the session in which it is spoken to.
pub(crate) struct Session<'a> {
    pub(crate) store: &'a MongoStore,
    pub(crate) session: ClientSession,
}

impl Session<'_> {
    /// All rows that a `find` answers.
    pub(crate) async fn rows(
        &mut self,
        layout: &Layout,
        filter: Document,
        options: FindOptions,
    ) -> Result<Vec<Row>, Fault> {
        let collection = self.store.collection(layout.collection);
        let mut cursor = collection
            .find(filter)
            .with_options(options)
            .max_time(self.store.options.operation_timeout)
            .session(&mut self.session)
            .await?;
        let mut rows = Vec::new();
        while cursor.advance(&mut self.session).await? {
            rows.push(row::decode(layout.collection.fields, cursor.current())?);
        }
        Ok(rows)
    }

    /// All documents that an aggregation answers, one after the other.
    pub(crate) async fn aggregate(
        &mut self,
        collection: &'static Collection,
        pipeline: Vec<Document>,
        mut each: impl FnMut(&bson::RawDocument) -> StoreResult<()> + Send,
    ) -> Result<(), Fault> {
        let collection = self.store.collection(collection);
        let mut cursor = collection
            .aggregate(pipeline)
            .allow_disk_use(true)
            .max_time(self.store.options.operation_timeout)
            .session(&mut self.session)
            .with_type::<RawDocumentBuf>()
            .await?;
        while cursor.advance(&mut self.session).await? {
            each(cursor.current())?;
        }
        Ok(())
    }
}

/// How often a snapshot is asked for again that is too new or too old.
const SNAPSHOTS: u32 = 20;

/// Runs reads that see one state of the database.
pub(crate) async fn in_snapshot<'a, T, F>(
    store: &'a MongoStore,
    reads: impl Fn(Session<'a>) -> F + Send + Sync,
) -> StoreResult<T>
where
    F: Future<Output = Result<T, Fault>> + Send,
{
    let mut pause = Pause::default();
    for _ in 0..SNAPSHOTS {
        let session = store.client.start_session().snapshot(true).await.map_err(failure::running)?;
        match limited(store, reads(Session { store, session })).await? {
            Ok(answer) => return Ok(answer),
            Err(Fault::Driver(error)) if failure::is_stale_snapshot(&error) => pause.wait().await,
            Err(fault) => return Err(fault.into()),
        }
    }
    Err(failure::crowded())
}

/// Waits no longer than a command may take, also where the server says nothing at all.
pub(crate) async fn limited<T, W>(store: &MongoStore, work: W) -> StoreResult<T>
where
    W: IntoFuture<Output = T, IntoFuture: Send> + Send,
{
    // The server ends a command by itself; this is for one that is gone.
    let patience = store.options.operation_timeout + Duration::from_secs(2);
    tokio::time::timeout(patience, work.into_future())
        .await
        .map_err(|_| failure::unavailable("the MongoDB server does not answer", 5))
}

/// As [`limited`], for a command that writes: one that was not answered in time may have been carried out.
pub(crate) async fn limited_write<T, W>(store: &MongoStore, work: W) -> StoreResult<T>
where
    W: IntoFuture<Output = T, IntoFuture: Send> + Send,
{
    limited(store, work).await.map_err(|_| failure::unknown())
}

/// Waits that grow, and differ from one waiter to the next, so that those who clashed do not clash again.
#[derive(Debug, Default)]
pub(crate) struct Pause {
    waits: u32,
}

impl Pause {
    const FIRST: Duration = Duration::from_millis(3);
    const LONGEST: Duration = Duration::from_millis(250);

    pub(crate) async fn wait(&mut self) {
        let longest = Self::FIRST.saturating_mul(1 << self.waits.min(10)).min(Self::LONGEST);
        self.waits += 1;
        // Every hasher of this kind is keyed at random.
        let random = RandomState::new().build_hasher().finish() % 1000;
        tokio::time::sleep(longest.mul_f64(0.2 + 0.0008 * f64::from(u32::try_from(random).unwrap_or(0)))).await;
    }
}

/// Whether the time is over.
pub(crate) fn is_past(deadline: Instant) -> bool {
    Instant::now() >= deadline
}
