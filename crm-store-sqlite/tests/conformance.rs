//! The suite that every store passes, on files that are thrown away.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::sync::{Arc, Mutex};

use crm_core::{conformance::Opener, store::SharedStore};
use crm_store_sqlite::{Durability, SqliteOptions, SqliteStore};
use tempfile::TempDir;

#[derive(Default)]
struct Files(Mutex<Vec<TempDir>>);

async fn open(folder: &std::path::Path) -> SharedStore {
    let options = SqliteOptions::new(folder.join("crm.db")).durability(Durability::Process);
    Arc::new(SqliteStore::open_with(options).await.unwrap())
}

impl Opener for Files {
    async fn open(&self) -> SharedStore {
        let folder = TempDir::new().unwrap();
        let store = open(folder.path()).await;
        self.0.lock().unwrap().push(folder);
        store
    }

    async fn reopen(&self, store: SharedStore) -> Option<SharedStore> {
        store.close().await;
        let folder = self.0.lock().unwrap().last().unwrap().path().to_owned();
        Some(open(&folder).await)
    }
}

crm_core::conformance_suite!(open = Files::default());
