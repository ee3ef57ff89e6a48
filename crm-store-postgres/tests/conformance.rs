//! The suite that every store passes, on databases that are thrown away with their server.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

#[path = "support/database.rs"]
mod database;

use std::sync::{Arc, Mutex};

use crm_core::{conformance::Opener, store::SharedStore};
use crm_store_postgres::{PostgresOptions, PostgresStore};

/// The URL of the database that was opened last.
#[derive(Default)]
struct Databases(Mutex<String>);

async fn open(url: &str) -> SharedStore {
    Arc::new(PostgresStore::connect_with(PostgresOptions::parse(url).unwrap().pool(12)).await.unwrap())
}

impl Opener for Databases {
    async fn open(&self) -> SharedStore {
        let url = database::create().await;
        let store = open(&url).await;
        *self.0.lock().unwrap() = url;
        store
    }

    async fn reopen(&self, store: SharedStore) -> Option<SharedStore> {
        store.close().await;
        let url = self.0.lock().unwrap().clone();
        Some(open(&url).await)
    }
}

crm_core::conformance_suite!(open = Databases::default());
