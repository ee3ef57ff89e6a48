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
const TAKE: &str = r"
local now = tonumber(ARGV[1])
local timed = now == nil
if timed then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function write(key, whole_at)
  local text = string.format('%.0f', whole_at)
  if timed then
    redis.call('SET', key, text, 'PX', math.max(1, math.ceil((whole_at - now) / 1000)))
  else
    redis.call('SET', key, text)
  end
end

local wait, buckets = -1, {}
for place, key in ipairs(KEYS) do
  local emission, burst = tonumber(ARGV[2 * place]), tonumber(ARGV[2 * place + 1])
  local stored = tonumber(redis.call('GET', key) or now)
  -- A clock that went back must not lock anybody out until it has caught up.
  local whole_at = math.min(math.max(stored, now), now + burst)
  local charged = whole_at + emission
  if now < charged - burst then wait = math.max(wait, charged - burst - now) end
  buckets[place] = {emission, burst, whole_at, charged, stored}
end

local answer = {wait}
for place, key in ipairs(KEYS) do
  local emission, burst, whole_at, charged, stored = unpack(buckets[place])
  if wait < 0 then
    whole_at = charged
    write(key, charged)
  elseif stored > now + burst then
    write(key, now + burst)
  end
  answer[#answer + 1] = math.max(0, math.floor((now + burst - whole_at) / emission))
  answer[#answer + 1] = whole_at - now
end
return answer
";

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
