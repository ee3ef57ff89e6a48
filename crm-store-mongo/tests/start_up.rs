//! What a start makes of a database, what it says when it cannot, and that several at once are as good as one.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

#[path = "support/database.rs"]
mod database;

use std::{
    collections::BTreeSet,
    net::TcpListener,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use bson::{DateTime, Document, doc};
use crm_core::{
    crm::collections,
    id::OrganizationId,
    record::HEAD,
    store::{
        Change, Collection, Field, FieldKind, FieldRef, Filter, Index, IndexField, Placement, Query, Row, Scope, Sort,
        Store as _, StoreError, UniqueKey, Value,
    },
    time::Timestamp,
};
use crm_store_mongo::{MongoOptions, MongoStore};
use database::Database;
use futures::{TryStreamExt as _, future::join_all};
use mongodb::Client;
use uuid::Uuid;

const US: Uuid = Uuid::from_u128(0xa);

async fn raw(database: &Database) -> mongodb::Database {
    Client::with_uri_str(database.url()).await.unwrap().default_database().unwrap()
}

async fn migrated(database: &Database) -> MongoStore {
    let store = MongoStore::connect(database.url()).await.unwrap();
    store.migrate(collections(), &|_, _, _| {}).await.unwrap();
    store
}

/// Everything that a start made: collections with their indexes.
async fn made(database: &mongodb::Database) -> BTreeSet<String> {
    let mut made = BTreeSet::new();
    for name in database.list_collection_names().await.unwrap() {
        let indexes: Vec<_> =
            database.collection::<Document>(&name).list_indexes().await.unwrap().try_collect().await.unwrap();
        made.extend(indexes.into_iter().map(|index| format!("{name}: {} {:?}", index.keys, index.options)));
    }
    made
}

fn unusable<T: std::fmt::Debug>(result: Result<T, StoreError>) -> String {
    match result {
        Err(StoreError::Unusable(sentence)) => sentence,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn where_no_server_is_a_sentence_says_so() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let options = MongoOptions::parse(&format!("mongodb://ann:secret@127.0.0.1:{port}/crm")).unwrap();
    let options = options.connect_timeout(Duration::from_millis(200));
    let said = unusable(MongoStore::connect_with(options).await);
    assert!(said.contains(&format!("127.0.0.1:{port}/crm")) && !said.contains("secret"), "{said}");
}

#[tokio::test]
async fn several_starts_at_once_are_as_one() {
    let (one, several) = (Database::new(), Database::new());
    migrated(&one).await.close().await;
    let expected = made(&raw(&one).await).await;
    let starts = join_all((0..6).map(|_| migrated(&several))).await;
    assert_eq!(made(&raw(&several).await).await, expected);
    for store in starts {
        store.health().await.unwrap();
        store.close().await;
        assert!(matches!(store.health().await, Err(StoreError::Unavailable { .. })));
    }
}

#[tokio::test]
async fn a_database_of_a_newer_program_is_left_alone() {
    let database = Database::new();
    migrated(&database).await;
    let raw = raw(&database).await;
    let newer = doc! { "$set": { "version": 1_000 } };
    raw.collection::<Document>("crm_schema").update_one(doc! { "_id": "version" }, newer).await.unwrap();
    let before = made(&raw).await;
    let said = unusable(MongoStore::connect(database.url()).await);
    assert!(said.contains("newer program") && said.contains("1000"), "{said}");
    assert_eq!(made(&raw).await, before);
}

#[tokio::test]
async fn the_lock_of_a_dead_program_ends_by_itself() {
    let database = Database::new();
    let lock = |until| doc! { "_id": "lock", "holder": "somebody", "until": until };
    let waited = AtomicBool::new(false);
    let store = MongoStore::connect(database.url()).await.unwrap();
    let raw = raw(&database).await;
    let soon = DateTime::from_millis(DateTime::now().timestamp_millis() + 1_500);
    raw.collection::<Document>("crm_schema").insert_one(lock(soon)).await.unwrap();
    let watch = |step: &str, _, _| {
        if step.contains("waiting") {
            waited.store(true, Ordering::Relaxed);
        }
    };
    store.migrate(collections(), &watch).await.unwrap();
    assert!(waited.into_inner());
}

const fn field(name: &'static str, kind: FieldKind) -> Field {
    Field { name, kind, optional: false, folded: false, custom: false }
}

const fn collection(fields: &'static [Field]) -> Collection {
    Collection { name: "things", placement: Placement::Tenant, fields, unique: &[], indexes: &[], search: &[] }
}

const NAME: Field = field("name", FieldKind::Text);
const SIZE: Field = field("size", FieldKind::Integer);

static FIRST: Collection = collection(&[HEAD[0], HEAD[1], HEAD[2], HEAD[3], HEAD[4], NAME]);

static LATER: Collection = Collection {
    indexes: &[Index { name: "by_name", fields: &[IndexField { name: "name", descending: false }], covers: &[] }],
    search: &["name"],
    ..collection(&[HEAD[0], HEAD[1], HEAD[2], HEAD[3], HEAD[4], Field { folded: true, ..NAME }, SIZE])
};

static UNIQUE: Collection =
    Collection { unique: &[UniqueKey { name: "name", fields: &["name"] }], ..collection(FIRST.fields) };

static OTHER_KIND: Collection =
    collection(&[HEAD[0], HEAD[1], HEAD[2], HEAD[3], HEAD[4], field("name", FieldKind::Integer)]);

static WITHOUT_VALUE: Collection =
    collection(&[HEAD[0], HEAD[1], HEAD[2], HEAD[3], HEAD[4], NAME, field("due", FieldKind::Date)]);

async fn start(database: &Database, collections: &'static [&'static Collection]) -> Result<MongoStore, StoreError> {
    let store = MongoStore::connect(database.url()).await?;
    store.migrate(collections, &|_, _, _| {}).await?;
    Ok(store)
}

fn scope() -> Scope {
    Scope::Organization(OrganizationId(US))
}

/// A database in which the first program wrote these names.
async fn with_names(names: &[&str]) -> Database {
    let database = Database::new();
    let store = start(&database, const { &[&FIRST] }).await.unwrap();
    let now = Value::Timestamp(Timestamp::default());
    let rows = names.iter().zip(1..).map(|(name, number)| {
        let id = Value::Id(Uuid::from_u128(number));
        Row(vec![id, Value::Id(US), Value::Integer(1), now.clone(), now.clone(), Value::Text((*name).to_owned())])
    });
    store.commit(scope(), vec![Change::Insert { collection: &FIRST, rows: rows.collect() }]).await.unwrap();
    database
}

#[tokio::test]
async fn what_is_declared_later_is_added_to_what_is_there() {
    let database = with_names(&["Zoë Ångström", "anna"]).await;
    let store = start(&database, const { &[&LATER] }).await.unwrap();
    let found = store.find(scope(), &LATER, &Query::new(Filter::Search { terms: vec!["ANGST".to_owned()] }, 9)).await;
    assert_eq!(found.unwrap().rows.len(), 1);
    let by_name = vec![Sort { field: FieldRef::declared("name", FieldKind::Text), descending: false }];
    let rows = store.find(scope(), &LATER, &Query::new(Filter::ALL, 9).sorted(by_name)).await.unwrap().rows;
    let values: Vec<_> = rows.iter().map(|row| (row.0[5].clone(), row.0[6].clone())).collect();
    let expected = ["anna", "Zoë Ångström"].map(|name| (Value::Text(name.to_owned()), Value::Integer(0)));
    assert_eq!(values, expected);
}

#[tokio::test]
async fn an_index_that_is_another_is_made_anew() {
    let database = with_names(&["anna"]).await;
    let raw = raw(&database).await;
    let other = doc! { "createIndexes": "things", "indexes": [{ "name": "index_by_name", "key": { "size": 1 } }] };
    raw.run_command(other).await.unwrap();
    start(&database, const { &[&LATER] }).await.unwrap();
    let indexes = made(&raw).await;
    assert!(
        indexes.iter().any(|index| index.contains("name_folded") && index.contains("index_by_name")),
        "{indexes:?}"
    );
}

#[tokio::test]
async fn what_cannot_be_brought_along_is_told() {
    let database = with_names(&["anna", "anna"]).await;
    for (collections, expected) in [
        (const { &[&UNIQUE] as &[&Collection] }, "share the unique key name"),
        (const { &[&OTHER_KIND] }, "things.name holds text in the database"),
        (const { &[&WITHOUT_VALUE] }, "things.due has no value for the records that are there"),
    ] {
        let said = unusable(start(&database, collections).await);
        assert!(said.contains(expected), "{said}");
    }
    assert_eq!(
        start(&database, const { &[&FIRST] }).await.unwrap().count(scope(), &FIRST, &Filter::ALL).await.unwrap(),
        2
    );
}
