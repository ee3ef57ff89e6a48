//! Commits that only add records, made with those of others that come at the same time.
//!
//! A few statements are on their way to the server; who comes meanwhile waits for the next, which takes everybody who
//! waits: one statement and one flush of the server's log for many commits. Where nobody waits, a commit goes at once and
//! by itself. The rows of organizations travel side by side, each under its own key, as they lie in the tables.
//!
//! A gathering is made whole or not at all. Where it cannot be (a key is taken, others are in the way), each commit is
//! run by itself and finds its own answer. Where the connection is lost, each finds out for itself whether it was made.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use crm_core::store::{Change, Collection, Outcome, Row, Scope, StoreResult};
use tokio::sync::oneshot;

use crate::{
    failure,
    layout::Layouts,
    lost,
    pool::{Pool, Session},
    statement::Statement,
    write,
    writer::{self, COPIED},
};

/// So many gatherings are with the server at once.
const AT_ONCE: usize = 2;
/// A commit of more rows goes by itself: others would wait for it.
const ROWS: usize = 16;
/// So many commits are gathered at most: rows by `COPY` go another way.
const COMMITS: usize = COPIED / ROWS - 1;

/// Who waits for the next gathering, and how many are on their way.
#[derive(Debug, Default)]
pub(crate) struct Gatherings(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Waiting>,
    under_way: usize,
}

#[derive(Debug)]
struct Waiting {
    scope: Scope,
    changes: Vec<Change>,
    answer: oneshot::Sender<Answer>,
}

/// What became of a commit.
#[derive(Debug)]
enum Answer {
    /// It went by itself.
    Alone(StoreResult<Vec<Outcome>>),
    /// It was made with the others.
    Made,
    /// The gathering was not made; here are the changes, to be tried without the others.
    Apart(Vec<Change>),
    /// The connection to this process of the server was lost.
    Lost(Vec<Change>, (i32, String)),
}

/// Whether the changes do nothing but add a few records.
pub(crate) fn is_gathered(changes: &[Change]) -> bool {
    let rows = |change: &Change| match change {
        Change::Insert { rows, .. } => Some(rows.len()),
        _ => None,
    };
    changes.iter().map(rows).sum::<Option<usize>>().is_some_and(|rows| (1..=ROWS).contains(&rows))
}

impl Gatherings {
    /// Makes the changes, of which each was checked and only adds records.
    pub(crate) async fn commit(
        self: &Arc<Self>,
        pool: &Arc<Pool>,
        layouts: &Arc<Layouts>,
        scope: Scope,
        changes: Vec<Change>,
    ) -> StoreResult<Vec<Outcome>> {
        let outcomes = changes.iter().map(outcome).collect();
        let (sender, answer) = oneshot::channel();
        if self.join(Waiting { scope, changes, answer: sender }) {
            // Not by whoever asks first: callers go away, and the others' commits with them.
            let (gatherings, pool, layouts) = (Arc::clone(self), Arc::clone(pool), Arc::clone(layouts));
            tokio::spawn(async move { gatherings.run(&pool, &layouts).await });
        }
        match answer.await {
            Ok(Answer::Alone(answer)) => answer,
            Ok(Answer::Made) => Ok(outcomes),
            Ok(Answer::Apart(changes)) => writer::commit(pool, layouts, scope, &changes).await,
            Ok(Answer::Lost(changes, process)) => {
                match lost::find_out(pool, layouts, scope, &changes, process).await? {
                    Some(outcomes) => Ok(outcomes),
                    None => writer::commit(pool, layouts, scope, &changes).await,
                }
            }
            Err(_) => Err(failure::unknown_outcome()),
        }
    }

    /// Waits with the others; answers whether somebody is needed to run the next gathering.
    fn join(&self, waiting: Waiting) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.waiting.push_back(waiting);
        let wanted = state.under_way < AT_ONCE;
        state.under_way += usize::from(wanted);
        wanted
    }

    /// Runs gatherings until nobody waits.
    async fn run(&self, pool: &Pool, layouts: &Layouts) {
        let place = Place(self);
        while let Some(gathered) = self.next() {
            gather(pool, layouts, gathered).await;
        }
        mem::forget(place);
    }

    /// Everybody who waits; gives up the place of this gathering where nobody does.
    fn next(&self) -> Option<Vec<Waiting>> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = state.waiting.len().min(COMMITS);
        if count == 0 {
            state.under_way -= 1;
            return None;
        }
        Some(state.waiting.drain(..count).collect())
    }
}

/// A gathering's place, given up also where it ends before its time.
struct Place<'a>(&'a Gatherings);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.under_way -= 1;
        // Their answers are not coming; who waits is told that nothing is known.
        state.waiting.clear();
    }
}

fn outcome(change: &Change) -> Outcome {
    match change {
        Change::Insert { rows, .. } => Outcome::Touched(rows.len() as u64),
        _ => Outcome::Unmet,
    }
}

async fn gather(pool: &Pool, layouts: &Layouts, mut gathered: Vec<Waiting>) {
    if gathered.len() == 1
        && let Some(one) = gathered.pop()
    {
        let answer = writer::commit(pool, layouts, one.scope, &one.changes).await;
        // Who does not wait any more has gone away.
        one.answer.send(Answer::Alone(answer)).ok();
        return;
    }
    let made = match pool.acquire().await {
        Ok(session) => make(session, pool, layouts, &gathered).await,
        Err(_) => Err(None),
    };
    for Waiting { changes, answer, .. } in gathered {
        let answered = match &made {
            Ok(()) => Answer::Made,
            Err(None) => Answer::Apart(changes),
            Err(Some(process)) => Answer::Lost(changes, process.clone()),
        };
        answer.send(answered).ok();
    }
}

/// Adds everybody's rows in one statement. Where the connection is lost, the error names the server's process.
async fn make(
    mut session: Session<'_>,
    pool: &Pool,
    layouts: &Layouts,
    gathered: &[Waiting],
) -> Result<(), Option<(i32, String)>> {
    let rows = by_collection(gathered);
    let mut statement = Statement::new("");
    for (place, (collection, rows)) in rows.values().enumerate() {
        let with = if place == 0 { "WITH" } else { "," };
        statement.push(with).push(&format!(" c{place} AS ("));
        write::push_insert_of_many(&mut statement, &layouts.of(collection), rows);
        statement.push(")");
    }
    statement.push(" SELECT");
    match session.execute(statement).await {
        Ok(_) => {
            let added = rows.values().map(|(collection, rows)| (*collection, rows.len()));
            if writer::keep_statistics(&mut session, layouts, added).await.is_ok() {
                session.release();
            }
            Ok(())
        }
        Err(error) if failure::is_lost(&error) => {
            let process = session.identity();
            drop(session);
            pool.forget_idle();
            Err(Some(process))
        }
        Err(_) => {
            session.release();
            Err(None)
        }
    }
}

/// The rows of all, by collection: in the same order everywhere, so that two gatherings do not wait for each other.
fn by_collection(gathered: &[Waiting]) -> BTreeMap<&'static str, (&'static Collection, Vec<&Row>)> {
    let mut collections: BTreeMap<&'static str, (&'static Collection, Vec<&Row>)> = BTreeMap::new();
    for change in gathered.iter().flat_map(|waiting| &waiting.changes) {
        if let Change::Insert { collection, rows } = change
            && !rows.is_empty()
        {
            collections.entry(collection.name).or_insert_with(|| (collection, Vec::new())).1.extend(rows);
        }
    }
    collections
}
