//! The connections.
//!
//! A connection that was given back had nothing left to do, so it is not pinged when it is lent again: a ping costs a
//! third of a lookup by id. What can have gone wrong meanwhile, the next statement tells; see [`Session::is_stale`].
//! One that was let go of in the middle of something (its caller was cancelled, a statement failed halfway) is closed
//! instead of being used again, and the server takes its transaction back.
//!
//! The server ends a statement that takes too long. Where not even that is heard of, the server or the way to it is gone
//! without a word, so an answer is waited for a little longer than that and no more: see [`Session::heard`].

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crm_core::store::{StoreError, StoreResult};
use futures::{StreamExt as _, stream::BoxStream};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, PgConnection, Row as _, postgres::PgRow};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{
    failure::{self, busy, closed},
    options::PostgresOptions,
    statement::Statement,
};

/// How long closing waits for connections on loan.
const PATIENCE: Duration = Duration::from_secs(5);
/// How much longer than the server may work on a statement its answer is waited for.
const GRACE: Duration = Duration::from_secs(5);

/// At most so many connections, opened when they are first needed.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) options: PostgresOptions,
    idle: Mutex<Vec<Server>>,
    permits: Arc<Semaphore>,
    /// Those of streams, which keep their connections for as long as somebody reads: the other half is for everybody
    /// else.
    streams: Arc<Semaphore>,
}

/// A connection and the process of the server that serves it.
#[derive(Debug)]
struct Server {
    connection: PgConnection,
    process: i32,
    began: String,
    /// Whether it has served before, so that the server may have gone away meanwhile.
    used: bool,
}

/// A connection on loan.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    pool: &'a Pool,
    server: Option<Server>,
    /// How long an answer is waited for; nothing where it may take any time.
    limit: Option<Duration>,
    /// Whether the connection is lost, or what comes next on it is not known.
    lost: bool,
    _permit: OwnedSemaphorePermit,
    stream: Option<OwnedSemaphorePermit>,
}

impl Pool {
    pub(crate) fn new(options: PostgresOptions) -> Self {
        let permits = Arc::new(Semaphore::new(options.pool));
        let streams = Arc::new(Semaphore::new((options.pool / 2).max(1)));
        Self { options, idle: Mutex::default(), permits, streams }
    }

    pub(crate) async fn acquire(&self) -> StoreResult<Session<'_>> {
        self.acquire_with(failure::running).await
    }

    /// A connection; `failed` tells what to say where there is none.
    pub(crate) async fn acquire_with(
        &self,
        failed: impl FnOnce(sqlx::Error) -> StoreError,
    ) -> StoreResult<Session<'_>> {
        let permit = self.permit(&self.permits).await?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let server = match idle {
            Some(server) => server,
            None => self.connect().await.map_err(failed)?,
        };
        let limit = match self.options.statement_timeout.as_millis() {
            // To the server as well, this means none.
            0 => None,
            _ => Some(self.options.statement_timeout.saturating_add(GRACE)),
        };
        Ok(Session { pool: self, server: Some(server), limit, lost: false, _permit: permit, stream: None })
    }

    async fn permit(&self, permits: &Arc<Semaphore>) -> StoreResult<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(permits).try_acquire_owned() {
            return Ok(permit);
        }
        let waiting = Arc::clone(permits).acquire_owned();
        timeout(self.options.connect_timeout, waiting).await.map_err(|_| busy())?.map_err(|_| closed())
    }

    /// A connection for a stream, surely new. Streams wait for each other rather than take every connection.
    pub(crate) async fn acquire_for_stream(&self) -> StoreResult<Session<'_>> {
        let permit = self.permit(&self.streams).await?;
        let mut session = self.acquire_new().await?;
        session.stream = Some(permit);
        Ok(session)
    }

    /// A connection that is surely new.
    pub(crate) async fn acquire_new(&self) -> StoreResult<Session<'_>> {
        let mut session = self.acquire().await?;
        if session.is_stale() {
            drop(session.server.take());
            session.server = Some(self.connect().await.map_err(failure::running)?);
        }
        Ok(session)
    }

    async fn connect(&self) -> sqlx::Result<Server> {
        match timeout(self.options.connect_timeout, connect(&self.options)).await {
            Ok(connected) => connected,
            Err(elapsed) => Err(sqlx::Error::Io(elapsed.into())),
        }
    }

    /// Closes what waits to be lent: the server behind it is not the same any more.
    pub(crate) fn forget_idle(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Closes the connections. Waits a moment for those on loan, which close when they come back; later loans are
    /// refused.
    pub(crate) async fn close(&self) {
        let all = self.permits.acquire_many(u32::try_from(self.options.pool).unwrap_or(u32::MAX));
        // A stream that nobody reads on keeps its connection, and must not keep the program.
        drop(timeout(PATIENCE, all).await);
        self.permits.close();
        self.streams.close();
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        for server in idle {
            // A connection that cannot say goodbye is gone as well.
            server.connection.close().await.ok();
        }
    }
}

/// Opens a connection on which statements mean what they are meant to, whatever the server's own settings.
async fn connect(options: &PostgresOptions) -> sqlx::Result<Server> {
    let mut connection = options.connect.connect().await?;
    // Compiling a count over a million rows takes 50 ms of its 400. What a migration does not find to drop is no news.
    let mut settings = format!(
        "SET default_transaction_isolation = 'read committed'; SET TimeZone = 'UTC'; SET jit = off; \
         SET client_min_messages = warning; SET statement_timeout = {}; SET idle_in_transaction_session_timeout = {}; ",
        options.statement_timeout.as_millis(),
        // A stream waits for whoever reads it.
        600_000
    );
    if connection.server_version_num().is_some_and(|version| version >= 140_000) {
        // A statement whose caller went away ends soon. Servers on some systems cannot do that.
        settings.push_str(
            "DO $$ BEGIN SET client_connection_check_interval = '2s'; EXCEPTION WHEN OTHERS THEN NULL; END $$; ",
        );
    }
    // What was acknowledged outlives a crash, also where the server or the role is set to forget it. Stricter settings
    // stay.
    settings.push_str(
        "DO $$ BEGIN IF current_setting('synchronous_commit') = 'off' THEN SET synchronous_commit = 'local'; END IF; \
         END $$; ",
    );
    settings.push_str("SELECT pid::text, backend_start::text FROM pg_stat_activity WHERE pid = pg_backend_pid()");
    let row = connection.fetch_one(sqlx::raw_sql(sqlx::AssertSqlSafe(settings))).await?;
    let process = row.try_get::<&str, _>(0)?.parse().unwrap_or(0);
    let began = row.try_get::<&str, _>(1)?.to_owned();
    Ok(Server { connection, process, began, used: false })
}

impl Session<'_> {
    /// Every row that the statement answers.
    pub(crate) async fn all(&mut self, statement: Statement) -> sqlx::Result<Vec<PgRow>> {
        let limit = self.limit;
        let answer = within(limit, self.connection()?.fetch_all(statement.query())).await;
        self.heard(answer)
    }

    /// The first row that the statement answers.
    pub(crate) async fn first(&mut self, statement: Statement) -> sqlx::Result<Option<PgRow>> {
        let limit = self.limit;
        let answer = within(limit, self.connection()?.fetch_optional(statement.query())).await;
        self.heard(answer)
    }

    /// How many rows the statement touched.
    pub(crate) async fn execute(&mut self, statement: Statement) -> sqlx::Result<u64> {
        let limit = self.limit;
        let answer = within(limit, self.connection()?.execute(statement.query())).await;
        self.heard(answer).map(|done| done.rows_affected())
    }

    /// Runs statements without arguments, which are not prepared.
    pub(crate) async fn run(&mut self, sql: &str) -> sqlx::Result<()> {
        let sql = sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()));
        let limit = self.limit;
        let answer = within(limit, self.connection()?.execute(sql)).await;
        self.heard(answer).map(|_| ())
    }

    /// Runs a `COPY` with what is sent to it, part by part.
    pub(crate) async fn copy(&mut self, sql: &str, parts: impl Iterator<Item = Vec<u8>> + Send) -> sqlx::Result<()> {
        let limit = self.limit;
        let connection = self.connection()?;
        let copying = async {
            let mut copy = connection.copy_in_raw(sql).await?;
            for part in parts {
                copy.send(part).await?;
            }
            copy.finish().await
        };
        let answer = within(limit, copying).await;
        self.heard(answer).map(|_| ())
    }

    /// Lets what follows take as long as it takes, on the server and here. Such a connection is let go of in the end
    /// instead of being given back.
    pub(crate) async fn take_time(&mut self) -> sqlx::Result<()> {
        self.run("SET statement_timeout = 0; SET lock_timeout = 0").await?;
        self.limit = None;
        Ok(())
    }

    /// Notes whether the connection is lost.
    fn heard<T>(&mut self, answer: sqlx::Result<T>) -> sqlx::Result<T> {
        self.lost |= answer.as_ref().is_err_and(failure::is_lost);
        answer
    }

    /// The rows that the statement answers, one by one: the connection is busy until the last, however long that takes.
    pub(crate) fn rows(&mut self, statement: Statement) -> sqlx::Result<BoxStream<'_, sqlx::Result<PgRow>>> {
        Ok(self.connection()?.fetch(statement.query()).boxed())
    }

    fn connection(&mut self) -> sqlx::Result<&mut PgConnection> {
        self.server.as_mut().map(|server| &mut server.connection).ok_or(sqlx::Error::PoolClosed)
    }

    /// The number of the server's process.
    pub(crate) fn process(&self) -> i32 {
        self.server.as_ref().map_or(0, |server| server.process)
    }

    /// The server's process: its number and when it began, since numbers are used again.
    pub(crate) fn identity(&self) -> (i32, String) {
        self.server.as_ref().map_or((0, String::new()), |server| (server.process, server.began.clone()))
    }

    /// Whether the connection has been used before: if its first statement finds it lost, the server has gone away
    /// meanwhile and may be back.
    pub(crate) fn is_stale(&self) -> bool {
        self.server.as_ref().is_some_and(|server| server.used)
    }

    /// Gives the connection back, which has nothing left to do. A loan that ends otherwise closes it.
    pub(crate) fn release(mut self) {
        let is_of_use = !self.lost && !self.pool.permits.is_closed();
        if let Some(mut server) = self.server.take().filter(|_| is_of_use) {
            server.used = true;
            self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner).push(server);
        }
    }
}

/// Waits for an answer no longer than the limit; that it does not come is a loss of the connection.
async fn within<T>(limit: Option<Duration>, answer: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    match limit {
        Some(limit) => timeout(limit, answer).await.unwrap_or_else(|elapsed| Err(sqlx::Error::Io(elapsed.into()))),
        None => answer.await,
    }
}

/// Where nothing else is to be said of it.
pub(crate) fn missing_row() -> StoreError {
    StoreError::engine("the database answered no row where one was due")
}
