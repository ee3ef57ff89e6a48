use crm_core::{
    id::OrganizationId,
    record::HEAD,
    store::{Assignment, Field, Filter, Json, Placement, Store as _, StoreError, Value},
    time::Timestamp,
};
use crm_test_servers::Postgres;
use uuid::Uuid;

use super::*;
use crate::PostgresStore;

const OURS: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_00a1);
const HOLDER: usize = 5;

static CLAIMS: Collection = Collection {
    name: "claims",
    placement: Placement::Installation,
    fields: &[
        HEAD[0],
        HEAD[1],
        HEAD[2],
        HEAD[3],
        HEAD[4],
        Field { name: "holder", kind: FieldKind::Text, optional: false, folded: false, custom: false },
        Field { name: "answer", kind: FieldKind::Json, optional: false, folded: false, custom: false },
    ],
    unique: &[],
    indexes: &[],
    search: &[],
};

static COLLECTIONS: &[&Collection] = &[&CLAIMS];

fn scope() -> Scope {
    Scope::Organization(OrganizationId(OURS))
}

fn insert(id: u128, holder: &str) -> Change {
    let now = Value::Timestamp(Timestamp::default());
    let row = Row(vec![
        Value::Id(Uuid::from_u128(id)),
        Value::Id(OURS),
        Value::Integer(7),
        now.clone(),
        now,
        Value::Text(holder.to_owned()),
        Value::Json(Json::from_trusted(r#"{"b":1,"a":2}"#)),
    ]);
    Change::Insert { collection: &CLAIMS, rows: vec![row] }
}

fn update(id: u128, expected_version: i64, condition: Option<(Filter, WhenUnmet)>) -> Change {
    Change::Update {
        collection: &CLAIMS,
        id: Uuid::from_u128(id),
        expected_version: Some(expected_version),
        condition,
        assignments: vec![Assignment::Set(HOLDER, Value::Text("somebody".to_owned()))],
    }
}

/// A database with the records 1, as it was added, and 2, changed since.
async fn opened(database: &str) -> PostgresStore {
    let server = Postgres::shared().unwrap();
    server.create_database(database).unwrap();
    let store = PostgresStore::connect(&server.url(database)).await.unwrap();
    store.migrate(COLLECTIONS, &|_, _, _| {}).await.unwrap();
    store.commit(scope(), vec![insert(1, "us"), insert(2, "us"), update(2, 1, None)]).await.unwrap();
    store
}

/// What is found out of a commit of whose server's process nothing is left.
async fn found(store: &PostgresStore, changes: &[Change]) -> StoreResult<Option<Vec<Outcome>>> {
    find_out(&store.pool, &store.layouts, scope(), changes, (0, String::new())).await
}

#[tokio::test]
async fn what_is_stored_tells_what_became_of_a_commit() {
    let store = opened("lost_commits").await;
    let made = found(&store, &[insert(1, "us")]).await.unwrap();
    assert_eq!(made, Some(vec![Outcome::Touched(1)]));
    // Two wanted the same id, and the other has it.
    assert_eq!(found(&store, &[insert(1, "them")]).await.unwrap(), None);
    assert_eq!(found(&store, &[insert(3, "us")]).await.unwrap(), None);
    let unknown =
        |found| matches!(found, Err(StoreError::Unavailable { message, .. }) if message.contains("may or may not"));
    assert!(unknown(found(&store, &[insert(2, "us")]).await));
    assert!(unknown(found(&store, &[insert(2, "us"), insert(3, "us")]).await));
    // One that is as it was sent tells for all.
    let made = found(&store, &[insert(2, "us"), insert(1, "us"), update(2, 1, None)]).await.unwrap();
    assert_eq!(made, Some(vec![Outcome::Touched(1), Outcome::Touched(1), Outcome::Updated { version: 2 }]));
}

#[tokio::test]
async fn a_version_that_was_expected_and_is_still_there_tells_too() {
    let store = opened("lost_updates").await;
    let unknown = |found| matches!(found, Err(StoreError::Unavailable { .. }));
    assert_eq!(found(&store, &[update(2, 2, None)]).await.unwrap(), None);
    assert_eq!(found(&store, &[update(2, 2, Some((Filter::ALL, WhenUnmet::Abort)))]).await.unwrap(), None);
    assert!(unknown(found(&store, &[update(2, 1, None)]).await));
    // A change that may have been left out leaves the version too.
    let skipped = || update(2, 2, Some((Filter::NONE, WhenUnmet::Skip)));
    assert!(unknown(found(&store, &[skipped()]).await));
    assert!(unknown(found(&store, &[insert(1, "us"), skipped()]).await));
    assert_eq!(found(&store, &[insert(3, "us"), skipped()]).await.unwrap(), None);
}

#[test]
fn any_certain_sign_outweighs_the_others() {
    use Sign::{Changed, Made, Missing, NotMade};
    assert_eq!(is_made(&[]), None);
    assert_eq!(is_made(&[Missing, Missing]), Some(false));
    assert_eq!(is_made(&[Missing, Changed]), None);
    assert_eq!(is_made(&[Missing, Changed, NotMade]), Some(false));
    assert_eq!(is_made(&[Missing, Changed, Made]), Some(true));
}
