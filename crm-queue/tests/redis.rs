//! The suite over Redis.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::sync::{Arc, LazyLock, Mutex};

use crm_core::port::{OperatingSystemRandom, Random as _, SystemClock, queue::SharedQueue};
use crm_queue::{RedisOptions, RedisQueue, suite::Opener};
use crm_test_servers::{Durability, Redis};

/// One for all tests of this process.
static SERVER: LazyLock<Redis> = LazyLock::new(|| Redis::start(Durability::None).unwrap());

/// Queues under a prefix of their own.
#[derive(Default)]
struct Prefixes(Mutex<String>);

impl Opener for Prefixes {
    async fn open(&self) -> SharedQueue {
        let mut bytes = [0; 8];
        OperatingSystemRandom.fill(&mut bytes);
        *self.0.lock().unwrap() = format!("t{}", u64::from_le_bytes(bytes));
        self.join().await
    }

    async fn join(&self) -> SharedQueue {
        let options = RedisOptions::new(SERVER.url(0)).prefix(self.0.lock().unwrap().clone());
        Arc::new(RedisQueue::open(&options, Arc::new(SystemClock), Arc::new(OperatingSystemRandom)).unwrap())
    }
}

crm_queue::queue_suite!(open = Prefixes::default());
