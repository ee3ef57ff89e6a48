//! Whether what the server stands on answers.

use std::{
    fmt::Display,
    future::Future,
    time::{Duration, Instant},
};

use crm_core::{Crm, time::Timestamp};
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
}

impl Health {
    pub(crate) fn new(interval: Duration, timeout: Duration, started: Timestamp) -> Self {
        Self { interval, timeout, started, store: Mutex::default(), cache: Mutex::default(), queue: Mutex::default() }
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
