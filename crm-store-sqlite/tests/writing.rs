//! What becomes of commits that share a transaction, of files that grow with the declarations, and of a process that is
//! killed.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use crm_core::{
    id::OrganizationId,
    record::HEAD,
    store::{
        Assignment, Change, Collection, CustomIndex, Field, FieldKind, FieldRef, Filter, Index, IndexField, Json,
        Outcome, Placement, Query, Row, Scope, Sort, Store as _, StoreError, UniqueKey, Value,
    },
    time::Timestamp,
};
use crm_store_sqlite::{Durability, SqliteOptions, SqliteStore};
use futures::{StreamExt as _, TryStreamExt as _};
use sqlx::{Connection as _, Executor as _, Row as _, SqliteConnection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;
use uuid::Uuid;

const fn field(name: &'static str, kind: FieldKind) -> Field {
    Field { name, kind, optional: false, folded: false, custom: false }
}

const NAME: Field = Field { folded: true, ..field("name", FieldKind::Text) };
const CUSTOM: Field = Field { custom: true, ..field("custom", FieldKind::Json) };

static NOTES: Collection = Collection {
    name: "notes",
    placement: Placement::Tenant,
    fields: &[HEAD[0], HEAD[1], HEAD[2], HEAD[3], HEAD[4], NAME, field("tags", FieldKind::TextList), CUSTOM],
    unique: &[UniqueKey { name: "name", fields: &["name"] }],
    indexes: &[Index { name: "by_tags", fields: &[IndexField { name: "tags", descending: false }], covers: &[] }],
    search: &["name", "tags"],
};

static COLLECTIONS: &[&Collection] = &[&NOTES];

const ORGANIZATION: Uuid = Uuid::from_u128(0xa1);

fn scope() -> Scope {
    Scope::Organization(OrganizationId(ORGANIZATION))
}

fn note(id: u128, name: &str) -> Row {
    let now = Value::Timestamp(Timestamp::default());
    Row(vec![
        Value::Id(Uuid::from_u128(id)),
        Value::Id(ORGANIZATION),
        Value::Integer(1),
        now.clone(),
        now,
        Value::Text(name.to_owned()),
        Value::TextList(vec!["tag".to_owned(), format!("tag {}", id % 3)]),
        Value::Json(Json::default()),
    ])
}

fn insert(row: Row) -> Change {
    Change::Insert { collection: &NOTES, rows: vec![row] }
}

fn update(id: u128, expected_version: Option<i64>, name: &str) -> Change {
    Change::Update {
        collection: &NOTES,
        id: Uuid::from_u128(id),
        expected_version,
        condition: None,
        assignments: vec![Assignment::Set(5, Value::Text(name.to_owned()))],
    }
}

async fn open(path: &Path, collections: &'static [&'static Collection]) -> SqliteStore {
    let store = SqliteStore::open_with(SqliteOptions::new(path).durability(Durability::Process)).await.unwrap();
    store.migrate(collections, &|_, _, _| {}).await.unwrap();
    store
}

async fn raw(path: &Path) -> SqliteConnection {
    SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(path)).await.unwrap()
}

async fn number(path: &Path, sql: &'static str) -> i64 {
    raw(path).await.fetch_one(sql).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_commit_that_fails_hurts_no_other() {
    let folder = TempDir::new().unwrap();
    let store = Arc::new(open(&folder.path().join("crm.db"), COLLECTIONS).await);
    store.commit(scope(), vec![insert(note(1_000_000, "taken"))]).await.unwrap();
    let commits = (0..300_u128).map(|place| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let id = 1 + place * 10;
            let mut changes =
                vec![insert(note(id, &format!("note {id}"))), insert(note(id + 1, &format!("more {id}")))];
            match place % 5 {
                1 => changes.push(insert(note(id + 2, "taken"))),
                2 => changes.push(update(id, Some(7), "wrong version")),
                3 => changes.push(update(id + 5, None, "not there")),
                4 => changes.push(update(id, Some(1), &format!("renamed {id}"))),
                _ => {}
            }
            (place, store.commit(scope(), changes).await)
        })
    });
    for commit in commits.collect::<Vec<_>>() {
        let (place, answer) = commit.await.unwrap();
        let id = Uuid::from_u128(1 + place * 10);
        match place % 5 {
            0 => assert_eq!(answer.unwrap(), [Outcome::Touched(1); 2]),
            1 => assert!(matches!(answer, Err(StoreError::Duplicate { key, .. }) if key == "name")),
            2 => assert!(matches!(answer, Err(StoreError::VersionConflict { id: at, found: 1, .. }) if at == id)),
            3 => assert!(matches!(answer, Err(StoreError::NotFound { .. }))),
            _ => assert_eq!(answer.unwrap()[2], Outcome::Updated { version: 2 }),
        }
        let there = store.get(scope(), &NOTES, &[id, Uuid::from_u128(2 + place * 10)]).await.unwrap();
        assert_eq!(there.len(), if matches!(place % 5, 0 | 4) { 2 } else { 0 });
    }
    assert_eq!(store.count(scope(), &NOTES, &Filter::ALL).await.unwrap(), 241);
    assert_eq!(search(&store, "renamed").await, 60);
    assert_eq!(search(&store, "wrong").await, 0);
    store.close().await;
}

async fn search(store: &SqliteStore, term: &str) -> u64 {
    store.count(scope(), &NOTES, &Filter::Search { terms: vec![term.to_owned()] }).await.unwrap()
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_nothing_half_done() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("crm.db");
    let store = open(&path, COLLECTIONS).await;
    for place in 0..200_u128 {
        let pair =
            vec![insert(note(place * 2 + 1, &format!("a{place}"))), insert(note(place * 2 + 2, &format!("b{place}")))];
        let commit = store.commit(scope(), pair);
        if place % 2 == 0 {
            // Polled once, so that it is on its way, and then dropped.
            let mut commit = std::pin::pin!(commit);
            let _ = futures::poll!(&mut commit);
        } else {
            commit.await.unwrap();
        }
    }
    let total = store.count(scope(), &NOTES, &Filter::ALL).await.unwrap();
    assert!(total >= 200 && total % 2 == 0, "{total}");
    let a = store.count(scope(), &NOTES, &starts("a")).await.unwrap();
    assert_eq!(a * 2, total);
    store.close().await;
}

fn starts(text: &str) -> Filter {
    Filter::StartsWith { field: FieldRef::declared("name", FieldKind::Text), text: text.to_owned() }
}

#[tokio::test]
async fn streams_that_are_dropped_give_their_connection_back() {
    let folder = TempDir::new().unwrap();
    let options = SqliteOptions::new(folder.path().join("crm.db")).durability(Durability::Process).readers(1);
    let store = SqliteStore::open_with(options).await.unwrap();
    store.migrate(COLLECTIONS, &|_, _, _| {}).await.unwrap();
    let rows = (1..1500).map(|id| note(id, &format!("{:04}", 5000 - id))).collect();
    store.commit(scope(), vec![Change::Insert { collection: &NOTES, rows }]).await.unwrap();
    let by_name = vec![Sort { field: FieldRef::declared("name", FieldKind::Text), descending: false }];
    for sort in [Vec::new(), by_name] {
        let query = Query { limit: 0, ..Query::new(Filter::ALL, 0) }.sorted(sort);
        for _ in 0..5 {
            let some: Vec<_> = store.stream(scope(), &NOTES, query.clone()).take(3).try_collect().await.unwrap();
            assert_eq!(some.len(), 3);
        }
        let all: Vec<_> = store.stream(scope(), &NOTES, query).try_collect().await.unwrap();
        assert_eq!(all.len(), 1499);
    }
    store.close().await;
}

#[tokio::test]
async fn a_full_disk_refuses_and_recovers() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("crm.db");
    open(&path, COLLECTIONS).await.close().await;
    let pages = number(&path, "PRAGMA page_count").await;
    let room = u64::try_from(pages + 40).unwrap() * 4096;
    let store = SqliteStore::open_with(SqliteOptions::new(&path).maximum_size(room)).await.unwrap();
    let mut written = 0;
    let refused = loop {
        match store.commit(scope(), vec![insert(note(written + 1, &format!("{written} {}", "x".repeat(3000))))]).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(&refused, StoreError::Unavailable { message, .. } if message.contains("full")), "{refused:?}");
    assert_eq!(store.count(scope(), &NOTES, &Filter::ALL).await.unwrap(), u64::try_from(written).unwrap());
    // What needs no room still works, on the same connection.
    let gone = Change::Delete { collection: &NOTES, id: Uuid::from_u128(1), expected_version: None };
    store.commit(scope(), vec![gone]).await.unwrap();
    store.close().await;
    let mut connection = raw(&path).await;
    assert_eq!(connection.fetch_one("PRAGMA integrity_check").await.unwrap().get::<String, _>(0), "ok");
}

#[tokio::test]
async fn people_can_write_with_sql() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("crm.db");
    let store = open(&path, COLLECTIONS).await;
    store.commit(scope(), vec![insert(note(1, "one")), insert(note(2, "two"))]).await.unwrap();
    let mut connection = raw(&path).await;
    connection.execute("UPDATE notes SET tags = '[\"new\",\"new\"]' WHERE name = 'one'").await.unwrap();
    connection.execute("DELETE FROM notes WHERE name = 'two'").await.unwrap();
    let tagged =
        |text: &str| Filter::Contains { field: FieldRef::declared("tags", FieldKind::TextList), text: text.to_owned() };
    assert_eq!(store.count(scope(), &NOTES, &tagged("new")).await.unwrap(), 1);
    assert_eq!(store.count(scope(), &NOTES, &tagged("tag")).await.unwrap(), 0);
    assert_eq!(search(&store, "two").await, 0);
    store.close().await;
}

/// The same collection as an older program declared it.
static OLD_NOTES: Collection = Collection {
    name: "notes",
    placement: Placement::Tenant,
    fields: &[
        HEAD[0],
        HEAD[1],
        HEAD[2],
        HEAD[3],
        HEAD[4],
        field("name", FieldKind::Text),
        field("tags", FieldKind::TextList),
        field("custom", FieldKind::Json),
    ],
    unique: &[],
    indexes: &[Index { name: "by_tags", fields: &[IndexField { name: "name", descending: false }], covers: &[] }],
    search: &[],
};
static OLD: &[&Collection] = &[&OLD_NOTES];

/// And as a newer one does.
static NEW_NOTES: Collection = Collection {
    fields: &[
        HEAD[0],
        HEAD[1],
        HEAD[2],
        HEAD[3],
        HEAD[4],
        NAME,
        field("tags", FieldKind::TextList),
        CUSTOM,
        field("stars", FieldKind::Integer),
        Field { optional: true, ..field("due", FieldKind::Date) },
    ],
    indexes: &[
        Index { name: "by_tags", fields: &[IndexField { name: "tags", descending: false }], covers: &[] },
        Index { name: "by_stars", fields: &[IndexField { name: "stars", descending: true }], covers: &[] },
    ],
    search: &["name"],
    ..NOTES
};
static NEW: &[&Collection] = &[&NEW_NOTES];

#[tokio::test]
async fn files_grow_with_the_declarations() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("crm.db");
    let store = open(&path, OLD).await;
    let rows = (1..2500)
        .map(|id| {
            let mut row = note(id, &format!("Émile {id}"));
            row.0[7] = Value::Json(Json::from_trusted("{\"city\":\"ZÜRICH\",\"cost\":1.5}"));
            row
        })
        .collect();
    store.commit(scope(), vec![Change::Insert { collection: &OLD_NOTES, rows }]).await.unwrap();
    store.close().await;

    // Folding, search, the elements of lists, and an index of the same name over another field.
    let store = open(&path, COLLECTIONS).await;
    assert_eq!(search(&store, "EMILE 24").await, 111);
    assert_eq!(search(&store, "tag 2").await, 833);
    assert_eq!(store.count(scope(), &NOTES, &starts("émile 7")).await.unwrap(), 111);
    let tagged = Filter::Contains { field: FieldRef::declared("tags", FieldKind::TextList), text: "tag 1".to_owned() };
    assert_eq!(store.count(scope(), &NOTES, &tagged).await.unwrap(), 833);
    let city = FieldRef::custom("custom", "city", FieldKind::Text);
    let zurich = Filter::Contains { field: city, text: "zuri".to_owned() };
    assert_eq!(store.count(scope(), &NOTES, &zurich).await.unwrap(), 2499);
    store.close().await;

    // New columns, and another set of searched fields.
    let store = open(&path, NEW).await;
    let row = store.get(scope(), &NEW_NOTES, &[Uuid::from_u128(5)]).await.unwrap().remove(0);
    assert_eq!(row.0[8..], [Value::Integer(0), Value::Null]);
    let in_tags = Filter::Search { terms: vec!["tag 2".to_owned()] };
    assert_eq!(store.count(scope(), &NEW_NOTES, &in_tags).await.unwrap(), 0);
    store.commit(scope(), vec![update(5, Some(1), "Anna")]).await.unwrap();
    assert_eq!(store.count(scope(), &NEW_NOTES, &Filter::Search { terms: vec!["ann".into()] }).await.unwrap(), 1);
    // Nothing is done twice.
    let steps = std::sync::Mutex::new(Vec::new());
    store.migrate(NEW, &|step, _, _| steps.lock().unwrap().push(step.to_owned())).await.unwrap();
    assert_eq!(*steps.lock().unwrap(), ["notes", "schema"]);
    store.close().await;

    let refused = SqliteStore::open(&path).await.unwrap().migrate(OTHER, &|_, _, _| {}).await;
    assert!(matches!(&refused, Err(StoreError::Unusable(said)) if said.contains("notes.name")), "{refused:?}");
}

/// A declaration that contradicts the file.
static OTHER_NOTES: Collection = Collection {
    fields: &[HEAD[0], HEAD[1], HEAD[2], HEAD[3], HEAD[4], field("name", FieldKind::Integer)],
    ..OLD_NOTES
};
static OTHER: &[&Collection] = &[&OTHER_NOTES];

#[tokio::test]
async fn custom_fields_can_have_any_name() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder.path().join("crm.db"), COLLECTIONS).await;
    let names =
        ["", "'", "\"", "a.b", "$", "[0]", "\\", "');DROP TABLE notes;--", "ключ", "line\nbreak", "%s?1", "`", "*:*"];
    let members: HashMap<&str, String> = names.iter().map(|name| (*name, format!("value of {name}"))).collect();
    let mut row = note(1, "all");
    row.0[7] = Value::Json(Json::from_trusted(serde_json::to_string(&members).unwrap()));
    store.commit(scope(), vec![insert(row), insert(note(2, "none"))]).await.unwrap();
    for indexed in [false, true] {
        for name in names {
            let field = FieldRef::custom("custom", name, FieldKind::Text);
            if indexed {
                let index =
                    CustomIndex { collection: &NOTES, field: "custom", key: name.to_owned(), kind: FieldKind::Text };
                store.create_custom_index(scope(), &index).await.unwrap();
            }
            let value = Value::Text(format!("value of {name}"));
            for filter in [
                Filter::equal(field.clone(), value.clone()),
                Filter::Exists { field: field.clone() },
                Filter::In { field: field.clone(), values: vec![value; 20] },
                Filter::StartsWith { field: field.clone(), text: "VALUE".to_owned() },
            ] {
                assert_eq!(store.count(scope(), &NOTES, &filter).await.unwrap(), 1, "{name}: {filter:?}");
                assert_eq!(store.count(scope(), &NOTES, &filter.negated()).await.unwrap(), 1, "{name}");
            }
            let query = Query::new(Filter::ALL, 5).sorted(vec![Sort { field, descending: true }]);
            let page = store.find(scope(), &NOTES, &query).await.unwrap();
            assert_eq!((page.rows[0].id().as_u128(), page.slow), (1, !indexed), "{name}");
        }
    }
    store.close().await;
}

const KILLED: &str = "CRM_STORE_SQLITE_KILLED";

/// Writes until it is killed, telling each commit that was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writer_that_is_killed() {
    let Ok(path) = std::env::var(KILLED) else { return };
    let store = Arc::new(SqliteStore::open(&path).await.unwrap());
    store.migrate(COLLECTIONS, &|_, _, _| {}).await.unwrap();
    let writers = (0..8_u128).map(|writer| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for place in 0.. {
                let id = (writer << 64) + place * 2 + 1;
                let pair = vec![insert(note(id, &format!("a {id}"))), insert(note(id + 1, &format!("b {id}")))];
                store.commit(scope(), pair).await.unwrap();
                println!("done {id}");
            }
        })
    });
    futures::future::join_all(writers.collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("crm.db");
    for round in 1..=3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writer_that_is_killed", "--nocapture"])
            .env(KILLED, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged = Vec::new();
        let mut read = |line: std::io::Result<String>| {
            let line = line.unwrap_or_default();
            acknowledged.extend(line.split("done ").nth(1).and_then(|id| id.trim().parse::<u128>().ok()));
            acknowledged.len()
        };
        for line in lines.by_ref() {
            if read(line) >= 150 * round {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        lines.for_each(|line| {
            read(line);
        });
        assert!(acknowledged.len() >= 150 * round, "the writer stopped by itself");

        let store = open(&path, COLLECTIONS).await;
        let ids: Vec<Uuid> = acknowledged.iter().flat_map(|id| [*id, id + 1]).map(Uuid::from_u128).collect();
        assert_eq!(store.get(scope(), &NOTES, &ids).await.unwrap().len(), ids.len());
        let total = store.count(scope(), &NOTES, &Filter::ALL).await.unwrap();
        assert_eq!(store.count(scope(), &NOTES, &starts("a ")).await.unwrap() * 2, total);
        store.close().await;
        assert_eq!(number(&path, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'").await, 0);
        assert_eq!(number(&path, "SELECT count(*) FROM notes_by_tags").await, i64::try_from(total).unwrap() * 2);
        // The next writer begins with ids of its own.
        std::fs::remove_file(&path).unwrap();
    }
}
