use std::sync::Arc;

use crm_core::store::{SharedStore, memory::MemoryStore};
use tempfile::TempDir;

/// A store that every story is told on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum StoreKind {
    /// The reference, in memory.
    Memory,
}

impl StoreKind {
    /// An empty store, and the folder it is in.
    pub(crate) fn open(self) -> (SharedStore, TempDir) {
        let folder = TempDir::new().expect("a folder for the store");
        let store: SharedStore = match self {
            Self::Memory => Arc::new(MemoryStore::new()),
        };
        (store, folder)
    }
}
