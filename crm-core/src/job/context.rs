use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde::de::DeserializeOwned;
use tokio::{sync::watch, time::Instant};
use uuid::Uuid;

use super::{Job, JobFailure, JobProgress, JobState};
use crate::{
    access::Principal,
    crm::Crm,
    error::Error,
    operation::Operation,
    record::{Record as _, UPDATED_AT},
    store::{Assignment, Change, Outcome, StoreError, WhenUnmet},
    time::Timestamp,
};

/// How long a run that is not heard from keeps others from the job.
pub(super) const HOLD: Duration = Duration::from_secs(10);

/// Why a run should stop.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Interruption {
    /// Somebody cancelled the job.
    Cancelled,
    /// The process ends; another goes on with the job.
    Stopping,
}

/// What a handler is given: the job, on whose behalf it runs, and the way to write.
#[derive(Debug)]
pub struct JobContext {
    crm: Crm,
    job: Job,
    by: Principal,
    holder: Uuid,
    begun: Timestamp,
    progress: Mutex<Shown>,
    cancelled: Arc<AtomicBool>,
    stopped: watch::Receiver<bool>,
    /// When the handler last got further.
    heard: Mutex<Instant>,
}

#[derive(Debug)]
struct Shown {
    progress: JobProgress,
    /// What was done when the run began, which says nothing of its rate.
    before: Option<u64>,
}

impl JobContext {
    pub(super) fn new(crm: &Crm, job: Job, by: Principal, holder: Uuid, stopped: watch::Receiver<bool>) -> Self {
        let cancelled = crm.running_jobs().begin(job.id);
        let progress = Mutex::new(Shown { progress: job.progress.clone(), before: None });
        let heard = Mutex::new(Instant::now());
        Self { crm: crm.clone(), job, by, holder, begun: crm.now(), progress, cancelled, stopped, heard }
    }

    /// The CRM.
    #[must_use]
    pub const fn crm(&self) -> &Crm {
        &self.crm
    }

    /// The job as it was when the run began.
    #[must_use]
    pub const fn job(&self) -> &Job {
        &self.job
    }

    /// On whose behalf it runs, with the permissions and the sight that they have now.
    #[must_use]
    pub const fn by(&self) -> &Principal {
        &self.by
    }

    /// The input.
    ///
    /// # Errors
    /// [`JobFailure::Failed`] where it is not of the type: the job was written by another program.
    pub fn input<T: DeserializeOwned>(&self) -> Result<T, JobFailure> {
        serde_json::from_str(self.job.input.as_str()).map_err(|error| {
            JobFailure::Failed(Error::InvalidState(format!("The job's input cannot be read by this version: {error}.")))
        })
    }

    /// Why the run should stop, if it should. A job that was cancelled in another process is known here within seconds.
    #[must_use]
    pub fn interruption(&self) -> Option<Interruption> {
        if self.cancelled.load(Ordering::Relaxed) {
            Some(Interruption::Cancelled)
        } else if *self.stopped.borrow() {
            Some(Interruption::Stopping)
        } else {
            None
        }
    }

    /// Notes how much is done; it is written with the next checkpoint, or within seconds.
    pub fn show(&self, done: u64, total: Option<u64>, unit: &str, message: Option<&str>) {
        self.hear();
        let mut shown = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let before = *shown.before.get_or_insert(done);
        let elapsed = self.crm.now().since(self.begun).as_secs_f64();
        shown.progress = measured(done, total, before, elapsed);
        unit.clone_into(&mut shown.progress.unit);
        shown.progress.message = message.map(str::to_owned);
    }

    /// How much is done, as it was last shown.
    #[must_use]
    pub fn progress(&self) -> JobProgress {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).progress.clone()
    }

    /// Commits an operation with the job's progress, if this run still holds the job; else nothing is written.
    ///
    /// # Errors
    /// [`JobFailure::Lost`] where another run holds the job by now; otherwise those of the commit.
    pub async fn checkpoint(&self, operation: Operation<'_>) -> Result<Vec<Outcome>, JobFailure> {
        // Got further: whatever ended earlier runs is no reason to give up.
        self.commit(operation, vec![Job::attempts.set(1_i64)]).await
    }

    /// The same for what is no progress: the ends of earlier runs go on counting.
    ///
    /// # Errors
    /// As [`Self::checkpoint`].
    pub async fn note(&self, operation: Operation<'_>) -> Result<Vec<Outcome>, JobFailure> {
        self.commit(operation, Vec::new()).await
    }

    async fn commit(&self, mut operation: Operation<'_>, further: Vec<Assignment>) -> Result<Vec<Outcome>, JobFailure> {
        // Of a long commit, the job comes first: else each of its attempts may find that the heartbeat changed it.
        operation.change_first(self.held(further));
        match operation.try_commit().await {
            Ok(outcomes) => {
                self.hear();
                Ok(outcomes.into_iter().skip(1).collect())
            }
            Err(error) => Err(self.failure(error, 0)),
        }
    }

    fn hear(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// How long the handler has not got further.
    pub(super) fn silence(&self) -> Duration {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// Notes that the run is alive, with its progress.
    pub(super) async fn beat(&self) -> Result<(), JobFailure> {
        let change = self.held(Vec::new());
        match self.crm.store().commit(self.by.scope(), vec![change]).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.failure(error, 0)),
        }
    }

    /// Changes the job as the end of a run wants it.
    pub(super) fn release(&self, assignments: Vec<Assignment>) -> Change {
        let progress = Job::progress.set(self.progress());
        self.change(assignments.into_iter().chain([progress, Job::holder.set(None)]).collect())
    }

    /// The change that holds the job for another while, and fails the commit where the job is not this run's any more.
    fn held(&self, further: Vec<Assignment>) -> Change {
        let now = self.crm.now();
        let held = [
            Job::heartbeat_at.set(now),
            Job::due_at.set(now.plus(HOLD)),
            Job::progress.set(self.progress()),
            UPDATED_AT.set(now),
        ];
        self.change(further.into_iter().chain(held).collect())
    }

    fn change(&self, assignments: Vec<Assignment>) -> Change {
        let mine = Job::holder.equals(self.holder).and(Job::state.equals(JobState::Running));
        Change::Update {
            collection: Job::COLLECTION,
            id: self.job.id.0,
            expected_version: None,
            condition: Some((mine, WhenUnmet::Abort)),
            assignments,
        }
    }

    /// What a failed commit means, where the change that holds the job was at `place`.
    pub(super) fn failure(&self, error: StoreError, place: usize) -> JobFailure {
        match error {
            StoreError::Unmet { change } if change == place => JobFailure::Lost,
            StoreError::NotFound { collection, id } if collection == Job::COLLECTION.name && id == self.job.id.0 => {
                JobFailure::Lost
            }
            other => JobFailure::Failed(other.into()),
        }
    }

    pub(super) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    pub(super) const fn holder(&self) -> Uuid {
        self.holder
    }
}

impl Drop for JobContext {
    fn drop(&mut self) {
        self.crm.running_jobs().end(self.job.id, &self.cancelled);
    }
}

/// Progress with its rate: `before` was done when the clock began to run.
fn measured(done: u64, total: Option<u64>, before: u64, seconds: f64) -> JobProgress {
    let since = done.saturating_sub(before);
    let per_second = (since > 0 && seconds > 0.0).then(|| {
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = since as f64 / seconds;
        (rate * 10.0).round() / 10.0
    });
    let seconds_left = match (total, per_second) {
        (Some(total), Some(rate)) if rate > 0.0 => {
            #[expect(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "an estimate for people; a float cast saturates"
            )]
            let left = (total.saturating_sub(done) as f64 / rate).ceil() as u64;
            Some(left)
        }
        _ => None,
    };
    JobProgress { done, total, per_second, seconds_left, ..JobProgress::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_count_from_the_beginning_of_the_run() {
        let progress = measured(3000, Some(10_000), 1000, 4.0);
        assert_eq!((progress.per_second, progress.seconds_left), (Some(500.0), Some(14)));
        assert_eq!(measured(1000, Some(10_000), 1000, 4.0).per_second, None, "nothing is known yet");
        assert_eq!(measured(10, None, 0, 0.0).seconds_left, None);
        assert_eq!(measured(20, Some(10), 0, 1.0).seconds_left, Some(0));
    }
}
