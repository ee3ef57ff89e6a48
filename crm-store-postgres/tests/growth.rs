//! A table that was just filled is read as fast as one that the server knows.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

#[path = "support/database.rs"]
mod database;

use crm_core::{
    id::OrganizationId,
    record::HEAD,
    store::{
        Change, Collection, Field, FieldKind, FieldRef, Filter, Index, IndexField, Placement, Row, Scope, Store as _,
        Value,
    },
    time::Timestamp,
};
use crm_store_postgres::PostgresStore;
use sqlx::{Executor as _, Row as _};
use uuid::Uuid;

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

const OURS: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_00a1);

fn plant(number: u128) -> Row {
    let now = Value::Timestamp(Timestamp::default());
    let tags = Value::TextList(vec!["green".to_owned()]);
    Row(vec![Value::Id(Uuid::from_u128(number)), Value::Id(OURS), Value::Integer(1), now.clone(), now, tags])
}

#[tokio::test]
async fn rows_that_were_just_added_are_counted_by_an_element_at_once() {
    let url = database::create().await;
    let mut raw = database::raw(&url).await;
    let store = PostgresStore::connect(&url).await.unwrap();
    store.migrate(COLLECTIONS, &|_, _, _| {}).await.unwrap();
    // The server does not look by itself meanwhile.
    raw.execute("ALTER TABLE plants SET (autovacuum_enabled = off)").await.unwrap();
    let scope = Scope::Organization(OrganizationId(OURS));
    for first in (0..20_000).step_by(1_000) {
        let rows = (first..first + 1_000).map(plant).collect();
        store.commit(scope, vec![Change::Insert { collection: &PLANTS, rows }]).await.unwrap();
    }

    let green = Filter::Contains { field: FieldRef::declared("tags", FieldKind::TextList), text: "green".to_owned() };
    assert_eq!(store.count(scope, &PLANTS, &green).await.unwrap(), 20_000);

    let known = raw.fetch_one("SELECT reltuples::bigint FROM pg_class WHERE relname = 'plants'").await.unwrap();
    assert!(known.get::<i64, _>(0) >= 20_000);
    let plan =
        "EXPLAIN SELECT count(*) FROM plants t WHERE id IN (SELECT id FROM plants_by_tags WHERE element = 'green')";
    let plan: Vec<String> = raw.fetch_all(plan).await.unwrap().iter().map(|line| line.get(0)).collect();
    assert!(plan.iter().any(|line| line.contains("Hash")), "each row beside each: {plan:#?}");
}
