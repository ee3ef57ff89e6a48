//! Orders that nobody waits for.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};

use super::{
    NewOrder, Order, OrderId, Orders,
    write::{Ask, Plan},
};
use crate::{
    access::{Principal, permissions},
    error::{Error, Result},
    input::{AsWritten, FromInput as _},
    job::{Job, JobContext, JobFailure, JobHandler, JobOutcome, JobPayload, JobPriority, JobProgress, NewJob},
    operation::Operation,
    record::{Record as _, UPDATED_AT},
    store::Change,
};

/// The kind of these jobs.
const KIND: &str = "order_create";
/// The version of their input.
const VERSION: i64 = 1;
/// So often is the order decided again when somebody else wrote meanwhile what it was decided on.
const ATTEMPTS: usize = 10;

/// What the job is given; what is said of the order is its payload.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct CreateInput {
    /// The id that the order gets: a second run makes no second one.
    order_id: OrderId,
}

impl Orders<'_> {
    /// Takes an order in by a job that is begun now: its result is `{"order_id": …}`. What is wrong with it is told at
    /// once.
    ///
    /// # Errors
    /// Those of [`Orders::create`].
    pub async fn create_later(&self, by: &Principal, new: AsWritten<NewOrder>) -> Result<Job> {
        by.may(permissions::ORDERS_WRITE)?;
        let AsWritten { value: NewOrder(input), text } = new;
        let mut decided = self.decide_all(by, &[Ask::Ingest(input)], Plan { new_id: None, looks: true }).await?;
        if let Some(refusal) = decided.refusal() {
            return Err(refusal);
        }
        let mut operation = Operation::new(self.crm, by);
        let order_id: OrderId = self.crm.new_id_at(operation.now());
        let new = NewJob {
            kind: KIND,
            version: VERSION,
            input: CreateInput { order_id },
            priority: JobPriority::High,
            about: Some((Order::COLLECTION.name, order_id.0)),
            progress: JobProgress { total: Some(1), unit: "orders".to_owned(), ..JobProgress::default() },
        };
        let job = self.crm.jobs().enqueue(by, &mut operation, new)?;
        operation.insert(&JobPayload::new(&job, text.get().to_owned()));
        operation.audit::<Job>("order.create_started", job.id, None, None);
        operation.commit().await?;
        Ok(job)
    }
}

/// Takes orders in.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OrderHandler;

#[async_trait]
impl JobHandler for OrderHandler {
    fn kind(&self) -> &'static str {
        KIND
    }

    async fn run(&self, context: &JobContext) -> Result<JobOutcome, JobFailure> {
        let (crm, by) = (context.crm(), context.by());
        by.may(permissions::ORDERS_WRITE)?;
        let payload = JobPayload::of(crm, by, context.job().id).await?;
        let Some(payload) = payload else {
            return Err(Error::InvalidState("What was said of the order is not kept any more.".to_owned()).into());
        };
        if let Some(result) = payload.result {
            return Ok(JobOutcome::Done(serde_json::from_str(&result).map_err(Error::internal)?));
        }
        let CreateInput { order_id } = context.input()?;
        let text: Box<RawValue> = serde_json::from_str(&payload.text).map_err(Error::internal)?;
        let NewOrder(input) = NewOrder::from_input(&text).map_err(Error::Invalid)?;
        let customer = input.customer_id.value().map_or(by.organization.0, |id| id.0);
        let ask = Ask::Ingest(input);
        let mut turn = crm.turns().join(customer).await;
        for _ in 1..ATTEMPTS {
            match create(context, &ask, order_id).await {
                Err(JobFailure::Failed(error)) if is_race(&error) => turn.wait().await,
                done => return Ok(done??),
            }
        }
        Ok(create(context, &ask, order_id).await??)
    }

    fn ended(&self, job: &Job, operation: &mut Operation<'_>) {
        JobPayload::release(job, operation);
    }

    fn replayed(&self, job: &Job, operation: &mut Operation<'_>) {
        JobPayload::keep(job, operation);
    }

    fn dropped(&self, job: &Job, operation: &mut Operation<'_>) {
        JobPayload::discard(job, operation);
    }
}

/// Outside, what went wrong with the commit; inside, why the order is refused.
async fn create(context: &JobContext, ask: &Ask, id: OrderId) -> Result<Result<JobOutcome>, JobFailure> {
    let (crm, by) = (context.crm(), context.by());
    let orders = crm.orders();
    let mut decided = orders.decide_all(by, std::slice::from_ref(ask), Plan { new_id: Some(id), looks: true }).await?;
    if let Some(refusal) = decided.refusal() {
        return Ok(Err(refusal));
    }
    let Some(id) = decided.only().map(|order| order.id) else { return Ok(Err(Error::NotFound("order"))) };
    let result = json!({"order_id": id});
    let mut operation = Operation::new(crm, by);
    orders.put_down(by, &mut operation, &mut decided).await?;
    let now = operation.now();
    operation.change(Change::Update {
        collection: JobPayload::COLLECTION,
        id: context.job().id.0,
        expected_version: None,
        condition: None,
        assignments: vec![
            JobPayload::text.set(String::new()),
            JobPayload::result.set(result.to_string()),
            UPDATED_AT.set(now),
        ],
    });
    context.show(1, Some(1), "orders", None);
    context.checkpoint(operation).await?;
    Ok(Ok(JobOutcome::Done(result)))
}

/// Whether what the order was decided on has changed meanwhile.
const fn is_race(error: &Error) -> bool {
    matches!(error, Error::Duplicate { .. } | Error::VersionConflict { .. } | Error::NotFound(_) | Error::Conflict(_))
}
