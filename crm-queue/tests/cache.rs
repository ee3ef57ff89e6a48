//! The suite over every cache.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::sync::{Arc, LazyLock, Mutex};

use crm_core::port::{OperatingSystemRandom, Random as _, SystemClock, cache::SharedCache};
use crm_queue::{InProcessCache, RedisCache, RedisOptions, cache_suite::CacheOpener};
use crm_test_servers::{Durability, Redis};

#[derive(Default)]
struct InProcess(Mutex<Option<SharedCache>>);

impl CacheOpener for InProcess {
    async fn open(&self) -> SharedCache {
        let cache: SharedCache = Arc::new(InProcessCache::new(Arc::new(SystemClock)));
        *self.0.lock().unwrap() = Some(cache.clone());
        cache
    }

    async fn join(&self) -> SharedCache {
        self.0.lock().unwrap().clone().unwrap()
    }
}

/// One for all tests of this process.
static SERVER: LazyLock<Redis> = LazyLock::new(|| Redis::start(Durability::None).unwrap());

/// Caches under a prefix of their own.
#[derive(Default)]
struct Prefixes(Mutex<String>);

impl CacheOpener for Prefixes {
    async fn open(&self) -> SharedCache {
        let mut bytes = [0; 8];
        OperatingSystemRandom.fill(&mut bytes);
        *self.0.lock().unwrap() = format!("t{}", u64::from_le_bytes(bytes));
        self.join().await
    }

    async fn join(&self) -> SharedCache {
        let options = RedisOptions::new(SERVER.url(0)).prefix(self.0.lock().unwrap().clone());
        Arc::new(RedisCache::open(&options, Arc::new(OperatingSystemRandom)).unwrap())
    }
}

mod in_process {
    crm_queue::cache_suite!(open = super::InProcess::default());
}

mod redis {
    crm_queue::cache_suite!(open = super::Prefixes::default());
}
