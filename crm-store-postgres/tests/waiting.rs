//! Changes that wait for another's: what they expect of a record is looked at as the other has left it.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

#[path = "support/database.rs"]
mod database;

use std::{sync::Arc, time::Duration};

use crm_core::{
    id::OrganizationId,
    record::HEAD,
    store::{
        Assignment, Change, Collection, Field, FieldKind, FieldRef, Filter, Index, IndexField, Outcome, Placement, Row,
        Scope, Store as _, StoreResult, Value, WhenUnmet,
    },
    time::Timestamp,
};
use crm_store_postgres::PostgresStore;
use sqlx::{Executor as _, PgConnection, Row as _};
use tokio::time::timeout;
use uuid::Uuid;

const OURS: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_00a1);
const PLANT: Uuid = Uuid::from_u128(1);
const TAGS: usize = 5;

static PLANTS: Collection = Collection {
    name: "plants",
    placement: Placement::Tenant,
    fields: &[
        HEAD[0],
        HEAD[1],
        HEAD[2],
        HEAD[3],
        HEAD[4],
        Field { name: "tags", kind: FieldKind::TextList, optional: false, folded: false, custom: false },
    ],
    unique: &[],
    indexes: &[Index { name: "by_tags", fields: &[IndexField { name: "tags", descending: false }], covers: &[] }],
    search: &[],
};

static COLLECTIONS: &[&Collection] = &[&PLANTS];

fn scope() -> Scope {
    Scope::Organization(OrganizationId(OURS))
}

fn is_tagged(tag: &str) -> Filter {
    Filter::Contains { field: FieldRef::declared("tags", FieldKind::TextList), text: tag.to_owned() }
}

async fn number(connection: &mut PgConnection, sql: &'static str) -> i64 {
    connection.fetch_one(sql).await.unwrap().get(0)
}

/// Makes a change that waits for somebody who takes the tag `old` from the one plant, for `new`.
async fn beside_another(change: Change) -> StoreResult<Vec<Outcome>> {
    let url = database::create().await;
    let store = Arc::new(PostgresStore::connect(&url).await.unwrap());
    store.migrate(COLLECTIONS, &|_, _, _| {}).await.unwrap();
    let now = Value::Timestamp(Timestamp::default());
    let tags = Value::TextList(vec!["old".to_owned()]);
    let row = Row(vec![Value::Id(PLANT), Value::Id(OURS), Value::Integer(1), now.clone(), now, tags]);
    store.commit(scope(), vec![Change::Insert { collection: &PLANTS, rows: vec![row] }]).await.unwrap();
    let mut other = database::raw(&url).await;
    other.execute("BEGIN; UPDATE plants SET tags = '{new}', version = version + 1").await.unwrap();
    let changing = tokio::spawn(async move { store.commit(scope(), vec![change]).await });
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let mut watcher = database::raw(&url).await;
    let waiting = async { while number(&mut watcher, waits).await == 0 {} };
    timeout(Duration::from_secs(60), waiting).await.unwrap();
    other.execute("COMMIT").await.unwrap();
    changing.await.unwrap()
}

#[tokio::test]
async fn changes_by_filter_look_at_the_elements_of_a_list_anew() {
    let delete = |filter| Change::DeleteWhere { collection: &PLANTS, filter };
    assert_eq!(beside_another(delete(is_tagged("old"))).await.unwrap(), [Outcome::Touched(0)]);
    let not = |filter| Filter::Not(Box::new(filter));
    assert_eq!(beside_another(delete(not(is_tagged("new")))).await.unwrap(), [Outcome::Touched(0)]);
}

#[tokio::test]
async fn conditions_look_at_the_elements_of_a_list_anew() {
    let change = Change::Update {
        collection: &PLANTS,
        id: PLANT,
        expected_version: None,
        condition: Some((is_tagged("old"), WhenUnmet::Skip)),
        assignments: vec![Assignment::Set(TAGS, Value::TextList(Vec::new()))],
    };
    assert_eq!(beside_another(change).await.unwrap(), [Outcome::Unmet]);
}
