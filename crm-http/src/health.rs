//! Whether what the server stands on answers.

use std::{
    fmt::Display,
    future::Future,
    time::{Duration, Instant},
};

use crm_core::{Crm, backlog::Backlog, time::Timestamp};
use serde::Serialize;
use tokio::sync::Mutex;
use utoipa::ToSchema;

/// After a failure a part is looked at again this soon, however long the interval is.
const RECHECK: Duration = Duration::from_secs(2);

/// Whether a part answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    /// It answers.
    Up,
    /// It does not.
    Down,
}

/// One part of what the server stands on.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Part {
    /// Whether it answers.
    pub(crate) status: Status,
    /// What it is, such as `sqlite`.
    pub(crate) kind: String,
    /// How long it took to answer, in milliseconds.
    pub(crate) latency_ms: f64,
    /// When it was looked at.
    pub(crate) checked_at: Timestamp,
}

/// The part as last seen; nothing before the first look.
type LastSeen = Mutex<Option<Part>>;

/// Looks at each part, at most once in an interval.
#[derive(Debug)]
pub(crate) struct Health {
    interval: Duration,
    timeout: Duration,
    started: Timestamp,
    store: LastSeen,
    cache: LastSeen,
    queue: LastSeen,
    /// What was counted, if it could be, and when.
    backlog: Mutex<Option<(Timestamp, Option<Backlog>)>>,
}

impl Health {
    pub(crate) fn new(interval: Duration, timeout: Duration, started: Timestamp) -> Self {
        let [store, cache, queue] = [(); 3].map(|()| Mutex::default());
        Self { interval, timeout, started, store, cache, queue, backlog: Mutex::default() }
    }

    /// When the process started.
    pub(crate) const fn started(&self) -> Timestamp {
        self.started
    }

    /// The store, as last seen or seen now.
    pub(crate) async fn store(&self, crm: &Crm) -> Part {
        let store = crm.store();
        self.part(&self.store, crm.now(), "store", store.engine(), store.health()).await
    }

    /// What the processes share their limits through, if they do.
    pub(crate) async fn cache(&self, crm: &Crm) -> Option<Part> {
        let limiter = crm.limits().shared()?;
        Some(self.part(&self.cache, crm.now(), "cache", limiter.engine(), limiter.health()).await)
    }

    /// What events go through, if not the store alone.
    pub(crate) async fn queue(&self, crm: &Crm) -> Option<Part> {
        let queue = crm.queue()?;
        Some(self.part(&self.queue, crm.now(), "queue", queue.engine(), queue.health()).await)
    }

    /// What waits and what was given up, counted at most once in an interval; nothing where the store does not tell.
    pub(crate) async fn backlog(&self, crm: &Crm) -> Option<Backlog> {
        let mut last = self.backlog.lock().await;
        let now = crm.now();
        if let Some((counted_at, backlog)) = last.as_ref()
            && now.since(*counted_at) < self.interval
        {
            return backlog.clone();
        }
        let counted = match tokio::time::timeout(self.timeout, crm.backlog()).await {
            Ok(Ok(backlog)) => Some(backlog),
            Ok(Err(error)) => {
                tracing::warn!(%error, "The backlog cannot be counted.");
                None
            }
            Err(_elapsed) => {
                tracing::warn!("The backlog was not counted within {} ms.", self.timeout.as_millis());
                None
            }
        };
        last.insert((now, counted)).1.clone()
    }

    async fn part<E: Display>(
        &self,
        last: &LastSeen,
        now: Timestamp,
        name: &str,
        kind: &str,
        look: impl Future<Output = Result<(), E>>,
    ) -> Part {
        // Held over the look, so that a crowd of questions is one look.
        let mut last = last.lock().await;
        if let Some(part) = last.as_ref() {
            let keeps = if part.status == Status::Up { self.interval } else { self.interval.min(RECHECK) };
            if now.since(part.checked_at) < keeps {
                return part.clone();
            }
        }
        let began = Instant::now();
        let status = match tokio::time::timeout(self.timeout, look).await {
            Ok(Ok(())) => Status::Up,
            Ok(Err(error)) => {
                tracing::error!(%error, "The {name} is not well.");
                Status::Down
            }
            Err(_elapsed) => {
                tracing::error!("The {name} did not answer within {} ms.", self.timeout.as_millis());
                Status::Down
            }
        };
        let latency_ms = (began.elapsed().as_secs_f64() * 1_000_000.0).round() / 1000.0;
        let part = Part { status, kind: kind.to_owned(), latency_ms, checked_at: now };
        last.insert(part).clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    };

    use crm_core::{
        access::Principal,
        crm::collections,
        id::OrganizationId,
        job::{JobPriority, JobProgress, NewJob},
        operation::Operation,
        port::{Clock as _, ManualClock},
        store::memory::MemoryStore,
    };

    use super::*;

    /// What has changed is told once the interval is over, be it short or long, and not before.
    #[tokio::test]
    async fn a_part_is_looked_at_once_in_an_interval() {
        for (interval, after_failure) in [(1, 1), (7, 2), (90, 2)] {
            let clock = ManualClock::new("2026-01-31T09:30:00Z".parse().expect("an instant"));
            let [interval, after_failure] = [interval, after_failure].map(Duration::from_secs);
            let health = Health::new(interval, Duration::from_secs(60), clock.now());
            let is_well = AtomicBool::new(true);
            let status = async || {
                let look = async { if is_well.load(Relaxed) { Ok(()) } else { Err("it is away") } };
                health.part(&health.store, clock.now(), "store", "double", look).await.status
            };
            let moment = Duration::from_millis(1);
            assert_eq!(status().await, Status::Up);
            is_well.store(false, Relaxed);
            clock.advance(interval - moment);
            assert_eq!(status().await, Status::Up, "{interval:?}: it is not looked at again yet");
            clock.advance(moment);
            assert_eq!(status().await, Status::Down, "{interval:?}");
            is_well.store(true, Relaxed);
            clock.advance(after_failure - moment);
            assert_eq!(status().await, Status::Down, "{interval:?}: it is not looked at again yet");
            clock.advance(moment);
            assert_eq!(status().await, Status::Up, "{interval:?}: looked at sooner after a failure");
        }
    }

    #[tokio::test]
    async fn the_backlog_is_counted_once_in_an_interval() {
        let now: Timestamp = "2026-01-31T09:30:00Z".parse().expect("an instant");
        let clock = Arc::new(ManualClock::new(now));
        let crm = Crm::builder(Arc::new(MemoryStore::new())).clock(Arc::clone(&clock)).build();
        crm.store().migrate(collections(), &|_, _, _| {}).await.expect("migrated");
        let health = Health::new(Duration::from_secs(30), Duration::from_secs(60), crm.now());
        assert_eq!(health.backlog(&crm).await, Some(Backlog::default()));
        let by = Principal::system(OrganizationId::INSTALLATION);
        let mut operation = Operation::new(&crm, &by);
        let progress = JobProgress::default();
        let new = NewJob { kind: "report", version: 1, input: (), priority: JobPriority::Low, about: None, progress };
        crm.jobs().enqueue(&by, &mut operation, new).expect("a job");
        operation.commit().await.expect("committed");
        clock.advance(Duration::from_secs(29));
        assert_eq!(health.backlog(&crm).await, Some(Backlog::default()), "it is not counted again yet");
        clock.advance(Duration::from_secs(1));
        let waiting = health.backlog(&crm).await.expect("counted").waiting_jobs;
        assert_eq!(waiting.get("report"), Some(&1));
    }
}
