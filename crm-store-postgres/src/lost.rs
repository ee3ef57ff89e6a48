//! What became of a commit whose connection was lost: nobody has said whether it was made.
//!
//! The server's process is ended first, so that it cannot make the commit later. Then the records tell. One that the
//! commit would have added, and that is there as it was sent, shows that it was made; that it is not there, or that
//! another stands in its place, shows that nothing was. One that has been changed since may be another's (some ids
//! follow from what they are for, so that two can want the same), and tells nothing. A record that still has the version
//! which the commit would have changed shows that nothing was made. Where nothing tells, the answer is
//! [`StoreError::Unavailable`](crm_core::store::StoreError::Unavailable) with a sentence that says so.

use std::time::Duration;

use crm_core::store::{
    Change, Collection, FieldKind, Outcome, Row, Scope, StoreResult, WhenUnmet, evaluate::visible_organization, head,
};
use tokio::time::sleep;

use crate::{
    failure,
    layout::Layouts,
    pool::{Pool, Session},
    row::{self, integer},
    statement::Statement,
    write,
    writer::collection_of,
};

/// How often the server's process is looked for that a lost connection has left, and how long is waited in between.
const LOOKS: (u32, Duration) = (50, Duration::from_millis(100));

/// What a record tells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Sign {
    /// The commit was made.
    Made,
    /// It was not.
    NotMade,
    /// It was not, unless the record was removed since.
    Missing,
    /// It may have been.
    Changed,
}

/// Finds out whether the commit was made: its outcomes, or nothing where it was not. `process` is the server's process
/// behind the lost connection, and when it began.
pub(crate) async fn find_out(
    pool: &Pool,
    layouts: &Layouts,
    scope: Scope,
    changes: &[Change],
    process: (i32, String),
) -> StoreResult<Option<Vec<Outcome>>> {
    let mut session = pool.acquire_new().await.map_err(|_| failure::unknown_outcome())?;
    let found = match end(&mut session, process).await {
        Ok(true) => look(&mut session, layouts, scope, changes).await,
        Ok(false) => Err(failure::unknown_outcome()),
        Err(error) => Err(failure::running(error)),
    };
    session.release();
    found.map_err(|_| failure::unknown_outcome())
}

/// Ends the process; answers whether it is gone.
async fn end(session: &mut Session<'_>, (process, began): (i32, String)) -> sqlx::Result<bool> {
    for _ in 0..LOOKS.0 {
        let mut end = Statement::new("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = ");
        end.bind_integer(i64::from(process)).push(" AND backend_start::text = ").bind_text(&began);
        if session.first(end).await?.is_none() {
            return Ok(true);
        }
        sleep(LOOKS.1).await;
    }
    Ok(false)
}

async fn look(
    session: &mut Session<'_>,
    layouts: &Layouts,
    scope: Scope,
    changes: &[Change],
) -> StoreResult<Option<Vec<Outcome>>> {
    let mut signs = Vec::new();
    // What each change did, as long as that is known without having been told.
    let mut outcomes = Some(Vec::with_capacity(changes.len()));
    for change in changes {
        let collection = collection_of(change);
        let layout = layouts.of(collection);
        let outcome = match change {
            Change::Insert { rows, .. } => {
                if let Some(sent) = rows.first() {
                    let statement = write::record(&layout, write::owner_of(&layout, sent), sent.id());
                    let stored = session.first(statement).await.map_err(failure::running)?;
                    let stored = stored.map(|stored| row::decode(collection.fields, &stored)).transpose()?;
                    signs.push(inserted(collection, sent, stored.as_ref()));
                }
                Some(Outcome::Touched(rows.len() as u64))
            }
            // Where it may have been left out, neither its version nor what it did is known.
            Change::Update { condition: Some((_, WhenUnmet::Skip)), .. } => None,
            Change::Update { id, expected_version: Some(expected), .. } => {
                let organization = visible_organization(scope, collection)?;
                let statement = write::version(&layout, organization, *id);
                let found = session.first(statement).await.map_err(failure::running)?;
                if found.map(|found| integer(&found, 0)).transpose()? == Some(*expected) {
                    signs.push(Sign::NotMade);
                }
                Some(Outcome::Updated { version: expected + 1 })
            }
            Change::Delete { .. } => Some(Outcome::Touched(1)),
            Change::Update { .. } | Change::UpdateWhere { .. } | Change::DeleteWhere { .. } => None,
        };
        outcomes = outcomes.zip(outcome).map(|(mut outcomes, outcome)| {
            outcomes.push(outcome);
            outcomes
        });
    }
    match is_made(&signs) {
        Some(false) => Ok(None),
        Some(true) if outcomes.is_some() => Ok(outcomes),
        _ => Err(failure::unknown_outcome()),
    }
}

/// What a record tells that the commit would have added. JSON is left out: it comes back in another order.
fn inserted(collection: &Collection, sent: &Row, stored: Option<&Row>) -> Sign {
    let Some(stored) = stored else { return Sign::Missing };
    if stored.version() != 1 {
        return Sign::Changed;
    }
    let compared = |position: usize, kind: FieldKind| position != head::VERSION && kind != FieldKind::Json;
    let mut fields = collection.fields.iter().enumerate().filter(|(position, field)| compared(*position, field.kind));
    if fields.all(|(position, _)| sent.0.get(position) == stored.0.get(position)) { Sign::Made } else { Sign::NotMade }
}

/// Whether the commit was made; nothing where the signs do not tell.
fn is_made(signs: &[Sign]) -> Option<bool> {
    if signs.contains(&Sign::Made) {
        Some(true)
    } else if signs.contains(&Sign::NotMade) {
        Some(false)
    } else if signs.contains(&Sign::Changed) {
        None
    } else {
        signs.contains(&Sign::Missing).then_some(false)
    }
}

#[cfg(test)]
mod tests;
