use jiff::civil::date;
use proptest::prelude::*;
use serde_json::{Value as Tree, json};
use uuid::Uuid;

use super::{GROUP, Shopper, ShopperId, as_of, catalog, holds, parse, shopper};
use crate::{
    record::Record as _,
    rule::{Rule, tree::days_between},
    store::{Json, Money, evaluate},
    time::Timestamp,
};

const OPERATORS: [&str; 6] = [">", ">=", "<", "<=", "==", "!="];

fn compares(left: i64, operator: &str, right: i64) -> bool {
    match operator {
        ">" => left > right,
        ">=" => left >= right,
        "<" => left < right,
        "<=" => left <= right,
        "==" => left == right,
        _ => left != right,
    }
}

fn operand(operator: &'static str, value: impl Strategy<Value = Tree> + Clone + 'static) -> BoxedStrategy<Tree> {
    match operator {
        "in" | "not_in" => prop::collection::vec(value, 1..15).prop_map(Tree::from).boxed(),
        "between" => prop::collection::vec(value, 2).prop_map(Tree::from).boxed(),
        "exists" => any::<bool>().prop_map(Tree::from).boxed(),
        "within_last" => prop::sample::select(vec!["1s", "10d", "60d", "5200w"]).prop_map(Tree::from).boxed(),
        "contains" | "starts_with" => {
            prop::sample::select(vec!["a", "Z", "é", "an", "PU", "tea"]).prop_map(Tree::from).boxed()
        }
        _ => value.boxed(),
    }
}

fn value_of(field: &str) -> BoxedStrategy<Tree> {
    let texts = |texts: &'static [&'static str]| prop::sample::select(texts).prop_map(Tree::from).boxed();
    match field {
        "name" | "custom.city" => texts(&["Ann", "ann", "Zoé", "Pune", "pune", ""]),
        "email" => texts(&["a@x.y", "A@x.y", "b@x.y"]),
        "status" => texts(&["active", "inactive", "blocked"]),
        "spend" | "custom.credit" => (-3_i64..3).prop_map(|quarter| json!(quarter as f64 / 4.0)).boxed(),
        "visits" | "version" => (-2_i64..3).prop_map(Tree::from).boxed(),
        "score" | "custom.size" => (-3_i64..3).prop_map(|half| json!(half as f64 / 2.0)).boxed(),
        "vip" => any::<bool>().prop_map(Tree::from).boxed(),
        "last_active" | "created_at" => {
            texts(&["2026-01-01", "2026-02-28T12:00:00Z", "now", "now-1d", "now+1d", "now-60d", "2026-03-01T12:00:00Z"])
        }
        "inactive_days" => prop_oneof![-3_i64..4, any::<i64>()].prop_map(Tree::from).boxed(),
        "born" | "custom.since" => texts(&["2026-02-28", "2026-03-01", "now", "now-1d", "now+36h", "1990-01-01"]),
        "owner_id" | "group" | "group_ids" => {
            texts(&[GROUP, "00000000-0000-0000-0000-000000000002", "00000000-0000-0000-0000-000000000003"])
        }
        _ => texts(&["tea", "coffee"]),
    }
}

fn condition() -> impl Strategy<Value = Tree> {
    let catalog = catalog();
    let all: Vec<(String, &'static str)> = catalog
        .fields()
        .filter(|field| field.name() != "id" && field.name() != "updated_at")
        .flat_map(|field| {
            field.operators().map(|operator| (field.name().to_owned(), operator.symbol())).collect::<Vec<_>>()
        })
        .collect();
    prop::sample::select(all).prop_flat_map(|(field, operator)| {
        let value = match (field.as_str(), operator) {
            ("tags" | "custom.likes" | "group" | "group_ids", "contains") => value_of(&field),
            _ => operand(operator, value_of(&field)),
        };
        value.prop_map(move |value| json!({"field": field, "op": operator, "value": value}))
    })
}

fn rule() -> impl Strategy<Value = Tree> {
    condition().prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(|list| json!({ "and": list })),
            prop::collection::vec(inner.clone(), 1..4).prop_map(|list| json!({ "or": list })),
            inner.prop_map(|inner| json!({ "not": inner })),
        ]
    })
}

prop_compose! {
    fn shoppers()(
        name in prop::sample::select(vec!["Ann", "ann", "Zoé", "PUNE", "İstanbul", ""]),
        email in prop::option::of(prop::sample::select(vec!["a@x.y", "b@x.y"])),
        status in prop::sample::select(vec!["active", "inactive"]),
        spend in -3_i64..3,
        visits in prop::option::of(-2_i64..3),
        score in prop::option::of(-3_i64..3),
        vip in prop::option::of(any::<bool>()),
        days in prop_oneof![Just(0_i64), Just(86_400_000), -400_000_000..400_000_000_i64, Just(60 * 86_400_000)],
        born in prop::option::of(prop::sample::select(vec![date(2026, 2, 28), date(2026, 3, 1), date(1990, 1, 1)])),
        owner in prop::option::of(2_u128..4),
    )(
        tags in prop::collection::vec(prop::sample::select(vec!["tea", "coffee", "vip"]), 0..3),
        groups in prop::collection::vec(prop::sample::select(vec![GROUP, "00000000-0000-0000-0000-000000000002"]), 0..2),
        custom in prop::sample::select(vec![
            "{}", r#"{"city":"Pune","size":0.5}"#, r#"{"city":"ann","credit":0.25,"since":"2026-03-01"}"#,
            r#"{"likes":["tea"],"size":"big"}"#, r#"{"likes":[],"credit":null,"city":5}"#,
        ]),
        (name, email, status, spend, visits, score, vip, days, born, owner)
            in Just((name, email, status, spend, visits, score, vip, days, born, owner)),
    ) -> Shopper {
        Shopper {
            id: ShopperId(Uuid::from_u128(1)),
            name: name.to_owned(),
            email: email.map(str::to_owned),
            status: status.to_owned(),
            spend: Money::from_ten_thousandths(spend * 2_500).unwrap(),
            visits,
            score: score.map(|half| half as f64 / 2.0),
            vip,
            active_at: Timestamp::from_milliseconds(as_of().as_milliseconds() - days).unwrap(),
            born,
            owner_id: owner.map(Uuid::from_u128),
            tags: tags.into_iter().map(str::to_owned).collect(),
            group_ids: groups.into_iter().map(str::to_owned).collect(),
            custom: Json::from_trusted(custom),
            meta: shopper().meta,
        }
    }
}

proptest! {
    #[test]
    fn no_text_panics(bytes: Vec<u8>) {
        let _ = Rule::parse(&String::from_utf8_lossy(&bytes), &catalog(), "filter");
    }

    #[test]
    fn no_changed_rule_panics(rule in rule(), cut: prop::sample::Index, byte: u8) {
        let mut text = rule.to_string().into_bytes();
        let place = cut.index(text.len());
        text[place] = byte;
        if let Ok(rule) = Rule::parse(&String::from_utf8_lossy(&text), &catalog(), "filter") {
            evaluate::check_filter(Shopper::COLLECTION, &rule.filter(as_of())).unwrap();
        }
    }

    #[test]
    fn every_form_of_a_rule_means_the_same(rule in rule(), shopper in shoppers()) {
        let opposite = holds(&json!({"not": rule}), &shopper);
        prop_assert_eq!(holds(&rule, &shopper), !opposite);
    }

    #[test]
    fn a_stored_rule_is_the_same_rule(rule in rule()) {
        let rule = parse(&rule);
        let again = Rule::parse(rule.to_json().as_str(), &catalog(), "rules_json").unwrap();
        prop_assert_eq!(rule.to_json(), again.to_json());
        prop_assert_eq!(rule.to_string(), again.to_string());
        prop_assert_eq!(rule.filter(as_of()), again.filter(as_of()));
    }

    #[test]
    fn inactive_days_are_whole_days(
        operator in prop::sample::select(OPERATORS.to_vec()),
        days in prop_oneof![-5_i64..5, -800_000..800_000_i64, any::<i64>()],
        gap in prop_oneof![
            (-5_i64..5).prop_map(|days| days * 86_400_000),
            (-5_i64..5).prop_map(|days| days * 86_400_000 + 1),
            (-5_i64..5).prop_map(|days| days * 86_400_000 - 1),
            -900_000_000_000..60_000_000_000_000_i64,
        ],
    ) {
        let active_at = Timestamp::from_milliseconds(as_of().as_milliseconds() - gap).unwrap();
        let rule = json!({"field": "inactive_days", "op": operator, "value": days});
        let expected = compares((gap as f64 / 86_400_000.0).floor() as i64, operator, days);
        prop_assert_eq!(gap.div_euclid(86_400_000), days_between(active_at, as_of()));
        prop_assert_eq!(holds(&rule, &Shopper { active_at, ..shopper() }), expected);
    }

    #[test]
    fn relative_times_count_from_as_of(ago in 1_u32..100_000, offset in -2_i64..=2) {
        let at = as_of().as_milliseconds() - i64::from(ago) * 60_000 + offset;
        let shopper = Shopper { active_at: Timestamp::from_milliseconds(at).unwrap(), ..shopper() };
        let rule = json!({"field": "last_active", "op": ">=", "value": format!("now-{ago}m")});
        prop_assert_eq!(holds(&rule, &shopper), offset >= 0);
        let rule = json!({"field": "last_active", "op": "within_last", "value": format!("{ago}m")});
        prop_assert_eq!(holds(&rule, &shopper), offset >= 0);
    }
}
