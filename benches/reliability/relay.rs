//! The relay: from the outbox on PostgreSQL to RabbitMQ; and how soon an event is with who handles it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use criterion::{Criterion, Throughput};
use crm_core::{
    Crm,
    access::Principal,
    background,
    crm::collections,
    error::Result,
    event::{Event, relay},
    id::{OrganizationId, new_uuid},
    operation::Operation,
    port::{Clock as _, EventSink, OperatingSystemRandom, SystemClock},
    store::{SharedStore, Store as _},
};
use crm_queue::{RabbitMqOptions, RabbitMqQueue};
use crm_store_postgres::PostgresStore;
use crm_store_sqlite::SqliteStore;
use crm_test_servers::{Durability, Postgres, RabbitMq};
use futures::{StreamExt as _, stream::FuturesUnordered};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties,
    options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use sqlx::{PgPool, Row as _, postgres::PgPoolOptions};
use tokio::{
    runtime::Runtime,
    sync::{mpsc, oneshot},
};
use uuid::Uuid;

/// Events that the floor takes at once: as many as the relay.
const BATCH: i64 = 200;
/// Events of which it is measured how soon they are handled, and of which by another process.
const SAMPLES: u32 = 200;
const BY_OTHERS: u32 = 100;
const WARMING: u32 = 10;
/// The pause between two of them: nothing else is to be done.
const PAUSE: Duration = Duration::from_millis(100);
const QUEUE: &str = "floor";

async fn store(url: &str) -> SharedStore {
    let store = PostgresStore::connect(url).await.unwrap();
    store.migrate(collections(), &|_, _, _| ()).await.unwrap();
    Arc::new(store)
}

/// Commits so many events, each of a record of its own; answers the last one's.
async fn emit(crm: &Crm, by: &Principal, events: u64) -> Uuid {
    let mut operation = Operation::new(crm, by);
    let mut record = Uuid::nil();
    for number in 0..events {
        record = new_uuid(SystemClock.now(), &OperatingSystemRandom);
        let data = serde_json::json!({"id": record, "changed": ["name", "email"], "number": number});
        operation.emit_named("customer.created", "customers", record, 1, &data);
    }
    operation.commit().await.unwrap();
    record
}

fn somebody() -> Principal {
    Principal::system(OrganizationId(new_uuid(SystemClock.now(), &OperatingSystemRandom)))
}

async fn fill(crm: &Crm, events: u64) {
    let by = somebody();
    let mut left = events;
    while left > 0 {
        let batch = left.min(1000);
        emit(crm, &by, batch).await;
        left -= batch;
    }
}

async fn ours(crm: &Crm, events: u64) -> Duration {
    fill(crm, events).await;
    let begin = Instant::now();
    while relay::publish_pending(crm).await.unwrap() > 0 {}
    begin.elapsed()
}

/// The hand-written loop: a batch is read, published with confirms, and marked.
async fn floor(pool: &PgPool, channel: &Channel) -> Duration {
    let begin = Instant::now();
    loop {
        let mut transaction = pool.begin().await.unwrap();
        let rows = sqlx::query(
            "SELECT id, event_type, organization_id, record_type, record_id, record_version, actor_type, data::text, created_at::text \
             FROM outbox WHERE published_at IS NULL ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED",
        )
        .bind(BATCH)
        .fetch_all(&mut *transaction)
        .await
        .unwrap();
        if rows.is_empty() {
            return begin.elapsed();
        }
        let mut confirms = FuturesUnordered::new();
        let mut ids: Vec<Uuid> = Vec::with_capacity(rows.len());
        for row in &rows {
            let id: Uuid = row.get(0);
            let body = serde_json::json!({
                "id": id, "type": row.get::<String, _>(1), "version": 1, "timestamp": row.get::<String, _>(8),
                "organization_id": row.get::<Uuid, _>(2),
                "record": {"type": row.get::<String, _>(3), "id": row.get::<Uuid, _>(4), "version": row.get::<i64, _>(5)},
                "actor": {"type": row.get::<String, _>(6), "id": null}, "request_id": null,
                "data": serde_json::from_str::<serde_json::Value>(row.get(7)).unwrap(),
            });
            let properties = BasicProperties::default()
                .with_delivery_mode(2)
                .with_message_id(id.to_string().into())
                .with_content_type("application/json".into());
            let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            let body = body.to_string();
            let confirm =
                channel.basic_publish("".into(), QUEUE.into(), options, body.as_bytes(), properties).await.unwrap();
            confirms.push(confirm);
            ids.push(id);
        }
        while let Some(confirmation) = confirms.next().await {
            assert!(matches!(confirmation.unwrap(), Confirmation::Ack(None)));
        }
        let mark = sqlx::query(
            "UPDATE outbox SET published_at = now(), updated_at = now(), version = version + 1 WHERE id = ANY($1)",
        );
        mark.bind(&ids).execute(&mut *transaction).await.unwrap();
        transaction.commit().await.unwrap();
    }
}

async fn channel(url: &str) -> Channel {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(QUEUE.into(), options, arguments).await.unwrap();
    channel
}

/// Tells when an event has come.
struct Arrivals(mpsc::UnboundedSender<(Uuid, Instant)>);

#[async_trait]
impl EventSink for Arrivals {
    async fn publish(&self, events: &[Event]) -> Result<()> {
        for event in events {
            let _ = self.0.send((event.record_id, Instant::now()));
        }
        Ok(())
    }
}

/// Prints how long it takes from the end of a commit by `writer` until `handler`'s sink has the event.
async fn latency(
    name: &str,
    samples: u32,
    writer: &Crm,
    handler: Crm,
    arrivals: &mut mpsc::UnboundedReceiver<(Uuid, Instant)>,
) {
    let (stop, stopped) = oneshot::channel::<()>();
    let background = tokio::spawn(background::run(handler, async {
        let _ = stopped.await;
    }));
    let by = somebody();
    let mut taken = Vec::new();
    // The first find connections and leases not made yet.
    for sample in 0..samples + WARMING {
        let record = emit(writer, &by, 1).await;
        let committed = Instant::now();
        // One that came before may come again.
        let arrived = loop {
            let (arrived, at) = arrivals.recv().await.unwrap();
            if arrived == record {
                break at;
            }
        };
        if sample >= WARMING {
            taken.push(arrived.saturating_duration_since(committed));
        }
        // In no step with whoever looks regularly.
        tokio::time::sleep(PAUSE + Duration::from_millis(u64::from(sample * 37 % 100))).await;
    }
    let _ = stop.send(());
    background.await.unwrap();
    taken.sort_unstable();
    let at = |share: usize| taken[taken.len() * share / 100];
    println!("handled/{name}: p50 {:.1?}, p99 {:.1?}, longest {:.1?}", at(50), at(99), taken[taken.len() - 1]);
}

pub(crate) fn relay(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let server = Postgres::start(Durability::Full, &[]).unwrap();
    let broker = RabbitMq::start().unwrap();
    for name in ["relayed", "floor", "alone", "through"] {
        server.create_database(name).unwrap();
    }
    let queue = |prefix: &str| {
        let options = RabbitMqOptions::new(broker.url()).prefix(prefix);
        Arc::new(RabbitMqQueue::open(&options, Arc::new(SystemClock), Arc::new(OperatingSystemRandom)).unwrap())
    };
    let mut group = criterion.benchmark_group("relay");
    group.throughput(Throughput::Elements(1));
    {
        let _inside = runtime.enter();
        let crm = Crm::builder(runtime.block_on(store(&server.url("relayed")))).queue(queue("relay")).build();
        let other = Crm::builder(runtime.block_on(store(&server.url("floor")))).build();
        let pool = PgPoolOptions::new().max_connections(2);
        let pool = runtime.block_on(pool.connect(&server.url("floor"))).unwrap();
        let channel = runtime.block_on(channel(&broker.url()));
        group.bench_function("rabbitmq/floor", |bencher| {
            bencher.iter_custom(|events| {
                runtime.block_on(async {
                    fill(&other, events).await;
                    floor(&pool, &channel).await
                })
            });
        });
        group.bench_function("rabbitmq/ours", |bencher| {
            bencher.iter_custom(|events| runtime.block_on(ours(&crm, events)));
        });
    }
    group.finish();

    runtime.block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let sqlite: SharedStore = {
            let store = SqliteStore::open(folder.path().join("crm.db")).await.unwrap();
            store.migrate(collections(), &|_, _, _| ()).await.unwrap();
            Arc::new(store)
        };
        let (sender, mut arrivals) = mpsc::unbounded_channel();
        let handling = |store: SharedStore| Crm::builder(store).event_sink(Arrivals(sender.clone()));
        let crm = handling(sqlite).build();
        latency("sqlite", SAMPLES, &crm, crm.clone(), &mut arrivals).await;
        let postgres = store(&server.url("alone")).await;
        let crm = handling(Arc::clone(&postgres)).build();
        latency("postgres", SAMPLES, &crm, crm.clone(), &mut arrivals).await;
        let writer = Crm::builder(postgres).build();
        latency("postgres, another process", BY_OTHERS, &writer, crm, &mut arrivals).await;
        let crm = handling(store(&server.url("through")).await).queue(queue("handled")).build();
        latency("postgres and rabbitmq", SAMPLES, &crm, crm.clone(), &mut arrivals).await;
    });
}
