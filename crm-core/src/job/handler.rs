use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{Job, JobContext, JobError};
use crate::{error::Error, operation::Operation};

/// A run is taken for hung after so long where its handler says nothing else.
const PATIENCE: Duration = Duration::from_secs(600);

/// Does the jobs of one kind.
///
/// A run may end anywhere, because the process died; the next one is given the same input. What a handler writes goes
/// through [`JobContext::checkpoint`], in steps that leave a trace of how far it is, so that nothing is done twice.
#[async_trait]
pub trait JobHandler: Send + Sync + 'static {
    /// Which jobs.
    fn kind(&self) -> &'static str;

    /// The newest version of the input that the handler understands. It understands every earlier one too.
    fn version(&self) -> i64 {
        1
    }

    /// How often a job is begun without getting any further before it fails.
    fn max_attempts(&self) -> i64 {
        5
    }

    /// How long after it was begun a job is still worth doing: then it fails, attempts left or not. For ever, without.
    fn deadline(&self) -> Option<Duration> {
        None
    }

    /// How long a run may go without a checkpoint and without showing progress. Then it is taken for hung: it is ended,
    /// and the attempt has failed.
    fn patience(&self) -> Duration {
        PATIENCE
    }

    /// Whether somebody may give up on such a job: cancel it, or drop it where it failed.
    fn may_be_given_up(&self) -> bool {
        true
    }

    /// Does the job, or what is left of it. Between steps it asks [`JobContext::interruption`], and ends with
    /// [`JobOutcome::Interrupted`] where there is one.
    ///
    /// # Errors
    /// [`JobFailure`]; whether the job is tried again depends on the error.
    async fn run(&self, context: &JobContext) -> Result<JobOutcome, JobFailure>;

    /// Adds to the commit that ends the job whatever else ends with it. `job` is as it is afterwards.
    fn ended(&self, job: &Job, operation: &mut Operation<'_>) {
        let _ = (job, operation);
    }

    /// Whether a job that failed so is worth keeping to be replayed. Otherwise it has ended, with its reason.
    fn may_be_replayed(&self, error: &JobError) -> bool {
        let _ = error;
        true
    }

    /// Adds to the commit that puts a failed job back into the queue whatever goes back with it. A condition that is not
    /// met refuses the replay.
    fn replayed(&self, job: &Job, operation: &mut Operation<'_>) {
        let _ = (job, operation);
    }

    /// Adds to the commit that drops a failed job for good whatever was only kept for its replay.
    fn dropped(&self, job: &Job, operation: &mut Operation<'_>) {
        let _ = (job, operation);
    }
}

/// How a run ended that did not fail.
#[derive(Clone, Debug, PartialEq)]
pub enum JobOutcome {
    /// The job is done; this came of it.
    Done(serde_json::Value),
    /// The run was asked to stop, and did, with nothing half done.
    Interrupted,
}

/// How a run failed.
#[derive(Debug, thiserror::Error)]
pub enum JobFailure {
    /// The job is another run's now. Nothing was written, and nothing is to be.
    #[error("the job is held by another run")]
    Lost,
    /// This went wrong. What may pass by itself is tried again.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// The handlers that there are, by kind.
#[derive(Clone, Default)]
pub(crate) struct JobHandlers(HashMap<&'static str, Arc<dyn JobHandler>>);

impl JobHandlers {
    /// Adds a handler, or puts it in the place of the one for the same kind.
    pub(crate) fn add(&mut self, handler: Arc<dyn JobHandler>) {
        self.0.insert(handler.kind(), handler);
    }

    /// With one more handler.
    pub(crate) fn with(mut self, handler: impl JobHandler) -> Self {
        self.add(Arc::new(handler));
        self
    }

    /// The handler of a kind.
    pub(crate) fn of(&self, kind: &str) -> Option<&Arc<dyn JobHandler>> {
        self.0.get(kind)
    }

    /// Refuses to give up on a job of a kind that has to be done.
    ///
    /// # Errors
    /// [`Error::InvalidState`].
    pub(super) fn may_be_given_up(&self, kind: &str) -> Result<(), Error> {
        if self.of(kind).is_none_or(|handler| handler.may_be_given_up()) {
            return Ok(());
        }
        Err(Error::InvalidState(format!(
            "A job of kind {kind} finishes what a change has begun: it can be neither cancelled nor dropped."
        )))
    }
}

impl fmt::Debug for JobHandlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
