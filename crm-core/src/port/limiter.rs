use async_trait::async_trait;

use crate::{
    error::Result,
    limit::{Bucket, Limiter, Verdict},
    port::Clock,
};

/// Counts requests, for one process or for all of them: see [`crate::limit`] for what a verdict means.
#[async_trait]
pub trait RequestLimiter: Send + Sync + 'static {
    /// Lets a request through if every bucket does, and then charges each; else charges none. One atomic step, whoever
    /// else asks.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`] where nobody can tell: the caller decides whether to let through or not.
    async fn take(&self, buckets: &[Bucket<'_>]) -> Result<Verdict>;

    /// Makes a bucket whole again.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    async fn forget(&self, bucket: &Bucket<'_>) -> Result<()>;

    /// Answers where the limiter does.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    async fn health(&self) -> Result<()>;

    /// The kind of limiter for people and metrics, such as `redis`.
    fn engine(&self) -> &'static str;
}

/// Counts the requests of this process alone, by its clock.
#[derive(Debug, Default)]
pub struct InProcessLimiter<C> {
    limiter: Limiter,
    clock: C,
}

impl<C: Clock> InProcessLimiter<C> {
    /// By this clock.
    pub const fn new(limiter: Limiter, clock: C) -> Self {
        Self { limiter, clock }
    }
}

#[async_trait]
impl<C: Clock> RequestLimiter for InProcessLimiter<C> {
    async fn take(&self, buckets: &[Bucket<'_>]) -> Result<Verdict> {
        Ok(self.limiter.check(self.clock.now(), buckets))
    }

    async fn forget(&self, bucket: &Bucket<'_>) -> Result<()> {
        self.limiter.forget(bucket);
        Ok(())
    }

    async fn health(&self) -> Result<()> {
        Ok(())
    }

    fn engine(&self) -> &'static str {
        "in-process"
    }
}
