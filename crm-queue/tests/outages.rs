//! Brokers die under load and come back: nothing that was confirmed is lost, and the process goes on by itself.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::{
    collections::HashSet,
    fs,
    path::Path,
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
        queue::{Message, Priority, Queue as _, SharedQueue, Subscription, Topic},
    },
    store::Json,
};
use crm_queue::{RabbitMqOptions, RabbitMqQueue, RedisCache, RedisOptions, RedisQueue};
use crm_test_servers::{Durability, RabbitMq, Redis};
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
        key: (number % 2 == 0).then(|| format!("record-{}", number % 10)),
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
    queue: SharedQueue,
    settled: impl AsyncFn() -> bool,
    kill: impl FnOnce(),
    start_again: impl FnOnce(),
) {
    let load = Arc::new(Load::default());
    let mut running = start(&queue, &load);
    let came = || load.came.lock().unwrap().len();
    until("it begins", async || came() > 100).await;
    until("the broker has settled", settled).await;
    kill();
    until("it is seen that the broker is away", async || queue.health().await.is_err()).await;
    tokio::time::sleep(AWAY).await;
    start_again();
    until("it is seen that the broker is back", async || queue.health().await.is_ok()).await;
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
    while let Some(ended) = running.join_next().await {
        ended.unwrap();
    }
}

/// Whether the broker would know its queues again: it writes the names of new ones a few seconds later, and one that is
/// killed before starts them anew, without what was confirmed, or a leader.
fn remembers_queues(folder: &Path) -> bool {
    let written = fs::read_dir(folder).into_iter().flatten().flatten().flat_map(|node| {
        let quorum = fs::read_dir(node.path().join("quorum"));
        quorum.into_iter().flatten().flatten().filter_map(|system| fs::read(system.path().join("names.dets")).ok())
    });
    let names: Vec<u8> = written.flatten().collect();
    ["high", "normal", "low", "keyed.0", "keyed.1", "dead"].iter().all(|lane| {
        let name = format!("crm.work.workers.{lane}");
        names.windows(name.len()).any(|written| written == name.as_bytes())
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn redis_dies_and_comes_back() {
    let server = Mutex::new(Redis::start(Durability::Full).unwrap());
    let options = RedisOptions::new(server.lock().unwrap().url(0)).timeout(Duration::from_secs(2));
    let queue = RedisQueue::open(&options, Arc::new(SystemClock), Arc::new(OperatingSystemRandom)).unwrap();
    let cache = RedisCache::open(&options, Arc::new(OperatingSystemRandom)).unwrap();
    let mut hints = crm_core::port::cache::Cache::listen(&cache, "changes").await.unwrap();
    nothing_is_lost(
        Arc::new(queue),
        async || true,
        || server.lock().unwrap().kill().unwrap(),
        || server.lock().unwrap().start_again().unwrap(),
    )
    .await;
    let hint = tokio::time::timeout(PATIENCE, hints.next()).await.unwrap();
    assert_eq!(hint.as_deref(), Some(""), "a listener is told that it missed something");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rabbitmq_dies_and_comes_back() {
    let server = Mutex::new(RabbitMq::start().unwrap());
    let folder = server.lock().unwrap().folder().to_owned();
    let options = RabbitMqOptions::new(server.lock().unwrap().url()).partitions(2);
    let queue = RabbitMqQueue::open(&options, Arc::new(SystemClock), Arc::new(OperatingSystemRandom)).unwrap();
    nothing_is_lost(
        Arc::new(queue),
        async || remembers_queues(&folder.join("mnesia")),
        || server.lock().unwrap().kill().unwrap(),
        || server.lock().unwrap().start_again().unwrap(),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn brokers_may_come_later_than_we_do() {
    let mut server = RabbitMq::start().unwrap();
    server.kill().unwrap();
    let options = RabbitMqOptions::new(server.url()).timeout(Duration::from_secs(30));
    let queue = RabbitMqQueue::open(&options, Arc::new(SystemClock), Arc::new(OperatingSystemRandom)).unwrap();
    let mut deliveries = queue.consume(Subscription::new(WORK.group("workers").unwrap())).await.unwrap();
    assert!(queue.health().await.is_err());
    let publishing = tokio::spawn(async move {
        queue.publish(&WORK, &[message(0)], Duration::ZERO).await.unwrap();
        queue
    });
    server.start_again().unwrap();
    let delivery = tokio::time::timeout(PATIENCE, deliveries.next()).await.unwrap().unwrap().unwrap();
    delivery.acknowledge().await.unwrap();
    publishing.await.unwrap().health().await.unwrap();
}
