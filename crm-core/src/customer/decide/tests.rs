use std::collections::BTreeMap;

use rstest::rstest;
use serde_json::{Value, json, value::to_raw_value};

use super::*;
use crate::{
    customer::{Consent, NewCustomer, consent::ConsentChange},
    field::AppliesTo,
    id::{CustomerId, OrganizationId},
    input::FromInput,
    record::Meta,
    text::Line,
};

const NOW: &str = "2026-01-31T09:30:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn by(visibility: Visibility) -> Principal {
    let user = UserId(Uuid::from_u128(20));
    let team = TeamId(Uuid::from_u128(100));
    Principal {
        visibility,
        team: Some(team),
        actor: Actor::User(user),
        ..Principal::system(OrganizationId(Uuid::from_u128(1)))
    }
}

/// A customer of whom something is known.
fn known() -> Customer {
    let organization = OrganizationId(Uuid::from_u128(1));
    let blank =
        Customer::blank(CustomerId(Uuid::from_u128(7)), Line::parse("Ann").unwrap(), Meta::new(organization, now()));
    let money = |text: &str| text.parse().unwrap();
    Customer {
        email: Some("ann@example.com".parse().unwrap()),
        emails: vec!["home@example.com".to_owned()],
        phone: Some("+5511987654321".parse().unwrap()),
        tags: vec!["a".to_owned(), "b".to_owned()],
        spend: money("150"),
        opening_spend: money("50"),
        visits: 3,
        opening_visits: 1,
        owner_id: Some(UserId(Uuid::from_u128(20))),
        team_id: Some(TeamId(Uuid::from_u128(100))),
        ..blank
    }
}

fn decided(door: Door, visibility: Visibility, said: &Value) -> Result<Customer> {
    let raw = to_raw_value(said).unwrap();
    let input = if door == Door::Create {
        NewCustomer::from_input(&raw).unwrap().0
    } else {
        CustomerInput::from_input(&raw).unwrap()
    };
    let (fields, known_records) = (FieldSet::empty(AppliesTo::Customer), References::default());
    let types = ["regular", "vip"].map(str::to_owned);
    let setting = Setting {
        now: now(),
        country: Some("BR".parse().unwrap()),
        types: &types,
        fields: &fields,
        known: &known_records,
    };
    let before = if door == Door::Create {
        Customer::blank(CustomerId(Uuid::from_u128(7)), Line::parse("?").unwrap(), known().meta)
    } else {
        known()
    };
    decide(&before, &input, door, &by(visibility), &setting)
}

/// What becomes of the known customer's fields.
#[rstest]
// PATCH keeps what is not named, PUT gives it its default.
#[case(Door::Merge, json!({}), json!({"email": "ann@example.com", "tags": ["a", "b"], "spend": 150, "visits": 3}))]
#[case(Door::Replace, json!({"name": "Ann"}), json!({"email": null, "emails": [], "phone": null, "tags": [], "spend": 100, "visits": 2}))]
// The orders' part of an amount is never touched.
#[case(Door::Merge, json!({"spend": 120}), json!({"spend": 120}))]
#[case(Door::Merge, json!({"opening_spend": 70}), json!({"spend": 170}))]
#[case(Door::Merge, json!({"spend": 170, "opening_spend": 70}), json!({"spend": 170}))]
#[case(Door::Merge, json!({"spend": null, "opening_visits": 0}), json!({"spend": 100, "visits": 2}))]
#[case(Door::Replace, json!({"name": "A", "visits": 5}), json!({"visits": 5, "spend": 100}))]
// The main address is not repeated among the further ones, nor the same number in another national form.
#[case(Door::Merge, json!({"email": "HOME@example.com"}), json!({"email": "home@example.com", "emails": []}))]
#[case(Door::Merge, json!({"emails": ["x@example.com", "X@example.com", "ann@example.com"]}), json!({"emails": ["x@example.com"]}))]
#[case(Door::Merge, json!({"phones": ["+551187654321", "11 98765-4322"]}), json!({"phones": ["+5511987654322"]}))]
// What is taken away goes first.
#[case(Door::Merge, json!({"add_tags": ["c", "a"], "remove_tags": ["a", "b"]}), json!({"tags": ["c", "a"]}))]
#[case(Door::Merge, json!({"tags": ["x", "y", "x"], "remove_tags": ["y"]}), json!({"tags": ["x"]}))]
#[case(Door::Merge, json!({"status": null, "type": "vip"}), json!({"status": "active", "type": "vip"}))]
fn what_is_said_becomes_of_a_customer(#[case] door: Door, #[case] said: Value, #[case] expected: Value) {
    let after = decided(door, Visibility::All, &said).unwrap();
    let after = serde_json::to_value(&after).unwrap();
    for (field, value) in expected.as_object().unwrap() {
        // Money is written with as many digits as it has.
        let same = match (after[field].as_f64(), value.as_f64()) {
            (Some(one), Some(other)) => (one - other).abs() < f64::EPSILON,
            _ => after[field] == *value,
        };
        assert!(same, "{field} is {}, not {value}", after[field]);
    }
}

#[rstest]
#[case(Door::Merge, json!({"spend": 99}), "spend", "OUT_OF_RANGE")]
#[case(Door::Merge, json!({"spend": 120, "opening_spend": 1}), "spend", "CONFLICTING")]
#[case(Door::Merge, json!({"visits": i64::MAX, "opening_visits": i64::MAX}), "visits", "CONFLICTING")]
#[case(Door::Merge, json!({"opening_visits": i64::MAX}), "visits", "OUT_OF_RANGE")]
#[case(Door::Merge, json!({"opening_spend": 99_999_999_999_999_i64}), "spend", "OUT_OF_RANGE")]
#[case(Door::Merge, json!({"add_tags": (0..99).map(|n| n.to_string()).collect::<Vec<_>>()}), "tags", "TOO_MANY")]
#[case(Door::Merge, json!({"type": "gold"}), "type", "INVALID_CHOICE")]
#[case(Door::Replace, json!({}), "name", "REQUIRED")]
#[case(Door::Merge, json!({"team_id": Uuid::from_u128(5)}), "team_id", "NOT_FOUND")]
fn what_does_not_fit_is_named(#[case] door: Door, #[case] said: Value, #[case] field: &str, #[case] code: &str) {
    let Err(Error::Invalid(errors)) = decided(door, Visibility::All, &said) else { panic!("not refused") };
    let errors: Vec<(&str, &str)> = errors.iter().map(|error| (error.field.as_str(), error.code)).collect();
    assert_eq!(errors, [(field, code)]);
}

/// Who sees a part of the customers, and what the change would do to that.
#[rstest]
#[case(Door::Create, Visibility::Team, json!({"name": "A"}), Ok((Some(20), Some(100))))]
#[case(Door::Create, Visibility::All, json!({"name": "A"}), Ok((None, None)))]
#[case(Door::Create, Visibility::Team, json!({"name": "A", "owner_id": null}), Ok((None, Some(100))))]
#[case(Door::Create, Visibility::Team, json!({"name": "A", "owner_id": null, "team_id": null}), Err(()))]
#[case(Door::Replace, Visibility::Team, json!({"name": "A"}), Ok((Some(20), Some(100))))]
#[case(Door::Replace, Visibility::All, json!({"name": "A"}), Ok((None, None)))]
#[case(Door::Merge, Visibility::Team, json!({"owner_id": null}), Ok((None, Some(100))))]
#[case(Door::Merge, Visibility::Team, json!({"owner_id": null, "team_id": null}), Err(()))]
#[case(Door::Merge, Visibility::All, json!({"owner_id": null, "team_id": null}), Ok((None, None)))]
fn nobody_loses_sight_of_a_customer(
    #[case] door: Door,
    #[case] visibility: Visibility,
    #[case] said: Value,
    #[case] expected: Result<(Option<u128>, Option<u128>), ()>,
) {
    let decided = decided(door, visibility, &said);
    match expected {
        Ok(expected) => {
            let after = decided.unwrap();
            let found = (after.owner_id.map(|id| id.0.as_u128()), after.team_id.map(|id| id.0.as_u128()));
            assert_eq!(found, expected);
        }
        Err(()) => assert!(matches!(decided, Err(Error::Forbidden(_))), "{decided:?}"),
    }
}

#[test]
fn consent_holds_since_it_began() {
    let earlier: Timestamp = "2025-01-01T00:00:00Z".parse().unwrap();
    let before = Consents(BTreeMap::from([(
        "email".to_owned(),
        Consent { granted: true, at: earlier, source: Some("web".to_owned()) },
    )]));
    let change =
        |granted| BTreeMap::from([("email".to_owned(), Some(ConsentChange { granted, at: None, source: None }))]);
    assert_eq!(before.changed(&change(true), now()), before);
    let withdrawn = before.changed(&change(false), now());
    assert_eq!(withdrawn.0["email"], Consent { granted: false, at: now(), source: None });
    assert!(before.changed(&BTreeMap::from([("email".to_owned(), None)]), now()).0.is_empty());
}

proptest::proptest! {
    /// What is written down of a decided customer decides the same customer again.
    #[test]
    fn what_was_given_out_can_be_put_back(spend in 0_i64..1_000_000, visits in 0_i64..1000, tags in proptest::collection::vec("[a-z]{1,5}", 0..5)) {
        let said = json!({"name": "A", "spend": spend + 100, "visits": visits + 2, "tags": tags, "consent": {"sms": true}});
        let first = decided(Door::Replace, Visibility::All, &said).unwrap();
        let back = serde_json::to_value(&first).unwrap();
        let second = decided(Door::Replace, Visibility::All, &back).unwrap();
        proptest::prop_assert_eq!(first, second);
    }

    /// Whatever JSON comes in is read or refused.
    #[test]
    fn no_json_panics(text in ".{0,200}", member in "[a-z_]{1,20}") {
        for body in [text.clone(), format!("{{\"{member}\":{text}}}"), format!("{{\"tags\":[{text}],\"consent\":{{\"a\":{text}}}}}")] {
            if let Ok(raw) = RawValue::from_string(body) {
                let _ = NewCustomer::from_input(&raw);
                let _ = CustomerInput::from_input(&raw);
                let _ = crate::customer::CustomerPatches::from_input(&raw);
                let _ = crate::customer::NewCustomers::from_input(&raw);
            }
        }
    }
}
