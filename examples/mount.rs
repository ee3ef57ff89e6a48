//! The CRM's routes in somebody's own axum application.
//!
//! ```sh
//! cargo run --example mount
//! curl http://127.0.0.1:4001/shop
//! curl http://127.0.0.1:4001/api/v1/customers
//! ```

use std::{net::SocketAddr, sync::Arc};

use axum::{Router, routing::get};
use crm_core::{Crm, crm::collections, store::memory::MemoryStore};
use crm_http::{RouterOptions, router};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Our own page beside the CRM's routes. Both are one router: one port, one server, one shutdown.
async fn application() -> Result<Router, Failure> {
    let store = Arc::new(MemoryStore::new());
    crm_core::store::Store::migrate(store.as_ref(), collections(), &|_, _, _| ()).await?;
    let crm = Crm::builder(store).build();
    let options = RouterOptions { body_limit: 256 * 1024, ..RouterOptions::default() };
    Ok(Router::new().route("/shop", get(|| async { "Our own page" })).merge(router(crm, options)))
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:4001").await?;
    let service = application().await?.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::application;

    #[tokio::test]
    async fn both_answer() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = application().await.unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        for (path, status) in [("/shop", 200), ("/health/live", 200), ("/api/v1/customers", 401), ("/nowhere", 404)] {
            let answer = reqwest::get(format!("http://{address}{path}")).await.unwrap();
            assert_eq!(answer.status(), status, "{path}");
        }
    }
}
