mod properties;

use jiff::civil::date;
use rstest::rstest;
use serde_json::{Value as Tree, json};
use uuid::Uuid;

use super::{Catalog, CatalogField, Relation, Rule, RuleType};
use crate::{
    id::OrganizationId,
    record::{Meta, Record},
    store::{
        Json, Money, RelatedFilter, RelatedMeasure, Row, Value,
        evaluate::{self, RelatedRows},
    },
    time::Timestamp,
};

crate::record_ids! {
    /// A shopper.
    ShopperId,
    /// A purchase.
    PurchaseId,
}

#[derive(Clone, Debug, Record)]
#[record(collection = "shoppers", search(name))]
struct Shopper {
    id: ShopperId,
    #[record(folded)]
    name: String,
    email: Option<String>,
    status: String,
    spend: Money,
    visits: Option<i64>,
    score: Option<f64>,
    vip: Option<bool>,
    active_at: Timestamp,
    born: Option<jiff::civil::Date>,
    owner_id: Option<Uuid>,
    tags: Vec<String>,
    group_ids: Vec<String>,
    #[record(custom)]
    custom: Json,
    meta: Meta,
}

#[derive(Clone, Debug, Record)]
#[record(collection = "purchases")]
struct Purchase {
    id: PurchaseId,
    shopper_id: Uuid,
    amount: Money,
    bought_at: Timestamp,
    meta: Meta,
}

fn catalog() -> Catalog {
    let purchases = Catalog::new(Purchase::COLLECTION).with(CatalogField::column(Purchase::amount));
    Catalog::new(Shopper::COLLECTION)
        .with(CatalogField::column(Shopper::name))
        .with(CatalogField::column(Shopper::email).normalised(|text| {
            if text.contains('@') { Ok(text.to_lowercase()) } else { Err("must be an e-mail address".to_owned()) }
        }))
        .with(CatalogField::column(Shopper::status).options(["active", "inactive", "blocked"]))
        .with(CatalogField::column(Shopper::spend))
        .with(CatalogField::column(Shopper::visits))
        .with(CatalogField::column(Shopper::score))
        .with(CatalogField::column(Shopper::vip))
        .with(CatalogField::column(Shopper::active_at).named("last_active"))
        .with(CatalogField::days_since("inactive_days", Shopper::active_at, "inactive for"))
        .with(CatalogField::column(Shopper::born))
        .with(CatalogField::column(Shopper::owner_id))
        .with(CatalogField::column(Shopper::tags))
        .with(CatalogField::column(Shopper::group_ids).of_ids())
        .with(CatalogField::column(Shopper::group_ids).of_ids().named("group").element())
        .with(CatalogField::column(Shopper::custom))
        .with(CatalogField::custom("custom", "city", RuleType::Text))
        .with(CatalogField::custom("custom", "size", RuleType::Number))
        .with(CatalogField::custom("custom", "credit", RuleType::Money))
        .with(CatalogField::custom("custom", "since", RuleType::Date))
        .with(CatalogField::custom("custom", "likes", RuleType::List).options(["tea", "coffee"]))
        .alias("full_name", "name")
        .related(Relation::new("orders", "shopper_id", purchases).when(Purchase::bought_at).total(Purchase::amount))
}

fn instant(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn as_of() -> Timestamp {
    instant("2026-03-01T12:00:00Z")
}

const GROUP: &str = "0192f3a0-1c2d-7e4f-8a5b-6c7d8e9f0a1b";

fn shopper() -> Shopper {
    Shopper {
        id: ShopperId(Uuid::from_u128(1)),
        name: "Zoë Müller".to_owned(),
        email: Some("zoe@example.com".to_owned()),
        status: "active".to_owned(),
        spend: "5000.25".parse().unwrap(),
        visits: Some(3),
        score: None,
        vip: Some(true),
        active_at: instant("2026-01-01T00:00:00Z"),
        born: Some(date(1990, 5, 17)),
        owner_id: None,
        tags: vec!["vip".to_owned(), "early".to_owned()],
        group_ids: vec![GROUP.to_owned()],
        custom: Json::from_trusted(r#"{"city":"Pune","size":42.5,"likes":["tea"],"since":"2026-02-20"}"#),
        meta: Meta::new(OrganizationId(Uuid::from_u128(7)), instant("2025-12-01T00:00:00Z")),
    }
}

fn parse(rule: &Tree) -> Rule {
    Rule::parse(&rule.to_string(), &catalog(), "rules_json").unwrap_or_else(|errors| panic!("{rule}: {errors}"))
}

fn holds(rule: &Tree, shopper: &Shopper) -> bool {
    let rule = parse(rule);
    let row = shopper.to_row();
    let filter = rule.filter(as_of());
    evaluate::check_filter(Shopper::COLLECTION, &filter).unwrap();
    let reference = evaluate::matches(Shopper::COLLECTION, &filter, &row);
    assert_eq!(rule.compile(as_of()).matches(&row), reference, "{rule}");
    assert_eq!(rule.explain(as_of(), &row, &|_| Value::Integer(0)).result, reference, "{rule}");
    reference
}

#[rstest]
#[case("spend", ">", json!(5000), true)]
#[case("spend", "==", json!(5000.25), true)]
#[case("spend", "between", json!([5000.25, 6000]), true)]
#[case("spend", "between", json!([6000, 5000]), false)]
#[case("spend", "in", json!([1, 5000.25]), true)]
#[case("spend", "not_in", json!([1, 5000.25]), false)]
#[case("visits", "<=", json!(3), true)]
#[case("visits", "!=", json!(3), false)]
#[case("score", "!=", json!(3.5), true)]
#[case("score", ">", json!(-1e300), false)]
#[case("score", "exists", json!(true), false)]
#[case("score", "exists", json!(false), true)]
#[case("score", "not_in", json!([1, 2]), true)]
#[case("vip", "==", json!(true), true)]
#[case("vip", "!=", json!(true), false)]
#[case("name", "contains", json!("MULLER"), true)]
#[case("name", "starts_with", json!("zoe"), true)]
#[case("name", "==", json!("zoë müller"), false)]
#[case("full_name", "==", json!("Zoë Müller"), true)]
#[case("email", "==", json!("ZOE@example.com"), true)]
#[case("email", "in", json!(["ZOE@example.com"]), true)]
#[case("status", "in", json!(["active", "blocked"]), true)]
#[case("tags", "contains", json!("vip"), true)]
#[case("tags", "contains", json!("VIP"), false)]
#[case("tags", "in", json!(["new", "early"]), true)]
#[case("tags", "not_in", json!(["new"]), true)]
#[case("tags", "exists", json!(true), true)]
#[case("group", "==", json!(GROUP), true)]
#[case("group", "!=", json!(GROUP), false)]
#[case("group", "in", json!([GROUP.to_uppercase()]), true)]
#[case("group_ids", "contains", json!(GROUP), true)]
#[case("owner_id", "==", json!(GROUP), false)]
#[case("owner_id", "!=", json!(GROUP), true)]
#[case("last_active", "before", json!("2026-01-01T00:00:00Z"), false)]
#[case("last_active", ">=", json!("2026-01-01"), true)]
#[case("last_active", "after", json!("2025-12-31T23:59:59.999Z"), true)]
#[case("last_active", "within_last", json!("59d"), false)]
#[case("last_active", "within_last", json!("60d"), true)]
#[case("last_active", "<", json!("now-59d"), true)]
#[case("last_active", "<", json!("now-60d"), false)]
#[case("created_at", "<", json!("now"), true)]
#[case("created_at", ">", json!("now+2h"), false)]
#[case("born", "==", json!("1990-05-17"), true)]
#[case("born", "after", json!("1990-05-17"), false)]
#[case("born", "between", json!(["1990-05-17", "now-30d"]), true)]
#[case("custom.city", "==", json!("Pune"), true)]
#[case("custom.city", "contains", json!("UN"), true)]
#[case("custom.size", ">", json!(42), true)]
#[case("custom.credit", ">", json!(42), false)]
#[case("custom.credit", "!=", json!(42), true)]
#[case("custom.since", "within_last", json!("9d"), true)]
#[case("custom.since", "within_last", json!("8d"), false)]
#[case("custom.likes", "contains", json!("tea"), true)]
#[case("custom.likes", "in", json!(["coffee"]), false)]
#[case("custom", "exists", json!(true), true)]
#[case("inactive_days", ">", json!(58), true)]
#[case("inactive_days", ">", json!(59), false)]
#[case("inactive_days", "==", json!(59), true)]
#[case("inactive_days", "in", json!([1, 59]), true)]
#[case("inactive_days", "between", json!([59, 60]), true)]
fn a_condition_means(#[case] field: &str, #[case] op: &str, #[case] value: Tree, #[case] expected: bool) {
    let condition = json!({"field": field, "op": op, "value": value});
    assert_eq!(holds(&condition, &shopper()), expected, "{condition}");
    assert_eq!(holds(&json!({"not": condition}), &shopper()), !expected, "not {condition}");
}

#[test]
fn exists_is_true_unless_said() {
    assert!(holds(&json!({"field": "email", "op": "exists"}), &shopper()));
}

#[rstest]
#[case(json!(5), "rules_json", "INVALID_TYPE")]
#[case(json!({}), "rules_json.field", "REQUIRED")]
#[case(json!({"and": []}), "rules_json.and", "REQUIRED")]
#[case(json!({"and": {}}), "rules_json.and", "INVALID_TYPE")]
#[case(json!({"not": []}), "rules_json.not", "INVALID_TYPE")]
#[case(json!({"and": [{"field": "vip", "op": "exists"}], "or": []}), "rules_json.or", "UNKNOWN_FIELD")]
#[case(json!({"field": "vip", "op": "exists", "note": 1}), "rules_json.note", "UNKNOWN_FIELD")]
#[case(json!({"field": "spent", "op": ">", "value": 1}), "rules_json.field", "UNKNOWN_FIELD")]
#[case(json!({"field": "spend", "op": "gt", "value": 1}), "rules_json.op", "UNKNOWN_OPERATOR")]
#[case(json!({"field": "spend", "op": "contains", "value": 1}), "rules_json.op", "UNKNOWN_OPERATOR")]
#[case(json!({"field": "tags", "op": "==", "value": "vip"}), "rules_json.op", "UNKNOWN_OPERATOR")]
#[case(json!({"field": "email", "op": "contains", "value": "x"}), "rules_json.op", "UNKNOWN_OPERATOR")]
#[case(json!({"field": "custom", "op": "==", "value": "x"}), "rules_json.op", "UNKNOWN_OPERATOR")]
#[case(json!({"field": "spend", "op": ">"}), "rules_json.value", "REQUIRED")]
#[case(json!({"field": "spend", "op": ">", "value": "1"}), "rules_json.value", "INVALID_TYPE")]
#[case(json!({"field": "spend", "op": ">", "value": {"$gt": 1}}), "rules_json.value", "INVALID_TYPE")]
#[case(json!({"field": "spend", "op": ">", "value": 1.00001}), "rules_json.value", "INVALID_FORMAT")]
#[case(json!({"field": "spend", "op": "==", "value": null}), "rules_json.value", "INVALID_TYPE")]
#[case(json!({"field": "visits", "op": ">", "value": 1.5}), "rules_json.value", "INVALID_FORMAT")]
#[case(json!({"field": "visits", "op": ">", "value": 1e30}), "rules_json.value", "INVALID_FORMAT")]
#[case(json!({"field": "visits", "op": "in", "value": [1, "2"]}), "rules_json.value[1]", "INVALID_TYPE")]
#[case(json!({"field": "visits", "op": "in", "value": []}), "rules_json.value", "REQUIRED")]
#[case(json!({"field": "visits", "op": "in", "value": 1}), "rules_json.value", "INVALID_TYPE")]
#[case(json!({"field": "visits", "op": "between", "value": [1, 2, 3]}), "rules_json.value", "INVALID_FORMAT")]
#[case(json!({"field": "status", "op": "==", "value": "gone"}), "rules_json.value", "NOT_ALLOWED")]
#[case(json!({"field": "email", "op": "==", "value": "nobody"}), "rules_json.value", "INVALID_FORMAT")]
#[case(json!({"field": "vip", "op": "==", "value": "true"}), "rules_json.value", "INVALID_TYPE")]
#[case(json!({"field": "vip", "op": "exists", "value": 1}), "rules_json.value", "INVALID_TYPE")]
#[case(json!({"field": "name", "op": "contains", "value": ""}), "rules_json.value", "REQUIRED")]
#[case(json!({"field": "name", "op": "==", "value": "a\u{0}b"}), "rules_json.value", "INVALID_FORMAT")]
#[case(json!({"field": "last_active", "op": ">", "value": "yesterday"}), "rules_json.value", "INVALID_FORMAT")]
#[case(json!({"field": "last_active", "op": ">", "value": "now-6M"}), "rules_json.value", "INVALID_FORMAT")]
#[case(json!({"field": "last_active", "op": "within_last", "value": "0d"}), "rules_json.value", "INVALID_FORMAT")]
#[case(json!({"field": "last_active", "op": "within_last", "value": 30}), "rules_json.value", "INVALID_TYPE")]
#[case(json!({"field": "born", "op": ">", "value": "2026-02-30"}), "rules_json.value", "INVALID_FORMAT")]
#[case(json!({"field": "group", "op": "==", "value": "friends"}), "rules_json.value", "INVALID_FORMAT")]
#[case(json!({"invoices": {}}), "rules_json.invoices", "UNKNOWN_FIELD")]
#[case(json!({"orders": {"where": {"field": "spend", "op": ">", "value": 1}}}), "rules_json.orders.where.field", "UNKNOWN_FIELD")]
#[case(json!({"orders": {"count": {"op": "in", "value": [1]}}}), "rules_json.orders.count.op", "UNKNOWN_OPERATOR")]
#[case(json!({"orders": {"count": {"op": ">", "value": 1.5}}}), "rules_json.orders.count.value", "INVALID_FORMAT")]
#[case(json!({"orders": {"last": "90d"}}), "rules_json.orders.last", "UNKNOWN_FIELD")]
fn a_wrong_place_is_named(#[case] rule: Tree, #[case] path: &str, #[case] code: &str) {
    let errors = Rule::parse(&rule.to_string(), &catalog(), "rules_json").unwrap_err();
    let found: Vec<(&str, &str)> = errors.iter().map(|error| (error.field.as_str(), error.code)).collect();
    assert!(found.contains(&(path, code)), "{rule}: {found:?} {errors}");
}

#[test]
fn every_wrong_place_is_named_at_once_with_what_is_allowed() {
    let rule = json!({"and": [
        {"field": "spendd", "op": ">", "value": 1},
        {"or": [{"field": "visits", "op": "contains", "value": 1}, {"field": "visits", "op": ">", "value": "x"}]},
    ]});
    let errors = Rule::parse(&rule.to_string(), &catalog(), "rules_json").unwrap_err();
    let paths: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
    assert_eq!(paths, ["rules_json.and[0].field", "rules_json.and[1].or[0].op", "rules_json.and[1].or[1].value"]);
    let messages: Vec<&str> = errors.iter().map(|error| error.message.as_str()).collect();
    assert!(messages[0].contains("Did you mean spend?") && messages[0].contains("custom.city"), "{}", messages[0]);
    assert!(messages[1].contains("Allowed: >, >=, <, <=, ==, !=, in, not_in, exists and between"), "{}", messages[1]);
    assert!(messages[2].contains("whole number"), "{}", messages[2]);
}

#[test]
fn limits_are_kept() {
    let leaf = json!({"field": "vip", "op": "exists"});
    let nested = |depth: usize| (1..depth).fold(leaf.clone(), |inner, _| json!({"not": inner}));
    let parse = |rule: &Tree| Rule::parse(&rule.to_string(), &catalog(), "filter");
    assert!(parse(&nested(10)).is_ok());
    assert_eq!(parse(&nested(11)).unwrap_err().iter().next().unwrap().code, "TOO_DEEP");
    assert!(parse(&json!({"or": vec![leaf.clone(); 199]})).is_ok());
    assert_eq!(parse(&json!({"or": vec![leaf.clone(); 200]})).unwrap_err().iter().next().unwrap().code, "TOO_MANY");
    assert_eq!(parse(&json!({"or": vec![leaf; 20_000]})).unwrap_err().iter().count(), 1);
    let list = |count: usize| json!({"field": "visits", "op": "in", "value": vec![1; count]});
    assert!(parse(&list(1000)).is_ok());
    assert_eq!(parse(&list(1001)).unwrap_err().iter().next().unwrap().code, "TOO_MANY");
    let days = |count: usize| json!({"field": "inactive_days", "op": "in", "value": vec![1; count]});
    assert!(parse(&days(40)).is_ok());
    assert_eq!(parse(&days(41)).unwrap_err().iter().next().unwrap().code, "TOO_MANY");
    let long = |count: usize| json!({"field": "name", "op": "contains", "value": "x".repeat(count)});
    assert!(parse(&long(1000)).is_ok());
    assert_eq!(parse(&long(1001)).unwrap_err().iter().next().unwrap().code, "TOO_LONG");
    let deep = format!("{}{}", r#"{"not":"#.repeat(100_000), "1");
    assert!(Rule::parse(&deep, &catalog(), "filter").is_err());
    let twice = r#"{"field":"vip","field":"vip","op":"exists"}"#;
    assert!(Rule::parse(twice, &catalog(), "filter").unwrap_err().to_string().contains("twice"));
    let surrogate = r#"{"field":"name","op":"==","value":"\ud800"}"#;
    assert!(Rule::parse(surrogate, &catalog(), "filter").is_err());
}

#[test]
fn money_keeps_every_digit() {
    let text = r#"{"field":"spend","op":">=","value":99999999999999.9999}"#;
    let rule = Rule::parse(text, &catalog(), "filter").unwrap();
    assert_eq!(rule.to_json().as_str(), text);
    for wrong in ["1e400", "100000000000000", "NaN", "1e-5", "-"] {
        let text = text.replace("99999999999999.9999", wrong);
        assert!(Rule::parse(&text, &catalog(), "filter").is_err(), "{wrong}");
    }
}

#[rstest]
#[case(
    json!({"and": [{"field": "spend", "op": ">", "value": 5000}, {"field": "inactive_days", "op": ">", "value": 180}]}),
    "spend is more than 5000 and inactive for more than 180 days"
)]
#[case(
    json!({"or": [{"field": "inactive_days", "op": "<", "value": 1}, {"and": [
        {"field": "tags", "op": "contains", "value": "vip"},
        {"not": {"field": "email", "op": "exists"}},
    ]}]}),
    "inactive for less than 1 day or (tags has \"vip\" and not (email is known))"
)]
#[case(
    json!({"field": "status", "op": "in", "value": ["active", "inactive", "blocked"]}),
    "status is one of \"active\", \"inactive\" or \"blocked\""
)]
#[case(json!({"field": "group", "op": "==", "value": GROUP}), "group is \"0192f3a0-1c2d-7e4f-8a5b-6c7d8e9f0a1b\"")]
#[case(json!({"field": "last_active", "op": ">", "value": "now-1w"}), "last active is after 1 week ago")]
#[case(json!({"field": "custom.size", "op": "between", "value": [1, 2.5]}), "size is between 1 and 2.5")]
#[case(
    json!({"orders": {"where": {"field": "amount", "op": ">", "value": 10}, "within_last": "90d", "count": {"op": ">=", "value": 2}}}),
    "number of orders in the last 90 days where (amount is more than 10) is at least 2"
)]
fn a_rule_reads(#[case] rule: Tree, #[case] text: &str) {
    assert_eq!(parse(&rule).to_string(), text);
}

#[test]
fn an_explanation_shows_each_part() {
    let rule = parse(&json!({"and": [
        {"field": "spend", "op": ">", "value": 5000},
        {"not": {"field": "score", "op": "exists"}},
        {"field": "inactive_days", "op": "<", "value": 10},
        {"orders": {"total": {"op": ">", "value": 20}}},
    ]}));
    let explanation = rule.explain(as_of(), &shopper().to_row(), &|related| {
        assert_eq!(related.measure, RelatedMeasure::Sum("amount"));
        Value::Money("20.5".parse().unwrap())
    });
    assert_eq!(
        serde_json::to_value(&explanation).unwrap(),
        json!({
            "and": [
                {"field": "spend", "op": ">", "value": 5000, "seen": 5000.25, "result": true},
                {"not": {"field": "score", "op": "exists", "value": true, "seen": null, "result": false}, "result": true},
                {"field": "inactive_days", "op": "<", "value": 10, "seen": 59, "result": false},
                {"orders": {"total": {"op": ">", "value": 20}}, "seen": 20.5, "result": true},
            ],
            "result": false,
        })
    );
}

struct Purchases(Vec<Row>);

impl RelatedRows for Purchases {
    fn visit(&self, _: &'static crate::store::Collection, visitor: &mut dyn FnMut(&Row)) {
        self.0.iter().for_each(visitor);
    }
}

#[test]
fn related_records_are_counted_and_summed() {
    let purchase = |number: u128, amount: &str, at: &str| {
        let purchase = Purchase {
            id: PurchaseId(Uuid::from_u128(number)),
            shopper_id: Uuid::from_u128(1),
            amount: amount.parse().unwrap(),
            bought_at: instant(at),
            meta: shopper().meta,
        };
        purchase.to_row()
    };
    let purchases = Purchases(vec![
        purchase(1, "5", "2026-02-20T00:00:00Z"),
        purchase(2, "50", "2026-02-25T00:00:00Z"),
        purchase(3, "500", "2024-02-25T00:00:00Z"),
    ]);
    for (rule, expected) in [
        (json!({"orders": {}}), true),
        (json!({"orders": {"count": {"op": "==", "value": 3}}}), true),
        (json!({"orders": {"within_last": "30d", "count": {"op": "==", "value": 2}}}), true),
        (
            json!({"orders": {"where": {"field": "amount", "op": ">", "value": 5}, "count": {"op": "<", "value": 2}}}),
            false,
        ),
        (json!({"orders": {"within_last": "30d", "total": {"op": ">=", "value": 55}}}), true),
        (json!({"orders": {"within_last": "30d", "sum": {"op": ">", "value": 55}}}), false),
        (json!({"orders": {"within_last": "1h", "count": {"op": "==", "value": 0}}}), true),
    ] {
        let filter = parse(&rule).filter(as_of());
        evaluate::check_filter(Shopper::COLLECTION, &filter).unwrap();
        let row = shopper().to_row();
        assert_eq!(evaluate::matches_with(Shopper::COLLECTION, &filter, &row, &purchases), expected, "{rule}");
    }
    let both = r#"{"orders":{"count":{"op":">","value":1},"total":{"op":">","value":1}}}"#;
    assert!(Rule::parse(both, &catalog(), "filter").is_err());
}

#[test]
fn a_related_filter_asks_only_what_stores_take() {
    let rule = parse(&json!({"orders": {"within_last": "90d", "count": {"op": ">=", "value": 2}}}));
    let crate::store::Filter::Related(related) = rule.filter(as_of()) else { panic!("not related") };
    let RelatedFilter { key, value, .. } = *related;
    assert_eq!((key, value), ("shopper_id", Value::Integer(2)));
}

#[test]
fn the_documented_rules_are_rules() {
    let document = include_str!("../../../docs/rules.md");
    let examples: Vec<&str> = document.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() >= 2);
    for example in examples {
        Rule::parse(example, &catalog(), "rules_json").unwrap_or_else(|errors| panic!("{example}: {errors}"));
    }
    for (condition, expected) in [(">", false), ("<=", false), ("==", false), ("!=", true), ("exists", false)] {
        let value = if condition == "exists" { json!(true) } else { json!(40) };
        let unknown = Shopper { custom: Json::from_trusted("{}"), ..shopper() };
        let rule = json!({"field": "custom.size", "op": condition, "value": value});
        assert_eq!(holds(&rule, &unknown), expected, "{rule}");
    }
}
