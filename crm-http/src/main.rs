//! The CRM's server.

use std::{process::ExitCode, sync::Arc, time::Duration};

use crm_core::{Crm, store::memory::MemoryStore};
use crm_http::{RouterOptions, router, server};

#[tokio::main]
async fn main() -> ExitCode {
    let crm = Crm::builder(Arc::new(MemoryStore::new())).build();
    let Ok(listener) = tokio::net::TcpListener::bind("127.0.0.1:4000").await else {
        return ExitCode::FAILURE;
    };
    let app = router(crm, RouterOptions::default());
    let stop = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    server::serve(listener, app, stop, Duration::from_secs(30)).await;
    ExitCode::SUCCESS
}
