use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{Bucket, Limiter, Verdict};
use crate::{
    error::{Error, Result},
    port::RequestLimiter,
    time::Timestamp,
};

/// For so long nobody is asked who did not answer.
const REST: Duration = Duration::from_secs(1);
/// For so long others wait for the one who asks whether the limits can be shared again.
const PROBE: Duration = Duration::from_secs(5);
/// Busy keys of attempts: apart from those of requests, which anybody can flood.
const ATTEMPTS: usize = 100_000;

/// The limits of a CRM: of this process alone, or shared by all processes through a [`RequestLimiter`].
///
/// While what is shared does not answer, requests are counted in this process, and attempts to sign in are refused: a
/// limit that guards passwords is not loosened by an outage. Both end by themselves, a second after it is back.
#[derive(Debug)]
pub struct Limits {
    shared: Option<Shared>,
    requests: Limiter,
    attempts: Limiter,
}

impl Limits {
    /// Shared through this one; without it, of this process.
    pub(crate) fn new(shared: Option<Arc<dyn RequestLimiter>>) -> Self {
        Self {
            shared: shared.map(|limiter| Shared { limiter, resting: Mutex::default() }),
            requests: Limiter::default(),
            attempts: Limiter::with_capacity(ATTEMPTS),
        }
    }

    /// What the processes share, if they do.
    #[must_use]
    pub fn shared(&self) -> Option<&dyn RequestLimiter> {
        self.shared.as_ref().map(|shared| &*shared.limiter)
    }

    /// Lets a request through if every bucket does, and then charges each; else charges none.
    pub async fn request(&self, now: Timestamp, buckets: &[Bucket<'_>]) -> Verdict {
        if let Some(shared) = &self.shared
            && let Ok(verdict) = shared.take(buckets).await
        {
            return verdict;
        }
        self.requests.check(now, buckets)
    }

    /// The same for an attempt to prove who somebody is.
    ///
    /// # Errors
    /// [`Error::RateLimited`] where there were too many, [`Error::Unavailable`] where nobody can tell.
    pub(crate) async fn attempt(&self, now: Timestamp, buckets: &[Bucket<'_>]) -> Result<()> {
        if buckets.is_empty() {
            return Ok(());
        }
        let verdict = match &self.shared {
            Some(shared) => shared.take(buckets).await.map_err(|Away| Error::Unavailable {
                message: "Attempts to sign in cannot be counted for now.".to_owned(),
                retry_after: REST,
            })?,
            None => self.attempts.check(now, buckets),
        };
        verdict.retry_after.map_or(Ok(()), |retry_after| Err(Error::RateLimited { retry_after }))
    }

    /// Forgets the attempts that a bucket has counted, as far as that can be done now.
    pub(crate) async fn forgive(&self, bucket: &Bucket<'_>) {
        match &self.shared {
            Some(shared) => shared.forget(bucket).await,
            None => self.attempts.forget(bucket),
        }
    }
}

/// It does not answer.
#[derive(Clone, Copy, Debug)]
struct Away;

struct Shared {
    limiter: Arc<dyn RequestLimiter>,
    /// Until when nobody asks, after an answer that did not come.
    resting: Mutex<Option<Instant>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("engine", &self.limiter.engine()).finish_non_exhaustive()
    }
}

impl Shared {
    async fn take(&self, buckets: &[Bucket<'_>]) -> Result<Verdict, Away> {
        self.enter()?;
        let taken = self.limiter.take(buckets).await;
        self.leave(taken)
    }

    async fn forget(&self, bucket: &Bucket<'_>) {
        if self.enter().is_ok() {
            let forgotten = self.limiter.forget(bucket).await;
            // They end by themselves, only later.
            let _ = self.leave(forgotten);
        }
    }

    /// Refuses while it rests, so that requests do not wait for who does not answer; after that one of them tries.
    fn enter(&self) -> Result<(), Away> {
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(end) = *resting else { return Ok(()) };
        let now = Instant::now();
        if now < end {
            return Err(Away);
        }
        *resting = Some(now + PROBE);
        Ok(())
    }

    fn leave<T>(&self, answer: Result<T>) -> Result<T, Away> {
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        let engine = self.limiter.engine();
        match answer {
            Ok(answer) => {
                if resting.take().is_some() {
                    tracing::info!(engine, "limits are shared again");
                }
                Ok(answer)
            }
            Err(error) => {
                if resting.replace(Instant::now() + REST).is_none() {
                    tracing::warn!(
                        engine,
                        error = &error as &dyn std::error::Error,
                        "limits cannot be shared for now: requests are counted in this process, nobody can sign in"
                    );
                }
                Err(Away)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use async_trait::async_trait;

    use super::*;
    use crate::limit::Policy;

    /// Lets everything through, except while it is away.
    #[derive(Default)]
    struct Double {
        away: AtomicBool,
        asked: AtomicUsize,
    }

    impl Double {
        fn answer<T>(&self, answer: T) -> Result<T> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            if self.away.load(Ordering::SeqCst) {
                return Err(Error::Unavailable { message: "away".to_owned(), retry_after: REST });
            }
            Ok(answer)
        }
    }

    struct Shown(Arc<Double>);

    #[async_trait]
    impl RequestLimiter for Shown {
        async fn take(&self, _: &[Bucket<'_>]) -> Result<Verdict> {
            self.0.answer(Verdict { retry_after: None, standings: Vec::new() })
        }

        async fn forget(&self, _: &Bucket<'_>) -> Result<()> {
            self.0.answer(())
        }

        async fn health(&self) -> Result<()> {
            self.0.answer(())
        }

        fn engine(&self) -> &'static str {
            "double"
        }
    }

    const POLICY: Policy = Policy::new("test", 2, Duration::from_secs(60));
    const BUCKETS: [Bucket<'_>; 1] = [Bucket { policy: &POLICY, key: "client" }];

    fn now() -> Timestamp {
        Timestamp::from_milliseconds(1_780_000_000_000).expect("an instant")
    }

    #[tokio::test(start_paused = true)]
    async fn requests_are_counted_here_and_attempts_refused_while_it_is_away() {
        let double = Arc::new(Double::default());
        let limits = Limits::new(Some(Arc::new(Shown(Arc::clone(&double)))));
        for _ in 0..5 {
            assert!(limits.request(now(), &BUCKETS).await.is_allowed());
            limits.attempt(now(), &BUCKETS).await.expect("let through");
        }
        assert_eq!(double.asked.swap(0, Ordering::SeqCst), 10);

        double.away.store(true, Ordering::SeqCst);
        let counted = [limits.request(now(), &BUCKETS).await, limits.request(now(), &BUCKETS).await];
        assert!(counted.iter().all(Verdict::is_allowed) && !limits.request(now(), &BUCKETS).await.is_allowed());
        assert!(matches!(limits.attempt(now(), &BUCKETS).await, Err(Error::Unavailable { .. })));
        limits.forgive(&BUCKETS[0]).await;
        assert_eq!(double.asked.swap(0, Ordering::SeqCst), 1, "nobody waits for who does not answer");

        double.away.store(false, Ordering::SeqCst);
        assert!(!limits.request(now(), &BUCKETS).await.is_allowed(), "it is left alone for a while");
        tokio::time::advance(REST).await;
        assert!(limits.request(now(), &BUCKETS).await.is_allowed());
        limits.attempt(now(), &BUCKETS).await.expect("let through");
        assert_eq!(double.asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_left_while_it_asks_keeps_nobody_away_for_long() {
        let double = Arc::new(Double { away: AtomicBool::new(true), ..Double::default() });
        let limits = Limits::new(Some(Arc::new(Shown(Arc::clone(&double)))));
        limits.request(now(), &BUCKETS).await;
        tokio::time::advance(REST).await;
        let shared = limits.shared.as_ref().expect("shared");
        assert!(shared.enter().is_ok() && shared.enter().is_err(), "one asks");
        tokio::time::advance(PROBE).await;
        assert!(shared.enter().is_ok());
    }

    #[tokio::test]
    async fn a_process_alone_counts_for_itself() {
        let limits = Limits::new(None);
        assert!(limits.shared().is_none());
        for _ in 0..2 {
            assert!(limits.request(now(), &BUCKETS).await.is_allowed());
            limits.attempt(now(), &BUCKETS).await.expect("counted apart from requests");
        }
        assert!(!limits.request(now(), &BUCKETS).await.is_allowed());
        assert!(matches!(limits.attempt(now(), &BUCKETS).await, Err(Error::RateLimited { .. })));
        limits.forgive(&BUCKETS[0]).await;
        limits.attempt(now(), &BUCKETS).await.expect("whole again");
    }
}
