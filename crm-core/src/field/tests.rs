use std::fmt::Write as _;

use proptest::prelude::*;
use rstest::rstest;
use serde_json::value::RawValue;

use super::{
    AppliesTo, ChangedCustomField, CustomField, CustomFieldId, CustomValues, FieldSet, Mode, NewCustomField,
    ValueContext,
    declaration::{Setting, broken_rules, change, declare},
    subject::Subject,
};
use crate::{
    contact::Country,
    error::FieldErrors,
    id::OrganizationId,
    input::FromInput as _,
    record::{Meta, Record},
    rule::{Catalog, CatalogField, Rule},
    store::{Money, evaluate},
    time::Timestamp,
};

crate::record_ids! {
    /// A parcel.
    ParcelId,
}

/// A record that has custom fields.
#[derive(Clone, Debug, PartialEq, Record)]
#[record(collection = "parcels")]
struct Parcel {
    id: ParcelId,
    worth: Money,
    #[record(custom)]
    extra: CustomValues,
    meta: Meta,
}

const SUBJECT: Subject = Subject { collection: Parcel::COLLECTION, column: "extra", catalog: base };

fn base() -> Catalog {
    Catalog::new(Parcel::COLLECTION).with(CatalogField::column(Parcel::worth))
}

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).expect("JSON")
}

fn now() -> Timestamp {
    "2026-06-15T12:00:00Z".parse().expect("an instant")
}

fn context() -> ValueContext {
    ValueContext { now: now(), country: Country::parse("IN").ok() }
}

fn declared(json: &str, others: &[CustomField]) -> Result<CustomField, FieldErrors> {
    let id = CustomFieldId(uuid::Uuid::from_u128(others.len() as u128 + 1));
    let setting = Setting { others, subject: Some(SUBJECT), context: context() };
    declare(NewCustomField::from_input(&raw(json))?, id, Meta::new(OrganizationId::INSTALLATION, now()), &setting)
}

fn changed(before: &CustomField, json: &str, others: &[CustomField]) -> Result<CustomField, FieldErrors> {
    let setting = Setting { others, subject: Some(SUBJECT), context: context() };
    change(before, ChangedCustomField::from_input(&raw(json))?, &setting)
}

fn fields(declarations: &[&str]) -> Vec<CustomField> {
    let mut fields = Vec::new();
    for json in declarations {
        let field = declared(json, &fields).unwrap_or_else(|errors| panic!("{json}: {errors}"));
        fields.push(field);
    }
    fields
}

fn set(declarations: &[&str]) -> FieldSet {
    FieldSet::new(AppliesTo::Customer, Some(SUBJECT), fields(declarations))
}

fn check(set: &FieldSet, input: &str, existing: &CustomValues, mode: Mode) -> Result<CustomValues, String> {
    set.check(Some(&raw(input)), existing, mode, &context()).map_err(|errors| {
        errors.iter().fold(String::new(), |mut text, error| {
            let separator = if text.is_empty() { "" } else { " " };
            let _ = write!(text, "{separator}{}:{}", error.field, error.code);
            text
        })
    })
}

fn shown(values: Result<CustomValues, String>) -> Result<String, String> {
    values.map(|values| values.as_json().as_str().to_owned())
}

const EVERY_TYPE: [&str; 11] = [
    r#"{"key":"city","type":"text","rules":{"max_length":20}}"#,
    r#"{"key":"score","type":"number","rules":{"min":0,"max":100,"integer":true}}"#,
    r#"{"key":"birthday","type":"date","rules":{"before":"now"}}"#,
    r#"{"key":"member","type":"boolean","default":false}"#,
    r#"{"key":"tier","type":"list","options":["gold","silver"],"default":"silver"}"#,
    r#"{"key":"seen","type":"datetime"}"#,
    r#"{"key":"work_email","type":"email"}"#,
    r#"{"key":"work_phone","type":"phone"}"#,
    r#"{"key":"site","type":"url"}"#,
    r#"{"key":"likes","type":"multi_list","options":["tea","coffee","water"],"rules":{"max_items":2}}"#,
    r#"{"key":"budget","type":"money","rules":{"min":0}}"#,
];

const EVERY_VALUE: &str = r#"{"city":" Pune ","score":42.0,"birthday":"1990-05-17","member":true,"tier":"gold",
    "seen":"2026-01-31T10:00:00+01:00","work_email":"A@Example.com","work_phone":"98765 43210",
    "site":"https://EXAMPLE.com","likes":["tea","water"],"budget":12.50}"#;

#[test]
fn values_of_every_type_are_kept_in_one_form() {
    let set = set(&EVERY_TYPE);
    let values = check(&set, EVERY_VALUE, &CustomValues::default(), Mode::Create).expect("values");
    let stored = r#"{"birthday":"1990-05-17","budget":12.5,"city":"Pune","likes":["tea","water"],"member":true,"score":42,"seen":1769850000000,"site":"https://example.com/","tier":"gold","work_email":"a@example.com","work_phone":"+919876543210"}"#;
    assert_eq!(values.as_json().as_str(), stored);
    let presented = set.present(&values);
    assert!(presented.as_json().as_str().contains(r#""seen":"2026-01-31T09:00:00.000Z""#));
    for mode in [Mode::Create, Mode::Replace, Mode::Merge] {
        let again = check(&set, presented.as_json().as_str(), &values, mode);
        assert_eq!(again.as_ref(), Ok(&values), "what the API shows can be given back");
    }
}

#[test]
fn fields_are_found_by_rules_as_they_are_stored() {
    let set = set(&EVERY_TYPE);
    let extra = check(&set, EVERY_VALUE, &CustomValues::default(), Mode::Create).expect("values");
    let meta = Meta::new(OrganizationId::INSTALLATION, now());
    let parcel = Parcel { id: ParcelId(uuid::Uuid::nil()), worth: Money::ZERO, extra, meta };
    let catalog = base().with_all(set.catalog_fields(Country::parse("IN").ok()));
    for rule in [
        r#"{"field":"custom.city","op":"contains","value":"PUN"}"#,
        r#"{"field":"custom.score","op":">=","value":42}"#,
        r#"{"field":"custom.birthday","op":"before","value":"1990-05-18"}"#,
        r#"{"field":"custom.member","op":"==","value":true}"#,
        r#"{"field":"custom.tier","op":"in","value":["gold"]}"#,
        r#"{"field":"custom.seen","op":"==","value":"2026-01-31T09:00:00Z"}"#,
        r#"{"field":"custom.work_email","op":"==","value":"a@EXAMPLE.com"}"#,
        r#"{"field":"custom.work_phone","op":"==","value":"098765 43210"}"#,
        r#"{"field":"custom.site","op":"==","value":"https://example.com"}"#,
        r#"{"field":"custom.likes","op":"contains","value":"tea"}"#,
        r#"{"field":"custom.budget","op":"==","value":12.5}"#,
    ] {
        let rule = Rule::parse(rule, &catalog, "").unwrap_or_else(|errors| panic!("{rule}: {errors}"));
        assert!(evaluate::matches(Parcel::COLLECTION, &rule.filter(now()), &parcel.to_row()), "{rule}");
    }
    assert!(Rule::parse(r#"{"field":"custom.tier","op":"==","value":"bronze"}"#, &catalog, "").is_err());
}

#[rstest]
#[case::defaults(Mode::Create, "{}", r#"{"code":"x"}"#, Ok(r#"{"code":"x","level":"low"}"#))]
#[case::null_is_no_default(Mode::Create, "{}", r#"{"code":"x","level":null}"#, Ok(r#"{"code":"x"}"#))]
#[case::required(Mode::Create, "{}", "{}", Err("code:REQUIRED"))]
#[case::required_is_not_blank(Mode::Create, "{}", r#"{"code":"  "}"#, Err("code:REQUIRED"))]
#[case::nothing_at_all(Mode::Create, "{}", "null", Err("code:REQUIRED"))]
#[case::replaces(Mode::Replace, r#"{"code":"x","note":"n"}"#, r#"{"code":"y"}"#, Ok(r#"{"code":"y","level":"low"}"#))]
#[case::merges(Mode::Merge, r#"{"code":"x","note":"n"}"#, r#"{"note":"m"}"#, Ok(r#"{"code":"x","note":"m"}"#))]
#[case::merge_clears(Mode::Merge, r#"{"code":"x","note":"n"}"#, r#"{"note":null}"#, Ok(r#"{"code":"x"}"#))]
#[case::merge_keeps(Mode::Merge, r#"{"note":"n"}"#, "{}", Ok(r#"{"note":"n"}"#))]
#[case::older_than_required(Mode::Merge, r#"{"note":"n"}"#, r#"{"note":"m"}"#, Ok(r#"{"note":"m"}"#))]
#[case::merge_clears_required(Mode::Merge, r#"{"code":"x"}"#, r#"{"code":null}"#, Err("code:REQUIRED"))]
#[case::merge_clears_all(Mode::Merge, r#"{"code":"x"}"#, "null", Err("code:REQUIRED"))]
#[case::every_error(
    Mode::Merge,
    "{}",
    r#"{"code":1,"colour":1,"note":"xxxxxx","level":"mid"}"#,
    Err("code:INVALID_TYPE colour:UNKNOWN_FIELD note:TOO_LONG level:INVALID_CHOICE")
)]
#[case::no_object(Mode::Create, "{}", "[]", Err(":INVALID_TYPE"))]
#[case::duplicate_keys(Mode::Create, "{}", r#"{"code":"x","code":"y"}"#, Err("code:DUPLICATE_FIELD"))]
#[case::operators_are_no_values(Mode::Create, "{}", r#"{"code":{"$gt":""}}"#, Err("code:INVALID_TYPE"))]
fn what_is_not_given(
    #[case] mode: Mode,
    #[case] existing: &str,
    #[case] input: &str,
    #[case] expected: Result<&str, &str>,
) {
    let set = set(&[
        r#"{"key":"code","type":"text","required":true}"#,
        r#"{"key":"note","type":"text","rules":{"max_length":5}}"#,
        r#"{"key":"level","type":"list","options":["low","high"],"default":"low"}"#,
    ]);
    let existing = CustomValues::from(crate::store::Json::from_trusted(existing));
    let found = shown(check(&set, input, &existing, mode));
    assert_eq!(found.as_deref().map_err(String::as_str), expected);
}

#[test]
fn archived_values_stay_unseen_and_unwritten() {
    let mut all = fields(&[r#"{"key":"old","type":"text"}"#, r#"{"key":"new","type":"text"}"#]);
    all[0].archived = true;
    let set = FieldSet::new(AppliesTo::Customer, Some(SUBJECT), all);
    let existing = CustomValues::from(crate::store::Json::from_trusted(r#"{"new":"n","old":"o"}"#));
    assert_eq!(set.present(&existing).as_json().as_str(), r#"{"new":"n"}"#);
    let replaced = shown(check(&set, "{}", &existing, Mode::Replace));
    assert_eq!(replaced.as_deref(), Ok(r#"{"old":"o"}"#));
    assert_eq!(shown(check(&set, r#"{"old":"x"}"#, &existing, Mode::Merge)), Err("old:ARCHIVED".to_owned()));
    assert!(set.catalog_fields(None).iter().all(|field| field.name() != "custom.old"));
}

#[test]
fn amounts_stay_exact_beside_others() {
    let set = set(&[r#"{"key":"budget","type":"money"}"#, r#"{"key":"note","type":"text"}"#]);
    let exact = r#"{"budget":99999999999999.9999}"#;
    let values = check(&set, exact, &CustomValues::default(), Mode::Create).expect("values");
    let merged = shown(check(&set, r#"{"note":"x"}"#, &values, Mode::Merge));
    assert_eq!(merged.as_deref(), Ok(r#"{"budget":99999999999999.9999,"note":"x"}"#));
}

#[test]
fn a_value_is_required_where_a_rule_says_so() {
    let set = set(&[
        r#"{"key":"fragile","type":"boolean"}"#,
        r#"{"key":"packing","type":"text","rules":{"required_if":{"or":[
            {"field":"custom.fragile","op":"==","value":true},{"field":"worth","op":">","value":99999999999999.9998}]}}}"#,
    ]);
    let meta = Meta::new(OrganizationId::INSTALLATION, now());
    let parcel = |worth: &str, extra: &str| Parcel {
        id: ParcelId(uuid::Uuid::nil()),
        worth: worth.parse().expect("an amount"),
        extra: CustomValues::from(crate::store::Json::from_trusted(extra)),
        meta,
    };
    let wrong = |before: Option<&Parcel>, after: &Parcel| {
        set.check_required_if(before, after, now()).err().map(|errors| errors.to_string())
    };
    assert_eq!(wrong(None, &parcel("1", "{}")), None);
    assert_eq!(wrong(None, &parcel("1", r#"{"fragile":true,"packing":"foam"}"#)), None);
    let message = wrong(None, &parcel("1", r#"{"fragile":true}"#)).expect("an error");
    assert!(message.starts_with("packing: is required where "), "{message}");
    assert!(wrong(None, &parcel("1", r#"{"fragile":true,"packing":""}"#)).is_some());
    assert!(wrong(None, &parcel("99999999999999.9999", "{}")).is_some(), "exactly");
    let (before, after) = (parcel("1", r#"{"fragile":true}"#), parcel("2", r#"{"fragile":true}"#));
    assert_eq!(wrong(Some(&before), &after), None, "a record from before the rule can be changed elsewhere");
    assert!(wrong(Some(&parcel("1", r#"{"fragile":true,"packing":"foam"}"#)), &after).is_some());
}

#[test]
fn equal_values_of_unique_fields_are_found_equal() {
    let set = set(&[
        r#"{"key":"card","type":"text","unique":true}"#,
        r#"{"key":"mobile","type":"phone","unique":true}"#,
        r#"{"key":"note","type":"text"}"#,
    ]);
    let keys = |input: &str| {
        let values = check(&set, input, &CustomValues::default(), Mode::Create).expect("values");
        set.unique_values(&values).into_iter().map(|(_, value)| value).collect::<Vec<_>>()
    };
    assert_eq!(keys(r#"{"card":" a1 ","note":"n"}"#), ["a1"]);
    assert_eq!(keys(r#"{"card":""}"#), [""; 0], "nothing clashes with nothing");
    assert_eq!(keys(r#"{"mobile":"+5511961234567"}"#), keys(r#"{"mobile":"+551161234567"}"#));
    let long = "x".repeat(5_000);
    assert!(keys(&format!(r#"{{"card":"{long}"}}"#))[0].len() < 100, "an index takes only so much");
}

#[rstest]
#[case(r#"{"key":"City","type":"text"}"#, "key:INVALID_FORMAT")]
#[case(r#"{"key":"","type":"text"}"#, "key:INVALID_FORMAT")]
#[case(r#"{"key":"1st","type":"text"}"#, "key:INVALID_FORMAT")]
#[case(r#"{"key":"a.b","type":"text"}"#, "key:INVALID_FORMAT")]
#[case(r#"{"key":"a-b","type":"text"}"#, "key:INVALID_FORMAT")]
#[case(r#"{"key":"custom","type":"text"}"#, "key:RESERVED")]
#[case(r#"{"key":"a"}"#, "type:REQUIRED")]
#[case(r#"{"type":"text"}"#, "key:REQUIRED")]
#[case(r#"{"key":"a","type":"string"}"#, "type:INVALID_CHOICE")]
#[case(r#"{"key":"a","type":"text","colour":1}"#, "colour:UNKNOWN_FIELD")]
#[case(r#"{"key":"a","type":"text","id":"x","version":1}"#, "id:READ_ONLY version:READ_ONLY")]
#[case(r#"{"key":"a","type":"text","position":-1}"#, "position:OUT_OF_RANGE")]
#[case(r#"{"key":"a","type":"text","options":["x"]}"#, "options:NOT_ALLOWED")]
#[case(r#"{"key":"a","type":"list"}"#, "options:REQUIRED")]
#[case(r#"{"key":"a","type":"list","options":["x","y","x "]}"#, "options[2]:DUPLICATE")]
#[case(r#"{"key":"a","type":"list","options":["x",""]}"#, "options[1]:REQUIRED")]
#[case(r#"{"key":"a","type":"list","options":["x"],"unique":true}"#, "unique:NOT_ALLOWED")]
#[case(r#"{"key":"a","type":"boolean","rules":{"min":1}}"#, "rules.min:NOT_ALLOWED")]
#[case(r#"{"key":"a","type":"text","rules":{"min_lenght":1}}"#, "rules.min_lenght:UNKNOWN_FIELD")]
#[case(r#"{"key":"a","type":"text","rules":{"pattern":"("}}"#, "rules.pattern:INVALID_FORMAT")]
#[case(r#"{"key":"a","type":"number","default":"1"}"#, "default:INVALID_TYPE")]
#[case(r#"{"key":"a","type":"number","default":5,"rules":{"max":4}}"#, "default:OUT_OF_RANGE")]
#[case(r#"{"key":"a","type":"multi_list","options":["x"],"default":["x","y"]}"#, "default[1]:INVALID_CHOICE")]
#[case(r#"{"key":"a","type":"text","unique":true,"default":"x"}"#, "default:NOT_ALLOWED")]
#[case(r#"{"key":"a","type":"text","required":true,"default":""}"#, "default:REQUIRED")]
#[case(
    r#"{"key":"a","type":"text","rules":{"required_if":{"and":[{"field":"worth","op":">","value":"x"},{"field":"x","op":">","value":1}]}}}"#,
    "rules.required_if.and[0].value:INVALID_TYPE rules.required_if.and[1].field:UNKNOWN_FIELD"
)]
fn what_is_wrong_with_a_declaration_is_named(#[case] json: &str, #[case] expected: &str) {
    let errors = declared(json, &[]).expect_err(json);
    let found: Vec<String> = errors.iter().map(|error| format!("{}:{}", error.field, error.code)).collect();
    assert_eq!(found.join(" "), expected);
}

#[test]
fn a_declaration_is_kept_in_one_form() {
    let field = declared(
        r#"{"key":"last_visit","type":"datetime","default":"2026-01-01T00:00:00+01:00","rules":{"after":"2000-01-01"}}"#,
        &[],
    )
    .expect("a field");
    assert_eq!(field.label.as_str(), "Last visit");
    assert_eq!(field.position, 1);
    let json = serde_json::to_value(&field).expect("JSON");
    assert_eq!(json["default"], "2025-12-31T23:00:00.000Z");
    assert_eq!(json["rules"], serde_json::json!({"after": "2000-01-01"}));
    assert_eq!(json["type"], "datetime");
    assert!(json.get("pending").is_none() && json.get("working").is_none());
    let text = json.to_string();
    let again = changed(&field, &text, std::slice::from_ref(&field)).expect("what GET gave can be PUT back");
    assert_eq!(again, field);
    let read = CustomField::from_row(field.to_row()).expect("a field");
    assert_eq!(read, field);
}

#[test]
fn a_key_never_changes() {
    let field = declared(r#"{"key":"a","type":"text"}"#, &[]).expect("a field");
    let errors = changed(&field, r#"{"key":"b","applies_to":"order","type":"text"}"#, &[]).expect_err("errors");
    assert_eq!(errors.iter().map(|error| error.field.as_str()).collect::<Vec<_>>(), ["key", "applies_to"]);
}

#[test]
fn there_is_an_end_to_fields_and_options() {
    let mut all: Vec<CustomField> = Vec::new();
    for number in 0..super::MAX_FIELDS {
        all.push(declared(&format!(r#"{{"key":"f{number}","type":"text"}}"#), &all).expect("a field"));
    }
    let errors = declared(r#"{"key":"one_more","type":"text"}"#, &all).expect_err("an error");
    assert_eq!(errors.iter().map(|error| error.code).collect::<Vec<_>>(), ["TOO_MANY"]);
    let options: Vec<String> = (0..=super::MAX_OPTIONS).map(|number| number.to_string()).collect();
    let json = serde_json::json!({"key": "a", "type": "list", "options": options}).to_string();
    let errors = declared(&json, &[]).expect_err("an error");
    assert_eq!(errors.iter().map(|error| error.field.as_str()).collect::<Vec<_>>(), ["options"]);
}

#[test]
fn rules_that_name_a_field_hold_it() {
    let mut all = fields(&[
        r#"{"key":"fragile","type":"boolean"}"#,
        r#"{"key":"packing","type":"text","rules":{"required_if":{"field":"custom.fragile","op":"==","value":true}}}"#,
    ]);
    assert_eq!(broken_rules(&all, SUBJECT), [""; 0]);
    all[0].archived = true;
    assert_eq!(broken_rules(&all, SUBJECT), ["packing"]);
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        ".{0,12}".prop_map(Into::into),
        prop::sample::select(vec!["gold", "2026-01-31", "a@b.co", "+919876543210", "https://a.b", "tea"])
            .prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            prop::collection::hash_map("[a-z]{1,5}", inner, 0..4)
                .prop_map(|members| serde_json::Value::from(serde_json::Map::from_iter(members))),
        ]
    })
}

#[test]
fn a_refusal_stays_short_however_much_is_wrong() {
    let option = "x".repeat(190);
    let options: Vec<String> = (0..500).map(|number| format!("{option}{number}")).collect();
    let declaration = serde_json::json!({"key": "many", "type": "multi_list", "options": options}).to_string();
    let set = set(&[&declaration]);
    let wrong: Vec<String> = (0..5_000).map(|number| format!("w{number}")).collect();
    let mut values: serde_json::Map<String, serde_json::Value> =
        (0..500).map(|number| (format!("unknown_{number}"), serde_json::Value::from(1))).collect();
    values.insert("many".to_owned(), serde_json::Value::from(wrong));
    let input = serde_json::Value::from(values).to_string();
    let errors = set.check(Some(&raw(&input)), &CustomValues::default(), Mode::Create, &context()).expect_err("wrong");
    assert_eq!(errors.iter().count(), 40);
    assert!(errors.to_string().len() < 40 * 1_200, "{}", errors.to_string().len());
    let first = errors.iter().find(|error| error.code == "UNKNOWN_FIELD").expect("an unknown one");
    assert!(first.message.ends_with("there are: many"), "{}", first.message);
}

proptest! {
    #[test]
    fn any_json_is_checked_or_refused_and_checks_again(
        values in prop::collection::hash_map(
            prop::sample::select(vec![
                "city", "score", "birthday", "member", "tier", "seen", "work_email", "work_phone", "site", "likes", "budget", "x",
            ]),
            any_json(),
            0..6,
        ),
        mode in prop::sample::select(vec![Mode::Create, Mode::Replace, Mode::Merge]),
    ) {
        let set = set(&EVERY_TYPE);
        let input = serde_json::to_string(&values).expect("JSON");
        let existing = CustomValues::default();
        if let Ok(checked) = set.check(Some(&raw(&input)), &existing, mode, &context()) {
            let presented = set.present(&checked);
            let again = set.check(Some(&raw(presented.as_json().as_str())), &checked, Mode::Merge, &context());
            prop_assert_eq!(again.as_ref(), Ok(&checked));
        }
    }

    #[test]
    fn any_json_is_declared_or_refused(json in any_json(), kind in prop::sample::select(super::CustomFieldType::ALL)) {
        for member in ["default", "options", "rules", "label", "position", "required", "key"] {
            let mut body = serde_json::json!({"key": "a", "type": kind.name()});
            body[member] = json.clone();
            let _ = declared(&body.to_string(), &[]);
        }
    }
}
