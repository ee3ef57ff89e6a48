use std::{fmt, time::Duration};

use crm_core::{
    async_trait,
    error::{Error, Result},
    limit::{Bucket, Standing, Verdict},
    port::RequestLimiter,
};
use redis::Script;

use super::connection::{Failure, Link, RedisOptions};

/// The generic cell rate algorithm over all buckets in one step, as [`crm_core::limit`] does it in a process: a bucket
/// is the instant, in microseconds, at which it is whole again.
///
/// ARGV: the instant now, or nothing for Redis's own time; then emission and burst of each bucket. Answers the wait, or
/// −1, then what remains and the reset of each.
const TAKE: &str = include_str!("limiter/take.lua");

/// Counts the requests of all processes, by Redis's clock.
///
/// In a cluster the buckets of all policies lie on one node, since one step takes from several.
pub struct RedisLimiter {
    link: Link,
    take: Script,
}

impl fmt::Debug for RedisLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLimiter").field("prefix", &self.link.prefix()).finish_non_exhaustive()
    }
}

impl RedisLimiter {
    /// Does not wait for Redis, which may come later. Needs to be called in a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Internal`] where the options are not valid.
    pub fn open(options: &RedisOptions) -> Result<Self> {
        Ok(Self { link: Link::open(options).map_err(told)?, take: Script::new(TAKE) })
    }

    fn key(&self, bucket: &Bucket<'_>) -> String {
        format!("{{{}:limits}}:{}:{}", self.link.prefix(), bucket.policy.name, bucket.key)
    }

    /// Takes at this instant, in microseconds; by Redis's time where there is none.
    async fn take_at(&self, now: Option<i64>, buckets: &[Bucket<'_>]) -> Result<Verdict> {
        if buckets.is_empty() {
            return Ok(Verdict { retry_after: None, standings: Vec::new() });
        }
        let mut invocation = self.take.prepare_invoke();
        invocation.arg(now.map(|now| now.to_string()).unwrap_or_default());
        for Bucket { policy, key } in buckets {
            invocation.key(self.key(&Bucket { policy, key }));
            invocation.arg(policy.emission()).arg(policy.burst());
        }
        let answer: Vec<i64> = self.link.run(&invocation).await.map_err(told)?;
        let (wait, standings) = answer.split_first().ok_or_else(|| Error::internal("Redis answered nothing"))?;
        let duration = |microseconds: i64| Duration::from_micros(u64::try_from(microseconds).unwrap_or(0));
        Ok(Verdict {
            retry_after: (*wait >= 0).then(|| duration(*wait)),
            standings: standings
                .chunks_exact(2)
                .map(|pair| Standing {
                    remaining: u32::try_from(pair[0]).unwrap_or(u32::MAX),
                    reset: duration(pair[1]),
                })
                .collect(),
        })
    }
}

#[async_trait]
impl RequestLimiter for RedisLimiter {
    async fn take(&self, buckets: &[Bucket<'_>]) -> Result<Verdict> {
        self.take_at(None, buckets).await
    }

    async fn forget(&self, bucket: &Bucket<'_>) -> Result<()> {
        self.link.query(redis::cmd("DEL").arg(self.key(bucket))).await.map_err(told)
    }

    async fn health(&self) -> Result<()> {
        self.link.query(&redis::cmd("PING")).await.map_err(told)
    }

    fn engine(&self) -> &'static str {
        "redis"
    }
}

fn told(failure: Failure) -> Error {
    match failure {
        Failure::Away(message) => {
            Error::Unavailable { message: message.to_owned(), retry_after: Duration::from_secs(1) }
        }
        Failure::Unusable(message) => Error::internal(message),
        Failure::Fault(error) => Error::internal(error),
    }
}

#[cfg(test)]
mod tests;
