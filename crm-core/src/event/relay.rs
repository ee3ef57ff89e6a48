//! Hands the events of the outbox on.
//!
//! Any number of processes may relay. Each takes leases on parts of the outbox; the events of one record are all in one
//! part, so that one relay at a time hands them on, in the order of the record's versions. What is handed on is marked
//! afterwards: a crash in between makes it come again, with the same id.

mod batch;

use std::{
    collections::{BTreeSet, HashSet},
    time::Duration,
};

use uuid::Uuid;

use self::batch::Batch;
use super::{Event, PARTITIONS, envelope::EVENTS, set_aside};
use crate::{
    crm::Crm,
    error::{Error, Result},
    event::envelope,
    id::first_uuid_of,
    lease,
    record::{ID, Record as _, UPDATED_AT},
    store::{Change, Filter, Query, Scope},
    time::Timestamp,
    webhook,
};

/// Events handed on at once.
const BATCH: usize = 200;

/// How long a published event, and one that nobody was there for, is kept.
pub const RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);

/// How long a process that fell silent keeps others from its parts. Where a batch takes longer, another process hands on
/// the same: all of it comes twice, and its first coming is still in order, since whoever publishes an event publishes
/// what waits before it too.
const LEASE: Duration = Duration::from_secs(5);
/// A lease is taken anew where no more than this is left of it.
const RENEWAL: Duration = Duration::from_secs(3);

/// How soon it is asked again for a part that somebody else has.
const REFUSAL: Duration = Duration::from_secs(1);

/// A part of the outbox, and until when something holds for it.
type Lease = (i64, Timestamp);

/// The relay of one process.
#[derive(Debug, Default)]
pub(crate) struct Relay {
    leases: Vec<Lease>,
    /// Parts that another process has, and until when it is not asked again.
    others: Vec<Lease>,
}

impl Relay {
    /// Hands on a batch of what waits in parts that nobody else has. Answers whether more may wait.
    ///
    /// # Errors
    /// Those of the store, and of whoever takes events, where they pass: the events come again.
    pub(crate) async fn step(&mut self, crm: &Crm, holder: Uuid) -> Result<bool> {
        if !crm.hands_on_events() {
            return Ok(false);
        }
        let mut events = waiting(crm, None).await?;
        let parts: BTreeSet<i64> = events.iter().map(part_of).collect();
        if !self.hold(crm, &parts, holder).await? {
            let now = crm.now();
            let ours: Vec<i64> = parts.into_iter().filter(|part| self.has(*part, now)).collect();
            if ours.is_empty() {
                return Ok(false);
            }
            events = waiting(crm, Some(&ours)).await?;
        }
        let is_full = events.len() >= BATCH;
        Ok(hand_on(crm, events).await? > 0 && is_full)
    }

    /// Whether this process may publish from all of these parts.
    async fn hold(&mut self, crm: &Crm, parts: &BTreeSet<i64>, holder: Uuid) -> Result<bool> {
        let now = crm.now();
        if parts.iter().all(|part| self.has(*part, now)) {
            return Ok(true);
        }
        // Where the clock went back, nothing is known of others.
        self.others.retain(|(_, until)| *until > now && *until <= now.plus(REFUSAL));
        let wanted: Vec<i64> =
            parts.iter().copied().filter(|part| self.others.iter().all(|(other, _)| other != part)).collect();
        let names: Vec<String> = wanted.iter().map(|part| format!("event-relay-{part}")).collect();
        let held = lease::hold_each(crm, &names, holder, LEASE).await?;
        self.leases.retain(|(part, _)| !wanted.contains(part));
        for (part, is_held) in wanted.into_iter().zip(held) {
            if is_held {
                self.leases.push((part, now.plus(LEASE)));
            } else {
                self.others.push((part, now.plus(REFUSAL)));
            }
        }
        Ok(self.others.iter().all(|(other, _)| !parts.contains(other)))
    }

    /// Whether a lease on the part will last for a while.
    fn has(&self, part: i64, now: Timestamp) -> bool {
        self.leases.iter().any(|(held, until)| *held == part && *until > now.plus(RENEWAL))
    }
}

/// Hands on a batch of waiting events, whoever else is at it. Answers how many there were. For who has the outbox to
/// themselves.
///
/// # Errors
/// Those of the store, and of whoever takes events: the events come again.
pub async fn publish_pending(crm: &Crm) -> Result<usize> {
    if !crm.hands_on_events() {
        return Ok(0);
    }
    let events = waiting(crm, None).await?;
    hand_on(crm, events).await
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

/// The first of what is to be handed on, of these parts or all. What rests after a failure is left out: however much
/// that is, it keeps nothing else waiting.
async fn waiting(crm: &Crm, parts: Option<&[i64]>) -> Result<Vec<Event>> {
    let mut filter = Event::published_at.missing().and(Event::held_by.missing()).and(set_aside::is_awake(crm.now()));
    if let Some(parts) = parts {
        let mut of_parts = Event::partition.one_of(parts.iter().map(|part| Some(*part)));
        if parts.contains(&0) {
            of_parts = Filter::Or(vec![of_parts, Event::partition.missing()]);
        }
        filter = filter.and(of_parts);
    }
    Ok(crm.repo::<Event>().find(Scope::Installation, &Query::new(filter, BATCH)).await?.records)
}

/// What was written by a program that knew no parts is in the first.
fn part_of(event: &Event) -> i64 {
    event.partition.filter(|part| (0..PARTITIONS).contains(part)).unwrap_or(0)
}

/// Why events were not handed on.
enum Failure {
    /// Whatever the events are: the store or who takes them is away, or somebody else was faster.
    OfAll(Error),
    /// One of them may be why.
    OfOne(Error),
}

impl Failure {
    fn of(error: Error) -> Self {
        if matches!(error, Error::Unavailable { .. }) { Self::OfAll(error) } else { Self::OfOne(error) }
    }
}

async fn hand_on(crm: &Crm, picked: Vec<Event>) -> Result<usize> {
    if picked.is_empty() {
        return Ok(0);
    }
    let Batch { ready, held_back } = Batch::load(crm, &picked).await?;
    for (record, by) in held_back {
        set_aside::hold_back(crm, record, by).await?;
    }
    let mut rest = ready.as_slice();
    match hand_on_together(crm, &mut rest).await {
        Ok(()) => Ok(ready.len()),
        Err(Failure::OfAll(error)) => Err(error),
        Err(Failure::OfOne(error)) => {
            let done = ready.len() - rest.len();
            match rest {
                [one] => {
                    set_aside::failed(crm, one, &error).await?;
                    Ok(done)
                }
                rest => Ok(done + hand_on_singly(crm, rest).await?),
            }
        }
    }
}

/// Hands each on by itself, and notes of those that cannot be. They hold back what follows of their records.
async fn hand_on_singly(crm: &Crm, events: &[Event]) -> Result<usize> {
    let mut failed = HashSet::new();
    let mut done = 0;
    for event in events {
        if failed.contains(&event.record_id) {
            continue;
        }
        match hand_on_together(crm, &mut std::slice::from_ref(event)).await {
            Ok(()) => done += 1,
            Err(Failure::OfAll(error)) => return Err(error),
            Err(Failure::OfOne(error)) => {
                failed.insert(event.record_id);
                set_aside::failed(crm, event, &error).await?;
            }
        }
    }
    Ok(done)
}

/// Publishes events, marks them, and takes out those that are marked.
async fn hand_on_together(crm: &Crm, events: &mut &[Event]) -> Result<(), Failure> {
    let Some(queue) = crm.queue() else {
        for sink in crm.event_sinks() {
            sink.publish(events).await.map_err(Failure::of)?;
        }
        return plan_and_mark(crm, events).await;
    };
    let messages = events.iter().map(envelope::to_message).collect::<Result<Vec<_>>>().map_err(Failure::of)?;
    // The messages were checked: what is wrong now is wrong with the queue.
    queue.publish(&EVENTS, &messages, Duration::ZERO).await.map_err(|error| Failure::OfAll(error.into()))?;
    mark(crm, events, Vec::new()).await.map_err(Failure::OfAll)?;
    *events = &[];
    Ok(())
}

/// Marks the events in the commits that plan their deliveries to webhooks.
async fn plan_and_mark(crm: &Crm, events: &mut &[Event]) -> Result<(), Failure> {
    while !events.is_empty() {
        let (count, plan) = webhook::planned(crm, events).await.map_err(Failure::of)?;
        let (handed_on, rest) = events.split_at(count);
        let has_plan = !plan.is_empty();
        match mark(crm, handed_on, plan).await {
            Ok(()) => {}
            // Somebody was faster, or planned it as a consumer when there was a queue.
            Err(Error::Duplicate { .. }) if handed_on.len() == 1 => {
                mark(crm, handed_on, Vec::new()).await.map_err(Failure::OfAll)?;
            }
            Err(error @ (Error::Duplicate { .. } | Error::TooLarge(_))) => return Err(Failure::OfOne(error)),
            Err(error) => return Err(Failure::OfAll(error)),
        }
        if has_plan {
            crm.delivery_hint().notify_one();
        }
        *events = rest;
    }
    Ok(())
}

async fn mark(crm: &Crm, events: &[Event], plan: Vec<Change>) -> Result<()> {
    let now = crm.now();
    let mark = Change::UpdateWhere {
        collection: Event::COLLECTION,
        filter: ID.one_of(events.iter().map(|event| event.id.into())),
        assignments: vec![Event::published_at.set(now), UPDATED_AT.set(now)],
    };
    crm.store().commit(Scope::Installation, plan.into_iter().chain([mark]).collect()).await?;
    Ok(())
}

#[cfg(test)]
mod tests;
