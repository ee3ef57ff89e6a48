//! Rate limits: the generic cell rate algorithm, several policies at once.
//!
//! A policy lets `limit` requests through at once and then one each `period / limit`. Where several are asked
//! together, one that denies makes the whole request denied, and none of them is charged.

mod limits;

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

pub use self::limits::Limits;
use crate::time::Timestamp;

/// How many requests are let through in which time.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Policy {
    /// Its name in the `RateLimit` header.
    pub name: &'static str,
    /// How many at once, and in a period.
    pub limit: u32,
    /// The period.
    pub period: Duration,
}

impl Policy {
    /// A policy.
    #[must_use]
    pub const fn new(name: &'static str, limit: u32, period: Duration) -> Self {
        Self { name, limit, period }
    }

    /// The time in which one request is earned back, in microseconds, at least 1.
    #[must_use]
    pub fn emission(&self) -> i64 {
        let period = i64::try_from(self.period.as_micros()).unwrap_or(i64::MAX / 4).clamp(1, i64::MAX / 4);
        (period / i64::from(self.limit.max(1))).max(1)
    }

    /// The time in which a spent policy is whole again, in microseconds.
    #[must_use]
    pub fn burst(&self) -> i64 {
        self.emission().saturating_mul(i64::from(self.limit))
    }
}

/// One policy for one key, such as a client's address.
#[derive(Clone, Copy, Debug)]
pub struct Bucket<'a> {
    /// The policy.
    pub policy: &'a Policy,
    /// Whom it counts.
    pub key: &'a str,
}

/// How a bucket stands after a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Standing {
    /// How many requests would be let through now.
    pub remaining: u32,
    /// When it is whole again.
    pub reset: Duration,
}

/// What became of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verdict {
    /// When the next request can be let through; nothing where this one was.
    pub retry_after: Option<Duration>,
    /// How each bucket stands, in the order asked.
    pub standings: Vec<Standing>,
}

impl Verdict {
    /// Whether the request was let through.
    #[must_use]
    pub const fn is_allowed(&self) -> bool {
        self.retry_after.is_none()
    }
}

/// Many small locks instead of one.
const SHARDS: usize = 64;

/// For each key the instant, in microseconds, at which its bucket is whole again.
type Shard = HashMap<u64, i64>;

/// Counts requests by key, in bounded memory.
///
/// Where more keys are busy at once than fit, some busy key is forgotten and so starts anew: the limit of a
/// flood from a million addresses is the memory, not the count of each.
#[derive(Debug)]
pub struct Limiter {
    hasher: RandomState,
    shards: Vec<Mutex<Shard>>,
    shard_capacity: usize,
}

impl Default for Limiter {
    /// For about a million busy keys, some 30 MB when they all are.
    fn default() -> Self {
        Self::with_capacity(1_000_000)
    }
}

impl Limiter {
    /// For so many busy keys.
    #[must_use]
    pub fn with_capacity(keys: usize) -> Self {
        Self {
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::new(Shard::new())).collect(),
            shard_capacity: (keys / SHARDS).max(1),
        }
    }

    /// Lets a request through if every bucket does, and then charges each; else charges none.
    pub fn check(&self, now: Timestamp, buckets: &[Bucket<'_>]) -> Verdict {
        let now = now.as_milliseconds().saturating_mul(1000);
        let keys: Vec<u64> =
            buckets.iter().map(|bucket| self.hasher.hash_one((bucket.policy.name, bucket.key))).collect();
        let mut order: Vec<usize> = keys.iter().map(|key| shard_of(*key)).collect();
        order.sort_unstable();
        order.dedup();
        // Always locked in ascending order, so that two requests never wait for each other.
        let mut locked: Vec<(usize, MutexGuard<'_, Shard>)> = order
            .into_iter()
            .filter_map(|shard| Some((shard, self.shards.get(shard)?)))
            .map(|(shard, lock)| (shard, lock.lock().unwrap_or_else(PoisonError::into_inner)))
            .collect();

        let mut retry_after = None;
        let mut states = Vec::with_capacity(buckets.len());
        for (bucket, key) in buckets.iter().zip(&keys) {
            let (emission, burst) = (bucket.policy.emission(), bucket.policy.burst());
            let stored = locked
                .iter()
                .find(|(shard, _)| *shard == shard_of(*key))
                .and_then(|(_, entries)| entries.get(key).copied())
                .unwrap_or(now);
            // A clock that went back must not lock anybody out until it has caught up.
            let whole_at = stored.clamp(now, now.saturating_add(burst));
            let charged = whole_at.saturating_add(emission);
            let allowed_at = charged.saturating_sub(burst);
            if now < allowed_at {
                let wait = duration(allowed_at - now);
                retry_after = Some(retry_after.map_or(wait, |longest: Duration| longest.max(wait)));
            }
            states.push((emission, burst, whole_at, charged));
        }

        let allowed = retry_after.is_none();
        let mut standings = Vec::with_capacity(states.len());
        for (key, (emission, burst, whole_at, charged)) in keys.into_iter().zip(states) {
            let whole_at = if allowed { charged } else { whole_at };
            let left = now.saturating_add(burst).saturating_sub(whole_at) / emission;
            standings.push(Standing {
                remaining: u32::try_from(left.max(0)).unwrap_or(u32::MAX),
                reset: duration(whole_at - now),
            });
            let Some((_, entries)) = locked.iter_mut().find(|(shard, _)| *shard == shard_of(key)) else { continue };
            if allowed {
                make_room(entries, key, now, self.shard_capacity);
                entries.insert(key, charged);
            } else if let Some(stored) = entries.get_mut(&key) {
                // Later than it can be, where the clock went back.
                *stored = (*stored).min(now.saturating_add(burst));
            }
        }
        Verdict { retry_after, standings }
    }

    /// Makes a bucket whole again.
    pub fn forget(&self, bucket: &Bucket<'_>) {
        let key = self.hasher.hash_one((bucket.policy.name, bucket.key));
        if let Some(shard) = self.shards.get(shard_of(key)) {
            shard.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        }
    }

    /// How many keys are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    /// Whether no key is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn shard_of(key: u64) -> usize {
    usize::try_from(key >> 32).unwrap_or(0) % SHARDS
}

fn duration(microseconds: i64) -> Duration {
    Duration::from_micros(u64::try_from(microseconds).unwrap_or(0))
}

/// Drops what is whole again, and where that is not enough some other key, so that one more fits.
fn make_room(entries: &mut Shard, key: u64, now: i64, capacity: usize) {
    if entries.len() < capacity || entries.contains_key(&key) {
        return;
    }
    entries.retain(|_, whole_at| *whole_at > now);
    // A tenth at once, so that a flood does not make every request look through the whole shard.
    let surplus = entries.len().saturating_sub(capacity - capacity.div_ceil(10));
    let dropped: Vec<u64> = entries.keys().take(surplus).copied().collect();
    for key in dropped {
        entries.remove(&key);
    }
}

/// The text by which an address is counted: IPv6 by its /64, which one subscriber has; IPv4 in IPv6 as IPv4.
#[must_use]
pub fn address_key(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{}/64", Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Bucket, Limiter, Policy, address_key};
    use crate::time::Timestamp;

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_milliseconds(1_780_000_000_000 + milliseconds).expect("in range")
    }

    /// Remaining, or the milliseconds to wait.
    fn ask(limiter: &Limiter, policy: &Policy, milliseconds: i64) -> Result<u32, u128> {
        let verdict = limiter.check(at(milliseconds), &[Bucket { policy, key: "client" }]);
        match verdict.retry_after {
            None => Ok(verdict.standings[0].remaining),
            Some(wait) => Err(wait.as_millis()),
        }
    }

    #[test]
    fn five_in_ten_seconds() {
        let (limiter, policy) = (Limiter::default(), Policy::new("test", 5, Duration::from_secs(10)));
        for (milliseconds, expected) in [
            (0, Ok(4)),
            (0, Ok(3)),
            (0, Ok(2)),
            (0, Ok(1)),
            (0, Ok(0)),
            (0, Err(2000)),
            (1900, Err(100)),
            (2000, Ok(0)),
            (2000, Err(2000)),
            (30_000, Ok(4)),
        ] {
            assert_eq!(ask(&limiter, &policy, milliseconds), expected, "at {milliseconds} ms");
        }
    }

    #[test]
    fn one_that_denies_keeps_the_other_from_being_charged() {
        let limiter = Limiter::default();
        let (small, large) =
            (Policy::new("minute", 2, Duration::from_mins(1)), Policy::new("hour", 10, Duration::from_hours(1)));
        let both = [Bucket { policy: &small, key: "a" }, Bucket { policy: &large, key: "a" }];
        assert!(limiter.check(at(0), &both).is_allowed());
        assert_eq!(limiter.check(at(0), &both).standings.iter().map(|s| s.remaining).collect::<Vec<_>>(), [0, 8]);
        let denied = limiter.check(at(0), &both);
        assert_eq!(denied.retry_after, Some(Duration::from_secs(30)));
        assert_eq!(denied.standings[1].remaining, 8, "the hour was not charged");
        let other = [Bucket { policy: &small, key: "b" }, Bucket { policy: &large, key: "b" }];
        assert!(limiter.check(at(0), &other).is_allowed(), "another client is not concerned");
    }

    #[test]
    fn a_clock_that_goes_back_locks_nobody_out_until_it_catches_up() {
        let (limiter, policy) = (Limiter::default(), Policy::new("test", 5, Duration::from_secs(10)));
        assert_eq!(ask(&limiter, &policy, 3_600_000), Ok(4));
        assert_eq!(ask(&limiter, &policy, 0), Err(2000));
        assert_eq!(ask(&limiter, &policy, 2000), Ok(0));
    }

    #[test]
    fn memory_is_bounded() {
        let (limiter, policy) = (Limiter::with_capacity(640), Policy::new("test", 5, Duration::from_secs(10)));
        for client in 0..20_000 {
            assert!(limiter.check(at(0), &[Bucket { policy: &policy, key: &client.to_string() }]).is_allowed());
        }
        assert!(limiter.len() <= 640, "{}", limiter.len());
    }

    #[test]
    fn a_subscriber_counts_once() {
        let key = |text: &str| address_key(text.parse().expect("an address"));
        assert_eq!(key("2001:db8:1:2:aaaa::1"), key("2001:db8:1:2:bbbb::2"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
        assert_eq!(key("::ffff:203.0.113.7"), key("203.0.113.7"));
    }
}
