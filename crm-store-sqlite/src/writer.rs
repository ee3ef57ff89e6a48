//! The one task that writes.
//!
//! Commits wait in a queue. The writer takes all that wait, runs each inside a savepoint of one transaction, and
//! answers when that is on disk: the cost of being durable is shared, and a commit that fails takes back only itself.
//! A caller that has gone away before its turn is passed over; one that goes away later finds its commit whole.

use crm_core::store::{Outcome, Row, StoreError, StoreResult, WhenUnmet};
use futures::{StreamExt as _, stream::BoxStream};
use sqlx::{
    ConnectOptions as _, Connection as _, Either, Executor as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteQueryResult, SqliteRow},
};
use tokio::sync::{mpsc, oneshot};

use crate::{
    failure,
    row::{decode, integer},
    statement::Statement,
    write::{Part, PartKind, Program, Section, closed},
};

/// How many commits share one transaction.
const GROUP: usize = 256;
/// How many programs of one text are sent at once: as many as fit, so that few texts cover all numbers.
const JOINED: [usize; 2] = [16, 4];
/// How many wait before callers are held up.
const QUEUE: usize = 1024;

const BEGIN: &str = "BEGIN IMMEDIATE;SAVEPOINT c";
const UNDO: &str = "ROLLBACK TO c";
const COMMIT: &str = "COMMIT";

/// What a program answers.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) rows: Vec<Row>,
    /// Whether the last statement that names a record changed nothing.
    untouched: bool,
}

type Reply<T> = oneshot::Sender<StoreResult<T>>;

enum Job {
    Run(Program, Reply<Answer>),
    /// Statements that change the schema, in a transaction of their own.
    Schema(Vec<String>, Reply<()>),
    Close(oneshot::Sender<()>),
}

/// The way to the writer.
#[derive(Clone, Debug)]
pub(crate) struct Writer(mpsc::Sender<Job>);

impl Writer {
    /// Starts the task over a connection. `options` open another, should this one fail for good.
    pub(crate) fn start(connection: SqliteConnection, options: SqliteConnectOptions) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        tokio::spawn(work(Task { connection, options }, receiver));
        Self(sender)
    }

    pub(crate) async fn run(&self, program: Program) -> StoreResult<Answer> {
        self.ask(|reply| Job::Run(program, reply)).await
    }

    pub(crate) async fn schema(&self, statements: Vec<String>) -> StoreResult<()> {
        self.ask(|reply| Job::Schema(statements, reply)).await
    }

    async fn ask<T>(&self, job: impl FnOnce(Reply<T>) -> Job) -> StoreResult<T> {
        let (reply, answer) = oneshot::channel();
        self.0.send(job(reply)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Finishes what waits and closes the connection.
    pub(crate) async fn close(&self) {
        let (reply, done) = oneshot::channel();
        if self.0.send(Job::Close(reply)).await.is_ok() {
            done.await.ok();
        }
    }
}

struct Task {
    connection: SqliteConnection,
    options: SqliteConnectOptions,
}

/// Why a program did not run to its end.
enum Failure {
    /// Its own fault: the transaction goes on without it.
    Own(StoreError),
    /// The engine's: the transaction is lost.
    Engine(sqlx::Error),
}

async fn work(mut task: Task, mut jobs: mpsc::Receiver<Job>) {
    let mut group = Vec::new();
    while let Some(job) = jobs.recv().await {
        let mut next = Some(job);
        while let Some(job) = next.take() {
            match job {
                Job::Run(program, reply) => group.push((program, reply)),
                Job::Schema(statements, reply) => {
                    task.run_group(&mut group).await;
                    let done = task.change_schema(statements).await;
                    // Nobody has to wait for the answer.
                    reply.send(done).ok();
                }
                Job::Close(reply) => {
                    task.run_group(&mut group).await;
                    task.close().await;
                    reply.send(()).ok();
                    return;
                }
            }
            if group.len() < GROUP {
                next = jobs.try_recv().ok();
            }
        }
        task.run_group(&mut group).await;
    }
    task.close().await;
}

impl Task {
    async fn execute(&mut self, sql: &'static str) -> sqlx::Result<()> {
        self.connection.execute(sqlx::query(sql)).await.map(|_| ())
    }

    /// Runs the programs and leaves the group empty.
    async fn run_group(&mut self, group: &mut Vec<(Program, Reply<Answer>)>) {
        group.retain(|(_, reply)| !reply.is_closed());
        if group.is_empty() {
            return;
        }
        let programs: Vec<&Program> = group.iter().map(|(program, _)| program).collect();
        match self.transaction(&programs).await {
            Ok(answers) => {
                for ((_, reply), answer) in group.drain(..).zip(answers) {
                    reply.send(answer).ok();
                }
            }
            // Whoever holds the file would keep each of them waiting as long.
            Err(error) if failure::is_locked(&error) => {
                for (_, reply) in group.drain(..) {
                    reply.send(Err(failure::locked())).ok();
                }
            }
            Err(error) if group.len() == 1 => {
                if let Some((_, reply)) = group.pop() {
                    reply.send(Err(failure::running(error))).ok();
                }
            }
            // One of them may be what the engine cannot do, so each gets a transaction of its own.
            Err(_) => {
                for (program, reply) in group.drain(..) {
                    let answer = match self.transaction(&[&program]).await {
                        Ok(mut answers) => answers.pop().unwrap_or_else(|| Err(closed())),
                        Err(error) => Err(failure::running(error)),
                    };
                    reply.send(answer).ok();
                }
            }
        }
    }

    /// One transaction with a savepoint for each program. Fails where none of them is in the database.
    async fn transaction(&mut self, programs: &[&Program]) -> sqlx::Result<Vec<StoreResult<Answer>>> {
        match self.attempt(programs).await {
            Ok(answers) => Ok(answers),
            Err(error) => {
                // SQLite may have ended the transaction by itself; where it did not, and cannot now, the connection
                // is given up.
                if self.execute("ROLLBACK").await.is_err() {
                    self.reconnect().await;
                }
                Err(error)
            }
        }
    }

    async fn attempt(&mut self, programs: &[&Program]) -> sqlx::Result<Vec<StoreResult<Answer>>> {
        self.execute(BEGIN).await?;
        let mut answers = Vec::with_capacity(programs.len());
        let mut left = programs;
        while let [program, ..] = left {
            let alike = joinable(left);
            match JOINED.into_iter().find(|count| *count <= alike.len()) {
                Some(count) => self.run_joined(&left[..count], &alike[..count], &mut answers).await?,
                None => {
                    let answer = self.run(program).await;
                    self.settle(answer, &mut answers).await?;
                }
            }
            left = programs.get(answers.len()..).unwrap_or_default();
        }
        self.execute(COMMIT).await?;
        Ok(answers)
    }

    /// Notes a program's answer; takes back what one that failed has written.
    async fn settle(
        &mut self,
        answer: Result<Answer, Failure>,
        answers: &mut Vec<StoreResult<Answer>>,
    ) -> sqlx::Result<()> {
        match answer {
            Ok(answer) => answers.push(Ok(answer)),
            Err(Failure::Own(error)) => {
                self.execute(UNDO).await?;
                answers.push(Err(error));
            }
            Err(Failure::Engine(error)) => return Err(error),
        }
        Ok(())
    }

    /// Runs programs of one text at once, up to the first that fails.
    async fn run_joined(
        &mut self,
        programs: &[&Program],
        sections: &[&Section],
        answers: &mut Vec<StoreResult<Answer>>,
    ) -> sqlx::Result<()> {
        let statement = Statement::joined(sections.iter().map(|section| &section.statement));
        let mut results = self.connection.fetch_many(statement.query()?);
        let mut failed = None;
        for (program, section) in programs.iter().zip(sections) {
            let mut answer = Answer::of(program);
            match section.read(&mut results, &mut answer).await {
                Ok(()) => answers.push(Ok(answer)),
                Err(failure) => {
                    failed = Some(failure);
                    break;
                }
            }
        }
        drop(results);
        match failed {
            Some(failure) => self.settle(Err(failure), answers).await,
            None => Ok(()),
        }
    }

    async fn run(&mut self, program: &Program) -> Result<Answer, Failure> {
        let mut answer = Answer::of(program);
        for section in &program.sections {
            let query = section.statement.clone().query().map_err(Failure::Engine)?;
            let mut results = self.connection.fetch_many(query);
            section.read(&mut results, &mut answer).await?;
        }
        Ok(answer)
    }

    async fn change_schema(&mut self, statements: Vec<String>) -> StoreResult<()> {
        let run = async {
            self.execute("BEGIN IMMEDIATE").await?;
            for statement in statements {
                // A text of its own each time: nothing to keep prepared.
                let query = Statement::new(&statement).query()?.persistent(false);
                self.connection.execute(query).await?;
            }
            self.execute(COMMIT).await
        };
        match run.await {
            Ok(()) => Ok(()),
            Err(error) => {
                if self.execute("ROLLBACK").await.is_err() {
                    self.reconnect().await;
                }
                Err(failure::running(error))
            }
        }
    }

    /// Takes another connection, if there is one to be had; otherwise the next group tries again with this.
    async fn reconnect(&mut self) {
        if let Ok(connection) = self.options.connect().await {
            self.connection = connection;
        }
    }

    /// Brings the log into the file, so that one file is all there is, and closes.
    async fn close(mut self) {
        if let Err(error) = self.execute("PRAGMA wal_checkpoint(TRUNCATE)").await {
            tracing::warn!(%error, "the write-ahead log stays beside the database file");
        }
        if let Err(error) = self.connection.close().await {
            tracing::warn!(%error, "the database was not closed cleanly");
        }
    }
}

/// The sections of the first programs, as far as they are of one text and can be sent at once.
fn joinable<'a>(programs: &[&'a Program]) -> Vec<&'a Section> {
    let Some(first) = programs.first().and_then(|program| program.plain()) else { return Vec::new() };
    programs
        .iter()
        .take(JOINED[0])
        .map_while(|program| program.plain().filter(|section| section.statement.is_like(&first.statement)))
        .collect()
}

impl Answer {
    fn of(program: &Program) -> Self {
        Self { outcomes: program.outcomes.clone(), rows: Vec::new(), untouched: false }
    }
}

impl Section {
    /// Reads the answers to the section's statements.
    async fn read(
        &self,
        results: &mut BoxStream<'_, sqlx::Result<Either<SqliteQueryResult, SqliteRow>>>,
        answer: &mut Answer,
    ) -> Result<(), Failure> {
        let mut rows = Vec::new();
        for part in &self.parts {
            loop {
                match results.next().await {
                    Some(Ok(Either::Right(row))) => rows.push(row),
                    Some(Ok(Either::Left(done))) => {
                        part.read(&rows, &done, answer).map_err(Failure::Own)?;
                        rows.clear();
                        break;
                    }
                    Some(Err(error)) if failure::spares_the_transaction(&error) => {
                        return Err(Failure::Own(failure::writing(part.collection, error)));
                    }
                    Some(Err(error)) => return Err(Failure::Engine(error)),
                    None => return Err(Failure::Engine(sqlx::Error::WorkerCrashed)),
                }
            }
        }
        Ok(())
    }
}

impl Part {
    /// Reads the answer to the statement.
    fn read(&self, rows: &[SqliteRow], done: &SqliteQueryResult, answer: &mut Answer) -> StoreResult<()> {
        let collection = self.collection.name;
        let version = rows.first().map(|row| integer(row, 0)).transpose()?;
        let outcome = match &self.kind {
            PartKind::Savepoint | PartKind::Insert => return Ok(()),
            PartKind::Where => Outcome::Touched(done.rows_affected()),
            PartKind::Delete => {
                answer.untouched = done.rows_affected() == 0;
                return Ok(());
            }
            PartKind::Update => {
                answer.untouched = version.is_none();
                let Some(version) = version else { return Ok(()) };
                Outcome::Updated { version }
            }
            PartKind::Claim => {
                for row in rows {
                    answer.rows.push(decode(self.collection.fields, row)?);
                }
                return Ok(());
            }
            PartKind::Diagnosis { .. } if !answer.untouched => return Ok(()),
            PartKind::Diagnosis { id, expected, when_unmet } => {
                return match (version, when_unmet) {
                    (None, _) => Err(StoreError::NotFound { collection, id: *id }),
                    (Some(found), _) if expected.is_some_and(|expected| expected != found) => {
                        Err(StoreError::VersionConflict { collection, id: *id, found })
                    }
                    (_, Some(WhenUnmet::Skip)) => Ok(()),
                    (_, Some(WhenUnmet::Abort)) => Err(StoreError::Unmet { change: self.change }),
                    (Some(_), None) => Err(StoreError::engine(format!("{collection}/{id}: was not changed"))),
                };
            }
        };
        if let Some(place) = answer.outcomes.get_mut(self.change) {
            *place = outcome;
        }
        Ok(())
    }
}
