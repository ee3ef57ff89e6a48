//! How fast a rule of three conditions is over customers in memory: `spend > 5000 and inactive_days > 180 and
//! status == "active"`, beside the same condition written by hand, over the same rows and over plain structs.
//!
//! One element is one evaluation, on one core. The records differ, so that neither branch nor result is always the
//! same: about half meet each condition.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use crm_core::{
    id::OrganizationId,
    record::{Meta, Record},
    rule::{Catalog, CatalogField, Rule},
    store::{Money, Row, Value, evaluate},
    time::Timestamp,
};
use uuid::Uuid;

crm_core::record_ids! {
    /// A shopper.
    ShopperId,
}

#[derive(Clone, Debug, Record)]
#[record(collection = "shoppers")]
struct Shopper {
    id: ShopperId,
    name: String,
    email: Option<String>,
    status: String,
    tags: Vec<String>,
    spend: Money,
    visits: i64,
    active_at: Timestamp,
    meta: Meta,
}

const SHOPPERS: u64 = 10_000;
const NOW: i64 = 1_772_000_000_000;
const DAY: i64 = 86_400_000;

fn shopper(number: u64) -> Shopper {
    // A step of a linear congruential generator: the same shoppers in every run.
    let random = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407) >> 33;
    let amount = i64::try_from(random % 100_000_000).unwrap_or_default();
    let days = i64::try_from((random / 7) % 360).unwrap_or_default();
    let at = |milliseconds| Timestamp::from_milliseconds(milliseconds).unwrap_or_default();
    Shopper {
        id: ShopperId(Uuid::from_u128(u128::from(number))),
        name: format!("Shopper {number}"),
        email: Some(format!("shopper{number}@example.com")),
        status: if random.is_multiple_of(2) { "active" } else { "inactive" }.to_owned(),
        tags: vec!["vip".to_owned()],
        spend: Money::from_ten_thousandths(amount).unwrap_or_default(),
        visits: i64::try_from(random % 50).unwrap_or_default(),
        active_at: at(NOW - days * DAY),
        meta: Meta::new(OrganizationId(Uuid::from_u128(1)), at(NOW - 400 * DAY)),
    }
}

fn by_hand(shopper: &Shopper, spend: Money, before: Timestamp, status: &str) -> bool {
    shopper.spend > spend && shopper.active_at <= before && shopper.status == status
}

fn by_hand_over_row(row: &Row, places: [usize; 3], spend: Money, before: Timestamp, status: &str) -> bool {
    matches!(&row.0[places[0]], Value::Money(value) if *value > spend)
        && matches!(&row.0[places[1]], Value::Timestamp(value) if *value <= before)
        && matches!(&row.0[places[2]], Value::Text(value) if value == status)
}

fn rule(c: &mut Criterion) {
    let catalog = Catalog::new(Shopper::COLLECTION)
        .with(CatalogField::column(Shopper::spend))
        .with(CatalogField::column(Shopper::status))
        .with(CatalogField::days_since("inactive_days", Shopper::active_at, "inactive for"));
    let text = r#"{"and":[
        {"field":"spend","op":">","value":5000},
        {"field":"inactive_days","op":">","value":180},
        {"field":"status","op":"==","value":"active"}]}"#;
    let Ok(rule) = Rule::parse(text, &catalog, "rules_json") else { return };
    let as_of = Timestamp::from_milliseconds(NOW).unwrap_or_default();
    let filter = rule.filter(as_of);
    let compiled = rule.compile(as_of);

    let shoppers: Vec<Shopper> = (0..SHOPPERS).map(shopper).collect();
    let rows: Vec<Row> = shoppers.iter().map(Record::to_row).collect();
    let spend = Money::from_ten_thousandths(50_000_000).unwrap_or_default();
    let before = Timestamp::from_milliseconds(NOW - 181 * DAY).unwrap_or_default();
    let places = ["spend", "active_at", "status"].map(|name| Shopper::COLLECTION.position(name).unwrap_or_default());
    let expected = shoppers.iter().filter(|shopper| by_hand(shopper, spend, before, "active")).count();
    assert_eq!(rows.iter().filter(|row| compiled.matches(row)).count(), expected);
    assert_eq!(rows.iter().filter(|row| evaluate::matches(Shopper::COLLECTION, &filter, row)).count(), expected);

    let mut group = c.benchmark_group("rule of three conditions");
    group.throughput(Throughput::Elements(SHOPPERS));
    group.bench_function("floor: hand-written if over structs", |b| {
        let (spend, before, status) = black_box((spend, before, "active"));
        b.iter(|| black_box(&shoppers).iter().filter(|shopper| by_hand(shopper, spend, before, status)).count());
    });
    group.bench_function("floor: hand-written if over rows", |b| {
        let (spend, before, status) = black_box((spend, before, "active"));
        b.iter(|| black_box(&rows).iter().filter(|row| by_hand_over_row(row, places, spend, before, status)).count());
    });
    group.bench_function("compiled rule over rows", |b| {
        b.iter(|| black_box(&rows).iter().filter(|row| black_box(&compiled).matches(row)).count());
    });
    group.bench_function("reference evaluator over rows", |b| {
        b.iter(|| black_box(&rows).iter().filter(|row| evaluate::matches(Shopper::COLLECTION, &filter, row)).count());
    });
    group.finish();
}

criterion_group!(benches, rule);
criterion_main!(benches);
