//! Changes of many customers whose process dies where no story can make it die.

use std::{sync::Arc, time::Duration};

use serde_json::json;

use super::{BulkChange, BulkChangeId, Recording};
use crate::{
    Crm, Error,
    access::Principal,
    customer::{
        BatchOptions, Customer, CustomerInput, NewCustomer, WriteOptions,
        ask::{Ask, ChunkOptions},
    },
    id::{CustomerId, OrganizationId},
    input::{AsWritten, FromInput},
    job::{Job, JobId, JobPayload, JobState, runner},
    port::{Clock, ManualClock, SeededRandom},
    record::{ID, Record as _},
    store::{Change, Filter, memory::MemoryStore},
    time::Timestamp,
};

struct SharedClock(Arc<ManualClock>);

impl Clock for SharedClock {
    fn now(&self) -> Timestamp {
        self.0.now()
    }
}

async fn crm() -> (Crm, Arc<ManualClock>, Principal) {
    let clock = Arc::new(ManualClock::new("2026-01-31T09:30:00Z".parse().unwrap()));
    let crm = Crm::builder(Arc::new(MemoryStore::new())).clock(SharedClock(Arc::clone(&clock)));
    let crm = crm.random(SeededRandom::new(7)).build();
    crm.store().migrate(crate::crm::collections(), &|_, _, _| {}).await.unwrap();
    (crm, clock, Principal::system(OrganizationId(uuid::Uuid::from_u128(1))))
}

fn read<T: FromInput>(json: &serde_json::Value) -> T {
    T::from_json(json).unwrap()
}

async fn job(crm: &Crm, by: &Principal, id: JobId) -> Job {
    crm.jobs().get(by, id).await.unwrap()
}

#[tokio::test]
async fn a_request_that_died_leaves_a_change_that_can_be_undone() {
    let (crm, clock, by) = crm().await;
    let mut asks = Vec::new();
    for number in 0..150 {
        let new: NewCustomer = read(&json!({"name": format!("C{number}"), "visits": number}));
        let customer = crm.customers().create(&by, new, WriteOptions::default()).await.unwrap();
        asks.push(Ask::Merge(customer.id, read::<CustomerInput>(&json!({"visits": 1000}))));
    }
    let recording = Arc::new(Recording::begin(&crm, &by).unwrap());
    let options = ChunkOptions { recording: Some(recording), ..ChunkOptions::default() };
    crm.customers().write_chunks(&by, &asks, &options).await.unwrap();
    let change = crm.repo::<BulkChange>().first(by.scope(), Filter::ALL).await.unwrap().unwrap();
    let id = JobId(change.id.0);
    runner::run_due(&crm).await.unwrap();
    assert_eq!(job(&crm, &by, id).await.state, JobState::Running, "the request may go on");
    assert!(matches!(crm.customers().undo_batch(&by, id).await, Err(Error::InvalidState(_))));

    clock.advance(Duration::from_mins(6));
    runner::run_due(&crm).await.unwrap();
    let ended = job(&crm, &by, id).await;
    assert_eq!(ended.state, JobState::Succeeded);
    assert_eq!(ended.result.unwrap().to_value()["updated"], 150);
    let undo = crm.customers().undo_batch(&by, id).await.unwrap();
    runner::run_due(&crm).await.unwrap();
    assert_eq!(job(&crm, &by, undo.id).await.result.unwrap().to_value()["restored"], 150);
    let changed = crm.repo::<Customer>().count(by.scope(), &Customer::visits.equals(1000)).await.unwrap();
    assert_eq!(changed, 0);
    let change = crm.repo::<BulkChange>().get(by.scope(), BulkChangeId(id.0)).await.unwrap().unwrap();
    assert_eq!((change.undo_job_id, change.restored), (Some(undo.id), 150));
}

#[tokio::test]
async fn a_run_that_died_after_the_effect_is_not_made_again() {
    let (crm, _clock, by) = crm().await;
    let ann: AsWritten<NewCustomer> = read(&json!({"name": "Ann"}));
    let begun = crm.customers().create_later(&by, ann, false, WriteOptions::default()).await.unwrap();
    let payload = JobPayload::of(&crm, &by, begun.id).await.unwrap().unwrap();
    runner::run_due(&crm).await.unwrap();
    let ended = job(&crm, &by, begun.id).await;
    let result = ended.result.clone().unwrap().to_value();
    assert_eq!(JobPayload::of(&crm, &by, begun.id).await.unwrap(), None);
    let id: CustomerId = result["customer_id"].as_str().unwrap().parse().unwrap();
    assert_eq!(ended.record_id, Some(id.0));

    // As if the commit that ends the job had not been written.
    let left = JobPayload { text: String::new(), result: Some(result.to_string()), ..payload };
    let again = Change::UpdateWhere {
        collection: Job::COLLECTION,
        filter: ID.equals(begun.id.0),
        assignments: vec![Job::state.set(JobState::Queued), Job::due_at.set(crm.now()), Job::result.set(None)],
    };
    let insert = Change::Insert { collection: JobPayload::COLLECTION, rows: vec![left.to_row()] };
    crm.store().commit(by.scope(), vec![again, insert]).await.unwrap();
    runner::run_due(&crm).await.unwrap();
    let ended = job(&crm, &by, begun.id).await;
    assert_eq!((ended.state, ended.result.unwrap().to_value()), (JobState::Succeeded, result));
    assert_eq!(crm.repo::<Customer>().count(by.scope(), &Filter::ALL).await.unwrap(), 1);
}

#[tokio::test]
async fn an_organization_has_so_many_changes_waiting_and_no_more() {
    let (crm, _clock, by) = crm().await;
    let change = || read(&json!({"items": [{"id": CustomerId(by.organization.0), "visits": 1}]}));
    let begin = async |by: &Principal| crm.customers().patch_batch_later(by, change(), BatchOptions::default()).await;
    let first = begin(&by).await.unwrap();
    for _ in 1..100 {
        begin(&by).await.unwrap();
    }
    let refused = begin(&by).await.unwrap_err();
    assert!(matches!(&refused, Error::InvalidState(message) if message.starts_with("100 bulk jobs")), "{refused}");
    let other = Principal::system(OrganizationId(uuid::Uuid::from_u128(2)));
    begin(&other).await.unwrap();
    crm.jobs().cancel(&by, first.id).await.unwrap();
    begin(&by).await.unwrap();
    begin(&by).await.unwrap_err();
    runner::run_due(&crm).await.unwrap();
    begin(&by).await.unwrap();
}
