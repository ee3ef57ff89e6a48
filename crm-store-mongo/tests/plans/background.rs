//! What the work beside requests asks again and again: which events are to be handed on, and which job is next. It looks at
//! little more than it takes, however much is done already.

use std::sync::Arc;

use crm_core::{
    Crm,
    event::{Event, relay},
    job::{Job, runner},
    port::EventSink,
    store::{
        SharedStore,
        double::{Asked, Double, Recorder},
    },
};

use super::*;

/// So much is done, and so much waits.
const DONE: u32 = 2_400;
const WAITING: u32 = 600;

/// Takes every event.
#[derive(Debug)]
struct Sink;

#[crm_core::async_trait]
impl EventSink for Sink {
    async fn publish(&self, _: &[Event]) -> crm_core::Result<()> {
        Ok(())
    }
}

/// Who looks for the jobs of others than those it runs some for passes over the waiting ones of these.
fn tenant(number: u32) -> Value {
    Value::Id(Uuid::from_u128(u128::from(number % 4 + 1)))
}

fn job(number: u32) -> Row {
    let waits = number >= DONE;
    row(Job::COLLECTION, number, |name| match name {
        "organization_id" => Some(tenant(number)),
        "state" => Some(text(if waits { "queued" } else { "succeeded" })),
        "priority" => Some(text(["high", "normal", "low"][number as usize / 2 % 3])),
        "created_by_type" => Some(text("system")),
        "due_at" => waits.then(|| at(number)),
        "max_attempts" => Some(Value::Integer(5)),
        "attempts" => Some(Value::Integer(0)),
        "progress" => Some(Value::Json(Json::from_trusted("{\"done\":0,\"total\":null,\"unit\":\"rows\"}"))),
        "finished_at" => (!waits).then(|| at(number)),
        _ => None,
    })
}

/// Some of those that wait are held back.
fn event(number: u32) -> Row {
    row(Event::COLLECTION, number, |name| match name {
        "organization_id" => Some(tenant(number)),
        "published_at" => (number < DONE).then(|| at(number)),
        "held_by" => (number >= DONE && number.is_multiple_of(3)).then(|| Value::Id(id(1))),
        "partition" => Some(Value::Integer(i64::from(number % 8))),
        _ => None,
    })
}

#[tokio::test]
async fn what_is_next_is_found_among_what_is_done() {
    let server = Mongo::start_with(&["MONGOGW_ORDERED_INDEXES=1"]).unwrap_or_else(|error| panic!("{error}"));
    let store = Arc::new(MongoStore::connect(&server.url("background")).await.unwrap());
    store.migrate(collections(), &|_, _, _| {}).await.unwrap();
    let numbers: Vec<u32> = (0..DONE + WAITING).collect();
    for (collection, make) in [(Job::COLLECTION, job as fn(u32) -> Row), (Event::COLLECTION, event)] {
        for numbers in numbers.chunks(1_000) {
            let rows = numbers.iter().map(|number| make(*number)).collect();
            store.commit(Scope::Installation, vec![Change::Insert { collection, rows }]).await.unwrap();
        }
    }
    let recorder = Arc::new(Double(Recorder::new(Arc::clone(&store))));
    let shared: SharedStore = Arc::clone(&recorder) as _;
    let crm = Crm::builder(shared).event_sink(Sink).job_workers(2).build();
    assert!(relay::publish_pending(&crm).await.unwrap() > 0);
    runner::run(crm, async {}).await;

    let asked = recorder.take();
    let of = |collection: &Collection| asked.iter().filter(|asked| asked.collection.name == collection.name).count();
    assert!(of(Event::COLLECTION) >= 1 && of(Job::COLLECTION) >= 3, "{asked:#?}");
    for Asked { scope, collection, query, .. } in asked {
        let told = store.explain(scope, collection, &query).await.unwrap();
        let (read, _) = examined(&told);
        let most = 5 * i64::try_from(query.limit.clamp(LIMIT, WAITING as usize)).unwrap();
        let stages = stages(&told);
        assert!(read <= most && !stages.contains("COLLSCAN"), "{}: {read} read\n{query:#?}\n{stages}", collection.name);
    }
}
