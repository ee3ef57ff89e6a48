//! A server that is killed under load and comes back: nothing that was answered is lost, nothing is done twice.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use crm_core::{
    id::OrganizationId,
    record::HEAD,
    store::{
        Assignment, Change, Collection, Field, FieldKind, Filter, Placement, Query, Row, Scope, Store as _, StoreError,
        Value,
    },
    time::Timestamp,
};
use crm_store_mongo::{MongoOptions, MongoStore};
use crm_test_servers::{Durability, Mongo};
use tokio::sync::Notify;
use uuid::Uuid;

const US: Uuid = Uuid::from_u128(0xa);
const WRITERS: u32 = 6;
/// Commits that have to succeed before the server is killed, and again after it is back.
const ENOUGH: usize = 60;

const fn collection(name: &'static str) -> Collection {
    let fields: &[Field] = &[HEAD[0], HEAD[1], HEAD[2], HEAD[3], HEAD[4], COUNT];
    Collection { name, placement: Placement::Tenant, fields, unique: &[], indexes: &[], search: &[] }
}

const COUNT: Field = Field { name: "count", kind: FieldKind::Integer, optional: false, folded: false, custom: false };
const COUNT_AT: usize = 5;

static ENTRIES: Collection = collection("entries");
static SINGLES: Collection = collection("singles");
static COUNTERS: Collection = collection("counters");

const fn scope() -> Scope {
    Scope::Organization(OrganizationId(US))
}

fn row(id: u128) -> Row {
    let now = Value::Timestamp(Timestamp::default());
    let id = Value::Id(Uuid::from_u128(id));
    Row(vec![id, Value::Id(US), Value::Integer(1), now.clone(), now, Value::Integer(0)])
}

fn insert(collection: &'static Collection, id: u128) -> Change {
    Change::Insert { collection, rows: vec![row(id)] }
}

/// An entry, and one more on its writer's counter, which is everybody's for some.
fn counted(id: u128, counter: u128) -> Vec<Change> {
    let count = Change::Update {
        collection: &COUNTERS,
        id: Uuid::from_u128(counter),
        expected_version: None,
        condition: None,
        assignments: vec![Assignment::Increment(COUNT_AT, Value::Integer(1))],
    };
    vec![insert(&ENTRIES, id), count]
}

#[derive(Default)]
struct Told {
    entries: Mutex<BTreeSet<u128>>,
    singles: Mutex<BTreeSet<u128>>,
    refused: AtomicU32,
    enough: AtomicBool,
    more: Notify,
}

impl Told {
    /// Waits until it holds.
    async fn until(&self, holds: impl Fn(&Self) -> bool) {
        while !holds(self) {
            self.more.notified().await;
        }
    }

    /// How many commits of each kind were answered.
    fn written(&self) -> usize {
        self.entries.lock().unwrap().len().min(self.singles.lock().unwrap().len() * 2)
    }
}

/// Writes until there is enough; what was answered is noted, what was not gets another id the next time.
async fn write(store: Arc<MongoStore>, told: Arc<Told>, writer: u32) {
    let mut number = 0_u128;
    while !told.enough.load(Ordering::Relaxed) {
        number += 1;
        let id = u128::from(writer + 1) << 64 | number;
        let alone = number.is_multiple_of(3);
        let changes = if alone { vec![insert(&SINGLES, id)] } else { counted(id, 1 + u128::from(writer % 3)) };
        match store.commit(scope(), changes).await {
            Ok(_) => {
                let written = if alone { &told.singles } else { &told.entries };
                written.lock().unwrap().insert(id);
            }
            Err(StoreError::Unavailable { retry_after, .. }) => {
                assert!(retry_after > Duration::ZERO);
                told.refused.fetch_add(1, Ordering::Relaxed);
            }
            Err(other) => panic!("{other:?}"),
        }
        told.more.notify_one();
    }
}

async fn all(store: &MongoStore, collection: &'static Collection) -> Vec<Row> {
    store.find(scope(), collection, &Query::new(Filter::ALL, 1_000_000)).await.unwrap().rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_loses_nothing_and_is_found_again() {
    let mut server = Mongo::start_own(Durability::Full).unwrap_or_else(|error| panic!("{error}"));
    let options = MongoOptions::parse(&server.url("crash")).unwrap();
    let options = options.connect_timeout(Duration::from_secs(1)).commit_deadline(Duration::from_secs(3));
    let store = Arc::new(MongoStore::connect_with(options).await.unwrap());
    store.migrate(const { &[&ENTRIES, &SINGLES, &COUNTERS] }, &|_, _, _| {}).await.unwrap();
    let counters = Change::Insert { collection: &COUNTERS, rows: (1..=3).map(row).collect() };
    store.commit(scope(), vec![counters]).await.unwrap();
    let told = Arc::new(Told::default());
    let writers: Vec<_> = (0..WRITERS).map(|writer| tokio::spawn(write(store.clone(), told.clone(), writer))).collect();
    let goal = told.written() + ENOUGH;
    told.until(|told| told.written() >= goal).await;
    server.kill().unwrap();
    match store.find(scope(), &ENTRIES, &Query::new(Filter::ALL, 1)).await {
        Err(StoreError::Unavailable { retry_after, .. }) => assert!(retry_after > Duration::ZERO),
        other => panic!("a server that is gone answers {other:?}"),
    }
    assert!(matches!(store.health().await, Err(StoreError::Unavailable { .. })));
    let before = told.refused.load(Ordering::Relaxed);
    told.until(|told| told.refused.load(Ordering::Relaxed) > before).await;
    server.start_again().unwrap();
    let goal = told.written() + ENOUGH;
    told.until(|told| told.written() >= goal).await;
    told.enough.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    store.health().await.unwrap();

    for (collection, told) in [(&ENTRIES, &told.entries), (&SINGLES, &told.singles)] {
        let stored: BTreeSet<u128> = all(&store, collection).await.iter().map(|row| row.id().as_u128()).collect();
        let lost: Vec<_> = told.lock().unwrap().difference(&stored).copied().collect();
        assert!(lost.is_empty(), "{}: {} commits that were answered are lost", collection.name, lost.len());
    }
    // Half a commit, or one done twice, would part the counters from what they count.
    let entries = all(&store, &ENTRIES).await.len();
    let counters = all(&store, &COUNTERS).await;
    let counted = counters.iter().map(|row| match row.0[COUNT_AT] {
        Value::Integer(count) => count,
        _ => panic!("no count"),
    });
    assert_eq!(counted.sum::<i64>(), i64::try_from(entries).unwrap());
}

/// A long commit ends although somebody goes on changing the record that it changes too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_commit_is_not_overtaken_for_ever() {
    let server = Mongo::start(Durability::None).unwrap();
    let store = Arc::new(MongoStore::connect(&server.url(&format!("contended_{}", std::process::id()))).await.unwrap());
    store.migrate(const { &[&ENTRIES, &SINGLES, &COUNTERS] }, &|_, _, _| {}).await.unwrap();
    store.commit(scope(), vec![insert(&COUNTERS, 1)]).await.unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let other = {
        let (store, over) = (Arc::clone(&store), Arc::clone(&over));
        tokio::spawn(async move {
            let mut counted_by_other = 0;
            while !over.load(Ordering::Relaxed) {
                let count = counted(0, 1).pop().unwrap();
                counted_by_other += i64::from(store.commit(scope(), vec![count]).await.is_ok());
                // The pace of it: more often than the long commit could be made in between.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            counted_by_other
        })
    };
    for part in 1..=3_u128 {
        let mut changes = counted(part << 32, 1);
        let rows = (1..=3000).map(|number| row(part << 32 | number)).collect();
        changes.insert(0, Change::Insert { collection: &ENTRIES, rows });
        store.commit(scope(), changes).await.unwrap();
    }
    // Also behind many records that are changed as they were read.
    for version in 1..=3 {
        let entry = |number: u128| Change::Update {
            collection: &ENTRIES,
            id: Uuid::from_u128(1 << 32 | number),
            expected_version: Some(version),
            condition: None,
            assignments: vec![Assignment::Increment(COUNT_AT, Value::Integer(1))],
        };
        let mut changes: Vec<Change> = (1..=1000).map(entry).collect();
        changes.extend(counted(u128::try_from(version).unwrap() << 64, 1));
        store.commit(scope(), changes).await.unwrap();
    }
    over.store(true, Ordering::Relaxed);
    let by_other = other.await.unwrap();
    assert!(by_other > 0);
    assert_eq!(all(&store, &ENTRIES).await.len(), 3 * 3001 + 3);
    assert_eq!(all(&store, &COUNTERS).await[0].0[COUNT_AT], Value::Integer(by_other + 6));
    server.forget_database(&format!("contended_{}", std::process::id()));
}
