//! How SQLite runs what the API asks for, in a table of two organizations.

use std::sync::Arc;

use crm_core::{
    customer::Customer,
    id::OrganizationId,
    order::Order,
    record::{HEAD, Record as _},
    store::{
        Change, Collection, Comparison, CustomIndex, Field, FieldKind, FieldRef, Filter, Index, IndexField, Json,
        Money, Placement, Position, Query, RelatedFilter, RelatedMeasure, Row, Scope, Sort, Store as _, UniqueKey,
        Value, evaluate,
    },
    time::Timestamp,
};
use sqlx::Row as _;
use tempfile::TempDir;
use uuid::Uuid;

use crate::{Durability, SqliteOptions, SqliteStore, compile::Rows, read, statement::Statement};

const fn field(name: &'static str, kind: FieldKind, optional: bool, folded: bool, custom: bool) -> Field {
    Field { name, kind, optional, folded, custom }
}

const fn up(name: &'static str) -> IndexField {
    IndexField { name, descending: false }
}

const fn down(name: &'static str) -> IndexField {
    IndexField { name, descending: true }
}

static PEOPLE: Collection = Collection {
    name: "people",
    placement: Placement::Tenant,
    fields: &[
        HEAD[0],
        HEAD[1],
        HEAD[2],
        HEAD[3],
        HEAD[4],
        field("name", FieldKind::Text, false, true, false),
        field("email", FieldKind::Text, true, false, false),
        field("status", FieldKind::Text, false, false, false),
        field("spend", FieldKind::Money, false, false, false),
        field("last_active", FieldKind::Timestamp, true, false, false),
        field("owner_id", FieldKind::Id, true, false, false),
        field("tags", FieldKind::TextList, false, false, false),
        field("groups", FieldKind::TextList, false, false, false),
        field("custom", FieldKind::Json, false, false, true),
        field("deleted_at", FieldKind::Timestamp, true, false, false),
    ],
    unique: &[UniqueKey { name: "email", fields: &["email"] }],
    indexes: &[
        Index { name: "by_created_at_down", fields: &[down("created_at")], covers: &[] },
        Index { name: "by_name", fields: &[up("name")], covers: &[] },
        Index { name: "by_spend_down", fields: &[down("spend")], covers: &[] },
        Index { name: "by_last_active_down", fields: &[down("last_active")], covers: &[] },
        Index { name: "by_status_created_at_down", fields: &[up("status"), down("created_at")], covers: &[] },
        Index { name: "by_owner_id_created_at_down", fields: &[up("owner_id"), down("created_at")], covers: &[] },
        Index { name: "by_tags_created_at_down", fields: &[up("tags"), down("created_at")], covers: &[] },
        Index { name: "by_groups", fields: &[up("groups")], covers: &[] },
        Index { name: "by_deleted_at", fields: &[up("deleted_at")], covers: &[] },
    ],
    search: &["name", "email", "tags"],
};

const OURS: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_00a1);
const THEIRS: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_00b2);

fn scope() -> Scope {
    Scope::Organization(OrganizationId(OURS))
}

fn instant(seconds: i64) -> Value {
    Value::Timestamp(Timestamp::from_milliseconds(1_700_000_000_000 + seconds * 1000).unwrap())
}

/// The `n`th person of an organization: values that repeat, values that are missing, names in no order.
fn person(organization: Uuid, n: u32) -> Row {
    let n64 = i64::from(n);
    let names = ["Ána", "bo", "Chloé", "Dmitri", "Émile"];
    let tags = match n % 50 {
        0 => vec!["vip".to_owned(), "rare".to_owned()],
        m if m % 5 == 0 => vec!["vip".to_owned()],
        _ => Vec::new(),
    };
    Row(vec![
        Value::Id(Uuid::from_u128(organization.as_u128() << 32 | u128::from(n))),
        Value::Id(organization),
        Value::Integer(1),
        instant(n64 * 7919 % 1000),
        instant(n64),
        Value::Text(format!("{} {}", names[n as usize % 5], n * 7919 % 1000)),
        if n.is_multiple_of(3) { Value::Null } else { Value::Text(format!("p{n}@example.com")) },
        Value::Text(["active", "inactive"][n as usize % 2].to_owned()),
        Value::Money(Money::from_ten_thousandths(n64 * 31 % 500).unwrap()),
        if n.is_multiple_of(4) { Value::Null } else { instant(n64 * 13 % 300) },
        if n.is_multiple_of(7) { Value::Id(Uuid::from_u128(u128::from(n % 21))) } else { Value::Null },
        Value::TextList(tags),
        Value::TextList(vec![format!("g{}", n % 40)]),
        Value::Json(Json::from_trusted(format!("{{\"it's a \\\"key\\\".$\":\"City {}\",\"n\":{n}}}", n % 90))),
        if n % 10 == 9 { instant(n64) } else { Value::Null },
    ])
}

struct Stage {
    store: Arc<SqliteStore>,
    rows: Vec<Row>,
    _folder: TempDir,
}

const PEOPLE_EACH: u32 = 1500;

async fn stage() -> Stage {
    let folder = TempDir::new().unwrap();
    let options = SqliteOptions::new(folder.path().join("crm.db")).durability(Durability::Process);
    let store = Arc::new(SqliteStore::open_with(options).await.unwrap());
    static COLLECTIONS: &[&Collection] = &[&PEOPLE];
    store.migrate(COLLECTIONS, &|_, _, _| {}).await.unwrap();
    let rows = |organization| (0..PEOPLE_EACH).map(|n| person(organization, n)).collect::<Vec<_>>();
    for organization in [OURS, THEIRS] {
        let scope = Scope::Organization(OrganizationId(organization));
        let insert = Change::Insert { collection: &PEOPLE, rows: rows(organization) };
        store.commit(scope, vec![insert]).await.unwrap();
    }
    Stage { store, rows: rows(OURS), _folder: folder }
}

fn declared(name: &'static str) -> FieldRef {
    FieldRef::declared(name, PEOPLE.field(name).unwrap().kind)
}

fn live() -> Filter {
    Filter::Exists { field: declared("deleted_at") }.negated()
}

fn by(field: FieldRef, descending: bool) -> Vec<Sort> {
    vec![Sort { field, descending }]
}

fn contains(list: &'static str, text: &str) -> Filter {
    Filter::Contains { field: declared(list), text: text.to_owned() }
}

fn search(term: &str) -> Filter {
    Filter::Search { terms: vec![term.to_owned()] }
}

fn city() -> FieldRef {
    FieldRef::custom("custom", "it's a \"key\".$", FieldKind::Text)
}

impl Stage {
    async fn explain(&self, statement: Statement) -> String {
        let mut reader = self.store.pool.acquire().await.unwrap();
        let lines = reader.all(statement.explained()).await.unwrap();
        reader.release();
        lines.iter().map(|line| line.get::<String, _>(3) + "\n").collect()
    }

    fn count(&self, filter: &Filter) -> Statement {
        let layout = self.store.layouts.of(&PEOPLE);
        let rows = Rows::new(&self.store.layouts, &layout, Some(OURS), filter);
        let mut count = Statement::new("SELECT count(*) FROM ");
        rows.push_table(&mut count, filter);
        rows.push_where(&mut count, filter).unwrap();
        count
    }

    /// The plan of every statement of the query. The answer is compared with the reference on the way.
    async fn plan(&self, query: &Query) -> (String, bool) {
        let mut expected: Vec<&Row> = self
            .rows
            .iter()
            .filter(|row| evaluate::matches(&PEOPLE, &query.filter, row))
            .filter(|row| {
                query
                    .after
                    .as_ref()
                    .is_none_or(|after| evaluate::compare_to_position(&PEOPLE, query, row, after).is_gt())
            })
            .collect();
        expected.sort_by(|left, right| evaluate::compare_rows(&PEOPLE, query, left, right));
        let page = self.store.find(scope(), &PEOPLE, query).await.unwrap();
        let ids = |rows: &mut dyn Iterator<Item = &Row>| rows.map(Row::id).collect::<Vec<_>>();
        assert_eq!(ids(&mut page.rows.iter()), ids(&mut expected.into_iter().take(query.limit)), "{query:?}");
        // Explaining alone would not notice that the schema has changed.
        let (statements, slow) = read::statements(&self.store, scope(), &PEOPLE, query).unwrap();
        let mut plan = String::new();
        for statement in statements {
            plan += &self.explain(statement).await;
        }
        assert_eq!(page.slow, slow);
        (plan, slow)
    }

    /// The query's first page, its second, and one in the middle, all read in the order of this index.
    async fn pages_use(&self, query: Query, index: &str) {
        let mut all = query.clone();
        all.limit = 2000;
        let all = self.store.find(scope(), &PEOPLE, &all).await.unwrap().rows;
        assert!(all.len() > 20, "{query:?} finds too little to be told by");
        let mut positions = vec![None];
        positions.extend([9, all.len() / 2, all.len() - 5].map(|place| {
            let row = &all[place];
            let keys = query.sort.iter().map(|sort| evaluate::field_value(&PEOPLE, &sort.field, row).into_owned());
            Some(Position { keys: keys.collect(), id: row.id() })
        }));
        for after in positions {
            let query = Query { after, ..query.clone() };
            let (plan, slow) = self.plan(&query).await;
            assert!(!slow, "{query:?}");
            assert_served(&plan, index);
        }
    }
}

fn assert_served(plan: &str, index: &str) {
    assert!(plan.contains(index), "{plan}");
    assert!(plan.contains("SEARCH"), "{plan}");
    for bad in ["SCAN t", "SCAN s", "TEMP B-TREE"] {
        assert!(!plan.contains(bad), "{plan}");
    }
}

#[tokio::test]
async fn every_list_runs_along_an_index() {
    let stage = stage().await;
    let owner = Filter::equal(declared("owner_id"), Value::Id(Uuid::from_u128(7)));
    let status = Filter::equal(declared("status"), Value::Text("active".to_owned()));
    let recent = Filter::compare(declared("last_active"), Comparison::GreaterOrEqual, instant(40));
    for (filter, sort, index) in [
        (live(), by(declared("created_at"), true), "people_by_created_at_down"),
        (live(), by(declared("created_at"), false), "people_by_created_at_down"),
        (live(), by(declared("name"), false), "people_by_name"),
        (live(), by(declared("name"), true), "people_by_name"),
        (live(), by(declared("spend"), true), "people_by_spend_down"),
        (live(), by(declared("last_active"), true), "people_by_last_active_down"),
        (live(), by(declared("last_active"), false), "people_by_last_active_down"),
        (live().and(status.clone()), by(declared("created_at"), true), "people_by_status_created_at_down"),
        (live().and(owner), by(declared("created_at"), true), "people_by_owner_id_created_at_down"),
        (live().and(recent), by(declared("last_active"), true), "people_by_last_active_down"),
        (live().and(contains("tags", "vip")), by(declared("created_at"), true), "SEARCH s USING PRIMARY KEY"),
        (live().and(contains("tags", "rare")), by(declared("created_at"), false), "SEARCH s USING PRIMARY KEY"),
        (live().and(contains("groups", "g7")), Vec::new(), "SEARCH s USING PRIMARY KEY"),
        (live(), Vec::new(), "people_by_deleted_at"),
        (Filter::ALL, Vec::new(), "people_id"),
    ] {
        stage.pages_use(Query::new(filter, 20).sorted(sort), index).await;
    }
}

#[tokio::test]
async fn what_names_one_record_is_looked_up() {
    let stage = stage().await;
    let email = Filter::equal(declared("email"), Value::Text("p7@example.com".to_owned()));
    let (plan, slow) = stage.plan(&Query::new(live().and(email), 20).sorted(by(declared("created_at"), true))).await;
    assert!(plan.contains("people_key_email (organization_id=? AND email=?)") && !slow, "{plan}");
    let ids = [3, 5, 8].map(|place: usize| Value::Id(stage.rows[place].id())).to_vec();
    let (plan, slow) = stage.plan(&Query::new(Filter::In { field: declared("id"), values: ids }, 20)).await;
    assert!(plan.contains("people_id (organization_id=? AND id=?)") && !slow, "{plan}");
}

#[tokio::test]
async fn searches_begin_with_the_trigrams() {
    let stage = stage().await;
    for (filter, sort) in [
        (live().and(search("émile 7")), Vec::new()),
        (search("CHLO"), by(declared("created_at"), true)),
        (live().and(contains("groups", "g7")).and(search("émi")), by(declared("name"), false)),
        (contains("groups", "g7"), by(declared("name"), false)),
    ] {
        let query = Query::new(filter, 20).sorted(sort);
        let (plan, _) = stage.plan(&query).await;
        assert!(plan.contains("SEARCH t USING INTEGER PRIMARY KEY"), "{query:?}\n{plan}");
        let plan = stage.explain(stage.count(&query.filter)).await;
        assert!(plan.contains("SEARCH t USING INTEGER PRIMARY KEY"), "{plan}");
    }
    // Two letters have no trigram: the order's index is walked until the page is full.
    stage.pages_use(Query::new(live().and(search("ém")), 20).sorted(by(declared("created_at"), true)), "created").await;
}

#[tokio::test]
async fn custom_fields_are_slow_until_they_are_indexed() {
    let stage = stage().await;
    let equal = Filter::equal(city(), Value::Text("City 7".to_owned()));
    let prefix = Filter::StartsWith { field: city(), text: "CITY 7".to_owned() };
    let number = FieldRef::custom("custom", "n", FieldKind::Integer);
    let large = Filter::compare(number.clone(), Comparison::Greater, Value::Integer(1400));
    let ordered = Query::new(live(), 20).sorted(by(city(), false));
    assert!(stage.plan(&ordered).await.1);
    let indexes = [("it's a \"key\".$", FieldKind::Text), ("n", FieldKind::Integer)].map(|(key, kind)| CustomIndex {
        collection: &PEOPLE,
        field: "custom",
        key: key.to_owned(),
        kind,
    });
    for index in &indexes {
        stage.store.create_custom_index(scope(), index).await.unwrap();
        stage.store.create_custom_index(scope(), index).await.unwrap();
    }
    for filter in [equal.clone(), prefix, large] {
        stage.plan(&Query::new(filter.clone(), 20)).await;
        let plan = stage.explain(stage.count(&filter)).await;
        assert!(plan.contains("people:custom:"), "{filter:?}\n{plan}");
    }
    stage.pages_use(ordered.clone(), "people:custom:").await;
    stage.pages_use(Query::new(live(), 20).sorted(by(number, true)), "people:custom:").await;
    // Another program drops one that this one still knows.
    let other = SqliteStore::open(stage.store.path()).await.unwrap();
    other.drop_custom_index(scope(), &indexes[0]).await.unwrap();
    other.close().await;
    assert!(stage.plan(&ordered).await.1);
    for index in &indexes {
        stage.store.drop_custom_index(scope(), index).await.unwrap();
        stage.store.drop_custom_index(scope(), index).await.unwrap();
    }
    assert!(stage.plan(&ordered).await.1);
    stage.plan(&Query::new(equal, 20)).await;
}

#[tokio::test]
async fn orders_without_an_index_say_so() {
    let stage = stage().await;
    for (filter, sort) in [
        (live(), by(declared("updated_at"), false)),
        (contains("tags", "vip"), by(declared("spend"), true)),
        (live(), [by(declared("name"), false), by(declared("spend"), true)].concat()),
    ] {
        assert!(stage.plan(&Query::new(filter, 20).sorted(sort)).await.1);
    }
}

/// A row of a declared collection: these values, and else whatever its fields may hold.
fn filled(collection: &'static Collection, values: &[(&str, Value)]) -> Row {
    let value = |field: &Field| match (values.iter().find(|(name, _)| *name == field.name), field.kind) {
        (Some((_, value)), _) => value.clone(),
        (None, _) if field.optional => Value::Null,
        (None, FieldKind::Bool) => Value::Bool(false),
        (None, FieldKind::Integer) => Value::Integer(1),
        (None, FieldKind::Number) => Value::Number(0.0),
        (None, FieldKind::Money) => Value::Money(Money::ZERO),
        (None, FieldKind::Text) => Value::Text("paid".to_owned()),
        (None, FieldKind::Timestamp) => instant(0),
        (None, FieldKind::TextList) => Value::TextList(Vec::new()),
        (None, FieldKind::Json) => Value::Json(Json::from_trusted("[]")),
        (None, FieldKind::Id | FieldKind::Date) => panic!("no value for {}", field.name),
    };
    Row(collection.fields.iter().map(value).collect())
}

/// Whoever bought so, and so often, is found by one pass along an index of orders, and then looked up by id; common
/// conditions on customers run along theirs.
#[tokio::test]
async fn segments_run_along_indexes() {
    let folder = TempDir::new().unwrap();
    let options = SqliteOptions::new(folder.path().join("crm.db")).durability(Durability::Process);
    let store = Arc::new(SqliteStore::open_with(options).await.unwrap());
    store.migrate(crm_core::crm::collections(), &|_, _, _| {}).await.unwrap();
    for organization in [OURS, THEIRS] {
        let id = |number: u32| Value::Id(Uuid::from_u128(organization.as_u128() << 32 | u128::from(number)));
        let of = ("organization_id", Value::Id(organization));
        let customers = (0..500).map(|n| {
            let spend = Value::Money(Money::from_ten_thousandths(i64::from(n) * 10_000).unwrap());
            let (active, metadata) = (instant(i64::from(n)), Value::Json(Json::default()));
            let values = [
                ("id", id(n)),
                of.clone(),
                ("spend", spend),
                ("active_at", active),
                ("metadata", metadata.clone()),
                ("custom", metadata),
            ];
            filled(Customer::COLLECTION, &values)
        });
        let orders = (0..2000).map(|n| {
            let date = instant(i64::from(n));
            let empty = Value::Json(Json::default());
            let values = [
                ("id", id(n)),
                of.clone(),
                ("customer_id", id(n % 300)),
                ("date", date),
                ("metadata", empty.clone()),
                ("custom", empty),
            ];
            filled(Order::COLLECTION, &values)
        });
        let changes = vec![
            Change::Insert { collection: Customer::COLLECTION, rows: customers.collect() },
            Change::Insert { collection: Order::COLLECTION, rows: orders.collect() },
        ];
        store.commit(Scope::Organization(OrganizationId(organization)), changes).await.unwrap();
    }
    let bought = |filter, measure, value| {
        let (key, comparison) = (Order::customer_id.name(), Comparison::GreaterOrEqual);
        Filter::Related(Box::new(RelatedFilter {
            collection: Order::COLLECTION,
            key,
            filter,
            measure,
            comparison,
            value,
        }))
    };
    let two = Value::Integer(2);
    let much = Value::Money(Money::from_ten_thousandths(50_000).unwrap());
    let lately = Filter::compare(Order::date.field(), Comparison::GreaterOrEqual, instant(1_900));
    let rich = Customer::spend.greater_than(Money::from_ten_thousandths(4_900_000).unwrap());
    let quiet = Filter::compare(Customer::active_at.field(), Comparison::LessOrEqual, instant(20));
    for (filter, along) in [
        (
            bought(Filter::ALL, RelatedMeasure::Count, two.clone()),
            "SEARCH r USING COVERING INDEX orders_by_customer_id_date_down",
        ),
        (
            bought(Filter::ALL, RelatedMeasure::Sum("amount"), much),
            "SEARCH r USING INDEX orders_by_customer_id_date_down",
        ),
        (bought(lately, RelatedMeasure::Count, two), "SEARCH r USING "),
        (rich.clone(), "customers_by_spend_down"),
        (quiet.clone(), "customers_by_active_at"),
        (rich.and(quiet), "customers_by_"),
    ] {
        let filter = Customer::deleted_at.missing().and(filter);
        let layout = store.layouts.of(Customer::COLLECTION);
        let rows = Rows::new(&store.layouts, &layout, Some(OURS), &filter);
        let mut count = Statement::new("SELECT count(*) FROM ");
        rows.push_table(&mut count, &filter);
        rows.push_where(&mut count, &filter).unwrap();
        let mut reader = store.pool.acquire().await.unwrap();
        let lines = reader.all(count.explained()).await.unwrap();
        reader.release();
        let plan: String = lines.iter().map(|line| line.get::<String, _>(3) + "\n").collect();
        assert!(plan.contains(along) && !plan.contains("SCAN r") && !plan.contains("CORRELATED"), "{along}:\n{plan}");
        assert!(!plan.contains("SCAN t") || plan.contains("SCAN t USING INDEX"), "{along}:\n{plan}");
    }
}
