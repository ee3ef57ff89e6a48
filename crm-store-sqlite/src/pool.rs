//! The connections that read.
//!
//! A connection in the pool is never pinged: it is a thread of this process, and what can fail is the file, which
//! the next query tells. One that was let go of in the middle of a query is closed instead of being used again.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crm_core::store::{StoreError, StoreResult};
use futures::{StreamExt as _, stream::BoxStream};
use sqlx::{
    ConnectOptions as _, Connection as _, Executor as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteRow},
};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{failure, statement::Statement, write::closed};

/// How long closing waits for connections on loan.
const PATIENCE: Duration = Duration::from_secs(5);

/// At most so many connections, opened when they are first needed.
#[derive(Debug)]
pub(crate) struct Pool {
    options: SqliteConnectOptions,
    idle: Mutex<Vec<SqliteConnection>>,
    permits: Semaphore,
    size: usize,
}

/// A connection on loan.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    pool: &'a Pool,
    connection: Option<SqliteConnection>,
    _permit: SemaphorePermit<'a>,
}

impl Pool {
    pub(crate) fn new(options: SqliteConnectOptions, size: usize) -> Self {
        Self { options, idle: Mutex::default(), permits: Semaphore::new(size), size }
    }

    pub(crate) async fn acquire(&self) -> StoreResult<Reader<'_>> {
        let permit = self.permits.acquire().await.map_err(|_| closed())?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.options.connect().await.map_err(failure::running)?,
        };
        Ok(Reader { pool: self, connection: Some(connection), _permit: permit })
    }

    /// Closes the connections. Waits a moment for those on loan, which close when they come back; later loans are
    /// refused.
    pub(crate) async fn close(&self) {
        let all = self.permits.acquire_many(u32::try_from(self.size).unwrap_or(u32::MAX));
        // A stream that nobody reads on keeps its connection, and must not keep the program.
        drop(tokio::time::timeout(PATIENCE, all).await);
        self.permits.close();
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        for connection in idle {
            // A connection that cannot say goodbye is gone as well.
            drop(connection.close().await);
        }
    }
}

impl Reader<'_> {
    /// Every row that the statement answers.
    pub(crate) async fn all(&mut self, statement: Statement) -> StoreResult<Vec<SqliteRow>> {
        let query = statement.query().map_err(failure::running)?;
        self.connection()?.fetch_all(query).await.map_err(failure::running)
    }

    /// The first row that the statement answers.
    pub(crate) async fn first(&mut self, statement: Statement) -> StoreResult<Option<SqliteRow>> {
        let query = statement.query().map_err(failure::running)?;
        self.connection()?.fetch_optional(query).await.map_err(failure::running)
    }

    /// The rows that the statement answers, one by one: the connection is busy until the last.
    pub(crate) fn rows(&mut self, statement: Statement) -> StoreResult<BoxStream<'_, sqlx::Result<SqliteRow>>> {
        let query = statement.query().map_err(failure::running)?;
        Ok(self.connection()?.fetch(query).boxed())
    }

    fn connection(&mut self) -> StoreResult<&mut SqliteConnection> {
        self.connection.as_mut().ok_or_else(closed)
    }

    /// Gives the connection back, which has nothing left to do. A loan that ends otherwise closes it.
    pub(crate) fn release(mut self) {
        if let Some(connection) = self.connection.take().filter(|_| !self.pool.permits.is_closed()) {
            self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
    }
}

/// Where nothing else is to be said of it.
pub(crate) fn missing_row() -> StoreError {
    StoreError::engine("the database answered no row where one was due")
}
