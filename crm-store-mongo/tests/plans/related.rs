//! Whom conditions on related records mean: found along an index, and in parts where one command has no room for all.

use crm_core::{
    order::Order,
    segment::SegmentMember,
    store::{RelatedFilter, RelatedMeasure},
};
use crm_store_mongo::MongoOptions;
use futures::TryStreamExt as _;

use super::*;

const CUSTOMERS: u32 = 90;
const ORDERS: u32 = 2_400;
/// Members of another segment, besides every customer of the one.
const OTHERS: u32 = 1_500;
/// Room for so few ids.
const ROOM: usize = 7;

const ONE: Uuid = Uuid::from_u128(0x5e9);
const ANOTHER: Uuid = Uuid::from_u128(0x5ea);

fn order(number: u32) -> Row {
    row(Order::COLLECTION, number, |name| match name {
        "organization_id" => Some(Value::Id(TENANTS[0])),
        // Of three customers one never bought.
        "customer_id" => Some(Value::Id(id(number % 1_200 / 2 * 3 + number % 2))),
        "amount" => Some(Value::Money(Money::from_ten_thousandths(i64::from(number) * 10_000).unwrap())),
        "status" => Some(text(if number.is_multiple_of(4) { "cancelled" } else { "paid" })),
        "items" => Some(Value::Json(Json::from_trusted("[]"))),
        "date" => Some(at(number)),
        _ => None,
    })
}

fn member(number: u32) -> Row {
    row(SegmentMember::COLLECTION, number, |name| match name {
        "organization_id" => Some(Value::Id(TENANTS[0])),
        "segment_id" => Some(Value::Id(if number < CUSTOMERS { ONE } else { ANOTHER })),
        "customer_id" => Some(Value::Id(id(number))),
        _ => None,
    })
}

fn related(collection: &'static Collection, filter: Filter, measure: RelatedMeasure, value: Value) -> Filter {
    let (key, comparison) = ("customer_id", Comparison::GreaterOrEqual);
    Filter::Related(Box::new(RelatedFilter { collection, key, filter, measure, comparison, value }))
}

fn of(collection: &'static Collection, name: &'static str, comparison: Comparison, value: Value) -> Filter {
    Filter::compare(FieldRef::declared(name, collection.field(name).unwrap().kind), comparison, value)
}

fn in_segment(segment: Uuid) -> Filter {
    let of_it = of(SegmentMember::COLLECTION, "segment_id", Comparison::Equal, Value::Id(segment));
    related(SegmentMember::COLLECTION, of_it, RelatedMeasure::Count, Value::Integer(1))
}

fn bought(filter: Filter, measure: RelatedMeasure, value: Value) -> Filter {
    related(Order::COLLECTION, filter, measure, value)
}

#[tokio::test]
async fn conditions_on_related_records_run_along_an_index() {
    let server = Mongo::start_with(&["MONGOGW_ORDERED_INDEXES=1"]).unwrap_or_else(|error| panic!("{error}"));
    let url = server.url("related");
    let store = MongoStore::connect(&url).await.unwrap();
    store.migrate(collections(), &|_, _, _| {}).await.unwrap();
    let insert = async |collection: &'static Collection, make: fn(u32) -> Row, numbers: std::ops::Range<u32>| {
        for numbers in numbers.collect::<Vec<u32>>().chunks(1_000) {
            let rows = numbers.iter().map(|number| make(*number)).collect();
            store.commit(scope(TENANTS[0]), vec![Change::Insert { collection, rows }]).await.unwrap();
        }
    };
    insert(Customer::COLLECTION, |number| customer(TENANTS[0], number), 0..CUSTOMERS).await;
    insert(Order::COLLECTION, order, 0..ORDERS).await;
    insert(SegmentMember::COLLECTION, member, 0..CUSTOMERS + OTHERS).await;

    let lately = of(Order::COLLECTION, "date", Comparison::GreaterOrEqual, at(ORDERS - 50));
    let cancelled = of(Order::COLLECTION, "status", Comparison::Equal, text("cancelled"));
    let much = Value::Money(Money::from_ten_thousandths(90_000_000).unwrap());
    let two = || Value::Integer(2);
    for (filter, index, most) in [
        (in_segment(ONE), "key_", CUSTOMERS),
        (bought(lately.clone(), RelatedMeasure::Count, two()), "index_by_", 50),
        (bought(cancelled.clone(), RelatedMeasure::Count, two()), "index_by_", ORDERS / 2),
        (bought(cancelled.clone().and(lately), RelatedMeasure::Count, two()), "index_by_", 50),
    ] {
        let told = store.explain_related(scope(TENANTS[0]), Customer::COLLECTION, &filter).await.unwrap();
        let plan = told.iter().map(Document::to_string).collect::<Vec<_>>().join("\n");
        assert!(plan.contains(index) && !plan.contains("COLLSCAN"), "{index}: {plan}");
        let read = read_of(&told);
        assert!(read.is_none_or(|read| read <= i64::from(2 * most)), "{index}: {read:?} read: {plan}");
    }

    let narrow = MongoStore::connect_with(MongoOptions::parse(&url).unwrap().related_ids(ROOM)).await.unwrap();
    narrow.migrate(collections(), &|_, _, _| {}).await.unwrap();
    let often = bought(Filter::ALL, RelatedMeasure::Count, Value::Integer(1));
    for (filter, all) in [
        (in_segment(ONE), CUSTOMERS),
        (in_segment(ONE).negated(), 0),
        (often.clone(), CUSTOMERS / 3 * 2),
        (often.clone().negated(), CUSTOMERS / 3),
        (in_segment(ONE).and(bought(cancelled, RelatedMeasure::Sum("amount"), much).negated()), u32::MAX),
        (Filter::Or(vec![often, is("status", text("inactive"))]), u32::MAX),
    ] {
        let counted = store.count(scope(TENANTS[0]), Customer::COLLECTION, &filter).await.unwrap();
        assert!(all == u32::MAX || counted == u64::from(all), "{filter:?}: {counted}");
        assert_eq!(narrow.count(scope(TENANTS[0]), Customer::COLLECTION, &filter).await.unwrap(), counted);
        for sort in [vec![], vec![(field("name"), false)], vec![(field("created_at"), true)]] {
            let mut query = page(filter.clone(), &sort);
            for skip in [0, 0, 11] {
                query.skip = skip;
                let expected = store.find(scope(TENANTS[0]), Customer::COLLECTION, &query).await.unwrap();
                let found = narrow.find(scope(TENANTS[0]), Customer::COLLECTION, &query).await.unwrap();
                assert_eq!(found, expected, "{query:#?}");
                let Some(last) = found.rows.last() else { break };
                query.after = Some(evaluate::position(Customer::COLLECTION, &query.sort, last));
            }
        }
        let everybody = Query::new(filter, 0);
        let mut streamed = Vec::new();
        for store in [&store, &narrow] {
            let rows = store.stream(scope(TENANTS[0]), Customer::COLLECTION, everybody.clone());
            streamed.push(rows.map_ok(|row| row.id()).try_collect::<Vec<Uuid>>().await.unwrap());
        }
        assert_eq!(streamed[0], streamed[1]);
        assert_eq!(streamed[0].len() as u64, counted);
    }
}

/// How many documents and keys the server read, where it tells so of an aggregation.
fn read_of(told: &[Document]) -> Option<i64> {
    let number = |stats: &Document, name: &str| {
        stats.get_i64(name).ok().or_else(|| stats.get_i32(name).ok().map(i64::from)).unwrap_or(0)
    };
    let stats = told.iter().map(|told| told.get_document("executionStats").ok());
    let read = stats.map(|stats| {
        stats.map(|stats| number(stats, "totalDocsExamined").max(number(stats, "totalKeysExamined")))
    });
    read.sum()
}
