//! The service on the store in memory, and the plain decisions.

use std::sync::Arc;

use proptest::{prelude::*, test_runner::TestCaseError};
use rstest::rstest;
use serde_json::{Value, json};

use super::{decide::sum, *};
use crate::{
    Crm, Error,
    access::{Principal, Role},
    customer::{Customer, WriteOptions},
    error::Result,
    id::{CustomerId, OrganizationId, UserId},
    input::FromInput,
    port::{ManualClock, SeededRandom},
    store::{Filter, Money, Query, memory::MemoryStore},
    time::Timestamp,
};

async fn crm() -> Crm {
    let clock = ManualClock::new(day(100));
    let crm = Crm::builder(Arc::new(MemoryStore::new())).clock(clock).random(SeededRandom::new(7)).build();
    crm.store().migrate(crate::crm::collections(), &|_, _, _| {}).await.unwrap();
    crm
}

fn day(number: i64) -> Timestamp {
    Timestamp::from_milliseconds(1_760_000_000_000 + number * 86_400_000).unwrap()
}

fn admin() -> Principal {
    let organization = OrganizationId(uuid::Uuid::from_u128(1));
    Principal::user(organization, UserId(uuid::Uuid::from_u128(10)), Role::Admin, None)
}

fn read<T: FromInput>(json: &Value) -> T {
    T::from_input(&serde_json::value::RawValue::from_string(json.to_string()).unwrap()).unwrap()
}

async fn customer(crm: &Crm, json: Value) -> CustomerId {
    crm.customers().create(&admin(), read(&json), WriteOptions::default()).await.unwrap().id
}

async fn create(crm: &Crm, json: Value) -> Result<WrittenOrder> {
    crm.orders().create(&admin(), read(&json)).await
}

async fn patch(crm: &Crm, id: OrderId, json: Value) -> Result<Order> {
    crm.orders().patch(&admin(), id, read(&json), None).await
}

fn wrong(error: Error) -> Vec<(String, &'static str)> {
    match error {
        Error::Invalid(errors) => errors.iter().map(|error| (error.field.clone(), error.code)).collect(),
        other => panic!("{other}"),
    }
}

fn items(lines: &Value) -> Vec<OrderItem> {
    Vec::from_input(&serde_json::value::RawValue::from_string(lines.to_string()).unwrap()).unwrap()
}

#[rstest]
#[case(json!([{"name": "a", "qty": 3, "price": 19.99}]), Ok("59.97"))]
#[case(json!([{"name": "a", "price": 0.1}, {"name": "b", "price": 0.2}]), Ok("0.3"))]
#[case(json!([{"name": "a", "qty": 0.5, "price": 0.01}, {"sku": "b", "quantity": 0.5, "price": 0.01}]), Ok("0.01"))]
#[case(json!([{"name": "a", "qty": 2, "price": 10}, {"name": "off", "price": -5}]), Ok("15"))]
#[case(json!([{"name": "a", "qty": 0.25, "price": 2.99}]), Ok("0.7475"))]
#[case(json!([{"name": "a", "qty": 0.333, "price": 2.99}]), Err("come to 0.99567, which has more than 4 places"))]
#[case(json!([{"name": "a", "qty": 2, "price": 99_999_999_999_999_i64}]), Err("come to more than 99999999999999.9999"))]
fn lines_come_to_an_exact_sum(#[case] lines: Value, #[case] expected: Result<&str, &str>) {
    let found = sum(&items(&lines));
    assert_eq!(found.map(|sum| sum.to_string()), expected.map(str::to_owned).map_err(str::to_owned));
}

#[tokio::test]
async fn every_wrong_field_is_told() {
    let crm = crm().await;
    let id = customer(&crm, json!({"name": "Ann"})).await;
    let error = create(&crm, json!({"amount": -1, "date": day(102), "items": 3, "status": "lost", "x": 1})).await;
    let mut found = wrong(error.unwrap_err());
    found.sort_unstable();
    let expected = [
        ("amount", "OUT_OF_RANGE"),
        ("customer_id", "REQUIRED"),
        ("date", "OUT_OF_RANGE"),
        ("items", "INVALID_TYPE"),
        ("status", "INVALID_CHOICE"),
        ("x", "UNKNOWN_FIELD"),
    ];
    assert_eq!(found, expected.map(|(field, code)| (field.to_owned(), code)));
    let lines = json!([{"price": 1}, {"name": "a", "qty": 0, "price": "x"}, {"name": "b", "price": 1, "size": 2}]);
    let found = wrong(create(&crm, json!({"customer_id": id, "items": lines})).await.unwrap_err());
    let fields: Vec<&str> = found.iter().map(|(field, _)| field.as_str()).collect();
    assert_eq!(fields, ["items[0].name", "items[1].qty", "items[1].price", "items[2].size"]);
    assert_eq!(wrong(create(&crm, json!({"customer_id": id})).await.unwrap_err()), [("amount".to_owned(), "REQUIRED")]);
    let unequal = json!({"customer_id": id, "amount": 100, "items": [{"name": "a", "qty": 3, "price": 19.99}]});
    let error = create(&crm, unequal).await.unwrap_err().to_string();
    assert!(error.contains("is 100, but the items come to 59.97"), "{error}");
    let gone = json!({"customer_id": uuid::Uuid::from_u128(9), "amount": 1});
    assert!(matches!(create(&crm, gone).await, Err(Error::NotFound("customer"))));
}

/// What the figures are, as the orders alone tell it.
async fn recomputed(crm: &Crm, before: &Customer) -> (Customer, Customer) {
    let by = admin();
    let found = crm.repo::<Customer>().get(by.scope(), before.id).await.unwrap().unwrap();
    let orders = crm.repo::<Order>().find(by.scope(), &Query::new(Filter::ALL, 1000)).await.unwrap().records;
    let mut expected = found.clone();
    let counted: Vec<&Order> =
        orders.iter().filter(|order| order.customer_id == before.id && order.status.counts()).collect();
    let value: i64 = counted.iter().map(|order| order.amount.as_ten_thousandths()).sum();
    let number = i64::try_from(counted.len()).unwrap();
    expected.total_orders = number;
    expected.total_order_value = Money::from_ten_thousandths(value).unwrap();
    expected.visits = before.visits + number;
    expected.spend = Money::from_ten_thousandths(before.spend.as_ten_thousandths() + value).unwrap();
    expected.last_order_date = counted.iter().map(|order| order.date).max();
    expected.last_active = before.last_active.max(expected.last_order_date);
    expected.active_at = expected.last_active.unwrap_or(found.meta.created_at);
    (found, expected)
}

#[derive(Clone, Debug)]
enum Step {
    Create { amount: i64, day: i64, status: usize },
    Change { which: usize, amount: Option<i64>, day: Option<i64>, status: Option<usize> },
}

fn step() -> impl Strategy<Value = Step> {
    let (amount, day, status) = (0_i64..1000, 0_i64..40, 0..OrderStatus::ALL.len());
    let change = (
        any::<usize>(),
        proptest::option::of(amount.clone()),
        proptest::option::of(day.clone()),
        proptest::option::of(status.clone()),
    );
    prop_oneof![
        (amount, day, status).prop_map(|(amount, day, status)| Step::Create { amount, day, status }),
        change.prop_map(|(which, amount, day, status)| Step::Change { which, amount, day, status }),
    ]
}

async fn walk(steps: &[Step], active: Option<i64>) -> Result<(), TestCaseError> {
    let crm = crm().await;
    let known = json!({"name": "Ann", "opening_spend": 10.5, "opening_visits": 2, "last_active": active.map(day)});
    let id = customer(&crm, known).await;
    let before = crm.customers().get(&admin(), id).await.unwrap();
    let mut orders = Vec::new();
    for step in steps {
        match step {
            Step::Create { amount, day: number, status } => {
                let order = json!({
                    "customer_id": id, "amount": amount, "date": day(*number), "status": OrderStatus::ALL[*status],
                });
                orders.push(create(&crm, order).await.unwrap().order.id);
            }
            Step::Change { which, amount, day: number, status } => {
                if orders.is_empty() {
                    continue;
                }
                let mut change = serde_json::Map::new();
                change.extend(amount.map(|amount| ("amount".to_owned(), json!(amount))));
                change.extend(number.map(|number| ("date".to_owned(), json!(day(number)))));
                change.extend(status.map(|status| ("status".to_owned(), json!(OrderStatus::ALL[status]))));
                patch(&crm, orders[which % orders.len()], Value::Object(change)).await.unwrap();
            }
        }
        let (found, expected) = recomputed(&crm, &before).await;
        prop_assert_eq!(found, expected);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happens to orders, the figures are what the orders come to.
    #[test]
    fn figures_are_what_orders_come_to(
        steps in proptest::collection::vec(step(), 1..20),
        active in proptest::option::of(0_i64..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(walk(&steps, active))?;
    }
}

#[tokio::test]
async fn what_is_sent_again_is_there_once() {
    let crm = crm().await;
    let id = customer(&crm, json!({"name": "Ann"})).await;
    let order = json!({"customer_id": id, "external_id": "S-1", "amount": 5});
    let first = create(&crm, order.clone()).await.unwrap();
    let again = create(&crm, order.clone()).await.unwrap();
    assert_eq!((first.deed, again.deed), (OrderDeed::Created, OrderDeed::Unchanged));
    assert_eq!(first.order, again.order);
    let other = create(&crm, json!({"customer_id": id, "external_id": "S-1", "amount": 6})).await.unwrap_err();
    assert_eq!(other.code(), "CONFLICT");
    assert!(other.to_string().contains("amount is 5, not 6"), "{other}");
    let batch = json!([order, {"customer_id": id, "external_id": "S-2", "amount": 1}, {"customer_id": id},
        {"customer_id": id, "external_id": "S-2", "amount": 1}]);
    let report = crm.orders().create_batch(&admin(), read(&batch)).await.unwrap();
    assert_eq!((report.matched, report.created, report.unchanged, report.failed), (4, 1, 2, 1));
    assert_eq!(crm.customers().get(&admin(), id).await.unwrap().total_orders, 2);
}

#[tokio::test]
async fn who_is_active_otherwise_stays_so_when_orders_go() {
    let crm = crm().await;
    let id = customer(&crm, json!({"name": "Ann"})).await;
    let order = create(&crm, json!({"customer_id": id, "amount": 5, "date": day(3)})).await.unwrap().order;
    let said = json!({"last_active": day(1)});
    let found = crm.customers().patch(&admin(), id, read(&said), WriteOptions::default()).await.unwrap();
    assert_eq!(found.last_active, Some(day(3)), "who has ordered was active then");
    patch(&crm, order.id, json!({"status": "refunded"})).await.unwrap();
    let found = crm.customers().get(&admin(), id).await.unwrap();
    assert_eq!((found.last_active, found.active_at, found.total_orders), (Some(day(1)), day(1), 0));

    crm.customers().delete(&admin(), id, None).await.unwrap();
    assert_eq!(patch(&crm, order.id, json!({"status": "paid"})).await.unwrap_err().code(), "INVALID_STATE");
    crm.customers().purge(&admin(), id, None).await.unwrap();
    assert!(matches!(crm.orders().get(&admin(), order.id).await, Err(Error::NotFound(_))));
}
