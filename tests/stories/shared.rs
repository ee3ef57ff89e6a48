//! What processes share through Redis, and what happens while it is away.

use std::time::Duration;

use crm_core::limit::Policy;
use crm_queue::RedisOptions;
use crm_test_servers::{Durability, Redis};
use serde_json::json;
use tokio::task::block_in_place;

use crate::support::{Answer, App, Client, PASSWORD, Setup, StoreKind};

fn redis() -> Redis {
    block_in_place(|| Redis::start(Durability::None)).unwrap_or_else(|error| panic!("{error}"))
}

/// A process with few requests and attempts to spend, all of them counted by Redis.
async fn start(setup: Setup, redis: &Redis) -> App {
    let options = RedisOptions::new(redis.url(0)).timeout(Duration::from_secs(30));
    setup
        .redis(&options)
        .accounts(|settings| settings.login_limit = Some(Policy::new("login", 4, Duration::from_hours(1))))
        .options(|options| {
            options.anonymous_limits = vec![Policy::new("anonymous", 30, Duration::from_hours(1))];
            options.health_interval = Duration::ZERO;
        })
        .start()
        .await
}

async fn sign_in(client: &Client, password: &str) -> Answer {
    client.post("/auth/login", json!({"email": "admin@shop.example", "password": password})).await
}

/// Whoever is asked, a request is one of all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_count_together() {
    let redis = redis();
    let setup = Setup::on(StoreKind::Memory).await;
    let right = start(setup.another(), &redis).await;
    let left = start(setup, &redis).await;
    let health = left.anonymous.get("//health").await.ok();
    assert_eq!((&health["status"], &health["cache"]["kind"]), (&json!("up"), &json!("redis")));
    left.organization("Shop").await;
    for app in [&left, &right, &left, &right] {
        sign_in(&app.anonymous, "another-password").await.refused(401, "UNAUTHENTICATED");
    }
    for app in [&left, &right] {
        sign_in(&app.anonymous, PASSWORD).await.refused(429, "RATE_LIMITED");
    }
    let remaining = async |app: &App| {
        let answer = app.anonymous.get("/customers").await;
        let header = answer.header("ratelimit").to_owned();
        let remaining = header.split([';', '=']).nth(2).and_then(|number| number.parse::<u32>().ok());
        remaining.unwrap_or_else(|| panic!("{header}"))
    };
    let first = remaining(&left).await;
    assert_eq!((remaining(&right).await, remaining(&left).await), (first - 1, first - 2));
    for number in 0..first - 2 {
        let app = if number % 2 == 0 { &left } else { &right };
        app.anonymous.get("/customers").await.refused(401, "UNAUTHENTICATED");
    }
    for app in [&left, &right] {
        app.anonymous.get("/customers").await.refused(429, "RATE_LIMITED");
    }
}

/// What one process has changed, the other knows: rights, settings and custom fields.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_tell_each_other() {
    let redis = redis();
    let setup = Setup::on(StoreKind::Memory).await;
    let right = start(setup.another(), &redis).await;
    let left = start(setup, &redis).await;
    let here = left.organization("Shop").await.admin;
    let there = right.anonymous.with_token(&here.access_token);
    there.get("/customers").await.ok();
    there.post("/customers", json!({"name": "Ada", "custom": {"size": 7}})).await.invalid(&["custom.size"]);
    here.post("/customers/fields", json!({"key": "size", "type": "number"})).await.created();
    let until = async |path: &str, body: serde_json::Value, status: u16| {
        let asked = async {
            while there.post(path, body.clone()).await.status != status {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), asked).await.expect("it is told");
    };
    until("/customers", json!({"name": "Ada", "custom": {"size": 7}}), 201).await;
    here.post("/auth/logout", json!(null)).await.no_content();
    until("/customers", json!({"name": "Ben"}), 401).await;
}

/// While Redis is away requests are counted by each process and nobody can guess passwords; it comes back by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_dies_and_comes_back() {
    let mut redis = redis();
    let app = start(Setup::on(StoreKind::Memory).await, &redis).await;
    let shop = app.organization("Shop").await;
    sign_in(&app.anonymous, PASSWORD).await.ok();

    block_in_place(|| redis.kill()).expect("it ran");
    let refused = sign_in(&app.anonymous, PASSWORD).await;
    refused.refused(503, "UNAVAILABLE");
    refused.expect(!refused.header("retry-after").is_empty(), "when to try again");
    let health = app.anonymous.get("//health").await.ok();
    assert_eq!((&health["status"], &health["cache"]["status"]), (&json!("degraded"), &json!("down")));
    app.anonymous.get("//health/ready").await.ok();
    shop.admin.get("/customers").await.ok();
    let answer = app.anonymous.get("/customers").await;
    answer.refused(401, "UNAUTHENTICATED");
    answer.expect(answer.header("ratelimit-policy") == "\"anonymous\";q=30;w=3600", "the policy of this process");
    for _ in 0..30 {
        app.anonymous.get("/customers").await;
    }
    app.anonymous.get("/customers").await.refused(429, "RATE_LIMITED");

    block_in_place(|| redis.start_again()).expect("it starts");
    let again = async {
        while sign_in(&app.anonymous, PASSWORD).await.status != 200 {
            tokio::task::yield_now().await;
        }
        while app.anonymous.get("//health").await.ok()["status"] != "up" {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), again).await.expect("it is back without a restart");
}
