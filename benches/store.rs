//! What the storage contract costs on SQLite, at 100,000 customers: `Repo` beside bare sqlx with hand-written statements
//! over the same file, on a connection of its own.
//!
//! - `get`: one customer by id.
//! - `list`: the newest twenty of a status, and the page after.
//! - `commit`: one customer with its audit entry and its event, 64 writers at once; the floor inserts the same three
//!   rows into the same tables, its writer sharing transactions in the same way.

#![expect(clippy::unwrap_used, reason = "a bench that cannot go on ends")]

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use crm_core::{
    audit::{AuditEntry, AuditEntryId},
    customer::{Customer, CustomerStatus},
    event::{Event, EventId, partition_of},
    id::{CustomerId, OrganizationId},
    record::{Meta, Record},
    repo::Repo,
    store::{Change, FieldKind, FieldRef, Json, Money, Position, Query, Scope, Sort, Store as _, Value},
    time::Timestamp,
};
use crm_store_sqlite::SqliteStore;
use sqlx::{
    ConnectOptions as _, Connection as _, Executor as _, Row as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteRow},
};
use tempfile::TempDir;
use tokio::{
    runtime::Runtime,
    sync::{mpsc, oneshot},
};
use uuid::Uuid;

const CUSTOMERS: u64 = 100_000;
const WRITERS: u64 = 64;
const ORGANIZATION: OrganizationId = OrganizationId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_00a1));
const SCOPE: Scope = Scope::Organization(ORGANIZATION);

fn instant(milliseconds: u64) -> Timestamp {
    Timestamp::from_milliseconds(1_700_000_000_000 + milliseconds as i64).unwrap()
}

fn id(number: u64) -> Uuid {
    let random = number.wrapping_mul(6_364_136_223_846_793_005).to_be_bytes();
    let mut bytes = [0; 10];
    bytes[..8].copy_from_slice(&random);
    uuid::Builder::from_unix_timestamp_millis(1_700_000_000_000 + number, &bytes).into_uuid()
}

/// A customer whose every column is filled as in life.
fn customer(number: u64) -> Customer {
    let now = instant(number * 1000);
    Customer {
        id: CustomerId(id(number)),
        name: format!("Amélie Poulain {number}").parse().unwrap(),
        email: Some(format!("amelie{number}@example.com").parse().unwrap()),
        emails: Vec::new(),
        phone: None,
        phones: Vec::new(),
        status: if number.is_multiple_of(3) { CustomerStatus::Inactive } else { CustomerStatus::Active },
        r#type: "regular".to_owned(),
        tags: vec!["newsletter".to_owned(), format!("cohort-{}", number % 50)],
        group_ids: Vec::new(),
        spend: Money::from_ten_thousandths((number * 7919 % 10_000_000) as i64).unwrap(),
        visits: (number % 50) as i64,
        opening_spend: Money::ZERO,
        opening_visits: 0,
        last_active: Some(now),
        opening_last_active: None,
        opening_orders: None,
        opening_order_value: None,
        opening_last_order_date: None,
        active_at: now,
        total_orders: 0,
        total_order_value: Money::ZERO,
        last_order_date: None,
        total_complaints: 0,
        open_complaints: 0,
        user_id: None,
        consent: Default::default(),
        custom: Default::default(),
        metadata: Json::default(),
        owner_id: None,
        team_id: None,
        deleted_at: None,
        meta: Meta::new(ORGANIZATION, now),
    }
}

fn audit_entry(number: u64, of: &Customer) -> AuditEntry {
    let text = serde_json::json!({ "name": of.name, "email": of.email, "status": "active" });
    AuditEntry {
        id: AuditEntryId(id(number)),
        action: "customer.created".to_owned(),
        actor_type: "user".to_owned(),
        actor_id: Some(id(1)),
        record_type: "customers".to_owned(),
        record_id: Some(of.id.0),
        ip: Some("203.0.113.7".to_owned()),
        request_id: Some("0190f3c2a1b07c4d9e8f7a6b5c4d3e2f".to_owned()),
        before: None,
        after: Some(Json::from_value(&text)),
        salt: "c2FsdHNhbHRzYWx0c2FsdA".to_owned(),
        digest: "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef".to_owned(),
        sealed: false,
        sequence: None,
        previous_hash: None,
        hash: None,
        meta: Meta::new(ORGANIZATION, of.meta.created_at),
    }
}

fn event(number: u64, of: &Customer) -> Event {
    Event {
        id: EventId(id(number)),
        event_type: "customer.created".to_owned(),
        event_version: 1,
        record_type: "customers".to_owned(),
        record_id: of.id.0,
        record_version: 1,
        actor_type: "user".to_owned(),
        actor_id: Some(id(1)),
        request_id: Some("0190f3c2a1b07c4d9e8f7a6b5c4d3e2f".to_owned()),
        data: Json::from_value(&serde_json::json!({ "id": of.id, "name": of.name, "email": of.email })),
        partition: Some(partition_of(of.id.0)),
        published_at: None,
        failures: None,
        held_by: None,
        cause: None,
        meta: Meta::new(ORGANIZATION, of.meta.created_at),
    }
}

struct Stage {
    runtime: Runtime,
    store: Arc<SqliteStore>,
    folder: TempDir,
}

impl Stage {
    fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let folder = TempDir::new().unwrap();
        let store = runtime.block_on(async {
            let store = SqliteStore::open(folder.path().join("crm.db")).await.unwrap();
            store.migrate(crm_core::crm::collections(), &|_, _, _| {}).await.unwrap();
            for batch in 0..CUSTOMERS / 1000 {
                let rows = (batch * 1000..(batch + 1) * 1000).map(|number| customer(number).to_row()).collect();
                let insert = Change::Insert { collection: Customer::COLLECTION, rows };
                store.commit(SCOPE, vec![insert]).await.unwrap();
            }
            Arc::new(store)
        });
        Self { runtime, store, folder }
    }

    fn bare(&self) -> SqliteConnection {
        let options = SqliteConnectOptions::new()
            .filename(self.folder.path().join("crm.db"))
            .pragma("cache_size", "-8192")
            .pragma("temp_store", "MEMORY")
            .row_buffer_size(256)
            .disable_statement_logging();
        self.runtime.block_on(options.connect()).unwrap()
    }

    fn columns<T: Record>() -> String {
        T::COLLECTION.fields.iter().map(|field| field.name).collect::<Vec<_>>().join(", ")
    }
}

/// The columns of a customer as plain SQL gives them: JSON and normalised texts are not looked into.
#[expect(dead_code, reason = "read from the database, which is what is measured")]
struct BareCustomer {
    id: Uuid,
    organization_id: Uuid,
    numbers: [i64; 12],
    texts: [String; 3],
    optional_texts: [Option<String>; 2],
    lists: [Vec<String>; 4],
    json: [String; 3],
    instants: [Option<i64>; 3],
    ids: [Option<Uuid>; 3],
}

fn bare_customer(row: &SqliteRow) -> BareCustomer {
    let integer = |column: usize| row.get::<i64, _>(column);
    let text = |column: usize| row.get::<String, _>(column);
    let list = |column: usize| serde_json::from_str(row.get::<&str, _>(column)).unwrap();
    let some_id = |column: usize| row.get::<Option<&[u8]>, _>(column).map(|bytes| Uuid::from_slice(bytes).unwrap());
    let id = |column: usize| Uuid::from_slice(row.get::<&[u8], _>(column)).unwrap();
    let at = |name: &str| Customer::COLLECTION.position(name).unwrap();
    // The places are known to whoever writes the statement; looking them up is done once in a hand-written one.
    static PLACES: std::sync::OnceLock<[usize; 32]> = std::sync::OnceLock::new();
    let places = PLACES.get_or_init(|| {
        [
            "version",
            "created_at",
            "updated_at",
            "spend",
            "visits",
            "opening_spend",
            "opening_visits",
            "active_at",
            "total_orders",
            "total_order_value",
            "total_complaints",
            "open_complaints",
            "id",
            "organization_id",
            "name",
            "status",
            "type",
            "email",
            "phone",
            "emails",
            "phones",
            "tags",
            "group_ids",
            "consent",
            "custom",
            "metadata",
            "last_active",
            "last_order_date",
            "deleted_at",
            "user_id",
            "owner_id",
            "team_id",
        ]
        .map(at)
    });
    BareCustomer {
        id: id(places[12]),
        organization_id: id(places[13]),
        numbers: std::array::from_fn(|place| integer(places[place])),
        texts: [text(places[14]), text(places[15]), text(places[16])],
        optional_texts: [row.get(places[17]), row.get(places[18])],
        lists: [list(places[19]), list(places[20]), list(places[21]), list(places[22])],
        json: [text(places[23]), text(places[24]), text(places[25])],
        instants: [row.get(places[26]), row.get(places[27]), row.get(places[28])],
        ids: [some_id(places[29]), some_id(places[30]), some_id(places[31])],
    }
}

fn reads(criterion: &mut Criterion, stage: &Stage) {
    let mut bare = stage.bare();
    let columns = Stage::columns::<Customer>();
    let organization = ORGANIZATION.0.as_bytes().as_slice();

    let mut group = criterion.benchmark_group("get");
    let repo = Repo::<Customer>::new(stage.store.as_ref());
    let mut number = 0;
    let mut next = || {
        number = (number + 7919) % CUSTOMERS;
        id(number)
    };
    let one: &'static str = format!("SELECT {columns} FROM customers WHERE organization_id = ? AND id = ?").leak();
    group.bench_function("bare", |bencher| {
        bencher.iter(|| {
            let id = next();
            stage.runtime.block_on(async {
                let query = sqlx::query(one).bind(organization).bind(id.as_bytes().as_slice());
                let row = bare.fetch_optional(query).await.unwrap().unwrap();
                bare_customer(&row)
            })
        });
    });
    group.bench_function("repo", |bencher| {
        bencher.iter(|| {
            let id = next();
            stage.runtime.block_on(repo.get(SCOPE, CustomerId(id))).unwrap().unwrap()
        });
    });
    group.finish();

    let mut group = criterion.benchmark_group("list");
    let page: &'static str = format!(
        "SELECT {columns} FROM customers WHERE organization_id = ? AND status = ? AND deleted_at IS NULL \
         AND (created_at, id) < (?, ?) ORDER BY created_at DESC, id DESC LIMIT 21"
    )
    .leak();
    let newest = Sort { field: FieldRef::declared("created_at", FieldKind::Timestamp), descending: true };
    let filter = Customer::status.equals(CustomerStatus::Active).and(Customer::deleted_at.missing());
    group.bench_function("bare", |bencher| {
        bencher.iter(|| {
            let after = next();
            stage.runtime.block_on(async {
                let query = sqlx::query(page)
                    .bind(organization)
                    .bind("active")
                    .bind(instant(50_000_000).as_milliseconds())
                    .bind(after.as_bytes().as_slice());
                let rows = bare.fetch_all(query).await.unwrap();
                rows.iter().take(20).map(bare_customer).collect::<Vec<_>>()
            })
        });
    });
    group.bench_function("repo", |bencher| {
        bencher.iter(|| {
            let after = next();
            let query = Query {
                after: Some(Position { keys: vec![Value::Timestamp(instant(50_000_000))], id: after }),
                ..Query::new(filter.clone(), 20).sorted(vec![newest.clone()])
            };
            stage.runtime.block_on(repo.find(SCOPE, &query)).unwrap()
        });
    });
    group.finish();
    stage.runtime.block_on(bare.close()).unwrap();
}

/// Runs so many commits by 64 tasks, and tells how long they took together.
fn by_writers<F, W>(stage: &Stage, commits: u64, first: u64, write: F) -> Duration
where
    F: Fn(u64) -> W + Clone + Send + Sync + 'static,
    W: Future<Output = ()> + Send,
{
    stage.runtime.block_on(async {
        let begin = Instant::now();
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let write = write.clone();
                tokio::spawn(async move {
                    for number in (writer..commits).step_by(WRITERS as usize) {
                        write(first + number).await;
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
        begin.elapsed()
    })
}

type Rows = (Customer, AuditEntry, Event);

fn rows(number: u64) -> Rows {
    let customer = customer(number);
    let (entry, event) = (audit_entry(number, &customer), event(number, &customer));
    (customer, entry, event)
}

fn writes(criterion: &mut Criterion, stage: &Stage) {
    let mut group = criterion.benchmark_group("commit");
    group.sample_size(10).measurement_time(Duration::from_secs(20)).throughput(Throughput::Elements(1));
    let mut first = CUSTOMERS;
    let (sender, receiver) = mpsc::channel(1024);
    let connection = stage.bare();
    stage.runtime.spawn(bare_writer(connection, receiver));
    group.bench_function("bare", |bencher| {
        bencher.iter_custom(|commits| {
            first += commits;
            let sender = sender.clone();
            by_writers(stage, commits, first - commits, move |number| {
                let sender = sender.clone();
                async move {
                    let (reply, done) = oneshot::channel();
                    sender.send((rows(number), reply)).await.unwrap();
                    done.await.unwrap();
                }
            })
        });
    });
    group.bench_function("store", |bencher| {
        bencher.iter_custom(|commits| {
            first += commits;
            let store = Arc::clone(&stage.store);
            by_writers(stage, commits, first - commits, move |number| {
                let store = Arc::clone(&store);
                async move {
                    let (customer, entry, event) = rows(number);
                    let changes = vec![
                        Change::Insert { collection: Customer::COLLECTION, rows: vec![customer.to_row()] },
                        Change::Insert { collection: AuditEntry::COLLECTION, rows: vec![entry.to_row()] },
                        Change::Insert { collection: Event::COLLECTION, rows: vec![event.to_row()] },
                    ];
                    store.commit(SCOPE, changes).await.unwrap();
                }
            })
        });
    });
    group.finish();
}

/// Takes what waits, inserts it in one transaction, answers. Each row is one statement, sent with its values.
async fn bare_writer(mut connection: SqliteConnection, mut jobs: mpsc::Receiver<(Rows, oneshot::Sender<()>)>) {
    connection.execute("PRAGMA synchronous = FULL").await.unwrap();
    let folded: HashSet<&str> = ["name", "email", "phone", "emails", "phones", "custom"].into();
    let insert = |collection: &'static crm_core::store::Collection| -> &'static str {
        let mut names: Vec<String> = collection.fields.iter().map(|field| format!("\"{}\"", field.name)).collect();
        if collection.name == "customers" {
            let shadows = collection.fields.iter().filter(|field| folded.contains(field.name));
            names.extend(shadows.map(|field| format!("\"{}_folded\"", field.name)));
        }
        let places = vec!["?"; names.len()].join(",");
        format!("INSERT INTO {} ({}) VALUES ({places})", collection.name, names.join(",")).leak()
    };
    let statements = [insert(Customer::COLLECTION), insert(AuditEntry::COLLECTION), insert(Event::COLLECTION)];
    let mut group = Vec::new();
    while jobs.recv_many(&mut group, 256).await > 0 {
        connection.execute(sqlx::query("BEGIN IMMEDIATE")).await.unwrap();
        for ((customer, entry, event), _) in &group {
            let rows = [customer.to_row(), entry.to_row(), event.to_row()];
            for (place, (statement, row)) in statements.iter().zip(&rows).enumerate() {
                let mut query = sqlx::query(*statement);
                for value in &row.0 {
                    query = match value {
                        Value::Null => query.bind(None::<i64>),
                        Value::Bool(value) => query.bind(*value),
                        Value::Integer(value) => query.bind(*value),
                        Value::Number(value) => query.bind(*value),
                        Value::Money(value) => query.bind(value.as_ten_thousandths()),
                        Value::Text(value) => query.bind(value.clone()),
                        Value::Timestamp(value) => query.bind(value.as_milliseconds()),
                        Value::Date(value) => query.bind(value.to_string()),
                        Value::Id(value) => query.bind(value.as_bytes().to_vec()),
                        Value::TextList(value) => query.bind(serde_json::to_string(value).unwrap()),
                        Value::Json(value) => query.bind(value.as_str().to_owned()),
                    };
                }
                if place == 0 {
                    // The shadows, in the order of the fields: what is plain ASCII folds to its lower case.
                    for field in Customer::COLLECTION.fields.iter().filter(|field| folded.contains(field.name)) {
                        let value = match field.name {
                            "name" => Some(customer.name.to_lowercase().replace('é', "e")),
                            "email" => customer.email.as_ref().map(|email| email.as_str().to_owned()),
                            "phone" => None,
                            "custom" => Some("{}".to_owned()),
                            _ => Some("[]".to_owned()),
                        };
                        query = query.bind(value);
                    }
                }
                connection.execute(query).await.unwrap();
            }
        }
        connection.execute(sqlx::query("COMMIT")).await.unwrap();
        for (_, reply) in group.drain(..) {
            reply.send(()).unwrap();
        }
    }
}

fn store(criterion: &mut Criterion) {
    let stage = Stage::new();
    reads(criterion, &stage);
    writes(criterion, &stage);
}

criterion_group!(benches, store);
criterion_main!(benches);
