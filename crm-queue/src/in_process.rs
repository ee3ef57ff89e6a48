//! What one process remembers alone: the default where there is no Redis.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use crm_core::{
    async_trait,
    port::{
        Clock,
        cache::{Cache, CacheError, CacheKey, CacheResult, Lookup, MAX_VALUE, check_name},
    },
    time::Timestamp,
};
use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use tokio::sync::broadcast::{self, error::RecvError};

/// How many bytes are remembered, keys included.
const CAPACITY: u64 = 64 << 20;
/// How many spaces have an epoch of their own.
const SPACES: usize = 100_000;
/// How many hints wait for a slow listener.
const HINTS: usize = 1000;

/// A cache in this process, of 64 MB at most. Its hints reach this process only.
pub struct InProcessCache {
    clock: Arc<dyn Clock>,
    entries: moka::sync::Cache<(String, String), Entry>,
    state: Mutex<State>,
}

#[derive(Clone)]
struct Entry {
    epoch: u64,
    until: Timestamp,
    value: Bytes,
}

#[derive(Default)]
struct State {
    /// The last epoch begun.
    last: u64,
    /// The epoch of spaces that are not named below.
    others: u64,
    epochs: HashMap<String, u64>,
    channels: HashMap<String, broadcast::Sender<String>>,
    closed: bool,
}

impl State {
    fn epoch(&self, space: &str) -> u64 {
        self.epochs.get(space).copied().unwrap_or(self.others)
    }
}

impl fmt::Debug for InProcessCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InProcessCache").field("entries", &self.entries.entry_count()).finish_non_exhaustive()
    }
}

impl InProcessCache {
    /// An empty cache.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let weigh = |(space, name): &(String, String), entry: &Entry| {
            u32::try_from(space.len() + name.len() + entry.value.len() + 64).unwrap_or(u32::MAX)
        };
        let entries = moka::sync::Cache::builder().max_capacity(CAPACITY).weigher(weigh).build();
        Self { clock, entries, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a value is not too large.
pub(crate) fn check_value(value: &Bytes) -> CacheResult<()> {
    if value.len() > MAX_VALUE {
        return Err(CacheError::Misuse(format!("a cache takes values of at most {MAX_VALUE} bytes")));
    }
    Ok(())
}

#[async_trait]
impl Cache for InProcessCache {
    async fn get(&self, key: CacheKey<'_>) -> CacheResult<Lookup> {
        key.check()?;
        let epoch = self.state().epoch(key.space);
        let now = self.clock.now();
        let entry = self.entries.get(&(key.space.to_owned(), key.name.to_owned()));
        let value = entry.filter(|entry| entry.epoch == epoch && entry.until > now).map(|entry| entry.value);
        Ok(Lookup { value, epoch })
    }

    async fn set(&self, key: CacheKey<'_>, epoch: u64, value: Bytes, time_to_live: Duration) -> CacheResult<()> {
        key.check()?;
        check_value(&value)?;
        if self.state().epoch(key.space) == epoch {
            let entry = Entry { epoch, until: self.clock.now().plus(time_to_live), value };
            self.entries.insert((key.space.to_owned(), key.name.to_owned()), entry);
        }
        Ok(())
    }

    async fn delete(&self, key: CacheKey<'_>) -> CacheResult<()> {
        key.check()?;
        self.entries.invalidate(&(key.space.to_owned(), key.name.to_owned()));
        Ok(())
    }

    async fn invalidate(&self, space: &str) -> CacheResult<()> {
        check_name(space)?;
        let mut state = self.state();
        state.last += 1;
        if state.epochs.len() >= SPACES {
            // Everything begins anew, which forgets more than was asked.
            state.epochs.clear();
            state.others = state.last;
        } else {
            let epoch = state.last;
            state.epochs.insert(space.to_owned(), epoch);
        }
        Ok(())
    }

    async fn announce(&self, channel: &str, hint: &str) -> CacheResult<()> {
        check_name(channel)?;
        let mut state = self.state();
        // Nobody listens any more where that fails.
        if state.channels.get(channel).is_some_and(|sender| sender.send(hint.to_owned()).is_err()) {
            state.channels.remove(channel);
        }
        Ok(())
    }

    async fn listen(&self, channel: &str) -> CacheResult<BoxStream<'static, String>> {
        check_name(channel)?;
        let mut state = self.state();
        if state.closed {
            return Ok(stream::empty().boxed());
        }
        let sender = state.channels.entry(channel.to_owned()).or_insert_with(|| broadcast::channel(HINTS).0);
        let next = async |mut receiver: broadcast::Receiver<String>| match receiver.recv().await {
            Ok(hint) => Some((hint, receiver)),
            Err(RecvError::Lagged(_)) => Some((String::new(), receiver)),
            Err(RecvError::Closed) => None,
        };
        Ok(stream::unfold(sender.subscribe(), next).boxed())
    }

    async fn health(&self) -> CacheResult<()> {
        Ok(())
    }

    fn engine(&self) -> &'static str {
        "in-process"
    }

    async fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.channels.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use bytes::Bytes;
    use crm_core::{
        port::{
            ManualClock,
            cache::{Cache as _, CacheKey},
        },
        time::Timestamp,
    };

    use super::{InProcessCache, SPACES};

    #[tokio::test]
    async fn spaces_beyond_what_fits_are_forgotten_and_never_remembered_wrongly() {
        let clock = Arc::new(ManualClock::new(Timestamp::default()));
        let cache = InProcessCache::new(clock.clone());
        let key = CacheKey { space: "first", name: "a" };
        let before = cache.get(key).await.unwrap().epoch;
        for space in 0..=SPACES {
            cache.invalidate(&space.to_string()).await.unwrap();
        }
        cache.set(key, before, Bytes::from_static(b"old"), Duration::from_secs(60)).await.unwrap();
        assert_eq!(cache.get(key).await.unwrap().value, None, "its load began before everything was forgotten");
        let epoch = cache.get(key).await.unwrap().epoch;
        cache.set(key, epoch, Bytes::from_static(b"new"), Duration::from_secs(60)).await.unwrap();
        assert_eq!(cache.get(key).await.unwrap().value.as_deref(), Some(&b"new"[..]));
        clock.advance(Duration::from_secs(60));
        assert_eq!(cache.get(key).await.unwrap().value, None, "its time is over");
    }
}
