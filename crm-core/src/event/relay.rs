//! Hands the events of the outbox to the sinks.

use std::time::Duration;

use super::Event;
use crate::{
    crm::Crm,
    error::Result,
    id::first_uuid_of,
    record::{ID, Record as _, UPDATED_AT},
    store::{Change, Query, Scope},
    webhook,
};

/// Events handed over at once.
const BATCH: usize = 200;

/// How long a published event, and one that no sink was there for, is kept.
pub const RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);

/// Hands a batch of waiting events to every sink, plans their deliveries to webhooks, and marks them. Answers how many
/// there were; the most that a batch can have means that more may wait. Events of one record come in the order of its
/// versions. A crash in between, or a sink that fails, makes the batch come again: the event's id tells.
///
/// # Errors
/// Those of a sink or of the store; the events stay in the outbox.
pub async fn publish_pending(crm: &Crm) -> Result<usize> {
    if !crm.hands_on_events() {
        return Ok(0);
    }
    let query = Query::new(Event::published_at.missing(), BATCH);
    let mut events = crm.repo::<Event>().find(Scope::Installation, &query).await?.records;
    if events.is_empty() {
        return Ok(0);
    }
    in_order(&mut events);
    for sink in crm.event_sinks() {
        sink.publish(&events).await?;
    }
    let mut rest = events.as_slice();
    while !rest.is_empty() {
        let (count, plan) = webhook::planned(crm, rest).await?;
        let (handed_on, waiting) = rest.split_at(count);
        let now = crm.now();
        let mark = Change::UpdateWhere {
            collection: Event::COLLECTION,
            filter: ID.one_of(handed_on.iter().map(|event| event.id.into())),
            assignments: vec![Event::published_at.set(now), UPDATED_AT.set(now)],
        };
        let has_plan = plan.is_some();
        crm.store().commit(Scope::Installation, plan.into_iter().chain([mark]).collect()).await?;
        if has_plan {
            crm.delivery_hint().notify_one();
        }
        rest = waiting;
    }
    Ok(events.len())
}

/// Whether a batch was full, so that another should follow at once.
#[must_use]
pub const fn is_full(published: usize) -> bool {
    published >= BATCH
}

/// Removes events that have been kept long enough.
///
/// # Errors
/// Those of the store.
pub async fn remove_old(crm: &Crm) -> Result<()> {
    let mut old = ID.less_than(first_uuid_of(crm.now().minus(RETENTION)));
    if crm.hands_on_events() {
        old = Event::published_at.exists().and(old);
    }
    crm.store()
        .commit(Scope::Installation, vec![Change::DeleteWhere { collection: Event::COLLECTION, filter: old }])
        .await?;
    Ok(())
}

/// Puts the events of each record into the order of its versions, and leaves the order of different records as it is.
fn in_order(events: &mut Vec<Event>) {
    let mut versions: std::collections::HashMap<uuid::Uuid, Vec<Event>> = std::collections::HashMap::new();
    let places: Vec<uuid::Uuid> = events.iter().map(|event| event.record_id).collect();
    for event in events.drain(..) {
        versions.entry(event.record_id).or_default().push(event);
    }
    for of_record in versions.values_mut() {
        // Taken from the end below.
        of_record.sort_by_key(|event| std::cmp::Reverse(event.record_version));
    }
    events.extend(places.iter().filter_map(|record| versions.get_mut(record).and_then(Vec::pop)));
}
