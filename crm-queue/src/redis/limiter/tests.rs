use std::{sync::LazyLock, time::Duration};

use crm_core::{
    limit::{Bucket, Limiter, Policy},
    port::{OperatingSystemRandom, Random as _, RequestLimiter as _},
    time::Timestamp,
};
use crm_test_servers::{Durability, Redis};
use proptest::prelude::*;

use super::{RedisLimiter, RedisOptions};

static SERVER: LazyLock<Redis> = LazyLock::new(|| Redis::start(Durability::None).unwrap());

const START: i64 = 1_780_000_000_000;

/// A limiter with no key yet.
fn limiter() -> RedisLimiter {
    let mut bytes = [0; 8];
    OperatingSystemRandom.fill(&mut bytes);
    RedisLimiter::open(&RedisOptions::new(SERVER.url(0)).prefix(format!("t{}", u64::from_le_bytes(bytes)))).unwrap()
}

#[tokio::test]
async fn five_in_ten_seconds() {
    let (limiter, policy) = (limiter(), Policy::new("test", 5, Duration::from_secs(10)));
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
        let bucket = [Bucket { policy: &policy, key: "client" }];
        let verdict = limiter.take_at(Some((START + milliseconds) * 1000), &bucket).await.unwrap();
        let answer = match verdict.retry_after {
            None => Ok(verdict.standings[0].remaining),
            Some(wait) => Err(wait.as_millis()),
        };
        assert_eq!(answer, expected, "at {milliseconds} ms");
    }
}

#[tokio::test]
async fn many_at_once_by_its_own_time() {
    let limiter = limiter();
    // So slow that nothing is earned back while this runs.
    let policies =
        [Policy::new("day", 7, Duration::from_hours(24)), Policy::new("week", 100, Duration::from_hours(24 * 7))];
    let buckets = policies.each_ref().map(|policy| Bucket { policy, key: "client" });
    let verdicts = futures::future::join_all((0..50).map(|_| limiter.take(&buckets))).await;
    let allowed = verdicts.iter().filter(|verdict| verdict.as_ref().unwrap().is_allowed()).count();
    assert_eq!(allowed, 7);
    let standing = limiter.take(&buckets).await.unwrap();
    assert!(standing.retry_after.is_some_and(|wait| wait <= Duration::from_hours(4)), "{standing:?}");
    assert_eq!(standing.standings[1].remaining, 93, "the week is charged only for what was let through");
    let other = limiter.take(&policies.each_ref().map(|policy| Bucket { policy, key: "other" })).await.unwrap();
    assert!(other.is_allowed(), "another client is not concerned");
}

#[tokio::test]
async fn a_bucket_is_made_whole_again() {
    let (limiter, policy) = (limiter(), Policy::new("test", 2, Duration::from_hours(1)));
    let bucket = |key| Bucket { policy: &policy, key };
    limiter.health().await.unwrap();
    for key in ["a", "a", "b"] {
        assert!(limiter.take(&[bucket(key)]).await.unwrap().is_allowed());
    }
    assert!(!limiter.take(&[bucket("a")]).await.unwrap().is_allowed());
    limiter.forget(&bucket("a")).await.unwrap();
    assert_eq!(limiter.take(&[bucket("a")]).await.unwrap().standings[0].remaining, 1);
    assert_eq!(limiter.take(&[bucket("b")]).await.unwrap().standings[0].remaining, 0, "another is not concerned");
}

#[tokio::test]
async fn without_redis_nobody_can_tell() {
    let options = RedisOptions::new("redis://user:hunter2@127.0.0.1:1/0").timeout(Duration::from_millis(200));
    let limiter = RedisLimiter::open(&options).unwrap();
    let policy = Policy::new("test", 5, Duration::from_secs(10));
    let taken = limiter.take(&[Bucket { policy: &policy, key: "client" }]).await;
    assert!(matches!(taken, Err(crm_core::Error::Unavailable { .. })), "{taken:?}");
    assert!(limiter.health().await.is_err());
    assert!(!format!("{taken:?} {limiter:?} {options:?}").contains("hunter2"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The same instants and buckets give the same verdicts as in a process, also where the clock goes back.
    #[test]
    fn equals_the_limiter_of_a_process(
        limits in proptest::collection::vec((1_u32..8, 1_u64..100), 1..4),
        steps in proptest::collection::vec((-3_000_i64..10_000, 1_usize..4, 0_usize..2), 1..30),
    ) {
        const NAMES: [&str; 3] = ["one", "two", "three"];

        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let policies: Vec<Policy> = limits
            .iter()
            .zip(NAMES)
            .map(|((limit, seconds), name)| Policy::new(name, *limit, Duration::from_secs(*seconds)))
            .collect();
        runtime.block_on(async {
            let (shared, own) = (limiter(), Limiter::default());
            let mut now = START;
            for (step, count, client) in steps {
                now += step;
                let key = ["a", "b"][client];
                let buckets: Vec<Bucket<'_>> = policies.iter().take(count).map(|policy| Bucket { policy, key }).collect();
                let expected = own.check(Timestamp::from_milliseconds(now).unwrap(), &buckets);
                let verdict = shared.take_at(Some(now * 1000), &buckets).await.unwrap();
                prop_assert_eq!(verdict, expected);
            }
            Ok(())
        })?;
    }
}
