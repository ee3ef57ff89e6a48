//! The suite that every store passes, on databases that are thrown away.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

#[path = "support/database.rs"]
mod database;

use std::sync::{Arc, Mutex};

use crm_core::{
    conformance::{self, CheckResult, Opener},
    store::SharedStore,
};
use crm_store_mongo::{MongoOptions, MongoStore};
use database::Database;

/// Databases that are dropped with the test.
#[derive(Default)]
struct Databases(Mutex<Vec<Database>>);

async fn connect(url: &str) -> SharedStore {
    Arc::new(MongoStore::connect(url).await.unwrap())
}

impl Opener for Databases {
    async fn open(&self) -> SharedStore {
        let database = Database::new();
        let store = connect(database.url()).await;
        self.0.lock().unwrap().push(database);
        store
    }

    async fn reopen(&self, store: SharedStore) -> Option<SharedStore> {
        store.close().await;
        let url = self.0.lock().unwrap().last().unwrap().url().to_owned();
        Some(connect(&url).await)
    }
}

crm_core::conformance_suite!(open = Databases::default());

/// A store whose commands have room for few ids of related records.
async fn narrow() -> SharedStore {
    static DATABASES: Mutex<Vec<Database>> = Mutex::new(Vec::new());
    let database = Database::new();
    let options = MongoOptions::parse(database.url()).unwrap().related_ids(3);
    DATABASES.lock().unwrap().push(database);
    Arc::new(MongoStore::connect_with(options).await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn related_records_in_parts() -> CheckResult {
    conformance::related_records(&narrow).await
}
