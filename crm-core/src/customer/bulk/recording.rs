//! A change of many customers that a request waits for: noted as it is made, so that it can be undone as a job's can.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::{
    notes,
    record::{BulkChange, UNDOABLE},
    run::{BulkInput, KIND, VERSION},
};
use crate::{
    access::Principal,
    crm::Crm,
    customer::{BatchReport, chunk::Draft},
    error::{Error, Result},
    job::{Job, JobId, JobPriority, JobProgress, JobState, NewJob},
    operation::Operation,
    record::{Meta, Record as _, UPDATED_AT},
    store::{Change, Json, WhenUnmet},
};

/// How long the job is the request's. Where the process dies, a runner ends it then.
const HELD: Duration = Duration::from_mins(5);

/// Notes what a request changes. Nothing is written before something is changed.
pub(crate) struct Recording {
    crm: Crm,
    job: Job,
    progress: Mutex<Progress>,
}

#[derive(Clone, Copy, Default)]
struct Progress {
    commits: i64,
    /// Customers noted by commits that are written, and by the one that is being written.
    written: i64,
    writing: i64,
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording").field("job", &self.job.id).finish_non_exhaustive()
    }
}

impl Recording {
    /// For a request that begins.
    ///
    /// # Errors
    /// [`Error::Internal`] where the job cannot be written.
    pub(crate) fn begin(crm: &Crm, by: &Principal) -> Result<Self> {
        let operation = Operation::new(crm, by);
        let now = operation.now();
        let new = NewJob {
            kind: KIND,
            version: VERSION,
            input: BulkInput::default(),
            priority: JobPriority::Normal,
            about: None,
            progress: JobProgress { unit: "customers".to_owned(), ..JobProgress::default() },
        };
        let job = crm.jobs().prepare(by, &operation, new)?;
        let job = Job {
            state: JobState::Running,
            attempts: 1,
            holder: Some(crm.new_id::<JobId>().0),
            due_at: Some(now.plus(HELD)),
            started_at: Some(now),
            ..job
        };
        Ok(Self { crm: crm.clone(), job, progress: Mutex::default() })
    }

    fn progress(&self) -> std::sync::MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds to a commit what the customers were that it changes, with the first also the job; answers whether there is
    /// anything to note.
    ///
    /// # Errors
    /// [`Error::Internal`] where a note cannot be written.
    pub(in crate::customer) fn note(&self, operation: &mut Operation<'_>, drafts: &[Draft]) -> Result<bool> {
        let mut progress = self.progress();
        let meta = Meta::new(operation.organization(), operation.now());
        let change = BulkChange::new(self.job.id, true, meta);
        let noted = notes::note_down(&self.crm, operation, change.id, progress.commits, drafts)?;
        if noted == 0 {
            return Ok(false);
        }
        progress.writing = i64::try_from(noted).unwrap_or(i64::MAX);
        let (matched, commits) = (progress.written.saturating_add(progress.writing), progress.commits + 1);
        if progress.commits == 0 {
            operation.insert(&self.job);
            operation.insert(&BulkChange { matched, updated: matched, commits, ..change });
        } else {
            operation.change(Change::Update {
                collection: BulkChange::COLLECTION,
                id: change.id.0,
                expected_version: None,
                condition: None,
                assignments: vec![
                    BulkChange::matched.set(matched),
                    BulkChange::updated.set(matched),
                    BulkChange::commits.set(commits),
                    UPDATED_AT.set(operation.now()),
                ],
            });
        }
        Ok(true)
    }

    /// The commit is written.
    pub(crate) fn noted(&self) {
        let mut progress = self.progress();
        progress.commits += 1;
        progress.written = progress.written.saturating_add(progress.writing);
    }

    /// Ends the job with the request; answers its id, where anything was changed. If it cannot be written now, a runner
    /// ends the job later.
    pub(crate) async fn end(&self, by: &Principal, report: &BatchReport) -> Option<JobId> {
        if self.progress().commits == 0 {
            return None;
        }
        let id = self.job.id;
        if let Err(error) = self.try_end(by, &BatchReport { job_id: Some(id), ..report.clone() }).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the job of a change is not ended yet");
        }
        Some(id)
    }

    async fn try_end(&self, by: &Principal, report: &BatchReport) -> Result<()> {
        let now = self.crm.now();
        let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let progress = JobProgress { done: report.matched, total: Some(report.matched), ..self.job.progress.clone() };
        let mine = Job::holder.equals(self.job.holder.unwrap_or_default());
        let ended = Change::Update {
            collection: Job::COLLECTION,
            id: self.job.id.0,
            expected_version: None,
            condition: Some((mine, WhenUnmet::Abort)),
            assignments: vec![
                Job::state.set(JobState::Succeeded),
                Job::due_at.set(None),
                Job::holder.set(None),
                Job::finished_at.set(now),
                Job::progress.set(progress),
                Job::result.set(Json::from_trusted(serde_json::to_string(report).map_err(Error::internal)?)),
                UPDATED_AT.set(now),
            ],
        };
        let change = Change::Update {
            collection: BulkChange::COLLECTION,
            id: self.job.id.0,
            expected_version: None,
            condition: None,
            assignments: vec![
                BulkChange::matched.set(count(report.matched)),
                BulkChange::unchanged.set(count(report.unchanged)),
                BulkChange::failed.set(count(report.failed)),
                BulkChange::undoable_until.set(now.plus(UNDOABLE)),
                UPDATED_AT.set(now),
            ],
        };
        // Not by an operation: the request's effect is written already.
        self.crm.store().commit(by.scope(), vec![ended, change]).await?;
        Ok(())
    }
}
