//! Events that cannot be handed on: what nobody takes after some tries is set aside with its cause, and holds back what
//! follows of its record until somebody replays or drops it.

use std::time::Duration;

use uuid::Uuid;

use super::{Event, EventId};
use crate::{
    crm::Crm,
    error::{Error, Result},
    record::{ID, Record as _, UPDATED_AT},
    store::{Assignment, Change, Filter, Outcome, Query, Scope, StoreError, WhenUnmet},
    time::Timestamp,
};

/// An event that failed so often is set aside.
const MOST_FAILURES: i64 = 5;
/// How long it rests after the first failure; after each further one, twice as long.
const FIRST_REST: Duration = Duration::from_secs(1);
/// How many characters of a cause are kept.
const LONGEST_CAUSE: usize = 1000;

/// What has not failed so lately that it rests: of waiting events, those for which [`rests`] is false.
pub(super) fn is_awake(now: Timestamp) -> Filter {
    let rested = (1..MOST_FAILURES).map(|failures| {
        Event::failures.equals(Some(failures)).and(UPDATED_AT.at_most(now.minus(rest_after(failures))))
    });
    let many = Event::failures.greater_than(Some(MOST_FAILURES - 1));
    Filter::Or([Event::failures.missing(), many].into_iter().chain(rested).collect())
}

/// Whether the event failed so lately that it is not tried yet.
pub(super) fn rests(event: &Event, now: Timestamp) -> bool {
    let failures = event.failures.unwrap_or(0);
    (1..MOST_FAILURES).contains(&failures) && now < event.meta.updated_at.plus(rest_after(failures))
}

fn rest_after(failures: i64) -> Duration {
    let doubled = u32::try_from(failures.saturating_sub(1)).unwrap_or(0).min(10);
    FIRST_REST * 2_u32.pow(doubled)
}

/// Notes that the event could not be handed on; after some times, sets it aside.
pub(super) async fn failed(crm: &Crm, event: &Event, error: &Error) -> Result<()> {
    let failures = event.failures.unwrap_or(0).saturating_add(1);
    let is_last = failures >= MOST_FAILURES;
    let mut assignments = vec![Event::failures.set(Some(failures)), UPDATED_AT.set(crm.now())];
    if is_last {
        assignments.extend([Event::held_by.set(Some(event.id.0)), Event::cause.set(Some(told(error)))]);
    }
    tracing::warn!(
        event = %event.id,
        event_type = event.event_type,
        failures,
        error = error as &dyn std::error::Error,
        "an event could not be handed on{}",
        if is_last { ", and is set aside" } else { " and will be tried again" }
    );
    let filter = ID.equals(event.id.0).and(Event::published_at.missing());
    update(crm, vec![Change::UpdateWhere { collection: Event::COLLECTION, filter, assignments }]).await?;
    Ok(())
}

/// Holds back what waits of a record, if the event that was set aside still is.
pub(super) async fn hold_back(crm: &Crm, record: Uuid, by: Uuid) -> Result<()> {
    let still = Change::Update {
        collection: Event::COLLECTION,
        id: by,
        expected_version: None,
        condition: Some((Event::held_by.equals(Some(by)), WhenUnmet::Abort)),
        assignments: vec![UPDATED_AT.set(crm.now())],
    };
    let waiting = Event::record_id.equals(record).and(Event::published_at.missing()).and(Event::held_by.missing());
    let hold = Change::UpdateWhere {
        collection: Event::COLLECTION,
        filter: waiting,
        assignments: vec![Event::held_by.set(Some(by))],
    };
    match crm.store().commit(Scope::Installation, vec![still, hold]).await {
        Ok(_) | Err(StoreError::Unmet { .. } | StoreError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The events that are set aside, in the order in which they were written: at most `limit`, after the one named.
///
/// # Errors
/// Those of the store.
pub async fn list(crm: &Crm, after: Option<EventId>, limit: usize) -> Result<Vec<Event>> {
    let mut filter = aside();
    if let Some(after) = after {
        filter = filter.and(ID.greater_than(after.0));
    }
    Ok(crm.repo::<Event>().find(Scope::Installation, &Query::new(filter, limit)).await?.records)
}

/// Hands an event on again that was set aside, then what it held back. Answers whether it was there.
///
/// # Errors
/// Those of the store.
pub async fn replay(crm: &Crm, id: EventId) -> Result<bool> {
    let again =
        vec![Event::failures.set(None), Event::held_by.set(None), Event::cause.set(None), UPDATED_AT.set(crm.now())];
    release(crm, id, again).await
}

/// Gives an event up that was set aside, and hands on what it held back. Its row is kept as long as those of published
/// events are. Answers whether it was there.
///
/// # Errors
/// Those of the store.
pub async fn drop(crm: &Crm, id: EventId) -> Result<bool> {
    let now = crm.now();
    release(crm, id, vec![Event::published_at.set(Some(now)), Event::held_by.set(None), UPDATED_AT.set(now)]).await
}

async fn release(crm: &Crm, id: EventId, assignments: Vec<Assignment>) -> Result<bool> {
    let outcomes = update(
        crm,
        vec![
            Change::UpdateWhere { collection: Event::COLLECTION, filter: ID.equals(id.0).and(aside()), assignments },
            Change::UpdateWhere {
                collection: Event::COLLECTION,
                filter: Event::held_by.equals(Some(id.0)),
                assignments: vec![Event::held_by.set(None)],
            },
        ],
    )
    .await?;
    crm.hint_background(false, true);
    Ok(outcomes.first() == Some(&Outcome::Touched(1)))
}

/// Those that were set aside themselves.
pub(crate) fn aside() -> Filter {
    Event::held_by.exists().and(Event::cause.exists())
}

async fn update(crm: &Crm, changes: Vec<Change>) -> Result<Vec<Outcome>> {
    Ok(crm.store().commit(Scope::Installation, changes).await?)
}

/// The error with its causes.
pub(super) fn told(error: &Error) -> String {
    let mut told = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        told.push_str(": ");
        told.push_str(&source.to_string());
        cause = source.source();
    }
    told.chars().filter(|letter| *letter != '\0').take(LONGEST_CAUSE).collect()
}
