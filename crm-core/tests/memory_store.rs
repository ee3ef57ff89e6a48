//! The suite on the store in memory.

use std::sync::{Arc, Mutex, PoisonError};

use crm_core::{
    conformance::Opener,
    store::{SharedStore, memory::MemoryStore},
};

#[derive(Default)]
struct Memory(Mutex<Arc<MemoryStore>>);

impl Opener for Memory {
    async fn open(&self) -> SharedStore {
        let store = Arc::new(MemoryStore::new());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&store);
        store
    }

    fn fail_next_commit(&self, changes: usize) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fail_next_commit_after(changes);
        true
    }
}

crm_core::conformance_suite!(open = Memory::default());
