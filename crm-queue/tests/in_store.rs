//! The suite over stores: one in memory, and one in a file.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::sync::{Arc, Mutex};

use crm_core::{
    id::{OrganizationId, new_uuid},
    port::{
        Clock, ManualClock, OperatingSystemRandom, SystemClock,
        queue::{Message, Priority, Queue as _, SharedQueue, Subscription, Topic},
    },
    store::{Json, SharedStore, memory::MemoryStore},
    time::Timestamp,
};
use crm_queue::{InStoreQueue, suite::Opener};
use crm_store_sqlite::{Durability, SqliteOptions, SqliteStore};
use tempfile::TempDir;

static WORK: Topic = Topic { name: "work", groups: &["workers"] };

async fn queue(store: SharedStore) -> SharedQueue {
    Arc::new(InStoreQueue::open(store, Arc::new(SystemClock), Arc::new(OperatingSystemRandom)).await.unwrap())
}

#[derive(Default)]
struct Memory(Mutex<Option<SharedStore>>);

impl Opener for Memory {
    async fn open(&self) -> SharedQueue {
        *self.0.lock().unwrap() = Some(Arc::new(MemoryStore::new()));
        self.join().await
    }

    async fn join(&self) -> SharedQueue {
        let store = self.0.lock().unwrap().clone().unwrap();
        queue(store).await
    }
}

#[derive(Default)]
struct Files(Mutex<Option<TempDir>>);

impl Opener for Files {
    async fn open(&self) -> SharedQueue {
        *self.0.lock().unwrap() = Some(TempDir::new().unwrap());
        self.join().await
    }

    async fn join(&self) -> SharedQueue {
        let path = self.0.lock().unwrap().as_ref().unwrap().path().join("crm.db");
        let options = SqliteOptions::new(path).durability(Durability::Process);
        queue(Arc::new(SqliteStore::open_with(options).await.unwrap())).await
    }
}

mod memory {
    crm_queue::queue_suite!(open = super::Memory::default());
}

mod sqlite {
    crm_queue::queue_suite!(open = super::Files::default());
}

/// What is ready does not wait for a clock, and a key's order does not depend on it.
#[tokio::test]
async fn a_clock_that_jumps_holds_nothing_back() {
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let store = Arc::new(MemoryStore::new());
    let queue = InStoreQueue::open(store, clock.clone(), Arc::new(OperatingSystemRandom)).await.unwrap();
    let hour = std::time::Duration::from_hours(1);
    let now = clock.now();
    let mut published = Vec::new();
    for instant in [now, now.minus(hour), now.plus(hour), now.minus(hour * 24)] {
        clock.set(instant);
        let message = message(instant);
        queue.publish(&WORK, std::slice::from_ref(&message), std::time::Duration::ZERO).await.unwrap();
        published.push(message.id);
    }
    let mut deliveries = queue.consume(Subscription::new(WORK.group("workers").unwrap())).await.unwrap();
    for expected in published {
        let delivery = deliveries.next().await.unwrap().unwrap();
        assert_eq!(delivery.message().id, expected);
        delivery.acknowledge().await.unwrap();
        clock.advance(hour * 3);
    }
}

fn message(now: Timestamp) -> Message {
    Message {
        id: new_uuid(now, &OperatingSystemRandom),
        kind: "work.wanted".to_owned(),
        version: 1,
        organization: OrganizationId::INSTALLATION,
        key: Some("record".to_owned()),
        priority: Priority::Normal,
        published_at: now,
        request_id: None,
        body: Json::default(),
    }
}
