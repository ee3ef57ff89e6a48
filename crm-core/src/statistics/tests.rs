//! The plain decisions of figures and scores.

use rstest::rstest;
use serde_json::{Value, json};

use super::{internal::decide, service::average, *};
use crate::{
    customer::Customer,
    error::Error,
    id::{CustomerId, OrganizationId},
    input::FromInput as _,
    record::Meta,
    store::Money,
    time::Timestamp,
};

fn day(number: i64) -> Timestamp {
    Timestamp::from_milliseconds(1_760_000_000_000 + number * 86_400_000).unwrap()
}

fn money(amount: &str) -> Money {
    amount.parse().unwrap()
}

fn customer() -> Customer {
    let meta = Meta::new(OrganizationId(uuid::Uuid::from_u128(1)), day(0));
    let mut customer = Customer::blank(CustomerId(uuid::Uuid::from_u128(2)), "Ann".parse().unwrap(), meta);
    (customer.spend, customer.opening_spend) = (money("15"), money("10"));
    (customer.visits, customer.opening_visits) = (3, 2);
    (customer.total_orders, customer.total_order_value) = (1, money("5"));
    (customer.last_order_date, customer.last_active) = (Some(day(10)), Some(day(10)));
    customer
}

#[rstest]
#[case("10", 4, Some("2.5"))]
#[case("10", 3, Some("3.3333"))]
#[case("0.0001", 2, Some("0"))]
#[case("0.0003", 2, Some("0.0002"))]
#[case("0", 0, None)]
fn averages_are_rounded_to_even(#[case] value: &str, #[case] number: i64, #[case] expected: Option<&str>) {
    assert_eq!(average(money(value), number), expected.map(money));
}

#[rstest]
#[case(10, 3, "15", "524")]
#[case(40, 3, "15", "524")]
#[case(41, 20, "0", "451")]
#[case(100, 19, "16", "445")]
#[case(101, 10, "10", "343")]
#[case(190, 9, "1", "331")]
#[case(191, 2, "2", "221")]
#[case(375, 1, "5", "211")]
#[case(376, 0, "7", "112")]
fn scores_have_fixed_cuts(#[case] now: i64, #[case] visits: i64, #[case] spend: &str, #[case] expected: &str) {
    let customer = Customer { visits, spend: money(spend), ..customer() };
    let quintiles = ["5", "7.5", "10", "15"].map(money);
    assert_eq!(Rfm::of(&customer, &quintiles, day(now)).unwrap().score, expected);
    let unknown = Customer { last_order_date: None, last_active: None, ..customer };
    assert_eq!(Rfm::of(&unknown, &quintiles, day(now)), None);
}

fn change(json: &Value) -> Result<FigureChange, Vec<String>> {
    let raw = serde_json::value::RawValue::from_string(json.to_string()).unwrap();
    FigureChange::from_input(&raw).map_err(|errors| errors.iter().map(|error| error.field.clone()).collect())
}

#[test]
fn services_move_the_part_that_is_in_no_order() {
    let told = json!({"increment": {"spend": 2.5, "visits": -2, "totalOrders": 4}, "set": {"open_complaints": 1,
        "last_active": day(5)}, "total_order_value": 5});
    let after = decide(&customer(), &change(&told).unwrap(), Some(day(10))).unwrap();
    assert_eq!((after.spend, after.opening_spend), (money("17.5"), money("12.5")));
    assert_eq!((after.visits, after.opening_visits), (1, 0));
    assert_eq!((after.total_orders, after.opening_orders), (5, Some(4)));
    assert_eq!((after.total_order_value, after.opening_order_value), (money("5"), Some(Money::ZERO)));
    assert_eq!((after.open_complaints, after.last_active), (1, Some(day(10))), "who has ordered was active then");
    let later = change(&json!({"last_order_date": day(12)})).unwrap();
    let after = decide(&customer(), &later, Some(day(10))).unwrap();
    assert_eq!((after.last_order_date, after.last_active), (Some(day(12)), Some(day(12))));

    let less = change(&json!({"spend": 4.9, "increment": {"visits": -3, "total_orders": i64::MAX}})).unwrap();
    let Err(Error::Invalid(errors)) = decide(&customer(), &less, None) else { panic!("refused") };
    let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
    assert_eq!(fields, ["spend", "visits", "total_orders"]);
}

#[rstest]
#[case(json!({"spend": 1, "set": {"spend": 2}}), &["spend"])]
#[case(json!({"increment": {"visits": 1, "last_active": "2025-01-01T00:00:00Z"}}), &["increment.last_active"])]
#[case(json!({"increment": 3, "name": "x", "visits": "one"}), &["increment", "visits", "name"])]
fn what_services_cannot_say_is_told(#[case] told: Value, #[case] fields: &[&str]) {
    assert_eq!(change(&told).unwrap_err(), fields);
}
