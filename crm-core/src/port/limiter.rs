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
}
