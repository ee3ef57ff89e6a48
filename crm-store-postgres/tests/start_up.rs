//! What a start says when the database cannot be used, and what it makes of one that can.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

#[path = "support/database.rs"]
mod database;

use std::{os::unix::fs::PermissionsExt as _, sync::Mutex, time::Duration};

use crm_core::{
    crm::collections,
    id::OrganizationId,
    record::HEAD,
    store::{
        Change, Collection, Field, FieldKind, FieldRef, Filter, Index, IndexField, Json, Placement, Query, Row, Scope,
        Sort, Store as _, StoreError, UniqueKey, Value,
    },
    time::Timestamp,
};
use crm_store_postgres::{PostgresOptions, PostgresStore};
use crm_test_servers::{Durability, Postgres};
use sqlx::{AssertSqlSafe, Executor as _, Row as _};
use tokio::time::timeout;
use uuid::Uuid;

const OURS: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_00a1);

fn scope() -> Scope {
    Scope::Organization(OrganizationId(OURS))
}

/// Connects and migrates; answers the sentence.
async fn sentence(url: &str) -> String {
    let refused = match PostgresStore::connect(url).await {
        Ok(store) => store.migrate(collections(), &|_, _, _| {}).await,
        Err(error) => Err(error),
    };
    match refused {
        Err(StoreError::Unusable(sentence) | StoreError::Unavailable { message: sentence, .. }) => sentence,
        other => panic!("{other:?}"),
    }
}

async fn execute(url: &str, sql: &str) {
    database::raw(url).await.execute(AssertSqlSafe(sql.to_owned())).await.unwrap();
}

async fn number(url: &str, sql: &str) -> i64 {
    database::raw(url).await.fetch_one(AssertSqlSafe(sql.to_owned())).await.unwrap().get(0)
}

async fn migrated(url: &str, collections: &'static [&'static Collection]) -> PostgresStore {
    let store = PostgresStore::connect(url).await.unwrap();
    store.migrate(collections, &|_, _, _| {}).await.unwrap();
    store
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let said = sentence("postgres://crm:hidden@127.0.0.1:1/crm").await;
    assert!(said.contains("127.0.0.1:1") && said.contains("start it") && !said.contains("hidden"), "{said}");
}

#[tokio::test]
async fn a_database_that_is_not_there_can_be_made() {
    let said = sentence(&database::url("nothing_here")).await;
    assert!(said.contains("createdb -O postgres nothing_here"), "{said}");
}

#[tokio::test]
async fn a_wrong_password_is_named_and_not_told() {
    let rules = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&rules, "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n").unwrap();
    std::fs::set_permissions(&rules, std::fs::Permissions::from_mode(0o644)).unwrap();
    let setting = format!("hba_file={}", rules.path().display());
    let server = Postgres::start(Durability::None, &[&setting]).unwrap();
    execute(&server.url("postgres"), "CREATE ROLE anna LOGIN PASSWORD 'right'").await;
    let url = |password: &str| server.url("postgres").replace("postgres@", &format!("anna:{password}@"));
    let said = sentence(&url("hidden")).await;
    assert!(said.contains("password of the user anna") && !said.contains("hidden"), "{said}");
    PostgresStore::connect(&url("right")).await.unwrap().health().await.unwrap();
}

#[tokio::test]
async fn a_user_who_may_not_make_tables_is_told_how() {
    let url = database::create().await;
    execute(&url, "DO $$ BEGIN CREATE ROLE weak LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$").await;
    execute(&url, "REVOKE CREATE ON SCHEMA public FROM PUBLIC").await;
    let said = sentence(&url.replace("postgres@", "weak@")).await;
    assert!(said.contains("GRANT CREATE ON SCHEMA public TO weak"), "{said}");
}

#[tokio::test]
async fn another_encoding_is_refused() {
    execute(
        &database::url("postgres"),
        "CREATE DATABASE old_encoding TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'",
    )
    .await;
    let said = sentence(&database::url("old_encoding")).await;
    assert!(said.contains("LATIN1") && said.contains("createdb -T template0 -E UTF8 old_encoding"), "{said}");
}

#[tokio::test]
async fn a_database_that_cannot_be_written_is_named() {
    let url = database::create().await;
    let name = url.rsplit('/').next().unwrap();
    execute(&url, &format!("ALTER DATABASE {name} SET default_transaction_read_only = on")).await;
    let said = sentence(&url).await;
    assert!(said.contains("read-only") && said.contains("primary"), "{said}");
}

#[tokio::test]
async fn a_database_of_a_newer_program_is_left_alone() {
    let url = database::create().await;
    migrated(&url, collections()).await;
    execute(&url, "INSERT INTO crm_migrations (version, name) VALUES (1000, 'later')").await;
    let said = sentence(&url).await;
    assert!(said.contains("newer program") && said.contains("1000"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_starts_at_once_migrate_once() {
    let url = database::create().await;
    let start = async || {
        let store = PostgresStore::connect_with(PostgresOptions::parse(&url).unwrap().pool(2)).await.unwrap();
        store.migrate(collections(), &|_, _, _| ()).await.unwrap();
        store.close().await;
    };
    futures::future::join_all((0..8).map(|_| start())).await;
    assert_eq!(number(&url, "SELECT count(*) FROM crm_migrations").await, 1);
    assert_eq!(number(&url, "SELECT count(*) FROM pg_index WHERE NOT indisvalid").await, 0);
    // The server's other databases have starts of their own.
    let held = "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database \
                WHERE locktype = 'advisory' AND datname = current_database()";
    assert_eq!(number(&url, held).await, 0);
}

const fn field(name: &'static str, kind: FieldKind, optional: bool, folded: bool) -> Field {
    Field { name, kind, optional, folded, custom: false }
}

const NAME: Field = field("name", FieldKind::Text, false, false);

static BEFORE: Collection = Collection {
    name: "plants",
    placement: Placement::Tenant,
    fields: &[HEAD[0], HEAD[1], HEAD[2], HEAD[3], HEAD[4], NAME, field("tags", FieldKind::TextList, false, false)],
    unique: &[],
    indexes: &[],
    search: &[],
};

static AFTER: Collection = Collection {
    name: "plants",
    placement: Placement::Tenant,
    fields: &[
        HEAD[0],
        HEAD[1],
        HEAD[2],
        HEAD[3],
        HEAD[4],
        field("name", FieldKind::Text, false, true),
        field("tags", FieldKind::TextList, false, false),
        field("height", FieldKind::Number, true, false),
        field("leaves", FieldKind::Integer, false, false),
    ],
    unique: &[UniqueKey { name: "name", fields: &["name"] }],
    indexes: &[
        Index { name: "by_name", fields: &[IndexField { name: "name", descending: false }], covers: &[] },
        Index { name: "by_tags", fields: &[IndexField { name: "tags", descending: false }], covers: &[] },
    ],
    search: &["name", "tags"],
};

static RETYPED: Collection = Collection {
    name: "plants",
    placement: Placement::Tenant,
    fields: &[HEAD[0], HEAD[1], HEAD[2], HEAD[3], HEAD[4], field("name", FieldKind::Integer, false, false)],
    unique: &[],
    indexes: &[],
    search: &[],
};

static ONLY_BEFORE: &[&Collection] = &[&BEFORE];
static ONLY_AFTER: &[&Collection] = &[&AFTER];
static ONLY_RETYPED: &[&Collection] = &[&RETYPED];
static ONLY_JSON: &[&Collection] = &[&JSON];

fn plant(number: u128, name: &str) -> Row {
    let now = Value::Timestamp(Timestamp::default());
    Row(vec![
        Value::Id(Uuid::from_u128(number)),
        Value::Id(OURS),
        Value::Integer(1),
        now.clone(),
        now,
        Value::Text(name.to_owned()),
        Value::TextList(vec!["Zelená".to_owned()]),
    ])
}

fn by_name() -> Vec<Sort> {
    vec![Sort { field: FieldRef::declared("name", FieldKind::Text), descending: false }]
}

async fn search(store: &PostgresStore, term: &str) -> Vec<Uuid> {
    let filter = Filter::Search { terms: vec![term.to_owned()] };
    let page = store.find(scope(), &AFTER, &Query::new(filter, 10)).await.unwrap();
    page.rows.iter().map(Row::id).collect()
}

#[tokio::test]
async fn declarations_that_grew_are_followed() {
    let url = database::create().await;
    let store = migrated(&url, ONLY_BEFORE).await;
    let rows = vec![plant(1, "Öland"), plant(2, "oak"), plant(3, "Дуб")];
    store.commit(scope(), vec![Change::Insert { collection: &BEFORE, rows }]).await.unwrap();
    store.close().await;
    let told = Mutex::new(Vec::new());
    let store = PostgresStore::connect(&url).await.unwrap();
    let note = |step: &str, _: u64, _: u64| told.lock().unwrap().push(step.to_owned());
    store.migrate(ONLY_AFTER, &note).await.unwrap();
    assert!(told.into_inner().unwrap().iter().any(|step| step == "plants_by_name"));
    let page = store.find(scope(), &AFTER, &Query::new(Filter::ALL, 10).sorted(by_name())).await.unwrap();
    let names: Vec<&Value> = page.rows.iter().map(|row| &row.0[5]).collect();
    assert_eq!(names, ["oak", "Öland", "Дуб"].map(|name| Value::Text(name.to_owned())).iter().collect::<Vec<_>>());
    assert!(!page.slow);
    assert_eq!(page.rows[0].0[7..], [Value::Null, Value::Integer(0)]);
    assert_eq!(search(&store, "дуб").await, [Uuid::from_u128(3)]);
    assert_eq!(search(&store, "zelena").await.len(), 3);
    let tagged =
        Filter::Contains { field: FieldRef::declared("tags", FieldKind::TextList), text: "Zelená".to_owned() };
    assert_eq!(store.count(scope(), &AFTER, &tagged).await.unwrap(), 3);
    // Once more there is nothing to do, and a program of before still works.
    let before = number(&url, "SELECT sum(oid::bigint)::bigint FROM pg_class WHERE relname LIKE 'plants%'").await;
    store.migrate(ONLY_AFTER, &|_, _, _| {}).await.unwrap();
    let after = number(&url, "SELECT sum(oid::bigint)::bigint FROM pg_class WHERE relname LIKE 'plants%'").await;
    assert_eq!(before, after, "an index or table was made anew");
    let store = PostgresStore::connect(&url).await.unwrap();
    match store.migrate(ONLY_RETYPED, &|_, _, _| {}).await {
        Err(StoreError::Unusable(said)) => assert!(said.contains("plants.name is text"), "{said}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn rows_of_before_and_of_older_processes_are_found_after_a_start() {
    let url = database::create().await;
    let older = migrated(&url, ONLY_BEFORE).await;
    let rows = (1..=2500).map(|number| plant(number, &format!("Öland {number}"))).collect();
    older.commit(scope(), vec![Change::Insert { collection: &BEFORE, rows }]).await.unwrap();
    let store = migrated(&url, ONLY_AFTER).await;
    let missing =
        "SELECT count(*) FROM plants WHERE name_folded IS NULL OR name_trigrams IS NULL OR tags_folded IS NULL";
    assert_eq!(number(&url, missing).await, 0);
    assert_eq!(number(&url, "SELECT max(version) FROM plants").await, 1);
    assert_eq!(search(&store, "oland 2500").await, [Uuid::from_u128(2500)]);
    // A process that knows nothing of it writes none.
    older.commit(scope(), vec![Change::Insert { collection: &BEFORE, rows: vec![plant(2501, "Дуб")] }]).await.unwrap();
    assert!(search(&store, "дуб").await.is_empty());
    store.migrate(ONLY_AFTER, &|_, _, _| {}).await.unwrap();
    assert_eq!(search(&store, "дуб").await, [Uuid::from_u128(2501)]);
}

/// Waits until somebody waits for a lock in the database.
async fn somebody_waits(url: &str) {
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let waiting = async { while number(url, waits).await == 0 {} };
    timeout(Duration::from_secs(60), waiting).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_waited_for_is_read_meanwhile() {
    let url = database::create().await;
    let store = migrated(&url, ONLY_BEFORE).await;
    store.commit(scope(), vec![Change::Insert { collection: &BEFORE, rows: vec![plant(1, "oak")] }]).await.unwrap();
    let mut reader = database::raw(&url).await;
    reader.execute("BEGIN; SELECT count(*) FROM plants").await.unwrap();
    let start = url.clone();
    let starting = tokio::spawn(async move { migrated(&start, ONLY_AFTER).await });
    somebody_waits(&url).await;
    // Behind whoever waits to change the table, others wait for a moment only.
    let counted = timeout(Duration::from_secs(30), number(&url, "SELECT count(*) FROM plants")).await;
    assert_eq!(counted.unwrap(), 1);
    assert!(!starting.is_finished());
    reader.execute("COMMIT").await.unwrap();
    assert_eq!(search(&starting.await.unwrap(), "oak").await, [Uuid::from_u128(1)]);
}

#[tokio::test]
async fn a_key_that_rows_have_twice_already_is_named() {
    let url = database::create().await;
    let older = migrated(&url, ONLY_BEFORE).await;
    let rows = vec![plant(1, "oak"), plant(2, "oak")];
    older.commit(scope(), vec![Change::Insert { collection: &BEFORE, rows }]).await.unwrap();
    let store = PostgresStore::connect(&url).await.unwrap();
    let Err(StoreError::Unusable(said)) = store.migrate(ONLY_AFTER, &|_, _, _| {}).await else { panic!("accepted") };
    assert!(said.contains("plants has rows with the same name, of which the key name allows one"), "{said}");
    let find = said.split("find them with ").nth(1).unwrap().split(", change or remove").next().unwrap();
    assert_eq!(database::raw(&url).await.fetch_all(AssertSqlSafe(find.to_owned())).await.unwrap().len(), 1);
    // Nothing is left of the index that could not be built, and older processes go on.
    assert_eq!(number(&url, "SELECT count(*) FROM pg_index WHERE NOT indisvalid").await, 0);
    let third = Change::Insert { collection: &BEFORE, rows: vec![plant(3, "oak")] };
    older.commit(scope(), vec![third]).await.unwrap();
    execute(&url, "DELETE FROM plants WHERE id <> (SELECT id FROM plants LIMIT 1)").await;
    store.migrate(ONLY_AFTER, &|_, _, _| {}).await.unwrap();
    let fourth = Change::Insert { collection: &BEFORE, rows: vec![plant(4, "oak")] };
    assert!(older.commit(scope(), vec![fourth]).await.is_err());
}

#[tokio::test]
async fn an_index_that_was_left_unfinished_is_built_anew() {
    let url = database::create().await;
    let store = migrated(&url, ONLY_AFTER).await;
    execute(&url, "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'plants_by_name'::regclass").await;
    store.migrate(ONLY_AFTER, &|_, _, _| {}).await.unwrap();
    assert_eq!(number(&url, "SELECT count(*) FROM pg_index WHERE NOT indisvalid").await, 0);
}

#[tokio::test]
async fn every_script_is_found_in_the_c_locale() {
    execute(
        &database::url("postgres"),
        "CREATE DATABASE plain TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'",
    )
    .await;
    let store = migrated(&database::url("plain"), ONLY_AFTER).await;
    let mut rows: Vec<Row> =
        ["Дмитрий", "हिन्दी", "東京都庁"].iter().zip(1..).map(|(name, number)| plant(number, name)).collect();
    rows.iter_mut().for_each(|row| row.0.extend([Value::Null, Value::Integer(0)]));
    store.commit(scope(), vec![Change::Insert { collection: &AFTER, rows }]).await.unwrap();
    for (term, number) in [("МИТР", 1), ("हिन्द", 2), ("京都", 3), ("京都庁", 3)] {
        assert_eq!(search(&store, term).await, [Uuid::from_u128(number)], "{term}");
    }
}

static JSON: Collection = Collection {
    name: "papers",
    placement: Placement::Tenant,
    fields: &[HEAD[0], HEAD[1], HEAD[2], HEAD[3], HEAD[4], field("body", FieldKind::Json, false, false)],
    unique: &[],
    indexes: &[],
    search: &[],
};

#[tokio::test]
async fn json_keeps_the_type_of_its_numbers() {
    let store = migrated(&database::create().await, ONLY_JSON).await;
    let body = r#"{"a":1e16,"b":9007199254740993,"c":1.0,"d":1e-300,"e":99999999999999.9999,"f":"1e5","g":1.7976931348623157e308}"#;
    let mut row = plant(1, "");
    row.0.truncate(5);
    row.0.push(Value::Json(Json::from_trusted(body)));
    store.commit(scope(), vec![Change::Insert { collection: &JSON, rows: vec![row] }]).await.unwrap();
    let rows = store.get(scope(), &JSON, &[Uuid::from_u128(1)]).await.unwrap();
    let Value::Json(json) = &rows[0].0[5] else { panic!("{rows:?}") };
    let (found, expected) = (json.to_value(), Json::from_trusted(body).to_value());
    assert_eq!(found, expected);
    assert!(json.as_str().contains("99999999999999.9999"), "{json:?}");
}
