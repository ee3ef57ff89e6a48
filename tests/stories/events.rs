//! Events on their way from the commit to who deals with them, through a queue.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use crm_core::{
    Result, async_trait, background,
    event::{EVENTS, Event, HANDLERS},
    port::{EventSink, ManualClock, OperatingSystemRandom, SystemClock, queue::SharedQueue},
    time::Timestamp,
};
use crm_queue::{RabbitMqOptions, RabbitMqQueue, RedisOptions, RedisQueue};
use crm_test_servers::{Durability, RabbitMq, Redis};
use serde_json::json;
use tokio::{sync::Notify, task::block_in_place};

use crate::support::{Organization, QueueKind, Setup, StoreKind, on_every_store};

/// How long everything may take, on a slow machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// What came of customers, to any process: the event, the customer and its version.
#[derive(Clone, Default)]
struct Received {
    events: Arc<Mutex<Vec<(String, String, i64)>>>,
    hint: Arc<Notify>,
}

#[async_trait]
impl EventSink for Received {
    async fn publish(&self, events: &[Event]) -> Result<()> {
        let of_customers = events.iter().filter(|event| event.record_type == "customers");
        let told = of_customers.map(|event| (event.id.to_string(), event.record_id.to_string(), event.record_version));
        self.events.lock().expect("unpoisoned").extend(told);
        self.hint.notify_one();
        Ok(())
    }
}

impl Received {
    fn len(&self) -> usize {
        self.events.lock().expect("unpoisoned").len()
    }

    /// Waits until this holds. The clock goes on meanwhile, if it is one that stands still.
    async fn until(&self, clock: Option<&ManualClock>, holds: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !holds(self) {
                let _ = tokio::time::timeout(Duration::from_millis(100), self.hint.notified()).await;
                if let Some(clock) = clock {
                    clock.advance(Duration::from_millis(100));
                }
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("it comes to that");
    }

    fn has(&self, expected: &BTreeSet<(String, i64)>) -> bool {
        let came = self.events.lock().expect("unpoisoned");
        let came: BTreeSet<(String, i64)> =
            came.iter().map(|(_, record, version)| (record.clone(), *version)).collect();
        expected.is_subset(&came)
    }

    /// Each customer's events came in the order of its versions, repetitions aside.
    fn is_in_order(&self) {
        let (mut seen, mut last) = (HashSet::new(), HashMap::new());
        for (id, record, version) in self.events.lock().expect("unpoisoned").iter() {
            if seen.insert(id.clone()) {
                let before = last.insert(record.clone(), *version);
                assert!(before.is_none_or(|before| before < *version), "{record}: {version} after {before:?}");
            }
        }
    }
}

/// Creates customers and changes each of them, and notes what events that makes.
async fn write(shop: &Organization, round: usize, expected: &Mutex<BTreeSet<(String, i64)>>) {
    let writes = (0..6).map(async |number| {
        let customer = shop.admin.post("/customers", json!({"name": format!("Customer {round}.{number}")})).await;
        let customer = customer.created();
        let id = customer.id().to_owned();
        expected.lock().expect("unpoisoned").insert((id.clone(), 1));
        for version in 2..=4 {
            let change = json!({"name": format!("Customer {round}.{number}, {version}")});
            shop.admin.patch(format!("/customers/{id}"), change).await.ok();
            expected.lock().expect("unpoisoned").insert((id.clone(), version));
        }
    });
    futures::future::join_all(writes).await;
}

on_every_store! {
    /// Processes die in the middle of handing events on: each event comes, and those of a customer in order.
    async fn killed_processes_lose_nothing(setup: Setup) {
        let clock = Arc::new(ManualClock::new(Timestamp::from_milliseconds(1_780_000_000_000).expect("an instant")));
        let received = Received::default();
        let process = || {
            let setup = setup.another().clock(&clock).event_sink(received.clone());
            setup.queue(QueueKind::InStore).without_background().start()
        };
        let front = process().await;
        let shop = front.organization("Shop").await;
        let expected = Mutex::default();
        for round in 0..4 {
            let dying = process().await;
            let running = tokio::spawn(background::run(dying.crm.clone(), std::future::pending()));
            let enough = received.len() + 1 + 5 * round;
            tokio::join!(
                write(&shop, round, &expected),
                async {
                    received.until(Some(&*clock), |received| received.len() >= enough).await;
                    running.abort();
                    assert!(running.await.is_err_and(|ended| ended.is_cancelled()));
                }
            );
            // What it had is nobody's from now on.
            clock.advance(Duration::from_mins(1));
        }
        let last = process().await;
        let running = tokio::spawn(background::run(last.crm.clone(), std::future::pending()));
        let expected = expected.into_inner().expect("unpoisoned");
        received.until(Some(&*clock), |received| received.has(&expected)).await;
        received.is_in_order();
        running.abort();
    }
}

/// Two processes share a broker.
async fn through(queue: SharedQueue) {
    let received = Received::default();
    let setup = Setup::on(StoreKind::Sqlite).await;
    let start = |setup: Setup| {
        let setup = setup.event_sink(received.clone()).queue(QueueKind::Broker(Arc::clone(&queue)));
        setup.options(|options| options.health_interval = Duration::ZERO).start()
    };
    let right = start(setup.another()).await;
    let left = start(setup).await;
    let shop = left.organization("Shop").await;
    let expected = Mutex::default();
    write(&shop, 0, &expected).await;
    let expected = expected.into_inner().expect("unpoisoned");
    received.until(None, |received| received.has(&expected)).await;
    received.is_in_order();
    let health = right.anonymous.get("//health").await.ok();
    assert_eq!((&health["status"], &health["queue"]["kind"]), (&json!("up"), &json!(queue.engine())));
    let group = EVENTS.group(HANDLERS).expect("declared");
    let empty = async {
        while queue.depth(group).await.is_ok_and(|depth| depth.ready + depth.delayed + depth.in_hand.unwrap_or(0) > 0) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, empty).await.expect("everything is acknowledged");
    assert_eq!(queue.depth(group).await.expect("known").dead, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_redis() {
    let redis = block_in_place(|| Redis::start(Durability::None)).unwrap_or_else(|error| panic!("{error}"));
    let options = RedisOptions::new(redis.url(0));
    let queue = RedisQueue::open(&options, Arc::new(SystemClock), Arc::new(OperatingSystemRandom));
    through(Arc::new(queue.expect("options"))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_rabbitmq() {
    let rabbitmq = block_in_place(RabbitMq::start).unwrap_or_else(|error| panic!("{error}"));
    let options = RabbitMqOptions::new(rabbitmq.url());
    let queue = RabbitMqQueue::open(&options, Arc::new(SystemClock), Arc::new(OperatingSystemRandom));
    through(Arc::new(queue.expect("options"))).await;
}
