//! Takes up jobs that are due and runs them. Any number of processes may; each job has one run at a time.

use std::{collections::HashMap, future::Future, panic::AssertUnwindSafe, pin::pin, sync::Arc, time::Duration};

use futures::FutureExt as _;
use tokio::{
    sync::watch,
    task::{self, JoinSet},
    time::{Instant, sleep, timeout},
};
use tracing::Instrument as _;

use super::{
    Interruption, Job, JobContext, JobError, JobFailure, JobHandler, JobOutcome, JobPriority, JobState,
    context::HOLD,
    retry,
    service::{end, told},
};
use crate::{
    access::{Principal, RequestContext},
    crm::Crm,
    error::{Error, Result},
    id::{OrganizationId, new_uuid},
    operation::Operation,
    record::{ORGANIZATION_ID, Record as _, UPDATED_AT},
    store::{Assignment, Change, Filter, Json, Scope, StoreError, Value, WhenUnmet},
    time::Timestamp,
};

/// The longest that a job waits to be looked at where no hint came.
const POLL: Duration = Duration::from_millis(500);
/// How often a run says that it is alive.
const BEAT: Duration = Duration::from_secs(3);
/// No job waits longer than this for its next attempt.
const FARTHEST: Duration = Duration::from_secs(2 * retry::LONGEST.as_secs());
/// How long claiming rests after a failure.
const REST: Duration = Duration::from_secs(2);

/// Runs jobs until `stop` resolves. Then the runs in hand finish their step and go back to the queue.
///
/// One organization has at most [`CrmBuilder::job_workers`](crate::crm::CrmBuilder::job_workers) of them at once, and one
/// more place is for the others, so that nobody waits until somebody else's long work is done.
///
/// Dropped before, it ends its runs where they are, as the death of the process would.
pub async fn run(crm: Crm, stop: impl Future<Output = ()> + Send) {
    let (stopper, stopped) = watch::channel(false);
    let mut runs = Runs::default();
    let mut stop = pin!(stop);
    loop {
        let mut rest = POLL;
        while runs.set.len() <= crm.job_workers() {
            match claim(&crm, runs.taken, &runs.within(crm.job_workers())).await {
                Ok(Some(job)) => {
                    runs.taken = runs.taken.wrapping_add(1);
                    let span = tracing::info_span!("job", kind = job.kind, id = %job.id, request_id = job.request_id);
                    let organization = job.meta.organization_id;
                    let run = runs.set.spawn(run_one(crm.clone(), job, stopped.clone()).instrument(span));
                    runs.organizations.insert(run.id(), organization);
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "jobs cannot be taken up for now");
                    rest = REST;
                    break;
                }
            }
        }
        tokio::select! {
            () = &mut stop => break,
            _ = timeout(rest, crm.job_signal().wait()) => {}
            Some(ended) = runs.set.join_next_with_id(), if !runs.set.is_empty() => runs.ended(ended),
        }
    }
    let _ = stopper.send(true);
    while let Some(ended) = runs.set.join_next_with_id().await {
        runs.ended(ended);
    }
}

/// Runs every job that is due now, one after the other, until none is left. For tests and for commands that run a job
/// of their own.
///
/// # Errors
/// Those of the store.
pub async fn run_due(crm: &Crm) -> Result<()> {
    let (_stopper, stopped) = watch::channel(false);
    let mut taken = 0_u64;
    while let Some(job) = claim(crm, taken, &[Filter::ALL]).await? {
        taken += 1;
        run_one(crm.clone(), job, stopped.clone()).await;
    }
    Ok(())
}

/// Runs a job that the caller has begun by [`super::Jobs::enqueue_held`], in the caller's own task. After `patience` it is
/// asked to stop, and what is left goes back to the queue.
pub(crate) async fn run_held(crm: &Crm, job: Job, handler: Arc<dyn JobHandler>, patience: Duration) {
    let (stopper, stopped) = watch::channel(false);
    let span = tracing::info_span!("job", kind = job.kind, id = %job.id, request_id = job.request_id);
    let mut run = pin!(run_by(crm.clone(), job, Some(handler), stopped).instrument(span));
    if timeout(patience, &mut run).await.is_err() {
        let _ = stopper.send(true);
        run.await;
    }
    // Where it has gone back, somebody may be free for it.
    crm.job_signal().due();
}

/// Brings back jobs whose time is further away than any wait: the clock was set back since it was written. One that a
/// live process runs says so again before anybody takes it.
pub(crate) async fn mend_times(crm: &Crm) -> Result<()> {
    let now = crm.now();
    let far = Job::priority.one_of(JobPriority::ALL).and(Job::due_at.greater_than(now.plus(FARTHEST)));
    let mend = Change::UpdateWhere {
        collection: Job::COLLECTION,
        filter: far,
        assignments: vec![Job::due_at.set(now.plus(HOLD)), UPDATED_AT.set(now)],
    };
    crm.store().commit(Scope::Installation, vec![mend]).await?;
    Ok(())
}

/// The runs of this process, and the organizations that they are for.
#[derive(Default)]
struct Runs {
    set: JoinSet<()>,
    organizations: HashMap<task::Id, OrganizationId>,
    /// How many were taken up so far.
    taken: u64,
}

impl Runs {
    /// Whose jobs may be taken up where one may have `most` runs: first those for whom nothing runs, then those who have
    /// room left.
    fn within(&self, most: usize) -> Vec<Filter> {
        if self.organizations.is_empty() {
            return vec![Filter::ALL];
        }
        let mut counts: HashMap<OrganizationId, usize> = HashMap::new();
        for organization in self.organizations.values() {
            *counts.entry(*organization).or_default() += 1;
        }
        let idle = ORGANIZATION_ID.one_of(counts.keys().copied()).negated();
        // The place beyond is for whom nothing runs.
        if self.set.len() >= most {
            return vec![idle];
        }
        let full = counts.iter().filter(|(_, runs)| **runs >= most).map(|(organization, _)| *organization);
        vec![idle, ORGANIZATION_ID.one_of(full).negated()]
    }

    fn ended(&mut self, ended: Result<(task::Id, ()), task::JoinError>) {
        let id = match &ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        self.organizations.remove(&id);
        if let Err(error) = ended {
            tracing::error!(%error, "the run of a job broke");
        }
    }
}

/// Which priority is looked at first. One in four goes to the normal ones and one in sixteen to the low ones, so that
/// neither waits for ever while more urgent ones keep coming.
const fn order(taken: u64) -> [JobPriority; 3] {
    use JobPriority::{High, Low, Normal};
    match taken % 16 {
        15 => [Low, Normal, High],
        3 | 7 | 11 => [Normal, High, Low],
        _ => [High, Normal, Low],
    }
}

/// Takes the most urgent job that is due, of the first of the filters that has one: one that waits, or one whose process
/// fell silent.
async fn claim(crm: &Crm, taken: u64, within: &[Filter]) -> Result<Option<Job>> {
    for priority in order(taken) {
        for within in within {
            let now = crm.now();
            let due = Job::priority.equals(priority).and(Job::due_at.at_most(now)).and(within.clone());
            let set = [
                Job::state.set(JobState::Running),
                Job::holder.set(new_uuid(now, crm.random())),
                Job::due_at.set(now.plus(HOLD)),
                Job::heartbeat_at.set(now),
                UPDATED_AT.set(now),
            ];
            let set: Vec<(usize, Value)> = set
                .into_iter()
                .filter_map(|assignment| match assignment {
                    Assignment::Set(position, value) => Some((position, value)),
                    Assignment::Increment(..) => None,
                })
                .collect();
            let order = [Job::due_at.ascending()];
            let rows = crm.store().claim(Scope::Installation, Job::COLLECTION, &due, &order, 1, &set).await?;
            if let Some(row) = rows.into_iter().next() {
                return Job::from_row(row).map(Some).map_err(Error::internal);
            }
        }
    }
    Ok(None)
}

async fn run_one(crm: Crm, job: Job, stopped: watch::Receiver<bool>) {
    let handler = crm.job_handlers().of(&job.kind).filter(|handler| job.input_version <= handler.version()).cloned();
    run_by(crm, job, handler, stopped).await;
}

async fn run_by(crm: Crm, job: Job, handler: Option<Arc<dyn JobHandler>>, stopped: watch::Receiver<bool>) {
    let Some(holder) = job.holder else { return };
    let by = principal(&crm, &job).await;
    // What the end of a run writes, it writes itself where there is nobody to write on behalf of.
    let system = Principal::system(job.meta.organization_id).with_context(context_of(&job));
    let acting = by.as_ref().ok().cloned().unwrap_or_else(|| system.clone());
    let context = JobContext::new(&crm, job, acting, holder, stopped);
    let run = Run { crm: &crm, context: &context, handler: handler.as_ref(), system: &system };
    let ended = match (run.begin().await, by) {
        (Ok(Beginning::Goes), Ok(_)) => run.work().await,
        (Ok(Beginning::Ends(end)), _) => end,
        (Ok(Beginning::Goes), Err(error)) | (Err(JobFailure::Failed(error)), _) => Ended::Failed(error),
        (Err(JobFailure::Lost), _) => Ended::Lost,
    };
    run.finish(ended).await;
}

/// The person or key that started the job, with the rights that they have now.
async fn principal(crm: &Crm, job: &Job) -> Result<Principal> {
    let actor = job.actor().ok_or_else(|| Error::Forbidden("It is not known who started the job.".to_owned()))?;
    let by = crm.accounts().principal_of(actor, job.meta.organization_id).await?;
    Ok(by.with_context(context_of(job)))
}

fn context_of(job: &Job) -> RequestContext {
    RequestContext { request_id: job.request_id.clone(), ..RequestContext::default() }
}

/// Whether a run goes on to its work.
enum Beginning {
    Goes,
    Ends(Ended),
}

/// How a run ended.
enum Ended {
    Done(serde_json::Value),
    Cancelled,
    /// Given back to the queue, through no fault of its own.
    Returned,
    Failed(Error),
    /// With a code of its own, and not to be tried again.
    Hopeless(JobError),
    /// With a code of its own; another attempt, or another process, may do better.
    Again(JobError),
    Lost,
}

struct Run<'a> {
    crm: &'a Crm,
    context: &'a JobContext,
    handler: Option<&'a Arc<dyn JobHandler>>,
    system: &'a Principal,
}

impl Run<'_> {
    const fn job(&self) -> &Job {
        self.context.job()
    }

    /// Notes the attempt, before anything is done that may end the process.
    async fn begin(&self) -> Result<Beginning, JobFailure> {
        let job = self.job();
        if job.cancel_requested {
            return Ok(Beginning::Ends(Ended::Cancelled));
        }
        if job.attempts >= job.max_attempts {
            let message = format!("The process that ran it ended {} times without getting any further.", job.attempts);
            return Ok(Beginning::Ends(Ended::Hopeless(JobError { code: "INTERRUPTED".to_owned(), message })));
        }
        let now = self.crm.now();
        if let Some(late) = self.too_late(now) {
            return Ok(Beginning::Ends(late));
        }
        let mut assignments = vec![Job::attempts.set(job.attempts + 1), UPDATED_AT.set(now)];
        if job.started_at.is_none() {
            assignments.push(Job::started_at.set(now));
        }
        let change = self.amend(assignments);
        match self.crm.store().commit(self.system.scope(), vec![change]).await {
            Ok(_) => {}
            Err(error) => return Err(self.context.failure(error, 0)),
        }
        if self.handler.is_none() {
            let message =
                format!("This version does not know jobs of kind {} (version {}).", job.kind, job.input_version);
            return Ok(Beginning::Ends(Ended::Again(JobError { code: "UNKNOWN_KIND".to_owned(), message })));
        }
        Ok(Beginning::Goes)
    }

    /// The end of a job whose time is over.
    fn too_late(&self, now: Timestamp) -> Option<Ended> {
        let deadline = self.job().deadline_at.filter(|deadline| *deadline <= now)?;
        let message = format!("It was not done by {deadline}.");
        Some(Ended::Hopeless(JobError { code: "DEADLINE_EXCEEDED".to_owned(), message }))
    }

    /// The handler's work, while the run holds the job.
    async fn work(&self) -> Ended {
        let Some(handler) = self.handler else { return Ended::Lost };
        let work = AssertUnwindSafe(handler.run(self.context)).catch_unwind();
        let ended = tokio::select! {
            ended = work => ended,
            ended = self.keep_alive(handler.patience()) => return ended,
        };
        match ended {
            Ok(Ok(JobOutcome::Done(result))) => Ended::Done(result),
            Ok(Ok(JobOutcome::Interrupted)) => match self.context.interruption() {
                Some(Interruption::Cancelled) => Ended::Cancelled,
                Some(Interruption::Stopping) | None => Ended::Returned,
            },
            Ok(Err(JobFailure::Lost)) => Ended::Lost,
            Ok(Err(JobFailure::Failed(error))) => Ended::Failed(error),
            Err(_panic) => Ended::Failed(Error::internal("the handler panicked")),
        }
    }

    /// Says again and again that the run is alive, and hears whether it is to stop. Resolves once the job is lost, or
    /// not worth going on with.
    async fn keep_alive(&self, patience: Duration) -> Ended {
        let mut heard = Instant::now();
        loop {
            sleep(BEAT).await;
            if self.context.silence() >= patience {
                let message = format!("It got no further for {} seconds.", patience.as_secs());
                return Ended::Again(JobError { code: "TIMED_OUT".to_owned(), message });
            }
            if let Some(late) = self.too_late(self.crm.now()) {
                return late;
            }
            match self.beat().await {
                Ok(()) => heard = Instant::now(),
                Err(JobFailure::Lost) => return Ended::Lost,
                Err(JobFailure::Failed(error)) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "a run cannot say that it is alive");
                    // Somebody else may take the job from now on.
                    if heard.elapsed() >= HOLD {
                        return Ended::Lost;
                    }
                }
            }
        }
    }

    async fn beat(&self) -> Result<(), JobFailure> {
        self.context.beat().await?;
        let job = self.crm.repo::<Job>().get(self.system.scope(), self.job().id).await?.ok_or(JobFailure::Lost)?;
        if job.cancel_requested {
            self.context.cancel();
        }
        Ok(())
    }

    async fn finish(&self, ended: Ended) {
        let (state, error, result) = match ended {
            Ended::Lost => {
                tracing::warn!("the job is held by another run: this one ends");
                return;
            }
            Ended::Returned => return self.give_back(None, self.crm.now(), self.job().attempts).await,
            Ended::Failed(failed) => {
                let error = described(&failed);
                tracing::warn!(error = &failed as &dyn std::error::Error, code = error.code, "the job failed");
                if retry::may_pass(&failed) && self.tries_again(error.clone()).await {
                    return;
                }
                (JobState::Failed, Some(error), None)
            }
            Ended::Again(error) => {
                tracing::warn!(error = error.message, code = error.code, "the job failed");
                if self.tries_again(error.clone()).await {
                    return;
                }
                (JobState::Failed, Some(error), None)
            }
            Ended::Hopeless(error) => (JobState::Failed, Some(error), None),
            Ended::Done(result) => (JobState::Succeeded, None, Some(Json::from_value(&result))),
            Ended::Cancelled => (JobState::Cancelled, None, None),
        };
        let now = self.crm.now();
        let mut after = Job { error, result, progress: self.context.progress(), ..self.job().clone() };
        end(&mut after, state, now);
        if let (Some(handler), Some(error)) = (self.handler, &after.error)
            && !handler.may_be_replayed(error)
        {
            after.dead_at = None;
        }
        let mut operation = Operation::at(self.crm, self.system, now);
        let place = operation.len();
        let release = self.context.release(vec![
            Job::state.set(state),
            Job::due_at.set(None),
            Job::finished_at.set(now),
            Job::dead_at.set(after.dead_at),
            Job::error.set(after.error.clone()),
            Job::result.set(after.result.clone()),
            UPDATED_AT.set(now),
        ]);
        operation.change(release);
        if let Some(handler) = self.handler {
            handler.ended(&after, &mut operation);
        }
        // A job tells of its end only, so that the version orders nothing.
        operation.emit(&format!("job.{state}"), &after, &told(&after));
        match operation.try_commit().await {
            Ok(_) => tracing::info!(%state, "the job has ended"),
            Err(error) => self.not_written(error, place),
        }
    }

    /// Puts the job back to be tried again; answers whether there are tries left.
    async fn tries_again(&self, error: JobError) -> bool {
        let job = self.crm.repo::<Job>().get(self.system.scope(), self.job().id).await.ok().flatten();
        let job = job.as_ref().unwrap_or(self.job());
        if job.attempts >= job.max_attempts || job.cancel_requested {
            return false;
        }
        let due = self.crm.now().plus(retry::pause(job.attempts, self.crm.random()));
        if job.deadline_at.is_some_and(|deadline| deadline <= due) {
            return false;
        }
        self.give_back(Some(error), due, job.attempts).await;
        true
    }

    async fn give_back(&self, error: Option<JobError>, due: Timestamp, attempts: i64) {
        let assignments = vec![
            Job::state.set(JobState::Queued),
            Job::due_at.set(due),
            Job::error.set(error),
            Job::attempts.set(attempts),
            UPDATED_AT.set(self.crm.now()),
        ];
        let release = self.context.release(assignments);
        if let Err(error) = self.crm.store().commit(self.system.scope(), vec![release]).await {
            self.not_written(error, 0);
        }
    }

    /// The job is found again once its hold has passed; running it again does no harm.
    fn not_written(&self, error: StoreError, place: usize) {
        match self.context.failure(error, place) {
            JobFailure::Lost => tracing::warn!("the job is held by another run: this one ends"),
            JobFailure::Failed(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the end of a run cannot be written");
            }
        }
    }

    fn amend(&self, assignments: Vec<Assignment>) -> Change {
        Change::Update {
            collection: Job::COLLECTION,
            id: self.job().id.0,
            expected_version: None,
            condition: Some((Job::holder.equals(self.context.holder()), WhenUnmet::Abort)),
            assignments,
        }
    }
}

fn described(error: &Error) -> JobError {
    JobError { code: error.code().to_owned(), message: error.to_string() }
}
