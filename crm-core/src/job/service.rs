use std::sync::LazyLock;

use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::{Job, JobId, JobPriority, JobProgress, JobState, context::HOLD, dead_letter::DeadLetters};
use crate::{
    access::{Principal, permissions},
    crm::Crm,
    error::{Error, Result},
    id::new_uuid,
    list::{self, List, ListRequest, Listing},
    operation::Operation,
    record::{CREATED_AT, Meta, ORGANIZATION_ID, Record as _},
    rule::{Catalog, CatalogField},
    store::{Change, Filter, Json, Scope},
    time::Timestamp,
};

/// What the refusal of a job that is not there calls it.
pub(super) const JOB: &str = "job";

/// The jobs of the principal's organization.
#[derive(Clone, Copy, Debug)]
pub struct Jobs<'a> {
    crm: &'a Crm,
}

/// Work to be done.
#[derive(Clone, Debug)]
pub struct NewJob<'a, T> {
    /// What is to be done: a kind that a [`super::JobHandler`] knows.
    pub kind: &'a str,
    /// The version of the input's shape.
    pub version: i64,
    /// What the handler is given. No secrets: it is kept as it is.
    pub input: T,
    /// Which jobs it goes before.
    pub priority: JobPriority,
    /// The kind and the id of the record that it is about.
    pub about: Option<(&'a str, Uuid)>,
    /// How much there is to do, where that is known, and what is counted.
    pub progress: JobProgress,
}

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| {
    Catalog::new(Job::COLLECTION)
        .with(CatalogField::column(CREATED_AT))
        .with(CatalogField::column(Job::kind))
        .with(CatalogField::column(Job::state).options(JobState::ALL.map(JobState::name)))
        .with(CatalogField::column(Job::priority).options(JobPriority::ALL.map(JobPriority::name)))
        .with(CatalogField::column(Job::record_type))
        .with(CatalogField::column(Job::record_id))
        .with(CatalogField::column(Job::created_by_type).options(["user", "api_key", "service", "system"]))
        .with(CatalogField::column(Job::created_by_id))
        .with(CatalogField::column(Job::request_id))
        .with(CatalogField::column(Job::started_at))
        .with(CatalogField::column(Job::finished_at))
        .with(CatalogField::column(Job::dead_at))
});

/// The fields of a job as it is shown.
const SHOWN: [&str; 25] = [
    "id",
    "organization_id",
    "kind",
    "state",
    "priority",
    "record_type",
    "record_id",
    "progress",
    "result",
    "error",
    "attempts",
    "max_attempts",
    "due_at",
    "deadline_at",
    "dead_at",
    "heartbeat_at",
    "cancel_requested",
    "created_by_type",
    "created_by_id",
    "request_id",
    "started_at",
    "finished_at",
    "version",
    "created_at",
    "updated_at",
];

impl Crm {
    /// Long work.
    #[must_use]
    pub const fn jobs(&self) -> Jobs<'_> {
        Jobs { crm: self }
    }
}

impl<'a> Jobs<'a> {
    /// The jobs that failed, and what can be done about them.
    #[must_use]
    pub const fn dead_letters(&self) -> DeadLetters<'a> {
        DeadLetters::new(self.crm)
    }
}

impl Jobs<'_> {
    /// What a list of jobs can be asked.
    #[must_use]
    pub fn listing() -> Listing<'static> {
        Listing::new(&CATALOG).sortable(&["created_at"]).fields(&SHOWN)
    }

    /// The jobs that the principal started, newest first where no order is asked for; everybody's with `jobs:manage`.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `jobs:read`; [`Error::Invalid`] for a cursor of another list; those of the store.
    pub async fn list(&self, by: &Principal, request: &ListRequest) -> Result<List<Job>> {
        by.may(permissions::JOBS_READ)?;
        let within = ORGANIZATION_ID.equals(by.organization).and(in_sight(by));
        list::everything(self.crm, by, request, within).await
    }

    /// One job.
    ///
    /// # Errors
    /// [`Error::NotFound`] where it is not there or somebody else's, [`Error::Forbidden`] without `jobs:read`.
    pub async fn get(&self, by: &Principal, id: JobId) -> Result<Job> {
        by.may(permissions::JOBS_READ)?;
        self.seen(by, id).await
    }

    /// Cancels a job. One that waits ends at once; one that runs ends after the step in hand, and what it has done
    /// stays done. Asking again changes nothing.
    ///
    /// # Errors
    /// [`Error::InvalidState`] where it has ended already or has to be done, [`Error::NotFound`], [`Error::Forbidden`]
    /// without `jobs:write`.
    pub async fn cancel(&self, by: &Principal, id: JobId) -> Result<Job> {
        by.may(permissions::JOBS_WRITE)?;
        self.seen(by, id).await?;
        self.cancel_seen(by, id).await
    }

    /// The same for a caller that has settled by another right that the principal may cancel the job.
    ///
    /// # Errors
    /// [`Error::InvalidState`] where it has ended already, [`Error::NotFound`] in another organization.
    pub(crate) async fn cancel_seen(&self, by: &Principal, id: JobId) -> Result<Job> {
        let mut turn = self.crm.turns().join(id.0).await;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let before = self.within(by, id).await?;
            if before.state.has_ended() && before.state != JobState::Cancelled {
                return Err(Error::InvalidState(format!("The job has {} already.", before.state)));
            }
            if before.cancel_requested {
                return Ok(before);
            }
            self.crm.job_handlers().may_be_given_up(&before.kind)?;
            let now = self.crm.now();
            let mut after = Job { cancel_requested: true, ..before.clone() };
            let mut operation = Operation::at(self.crm, by, now);
            if before.state == JobState::Queued {
                end(&mut after, JobState::Cancelled, now);
                if let Some(handler) = self.crm.job_handlers().of(&after.kind) {
                    handler.ended(&after, &mut operation);
                }
                operation.emit("job.cancelled", &Job { meta: next(&after.meta), ..after.clone() }, &told(&after));
            }
            operation.update(&before, &mut after);
            operation.audit::<Job>("job.cancelled", id, None, Some(json!({"kind": before.kind})));
            match operation.commit().await {
                Err(Error::VersionConflict { .. }) if attempt < 10 => turn.wait().await,
                Err(error) => return Err(error),
                Ok(_) => {
                    self.crm.running_jobs().cancel(id);
                    return Ok(after);
                }
            }
        }
    }

    /// Refuses another job where the organization has so many waiting of these kinds.
    ///
    /// # Errors
    /// [`Error::InvalidState`] where it has; those of the store.
    pub(crate) async fn refuse_too_many(&self, by: &Principal, kinds: [&str; 2], most: u64) -> Result<()> {
        let waiting = Job::state
            .equals(JobState::Queued)
            .and(Job::kind.one_of(kinds.map(str::to_owned)))
            .and(ORGANIZATION_ID.equals(by.organization));
        if self.crm.repo::<Job>().count(by.scope(), &waiting).await? < most {
            return Ok(());
        }
        let kinds = kinds.join(",");
        Err(Error::InvalidState(format!(
            "{most} bulk jobs of the organization wait already: try again when some have begun, or cancel those that are \
             not needed (GET /jobs?state=queued&kind[in]={kinds})."
        )))
    }

    /// Adds a job to an operation: with its commit, the job is there and a runner is told. The job runs on behalf of
    /// the operation's principal.
    ///
    /// # Errors
    /// [`Error::Internal`] where the input cannot be written as JSON.
    pub fn enqueue<T: Serialize>(
        &self,
        by: &Principal,
        operation: &mut Operation<'_>,
        new: NewJob<'_, T>,
    ) -> Result<Job> {
        let job = self.prepare(by, operation, new)?;
        operation.insert(&job);
        operation.tell_runners();
        Ok(job)
    }

    /// The same for a job that the caller runs at once with [`super::runner::run_held`]. Where the caller dies a runner
    /// takes it up.
    ///
    /// # Errors
    /// As [`Self::enqueue`].
    pub(crate) fn enqueue_held<T: Serialize>(
        self,
        by: &Principal,
        operation: &mut Operation<'_>,
        new: NewJob<'_, T>,
    ) -> Result<Job> {
        let now = operation.now();
        let job = Job {
            state: JobState::Running,
            holder: Some(new_uuid(now, self.crm.random())),
            due_at: Some(now.plus(HOLD)),
            heartbeat_at: Some(now),
            ..self.prepare(by, operation, new)?
        };
        operation.insert(&job);
        Ok(job)
    }

    /// A job that is not in the store yet.
    ///
    /// # Errors
    /// [`Error::Internal`] where the input cannot be written as JSON.
    pub(crate) fn prepare<T: Serialize>(
        self,
        by: &Principal,
        operation: &Operation<'_>,
        new: NewJob<'_, T>,
    ) -> Result<Job> {
        let now = operation.now();
        let (record_type, record_id) = new.about.unzip();
        Ok(Job {
            id: self.crm.new_id_at(now),
            kind: new.kind.to_owned(),
            state: JobState::Queued,
            priority: new.priority,
            record_type: record_type.map(str::to_owned),
            record_id,
            input_version: new.version,
            input: Json::from_trusted(serde_json::to_string(&new.input).map_err(Error::internal)?),
            progress: new.progress,
            result: None,
            error: None,
            attempts: 0,
            max_attempts: self.crm.job_handlers().of(new.kind).map_or(5, |handler| handler.max_attempts()),
            due_at: Some(now),
            deadline_at: deadline(self.crm, new.kind, now),
            dead_at: None,
            holder: None,
            heartbeat_at: None,
            cancel_requested: false,
            created_by_type: by.actor.kind().to_owned(),
            created_by_id: by.actor.id(),
            request_id: by.context.request_id.clone(),
            started_at: None,
            finished_at: None,
            meta: Meta::new(by.organization, now),
        })
    }

    /// Removes jobs that ended before `older_than`. For the background work.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn remove_ended(&self, older_than: Timestamp) -> Result<()> {
        let old = Job::finished_at.exists().and(Job::finished_at.less_than(older_than));
        let remove = Change::DeleteWhere { collection: Job::COLLECTION, filter: old };
        self.crm.store().commit(Scope::Installation, vec![remove]).await?;
        Ok(())
    }

    async fn seen(&self, by: &Principal, id: JobId) -> Result<Job> {
        let job = self.within(by, id).await?;
        let own = job.created_by_type == by.actor.kind() && job.created_by_id == by.actor.id();
        if own || by.permissions.has(permissions::JOBS_MANAGE) { Ok(job) } else { Err(Error::NotFound(JOB)) }
    }

    /// A job of the principal's organization, whoever began it.
    pub(super) async fn within(&self, by: &Principal, id: JobId) -> Result<Job> {
        let job = self.crm.repo::<Job>().get(by.scope(), id).await?;
        // The store gives an installation's record to whoever knows its id.
        job.filter(|job| job.meta.organization_id == by.organization).ok_or(Error::NotFound(JOB))
    }
}

/// When a job of the kind that is begun now is given up.
pub(super) fn deadline(crm: &Crm, kind: &str, now: Timestamp) -> Option<Timestamp> {
    crm.job_handlers().of(kind).and_then(|handler| handler.deadline()).map(|deadline| now.plus(deadline))
}

fn in_sight(by: &Principal) -> Filter {
    if by.permissions.has(permissions::JOBS_MANAGE) {
        return Filter::ALL;
    }
    let own = by.actor.id().map_or_else(|| Job::created_by_id.missing(), |id| Job::created_by_id.equals(id));
    own.and(Job::created_by_type.equals(by.actor.kind()))
}

/// Lets a job end in a state.
pub(super) fn end(job: &mut Job, state: JobState, now: Timestamp) {
    job.state = state;
    job.due_at = None;
    job.holder = None;
    job.finished_at = Some(now);
    job.dead_at = (state == JobState::Failed).then_some(now);
}

/// What an event tells of a job.
pub(super) fn told(job: &Job) -> serde_json::Value {
    json!({
        "id": job.id, "kind": job.kind, "state": job.state, "record_type": job.record_type, "record_id": job.record_id,
    })
}

/// The record's next version.
pub(super) const fn next(meta: &Meta) -> Meta {
    Meta { version: meta.version + 1, ..*meta }
}
