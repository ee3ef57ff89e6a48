//! What a job is given that must not outlive it, such as what is said of a person.

use std::time::Duration;

use super::{Job, JobError, JobId, JobState};
use crate::{
    access::Principal,
    crm::Crm,
    error::Result,
    operation::Operation,
    record::{ID, Meta, Record, UPDATED_AT},
    store::{Change, WhenUnmet},
    time::Timestamp,
};

/// How long the payload of a job is kept that failed for a reason that may pass, so that the job can be run again.
const KEPT: Duration = Duration::from_hours(24);
/// The reasons that may pass.
const PASSING: [&str; 8] = [
    "INTERNAL",
    "INTERRUPTED",
    "RATE_LIMITED",
    "TIMED_OUT",
    "UNAVAILABLE",
    "UNKNOWN_KIND",
    "UPSTREAM_ERROR",
    "VERSION_CONFLICT",
];

/// What a job is given beside its input. It goes with the job's end.
#[derive(Clone, Debug, PartialEq, Record)]
#[record(collection = "job_payloads", index(kept_until))]
pub struct JobPayload {
    /// The job's id.
    pub id: JobId,
    /// What the job is given, as JSON text: a store may round the numbers of JSON.
    pub text: String,
    /// What came of it, written with the effect: a run that finds this has nothing left to do.
    pub result: Option<String>,
    /// When it is removed at the latest, once the job has ended.
    pub kept_until: Option<Timestamp>,
    /// Its organization, version and times.
    pub meta: Meta,
}

impl JobPayload {
    /// Of a job that is being made.
    pub(crate) const fn new(job: &Job, text: String) -> Self {
        Self {
            id: job.id,
            text,
            result: None,
            kept_until: None,
            meta: Meta::new(job.meta.organization_id, job.meta.created_at),
        }
    }

    /// That of a job, if it is there still.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn of(crm: &Crm, by: &Principal, job: JobId) -> Result<Option<Self>> {
        crm.repo::<Self>().get(by.scope(), job).await
    }

    /// Whether it is kept for a while where its job failed so: for a reason that may pass.
    pub(crate) fn outlives(error: &JobError) -> bool {
        PASSING.contains(&error.code.as_str())
    }

    /// Removes it with the end of its job; keeps it for a day where the job failed for a reason that may pass.
    pub(crate) fn release(job: &Job, operation: &mut Operation<'_>) {
        let may_pass = job.error.as_ref().is_some_and(Self::outlives);
        let filter = ID.equals(job.id.0);
        let now = operation.now();
        operation.change(if job.state == JobState::Failed && may_pass {
            let assignments = vec![Self::kept_until.set(now.plus(KEPT)), UPDATED_AT.set(now)];
            Change::UpdateWhere { collection: Self::COLLECTION, filter, assignments }
        } else {
            Change::DeleteWhere { collection: Self::COLLECTION, filter }
        });
    }

    /// Keeps it for a job that is replayed, which is refused where it is not there any more.
    pub(crate) fn keep(job: &Job, operation: &mut Operation<'_>) {
        let now = operation.now();
        operation.change(Change::Update {
            collection: Self::COLLECTION,
            id: job.id.0,
            expected_version: None,
            condition: Some((Self::kept_until.exists(), WhenUnmet::Abort)),
            assignments: vec![Self::kept_until.set(None), UPDATED_AT.set(now)],
        });
    }

    /// Removes that of a job that is dropped.
    pub(crate) fn discard(job: &Job, operation: &mut Operation<'_>) {
        operation.change(Change::DeleteWhere { collection: Self::COLLECTION, filter: ID.equals(job.id.0) });
    }

    /// Removes those of an organization that nobody needs any more. For the background work.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn remove_old(crm: &Crm, by: &Principal) -> Result<()> {
        let old = Self::kept_until.exists().and(Self::kept_until.at_most(crm.now()));
        let remove = Change::DeleteWhere { collection: Self::COLLECTION, filter: old };
        crm.store().commit(by.scope(), vec![remove]).await?;
        Ok(())
    }
}
