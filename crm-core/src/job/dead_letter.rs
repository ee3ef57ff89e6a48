use serde::Serialize;
use serde_json::json;

use super::{
    Job, JobHandler, JobId, JobState,
    service::{JOB, deadline},
};
use crate::{
    access::{Principal, permissions},
    crm::Crm,
    error::{Error, Result},
    list::{self, List, ListRequest},
    operation::Operation,
    record::{ID, ORGANIZATION_ID, Record as _},
    store::{Filter, Json, Query, Scope, StoreError},
};

/// So many are replayed or dropped by one call.
const MOST: usize = 1000;
/// So often is a change tried again that lost a race.
const ATTEMPTS: usize = 10;

/// The jobs of the principal's organization that failed: kept with what they were given, as long as their handler keeps it,
/// to be replayed once their cause is mended, or dropped. Like every job that has ended they are removed after 30 days.
#[derive(Clone, Copy, Debug)]
pub struct DeadLetters<'a> {
    crm: &'a Crm,
}

/// What became of dead letters that were to be replayed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Replayed {
    /// So many are in the queue again.
    pub replayed: u64,
    /// So many cannot be: what they are about has changed since they failed.
    pub refused: u64,
    /// Whether there are more, which the same call replays when it is made again.
    pub has_more: bool,
}

/// What became of dead letters that were to be dropped.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Dropped {
    /// So many are no dead letters any more.
    pub dropped: u64,
    /// Whether there are more, which the same call drops when it is made again.
    pub has_more: bool,
}

impl<'a> DeadLetters<'a> {
    pub(super) const fn new(crm: &'a Crm) -> Self {
        Self { crm }
    }

    /// A page of them, those of the newest jobs first where no order is asked for.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `jobs:manage`; [`Error::Invalid`] for a cursor of another list; those of the store.
    pub async fn list(&self, by: &Principal, request: &ListRequest) -> Result<List<Job>> {
        by.may(permissions::JOBS_MANAGE)?;
        list::everything(self.crm, by, request, of_organization(by)).await
    }

    /// Puts one back into the queue, as if it had just been begun: it goes on where it stopped, with all its attempts and
    /// on behalf of who began it.
    ///
    /// # Errors
    /// [`Error::InvalidState`] where the job is no dead letter, or what it is about has changed so that it cannot be
    /// done any more; [`Error::NotFound`]; [`Error::Forbidden`] without `jobs:manage` and `jobs:write`.
    pub async fn replay(&self, by: &Principal, id: JobId) -> Result<Job> {
        may_change(by)?;
        self.change(by, id, "job.replayed", |job, operation| {
            let now = operation.now();
            job.state = JobState::Queued;
            job.dead_at = None;
            job.error = None;
            job.attempts = 0;
            job.cancel_requested = false;
            job.due_at = Some(now);
            job.deadline_at = deadline(self.crm, &job.kind, now);
            job.finished_at = None;
            operation.tell_runners();
        })
        .await
    }

    /// Drops one: the job stays failed, and can be looked at, but not be replayed any more. What it was given is erased.
    ///
    /// # Errors
    /// [`Error::InvalidState`] where the job is no dead letter, or has to be done; [`Error::NotFound`];
    /// [`Error::Forbidden`] without `jobs:manage` and `jobs:write`.
    pub async fn drop(&self, by: &Principal, id: JobId) -> Result<Job> {
        may_change(by)?;
        self.crm.job_handlers().may_be_given_up(&self.crm.jobs().within(by, id).await?.kind)?;
        self.change(by, id, "job.dropped", |job, _| {
            job.dead_at = None;
            job.input = Json::from_value(&serde_json::Value::Null);
        })
        .await
    }

    /// Replays the oldest, at most 1000 of them; those of one kind, where it is named.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `jobs:manage` and `jobs:write`; those of the store, which leave done what was done.
    pub async fn replay_all(&self, by: &Principal, kind: Option<&str>) -> Result<Replayed> {
        may_change(by)?;
        let (ids, has_more) = self.oldest(by, kind).await?;
        let mut answer = Replayed { has_more, ..Replayed::default() };
        for id in ids {
            match self.replay(by, id).await {
                Ok(_) => answer.replayed += 1,
                // Somebody else was faster, or it is no good any more.
                Err(Error::InvalidState(_) | Error::NotFound(_)) => answer.refused += 1,
                Err(error) => return Err(error),
            }
        }
        Ok(answer)
    }

    /// Drops the oldest, at most 1000 of them; those of one kind, where it is named.
    ///
    /// # Errors
    /// As [`Self::replay_all`].
    pub async fn drop_all(&self, by: &Principal, kind: Option<&str>) -> Result<Dropped> {
        may_change(by)?;
        let (ids, has_more) = self.oldest(by, kind).await?;
        let mut answer = Dropped { has_more, ..Dropped::default() };
        for id in ids {
            match self.drop(by, id).await {
                Ok(_) => answer.dropped += 1,
                Err(Error::InvalidState(_) | Error::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(answer)
    }

    async fn oldest(&self, by: &Principal, kind: Option<&str>) -> Result<(Vec<JobId>, bool)> {
        let mut filter = of_organization(by);
        if let Some(kind) = kind {
            filter = filter.and(Job::kind.equals(kind.to_owned()));
        }
        let query = Query::new(filter, MOST).sorted(vec![Job::dead_at.ascending(), ID.ascending()]);
        let found = self.crm.repo::<Job>().find(Scope::Installation, &query).await?;
        Ok((found.records.into_iter().map(|job| job.id).collect(), found.has_more))
    }

    async fn change(
        &self,
        by: &Principal,
        id: JobId,
        action: &str,
        decide: impl Fn(&mut Job, &mut Operation<'_>),
    ) -> Result<Job> {
        let mut turn = self.crm.turns().join(id.0).await;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let before = self.crm.jobs().within(by, id).await?;
            if before.dead_at.is_none() {
                return Err(Error::InvalidState(format!("The job is no dead letter: it is {}.", before.state)));
            }
            let mut after = before.clone();
            let mut operation = Operation::new(self.crm, by);
            decide(&mut after, &mut operation);
            operation.update(&before, &mut after);
            if let Some(handler) = self.crm.job_handlers().of(&after.kind) {
                settle(handler.as_ref(), &after, &mut operation);
            }
            operation.audit::<Job>(action, id, None, Some(json!({"kind": before.kind, "error": before.error})));
            match operation.try_commit().await {
                Ok(_) => return Ok(after),
                // Of the job itself, which somebody else has changed.
                Err(StoreError::VersionConflict { .. }) if attempt < ATTEMPTS => turn.wait().await,
                Err(StoreError::Unmet { .. }) => return Err(changed_since()),
                Err(StoreError::NotFound { collection, .. }) if collection != Job::COLLECTION.name => {
                    return Err(changed_since());
                }
                Err(StoreError::NotFound { .. }) => return Err(Error::NotFound(JOB)),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn settle(handler: &dyn JobHandler, job: &Job, operation: &mut Operation<'_>) {
    if job.state == JobState::Queued {
        handler.replayed(job, operation);
    } else {
        handler.dropped(job, operation);
    }
}

fn changed_since() -> Error {
    Error::InvalidState("What the job is about has changed since it failed: begin it anew instead.".to_owned())
}

fn may_change(by: &Principal) -> Result<()> {
    by.may(permissions::JOBS_MANAGE)?;
    by.may(permissions::JOBS_WRITE)
}

fn of_organization(by: &Principal) -> Filter {
    ORGANIZATION_ID.equals(by.organization).and(Job::dead_at.exists())
}
