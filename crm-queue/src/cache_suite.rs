//! The suite that every cache must pass, public so that a stranger's cache can run it too.
//!
//! It is run like [`crate::suite`]: `crm_queue::cache_suite!(open = open)`, where `open` gives a [`CacheOpener`].

use std::{future::Future, time::Duration};

use bytes::Bytes;
use crm_core::port::cache::{CacheError, CacheKey, MAX_VALUE, SharedCache};
use futures::StreamExt as _;

use crate::suite::{CheckResult, Failure};

/// Opens caches for the checks.
pub trait CacheOpener {
    /// A cache that remembers nothing. Each check opens its own.
    fn open(&self) -> impl Future<Output = SharedCache>;

    /// Another cache with the same entries as the one that was opened last, as a second process has it. Where a process
    /// remembers alone, the same.
    fn join(&self) -> impl Future<Output = SharedCache>;
}

/// Makes a test of each check of the suite.
///
/// `open` is an expression that gives a [`CacheOpener`](crate::cache_suite::CacheOpener), evaluated for each test.
#[macro_export]
macro_rules! cache_suite {
    (open = $open:expr) => {
        $crate::cache_suite!(@test $open;
            what_is_set_is_found
            entries_end
            spaces_are_forgotten_at_once
            what_was_loaded_before_is_not_remembered_after
            misuse_is_refused
            hints_reach_who_listens
        );
    };
    (@test $open:expr; $($check:ident)+) => {
        $(
            #[::tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() -> $crate::suite::CheckResult {
                $crate::cache_suite::$check(&$open).await
            }
        )+
    };
}

const MINUTE: Duration = Duration::from_secs(60);
const KEY: CacheKey<'_> = CacheKey { space: "org:1:permissions", name: "user:7" };

impl From<CacheError> for Failure {
    fn from(error: CacheError) -> Self {
        Self::new(format!("the cache failed where it should not: {error} ({error:?})"))
    }
}

fn ensure(holds: bool, what: &str) -> CheckResult {
    if holds { Ok(()) } else { Err(Failure::new(what)) }
}

async fn found(cache: &SharedCache, key: CacheKey<'_>) -> Result<Option<Bytes>, Failure> {
    Ok(cache.get(key).await?.value)
}

async fn set(cache: &SharedCache, key: CacheKey<'_>, value: &'static [u8]) -> CheckResult {
    let epoch = cache.get(key).await?.epoch;
    Ok(cache.set(key, epoch, Bytes::from_static(value), MINUTE).await?)
}

/// An entry is found by every process until it is deleted; others are not touched.
///
/// # Errors
/// [`Failure`] where the cache differs.
pub async fn what_is_set_is_found(opener: &impl CacheOpener) -> CheckResult {
    let (cache, other) = (opener.open().await, opener.join().await);
    let second = CacheKey { name: "user:8", ..KEY };
    ensure(found(&cache, KEY).await?.is_none(), "something is there before it was set")?;
    let values: [&'static [u8]; 4] = [b"", b"\0\xff:1", b"12:34", b"plain"];
    for value in values {
        set(&cache, KEY, value).await?;
        ensure(found(&other, KEY).await?.as_deref() == Some(value), "what was set is not found as it was")?;
    }
    set(&other, second, b"second").await?;
    cache.delete(KEY).await?;
    cache.delete(KEY).await?;
    ensure(found(&other, KEY).await?.is_none(), "what was deleted is found")?;
    ensure(found(&cache, second).await?.is_some(), "what was not deleted is not found")?;
    let large = Bytes::from(vec![7; MAX_VALUE]);
    let epoch = cache.get(KEY).await?.epoch;
    cache.set(KEY, epoch, large.clone(), MINUTE).await?;
    ensure(found(&other, KEY).await? == Some(large), "a large value is not found as it was")?;
    cache.health().await?;
    Ok(())
}

/// An entry ends with its time.
///
/// # Errors
/// [`Failure`] where the cache differs.
pub async fn entries_end(opener: &impl CacheOpener) -> CheckResult {
    let cache = opener.open().await;
    let epoch = cache.get(KEY).await?.epoch;
    cache.set(KEY, epoch, Bytes::from_static(b"soon over"), Duration::from_millis(200)).await?;
    let ends = async {
        while found(&cache, KEY).await?.is_some() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        CheckResult::Ok(())
    };
    tokio::time::timeout(Duration::from_secs(30), ends).await.map_err(|_| Failure::new("an entry does not end"))??;
    cache.set(KEY, epoch, Bytes::from_static(b"never"), Duration::ZERO).await?;
    ensure(found(&cache, KEY).await?.is_none(), "an entry without time is found")
}

/// A space is forgotten at once in every process, and no other is.
///
/// # Errors
/// [`Failure`] where the cache differs.
pub async fn spaces_are_forgotten_at_once(opener: &impl CacheOpener) -> CheckResult {
    let (cache, other) = (opener.open().await, opener.join().await);
    let elsewhere = CacheKey { space: "org:2:permissions", ..KEY };
    let second = CacheKey { name: "user:8", ..KEY };
    for key in [KEY, second, elsewhere] {
        set(&cache, key, b"value").await?;
    }
    other.invalidate(KEY.space).await?;
    ensure(found(&cache, KEY).await?.is_none(), "an entry of a forgotten space is found")?;
    ensure(found(&cache, second).await?.is_none(), "another entry of a forgotten space is found")?;
    ensure(found(&cache, elsewhere).await?.is_some(), "an entry of another space was forgotten")?;
    set(&cache, KEY, b"anew").await?;
    ensure(found(&other, KEY).await?.is_some(), "a space that was forgotten remembers nothing new")
}

/// A value whose load began before its space was forgotten is not remembered.
///
/// # Errors
/// [`Failure`] where the cache differs.
pub async fn what_was_loaded_before_is_not_remembered_after(opener: &impl CacheOpener) -> CheckResult {
    let (cache, other) = (opener.open().await, opener.join().await);
    for round in 0..3 {
        let before = cache.get(KEY).await?.epoch;
        other.invalidate(KEY.space).await?;
        cache.set(KEY, before, Bytes::from_static(b"old"), MINUTE).await?;
        ensure(found(&cache, KEY).await?.is_none(), &format!("round {round}: what is old was remembered"))?;
        ensure(cache.get(KEY).await?.epoch != before, &format!("round {round}: the epoch is the one before"))?;
    }
    Ok(())
}

/// Names and values that not every cache takes are refused.
///
/// # Errors
/// [`Failure`] where the cache differs.
pub async fn misuse_is_refused(opener: &impl CacheOpener) -> CheckResult {
    let cache = opener.open().await;
    let long = "x".repeat(129);
    for name in ["", "a b", "a{b}", "ü", "a\n", long.as_str()] {
        let refused = [
            cache.get(CacheKey { name, ..KEY }).await.is_err(),
            cache.get(CacheKey { space: name, ..KEY }).await.is_err(),
            cache.invalidate(name).await.is_err(),
            cache.announce(name, "hint").await.is_err(),
            cache.listen(name).await.is_err(),
        ];
        ensure(refused == [true; 5], &format!("the name {name:?} was taken"))?;
    }
    let too_large = cache.set(KEY, 0, Bytes::from(vec![7; MAX_VALUE + 1]), MINUTE).await;
    ensure(matches!(too_large, Err(CacheError::Misuse(_))), "a value that is too large was taken")
}

/// Hints reach everybody who listens, in order, and nobody else.
///
/// # Errors
/// [`Failure`] where the cache differs.
pub async fn hints_reach_who_listens(opener: &impl CacheOpener) -> CheckResult {
    let (cache, other) = (opener.open().await, opener.join().await);
    cache.announce("changes", "nobody listens").await?;
    let mut listeners = [cache.listen("changes").await?, other.listen("changes").await?];
    for hint in ["one", "two"] {
        other.announce("changes", hint).await?;
    }
    cache.announce("others", "three").await?;
    for listener in &mut listeners {
        for expected in ["one", "two"] {
            let hint = tokio::time::timeout(Duration::from_secs(30), listener.next()).await;
            let hint = hint.map_err(|_| Failure::new(format!("the hint {expected} did not arrive")))?;
            ensure(hint.as_deref() == Some(expected), &format!("{hint:?} came instead of {expected}"))?;
        }
        let more = tokio::time::timeout(Duration::from_millis(200), listener.next()).await;
        ensure(more.is_err(), &format!("a hint came that was not for this channel: {more:?}"))?;
    }
    cache.close().await;
    other.close().await;
    for listener in &mut listeners {
        let end = tokio::time::timeout(Duration::from_secs(30), listener.next()).await;
        ensure(matches!(end, Ok(None)), "listening does not end when the cache is closed")?;
    }
    Ok(())
}
