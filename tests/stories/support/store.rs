use std::sync::Arc;

use crm_core::store::{SharedStore, memory::MemoryStore};
use crm_store_sqlite::SqliteStore;
use tempfile::TempDir;

/// A store that every story is told on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum StoreKind {
    /// The reference, in memory.
    Memory,
    /// The default, in a file.
    Sqlite,
}

impl StoreKind {
    /// An empty store, and the folder it is in.
    pub(crate) async fn open(self) -> (SharedStore, TempDir) {
        let folder = TempDir::new().expect("a folder for the store");
        let store: SharedStore = match self {
            Self::Memory => Arc::new(MemoryStore::new()),
            Self::Sqlite => Arc::new(SqliteStore::open(folder.path().join("crm.db")).await.expect("a database")),
        };
        (store, folder)
    }
}
