//! A server for the tests of this process, and throw-away databases in it.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

use crm_test_servers::{Durability, Mongo};
use mongodb::Client;

static SERVER: LazyLock<Mongo> =
    LazyLock::new(|| Mongo::start(Durability::None).unwrap_or_else(|error| panic!("{error}")));
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A database of its own.
pub(crate) struct Database {
    name: String,
    url: String,
}

impl Database {
    pub(crate) fn new() -> Self {
        let name = format!("crm_test_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self { url: SERVER.url(&name), name }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Database {
    /// A server of ours goes with all that is in it; one that was named keeps nothing either.
    fn drop(&mut self) {
        if std::env::var_os("MONGODB_URL").is_none() {
            return;
        }
        let (name, url) = (self.name.clone(), self.url.clone());
        let dropping = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { Client::with_uri_str(url).await.unwrap().database(&name).drop().await.unwrap() });
        });
        drop(dropping.join());
    }
}
