//! What it costs to take orders in, beside the two statements that a hand-written program would make of each in one
//! transaction: the order's row, and the addition to the customer's figures. Ours also reads the customer and looks for the
//! `external_id`, and writes the audit entry and the event. One element is one order; 16 are on their way at once, of 2,000
//! customers.

#![expect(clippy::unwrap_used, reason = "a bench that cannot go on ends")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use crm_core::{
    Crm,
    access::Principal,
    crm::collections,
    customer::{BatchOptions, NewCustomers},
    id::{CustomerId, OrganizationId, new_uuid},
    input::FromInput as _,
    order::NewOrder,
    port::{Clock as _, OperatingSystemRandom, SystemClock},
    store::{SharedStore, Store as _},
};
use crm_store_postgres::PostgresStore;
use crm_store_sqlite::SqliteStore;
use crm_test_servers::{Durability, Postgres};
use futures::stream::{self, StreamExt as _};
use rust_decimal::Decimal;
use serde_json::json;
use sqlx::{
    ConnectOptions as _, Executor as _, PgPool, SqliteConnection, postgres::PgPoolOptions,
    sqlite::SqliteConnectOptions, types::time::OffsetDateTime,
};
use tokio::{
    runtime::Runtime,
    sync::{mpsc, oneshot},
};
use uuid::Uuid;

const CUSTOMERS: usize = 2_000;
const AT_ONCE: usize = 16;
/// Orders that a hand-written program on SQLite writes in one transaction at most.
const GROUP: usize = 256;

/// No two orders of a run have the same `external_id`.
static NUMBER: AtomicU64 = AtomicU64::new(0);

fn id() -> Uuid {
    new_uuid(SystemClock.now(), &OperatingSystemRandom)
}

/// A CRM with an organization's customers.
struct Stage {
    crm: Crm,
    by: Principal,
    customers: Vec<CustomerId>,
}

impl Stage {
    async fn new(store: SharedStore) -> Self {
        let crm = Crm::builder(store).build();
        let by = Principal::system(OrganizationId(id()));
        let mut customers = Vec::new();
        for batch in 0..CUSTOMERS / 1000 {
            let items: Vec<_> = (0..1000).map(|number| json!({"name": format!("Customer {batch}-{number}")})).collect();
            let new = NewCustomers::from_json(&json!(items)).unwrap();
            let report = crm.customers().create_batch(&by, new, BatchOptions::default()).await.unwrap();
            customers.extend(report.results.iter().filter_map(|result| result.id));
        }
        Self { crm, by, customers }
    }

    fn customer(&self, number: u64) -> CustomerId {
        let place = usize::try_from(number.wrapping_mul(7919)).unwrap_or_default();
        self.customers[place % self.customers.len()]
    }

    /// So many orders, in the time it takes.
    async fn ours(&self, orders: u64) -> Duration {
        let begin = Instant::now();
        let taken = stream::iter(0..orders).map(|_| async {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let order = json!({
                "customer_id": self.customer(number), "external_id": format!("S-{number}"), "status": "paid",
                "items": [{"sku": "MUG-1", "name": "Mug", "qty": 3, "price": 19.99}],
            });
            self.crm.orders().create(&self.by, NewOrder::from_json(&order).unwrap()).await.unwrap();
        });
        taken.buffer_unordered(AT_ONCE).collect::<()>().await;
        begin.elapsed()
    }
}

const ITEMS: &str = r#"[{"sku":"MUG-1","name":"Mug","qty":"3","price":"19.99"}]"#;

/// Three letters as a number each, for the same column as ours.
fn trigrams(text: &str) -> Vec<i32> {
    let mut trigrams: Vec<i32> =
        text.as_bytes().windows(3).map(|w| i32::from_be_bytes([0, w[0], w[1], w[2]])).collect();
    trigrams.sort_unstable();
    trigrams.dedup();
    trigrams
}

async fn postgres_floor(stage: &Stage, pool: &PgPool, orders: u64) -> Duration {
    let organization = stage.by.organization.0;
    let begin = Instant::now();
    let taken = stream::iter(0..orders).map(|_| async {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let (customer, now) = (stage.customer(number).0, OffsetDateTime::now_utc());
        let amount = Decimal::new(5997, 2);
        let external = format!("S-{number}");
        let mut transaction = pool.begin().await.unwrap();
        sqlx::query(
            "UPDATE customers SET spend = spend + $3, total_order_value = total_order_value + $3, visits = visits + 1, \
             total_orders = total_orders + 1, last_order_date = greatest(last_order_date, $4), \
             last_active = greatest(last_active, $4), active_at = greatest(active_at, $4), updated_at = $4, \
             version = version + 1 WHERE organization_id = $1 AND id = $2 AND deleted_at IS NULL",
        )
        .bind(organization)
        .bind(customer)
        .bind(amount)
        .bind(now)
        .execute(&mut *transaction)
        .await
        .unwrap();
        sqlx::query(
            "INSERT INTO orders (id, organization_id, version, created_at, updated_at, customer_id, external_id, \
             external_id_folded, external_id_trigrams, status, amount, items, date, custom, metadata, custom_folded) \
             VALUES ($1, $2, 1, $3, $3, $4, $5, $6, $7, 'paid', $8, $9::jsonb, $3, '{}', '{}', '{}')",
        )
        .bind(id())
        .bind(organization)
        .bind(now)
        .bind(customer)
        .bind(&external)
        .bind(external.to_lowercase())
        .bind(trigrams(&external.to_lowercase()))
        .bind(amount)
        .bind(ITEMS)
        .execute(&mut *transaction)
        .await
        .unwrap();
        transaction.commit().await.unwrap();
    });
    taken.buffer_unordered(AT_ONCE).collect::<()>().await;
    begin.elapsed()
}

/// What a hand-written program writes to SQLite.
struct Write {
    customer: Uuid,
    external: String,
    reply: oneshot::Sender<()>,
}

/// The one connection of a hand-written program: what waits shares a transaction.
async fn sqlite_writer(mut connection: SqliteConnection, organization: Uuid, mut writes: mpsc::Receiver<Write>) {
    let organization = organization.as_bytes().to_vec();
    let mut group = Vec::new();
    while writes.recv_many(&mut group, GROUP).await > 0 {
        connection.execute("BEGIN IMMEDIATE").await.unwrap();
        for Write { customer, external, .. } in &group {
            let now = SystemClock.now().as_milliseconds();
            let update = sqlx::query(
                "UPDATE customers SET spend = spend + 599700, total_order_value = total_order_value + 599700, \
                 visits = visits + 1, total_orders = total_orders + 1, \
                 last_order_date = max(ifnull(last_order_date, ?3), ?3), last_active = max(ifnull(last_active, ?3), ?3), \
                 active_at = max(active_at, ?3), updated_at = ?3, version = version + 1 \
                 WHERE organization_id = ?1 AND id = ?2 AND deleted_at IS NULL",
            );
            let update = update.bind(&organization).bind(customer.as_bytes().to_vec()).bind(now);
            assert_eq!(connection.execute(update).await.unwrap().rows_affected(), 1);
            let insert = sqlx::query(
                "INSERT INTO orders (id, organization_id, version, created_at, updated_at, customer_id, external_id, \
                 external_id_folded, status, amount, items, date, custom, metadata) \
                 VALUES (?1, ?2, 1, ?3, ?3, ?4, ?5, ?6, 'paid', 599700, ?7, ?3, '{}', '{}')",
            );
            let insert = insert.bind(id().as_bytes().to_vec()).bind(&organization).bind(now);
            let insert = insert.bind(customer.as_bytes().to_vec()).bind(external).bind(external.to_lowercase());
            connection.execute(insert.bind(ITEMS)).await.unwrap();
        }
        connection.execute("COMMIT").await.unwrap();
        group.drain(..).for_each(|write| write.reply.send(()).unwrap());
    }
}

async fn sqlite_floor(stage: &Stage, writes: &mpsc::Sender<Write>, orders: u64) -> Duration {
    let begin = Instant::now();
    let taken = stream::iter(0..orders).map(|_| async {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let (reply, done) = oneshot::channel();
        let write = Write { customer: stage.customer(number).0, external: format!("S-{number}"), reply };
        writes.send(write).await.unwrap();
        done.await.unwrap();
    });
    taken.buffer_unordered(AT_ONCE).collect::<()>().await;
    begin.elapsed()
}

fn postgres(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let server = Postgres::start(Durability::Full, &[]).unwrap();
    server.create_database("bench").unwrap();
    let url = server.url("bench");
    let (stage, pool) = runtime.block_on(async {
        let store = PostgresStore::connect(&url).await.unwrap();
        store.migrate(collections(), &|_, _, _| ()).await.unwrap();
        let connections = u32::try_from(AT_ONCE).unwrap_or(u32::MAX);
        let pool = PgPoolOptions::new().max_connections(connections).connect(&url).await.unwrap();
        (Stage::new(Arc::new(store)).await, pool)
    });
    let mut group = criterion.benchmark_group("orders on PostgreSQL");
    group.throughput(Throughput::Elements(1));
    group.bench_function("bare", |bencher| {
        bencher.iter_custom(|orders| runtime.block_on(postgres_floor(&stage, &pool, orders)));
    });
    group.bench_function("crm", |bencher| {
        bencher.iter_custom(|orders| runtime.block_on(stage.ours(orders)));
    });
    group.finish();
}

fn sqlite(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("crm.db");
    let (stage, writes) = runtime.block_on(async {
        let store = SqliteStore::open(path.clone()).await.unwrap();
        store.migrate(collections(), &|_, _, _| ()).await.unwrap();
        let stage = Stage::new(Arc::new(store)).await;
        let options = SqliteConnectOptions::new().filename(&path).pragma("cache_size", "-8192");
        let mut connection =
            options.busy_timeout(Duration::from_secs(30)).disable_statement_logging().connect().await.unwrap();
        connection.execute("PRAGMA synchronous = FULL").await.unwrap();
        let (sender, receiver) = mpsc::channel(1024);
        tokio::spawn(sqlite_writer(connection, stage.by.organization.0, receiver));
        (stage, sender)
    });
    let mut group = criterion.benchmark_group("orders on SQLite");
    group.throughput(Throughput::Elements(1));
    group.bench_function("bare", |bencher| {
        bencher.iter_custom(|orders| runtime.block_on(sqlite_floor(&stage, &writes, orders)));
    });
    group.bench_function("crm", |bencher| {
        bencher.iter_custom(|orders| runtime.block_on(stage.ours(orders)));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).measurement_time(Duration::from_secs(8));
    targets = postgres, sqlite
}
criterion_main!(benches);
