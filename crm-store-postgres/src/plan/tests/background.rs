//! What the work beside requests asks again and again: which events are to be handed on, and which job is next. It looks at
//! little more than it takes, however much is done already.

use crm_core::{
    Crm,
    event::{Event, relay},
    job::{Job, runner},
    port::EventSink,
    record::Record as _,
    store::{
        Field,
        double::{Asked, Double, Recorder},
    },
};

use super::*;
use crate::write;

/// So much is done, and so much waits.
const DONE: u32 = 8_000;
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

/// A row whose other fields say nothing.
fn row(collection: &'static Collection, n: u32, said: impl Fn(&str) -> Option<Value>) -> Row {
    let value = |field: &Field| match field.name {
        "id" => {
            Value::Id(uuid::Builder::from_unix_timestamp_millis(1_700_000_000_000 + u64::from(n), &[7; 10]).into_uuid())
        }
        // Who looks for the jobs of others than those it runs some for passes over the waiting ones of these.
        "organization_id" => staff(n % 4 + 1),
        "created_at" | "updated_at" => instant(i64::from(n)),
        name => said(name).unwrap_or_else(|| match field.kind {
            _ if field.optional => Value::Null,
            FieldKind::Bool => Value::Bool(false),
            FieldKind::Integer => Value::Integer(1),
            FieldKind::Json => Value::Json(Json::from_trusted("{\"done\":0,\"total\":null,\"unit\":\"rows\"}")),
            FieldKind::Id => staff(n),
            _ => Value::Text("customer.created".to_owned()),
        }),
    };
    Row(collection.fields.iter().map(value).collect())
}

fn job(n: u32) -> Row {
    let waits = n >= DONE;
    let text = |text: &str| Some(Value::Text(text.to_owned()));
    row(Job::COLLECTION, n, |name| match name {
        "state" => text(if waits { "queued" } else { "succeeded" }),
        "priority" => text(["high", "normal", "low"][n as usize / 2 % 3]),
        "created_by_type" => text("system"),
        "due_at" => waits.then(|| instant(i64::from(n))),
        "max_attempts" => Some(Value::Integer(5)),
        "attempts" => Some(Value::Integer(0)),
        "finished_at" => (!waits).then(|| instant(i64::from(n))),
        _ => None,
    })
}

/// Some of those that wait are held back.
fn event(n: u32) -> Row {
    row(Event::COLLECTION, n, |name| match name {
        "published_at" => (n < DONE).then(|| instant(i64::from(n))),
        "held_by" => (n >= DONE && n.is_multiple_of(3)).then(|| staff(1)),
        "partition" => Some(Value::Integer(i64::from(n % 8))),
        _ => None,
    })
}

#[tokio::test]
async fn what_is_next_is_found_among_what_is_done() {
    let stage = stage().await;
    for (collection, make) in [(Job::COLLECTION, job as fn(u32) -> Row), (Event::COLLECTION, event)] {
        let rows = (0..DONE + WAITING).map(make).collect();
        stage.store.commit(Scope::Installation, vec![Change::Insert { collection, rows }]).await.unwrap();
    }
    let mut session = stage.store.pool.acquire().await.unwrap();
    session.run("VACUUM ANALYZE").await.unwrap();
    session.release();
    let recorder = Arc::new(Double(Recorder::new(Arc::clone(&stage.store))));
    let shared: crm_core::store::SharedStore = Arc::clone(&recorder) as _;
    let crm = Crm::builder(shared).event_sink(Sink).job_workers(2).build();
    assert!(relay::publish_pending(&crm).await.unwrap() > 0);
    runner::run(crm, async {}).await;

    let asked = recorder.take();
    let of = |collection: &Collection| asked.iter().filter(|asked| asked.collection.name == collection.name).count();
    assert!(of(Event::COLLECTION) >= 1 && of(Job::COLLECTION) >= 3, "{asked:#?}");
    for Asked { scope, collection, query, set } in asked {
        let statements = match &set {
            Some(set) => vec![
                write::claim(&stage.store.layouts, scope, collection, &query.filter, &query.sort, query.limit, set)
                    .unwrap(),
            ],
            None => page(&stage, scope, collection, &query),
        };
        let (mut examined, mut taken, mut plans) = (0, 0, String::new());
        for statement in statements {
            let (looked_at, rows, plan) = stage.examined(&statement).await;
            examined += looked_at;
            taken += rows;
            plans.push_str(&plan);
        }
        // A claim looks at each once more to write it.
        let most = 3 * i64::try_from(taken).unwrap() + EXAMINED;
        assert!(examined <= most, "{}: {examined} rows for {taken}\n{query:#?}\n{plans}", collection.name);
    }
}

fn page(stage: &Stage, scope: Scope, collection: &'static Collection, query: &Query) -> Vec<Statement> {
    let layout = stage.store.layouts.of(collection);
    let reading = Reading::new(&stage.store, &layout, scope, query, false).unwrap();
    let limited = |block| {
        let mut statement = reading.statement(block).unwrap();
        statement.push(&format!(" LIMIT {}", query.limit));
        statement
    };
    (0..reading.plan.blocks()).map(limited).collect()
}
