//! The service on the store in memory, with customers as they are written.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::{
    access::Role,
    audit::AuditEntry,
    customer::{Customer, WriteOptions},
    event::Event,
    field::{CustomFieldType, IndexState, make_missing_jobs, record::step, work},
    id::{CustomerId, UserId},
    input::FromInput,
    job::{Job, JobState, runner},
    port::{ManualClock, SeededRandom},
    store::{Filter, memory::MemoryStore},
    time::Timestamp,
};

async fn crm() -> Crm {
    crm_and_clock().await.0
}

async fn crm_and_clock() -> (Crm, Arc<ManualClock>) {
    let store = Arc::new(MemoryStore::new());
    let clock = Arc::new(ManualClock::new("2026-01-31T09:30:00Z".parse::<Timestamp>().unwrap()));
    let crm = Crm::builder(store).clock(Arc::clone(&clock)).random(SeededRandom::new(7)).build();
    crm.store().migrate(crate::crm::collections(), &|_, _, _| {}).await.unwrap();
    (crm, clock)
}

/// The jobs that an Admin sees, newest first.
async fn jobs(crm: &Crm) -> Vec<Job> {
    let request = crate::job::Jobs::listing().from_pairs(&[]).unwrap();
    crm.jobs().list(&admin(), &request).await.unwrap().data
}

fn admin() -> Principal {
    Principal::user(OrganizationId(Uuid::from_u128(1)), UserId(Uuid::from_u128(10)), Role::Admin, None)
}

fn read<T: FromInput>(json: &Value) -> T {
    let raw = serde_json::value::RawValue::from_string(json.to_string()).unwrap();
    T::from_input(&raw).unwrap_or_else(|errors| panic!("{json}: {errors}"))
}

async fn declare(crm: &Crm, json: Value) -> CustomField {
    crm.fields().create(&admin(), read(&json)).await.unwrap()
}

async fn customer(crm: &Crm, custom: Value) -> Result<Customer> {
    crm.customers().create(&admin(), read(&json!({"name": "Ann", "custom": custom})), WriteOptions::default()).await
}

async fn values(crm: &Crm, id: CustomerId) -> Value {
    let customer = crm.repo::<Customer>().get(admin().scope(), id).await.unwrap().unwrap();
    customer.custom.as_json().to_value()
}

async fn update(crm: &Crm, id: CustomFieldId, json: Value) -> Result<CustomField> {
    match crm.fields().update(&admin(), id, read(&json), None, false).await? {
        Changed::Done(field) => Ok(field),
        Changed::Tried(_) => panic!("a dry run"),
    }
}

async fn try_out(crm: &Crm, id: CustomFieldId, json: Value) -> Trial {
    match crm.fields().update(&admin(), id, read(&json), None, true).await.unwrap() {
        Changed::Tried(trial) => trial,
        Changed::Done(_) => panic!("not a dry run"),
    }
}

#[tokio::test]
async fn a_type_changes_only_where_every_value_converts() {
    let crm = crm().await;
    let field = declare(&crm, json!({"key": "size", "type": "text"})).await;
    let five = customer(&crm, json!({"size": "5.50"})).await.unwrap();
    let blank = customer(&crm, json!({"size": ""})).await.unwrap();
    let large = customer(&crm, json!({"size": "large"})).await.unwrap();
    customer(&crm, json!({})).await.unwrap();

    let trial = try_out(&crm, field.id, json!({"type": "number"})).await;
    assert_eq!((trial.records, trial.failing, trial.failures.len()), (3, 1, 1));
    assert_eq!(trial.failures[0].record_id, large.id.0);
    assert_eq!(trial.failures[0].value.as_str(), "\"large\"");
    assert_eq!(trial.field.r#type, CustomFieldType::Number);
    let refused = update(&crm, field.id, json!({"type": "number"})).await.unwrap_err();
    assert!(matches!(&refused, Error::Conflict(message) if message.contains("must be a number")), "{refused}");
    assert_eq!(values(&crm, five.id).await, json!({"size": "5.50"}), "nothing is written");

    let patch = read(&json!({"custom": {"size": "1e2"}}));
    crm.customers().patch(&admin(), large.id, patch, WriteOptions::default()).await.unwrap();
    let field = update(&crm, field.id, json!({"type": "number"})).await.unwrap();
    assert_eq!((field.r#type, field.pending.len(), field.working), (CustomFieldType::Number, 0, false));
    assert_eq!(values(&crm, five.id).await, json!({"size": 5.5}));
    assert_eq!(values(&crm, large.id).await, json!({"size": 100}));
    assert_eq!(values(&crm, blank.id).await, json!({}), "what is blank is no number");
    customer(&crm, json!({"size": "5"})).await.unwrap_err();
    customer(&crm, json!({"size": 5})).await.unwrap();
}

#[tokio::test]
async fn thousands_of_values_convert_in_batches() {
    let crm = crm().await;
    let field = declare(&crm, json!({"key": "day", "type": "date"})).await;
    let inputs: Vec<Value> = (0..900).map(|_| json!({"name": "Ann", "custom": {"day": "2026-01-31"}})).collect();
    for chunk in inputs.chunks(300) {
        let new = read(&json!(chunk));
        crm.customers().create_batch(&admin(), new, crate::customer::BatchOptions::default()).await.unwrap();
    }
    let field = update(&crm, field.id, json!({"type": "datetime"})).await.unwrap();
    assert!(!field.working);
    let mut after = 0;
    let all = crm.store().find(admin().scope(), Customer::COLLECTION, &Query::new(Filter::ALL, 1000)).await.unwrap();
    for row in all.rows {
        let customer = Customer::from_row(row).unwrap();
        assert_eq!(customer.custom.as_json().as_str(), r#"{"day":1769817600000}"#);
        after += 1;
    }
    assert_eq!(after, 900);
}

#[tokio::test]
async fn work_that_a_process_left_behind_is_finished_by_another() {
    let (crm, clock) = crm_and_clock().await;
    let field = declare(&crm, json!({"key": "size", "type": "text", "unique": true})).await;
    let five = customer(&crm, json!({"size": "5"})).await.unwrap();
    // As if the process had died right after its commit.
    let system = Principal::system(admin().organization);
    let mut after =
        CustomField { r#type: CustomFieldType::Number, converted_from: Some(field.r#type), ..field.clone() };
    after.plan(step::CONVERT);
    after.plan(step::UNIQUE);
    let mut operation = Operation::new(&crm, &system);
    let job = work::begin(&crm, &admin(), &mut operation, &mut after).unwrap().unwrap();
    operation.update(&field, &mut after);
    operation.change(Change::DeleteWhere { collection: UniqueValue::COLLECTION, filter: Filter::ALL });
    operation.commit().await.unwrap();
    crm.field_sets().forget();
    let busy = update(&crm, field.id, json!({"type": "text"})).await.unwrap_err();
    assert!(matches!(busy, Error::InvalidState(_)), "{busy}");
    let kept = crm.jobs().cancel(&admin(), job.id).await.unwrap_err();
    assert!(matches!(&kept, Error::InvalidState(message) if message.contains("neither cancelled")), "{kept}");

    runner::run_due(&crm).await.unwrap();
    make_missing_jobs(&crm).await.unwrap();
    assert_eq!(values(&crm, five.id).await, json!({"size": "5"}), "it may be alive");
    clock.advance(Duration::from_secs(11));
    runner::run_due(&crm).await.unwrap();
    assert_eq!(values(&crm, five.id).await, json!({"size": 5}));
    let field = crm.fields().get(&admin(), field.id).await.unwrap();
    assert_eq!((field.working, field.pending.len(), field.job_id), (false, 0, None));
    assert!(matches!(customer(&crm, json!({"size": 5})).await, Err(Error::Duplicate { .. })));
    let [done] = jobs(&crm).await.try_into().unwrap();
    assert_eq!((done.id, done.state, done.record_id), (job.id, JobState::Succeeded, Some(field.id.0)));
    assert_eq!((done.progress.done, done.progress.unit.as_str()), (1, "records"));
    assert_eq!(done.result.unwrap().to_value(), json!({"done": ["convert", "unique"]}));
}

/// A version before had no jobs for this, and those of today are kept for a while only.
#[tokio::test]
async fn what_is_pending_and_has_no_job_gets_one() {
    let (crm, clock) = crm_and_clock().await;
    let field = declare(&crm, json!({"key": "size", "type": "text"})).await;
    let five = customer(&crm, json!({"size": "5"})).await.unwrap();
    let mut after =
        CustomField { r#type: CustomFieldType::Number, converted_from: Some(field.r#type), ..field.clone() };
    after.plan(step::CONVERT);
    let system = Principal::system(admin().organization);
    let mut operation = Operation::new(&crm, &system);
    operation.update(&field, &mut after);
    operation.commit().await.unwrap();
    let others = crm.clone();
    let (one, other) = tokio::join!(make_missing_jobs(&crm), make_missing_jobs(&others));
    one.and(other).unwrap();
    make_missing_jobs(&crm).await.unwrap();
    assert_eq!(jobs(&crm).await.len(), 1, "one job, whoever looks");
    // It fails for good, is replayed in vain, and is removed after its time.
    let failed = [Job::state.set(JobState::Failed), Job::dead_at.set(crm.now()), Job::finished_at.set(crm.now())];
    let fail = Change::UpdateWhere {
        collection: Job::COLLECTION,
        filter: Filter::ALL,
        assignments: failed.into_iter().chain([Job::due_at.set(None)]).collect(),
    };
    crm.store().commit(admin().scope(), vec![fail]).await.unwrap();
    let id = jobs(&crm).await[0].id;
    make_missing_jobs(&crm).await.unwrap();
    assert_eq!(jobs(&crm).await.len(), 1, "a dead letter waits to be replayed");
    let kept = crm.jobs().dead_letters().drop(&admin(), id).await.unwrap_err();
    assert!(matches!(kept, Error::InvalidState(_)), "{kept}");
    clock.advance(Duration::from_hours(31 * 24));
    crate::background::clean_now(&crm).await.unwrap();
    assert!(jobs(&crm).await.is_empty());
    make_missing_jobs(&crm).await.unwrap();
    runner::run_due(&crm).await.unwrap();
    assert_eq!(values(&crm, five.id).await, json!({"size": 5}));
    make_missing_jobs(&crm).await.unwrap();
    assert_eq!(jobs(&crm).await.len(), 1, "nothing is pending any more");
}

/// What stands in the way of an index that nobody wants any more.
#[tokio::test]
async fn a_change_of_a_field_whose_index_is_being_built_has_its_own_job() {
    let crm = crm().await;
    let field = declare(&crm, json!({"key": "city", "type": "text", "indexed": true})).await;
    let first = field.job_id.unwrap();
    customer(&crm, json!({"city": "7"})).await.unwrap();
    let field = update(&crm, field.id, json!({"type": "number", "indexed": true})).await.unwrap();
    assert_eq!((field.pending.as_slice(), field.index_state), (["index".to_owned()].as_slice(), IndexState::Building));
    assert_ne!(field.job_id, Some(first));
    runner::run_due(&crm).await.unwrap();
    let results = jobs(&crm).await.into_iter().map(|job| (job.id == first, job.result.unwrap().to_value()));
    let mut results: Vec<(bool, Value)> = results.collect();
    results.sort_unstable_by_key(|(is_first, _)| *is_first);
    assert_eq!(results, [(false, json!({"done": ["index"]})), (true, json!({"superseded": true}))]);
    let field = crm.fields().get(&admin(), field.id).await.unwrap();
    assert_eq!((field.index_state, field.working, field.job_id), (IndexState::Ready, false, None));
}

#[tokio::test]
async fn a_purge_leaves_nothing() {
    let crm = crm().await;
    let field = declare(&crm, json!({"key": "size", "type": "multi_list", "options": ["s", "m"]})).await;
    declare(&crm, json!({"key": "budget", "type": "money"})).await;
    let one = customer(&crm, json!({"size": ["s"], "budget": 12.5})).await.unwrap();
    let two = customer(&crm, json!({"size": []})).await.unwrap();
    crm.customers().delete(&admin(), two.id, None).await.unwrap();
    assert_eq!(crm.fields().purge(&admin(), field.id, None).await.unwrap(), None);
    assert_eq!(values(&crm, one.id).await, json!({"budget": 12.5}));
    assert_eq!(values(&crm, two.id).await, json!({}), "also in the bin");
    assert!(matches!(crm.fields().get(&admin(), field.id).await, Err(Error::NotFound(_))));
    declare(&crm, json!({"key": "size", "type": "text"})).await;
}

#[tokio::test]
async fn archived_values_come_back() {
    let crm = crm().await;
    let field = declare(&crm, json!({"key": "size", "type": "text", "required": true})).await;
    let one = customer(&crm, json!({"size": "xl"})).await.unwrap();
    crm.fields().archive(&admin(), field.id, None).await.unwrap();
    let set = crm.fields().set(admin().organization, AppliesTo::Customer).await.unwrap();
    assert_eq!(set.live().count(), 0);
    customer(&crm, json!({"size": "s"})).await.unwrap_err();
    customer(&crm, json!({})).await.unwrap();
    let taken = crm.fields().create(&admin(), read(&json!({"key": "size", "type": "text"}))).await.unwrap_err();
    assert!(matches!(&taken, Error::Duplicate { message, .. } if message.contains("archived")), "{taken}");
    update(&crm, field.id, json!({"type": "text", "archived": false})).await.unwrap();
    assert_eq!(values(&crm, one.id).await, json!({"size": "xl"}));
    customer(&crm, json!({"size": "s"})).await.unwrap();
}

#[tokio::test]
async fn a_field_becomes_unique_where_no_two_values_are_equal() {
    let crm = crm().await;
    let field = declare(&crm, json!({"key": "card", "type": "text"})).await;
    let one = customer(&crm, json!({"card": "A1"})).await.unwrap();
    let two = customer(&crm, json!({"card": "A1"})).await.unwrap();
    let trial = try_out(&crm, field.id, json!({"type": "text", "unique": true})).await;
    assert_eq!((trial.failing, trial.failures[0].code.as_str()), (1, "DUPLICATE"));
    update(&crm, field.id, json!({"type": "text", "unique": true})).await.unwrap_err();
    // In the bin it holds nothing back.
    crm.customers().delete(&admin(), two.id, None).await.unwrap();
    update(&crm, field.id, json!({"type": "text", "unique": true})).await.unwrap();
    match customer(&crm, json!({"card": "A1"})).await {
        Err(Error::Duplicate { matches, .. }) => assert_eq!(matches, [one.id.0]),
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        crm.customers().restore(&admin(), two.id, WriteOptions::default()).await,
        Err(Error::Duplicate { .. })
    ));
    update(&crm, field.id, json!({"type": "text"})).await.unwrap();
    customer(&crm, json!({"card": "A1"})).await.unwrap();
}

#[tokio::test]
async fn one_of_two_wins_a_unique_value() {
    let crm = crm().await;
    declare(&crm, json!({"key": "card", "type": "text", "unique": true})).await;
    let tries = (0..8).map(|_| customer(&crm, json!({"card": "A1"})));
    let done = futures::future::join_all(tries).await;
    assert_eq!(done.iter().filter(|result| result.is_ok()).count(), 1);
    assert!(done.iter().all(|result| matches!(result, Ok(_) | Err(Error::Duplicate { .. }))));
}

#[tokio::test]
async fn an_option_in_use_stays() {
    let crm = crm().await;
    let field = declare(&crm, json!({"key": "tier", "type": "list", "options": ["gold", "silver"]})).await;
    let one = customer(&crm, json!({"tier": "gold"})).await.unwrap();
    let changed = json!({"type": "list", "options": ["silver", "bronze"]});
    let refused = update(&crm, field.id, changed.clone()).await.unwrap_err();
    assert!(matches!(&refused, Error::Conflict(message) if message.starts_with("1 stored value stands")), "{refused}");
    let trial = try_out(&crm, field.id, changed.clone()).await;
    assert_eq!((trial.failing, trial.failures[0].code.as_str()), (1, "OPTION_IN_USE"));
    let patch = read(&json!({"custom": {"tier": null}}));
    crm.customers().patch(&admin(), one.id, patch, WriteOptions::default()).await.unwrap();
    let field = update(&crm, field.id, changed).await.unwrap();
    assert_eq!(field.options, ["silver", "bronze"]);
}

#[tokio::test]
async fn an_index_is_built_and_dropped_in_the_background() {
    let crm = crm().await;
    let field = declare(&crm, json!({"key": "city", "type": "text", "indexed": true})).await;
    assert_eq!((field.index_state, field.pending.as_slice()), (IndexState::Building, ["index".to_owned()].as_slice()));
    let relabelled = update(&crm, field.id, json!({"type": "text", "label": "Town", "indexed": true})).await.unwrap();
    assert_eq!(relabelled.index_state, IndexState::Building, "an index that is being built hinders nothing");
    runner::run_due(&crm).await.unwrap();
    let field = crm.fields().get(&admin(), field.id).await.unwrap();
    assert_eq!((field.index_state, field.working), (IndexState::Ready, false));
    let field = update(&crm, field.id, json!({"type": "text", "indexed": false})).await.unwrap();
    assert_eq!(field.index_state, IndexState::None);
    runner::run_due(&crm).await.unwrap();
    let field = crm.fields().get(&admin(), field.id).await.unwrap();
    assert_eq!((field.index_state, field.pending.len()), (IndexState::None, 0));
}

#[tokio::test]
async fn a_field_that_a_rule_names_is_held() {
    let crm = crm().await;
    let fragile = declare(&crm, json!({"key": "fragile", "type": "boolean"})).await;
    let rule = json!({"and": [{"field": "custom.fragile", "op": "==", "value": true}, {"field": "type", "op": "==", "value": "vip"}]});
    let packing = declare(&crm, json!({"key": "packing", "type": "text", "rules": {"required_if": rule}})).await;
    for refused in [
        crm.fields().archive(&admin(), fragile.id, None).await,
        crm.fields().purge(&admin(), fragile.id, None).await.map(|_| ()),
        update(&crm, fragile.id, json!({"type": "text"})).await.map(|_| ()),
    ] {
        assert!(matches!(&refused, Err(Error::Conflict(message)) if message.contains("packing")), "{refused:?}");
    }
    crm.fields().purge(&admin(), packing.id, None).await.unwrap();
    crm.fields().archive(&admin(), fragile.id, None).await.unwrap();
}

#[tokio::test]
async fn who_may_not_and_who_is_elsewhere() {
    let crm = crm().await;
    let field = declare(&crm, json!({"key": "size", "type": "text"})).await;
    let agent = Principal { permissions: Role::Agent.permissions(), ..admin() };
    crm.fields().get(&agent, field.id).await.unwrap();
    let new = || read(&json!({"key": "b", "type": "text"}));
    assert!(matches!(crm.fields().create(&agent, new()).await, Err(Error::Forbidden(_))));
    assert!(matches!(crm.fields().archive(&agent, field.id, None).await, Err(Error::Forbidden(_))));
    let customer = Principal { permissions: Role::Customer.permissions(), ..admin() };
    assert!(matches!(crm.fields().get(&customer, field.id).await, Err(Error::Forbidden(_))));
    let stranger = Principal { organization: OrganizationId(Uuid::from_u128(2)), ..admin() };
    assert!(matches!(crm.fields().get(&stranger, field.id).await, Err(Error::NotFound(_))));
    assert!(matches!(crm.fields().purge(&stranger, field.id, None).await, Err(Error::NotFound(_))));
    assert!(crm.fields().list(&stranger, &Fields::request(&[]).unwrap()).await.unwrap().data.is_empty());
    crm.fields().create(&stranger, read(&json!({"key": "size", "type": "text"}))).await.unwrap();
}

#[tokio::test]
async fn a_change_of_what_was_not_read_is_refused() {
    let crm = crm().await;
    let field = declare(&crm, json!({"key": "size", "type": "text"})).await;
    let changed = || read(&json!({"type": "text", "label": "Size of shoes"}));
    crm.fields().update(&admin(), field.id, changed(), Some(1), false).await.unwrap();
    let late = crm.fields().update(&admin(), field.id, changed(), Some(1), false).await;
    assert!(matches!(late, Err(Error::VersionConflict { found: 2 })), "{late:?}");
    let late = crm.fields().archive(&admin(), field.id, Some(1)).await;
    assert!(matches!(late, Err(Error::VersionConflict { found: 2 })), "{late:?}");
}

#[tokio::test]
async fn what_is_done_to_a_field_is_noted_and_told() {
    let crm = crm().await;
    let field = declare(&crm, json!({"key": "size", "type": "text"})).await;
    update(&crm, field.id, json!({"type": "text", "required": true})).await.unwrap();
    update(&crm, field.id, json!({"type": "text", "required": true})).await.unwrap();
    crm.fields().archive(&admin(), field.id, None).await.unwrap();
    crm.fields().archive(&admin(), field.id, None).await.unwrap();
    update(&crm, field.id, json!({"type": "text"})).await.unwrap();
    crm.fields().purge(&admin(), field.id, None).await.unwrap();
    let query = Query::new(Filter::ALL, 20);
    let entries = crm.repo::<AuditEntry>().find(admin().scope(), &query).await.unwrap().records;
    let mut actions: Vec<&str> = entries.iter().map(|entry| entry.action.as_str()).collect();
    actions.sort_unstable();
    let all = ["field.archived", "field.created", "field.purged", "field.restored", "field.updated"];
    assert_eq!(actions, all);
    let updated = entries.iter().find(|entry| entry.action == "field.updated").unwrap();
    assert_eq!(updated.after.as_ref().unwrap().to_value(), json!({"required": true}));
    let events = crm.repo::<Event>().find(admin().scope(), &query).await.unwrap().records;
    let types = events.iter().map(|event| event.event_type.as_str());
    let mut told: Vec<&str> = types.filter(|event_type| *event_type != "job.succeeded").collect();
    told.sort_unstable();
    assert_eq!(told, all);
}

#[tokio::test]
async fn fields_are_listed_by_position() {
    let crm = crm().await;
    let first = declare(&crm, json!({"key": "b", "type": "text"})).await;
    let second = declare(&crm, json!({"key": "a", "type": "number"})).await;
    let third = declare(&crm, json!({"key": "c", "type": "text", "position": 0})).await;
    let list = async |pairs: &[(&str, &str)]| {
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let request = Fields::request(&pairs).unwrap();
        let found = crm.fields().list(&admin(), &request).await.unwrap();
        found.data.into_iter().map(|field| field.id).collect::<Vec<_>>()
    };
    assert_eq!(list(&[]).await, [third.id, first.id, second.id]);
    assert_eq!(list(&[("sort", "key"), ("type", "text")]).await, [first.id, third.id]);
    crm.fields().archive(&admin(), second.id, None).await.unwrap();
    assert_eq!(list(&[]).await, [third.id, first.id]);
    assert_eq!(list(&[("archived", "true")]).await, [second.id]);
    assert!(Fields::request(&[("colour".to_owned(), "red".to_owned())]).is_err());
}

#[tokio::test]
async fn a_set_at_hand_is_not_older_than_the_last_change_here() {
    let crm = crm().await;
    for number in 0..5 {
        declare(&crm, json!({"key": format!("f{number}"), "type": "text"})).await;
        let set = crm.fields().set(admin().organization, AppliesTo::Customer).await.unwrap();
        assert_eq!(set.live().count(), number + 1);
    }
    let one = crm.fields().set(admin().organization, AppliesTo::Customer).await.unwrap();
    let other = crm.fields().set(admin().organization, AppliesTo::Customer).await.unwrap();
    assert!(Arc::ptr_eq(&one, &other), "read once");
}

#[tokio::test]
async fn what_is_written_while_values_convert_is_kept() {
    let crm = crm().await;
    let field = declare(&crm, json!({"key": "size", "type": "number"})).await;
    let mut customers = Vec::new();
    for number in 0..300 {
        customers.push(customer(&crm, json!({"size": number})).await.unwrap().id);
    }
    let exact = "99999999999999.9999";
    let write = async {
        tokio::time::timeout(Duration::from_secs(20), async {
            for id in customers.iter().step_by(3) {
                let body = format!(r#"{{"custom":{{"size":{exact}}}}}"#);
                let raw = serde_json::value::RawValue::from_string(body).unwrap();
                let input = FromInput::from_input(&raw).unwrap();
                // Refused while the field is a number still.
                let _ = crm.customers().patch(&admin(), *id, input, WriteOptions::default()).await;
            }
        })
        .await
        .unwrap();
    };
    let (changed, ()) = tokio::join!(update(&crm, field.id, json!({"type": "money"})), write);
    assert!(!changed.unwrap().working);
    for (number, id) in customers.iter().enumerate() {
        let customer = crm.repo::<Customer>().get(admin().scope(), *id).await.unwrap().unwrap();
        let text = customer.custom.as_json().as_str().to_owned();
        assert!(text == format!(r#"{{"size":{number}}}"#) || text == format!(r#"{{"size":{exact}}}"#), "{text}");
    }
}

#[tokio::test]
async fn the_documented_field_is_a_field() {
    let crm = crm().await;
    let document = include_str!("../../../../docs/custom-fields.md");
    let examples: Vec<&str> = document.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let field = declare(&crm, serde_json::from_str(examples[0]).unwrap()).await;
    assert!(field.rules.required_if.is_some());
}
