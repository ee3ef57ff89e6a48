//! What the storage contract costs on MongoDB, at 20,000 customers: `Repo` beside the bare driver, which runs the same
//! commands against the same server.
//!
//! - `get`: one customer by id.
//! - `list`: the newest twenty of a status, and the page after.
//! - `commit`: two customers in one transaction, by sixteen writers at once; the floor inserts the same documents.
//!
//! The server is a private one (`MONGOD_BIN`, else `mongod` on the `PATH`), whose indexes give an order also where it
//! has to be told so.

#![expect(clippy::unwrap_used, reason = "a bench that cannot go on ends")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bson::{Document, RawDocumentBuf, doc};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use crm_core::{
    customer::{Customer, CustomerStatus},
    id::{CustomerId, OrganizationId},
    record::{Meta, Record as _},
    repo::Repo,
    store::{Change, FieldKind, FieldRef, Json, Money, Position, Query, Scope, Sort, Store as _, Value},
    time::Timestamp,
};
use crm_store_mongo::MongoStore;
use crm_test_servers::Mongo;
use futures::TryStreamExt as _;
use mongodb::{
    Client, Collection,
    options::{ReadConcern, WriteConcern},
};
use tokio::runtime::Runtime;
use uuid::Uuid;

const CUSTOMERS: u64 = 20_000;
const WRITERS: u64 = 16;
const ORGANIZATION: OrganizationId = OrganizationId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_00a1));
const SCOPE: Scope = Scope::Organization(ORGANIZATION);

fn instant(number: u64) -> Timestamp {
    Timestamp::from_milliseconds(1_700_000_000_000 + number as i64 * 1000).unwrap()
}

fn id(number: u64) -> Uuid {
    let random = number.wrapping_mul(6_364_136_223_846_793_005).to_be_bytes();
    let mut bytes = [0; 10];
    bytes[..8].copy_from_slice(&random);
    uuid::Builder::from_unix_timestamp_millis(1_700_000_000_000 + number, &bytes).into_uuid()
}

fn key(number: u64) -> Document {
    doc! { "o": ORGANIZATION.0, "i": id(number) }
}

fn customer(number: u64) -> Customer {
    let now = instant(number);
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

fn insert(numbers: impl Iterator<Item = u64>) -> Change {
    Change::Insert { collection: Customer::COLLECTION, rows: numbers.map(|number| customer(number).to_row()).collect() }
}

struct Stage {
    runtime: Runtime,
    store: Arc<MongoStore>,
    client: Client,
    bare: Collection<RawDocumentBuf>,
    // Ends with the stage.
    _server: Mongo,
}

impl Stage {
    fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let server = Mongo::start_with(&["MONGOGW_DURABLE=1", "MONGOGW_ORDERED_INDEXES=1"]).unwrap();
        let url = server.url("bench");
        let (store, client) = runtime.block_on(async {
            let store = MongoStore::connect(&url).await.unwrap();
            store.migrate(crm_core::crm::collections(), &|_, _, _| {}).await.unwrap();
            for batch in 0..CUSTOMERS / 1000 {
                store.commit(SCOPE, vec![insert(batch * 1000..(batch + 1) * 1000)]).await.unwrap();
            }
            (Arc::new(store), Client::with_uri_str(&url).await.unwrap())
        });
        let bare = client.database("bench").collection("customers");
        Self { runtime, store, client, bare, _server: server }
    }
}

/// What the program keeps beside the fields, which nobody reads.
fn beside() -> Document {
    let names = ["_id", "search_trigrams", "custom_values"].map(str::to_owned).into_iter();
    let folded = ["name", "email", "phone", "emails", "phones"].map(|name| format!("{name}_folded"));
    names.chain(folded).map(|name| (name, 0.into())).collect()
}

fn reads(criterion: &mut Criterion, stage: &Stage) {
    let repo = Repo::<Customer>::new(stage.store.as_ref());
    let mut number = 0;
    let mut next = || {
        number = (number + 7919) % CUSTOMERS;
        number
    };

    let mut group = criterion.benchmark_group("mongo get");
    group.bench_function("bare", |bencher| {
        bencher.iter(|| {
            let found = stage.bare.find_one(doc! { "_id": key(next()) }).projection(beside());
            let found = stage.runtime.block_on(found.into_future()).unwrap().unwrap();
            Document::try_from(found).unwrap()
        });
    });
    group.bench_function("repo", |bencher| {
        bencher.iter(|| stage.runtime.block_on(repo.get(SCOPE, CustomerId(id(next())))).unwrap().unwrap());
    });
    group.finish();

    let mut group = criterion.benchmark_group("mongo list");
    let newest = Sort { field: FieldRef::declared("created_at", FieldKind::Timestamp), descending: true };
    let filter = Customer::status.equals(CustomerStatus::Active).and(Customer::deleted_at.missing());
    group.bench_function("bare", |bencher| {
        bencher.iter(|| {
            let after = bson::DateTime::from_millis(instant(next()).as_milliseconds());
            stage.runtime.block_on(async {
                let filter = doc! {
                    "organization_id": ORGANIZATION.0, "status": "active", "deleted_at": null,
                    "created_at": { "$lt": after },
                };
                let page = stage.bare.find(filter).sort(doc! { "created_at": -1, "id": -1 }).limit(21);
                let rows: Vec<RawDocumentBuf> = page.projection(beside()).await.unwrap().try_collect().await.unwrap();
                rows.into_iter().map(|row| Document::try_from(row).unwrap()).collect::<Vec<_>>()
            })
        });
    });
    group.bench_function("repo", |bencher| {
        bencher.iter(|| {
            let after = next();
            let position = Position { keys: vec![Value::Timestamp(instant(after))], id: id(after) };
            let query = Query::new(filter.clone(), 20).sorted(vec![newest.clone()]);
            stage.runtime.block_on(repo.find(SCOPE, &Query { after: Some(position), ..query })).unwrap()
        });
    });
    group.finish();
}

/// Runs so many commits by all writers, and tells how long they took together.
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
                        write(first + 2 * number).await;
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

fn writes(criterion: &mut Criterion, stage: &Stage) {
    let mut group = criterion.benchmark_group("mongo commit");
    group.sample_size(10).measurement_time(Duration::from_secs(20)).throughput(Throughput::Elements(1));
    let mut first = CUSTOMERS;
    // What the store has made of two customers; the floor gives them ids that nobody has.
    let known = stage.bare.find(doc! {}).limit(2).into_future();
    let known: Vec<RawDocumentBuf> =
        stage.runtime.block_on(async { known.await.unwrap().try_collect().await.unwrap() });
    let templates: Vec<Document> = known.into_iter().map(|known| Document::try_from(known).unwrap()).collect();
    group.bench_function("bare", |bencher| {
        bencher.iter_custom(|commits| {
            first += 2 * commits;
            let (client, bare, templates) = (stage.client.clone(), stage.bare.clone(), templates.clone());
            by_writers(stage, commits, first - 2 * commits, move |number| {
                let (client, bare, mut documents) = (client.clone(), bare.clone(), templates.clone());
                async move {
                    for (document, number) in documents.iter_mut().zip(number..) {
                        document.insert("_id", key(number));
                        document.insert("id", id(number));
                    }
                    let raw: Vec<_> = documents.iter().map(|it| RawDocumentBuf::try_from(it).unwrap()).collect();
                    let mut session = client.start_session().await.unwrap();
                    let begin = session.start_transaction().read_concern(ReadConcern::snapshot());
                    begin.write_concern(WriteConcern::majority()).await.unwrap();
                    bare.insert_many(raw).session(&mut session).await.unwrap();
                    session.commit_transaction().await.unwrap();
                }
            })
        });
    });
    group.bench_function("store", |bencher| {
        bencher.iter_custom(|commits| {
            first += 2 * commits;
            let store = Arc::clone(&stage.store);
            by_writers(stage, commits, first - 2 * commits, move |number| {
                let store = Arc::clone(&store);
                async move {
                    store.commit(SCOPE, vec![insert(number..number + 2)]).await.unwrap();
                }
            })
        });
    });
    group.finish();
}

fn store(criterion: &mut Criterion) {
    let stage = Stage::new();
    reads(criterion, &stage);
    writes(criterion, &stage);
}

criterion_group!(benches, store);
criterion_main!(benches);
