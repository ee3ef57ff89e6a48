//! The service on the store in memory: what every door does, and what happens when two requests run at once.

use std::{sync::Arc, time::Duration};

use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::{
    Crm, Error,
    access::{Principal, Role},
    audit::AuditEntry,
    error::Result,
    event::Event,
    id::{CustomerId, OrganizationId, TeamId, UserId},
    input::FromInput,
    port::{Clock, ManualClock, SeededRandom},
    store::{Filter, Query, Scope, memory::MemoryStore},
    time::Timestamp,
};

fn id<I: crate::id::RecordId>(number: u128) -> I {
    I::from(uuid::Uuid::from_u128(number))
}

const ORGANIZATION: u128 = 1;

async fn crm() -> Crm {
    let store = Arc::new(MemoryStore::new());
    let clock = ManualClock::new("2026-01-31T09:30:00Z".parse::<Timestamp>().unwrap());
    let crm = Crm::builder(store).clock(clock).random(SeededRandom::new(7)).build();
    crm.store().migrate(crate::crm::collections(), &|_, _, _| {}).await.unwrap();
    crm
}

fn admin() -> Principal {
    Principal::user(id(ORGANIZATION), id::<UserId>(10), Role::Admin, None)
}

fn agent(user: u128, team: u128) -> Principal {
    Principal::user(id(ORGANIZATION), id::<UserId>(user), Role::Agent, Some(id::<TeamId>(team)))
}

fn read<T: FromInput>(json: &Value) -> T {
    T::from_input(&serde_json::value::RawValue::from_string(json.to_string()).unwrap()).unwrap()
}

async fn create(crm: &Crm, by: &Principal, json: Value) -> Result<Customer> {
    crm.customers().create(by, read(&json), WriteOptions::default()).await
}

async fn patch(crm: &Crm, by: &Principal, id: CustomerId, json: Value) -> Result<Customer> {
    crm.customers().patch(by, id, read(&json), WriteOptions::default()).await
}

async fn replace(crm: &Crm, by: &Principal, id: CustomerId, json: Value) -> Result<Customer> {
    crm.customers().replace(by, id, read(&json), WriteOptions::default()).await
}

/// The fields that an error names, with their codes.
fn wrong<T: std::fmt::Debug>(result: Result<T>) -> Vec<(String, &'static str)> {
    match result {
        Err(Error::Invalid(errors)) => errors.iter().map(|error| (error.field.clone(), error.code)).collect(),
        other => panic!("not refused as invalid: {other:?}"),
    }
}

fn matches_of<T: std::fmt::Debug>(result: Result<T>) -> Vec<CustomerId> {
    match result {
        Err(Error::Duplicate { matches, .. }) => matches.into_iter().map(CustomerId).collect(),
        other => panic!("no duplicate: {other:?}"),
    }
}

#[tokio::test]
async fn a_write_carries_its_audit_entry_and_its_event() {
    let crm = crm().await;
    let by = admin();
    let customer =
        create(&crm, &by, json!({"name": "Amélie", "email": "A@Example.com", "tags": ["vip"]})).await.unwrap();
    assert_eq!(customer.email.as_ref().map(crate::contact::Email::as_str), Some("a@example.com"));
    let changed = patch(&crm, &by, customer.id, json!({"tags": ["vip", "new"]})).await.unwrap();
    assert_eq!(changed.meta.version, 2);
    // Nothing changes: nothing is written.
    let same = patch(&crm, &by, customer.id, json!({"tags": ["vip", "new"]})).await.unwrap();
    assert_eq!(same.meta.version, 2);

    // The clock stands still, so that only the order of names is certain.
    let mut entries = crm.repo::<AuditEntry>().find(by.scope(), &Query::new(Filter::ALL, 10)).await.unwrap().records;
    entries.sort_by(|one, other| one.action.cmp(&other.action));
    let actions: Vec<&str> = entries.iter().map(|entry| entry.action.as_str()).collect();
    assert_eq!(actions, ["customer.created", "customer.updated"]);
    let (before, after) = (entries[1].before.as_ref().unwrap(), entries[1].after.as_ref().unwrap());
    assert_eq!((before.to_value(), after.to_value()), (json!({"tags": ["vip"]}), json!({"tags": ["vip", "new"]})));
    let in_order = Query::new(Filter::ALL, 10).sorted(vec![Event::record_version.ascending()]);
    let events = crm.repo::<Event>().find(by.scope(), &in_order).await.unwrap().records;
    let events: Vec<_> = events.iter().map(|event| (event.event_type.as_str(), event.record_version)).collect();
    assert_eq!(events, [("customer.created", 1), ("customer.updated", 2)]);
}

#[tokio::test]
async fn put_clears_what_patch_keeps() {
    let crm = crm().await;
    let by = admin();
    let customer = create(
        &crm,
        &by,
        json!({"name": "Ann", "email": "ann@example.com", "phone": "+919876543210", "spend": 120.5, "visits": 3,
            "tags": ["a"], "consent": {"email": true}, "metadata": {"a": {"b": 1}, "c": 2}, "status": "inactive"}),
    )
    .await
    .unwrap();
    let patched =
        patch(&crm, &by, customer.id, json!({"metadata": {"a": {"d": 4}, "c": null}, "consent": {"sms": false}}))
            .await
            .unwrap();
    assert_eq!(patched.metadata.to_value(), json!({"a": {"b": 1, "d": 4}}));
    assert_eq!(patched.consent.0.keys().collect::<Vec<_>>(), ["email", "sms"]);
    assert_eq!((patched.spend.to_string(), patched.visits), ("120.5".to_owned(), 3));

    // What GET gave can be put back.
    let mut sent_back = serde_json::to_value(&patched).unwrap();
    assert_eq!(replace(&crm, &by, customer.id, sent_back.clone()).await.unwrap(), patched);
    sent_back["spend"] = json!(200);
    assert_eq!(replace(&crm, &by, customer.id, sent_back).await.unwrap().spend.to_string(), "200");

    let replaced = replace(&crm, &by, customer.id, json!({"full_name": "Bea"})).await.unwrap();
    assert_eq!((replaced.name.as_str(), replaced.email, replaced.phone), ("Bea", None, None));
    assert_eq!((replaced.spend.to_string(), replaced.visits, replaced.tags.len()), ("0".to_owned(), 0, 0));
    assert_eq!((replaced.status, replaced.metadata.to_value()), (CustomerStatus::Active, json!({})));
    // Its address is free again.
    create(&crm, &by, json!({"name": "Other Ann", "email": "ann@example.com", "phone": "+919876543210"}))
        .await
        .unwrap();
}

#[rstest]
#[case(json!({}), &[("name", "REQUIRED")])]
#[case(json!({"name": null}), &[("name", "REQUIRED")])]
#[case(json!({"name": 5, "email": "x", "phone": "y", "colour": 1, "id": "z"}),
    &[("id", "READ_ONLY"), ("name", "INVALID_TYPE"), ("email", "INVALID_FORMAT"), ("phone", "INVALID_FORMAT"),
        ("colour", "UNKNOWN_FIELD")])]
#[case(json!({"name": "A", "status": "gone", "type": "gold", "spend": -1, "visits": 1.5}),
    &[("status", "INVALID_CHOICE"), ("spend", "OUT_OF_RANGE"), ("visits", "INVALID_TYPE"), ("type", "INVALID_CHOICE")])]
#[case(json!({"name": "A", "email": {"$gt": ""}}), &[("email", "INVALID_TYPE")])]
#[case(json!({"name": "A", "tags": vec!["t"; 10_000]}), &[("tags", "TOO_MANY")])]
#[case(json!({"name": "A", "tags": ["ok", "", "x".repeat(65)]}), &[("tags[1]", "REQUIRED"), ("tags[2]", "TOO_LONG")])]
#[case(json!({"name": "A", "spend": 5, "opening_spend": 6}), &[("spend", "CONFLICTING")])]
#[case(json!({"name": "A", "consent": {"E-Mail!": true, "sms": 1}}),
    &[("consent.E-Mail!", "INVALID_FORMAT"), ("consent.sms", "INVALID_TYPE")])]
#[case(json!({"name": "A", "group_ids": ["0198c1de-5f00-7000-8000-000000000001"]}), &[("group_ids[0]", "NOT_FOUND")])]
#[case(json!({"name": "A", "owner_id": "0198c1de-5f00-7000-8000-000000000001"}), &[("owner_id", "NOT_FOUND")])]
#[tokio::test]
async fn every_wrong_field_is_named(#[case] json: Value, #[case] expected: &[(&str, &str)]) {
    let crm = crm().await;
    let found = wrong(create(&crm, &admin(), json).await);
    let found: Vec<(&str, &str)> = found.iter().map(|(field, code)| (field.as_str(), *code)).collect();
    assert_eq!(found, expected);
    assert_eq!(crm.repo::<Customer>().count(admin().scope(), &Filter::ALL).await.unwrap(), 0);
    assert_eq!(crm.repo::<AuditEntry>().count(Scope::Installation, &Filter::ALL).await.unwrap(), 0);
}

#[tokio::test]
async fn one_duplicate_rule_behind_every_door() {
    let crm = crm().await;
    let by = admin();
    let ann = json!({"name": "Ann", "email": "ann@example.com", "phone": "+5511987654321"});
    let ann = create(&crm, &by, ann).await.unwrap().id;
    let bob = create(&crm, &by, json!({"name": "Bob"})).await.unwrap().id;

    assert_eq!(matches_of(create(&crm, &by, json!({"name": "X", "emails": ["ANN@example.com"]})).await), [ann]);
    // Brazil without the ninth digit.
    assert_eq!(matches_of(create(&crm, &by, json!({"name": "X", "phone": "+551187654321"})).await), [ann]);
    assert_eq!(matches_of(patch(&crm, &by, bob, json!({"emails": ["ann@example.com"]})).await), [ann]);
    assert_eq!(matches_of(replace(&crm, &by, bob, json!({"name": "B", "phones": ["+5511987654321"]})).await), [ann]);

    crm.customers().delete(&by, ann, None).await.unwrap();
    patch(&crm, &by, bob, json!({"email": "ann@example.com"})).await.unwrap();
    assert_eq!(matches_of(crm.customers().restore(&by, ann, WriteOptions::default()).await), [bob]);
    patch(&crm, &by, bob, json!({"email": null})).await.unwrap();
    let restored = crm.customers().restore(&by, ann, WriteOptions::default()).await.unwrap();
    assert_eq!(restored.deleted_at, None);
    assert_eq!(matches_of(create(&crm, &by, json!({"name": "X", "email": "ann@example.com"})).await), [ann]);
}

#[tokio::test]
async fn a_phone_is_shared_on_purpose_only() {
    let crm = crm().await;
    let by = admin();
    let shared = WriteOptions { allow_duplicate_phone: true, ..WriteOptions::default() };
    let phone = |name: &str| json!({"name": name, "phone": "+919876543210"});
    let first = create(&crm, &by, phone("First")).await.unwrap().id;
    let second = crm.customers().create(&by, read(&phone("Second")), shared.clone()).await.unwrap().id;
    assert_eq!(matches_of(create(&crm, &by, phone("Third")).await), [first, second]);
    // The first leaves: who shares is still in the way, and may be shared with.
    crm.customers().delete(&by, first, None).await.unwrap();
    assert_eq!(matches_of(create(&crm, &by, phone("Third")).await), [second]);
    crm.customers().create(&by, read(&phone("Fourth")), shared.clone()).await.unwrap();
    let e_mail = json!({"name": "X", "email": "x@example.com"});
    create(&crm, &by, e_mail.clone()).await.unwrap();
    assert_eq!(
        matches_of(crm.customers().create(&by, read(&e_mail), shared).await).len(),
        1,
        "e-mails are never shared"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_at_once_exactly_one_gets_the_address() {
    let crm = crm().await;
    let tasks: Vec<_> = (0..24)
        .map(|number| {
            let crm = crm.clone();
            tokio::spawn(async move {
                let json = json!({"name": format!("Racer {number}"), "email": "race@example.com"});
                create(&crm, &admin(), json).await
            })
        })
        .collect();
    let mut won = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => won += 1,
            Err(Error::Duplicate { fields, matches, .. }) => {
                assert_eq!((fields, matches.len()), (vec!["email".to_owned()], 1));
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(won, 1);
    assert_eq!(crm.repo::<Customer>().count(admin().scope(), &Filter::ALL).await.unwrap(), 1);
    assert_eq!(crm.repo::<ContactPoint>().count(admin().scope(), &Filter::ALL).await.unwrap(), 1);
}

#[tokio::test]
async fn who_sees_a_team_keeps_what_they_see() {
    let crm = crm().await;
    let (ann, bob) = (agent(20, 100), agent(21, 200));
    let customer = create(&crm, &ann, json!({"name": "Of Ann", "email": "c@example.com"})).await.unwrap();
    assert_eq!((customer.owner_id, customer.team_id), (Some(id(20)), Some(id(100))));
    // Somebody else's customer is as if it were not there, but its address is taken.
    assert!(matches!(crm.customers().get(&bob, customer.id).await, Err(Error::NotFound("customer"))));
    assert!(matches!(patch(&crm, &bob, customer.id, json!({"name": "X"})).await, Err(Error::NotFound(_))));
    assert!(matches!(crm.customers().delete(&bob, customer.id, None).await, Err(Error::NotFound(_))));
    assert_eq!(matches_of(create(&crm, &bob, json!({"name": "X", "email": "c@example.com"})).await), []);
    // A replacement that does not name owner and team keeps them; giving the customer away altogether is refused.
    let kept = replace(&crm, &ann, customer.id, json!({"name": "Still of Ann"})).await.unwrap();
    assert_eq!((kept.owner_id, kept.team_id), (customer.owner_id, customer.team_id));
    let away = patch(&crm, &ann, customer.id, json!({"owner_id": null, "team_id": null})).await;
    assert!(matches!(away, Err(Error::Forbidden(_))), "{away:?}");
    let foreign = Principal { organization: id::<OrganizationId>(2), ..admin() };
    assert!(matches!(crm.customers().get(&foreign, customer.id).await, Err(Error::NotFound("customer"))));
}

#[tokio::test]
async fn an_upsert_finds_by_email_and_else_by_phone() {
    let crm = crm().await;
    let by = admin();
    let upsert = async |json: Value| {
        let written = crm.customers().upsert(&by, read(&json), WriteOptions::default()).await.unwrap();
        (written.deed, written.customer)
    };
    let (deed, first) = upsert(json!({"name": "Ann", "email": "ann@example.com", "visits": 1})).await;
    assert_eq!(deed, Deed::Created);
    let (deed, again) = upsert(json!({"name": "Ann B", "email": "Ann@example.com", "phone": "+919876543210"})).await;
    assert_eq!((deed, again.id, again.visits), (Deed::Updated, first.id, 1));
    let (deed, again) = upsert(json!({"name": "Ann B", "phone": "+919876543210"})).await;
    assert_eq!((deed, again.id), (Deed::Unchanged, first.id));
    let nothing = crm.customers().upsert(&by, read(&json!({"name": "Nobody"})), WriteOptions::default()).await;
    assert_eq!(wrong(nothing), [("email".to_owned(), "REQUIRED")]);
}

#[tokio::test]
async fn a_batch_answers_for_each_customer() {
    let crm = crm().await;
    let by = admin();
    let items = json!({"items": [
        {"name": "One", "email": "one@example.com"},
        {"name": "One again", "email": "one@example.com"},
        {"name": ""},
        "no object",
        {"name": "Two", "email": "two@example.com"},
    ]});
    let report = crm.customers().create_batch(&by, read(&items), BatchOptions::default()).await.unwrap();
    let codes: Vec<_> =
        report.results.iter().map(|result| result.error.as_ref().map(|error| error.code.as_str())).collect();
    assert_eq!(codes, [None, Some("DUPLICATE"), Some("VALIDATION_ERROR"), Some("VALIDATION_ERROR"), None]);
    assert_eq!((report.created, report.failed), (2, 3));
    let one = report.results[0].id.unwrap();
    assert_eq!(report.results[1].error.as_ref().unwrap().matches, [one.0]);

    let atomic = BatchOptions { atomic: true, ..BatchOptions::default() };
    let items = json!({"items": [{"name": "Three"}, {"name": ""}, {"email": "x"}]});
    let refused = wrong(crm.customers().create_batch(&by, read(&items), atomic.clone()).await);
    let refused: Vec<&str> = refused.iter().map(|(field, _)| field.as_str()).collect();
    assert_eq!(refused, ["items[1].name", "items[2].email", "items[2].name"]);
    assert_eq!(crm.repo::<Customer>().count(by.scope(), &Filter::ALL).await.unwrap(), 2);

    let upsert = BatchOptions { upsert: true, ..BatchOptions::default() };
    let items = json!([{"name": "One", "email": "one@example.com", "tags": ["x"]}, {"name": "N", "email": "n@example.com"},
        {"name": "N", "email": "n@example.com", "tags": ["y"]}]);
    let report = crm.customers().create_batch(&by, read(&items), upsert).await.unwrap();
    assert_eq!((report.created, report.updated, report.failed), (1, 2, 0));
    assert_eq!(report.results[1].id, report.results[2].id);

    let patches = json!({"items": [
        {"id": one, "email": "uno@example.com"},
        {"id": report.results[1].id, "email": "one@example.com"},
        {"id": "0198c1de-5f00-7000-8000-000000000001", "status": "blocked"},
        {"status": "blocked"},
    ]});
    let report = crm.customers().patch_batch(&by, read(&patches), BatchOptions::default()).await.unwrap();
    let codes: Vec<_> =
        report.results.iter().map(|result| result.error.as_ref().map(|error| error.code.as_str())).collect();
    assert_eq!(codes, [None, None, Some("NOT_FOUND"), Some("VALIDATION_ERROR")], "an address passes on in one batch");
}

/// Every look at the clock takes a second.
#[derive(Debug)]
struct BusyClock(ManualClock);

impl Clock for BusyClock {
    fn now(&self) -> Timestamp {
        self.0.advance(Duration::from_secs(1));
        self.0.now()
    }
}

#[tokio::test]
async fn a_change_by_filter_that_runs_out_of_time_is_continued() {
    let store = Arc::new(MemoryStore::new());
    let clock = BusyClock(ManualClock::new("2026-03-01T09:00:00Z".parse().unwrap()));
    let crm = Crm::builder(store).clock(clock).build();
    crm.store().migrate(crate::crm::collections(), &|_, _, _| {}).await.unwrap();
    let by = admin();
    let items: Vec<Value> = (0..350).map(|number| json!({"name": format!("C{number}")})).collect();
    crm.customers().create_batch(&by, read(&json!(items)), BatchOptions::default()).await.unwrap();
    let mut patches = json!({"filter": {"field": "status", "op": "==", "value": "active"}, "add_tags": ["seen"]});
    let (mut updated, mut requests) = (0, 0);
    loop {
        let brief = BatchOptions { time_limit: Some(Duration::from_secs(1)), ..BatchOptions::default() };
        let report = crm.customers().patch_batch(&by, read(&patches), brief).await.unwrap();
        assert_eq!((report.unchanged, report.failed), (0, 0), "nobody is asked twice");
        (updated, requests) = (updated + report.updated, requests + 1);
        let Some(after) = report.continue_after else { break };
        patches["after"] = json!(after);
    }
    assert_eq!((updated, requests), (350, 4), "each request gets at least one commit done");
    let all = crm.customers().patch_batch(&by, read(&patches), BatchOptions::default()).await.unwrap();
    assert_eq!((all.matched, all.continue_after), (50, None));
}

#[tokio::test]
async fn a_change_by_filter_reaches_any_number() {
    let crm = crm().await;
    let by = admin();
    let items: Vec<Value> =
        (0..250).map(|number| json!({"name": format!("C{number}"), "visits": number % 2, "tags": ["old"]})).collect();
    crm.customers().create_batch(&by, read(&json!(items)), BatchOptions::default()).await.unwrap();
    let patches = json!({
        "filter": {"field": "visits", "op": "==", "value": 1},
        "set": {"visits": 0, "status": "inactive"}, "add_tags": ["seen"], "remove_tags": ["old"],
    });
    let report = crm.customers().patch_batch(&by, read(&patches), BatchOptions::default()).await.unwrap();
    assert_eq!((report.matched, report.updated, report.failed), (125, 125, 0));
    let report = crm.customers().patch_batch(&by, read(&patches), BatchOptions::default()).await.unwrap();
    assert_eq!(report.matched, 0);
    let tags = crm.customers().tags(&by, None).await.unwrap();
    let tags: Vec<_> = tags.iter().map(|tag| (tag.tag.as_str(), tag.count)).collect();
    assert_eq!(tags, [("old", 125), ("seen", 125)]);
    // One audit entry for each commit, not for each customer.
    let entries = AuditEntry::action.equals("customer.batch_updated".to_owned());
    assert_eq!(crm.repo::<AuditEntry>().count(by.scope(), &entries).await.unwrap(), 2);

    let renamed = RenamedTag { from: "old".parse().unwrap(), to: "seen".parse().unwrap() };
    assert_eq!(crm.customers().rename_tag(&by, &renamed).await.unwrap().updated, 125);
    assert!(matches!(crm.customers().rename_tag(&by, &renamed).await, Err(Error::NotFound("tag"))));
    assert_eq!(
        crm.customers().tags(&by, Some("SEE")).await.unwrap(),
        [TagCount { tag: "seen".to_owned(), count: 250 }]
    );
}

#[tokio::test]
async fn groups_hold_customers_until_they_go() {
    let crm = crm().await;
    let by = admin();
    let group = crm.customers().create_group(&by, read(&json!({"name": "Gold"}))).await.unwrap().group;
    let taken = crm.customers().create_group(&by, read(&json!({"name": " GOLD "}))).await;
    assert!(matches!(taken, Err(Error::Duplicate { matches, .. }) if matches == [group.id.0]));
    let ann = create(&crm, &by, json!({"name": "Ann", "group_ids": [group.id]})).await.unwrap().id;
    let bob = create(&crm, &by, json!({"name": "Bob"})).await.unwrap().id;
    let nobody = uuid::Uuid::from_u128(99);
    let members = GroupMembers { customer_ids: vec![ann.0, bob.0, nobody, bob.0] };
    let change = crm.customers().add_members(&by, group.id, &members).await.unwrap();
    assert_eq!((change.changed, change.unchanged, change.not_found), (1, 1, vec![nobody]));
    assert_eq!(crm.customers().get_group(&by, group.id).await.unwrap().member_count, 2);
    assert_eq!(crm.customers().get_group(&agent(20, 100), group.id).await.unwrap().member_count, 0, "none in sight");

    let binned = crm.customers().delete(&by, bob, None).await.unwrap();
    assert_eq!(binned.group_ids, [group.id.to_string()]);
    crm.customers().delete_group(&by, group.id, None).await.unwrap();
    assert!(matches!(crm.customers().get_group(&by, group.id).await, Err(Error::NotFound("group"))));
    assert_eq!(crm.customers().get(&by, ann).await.unwrap().group_ids, Vec::<String>::new());
    let restored = crm.customers().restore(&by, bob, WriteOptions::default()).await.unwrap();
    assert_eq!(restored.group_ids, Vec::<String>::new());
    crm.customers().create_group(&by, read(&json!({"name": "Gold"}))).await.unwrap();
}

#[tokio::test]
async fn consent_does_not_grow_without_end() {
    let crm = crm().await;
    let by = admin();
    let customer = create(&crm, &by, json!({"name": "C"})).await.unwrap().id;
    let channels = |from: usize, to: usize, value: Value| {
        let channels: serde_json::Map<String, Value> =
            (from..to).map(|number| (format!("channel-{number}"), value.clone())).collect();
        json!({ "consent": channels })
    };
    patch(&crm, &by, customer, channels(0, 30, json!(true))).await.unwrap();
    let more = patch(&crm, &by, customer, channels(30, 31, json!(true))).await;
    assert_eq!(wrong(more), [("consent".to_owned(), "TOO_MANY")]);
    patch(&crm, &by, customer, channels(0, 1, Value::Null)).await.unwrap();
    patch(&crm, &by, customer, channels(30, 31, json!(true))).await.unwrap();
}

#[tokio::test]
async fn a_large_change_of_many_is_not_all_in_memory() {
    let crm = crm().await;
    let by = admin();
    let items: Vec<Value> = (0..1000).map(|number| json!({"name": format!("C{number}")})).collect();
    for _ in 0..5 {
        crm.customers().create_batch(&by, read(&json!(items)), BatchOptions::default()).await.unwrap();
    }
    let change = json!({
        "filter": {"field": "name", "op": "starts_with", "value": "C"},
        "set": {"metadata": {"text": "x".repeat(16_000)}},
    });
    let atomic = BatchOptions { atomic: true, ..BatchOptions::default() };
    let refused = crm.customers().patch_batch(&by, read(&change), atomic).await;
    assert!(matches!(refused, Err(Error::TooLarge(_))), "{refused:?}");
}

#[tokio::test]
async fn notes_keep_what_they_said() {
    let crm = crm().await;
    let (by, ann, bob) = (admin(), agent(20, 100), agent(21, 100));
    let customer = create(&crm, &ann, json!({"name": "C"})).await.unwrap().id;
    let note = crm.customers().add_note(&ann, customer, read(&json!({"text": "Called."}))).await.unwrap();
    let edit = |text: &str| read::<EditedNote>(&json!({"text": text}));
    let refused = crm.customers().edit_note(&bob, customer, note.id, edit("No."), None).await;
    assert!(matches!(refused, Err(Error::Forbidden(_))));
    crm.customers().edit_note(&ann, customer, note.id, edit("Called twice."), Some(1)).await.unwrap();
    let stale = crm.customers().edit_note(&by, customer, note.id, edit("?"), Some(1)).await;
    assert!(matches!(stale, Err(Error::VersionConflict { found: 2 })));
    let note = crm.customers().edit_note(&by, customer, note.id, edit("Called thrice."), None).await.unwrap();
    let said: Vec<&str> = note.edits.iter().map(|edit| edit.text.as_str()).collect();
    assert_eq!((note.note.edit_count, said), (2, vec!["Called.", "Called twice."]));
    // A note is found under its own customer only.
    let other = create(&crm, &ann, json!({"name": "D"})).await.unwrap().id;
    assert!(matches!(crm.customers().get_note(&ann, other, note.note.id).await, Err(Error::NotFound("note"))));
    crm.customers().delete_note(&ann, customer, note.note.id, None).await.unwrap();
    assert!(matches!(crm.customers().get_note(&ann, customer, note.note.id).await, Err(Error::NotFound("note"))));
}

#[tokio::test]
async fn a_purge_leaves_nothing() {
    let crm = crm().await;
    let by = admin();
    let ids: Vec<CustomerId> = {
        let mut ids = Vec::new();
        for number in 0..3 {
            let json = json!({"name": format!("C{number}"), "email": format!("c{number}@example.com")});
            ids.push(create(&crm, &by, json).await.unwrap().id);
        }
        ids
    };
    crm.customers().add_note(&by, ids[0], read(&json!({"text": "x"}))).await.unwrap();
    crm.customers().delete(&by, ids[0], None).await.unwrap();
    crm.customers().delete(&by, ids[1], None).await.unwrap();
    assert!(matches!(crm.customers().get(&by, ids[0]).await, Err(Error::NotFound(_))));
    assert!(matches!(crm.customers().delete(&by, ids[0], None).await, Err(Error::NotFound(_))));
    for id in &ids {
        crm.customers().purge(&by, *id, None).await.unwrap();
    }
    for count in [
        crm.repo::<Customer>().count(by.scope(), &Filter::ALL).await.unwrap(),
        crm.repo::<ContactPoint>().count(by.scope(), &Filter::ALL).await.unwrap(),
        crm.repo::<Note>().count(by.scope(), &Filter::ALL).await.unwrap(),
    ] {
        assert_eq!(count, 0);
    }
    let refused = crm.customers().purge(&agent(20, 100), ids[2], None).await;
    assert!(matches!(refused, Err(Error::Forbidden(_))));
}
