//! Work on stored values: converting them to a new type, noting unique ones, building indexes, purging.
//!
//! What is to be done stands in the field itself (`pending`), and the job that does it in the same commit; every step can
//! be done again without harm, so that another process goes on where one died. A request runs the job of its change
//! itself for a while, and leaves the rest, and indexes, to the runners.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{CustomField, CustomFieldId, CustomFieldType, IndexState, record::step, subject::Subject};
use crate::{
    access::{Principal, RequestContext},
    crm::Crm,
    error::{Error, Result},
    hint::Hint,
    job::{Job, JobContext, JobFailure, JobHandler, JobId, JobOutcome, JobPriority, JobProgress, NewJob, runner},
    operation::Operation,
    record::Record as _,
    store::{Change, CustomIndex, Query, Scope},
};

/// The kind of these jobs.
const KIND: &str = "custom_field_work";
/// The version of their input.
const VERSION: i64 = 1;
/// So long a request does the work that it began.
const PATIENCE: Duration = Duration::from_secs(10);
/// So many fields are looked at at once.
const FIELDS: usize = 100;
/// So often one record is decided again that others changed meanwhile.
pub(super) const TRIES: usize = 5;

/// What the job is given: the field says itself what is to be done.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct FieldWork {
    field_id: CustomFieldId,
}

/// Adds to the commit that changes a field the job that does what is pending on it. It goes on whatever becomes of the
/// person who changed the field.
///
/// # Errors
/// [`Error::Internal`] where the job cannot be written.
pub(super) fn begin(
    crm: &Crm,
    by: &Principal,
    operation: &mut Operation<'_>,
    field: &mut CustomField,
) -> Result<Option<Job>> {
    let context = RequestContext { request_id: by.context.request_id.clone(), ..RequestContext::default() };
    let system = Principal::system(field.meta.organization_id).with_context(context);
    let new = new_job(field);
    let at_once = field.pending.first().is_some_and(|step| step != step::INDEX);
    let job = if at_once {
        crm.jobs().enqueue_held(&system, operation, new)?
    } else {
        crm.jobs().enqueue(&system, operation, new)?
    };
    field.job_id = Some(job.id);
    Ok(at_once.then_some(job))
}

/// Runs the job of a change for at most 10 s; what is left then, and indexes, are the runners'. Answers the field as it is
/// then, without anything pending where it is gone.
pub(super) async fn run_in_time(crm: &Crm, job: Job, field: CustomField) -> Result<CustomField> {
    runner::run_held(crm, job, Arc::new(FieldWorkHandler { leaves_indexes: true }), PATIENCE).await;
    let found = crm.repo::<CustomField>().get(Scope::Organization(field.meta.organization_id), field.id).await?;
    Ok(found.unwrap_or_else(|| CustomField { pending: Vec::new(), working: false, ..field }))
}

/// Makes the jobs that are missing: of fields that an earlier version left with something pending, and of those whose job
/// was kept as long as jobs are.
///
/// # Errors
/// Those of the store.
pub(crate) async fn make_missing_jobs(crm: &Crm) -> Result<()> {
    let mut query = Query::new(CustomField::working.equals(true), FIELDS);
    loop {
        let found = crm.repo::<CustomField>().find(Scope::Installation, &query).await?;
        let ids: Vec<JobId> = found.records.iter().filter_map(|field| field.job_id).collect();
        let jobs = crm.repo::<Job>().get_many(Scope::Installation, &ids).await?;
        for field in &found.records {
            let job = jobs.iter().find(|job| Some(job.id) == field.job_id);
            if job.is_none_or(|job| job.state.has_ended() && job.dead_at.is_none()) {
                make_job(crm, field).await?;
            }
        }
        query.after = found.next;
        if query.after.is_none() {
            return Ok(());
        }
    }
}

fn new_job(field: &CustomField) -> NewJob<'static, FieldWork> {
    NewJob {
        kind: KIND,
        version: VERSION,
        input: FieldWork { field_id: field.id },
        priority: JobPriority::Normal,
        about: Some((CustomField::COLLECTION.name, field.id.0)),
        progress: JobProgress { unit: "records".to_owned(), ..JobProgress::default() },
    }
}

async fn make_job(crm: &Crm, field: &CustomField) -> Result<()> {
    let by = Principal::system(field.meta.organization_id);
    let mut operation = Operation::new(crm, &by);
    let mut after = field.clone();
    after.job_id = Some(crm.jobs().enqueue(&by, &mut operation, new_job(field))?.id);
    operation.update(field, &mut after);
    match operation.commit().await {
        // Another process was first, or it is done.
        Ok(_) | Err(Error::VersionConflict { .. } | Error::NotFound(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Does what is pending on a field.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FieldWorkHandler {
    /// Whether somebody waits for the rest.
    leaves_indexes: bool,
}

#[async_trait]
impl JobHandler for FieldWorkHandler {
    fn kind(&self) -> &'static str {
        KIND
    }

    /// Until it is done the field takes no other change: it is worth trying for an hour.
    fn max_attempts(&self) -> i64 {
        20
    }

    /// An index of many records is built without a word.
    fn patience(&self) -> Duration {
        Duration::from_hours(6)
    }

    /// The field would be left neither here nor there.
    fn may_be_given_up(&self) -> bool {
        false
    }

    async fn run(&self, context: &JobContext) -> Result<JobOutcome, JobFailure> {
        let FieldWork { field_id } = context.input()?;
        let Some(field) = current(context, field_id).await? else { return Ok(superseded()) };
        Run { context, field }.all(self.leaves_indexes).await
    }
}

/// The field, if the job is the one that does what is pending on it: a later change of a field whose index was being
/// built has a job of its own.
async fn current(context: &JobContext, id: CustomFieldId) -> Result<Option<CustomField>> {
    let field = context.crm().repo::<CustomField>().get(context.by().scope(), id).await?;
    Ok(field.filter(|field| field.job_id == Some(context.job().id)))
}

/// The end of a job that has nothing left to do because the field is gone, or has another job by now.
fn superseded() -> JobOutcome {
    JobOutcome::Done(json!({"superseded": true}))
}

/// One run of a field's job.
pub(super) struct Run<'a> {
    pub(super) context: &'a JobContext,
    pub(super) field: CustomField,
}

/// How a step ended that did not fail.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reached {
    End,
    /// The run is to stop.
    Interruption,
}

impl Run<'_> {
    /// Does the steps in their order.
    async fn all(mut self, leaves_indexes: bool) -> Result<JobOutcome, JobFailure> {
        let mut done = Vec::new();
        let subject = self.field.applies_to.subject();
        while let Some(next) = self.field.pending.first().cloned() {
            let reached = match (next.as_str(), subject) {
                (step::PURGE, subject) => self.purge(subject).await?,
                // Nothing has such fields yet.
                (_, None) => Reached::End,
                (step::CONVERT, Some(subject)) => self.convert(subject).await?,
                (step::UNIQUE, Some(subject)) => self.note_unique(subject).await?,
                (step::INDEX, _) if leaves_indexes => Reached::Interruption,
                (step::INDEX, Some(subject)) => self.index(subject).await?,
                (unknown, _) => return Err(Error::internal(format!("{unknown} is no step of this version")).into()),
            };
            if reached == Reached::Interruption {
                return Ok(JobOutcome::Interrupted);
            }
            let is_last = next == step::PURGE;
            if !is_last && !self.finish_step(&next).await? {
                if let (step::INDEX, Some(subject)) = (next.as_str(), subject) {
                    self.take_back_index(subject).await?;
                }
                return Ok(superseded());
            }
            done.push(next);
            if is_last {
                break;
            }
        }
        Ok(JobOutcome::Done(json!({"done": done})))
    }

    pub(super) fn scope(&self) -> Scope {
        self.context.by().scope()
    }

    /// Writes while the job is this run's.
    pub(super) async fn write(&self, changes: Vec<Change>) -> Result<(), JobFailure> {
        let mut operation = Operation::new(self.context.crm(), self.context.by());
        changes.into_iter().for_each(|change| operation.change(change));
        self.context.checkpoint(operation).await?;
        Ok(())
    }

    /// Notes that a step is done, whatever else happened to the field meanwhile; answers whether it has this job still.
    async fn finish_step(&mut self, done: &str) -> Result<bool, JobFailure> {
        let (crm, by) = (self.context.crm(), self.context.by());
        for _ in 0..TRIES {
            let mut operation = Operation::new(crm, by);
            let mut after = self.field.clone();
            after.pending.retain(|step| step != done);
            if done == step::INDEX {
                after.index_state = if after.indexed { IndexState::Ready } else { IndexState::None };
            }
            if after.pending.is_empty() {
                after.working = false;
                after.converted_from = None;
                after.job_id = None;
            }
            operation.update(&self.field, &mut after);
            match self.context.checkpoint(operation).await {
                Err(JobFailure::Failed(Error::VersionConflict { .. } | Error::NotFound(_))) => {
                    let Some(field) = current(self.context, self.field.id).await? else { return Ok(false) };
                    self.field = field;
                }
                written => {
                    written?;
                    self.field = after;
                    crm.has_changed(Hint::Fields);
                    return Ok(true);
                }
            }
        }
        Err(Error::VersionConflict { found: self.field.meta.version }.into())
    }

    /// Builds the index of a field, or drops it.
    async fn index(&self, subject: Subject) -> Result<Reached, JobFailure> {
        let (store, field) = (self.context.crm().store(), &self.field);
        if let Some(from) = field.converted_from.filter(|from| from.stored() != field.r#type.stored()) {
            let old = index_of(field, from, subject);
            store.drop_custom_index(self.scope(), &old).await.map_err(Error::from)?;
        }
        let index = index_of(field, field.r#type, subject);
        let changed = if field.indexed {
            self.context.show(0, None, "records", Some("building the index"));
            store.create_custom_index(self.scope(), &index).await
        } else {
            store.drop_custom_index(self.scope(), &index).await
        };
        changed.map_err(Error::from)?;
        Ok(Reached::End)
    }

    /// Drops the index that was built, where the field does not want it any more: its next job may have looked before
    /// it was there.
    async fn take_back_index(&self, subject: Subject) -> Result<(), JobFailure> {
        let crm = self.context.crm();
        let built = index_of(&self.field, self.field.r#type, subject);
        let now = crm.repo::<CustomField>().get(self.scope(), self.field.id).await?;
        let is_wanted = now.is_some_and(|now| now.indexed && index_of(&now, now.r#type, subject) == built);
        if !is_wanted {
            crm.store().drop_custom_index(self.scope(), &built).await.map_err(Error::from)?;
        }
        Ok(())
    }
}

pub(super) fn index_of(field: &CustomField, kind: CustomFieldType, subject: Subject) -> CustomIndex {
    CustomIndex { collection: subject.collection, field: subject.column, key: field.key.clone(), kind: kind.stored() }
}
