//! Work that is begun again and again, at times that are written like those of cron.

use std::{sync::Arc, time::Duration};

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{JobPriority, JobProgress, NewJob};
use crate::{
    access::Principal,
    crm::Crm,
    error::{Error, Result},
    id::{OrganizationId, uuid_of_hash},
    operation::Operation,
    record::{Meta, Record, UPDATED_AT},
    store::{Change, Filter, Json, Query, Scope, StoreError, WhenUnmet},
    time::Timestamp,
};

/// The longest that the processes sleep before they look at the schedules again.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

crate::record_ids! {
    /// What is known of a schedule.
    FiringId,
}

/// When a schedule fired last and fires next: one record for each, whichever process fires it.
#[derive(Clone, Debug, PartialEq, Record)]
#[record(collection = "schedules", installation)]
pub struct Firing {
    /// Made from the name, so that two processes cannot create it twice.
    pub id: FiringId,
    /// The schedule's name.
    pub name: String,
    /// Its times, as they were when the next one was found.
    pub times: String,
    /// When it fires next.
    pub next_at: Timestamp,
    /// When it fired last.
    pub last_at: Option<Timestamp>,
    /// Its times.
    pub meta: Meta,
}

/// A job of the installation that is begun at given times.
///
/// However many processes there are, each time begins one job. Times that pass while no process runs, or while the store
/// is away, are made up for by one job for all of them.
#[derive(Clone, Debug)]
pub struct Schedule {
    name: &'static str,
    times: Arc<cronexpr::Crontab>,
    written: &'static str,
    kind: &'static str,
    input: Json,
}

/// The times of a schedule cannot be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{written:?} are no times of a schedule: {message}")]
pub struct InvalidSchedule {
    written: &'static str,
    message: String,
}

impl Schedule {
    /// Begins a job of `kind` (version 1 of its input) at `times`: five fields as in crontab(5), in UTC: minute, hour, day
    /// of the month, month, day of the week. `name` is the schedule's for good: under another name it is another one.
    ///
    /// # Errors
    /// [`InvalidSchedule`] where the times cannot be read or never come, or the input cannot be written as JSON.
    pub fn new(
        name: &'static str,
        times: &'static str,
        kind: &'static str,
        input: &impl Serialize,
    ) -> Result<Self, InvalidSchedule> {
        let invalid = |message: String| InvalidSchedule { written: times, message };
        let crontab = cronexpr::parse_crontab(&format!("{times} UTC")).map_err(|error| invalid(error.to_string()))?;
        let input = serde_json::to_string(input).map_err(|error| invalid(error.to_string()))?;
        Ok(Self { name, times: Arc::new(crontab), written: times, kind, input: Json::from_trusted(input) })
    }

    /// The first time after an instant.
    fn after(&self, instant: Timestamp) -> Result<Timestamp> {
        let found = self.times.find_next(instant.to_jiff()).map_err(|error| Error::internal(error.to_string()))?;
        Ok(found.timestamp().into())
    }

    /// Made from the name.
    fn id(&self) -> FiringId {
        FiringId(uuid_of_hash(Sha256::digest(self.name.as_bytes())))
    }
}

/// Begins the jobs whose time has come. Answers how long there is nothing to do.
///
/// # Errors
/// Those of the store.
pub(crate) async fn fire_due(crm: &Crm) -> Result<Duration> {
    let schedules = crm.schedules();
    if schedules.is_empty() {
        return Ok(LONGEST_SLEEP);
    }
    let known = crm.repo::<Firing>().find(Scope::Installation, &Query::new(Filter::ALL, 1000)).await?.records;
    let now = crm.now();
    let mut next = now.plus(LONGEST_SLEEP);
    for schedule in schedules {
        let known = known.iter().find(|firing| firing.id == schedule.id());
        next = next.min(fire(crm, schedule, known, now).await?);
    }
    Ok(next.since(now))
}

/// Fires a schedule if it is due. Answers when it is due next.
async fn fire(crm: &Crm, schedule: &Schedule, known: Option<&Firing>, now: Timestamp) -> Result<Timestamp> {
    let next_at = schedule.after(now)?;
    let Some(known) = known else {
        let firing = Firing {
            id: schedule.id(),
            name: schedule.name.to_owned(),
            times: schedule.written.to_owned(),
            next_at,
            last_at: None,
            meta: Meta::new(OrganizationId::INSTALLATION, now),
        };
        let insert = Change::Insert { collection: Firing::COLLECTION, rows: vec![firing.to_row()] };
        return match crm.store().commit(Scope::Installation, vec![insert]).await {
            // Else another process was first.
            Ok(_) | Err(StoreError::Duplicate { .. }) => Ok(next_at),
            Err(error) => Err(error.into()),
        };
    };
    let is_due = known.next_at <= now;
    // A clock that was set back, or times that were written anew, would keep it waiting.
    let is_off = known.next_at > next_at || known.times != schedule.written;
    if !is_due && !is_off {
        return Ok(known.next_at);
    }
    let by = Principal::system(OrganizationId::INSTALLATION);
    let mut operation = Operation::at(crm, &by, now);
    let mut assignments =
        vec![Firing::next_at.set(next_at), Firing::times.set(schedule.written.to_owned()), UPDATED_AT.set(now)];
    if is_due {
        assignments.push(Firing::last_at.set(now));
    }
    // Whoever is second finds the time moved on, and begins nothing.
    operation.change(Change::Update {
        collection: Firing::COLLECTION,
        id: known.id.0,
        expected_version: None,
        condition: Some((Firing::next_at.equals(known.next_at), WhenUnmet::Abort)),
        assignments,
    });
    if is_due {
        let new = NewJob {
            kind: schedule.kind,
            version: 1,
            input: serde_json::value::RawValue::from_string(schedule.input.as_str().to_owned())
                .map_err(Error::internal)?,
            priority: JobPriority::Low,
            about: None::<(&str, Uuid)>,
            progress: JobProgress::default(),
        };
        crm.jobs().enqueue(&by, &mut operation, new)?;
    }
    match operation.try_commit().await {
        Ok(_) | Err(StoreError::Unmet { .. } | StoreError::NotFound { .. }) => Ok(next_at),
        Err(error) => Err(error.into()),
    }
}
