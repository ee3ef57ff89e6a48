use serde_json::json;

use super::{
    decide::{UNITED, merge},
    input::{FieldChoices, MergeRequest, Side},
    times::{Times, take_back},
};
use crate::{
    contact::{Email, Phone},
    customer::{Consent, Consents, Customer, MAX_TAGS, undo::Changed},
    error::Error,
    id::{CustomerId, OrganizationId},
    input::FromInput as _,
    record::Meta,
    store::Json,
    text::Line,
    time::Timestamp,
};

fn at(day: i64) -> Timestamp {
    Timestamp::from_milliseconds(day * 86_400_000).unwrap()
}

fn customer(number: u128, name: &str) -> Customer {
    let meta = Meta::new(OrganizationId(uuid::Uuid::from_u128(1)), at(0));
    Customer::blank(CustomerId(uuid::Uuid::from_u128(number)), Line::parse(name).unwrap(), meta)
}

fn email(text: &str) -> Option<Email> {
    Some(Email::parse(text).unwrap())
}

fn phone(text: &str) -> Option<Phone> {
    Some(Phone::parse(text, None).unwrap())
}

fn pair() -> (Customer, Customer) {
    let kept = Customer {
        email: email("kim@mail.example"),
        tags: vec!["vip".to_owned(), "old".to_owned()],
        spend: "12.5".parse().unwrap(),
        opening_spend: "10".parse().unwrap(),
        visits: 3,
        total_orders: 1,
        total_order_value: "2.5".parse().unwrap(),
        last_order_date: Some(at(5)),
        custom: Json::from_trusted(r#"{"city":"Pune","size":1.50}"#).into(),
        ..customer(1, "Kim")
    };
    let duplicate = Customer {
        email: email("k.lee@work.example"),
        emails: vec!["kim2@mail.example".to_owned()],
        phone: phone("+919876543210"),
        tags: vec!["old".to_owned(), "new".to_owned()],
        spend: "7.5".parse().unwrap(),
        visits: 1,
        total_orders: 2,
        total_order_value: "7.5".parse().unwrap(),
        last_order_date: Some(at(9)),
        last_active: Some(at(9)),
        total_complaints: 2,
        open_complaints: 1,
        custom: Json::from_trusted(r#"{"city":"Delhi","debt":99999999999999.9999,"gone":null}"#).into(),
        ..customer(2, "Kim Lee")
    };
    (kept, duplicate)
}

#[test]
fn nothing_is_lost_and_figures_are_added() {
    let (kept, duplicate) = pair();
    let merged = merge(&kept, &duplicate, &FieldChoices::default(), at(20)).unwrap();
    let after = &merged.kept;
    assert_eq!((after.id, after.name.as_str()), (kept.id, "Kim"));
    assert_eq!(
        (&after.email, after.emails.as_slice()),
        (&kept.email, &["k.lee@work.example".to_owned(), "kim2@mail.example".to_owned()][..])
    );
    assert_eq!((&after.phone, after.phones.len()), (&duplicate.phone, 0));
    assert_eq!(after.tags, ["vip", "old", "new"]);
    assert_eq!(
        (after.spend.to_string(), after.opening_spend.to_string(), after.visits),
        ("20".to_owned(), "10".to_owned(), 4)
    );
    assert_eq!((after.total_orders, after.total_order_value.to_string()), (3, "10".to_owned()));
    assert_eq!((after.last_order_date, after.last_active, after.active_at), (Some(at(9)), Some(at(9)), at(9)));
    assert_eq!((after.total_complaints, after.open_complaints), (2, 1));
    assert_eq!(after.custom.as_json().as_str(), r#"{"city":"Pune","debt":99999999999999.9999,"size":1.50}"#);
    let differing: Vec<&str> = merged.differences.iter().map(|difference| difference.field.as_str()).collect();
    assert_eq!(differing, ["name", "email", "phone", "custom.city", "custom.debt", "custom.size"]);
    assert_eq!((merged.added.tags, merged.added.emails.len()), (vec!["new".to_owned()], 2));
    // The duplicate has nothing but what it was brought with.
    let rest = merged.duplicate;
    assert_eq!((rest.deleted_at, rest.total_orders, rest.open_complaints), (Some(at(20)), 0, 0));
    assert_eq!((rest.spend, rest.email), (duplicate.opening_spend, duplicate.email));
}

#[test]
fn somebody_may_choose() {
    let (kept, duplicate) = pair();
    let chosen = json!({"email": "duplicate", "name": "duplicate", "custom.city": "duplicate", "phone": "kept"});
    let choices = FieldChoices::from_json(&chosen).unwrap();
    assert_eq!(choices.of("email"), Some(Side::Duplicate));
    let after = merge(&kept, &duplicate, &choices, at(20)).unwrap().kept;
    assert_eq!((after.name.as_str(), &after.email), ("Kim Lee", &duplicate.email));
    assert_eq!(after.emails, ["kim@mail.example", "kim2@mail.example"]);
    assert_eq!(after.phone, duplicate.phone, "there is but one");
    assert!(after.custom.as_json().as_str().contains("Delhi"));
    let wrong =
        MergeRequest::from_json(&json!({"duplicate_id": 1, "fields": {"spend": "kept", "email": "mine"}, "x": 1}));
    let named: Vec<String> = wrong.unwrap_err().iter().map(|error| error.field.clone()).collect();
    assert_eq!(named, ["duplicate_id", "fields.email", "fields.spend", "x"]);
}

#[test]
fn the_stricter_consent_holds() {
    let consent = |granted, day| Consent { granted, at: at(day), source: None };
    let consents = |list: &[(&str, bool, i64)]| {
        Consents(list.iter().map(|(channel, granted, day)| ((*channel).to_owned(), consent(*granted, *day))).collect())
    };
    let (mut kept, mut duplicate) = pair();
    kept.consent = consents(&[("email", true, 9), ("sms", false, 1), ("call", true, 1), ("post", false, 4)]);
    duplicate.consent =
        consents(&[("email", false, 1), ("sms", true, 9), ("call", true, 2), ("post", false, 3), ("push", true, 1)]);
    let after = merge(&kept, &duplicate, &FieldChoices::default(), at(20)).unwrap().kept;
    let expected = [("email", false, 1), ("sms", false, 1), ("call", true, 2), ("post", false, 3), ("push", true, 1)];
    assert_eq!(after.consent, consents(&expected));
}

#[test]
fn what_is_too_much_for_one_is_refused() {
    let (mut kept, mut duplicate) = pair();
    kept.tags = (0..MAX_TAGS).map(|number| format!("a{number}")).collect();
    duplicate.tags = vec!["one more".to_owned()];
    assert!(matches!(merge(&kept, &duplicate, &FieldChoices::default(), at(1)), Err(Error::Conflict(_))));
    duplicate.tags = vec!["a7".to_owned()];
    assert!(merge(&kept, &duplicate, &FieldChoices::default(), at(1)).is_ok());
}

/// Merges into one customer are taken back in any order, and each time only what is left of the others stays.
#[test]
fn times_are_taken_back_in_any_order() {
    let said = |number, order: Option<i64>, active: Option<i64>| Customer {
        opening_last_order_date: order.map(at),
        last_order_date: order.map(at),
        opening_last_active: active.map(at),
        last_active: active.max(order).map(at),
        active_at: active.max(order).map_or(at(0), at),
        ..customer(number, "Kim")
    };
    let told = |customer: &Customer| {
        (customer.opening_last_order_date, customer.last_order_date, customer.last_active, customer.active_at)
    };
    let kept = said(1, Some(1), Some(2));
    let duplicates = [said(2, Some(10), Some(11)), said(3, Some(5), Some(20)), said(4, None, None)];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut now = kept.clone();
        let mut standing: Vec<(usize, Changed, Times)> = Vec::new();
        for (place, duplicate) in duplicates.iter().enumerate() {
            let times: Vec<Times> = standing.iter().map(|(_, _, times)| *times).collect();
            let after = merge(&now, duplicate, &FieldChoices::default(), at(30)).unwrap().kept;
            let times = Times::new(&now, duplicate, &times);
            standing.insert(0, (place, Changed::of(&now, &after).without(&UNITED), times));
            now = after;
        }
        assert_eq!(told(&now), (Some(at(10)), Some(at(10)), Some(at(20)), at(20)));
        for place in order {
            let index = standing.iter().position(|(of, ..)| *of == place).unwrap();
            let (_, changed, times) = standing.remove(index);
            let others: Vec<Times> = standing.iter().map(|(_, _, times)| *times).collect();
            let mut rest = changed.take_back(&now).customer;
            take_back(&now, &mut rest, Some(times), &others, None);
            now = rest;
            let left = || standing.iter().map(|(place, ..)| &duplicates[*place]).chain([&kept]);
            let last_order = left().map(|customer| customer.last_order_date).max().unwrap();
            let last_active = left().map(|customer| customer.last_active).max().unwrap();
            assert_eq!(told(&now), (last_order, last_order, last_active, last_active.unwrap()), "{order:?}, {place}");
        }
        assert_eq!(told(&now), told(&kept));
    }
}

/// An order that comes after the merge, or a time that somebody notes, is no reason to keep what the duplicate gave.
#[test]
fn what_came_since_stays_without_what_was_given() {
    let kept = Customer { last_active: Some(at(3)), active_at: at(3), ..customer(1, "Kim") };
    let duplicate = Customer { last_active: Some(at(9)), opening_last_order_date: Some(at(8)), ..customer(2, "Kim") };
    let merged = merge(&kept, &duplicate, &FieldChoices::default(), at(20)).unwrap().kept;
    let times = Times::new(&kept, &duplicate, &[]);
    let undone = |now: &Customer, last_order| {
        let mut rest = Changed::of(&kept, &merged).without(&UNITED).take_back(now).customer;
        take_back(now, &mut rest, Some(times), &[], last_order);
        (rest.opening_last_order_date, rest.last_order_date, rest.last_active)
    };
    assert_eq!(undone(&merged, None), (None, None, Some(at(3))));
    let ordered = Customer { last_order_date: Some(at(8)), ..merged.clone() };
    assert_eq!(undone(&ordered, Some(at(5))), (None, Some(at(5)), Some(at(5))), "one of the day 5");
    let later = Customer { last_order_date: Some(at(12)), last_active: Some(at(12)), ..merged.clone() };
    assert_eq!(undone(&later, Some(at(12))), (None, Some(at(12)), Some(at(12))));
    let noted = Customer { opening_last_active: Some(at(15)), last_active: Some(at(15)), ..merged.clone() };
    assert_eq!(undone(&noted, None), (None, None, Some(at(15))));
}
