//! The jobs that run in this process, so that cancelling one here stops it at once.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use super::JobId;

/// Which jobs run here, and which of them are to stop.
#[derive(Debug, Default)]
pub(crate) struct RunningJobs(Mutex<HashMap<JobId, Arc<AtomicBool>>>);

impl RunningJobs {
    /// Notes that a job runs here; answers what tells that it is to stop.
    pub(super) fn begin(&self, id: JobId) -> Arc<AtomicBool> {
        let cancelled = Arc::new(AtomicBool::new(false));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::clone(&cancelled));
        cancelled
    }

    /// Notes that a run has ended.
    pub(super) fn end(&self, id: JobId, cancelled: &Arc<AtomicBool>) {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if running.get(&id).is_some_and(|held| Arc::ptr_eq(held, cancelled)) {
            running.remove(&id);
        }
    }

    /// Tells a job to stop, where it runs here.
    pub(super) fn cancel(&self, id: JobId) {
        if let Some(cancelled) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&id) {
            cancelled.store(true, Ordering::Relaxed);
        }
    }
}
