//! The process killed in the middle of a campaign.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use crm_test_servers::{Durability, Redis};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::{
    relay::{RABBITMQ, number, rounds},
    support::{Engine, Place, Server, on_every_engine},
};

/// So many messages have left, more than before, when the server is killed again.
const SENT: u64 = 150;
/// How long all of it may take after the last kill.
const PATIENCE: Duration = Duration::from_secs(240);

/// How many customers there are; 20,000 in a longer run.
fn audience() -> usize {
    usize::try_from(number("CRM_CAMPAIGN_CUSTOMERS", 2000)).expect("a number of customers")
}

fn count(detail: &Value, name: &str) -> u64 {
    detail["statistics"][name].as_u64().expect("a count")
}

on_every_engine! {
    /// The server is killed while it plans and sends, again and again. In the end every customer has the message once, who
    /// must not have it has nothing, and the figures add up.
    async fn killed_in_the_middle_of_sending(place: &Place) {
        killed(place, &[]).await;
    }
}

/// The same where what is due is handed out by RabbitMQ.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_the_middle_of_sending_through_rabbitmq() {
    let url = block_in_place(|| RABBITMQ.url());
    let queue = [("RABBITMQ_URL", url.as_str()), ("RABBITMQ_QUEUE_PREFIX", "campaign")];
    killed(&Place::new(Engine::Postgres), &queue).await;
}

/// The same with Redis.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_the_middle_of_sending_through_redis() {
    let redis = block_in_place(|| Redis::start(Durability::None)).unwrap_or_else(|error| panic!("{error}"));
    let url = redis.url(0);
    killed(&Place::new(Engine::Sqlite), &[("REDIS_URL", &url), ("QUEUE", "redis")]).await;
}

/// A small campaign is sent to its end.
pub(crate) async fn is_sent(server: &Server, token: &str) {
    let customers: Vec<Value> = (0..30).map(|number| json!({"name": format!("Guest of the sale {number}")})).collect();
    let (status, answer) =
        server.post("/customers/batch", token, &json!({"items": customers})).await.expect("answered");
    assert_eq!(status, StatusCode::OK, "{answer}");
    let new = json!({
        "name": "Small sale", "channel": "mock", "message": "Hi {{name}}", "launch": true,
        "rules_json": {"field": "name", "op": "starts_with", "value": "Guest of the sale"},
    });
    let (status, campaign) = server.post("/campaigns", token, &new).await.expect("answered");
    assert_eq!(status, StatusCode::CREATED, "{campaign}");
    let path = format!("/campaigns/{}", campaign["id"].as_str().expect("an id"));
    let begun = Instant::now();
    loop {
        let (_, detail) = server.get(&path, token).await;
        if detail["status"] == "sent" {
            assert_eq!(count(&detail, "audience"), 30, "{}", detail["statistics"]);
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "it does not end: {}\n{}", detail["statistics"], server.printed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn killed(place: &Place, queue: &[(&str, &str)]) {
    let own = [("MOCK_VENDOR_FAILURE_RATE", "0"), ("MOCK_VENDOR_LATENCY", "10ms"), ("JWT_EXPIRES_IN", "12h")];
    let settings = [queue, &own].concat();
    let start = async || {
        let mut server = Server::begin_with(place, &settings);
        server.wait_until_ready().await;
        server
    };
    let mut server = start().await;
    server.register().await;
    let token = server.log_in().await;
    let audience = audience();
    let customers: Vec<Value> = (0..audience)
        .map(|number| {
            let status = if number % 20 == 0 { "blocked" } else { "active" };
            json!({"name": format!("Ravi Kumar {number}"), "status": status, "tags": ["sale"]})
        })
        .collect();
    for part in customers.chunks(500) {
        let (status, answer) =
            server.post("/customers/batch", &token, &json!({"items": part})).await.expect("answered");
        assert_eq!(status, StatusCode::OK, "{answer}");
    }
    // As long as this is, they are planned in several chunks.
    let message = format!("Hi {{{{name}}}}, {}", "come and see what is new. ".repeat(160));
    let new = json!({
        "name": "Sale", "channel": "mock", "message": message, "launch": true,
        "rules_json": {"field": "tags", "op": "contains", "value": "sale"},
    });
    let (status, campaign) = server.post("/campaigns", &token, &new).await.expect("answered");
    assert_eq!(status, StatusCode::CREATED, "{campaign}");
    let path = format!("/campaigns/{}", campaign["id"].as_str().expect("an id"));
    let mut wanted = 0;
    for _ in 0..rounds() {
        wanted += SENT;
        loop {
            let (_, detail) = server.get(&path, &token).await;
            if count(&detail, "sent") >= wanted || detail["status"] == "sent" {
                wanted = wanted.max(count(&detail, "sent"));
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        server.process.kill().expect("killed");
        server.process.wait().expect("ended");
        server = start().await;
    }
    let begun = Instant::now();
    let ended = loop {
        let (status, detail) = server.get(&path, &token).await;
        assert_eq!(status, StatusCode::OK, "{detail}");
        if detail["status"] == "sent" {
            break detail;
        }
        assert!(begun.elapsed() < PATIENCE, "it does not end: {}\n{}", detail["statistics"], server.printed());
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let blocked = audience.div_ceil(20) as u64;
    let figures = ["audience", "queued", "sent", "failed", "suppressed", "unknown"].map(|name| count(&ended, name));
    assert_eq!(figures, [audience as u64, 0, audience as u64 - blocked, 0, blocked, 0], "{}", ended["statistics"]);

    // One communication for each customer, each under a name of its own at the vendor, which takes a name once.
    let (mut customers, mut names, mut cursor) = (BTreeSet::new(), BTreeSet::new(), String::new());
    loop {
        let (status, page) = server.get(&format!("{path}/communications?limit=100{cursor}"), &token).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        for one in page["data"].as_array().expect("data") {
            assert!(customers.insert(one["customer_id"].to_string()), "{one}");
            match one["vendor_message_id"].as_str() {
                Some(name) => assert!(names.insert(name.to_owned()), "{one}"),
                None => assert_eq!(one["reason"], "blocked", "{one}"),
            }
        }
        match page["page"]["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!((customers.len(), names.len() as u64), (audience, audience as u64 - blocked));
}
