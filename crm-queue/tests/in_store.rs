//! The suite over stores: one in memory, and one in a file.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::sync::{Arc, Mutex};

use crm_core::{
    port::{OperatingSystemRandom, SystemClock, queue::SharedQueue},
    store::{SharedStore, memory::MemoryStore},
};
use crm_queue::{InStoreQueue, suite::Opener};
use crm_store_sqlite::{Durability, SqliteOptions, SqliteStore};
use tempfile::TempDir;

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
