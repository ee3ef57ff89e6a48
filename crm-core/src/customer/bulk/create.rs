//! Creates a customer whom nobody waits for.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};

use crate::{
    access::permissions,
    customer::{
        NewCustomer,
        ask::{Ask, ChunkOptions, WriteOptions},
        write::is_race,
    },
    error::{Error, Result},
    id::CustomerId,
    input::FromInput as _,
    job::{Job, JobContext, JobError, JobFailure, JobHandler, JobOutcome, JobPayload},
    operation::Operation,
    record::{Record as _, UPDATED_AT},
    store::Change,
};

/// The kind of these jobs.
pub(super) const CREATE_KIND: &str = "customer_create";
/// So often is the customer decided again when somebody else wrote meanwhile what it was decided on.
const ATTEMPTS: usize = 10;

/// What the job is given; what is said of the customer is its payload.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(super) struct CreateInput {
    /// The id that the customer gets: a second run makes no second one.
    pub(super) customer_id: CustomerId,
    pub(super) upsert: bool,
    pub(super) allow_duplicate_phone: bool,
}

/// Creates customers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CreateHandler;

#[async_trait]
impl JobHandler for CreateHandler {
    fn kind(&self) -> &'static str {
        CREATE_KIND
    }

    async fn run(&self, context: &JobContext) -> Result<JobOutcome, JobFailure> {
        let (crm, by) = (context.crm(), context.by());
        by.may(permissions::CUSTOMERS_WRITE)?;
        let payload = JobPayload::of(crm, by, context.job().id).await?;
        let Some(payload) = payload else {
            return Err(Error::InvalidState("What was said of the customer is not kept any more.".to_owned()).into());
        };
        if let Some(result) = payload.result {
            return Ok(JobOutcome::Done(serde_json::from_str(&result).map_err(Error::internal)?));
        }
        let CreateInput { customer_id, upsert, allow_duplicate_phone } = context.input()?;
        let text: Box<RawValue> = serde_json::from_str(&payload.text).map_err(Error::internal)?;
        let NewCustomer(input) = NewCustomer::from_input(&text).map_err(Error::Invalid)?;
        let ask = if upsert { Ask::Upsert(input) } else { Ask::Create(input) };
        let options = ChunkOptions {
            write: WriteOptions { allow_duplicate_phone, expected_version: None },
            new_id: Some(customer_id),
            ..ChunkOptions::default()
        };
        let mut turn = crm.turns().join(by.organization.0).await;
        for _ in 1..ATTEMPTS {
            match create(context, &ask, &options).await {
                Err(JobFailure::Failed(error)) if is_race(&error) => turn.wait().await,
                done => return Ok(done??),
            }
        }
        Ok(create(context, &ask, &options).await??)
    }

    fn ended(&self, job: &Job, operation: &mut Operation<'_>) {
        JobPayload::release(job, operation);
    }

    fn may_be_replayed(&self, error: &JobError) -> bool {
        JobPayload::outlives(error)
    }

    fn replayed(&self, job: &Job, operation: &mut Operation<'_>) {
        JobPayload::keep(job, operation);
    }

    fn dropped(&self, job: &Job, operation: &mut Operation<'_>) {
        JobPayload::discard(job, operation);
    }
}

/// Outside, what went wrong with the commit; inside, why the customer is refused.
async fn create(context: &JobContext, ask: &Ask, options: &ChunkOptions) -> Result<Result<JobOutcome>, JobFailure> {
    let (crm, by) = (context.crm(), context.by());
    let asks = std::slice::from_ref(ask);
    let (mut drafts, mut answers, holders, settings) = crm.customers().decide_all(by, asks, options).await?;
    if let Some(Err(error)) = answers.pop() {
        return Ok(Err(error));
    }
    let Some(id) = drafts.first().map(|draft| draft.after.id) else { return Ok(Err(Error::NotFound("customer"))) };
    let result = json!({"customer_id": id});
    let mut operation = Operation::new(crm, by);
    crm.customers().put_down(by, &mut operation, &mut drafts, &holders, &settings, options);
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
    context.show(1, Some(1), "customers", None);
    context.checkpoint(operation).await?;
    Ok(Ok(JobOutcome::Done(result)))
}
