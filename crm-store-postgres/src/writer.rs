//! Running commits.
//!
//! - Changes of which none can see another ([`together`]) are one statement with a part for each: one round trip, and
//!   all or nothing by itself. Where a part finds its record changed, the statement stops itself, and the commit is run
//!   in the next way, which finds out why.
//! - A single change is one statement too.
//! - Anything else is a transaction, change by change. The records that it names are locked first, in the order of
//!   collections and ids, so that two commits do not wait for each other.
//!
//! Transactions see what is committed (`READ COMMITTED`): every change is one statement on rows that it locks, and what
//! it expects of these rows themselves is looked at once more when it has waited for another. What it expects of other
//! records ([`Filter::Related`]) is not: they are those that were committed when the statement began. Commits that the
//! server stops because of others (a deadlock, a failed serialization) are run again, within a deadline.
//!
//! Where the connection is lost during a commit, `lost` finds out whether it was made.

use std::time::Duration;

use crm_core::store::{
    Change, Collection, Filter, Outcome, Row, Scope, StoreError, StoreResult, WhenUnmet, evaluate::visible_organization,
};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::{
    failure, growth,
    layout::Layouts,
    lost,
    pool::{Pool, Session},
    row::integer,
    statement::Statement,
    together::{Together, together},
    write::{self, COPY_HEADER, COPY_TRAILER, OneRecord},
};

/// How long a commit is run again because of others.
const DEADLINE: Duration = Duration::from_secs(10);
/// How many rows go in by `COPY`.
pub(crate) const COPIED: usize = 500;
/// How many bytes of a copy are sent at once.
const COPY_BUFFER: usize = 1 << 18;

/// Why an attempt did not succeed.
enum Fault {
    /// The commit cannot be made.
    Refused(StoreError),
    /// The parts of one statement were stopped; change by change it will be told why.
    Apart,
    /// Others got in the way.
    Contention,
    /// The connection is gone. Whether the commit may have been made all the same.
    Lost {
        /// It may.
        perhaps_made: bool,
    },
}

/// How a commit is run.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Way {
    Together,
    Alone,
    Transaction,
}

/// Makes every change or none; each was checked.
pub(crate) async fn commit(
    pool: &Pool,
    layouts: &Layouts,
    scope: Scope,
    changes: &[Change],
) -> StoreResult<Vec<Outcome>> {
    let deadline = Instant::now() + DEADLINE;
    let program = together(layouts, scope, changes)?;
    let mut way = match (&program, changes) {
        (Some(_), _) => Way::Together,
        (None, [change]) if !is_copied(change) => Way::Alone,
        _ => Way::Transaction,
    };
    let mut attempt = 0;
    let mut lost_before = false;
    loop {
        attempt += 1;
        let mut session = pool.acquire().await?;
        let commit = Commit { layouts, scope, changes };
        let answer = match (&program, way) {
            (Some(program), Way::Together) => commit.together(&mut session, program).await,
            (_, Way::Alone) => commit.alone(&mut session).await,
            _ => commit.transaction(&mut session).await,
        };
        match answer {
            Ok(outcomes) => {
                let added = changes.iter().filter_map(|change| match change {
                    Change::Insert { collection, rows } => Some((*collection, rows.len())),
                    _ => None,
                });
                if keep_statistics(&mut session, layouts, added).await.is_ok() {
                    session.release();
                }
                return Ok(outcomes);
            }
            Err(Fault::Refused(error)) => {
                session.release();
                return Err(error);
            }
            Err(Fault::Apart) => {
                session.release();
                way = Way::Transaction;
            }
            Err(Fault::Contention) => {
                // Another time for each connection, so that those that met do not meet again.
                let jitter = u64::try_from(session.process() % 17).unwrap_or(0);
                session.release();
                if Instant::now() > deadline {
                    return Err(failure::crowded());
                }
                sleep(Duration::from_millis((1 << attempt.min(6)) + jitter)).await;
            }
            Err(Fault::Lost { perhaps_made }) => {
                let process = session.identity();
                drop(session);
                pool.forget_idle();
                if perhaps_made && let Some(outcomes) = lost::find_out(pool, layouts, scope, changes, process).await? {
                    return Ok(outcomes);
                }
                if lost_before {
                    return Err(failure::away());
                }
                lost_before = true;
            }
        }
    }
}

/// Whether the change is made by `COPY`.
fn is_copied(change: &Change) -> bool {
    matches!(change, Change::Insert { rows, .. } if rows.len() >= COPIED)
}

pub(crate) const fn collection_of(change: &Change) -> &'static Collection {
    match change {
        Change::Insert { collection, .. }
        | Change::Update { collection, .. }
        | Change::Delete { collection, .. }
        | Change::UpdateWhere { collection, .. }
        | Change::DeleteWhere { collection, .. } => collection,
    }
}

#[derive(Clone, Copy)]
struct Commit<'a> {
    layouts: &'a Layouts,
    scope: Scope,
    changes: &'a [Change],
}

impl Commit<'_> {
    /// Everything in one statement.
    async fn together(&self, session: &mut Session<'_>, program: &Together) -> Result<Vec<Outcome>, Fault> {
        match session.first(program.statement()).await {
            Ok(row) => program.outcomes(row.as_ref()).map_err(Fault::Refused),
            Err(error) if failure::is_contention(&error) => Err(Fault::Contention),
            Err(error) if failure::is_lost(&error) => Err(Fault::Lost { perhaps_made: true }),
            Err(error) if failure::is_over(&error) => Err(Fault::Refused(failure::running(error))),
            Err(_) => Err(Fault::Apart),
        }
    }

    /// A single change, which is a transaction by itself.
    async fn alone(&self, session: &mut Session<'_>) -> Result<Vec<Outcome>, Fault> {
        let mut outcomes = Vec::with_capacity(1);
        for (place, change) in self.changes.iter().enumerate() {
            outcomes.push(self.make(session, place, change, true).await?);
        }
        Ok(outcomes)
    }

    async fn transaction(&self, session: &mut Session<'_>) -> Result<Vec<Outcome>, Fault> {
        let lost = |error| self.fault(error, self.changes.first(), false);
        session.run("BEGIN").await.map_err(lost)?;
        let made = match self.lock(session).await {
            Ok(()) => self.make_all(session).await,
            Err(fault) => Err(fault),
        };
        match made {
            Ok(outcomes) => {
                session.run("COMMIT").await.map_err(|error| self.fault(error, self.changes.last(), true))?;
                Ok(outcomes)
            }
            Err(Fault::Lost { perhaps_made }) => Err(Fault::Lost { perhaps_made }),
            Err(fault) => {
                session.run("ROLLBACK").await.map_err(lost)?;
                Err(fault)
            }
        }
    }

    async fn make_all(&self, session: &mut Session<'_>) -> Result<Vec<Outcome>, Fault> {
        let mut outcomes = Vec::with_capacity(self.changes.len());
        for (place, change) in self.changes.iter().enumerate() {
            outcomes.push(self.make(session, place, change, false).await?);
        }
        Ok(outcomes)
    }

    /// Locks the records that the changes name.
    async fn lock(&self, session: &mut Session<'_>) -> Result<(), Fault> {
        let mut named: Vec<(&'static Collection, Uuid)> = self
            .changes
            .iter()
            .filter_map(|change| OneRecord::of(change).map(|(collection, record)| (collection, record.id)))
            .collect();
        named.sort_unstable_by_key(|(collection, id)| (collection.name, *id));
        named.dedup_by_key(|(collection, id)| (collection.name, *id));
        if named.len() < 2 {
            return Ok(());
        }
        for group in named.chunk_by(|(left, _), (right, _)| left.name == right.name) {
            let Some((collection, _)) = group.first() else { continue };
            let ids: Vec<Uuid> = group.iter().map(|(_, id)| *id).collect();
            let organization = visible_organization(self.scope, collection).map_err(Fault::Refused)?;
            let statement = write::lock(&self.layouts.of(collection), organization, &ids);
            session.all(statement).await.map_err(|error| self.fault(error, None, false))?;
        }
        Ok(())
    }

    /// Makes one change. `alone` tells whether it is the whole commit.
    async fn make(
        &self,
        session: &mut Session<'_>,
        place: usize,
        change: &Change,
        alone: bool,
    ) -> Result<Outcome, Fault> {
        let collection = collection_of(change);
        let layout = self.layouts.of(collection);
        let organization = visible_organization(self.scope, collection).map_err(Fault::Refused)?;
        let fault = |error| self.fault(error, Some(change), alone);
        let by_filter = async |session: &mut Session<'_>, filter: &Filter, assignments| {
            let mut statement = Statement::new("");
            write::push_where(&mut statement, self.layouts, &layout, organization, filter, assignments)
                .map_err(Fault::Refused)?;
            session.execute(statement).await.map(Outcome::Touched).map_err(fault)
        };
        match change {
            Change::Insert { rows, .. } => {
                if is_copied(change) {
                    self.copy(session, change, rows).await?;
                } else if !rows.is_empty() {
                    let mut statement = Statement::new("");
                    write::push_insert(&mut statement, &layout, rows);
                    session.execute(statement).await.map_err(fault)?;
                }
                Ok(Outcome::Touched(rows.len() as u64))
            }
            Change::UpdateWhere { filter, assignments, .. } => by_filter(session, filter, Some(assignments)).await,
            Change::DeleteWhere { filter, .. } => by_filter(session, filter, None).await,
            Change::Update { .. } | Change::Delete { .. } => {
                let Some((_, record)) = OneRecord::of(change) else { return Ok(Outcome::Unmet) };
                let mut statement = Statement::new("");
                record.push(&mut statement, self.layouts, &layout, organization).map_err(Fault::Refused)?;
                if let Some(row) = session.first(statement).await.map_err(fault)? {
                    return match record.assignments {
                        Some(_) => Ok(Outcome::Updated { version: integer(&row, 0).map_err(Fault::Refused)? }),
                        None => Ok(Outcome::Touched(1)),
                    };
                }
                let found = session.first(write::version(&layout, organization, record.id)).await;
                let found = found.map_err(|error| self.fault(error, Some(change), false))?;
                let found = found.map(|row| integer(&row, 0)).transpose().map_err(Fault::Refused)?;
                unmet(collection, place, &record, found)
            }
        }
    }

    async fn copy(&self, session: &mut Session<'_>, change: &Change, rows: &[Row]) -> Result<(), Fault> {
        let layout = self.layouts.of(collection_of(change));
        let sql = format!("COPY {} ({}) FROM STDIN (FORMAT binary)", layout.table, layout.inserted);
        let mut rows = rows.iter();
        let mut state = Some(Vec::from(COPY_HEADER));
        let parts = std::iter::from_fn(move || {
            let mut part = state.take()?;
            part.reserve(COPY_BUFFER + (COPY_BUFFER >> 2));
            for row in rows.by_ref() {
                write::copy_row(&layout, row, &mut part);
                if part.len() >= COPY_BUFFER {
                    state = Some(Vec::new());
                    return Some(part);
                }
            }
            part.extend(COPY_TRAILER);
            Some(part)
        });
        session.copy(&sql, parts).await.map_err(|error| self.fault(error, Some(change), false))
    }

    /// What follows from an error. `final_step` tells whether the commit may have been made by the statement.
    fn fault(&self, error: sqlx::Error, change: Option<&Change>, final_step: bool) -> Fault {
        if failure::is_contention(&error) {
            return Fault::Contention;
        }
        if failure::is_lost(&error) {
            return Fault::Lost { perhaps_made: final_step };
        }
        Fault::Refused(match change {
            Some(change) => failure::writing(&self.layouts.of(collection_of(change)), error),
            None => failure::running(error),
        })
    }
}

/// Has the server look at tables that a commit has made much larger; see [`growth`]. Nothing of the commit depends on it.
pub(crate) async fn keep_statistics(
    session: &mut Session<'_>,
    layouts: &Layouts,
    added: impl Iterator<Item = (&'static Collection, usize)>,
) -> sqlx::Result<()> {
    for (collection, rows) in added {
        let layout = layouts.of(collection);
        if layout.growth.note(rows as u64) {
            session.run(&growth::analyze(&layout)).await?;
        }
    }
    Ok(())
}

/// What follows where a change of one record touched nothing. `found` is the record's version.
fn unmet(
    collection: &'static Collection,
    place: usize,
    record: &OneRecord<'_>,
    found: Option<i64>,
) -> Result<Outcome, Fault> {
    let (name, id) = (collection.name, record.id);
    match (found, record.condition) {
        (None, _) => Err(Fault::Refused(StoreError::NotFound { collection: name, id })),
        (Some(found), _) if record.expected_version.is_some_and(|expected| expected != found) => {
            Err(Fault::Refused(StoreError::VersionConflict { collection: name, id, found }))
        }
        (_, Some((_, WhenUnmet::Skip))) => Ok(Outcome::Unmet),
        (_, Some((_, WhenUnmet::Abort))) => Err(Fault::Refused(StoreError::Unmet { change: place })),
        // Another has made room for it between the two statements.
        (Some(_), None) => Err(Fault::Contention),
    }
}

/// Runs a statement that changes rows and answers them; what others stop is run again.
pub(crate) async fn claim(
    pool: &Pool,
    layouts: &Layouts,
    statement: Statement,
    collection: &'static Collection,
) -> StoreResult<Vec<sqlx::postgres::PgRow>> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let mut session = pool.acquire().await?;
        match session.all(statement.clone()).await {
            Ok(rows) => {
                session.release();
                return Ok(rows);
            }
            Err(error) if failure::is_contention(&error) && Instant::now() < deadline => {
                session.release();
                sleep(Duration::from_millis(5)).await;
            }
            Err(error) if failure::is_lost(&error) => {
                // What was claimed by a statement whose answer was lost is free again when its lease has run out.
                pool.forget_idle();
                return Err(failure::running(error));
            }
            Err(error) => {
                session.release();
                return Err(failure::writing(&layouts.of(collection), error));
            }
        }
    }
}
