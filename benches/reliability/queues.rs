//! Messages that wait are taken and acknowledged.

use std::{
    future::Future,
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput};
use crm_core::{
    id::{OrganizationId, new_uuid},
    port::{
        Clock as _, OperatingSystemRandom, SystemClock,
        queue::{Message, Priority, Queue as _, Subscription, Topic},
    },
    store::{Json, SharedStore},
};
use crm_queue::InStoreQueue;
use crm_store_postgres::{PostgresOptions, PostgresStore};
use crm_store_sqlite::SqliteStore;
use crm_test_servers::{Durability, Postgres};
use futures::stream::{FuturesUnordered, StreamExt as _};
use sqlx::{PgPool, Row as _, postgres::PgPoolOptions};
use tokio::{
    runtime::Runtime,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
};
use uuid::Uuid;

use super::writer::{self, HOLDER, Write};

static TOPIC: Topic = Topic { name: "bench", groups: &["handlers"] };
/// Messages with the consumer that have not been answered.
const PREFETCH: u16 = 64;
/// Of these, handled at once.
const IN_HAND: usize = 32;
const LEASE: Duration = Duration::from_secs(60);

fn message(number: u64) -> Message {
    let now = SystemClock.now();
    Message {
        id: new_uuid(now, &OperatingSystemRandom),
        kind: "customer.created".to_owned(),
        version: 1,
        organization: OrganizationId(Uuid::from_u128(1)),
        key: None,
        priority: Priority::Normal,
        published_at: now,
        request_id: Some("0190f3c2a1b07c4d9e8f7a6b5c4d3e2f".to_owned()),
        body: Json::from_value(&serde_json::json!({"id": number, "name": "Amélie Poulain", "status": "active"})),
    }
}

async fn open(store: SharedStore) -> InStoreQueue {
    InStoreQueue::open(store, Arc::new(SystemClock), Arc::new(OperatingSystemRandom)).await.unwrap()
}

async fn fill(queue: &InStoreQueue, messages: u64) {
    let all: Vec<Message> = (0..messages).map(message).collect();
    for batch in all.chunks(500) {
        queue.publish(&TOPIC, batch, Duration::ZERO).await.unwrap();
    }
}

async fn ours(queue: &InStoreQueue, messages: u64) -> Duration {
    fill(queue, messages).await;
    let begin = Instant::now();
    let subscription =
        Subscription { prefetch: PREFETCH, lease: LEASE, ..Subscription::new(TOPIC.group("handlers").unwrap()) };
    let mut deliveries = queue.consume(subscription).await.unwrap();
    let (mut begun, mut done) = (0, 0);
    let mut in_hand = FuturesUnordered::new();
    while done < messages {
        tokio::select! {
            delivery = deliveries.next(), if begun < messages && in_hand.len() < IN_HAND => {
                let delivery = delivery.unwrap().unwrap();
                black_box(delivery.message());
                in_hand.push(delivery.acknowledge());
                begun += 1;
            }
            Some(acknowledged) = in_hand.next() => {
                acknowledged.unwrap();
                done += 1;
            }
        }
    }
    begin.elapsed()
}

/// The hand-written loop: somebody claims as many as there is room for, and 32 at once are handled and removed.
async fn floor<C, R, A, D>(messages: u64, claim: C, acknowledge: A) -> Duration
where
    C: Fn(i64) -> R + Send + 'static,
    R: Future<Output = Vec<(Uuid, String)>> + Send,
    A: Fn(Uuid) -> D,
    D: Future<Output = ()>,
{
    let begin = Instant::now();
    let places = Arc::new(Semaphore::new(usize::from(PREFETCH)));
    let (sender, mut claimed) = mpsc::channel::<(Uuid, String, OwnedSemaphorePermit)>(usize::from(PREFETCH));
    let claimer = tokio::spawn(async move {
        let mut left = messages;
        while left > 0 {
            let mut free = vec![places.clone().acquire_owned().await.unwrap()];
            while let Ok(place) = places.clone().try_acquire_owned() {
                free.push(place);
            }
            let rows = claim(free.len() as i64).await;
            left -= rows.len() as u64;
            for ((id, body), place) in rows.into_iter().zip(free) {
                sender.send((id, body, place)).await.unwrap();
            }
        }
    });
    let (mut begun, mut done) = (0, 0);
    let mut in_hand = FuturesUnordered::new();
    while done < messages {
        tokio::select! {
            message = claimed.recv(), if begun < messages && in_hand.len() < IN_HAND => {
                let (id, body, place) = message.unwrap();
                black_box(serde_json::from_str::<serde_json::Value>(&body).unwrap());
                let acknowledged = acknowledge(id);
                in_hand.push(async move {
                    acknowledged.await;
                    drop(place);
                });
                begun += 1;
            }
            Some(()) = in_hand.next() => done += 1,
        }
    }
    claimer.await.unwrap();
    begin.elapsed()
}

fn until() -> i64 {
    SystemClock.now().plus(LEASE).as_milliseconds()
}

const CLAIM: &str = "UPDATE queue_messages SET state = 'in_hand', holder = $1, due_at = to_timestamp($2), version = version + 1 \
    WHERE id IN (SELECT id FROM queue_messages WHERE queue = 'bench/handlers' AND state = 'ready' \
    ORDER BY priority, due_at, sequence LIMIT $3 FOR UPDATE SKIP LOCKED) RETURNING id, body::text";
const ACKNOWLEDGE: &str = "DELETE FROM queue_messages WHERE id = $1 AND holder = $2 AND state = 'in_hand'";

async fn floor_on_postgres(pool: &PgPool, messages: u64) -> Duration {
    let claiming = pool.clone();
    let claim = move |limit: i64| {
        let pool = claiming.clone();
        async move {
            let claim = sqlx::query(CLAIM).bind(HOLDER).bind(until() as f64 / 1000.0).bind(limit);
            let rows = claim.fetch_all(&pool).await.unwrap();
            rows.iter().map(|row| (row.get(0), row.get(1))).collect()
        }
    };
    let acknowledge = |id: Uuid| async move {
        let delete = sqlx::query(ACKNOWLEDGE).bind(id).bind(HOLDER);
        assert_eq!(delete.execute(pool).await.unwrap().rows_affected(), 1);
    };
    floor(messages, claim, acknowledge).await
}

async fn floor_on_sqlite(writer: &mpsc::Sender<Write>, messages: u64) -> Duration {
    let claiming = writer.clone();
    let claim = move |limit: i64| {
        let writer = claiming.clone();
        async move {
            let (reply, rows) = oneshot::channel();
            writer.send(Write::Claim { limit, until: until(), reply }).await.unwrap();
            rows.await.unwrap()
        }
    };
    let acknowledge = |id: Uuid| async move {
        let (reply, done) = oneshot::channel();
        writer.send(Write::Acknowledge { id, reply }).await.unwrap();
        done.await.unwrap();
    };
    floor(messages, claim, acknowledge).await
}

pub(crate) fn queues(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let mut group = criterion.benchmark_group("queue");
    group.throughput(Throughput::Elements(1));

    let server = Postgres::start(Durability::Full, &[]).unwrap();
    for name in ["ours", "floor"] {
        server.create_database(name).unwrap();
    }
    let connect = |name: &str| {
        let options = PostgresOptions::parse(&server.url(name)).unwrap().pool(IN_HAND + 4);
        runtime.block_on(async { open(Arc::new(PostgresStore::connect_with(options).await.unwrap())).await })
    };
    let (queue, other) = (connect("ours"), connect("floor"));
    let pool = PgPoolOptions::new().max_connections(IN_HAND as u32 + 4);
    let pool = runtime.block_on(pool.connect(&server.url("floor"))).unwrap();
    group.bench_function("postgres/floor", |bencher| {
        bencher.iter_custom(|messages| {
            runtime.block_on(async {
                fill(&other, messages).await;
                floor_on_postgres(&pool, messages).await
            })
        });
    });
    group.bench_function("postgres/ours", |bencher| {
        bencher.iter_custom(|messages| runtime.block_on(ours(&queue, messages)));
    });

    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let connect =
        |name: &str| runtime.block_on(async { open(Arc::new(SqliteStore::open(path(name)).await.unwrap())).await });
    let (queue, other) = (connect("ours.db"), connect("floor.db"));
    let writer = runtime.block_on(writer::open(&path("floor.db")));
    group.bench_function("sqlite/floor", |bencher| {
        bencher.iter_custom(|messages| {
            runtime.block_on(async {
                fill(&other, messages).await;
                floor_on_sqlite(&writer, messages).await
            })
        });
    });
    group.bench_function("sqlite/ours", |bencher| {
        bencher.iter_custom(|messages| runtime.block_on(ours(&queue, messages)));
    });
    group.finish();
}
