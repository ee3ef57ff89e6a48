//! A broker dies under load and comes back: nothing that was confirmed is lost, and the process goes on by itself.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crm_core::{
    id::{OrganizationId, new_uuid},
    port::{
        Clock as _, OperatingSystemRandom, SystemClock,
        queue::{Message, Priority, SharedQueue, Subscription, Topic},
    },
    store::Json,
};
use crm_queue::{RedisCache, RedisOptions, RedisQueue};
use crm_test_servers::{Durability, Redis};
use futures::StreamExt as _;
use tokio::{task::JoinSet, time::Instant};
use uuid::Uuid;

static WORK: Topic = Topic { name: "work", groups: &["workers"] };

/// How long the broker stays away.
const AWAY: Duration = Duration::from_secs(3);
/// How long everything may take after it is back.
const PATIENCE: Duration = Duration::from_secs(120);

fn message(number: usize) -> Message {
    let now = SystemClock.now();
    Message {
        id: new_uuid(now, &OperatingSystemRandom),
        kind: "work.wanted".to_owned(),
        version: 1,
        organization: OrganizationId::INSTALLATION,
        key: number.is_multiple_of(2).then(|| format!("record-{}", number % 10)),
        priority: Priority::ALL[number % 3],
        published_at: now,
        request_id: None,
        body: Json::default(),
    }
}

#[derive(Default)]
struct Load {
    confirmed: Mutex<HashSet<Uuid>>,
    /// What came to a consumer.
    came: Mutex<HashSet<Uuid>>,
    ends: AtomicBool,
}

/// Publishers and consumers that go on whatever happens, until they are told to end.
fn start(queue: &SharedQueue, load: &Arc<Load>) -> JoinSet<()> {
    let mut running = JoinSet::new();
    for publisher in 0..2 {
        let (queue, load) = (queue.clone(), load.clone());
        running.spawn(async move {
            for number in 0.. {
                if load.ends.load(Ordering::SeqCst) {
                    return;
                }
                let batch: Vec<Message> = (0..5).map(|place| message(number * 10 + publisher * 5 + place)).collect();
                // As a relay does: the same again, until it is confirmed.
                while queue.publish(&WORK, &batch, Duration::ZERO).await.is_err() {
                    if load.ends.load(Ordering::SeqCst) {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                load.confirmed.lock().unwrap().extend(batch.iter().map(|message| message.id));
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }
    for _ in 0..2 {
        let (queue, load) = (queue.clone(), load.clone());
        running.spawn(async move {
            let subscription =
                Subscription { lease: Duration::from_secs(5), ..Subscription::new(WORK.group("workers").unwrap()) };
            let mut deliveries = queue.consume(subscription).await.unwrap();
            // Ends when the queue is closed.
            while let Some(delivery) = deliveries.next().await.unwrap() {
                load.came.lock().unwrap().insert(delivery.message().id);
                // Where the answer is lost, it comes again.
                let _ = delivery.acknowledge().await;
            }
        });
    }
    running
}

async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn nothing_is_lost(
    open: impl Fn() -> SharedQueue,
    settled: impl AsyncFn() -> bool,
    kill: impl FnOnce(),
    start_again: impl FnOnce(),
) {
    let load = Arc::new(Load::default());
    let queue = open();
    let running = start(&queue, &load);
    let came = || load.came.lock().unwrap().len();
    until("it begins", async || came() > 100).await;
    until("the broker has settled", settled).await;
    kill();
    until("it is seen that the broker is away", async || queue.health().await.is_err()).await;
    // One that comes while the broker is away.
    let another = open();
    let running_too = start(&another, &load);
    tokio::time::sleep(AWAY).await;
    start_again();
    for queue in [&queue, &another] {
        until("it is seen that the broker is back", async || queue.health().await.is_ok()).await;
    }
    let before = came();
    until("it goes on", async || came() > before + 100).await;
    load.ends.store(true, Ordering::SeqCst);
    until("everything confirmed has come", async || {
        load.confirmed.lock().unwrap().is_subset(&load.came.lock().unwrap())
    })
    .await;
    let group = WORK.group("workers").unwrap();
    until("nothing is left", async || {
        queue.depth(group).await.is_ok_and(|depth| depth.ready + depth.delayed + depth.in_hand.unwrap_or(0) == 0)
    })
    .await;
    assert_eq!(queue.depth(group).await.unwrap().dead, 0);
    queue.close().await;
    another.close().await;
    for running in [running, running_too] {
        tokio::time::timeout(PATIENCE, running.join_all()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn redis_dies_and_comes_back() {
    let server = Mutex::new(Redis::start(Durability::Full).unwrap());
    let options = RedisOptions::new(server.lock().unwrap().url(0)).timeout(Duration::from_secs(2));
    let cache = RedisCache::open(&options, Arc::new(OperatingSystemRandom)).unwrap();
    let mut hints = crm_core::port::cache::Cache::listen(&cache, "changes").await.unwrap();
    nothing_is_lost(
        || Arc::new(RedisQueue::open(&options, Arc::new(SystemClock), Arc::new(OperatingSystemRandom)).unwrap()),
        async || true,
        || server.lock().unwrap().kill().unwrap(),
        || server.lock().unwrap().start_again().unwrap(),
    )
    .await;
    let hint = tokio::time::timeout(PATIENCE, hints.next()).await.unwrap();
    assert_eq!(hint.as_deref(), Some(""), "a listener is told that it missed something");
}
