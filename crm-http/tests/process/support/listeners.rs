//! Who listens to events: a webhook, and a consumer of the broker.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use crm_core::port::{
    OperatingSystemRandom, SystemClock,
    queue::{Queue as _, Subscription, Topic},
};
use crm_queue::{RabbitMqOptions, RabbitMqQueue};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::{Server, Versions, everything};

/// How long it may take until everything is handed on: the lease of a consumer that was killed, and a busy machine.
const PATIENCE: Duration = Duration::from_secs(150);

/// A webhook that is disabled: of each event that is handed on there is one delivery, which nobody sends.
pub(crate) struct Webhook {
    deliveries: String,
}

impl Webhook {
    pub(crate) async fn create(server: &Server, token: &str) -> Self {
        let new = json!({"url": "https://receiver.example/", "events": ["customer.*"], "enabled": false});
        let (status, webhook) = server.post("/webhooks", token, &new).await.expect("answered");
        assert_eq!(status, StatusCode::CREATED, "{webhook}");
        Self { deliveries: format!("/webhooks/{}/deliveries?", webhook["id"].as_str().expect("an id")) }
    }

    /// How many deliveries there are.
    pub(crate) async fn count(&self, server: &Server, token: &str) -> u64 {
        let (status, page) = server.get(&format!("{}limit=1&count=true", self.deliveries), token).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        page["page"]["total"].as_u64().expect("a count")
    }

    /// Waits until every one of these has its delivery, then shows that each event has one only, and that those of each
    /// customer were planned in the order of its versions.
    pub(crate) async fn is_told_of(&self, expected: &Versions, server: &Server, token: &str) {
        let deadline = Instant::now() + PATIENCE;
        let deliveries = loop {
            let enough = self.count(server, token).await >= expected.len() as u64;
            let deliveries = if enough { everything(server, &self.deliveries, token).await } else { Vec::new() };
            let told: Versions = deliveries.iter().map(version_of).collect();
            if expected.is_subset(&told) {
                break deliveries;
            }
            let missing: Vec<_> = expected.difference(&told).take(5).collect();
            assert!(Instant::now() < deadline, "not handed on, of {}: {missing:?}\n{}", told.len(), server.printed());
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        let events: HashSet<&str> = deliveries.iter().filter_map(|delivery| delivery["event_id"].as_str()).collect();
        assert_eq!(events.len(), deliveries.len(), "an event is planned once");
        let mut planned: Vec<(String, i64, &str)> = deliveries
            .iter()
            .map(|delivery| {
                let (customer, version) = version_of(delivery);
                (customer, version, delivery["created_at"].as_str().expect("a time"))
            })
            .collect();
        planned.sort();
        let behind = planned.windows(2).find(|pair| pair[0].0 == pair[1].0 && pair[0].2 > pair[1].2);
        assert_eq!(behind, None, "planned in the order of versions");
    }
}

fn version_of(delivery: &Value) -> (String, i64) {
    let record = &delivery["payload"]["record"];
    (record["id"].as_str().expect("an id").to_owned(), record["version"].as_i64().expect("a version"))
}

/// The events as another program takes them from RabbitMQ, in a group of its own.
static EVENTS: Topic = Topic { name: "events", groups: &["observers"] };

/// A consumer of that group. Notes each event, the customer and its version.
pub(crate) struct Observer {
    came: Arc<Mutex<Vec<(String, String, i64)>>>,
    taking: JoinHandle<()>,
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.taking.abort();
    }
}

impl Observer {
    /// Begins, before the first event.
    pub(crate) async fn start(url: &str, prefix: &str) -> Self {
        let options = RabbitMqOptions::new(url).prefix(prefix).timeout(Duration::from_secs(60));
        let queue = RabbitMqQueue::open(&options, Arc::new(SystemClock), Arc::new(OperatingSystemRandom));
        let queue = queue.expect("options");
        let group = EVENTS.group("observers").expect("declared");
        // From now on the broker keeps what comes for the group.
        queue.dead_letters(group, None, 1).await.expect("the broker is there");
        let mut deliveries = queue.consume(Subscription::new(group)).await.expect("subscribed");
        let came = Arc::<Mutex<Vec<_>>>::default();
        let noted = Arc::clone(&came);
        let taking = tokio::spawn(async move {
            // It lives as long as its consumer.
            let _queue = queue;
            while let Ok(Some(delivery)) = deliveries.next().await {
                let message = delivery.message();
                let event: Value = serde_json::from_str(message.body.as_str()).expect("JSON");
                if event["record"]["type"] == "customers" {
                    let text = |value: &Value| value.as_str().expect("a text").to_owned();
                    let version = event["record"]["version"].as_i64().expect("a version");
                    let event = (text(&event["id"]), text(&event["record"]["id"]), version);
                    noted.lock().expect("unpoisoned").push(event);
                }
                // One that is lost comes again.
                let _ = delivery.acknowledge().await;
            }
        });
        Self { came, taking }
    }

    /// Waits until every one of these came, then shows that those of each customer did in the order of its versions,
    /// repetitions aside.
    pub(crate) async fn is_told_of(&self, expected: &Versions) {
        let deadline = Instant::now() + PATIENCE;
        let came = loop {
            let came = self.came.lock().expect("unpoisoned").clone();
            let told: Versions = came.iter().map(|(_, customer, version)| (customer.clone(), *version)).collect();
            if expected.is_subset(&told) {
                break came;
            }
            let missing: Vec<_> = expected.difference(&told).take(5).collect();
            assert!(Instant::now() < deadline, "not at the broker, of {}: {missing:?}", told.len());
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        let (mut seen, mut last) = (HashSet::new(), HashMap::new());
        for (event, customer, version) in &came {
            if seen.insert(event) {
                let before = last.insert(customer, version);
                assert!(before.is_none_or(|before| before < version), "{customer}: {version} after {before:?}");
            }
        }
    }
}
