//! Limits in the Redis that the settings name, while it is there and while it is not.

use std::time::Duration;

use crm_test_servers::{Durability, Redis};
use serde_json::json;
use tokio::task::block_in_place;

use crate::support::{Engine, Place, Server};

/// Waits until `/health` tells this of the server and of Redis.
async fn health_is(server: &Server, status: &str, cache: &str) {
    let asked = async {
        loop {
            let answer = server.client.get(format!("{}/health", server.base)).send().await.expect("answered");
            assert!(answer.status().is_success(), "the server can work");
            let health: serde_json::Value = answer.json().await.expect("JSON");
            if (&health["status"], &health["cache"]["status"]) == (&json!(status), &json!(cache)) {
                assert_eq!(health["cache"]["kind"], "redis");
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), asked).await;
    assert!(waited.is_ok(), "the server is not {status}:\n{}", server.printed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_seen_and_survived() {
    let mut redis = block_in_place(|| Redis::start(Durability::None)).unwrap_or_else(|error| panic!("{error}"));
    let place = Place::new(Engine::Sqlite);
    let mut server = Server::begin_with(&place, &[("REDIS_URL", &redis.url(1))]);
    server.wait_until_ready().await;
    health_is(&server, "up", "up").await;
    server.register().await;
    let token = server.log_in().await;

    block_in_place(|| redis.kill()).expect("it ran");
    health_is(&server, "degraded", "down").await;
    let (status, _) = server.get("/auth/me", &token).await;
    assert!(status.is_success());
    let credentials = json!({"email": "asha@shop.example", "password": "a long enough secret"});
    let (status, _) = server.post("/auth/login", "", &credentials).await.expect("answered");
    assert_eq!(status, reqwest::StatusCode::SERVICE_UNAVAILABLE);

    block_in_place(|| redis.start_again()).expect("it starts");
    health_is(&server, "up", "up").await;
    let signed_in = async {
        while !server.post("/auth/login", "", &credentials).await.expect("answered").0.is_success() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), signed_in).await.expect("without a restart");
}
