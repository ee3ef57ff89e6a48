//! Commits that only add records, made with those of others that come at the same time.
//!
//! A few statements are on their way to the server; who comes meanwhile waits for the next, which takes everybody who
//! waits: one statement and one flush of the server's log for many commits. Where nobody waits, a commit goes at once and
//! by itself. The rows of organizations travel side by side, each under its own key, as they lie in the tables.
//!
//! A gathering that takes long (a row in it waits for somebody's lock) holds up nobody for long: further ones go beside it.
//!
//! A gathering is made whole or not at all. Where it cannot be (a key is taken, others are in the way), each commit is
//! run by itself and finds its own answer. Where the connection is lost, each finds out for itself whether it was made.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crm_core::store::{Change, Collection, Outcome, Row, Scope, StoreResult};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

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
/// One that takes longer is not counted any more.
const LONG: Duration = Duration::from_millis(300);
/// So many there are at most, however long they take: others need connections too.
const MOST: usize = 16;
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
    /// When each of those began that are under way.
    under_way: Vec<(u64, Instant)>,
    /// How many there have been.
    count: u64,
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
        let (sender, mut answer) = oneshot::channel();
        self.lock().waiting.push_back(Waiting { scope, changes, answer: sender });
        let answer = loop {
            if let Some(place) = self.place() {
                // Not by whoever asks first: callers go away, and the others' commits with them.
                let (pool, layouts) = (Arc::clone(pool), Arc::clone(layouts));
                tokio::spawn(async move { place.run(&pool, &layouts).await });
            }
            if let Ok(answer) = timeout(LONG, &mut answer).await {
                break answer;
            }
        };
        match answer {
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

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more gathering, where somebody waits and there is room.
    fn place(self: &Arc<Self>) -> Option<Place> {
        let mut state = self.lock();
        let counted = state.under_way.iter().filter(|(_, begun)| begun.elapsed() < LONG).count();
        if state.waiting.is_empty() || counted >= AT_ONCE || state.under_way.len() >= MOST {
            return None;
        }
        state.count += 1;
        let number = state.count;
        state.under_way.push((number, Instant::now()));
        Some(Place { gatherings: Arc::clone(self), number })
    }
}

/// A gathering's place, given up however it ends.
struct Place {
    gatherings: Arc<Gatherings>,
    number: u64,
}

impl Place {
    /// Runs gatherings until nobody waits.
    async fn run(self, pool: &Pool, layouts: &Layouts) {
        while let Some(gathered) = self.next() {
            gather(pool, layouts, gathered).await;
        }
    }

    /// Everybody who waits still; whoever has gone away is told nothing, so nothing is written either.
    fn next(&self) -> Option<Vec<Waiting>> {
        let mut state = self.gatherings.lock();
        state.waiting.retain(|waiting| !waiting.answer.is_closed());
        let count = state.waiting.len().min(COMMITS);
        // While it ran long, others have taken its place.
        let counted = state.under_way.iter().filter(|(number, begun)| *number != self.number && begun.elapsed() < LONG);
        if count == 0 || counted.count() >= AT_ONCE {
            state.leave(self.number);
            return None;
        }
        for (number, begun) in &mut state.under_way {
            if *number == self.number {
                *begun = Instant::now();
            }
        }
        Some(state.waiting.drain(..count).collect())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.gatherings.lock().leave(self.number);
    }
}

impl State {
    fn leave(&mut self, number: u64) {
        self.under_way.retain(|(other, _)| *other != number);
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
