//! That the queries of every day read what they answer and little more, however many records there are.
//!
//! On MongoDB itself nothing needs to be set. A server on `DocumentDB` reads pages in an index's order only where its
//! indexes are made for that, which a variable of its environment asks for; so this test starts a server of its own.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod background;

use bson::{Document, RawDocument, RawDocumentBuf};
use crm_core::{
    crm::collections,
    customer::Customer,
    id::OrganizationId,
    record::Record as _,
    store::{
        Change, Collection, Comparison, CustomIndex, Field, FieldKind, FieldRef, Filter, Json, Money, Query, Row,
        Scope, Sort, Store as _, Value, evaluate,
    },
    time::Timestamp,
};
use crm_store_mongo::MongoStore;
use crm_test_servers::Mongo;
use mongodb::Client;
use uuid::Uuid;

const ROWS: u32 = 50_000;
const LIMIT: usize = 20;
const TENANTS: [Uuid; 2] = [Uuid::from_u128(0xa), Uuid::from_u128(0xb)];

fn scope(tenant: Uuid) -> Scope {
    Scope::Organization(OrganizationId(tenant))
}

fn at(number: u32) -> Value {
    Value::Timestamp(Timestamp::from_milliseconds(1_700_000_000_000 + i64::from(number) * 1000).unwrap())
}

fn id(number: u32) -> Uuid {
    uuid::Builder::from_unix_timestamp_millis(1_700_000_000_000 + u64::from(number), &[7; 10]).into_uuid()
}

/// A record of that number, of which the other fields say nothing.
fn row(collection: &'static Collection, number: u32, said: impl Fn(&str) -> Option<Value>) -> Row {
    let value = |field: &Field| match field.name {
        "id" => Value::Id(id(number)),
        "created_at" | "updated_at" => at(number),
        name => said(name).unwrap_or_else(|| match field.kind {
            _ if field.optional => Value::Null,
            FieldKind::Bool => Value::Bool(false),
            FieldKind::Integer => Value::Integer(1),
            FieldKind::Json => Value::Json(Json::default()),
            FieldKind::Id => Value::Id(id(number)),
            FieldKind::Text => text("customer.created"),
            kind => panic!("{name}: no value of {kind:?} for it"),
        }),
    };
    Row(collection.fields.iter().map(value).collect())
}

/// The customer of that number: names, owners and tags come again, a few lie in the bin, a third never did anything.
fn customer(tenant: Uuid, number: u32) -> Row {
    let value = |field: &Field| match field.name {
        "id" => Value::Id(id(number)),
        "organization_id" => Value::Id(tenant),
        "name" => Value::Text(format!("Ann {} Example", number % 977)),
        "email" => Value::Text(format!("mail{number}@example.com")),
        "status" => Value::Text(if number.is_multiple_of(3) { "inactive" } else { "active" }.to_owned()),
        "owner_id" => Value::Id(Uuid::from_u128(u128::from(number % 50))),
        "team_id" => Value::Id(Uuid::from_u128(u128::from(number % 7))),
        "tags" => Value::TextList(vec![format!("tag{}", number % 100), "everybody".to_owned()]),
        "group_ids" => Value::TextList(vec![format!("group{}", number % 60)]),
        "spend" => Value::Money(Money::from_ten_thousandths(i64::from(number % 5_000) * 10_000).unwrap()),
        "last_active" if number.is_multiple_of(3) => Value::Null,
        "deleted_at" if !number.is_multiple_of(40) => Value::Null,
        "created_at" | "updated_at" | "last_active" | "active_at" | "deleted_at" => at(number),
        "custom" => Value::Json(Json::from_trusted(format!("{{\"a.b\":\"City {}\"}}", number % 300))),
        _ if field.optional => Value::Null,
        _ => match field.kind {
            FieldKind::Bool => Value::Bool(false),
            FieldKind::Integer => Value::Integer(i64::from(number % 9)),
            FieldKind::Number => Value::Number(0.0),
            FieldKind::Money => Value::Money(Money::ZERO),
            FieldKind::Text => Value::Text("regular".to_owned()),
            FieldKind::Timestamp => at(number),
            FieldKind::TextList => Value::TextList(Vec::new()),
            FieldKind::Json => Value::Json(Json::default()),
            FieldKind::Id | FieldKind::Date => panic!("{}: no value for it", field.name),
        },
    };
    Row(Customer::COLLECTION.fields.iter().map(value).collect())
}

/// Two organizations with half of the customers each. The indexes are made when the records are there, which is faster.
async fn filled(server: &Mongo) -> MongoStore {
    let url = server.url("plans");
    let store = MongoStore::connect(&url).await.unwrap();
    store.migrate(collections(), &|_, _, _| {}).await.unwrap();
    let customers = Client::with_uri_str(&url).await.unwrap().database("plans").collection::<Document>("customers");
    customers.drop_indexes().await.unwrap();
    let numbers: Vec<u32> = (0..ROWS).collect();
    for (chunk, numbers) in numbers.chunks(1_000).enumerate() {
        let tenant = TENANTS[chunk % 2];
        let rows = numbers.iter().map(|number| customer(tenant, *number)).collect();
        store.commit(scope(tenant), vec![Change::Insert { collection: Customer::COLLECTION, rows }]).await.unwrap();
    }
    store.migrate(collections(), &|_, _, _| {}).await.unwrap();
    store.create_custom_index(scope(TENANTS[0]), &city()).await.unwrap();
    store
}

fn city() -> CustomIndex {
    CustomIndex { collection: Customer::COLLECTION, field: "custom", key: "a.b".to_owned(), kind: FieldKind::Text }
}

fn field(name: &'static str) -> FieldRef {
    FieldRef::declared(name, Customer::COLLECTION.field(name).unwrap().kind)
}

fn is(name: &'static str, value: Value) -> Filter {
    present(Filter::equal(field(name), value))
}

/// Not in the bin.
fn present(filter: Filter) -> Filter {
    filter.and(Filter::Exists { field: field("deleted_at") }.negated())
}

fn has(name: &'static str, text: &str) -> Filter {
    present(Filter::Contains { field: field(name), text: text.to_owned() })
}

fn page(filter: Filter, sort: &[(FieldRef, bool)]) -> Query {
    let sort = sort.iter().map(|(field, descending)| Sort { field: field.clone(), descending: *descending });
    Query::new(filter, LIMIT).sorted(sort.collect())
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// The queries of every day, by name.
fn shapes() -> Vec<(&'static str, Query)> {
    let newest = || [(field("created_at"), true)];
    let custom = || FieldRef::custom("custom", "a.b", FieldKind::Text);
    let inactive = Filter::compare(field("active_at"), Comparison::Less, at(30_000));
    let from_owner = Value::Id(Uuid::from_u128(7));
    let from_team = Value::Id(Uuid::from_u128(3));
    let search = |term: &str| Filter::Search { terms: vec![term.to_owned()] };
    vec![
        ("everybody by id", page(Filter::ALL, &[])),
        ("newest first", page(present(Filter::ALL), &newest())),
        ("by name", page(present(Filter::ALL), &[(field("name"), false)])),
        ("by name, downward", page(present(Filter::ALL), &[(field("name"), true)])),
        ("who spent most", page(present(Filter::ALL), &[(field("spend"), true)])),
        ("last active, never last", page(present(Filter::ALL), &[(field("last_active"), true)])),
        ("last active, never first", page(present(Filter::ALL), &[(field("last_active"), false)])),
        ("of a status", page(is("status", text("active")), &newest())),
        ("of an owner", page(is("owner_id", from_owner), &newest())),
        ("of a team", page(is("team_id", from_team), &newest())),
        ("with a tag", page(has("tags", "tag7"), &newest())),
        ("with everybody's tag", page(has("tags", "everybody"), &newest())),
        ("of a group", page(has("group_ids", "group5"), &newest())),
        ("long inactive", page(present(inactive), &[(field("active_at"), false)])),
        ("in the bin", page(Filter::Exists { field: field("deleted_at") }, &[(field("deleted_at"), true)])),
        ("with a part of the address", page(present(search("@example")), &[])),
        ("with three letters", page(present(search("il4")), &[])),
        ("with two letters", page(present(search("il")), &[])),
        ("of a custom field", page(present(Filter::equal(custom(), text("City 7"))), &[(custom(), false)])),
        ("by a custom field", page(present(Filter::ALL), &[(custom(), false)])),
    ]
}

/// How much a page read: documents and keys of indexes, and whether it sorted.
fn examined(told: &[RawDocumentBuf]) -> (i64, bool) {
    let number =
        |stats: &RawDocument, name: &str| stats.get_i64(name).or_else(|_| stats.get_i32(name).map(i64::from)).unwrap();
    let read = told.iter().map(|told| {
        let stats = told.get_document("executionStats").unwrap();
        number(stats, "totalDocsExamined").max(number(stats, "totalKeysExamined"))
    });
    let sorts = told.iter().any(|told| {
        let plan = told.get_document("queryPlanner").unwrap().get_document("winningPlan").unwrap();
        Document::try_from(plan).unwrap().to_string().contains("\"SORT\"")
    });
    (read.sum(), sorts)
}

/// The stages of each range, from the outside in, with how many rows leave each.
fn stages(told: &[RawDocumentBuf]) -> String {
    let mut lines = Vec::new();
    for told in told {
        let mut line = String::new();
        let mut stage = told.get_document("queryPlanner").unwrap().get_document("winningPlan").ok();
        while let Some(inner) = stage {
            let index = inner.get_str("indexName").unwrap_or_default();
            let condition = inner.get_str("condition").or_else(|_| inner.get_str("filter")).unwrap_or_default();
            line.push_str(&format!(" {} {index} {condition}", inner.get_str("stage").unwrap_or_default()));
            stage = inner.get_document("inputStage").ok();
        }
        lines.push(line);
    }
    lines.join("\n")
}

#[tokio::test]
async fn pages_read_little_more_than_they_answer() {
    let server = Mongo::start_with(&["MONGOGW_ORDERED_INDEXES=1"]).unwrap_or_else(|error| panic!("{error}"));
    let store = filled(&server).await;
    let mut faults = Vec::new();
    let on_documentdb = store.explain(scope(TENANTS[0]), Customer::COLLECTION, &shapes()[0].1).await.unwrap()[0]
        .get("postgresPlan")
        .is_ok_and(|plan| plan.is_some());
    for (name, first) in shapes() {
        let mut query = first.clone();
        // DocumentDB does not know that of an index over a list the other fields are plain, and sorts from the second
        // page on.
        let of_list = ["with a", "with three", "with every", "of a group"].iter().any(|start| name.starts_with(start));
        let pages = if on_documentdb && of_list { 1 } else { 3 };
        for number in 1..=pages {
            let page = store.find(scope(TENANTS[0]), Customer::COLLECTION, &query).await.unwrap();
            let told = store.explain(scope(TENANTS[0]), Customer::COLLECTION, &query).await.unwrap();
            let (read, sorts) = examined(&told);
            // DocumentDB sorts the few rows that are alike in the first key; how many it reads tells whether that is all.
            if read > i64::try_from(5 * LIMIT).unwrap() || sorts && !on_documentdb || page.rows.is_empty() {
                let found = page.rows.len();
                faults.push(format!(
                    "{name}, page {number}: {read} read for {found} rows, sorted: {sorts}\n{}",
                    stages(&told)
                ));
            }
            // The last of the next pages begins far behind.
            let skip = if number == 2 { 500 } else { 0 };
            let ahead =
                store.find(scope(TENANTS[0]), Customer::COLLECTION, &Query { skip, ..query.clone() }).await.unwrap();
            let Some(last) = ahead.rows.last().or(page.rows.last()) else { break };
            query.after = Some(evaluate::position(Customer::COLLECTION, &query.sort, last));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
}

#[tokio::test]
async fn other_orders_work_and_are_marked_slow() {
    let server = Mongo::start_with(&[]).unwrap_or_else(|error| panic!("{error}"));
    let store = MongoStore::connect(&server.url("orders")).await.unwrap();
    store.migrate(collections(), &|_, _, _| {}).await.unwrap();
    let rows = (0..60).map(|number| customer(TENANTS[0], number)).collect();
    store.commit(scope(TENANTS[0]), vec![Change::Insert { collection: Customer::COLLECTION, rows }]).await.unwrap();
    let by_visits = page(Filter::ALL, &[(field("visits"), true)]);
    let found = store.find(scope(TENANTS[0]), Customer::COLLECTION, &by_visits).await.unwrap();
    assert!(found.slow && found.has_more && found.rows.len() == LIMIT);
    let by_name = page(Filter::ALL, &[(field("name"), true)]);
    assert!(!store.find(scope(TENANTS[0]), Customer::COLLECTION, &by_name).await.unwrap().slow);
}
