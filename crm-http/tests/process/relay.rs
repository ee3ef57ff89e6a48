//! Events on their way out: the process killed in the middle of handing them on, and what they go through killed.

use std::{
    env, fs,
    path::Path,
    sync::LazyLock,
    time::{Duration, Instant},
};

use crm_core::port::{OperatingSystemRandom, Random as _};
use crm_test_servers::{Durability, Postgres, RabbitMq, Redis};
use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::{
    campaign,
    support::{Changes, Engine, Killable, Observer, Place, Server, Versions, Webhook},
};

/// How many writers there are at once.
const WRITERS: usize = 4;
/// How much is acknowledged in each round.
const ACKNOWLEDGED: usize = 40;
/// How soon `/health` tells that something is away: within `HEALTH_CHECK_INTERVAL`, which is short here, and what a busy
/// machine takes.
const NOTICED: Duration = Duration::from_secs(20);
/// How soon it tells that something is back.
const BACK: Duration = Duration::from_secs(90);
/// The broker that is not killed.
pub(crate) static RABBITMQ: LazyLock<RabbitMq> =
    LazyLock::new(|| RabbitMq::start().unwrap_or_else(|error| panic!("{error}")));

/// A number that a longer run has in the environment.
pub(crate) fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// How often the server is killed.
pub(crate) fn rounds() -> u64 {
    number("CRM_KILL_ROUNDS", 3)
}

/// How long others are away.
fn outage() -> Duration {
    Duration::from_secs(number("CRM_OUTAGE_SECONDS", 5))
}

async fn start(place: &Place, settings: &[(&str, &str)]) -> Server {
    let mut server = Server::begin_with(place, settings);
    server.wait_until_ready().await;
    server
}

/// Writes go on while the server is killed, each time a moment after it has handed on some of them. Every event of what
/// was acknowledged is handed on, and has one effect.
async fn killed(place: Place, settings: &[(&str, &str)], observer: Option<Observer>) {
    let settings = [settings, &[("JWT_EXPIRES_IN", "12h"), ("LOG_LEVEL", "warn")]].concat();
    let mut server = start(&place, &settings).await;
    server.register().await;
    let token = server.log_in().await;
    let webhook = Webhook::create(&server, &token).await;
    let mut acknowledged = Versions::new();
    for _ in 0..rounds() {
        let before = webhook.count(&server, &token).await;
        let changes = Changes::start(&server, &token, WRITERS);
        changes.acknowledge(ACKNOWLEDGED, &server).await;
        let handed_on = async {
            // What the last one had begun is another's only when its lease is over.
            while webhook.count(&server, &token).await == before {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(120), handed_on).await;
        assert!(in_time.is_ok(), "nothing is handed on:\n{}", server.printed());
        let mut random = [0];
        OperatingSystemRandom.fill(&mut random);
        tokio::time::sleep(Duration::from_millis(random[0].into())).await;
        server.process.kill().expect("killed");
        server.process.wait().expect("ended");
        acknowledged.append(&mut changes.stop().await);
        server = start(&place, &settings).await;
    }
    webhook.is_told_of(&acknowledged, &server, &token).await;
    if let Some(observer) = observer {
        observer.is_told_of(&acknowledged).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_with_the_store_alone() {
    killed(Place::new(Engine::Sqlite), &[], None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_with_mongodb_alone() {
    killed(Place::new(Engine::Mongo), &[], None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_with_rabbitmq() {
    let url = block_in_place(|| RABBITMQ.url());
    let observer = Observer::start(&url, "killed").await;
    let settings = [("RABBITMQ_URL", url.as_str()), ("RABBITMQ_QUEUE_PREFIX", "killed")];
    killed(Place::new(Engine::Postgres), &settings, Some(observer)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_with_redis() {
    let redis = block_in_place(|| Redis::start(Durability::None)).unwrap_or_else(|error| panic!("{error}"));
    let url = redis.url(0);
    killed(Place::new(Engine::Postgres), &[("REDIS_URL", &url), ("QUEUE", "redis")], None).await;
}

/// What `/health` tells.
async fn health(server: &Server) -> Value {
    let answer = server.client.get(format!("{}/health", server.base)).send().await.expect("answered");
    answer.json().await.expect("JSON")
}

/// How it says that the server is, and a part.
fn statuses<'a>(health: &'a Value, part: &str) -> (&'a Value, &'a Value) {
    (&health["status"], &health[part]["status"])
}

/// Waits until it tells something.
async fn health_tells(server: &Server, within: Duration, expected: impl Fn(&Value) -> bool) -> Value {
    let told = async {
        loop {
            let health = health(server).await;
            if expected(&health) {
                return health;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let told = tokio::time::timeout(within, told).await;
    told.unwrap_or_else(|_| panic!("it does not tell within {within:?}:\n{}", server.printed()))
}

/// Something is killed and started again while writes go on: `part` is what `/health` calls it, `meanwhile` what it says
/// of the server until then. The process goes on, and every event of what was acknowledged is handed on.
async fn away(
    mut server: Server,
    (part, meanwhile): (&str, &str),
    killable: &mut impl Killable,
    has_settled: impl Fn() -> bool,
    observer: Option<Observer>,
) {
    server.wait_until_ready().await;
    server.register().await;
    let token = server.log_in().await;
    let webhook = Webhook::create(&server, &token).await;
    let up = (&json!("up"), &json!("up"));
    health_tells(&server, BACK, |health| statuses(health, part) == up).await;
    let changes = Changes::start(&server, &token, WRITERS);
    changes.acknowledge(ACKNOWLEDGED, &server).await;
    let deadline = Instant::now() + Duration::from_secs(120);
    while !has_settled() {
        assert!(Instant::now() < deadline, "what is to be killed does not settle");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // It was just looked at: where the interval were the default one, it would not be for half a minute.
    let last = health(&server).await[part]["checked_at"].clone();
    health_tells(&server, BACK, |health| health[part]["checked_at"] != last).await;
    block_in_place(|| killable.kill()).expect("it ran");
    let killed = Instant::now();
    let down = (&json!(meanwhile), &json!("down"));
    health_tells(&server, NOTICED, |health| statuses(health, part) == down).await;
    if meanwhile == "degraded" {
        changes.acknowledge(ACKNOWLEDGED, &server).await;
        campaign::is_sent(&server, &token).await;
    }
    tokio::time::sleep(outage().saturating_sub(killed.elapsed())).await;
    assert_eq!(statuses(&health(&server).await, part), down, "it still is");
    block_in_place(|| killable.start_again()).expect("it starts");
    health_tells(&server, BACK, |health| statuses(health, part) == up).await;
    changes.acknowledge(ACKNOWLEDGED, &server).await;
    let acknowledged = changes.stop().await;
    webhook.is_told_of(&acknowledged, &server, &token).await;
    if let Some(observer) = observer {
        observer.is_told_of(&acknowledged).await;
    }
    assert!(server.process.try_wait().expect("asked").is_none(), "it is the same process");
    assert!(!server.printed().contains("panicked"), "{}", server.printed());
}

/// Whether the broker would know its queues again: it writes the names of new ones a few seconds later, and one that is
/// killed before starts them anew, without what was confirmed, or without a leader.
fn remembers_queues(folder: &Path) -> bool {
    let nodes = fs::read_dir(folder.join("mnesia")).into_iter().flatten().flatten();
    let systems = nodes.flat_map(|node| fs::read_dir(node.path().join("quorum")).into_iter().flatten().flatten());
    let names: Vec<u8> =
        systems.filter_map(|system| fs::read(system.path().join("names.dets")).ok()).flatten().collect();
    ["events.handlers", "events.observers", "campaigns.senders"].iter().all(|group| {
        ["high", "normal", "low", "keyed.0", "keyed.1", "keyed.2", "keyed.3", "dead"].iter().all(|lane| {
            let name = format!("crm.{group}.{lane}");
            names.windows(name.len()).any(|written| written == name.as_bytes())
        })
    })
}

/// While the broker is away nothing but events waits: campaigns are sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rabbitmq_is_away() {
    let mut rabbitmq = block_in_place(RabbitMq::start).unwrap_or_else(|error| panic!("{error}"));
    let url = rabbitmq.url();
    let observer = Observer::start(&url, "crm").await;
    let place = Place::new(Engine::Sqlite);
    let server = Server::begin_with(&place, &[("RABBITMQ_URL", &url), ("LOG_LEVEL", "warn")]);
    let folder = rabbitmq.folder().to_owned();
    let has_settled = || remembers_queues(&folder);
    away(server, ("queue", "degraded"), &mut rabbitmq, has_settled, Some(observer)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_away() {
    let mut redis = block_in_place(|| Redis::start(Durability::Full)).unwrap_or_else(|error| panic!("{error}"));
    let place = Place::new(Engine::Sqlite);
    let server = Server::begin_with(&place, &[("REDIS_URL", &redis.url(0)), ("QUEUE", "redis"), ("LOG_LEVEL", "warn")]);
    away(server, ("queue", "degraded"), &mut redis, || true, None).await;
}

/// While the database is away nothing goes on, and the broker is still there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_is_away() {
    let postgres = block_in_place(|| Postgres::start(Durability::Full, &[]));
    let mut postgres = postgres.unwrap_or_else(|error| panic!("{error}"));
    postgres.create_database("crm").expect("a new database");
    let url = block_in_place(|| RABBITMQ.url());
    let observer = Observer::start(&url, "outage").await;
    let place = Place::at(Some(postgres.url("crm")));
    let settings = [("RABBITMQ_URL", url.as_str()), ("RABBITMQ_QUEUE_PREFIX", "outage"), ("LOG_LEVEL", "warn")];
    away(Server::begin_with(&place, &settings), ("store", "down"), &mut postgres, || true, Some(observer)).await;
}
