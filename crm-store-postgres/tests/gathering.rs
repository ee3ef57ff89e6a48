//! Records that many add at the same time go to the server together, and everybody has an answer of their own.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

#[path = "support/database.rs"]
mod database;

use std::{sync::Arc, time::Duration};

use crm_core::{
    id::OrganizationId,
    record::HEAD,
    store::{
        Change, Collection, Field, FieldKind, Filter, Outcome, Placement, Row, Scope, Store as _, StoreError,
        UniqueKey, Value,
    },
    time::Timestamp,
};
use crm_store_postgres::PostgresStore;
use sqlx::{Executor as _, PgConnection, Row as _};
use tokio::{task::JoinSet, time::timeout};
use uuid::Uuid;

const OURS: OrganizationId = OrganizationId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_00a1));
const THEIRS: OrganizationId = OrganizationId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_00a2));
const GUESTS: u128 = 200;
/// How many wait for a lock. Not to be asked inside of a transaction, which is told the same again and again.
const WAITING: &str =
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";

static SEATS: Collection = Collection {
    name: "seats",
    placement: Placement::Tenant,
    fields: &[
        HEAD[0],
        HEAD[1],
        HEAD[2],
        HEAD[3],
        HEAD[4],
        Field { name: "place", kind: FieldKind::Text, optional: false, folded: false, custom: false },
        Field { name: "wishes", kind: FieldKind::TextList, optional: false, folded: false, custom: false },
    ],
    unique: &[UniqueKey { name: "place", fields: &["place"] }],
    indexes: &[],
    search: &[],
};

static GUEST_BOOK: Collection = Collection {
    name: "guest_book",
    placement: Placement::Tenant,
    fields: &[
        HEAD[0],
        HEAD[1],
        HEAD[2],
        HEAD[3],
        HEAD[4],
        Field { name: "words", kind: FieldKind::Json, optional: false, folded: false, custom: false },
    ],
    unique: &[],
    indexes: &[],
    search: &[],
};

static COLLECTIONS: &[&Collection] = &[&SEATS, &GUEST_BOOK];

fn head(number: u128, organization: OrganizationId) -> Vec<Value> {
    let now = Value::Timestamp(Timestamp::default());
    vec![Value::Id(Uuid::from_u128(number)), Value::Id(organization.0), Value::Integer(1), now.clone(), now]
}

/// A guest takes a place and writes into the book.
fn arrival(number: u128, organization: OrganizationId, place: &str) -> Vec<Change> {
    let mut seat = head(number, organization);
    seat.extend([Value::Text(place.to_owned()), Value::TextList(vec!["a \"window\"".to_owned(), "NULL".to_owned()])]);
    let mut words = head(number, organization);
    words.push(Value::Json(crm_core::store::Json::from_value(&serde_json::json!({"guest": number.to_string()}))));
    vec![
        Change::Insert { collection: &SEATS, rows: vec![Row(seat)] },
        Change::Insert { collection: &GUEST_BOOK, rows: vec![Row(words)] },
    ]
}

/// An empty database, its URL and a store on it.
async fn house() -> (String, Arc<PostgresStore>) {
    let url = database::create().await;
    let store = Arc::new(PostgresStore::connect(&url).await.unwrap());
    store.migrate(COLLECTIONS, &|_, _, _| {}).await.unwrap();
    (url, store)
}

async fn number(connection: &mut PgConnection, sql: &'static str) -> i64 {
    connection.fetch_one(sql).await.unwrap().get(0)
}

async fn until(connection: &mut PgConnection, sql: &'static str) {
    let waiting = async {
        while number(connection, sql).await == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(60), waiting).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everybody_who_comes_at_once_is_written_or_told_why_not() {
    let (url, store) = house().await;
    // Nobody gets in at first, so that all of them wait.
    let mut door = database::raw(&url).await;
    door.execute("BEGIN; LOCK TABLE guest_book IN SHARE MODE").await.unwrap();
    let mut guests = JoinSet::new();
    for guest in 1..=GUESTS {
        let store = Arc::clone(&store);
        guests.spawn(async move {
            let organization = if guest % 2 == 0 { OURS } else { THEIRS };
            // Ten times two of an organization want one place.
            let place = if guest <= 40 { (guest - 1) % 20 } else { guest };
            let changes = arrival(guest, organization, &format!("place {place}"));
            (guest, store.commit(Scope::Organization(organization), changes).await)
        });
    }
    let mut watcher = database::raw(&url).await;
    until(&mut watcher, WAITING).await;
    door.execute("COMMIT").await.unwrap();
    let mut seated = Vec::new();
    while let Some(guest) = guests.join_next().await {
        match guest.unwrap() {
            (guest, Ok(outcomes)) => {
                assert_eq!(outcomes, [Outcome::Touched(1), Outcome::Touched(1)]);
                seated.push(guest);
            }
            (_, Err(error)) => {
                assert!(matches!(&error, StoreError::Duplicate { key, .. } if key == "place"), "{error:?}");
            }
        }
    }
    assert_eq!(seated.len(), 180, "of two who want one place one gets it");
    for (organization, rest) in [(OURS, 0), (THEIRS, 1)] {
        let scope = Scope::Organization(organization);
        assert_eq!(store.count(scope, &SEATS, &Filter::ALL).await.unwrap(), 90);
        assert_eq!(store.count(scope, &GUEST_BOOK, &Filter::ALL).await.unwrap(), 90);
        let ids: Vec<Uuid> = seated.iter().filter(|id| **id % 2 == rest).map(|id| Uuid::from_u128(*id)).collect();
        for row in store.get(scope, &SEATS, &ids).await.unwrap() {
            let place = if row.id().as_u128() <= 40 { (row.id().as_u128() - 1) % 20 } else { row.id().as_u128() };
            let Change::Insert { rows, .. } = &arrival(row.id().as_u128(), organization, &format!("place {place}"))[0]
            else {
                continue;
            };
            assert_eq!(row, rows[0], "as it was sent");
        }
    }
    let commits = number(&mut door, "SELECT count(DISTINCT xmin::text) FROM guest_book").await;
    assert!(commits < 180, "{commits} commits of 180 guests");
}

#[tokio::test]
async fn who_goes_away_takes_nobody_along() {
    let (url, store) = house().await;
    let mut door = database::raw(&url).await;
    door.execute("BEGIN; LOCK TABLE guest_book IN SHARE MODE").await.unwrap();
    let mut guests = JoinSet::new();
    for guest in 1..=20 {
        let store = Arc::clone(&store);
        let changes = arrival(guest, OURS, &format!("place {guest}"));
        let written = async move { store.commit(Scope::Organization(OURS), changes).await };
        // The first ones are those who would run it for the others.
        let patience = Duration::from_millis(if guest <= 10 { 50 } else { 60_000 });
        guests.spawn(timeout(patience, written));
    }
    let mut left = 0;
    while left < 10 {
        left += usize::from(guests.join_next().await.unwrap().unwrap().is_err());
    }
    door.execute("COMMIT").await.unwrap();
    while let Some(guest) = guests.join_next().await {
        guest.unwrap().unwrap().unwrap();
    }
    // Who did not wait may have been written all the same, and whole.
    let seats = store.count(Scope::Organization(OURS), &SEATS, &Filter::ALL).await.unwrap();
    assert!(seats >= 10);
    assert_eq!(store.count(Scope::Organization(OURS), &GUEST_BOOK, &Filter::ALL).await.unwrap(), seats);
}

#[tokio::test]
async fn who_waits_for_somebody_holds_up_nobody_else() {
    let (url, store) = house().await;
    let mut holder = database::raw(&url).await;
    holder.execute("BEGIN").await.unwrap();
    for place in 1..=3 {
        let sql = format!(
            "INSERT INTO seats (id, organization_id, version, created_at, updated_at, place, wishes) \
             VALUES (gen_random_uuid(), '{}', 1, now(), now(), 'place {place}', '{{}}')",
            OURS.0
        );
        holder.execute(sqlx::AssertSqlSafe(sql)).await.unwrap();
    }
    let mut guests = JoinSet::new();
    let mut watcher = database::raw(&url).await;
    for guest in 1..=3 {
        let store = Arc::clone(&store);
        let changes = arrival(guest, OURS, &format!("place {guest}"));
        guests.spawn(async move { store.commit(Scope::Organization(OURS), changes).await });
        while number(&mut watcher, WAITING).await < i64::try_from(guest).unwrap() {
            tokio::task::yield_now().await;
        }
    }
    let other = store.commit(Scope::Organization(THEIRS), arrival(4, THEIRS, "place 1"));
    timeout(Duration::from_secs(20), other).await.unwrap().unwrap();
    assert_eq!(guests.len(), 3, "those wait");
    holder.execute("ROLLBACK").await.unwrap();
    while let Some(guest) = guests.join_next().await {
        guest.unwrap().unwrap();
    }
}
