//! Changes many customers, a chunk a commit.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    notes,
    record::{BulkChange, BulkChangeId, UNDOABLE, list},
};
use crate::{
    access::permissions,
    customer::{
        BatchError, BatchResult, BatchStatus, Customer, CustomerInput, CustomerPatches, Deed,
        ask::{Ask, ChunkOptions, WriteOptions},
        batch::CHUNK,
        chunk::Draft,
        write::{Answers, is_race},
    },
    error::{Error, Result},
    id::CustomerId,
    input::FromInput as _,
    job::{Job, JobContext, JobError, JobFailure, JobHandler, JobOutcome, JobPayload},
    operation::Operation,
    record::{ID, Record as _, UPDATED_AT},
    store::{Change, Filter, Position, Query, WhenUnmet},
};

/// The kind of these jobs.
pub(super) const KIND: &str = "customer_bulk_change";
/// The version of their input.
pub(super) const VERSION: i64 = 1;
/// So often is a part decided again when somebody else wrote meanwhile what it was decided on.
const ATTEMPTS: usize = 10;
/// At most so many wrong fields are listed of a customer.
const MOST_ERRORS: usize = 20;

/// What the job is given; what is to be changed is its payload.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(super) struct BulkInput {
    pub(super) allow_duplicate_phone: bool,
}

/// Does changes of many customers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BulkHandler;

#[async_trait]
impl JobHandler for BulkHandler {
    fn kind(&self) -> &'static str {
        KIND
    }

    async fn run(&self, context: &JobContext) -> Result<JobOutcome, JobFailure> {
        let (crm, by, job) = (context.crm(), context.by(), context.job());
        let change = crm.repo::<BulkChange>().get(by.scope(), BulkChangeId(job.id.0)).await?;
        let change = change.ok_or(Error::NotFound("bulk change"))?;
        if change.synchronous {
            // The process died that answered the request: what it wrote can be undone.
            return Ok(JobOutcome::Done(change.report()?));
        }
        by.may(permissions::CUSTOMERS_WRITE)?;
        if change.undo_job_id.is_some() {
            return Err(Error::InvalidState("The change was undone.".to_owned()).into());
        }
        let Some(payload) = JobPayload::of(crm, by, job.id).await? else {
            return Err(Error::InvalidState("What was to be changed is not kept any more.".to_owned()).into());
        };
        let payload: Box<RawValue> = serde_json::from_str(&payload.text).map_err(Error::internal)?;
        let patches = CustomerPatches::from_input(&payload).map_err(Error::Invalid)?;
        let BulkInput { allow_duplicate_phone } = context.input()?;
        let write = WriteOptions { allow_duplicate_phone, expected_version: None };
        let options = ChunkOptions { write, ..ChunkOptions::default() };
        let mut run = Run { context, change, options, total: None };
        match patches {
            CustomerPatches::Items(items) => run.named(items.into_iter().map(merge).collect()).await,
            CustomerPatches::Matching { filter, change, given, after } => {
                let filter = crm.customers().rule_filter(by, &filter, "filter").await?;
                run.options.entry = Some(("customer.batch_updated", given));
                run.options.only = Some(filter.clone());
                run.matching(filter, &change, after).await
            }
        }
    }

    fn ended(&self, job: &Job, operation: &mut Operation<'_>) {
        JobPayload::release(job, operation);
        let now = operation.now();
        operation.change(Change::UpdateWhere {
            collection: BulkChange::COLLECTION,
            filter: ID.equals(job.id.0),
            assignments: vec![BulkChange::undoable_until.set(now.plus(UNDOABLE)), UPDATED_AT.set(now)],
        });
    }

    fn may_be_replayed(&self, error: &JobError) -> bool {
        JobPayload::outlives(error)
    }

    fn replayed(&self, job: &Job, operation: &mut Operation<'_>) {
        JobPayload::keep(job, operation);
        // Nobody has begun to undo it.
        let untouched = BulkChange::undo_job_id.missing().and(BulkChange::closed.equals(false));
        let now = operation.now();
        operation.change(Change::Update {
            collection: BulkChange::COLLECTION,
            id: job.id.0,
            expected_version: None,
            condition: Some((untouched, WhenUnmet::Abort)),
            assignments: vec![BulkChange::undoable_until.set(None), UPDATED_AT.set(now)],
        });
    }

    fn dropped(&self, job: &Job, operation: &mut Operation<'_>) {
        JobPayload::discard(job, operation);
    }
}

/// What one item of a batch asks.
pub(crate) fn merge(item: Result<(CustomerId, CustomerInput), crate::error::FieldErrors>) -> Ask {
    item.map_or_else(Ask::Unreadable, |(id, change)| Ask::Merge(id, change))
}

struct Run<'a> {
    context: &'a JobContext,
    change: BulkChange,
    options: ChunkOptions,
    total: Option<u64>,
}

impl Run<'_> {
    /// Changes those that are named, in their order.
    async fn named(mut self, asks: Vec<Ask>) -> Result<JobOutcome, JobFailure> {
        self.total = Some(asks.len() as u64);
        loop {
            let done = usize::try_from(self.change.matched).unwrap_or(usize::MAX);
            let Some(left) = asks.get(done..).filter(|left| !left.is_empty()) else { break };
            if self.context.interruption().is_some() {
                return Ok(JobOutcome::Interrupted);
            }
            self.write(left.get(..CHUNK).unwrap_or(left)).await?;
        }
        Ok(JobOutcome::Done(self.change.report()?))
    }

    /// Changes those in sight that match, in the order of ids. One that does not match any more when it is written is
    /// left as it is.
    async fn matching(
        mut self,
        filter: Filter,
        change: &CustomerInput,
        after: Option<CustomerId>,
    ) -> Result<JobOutcome, JobFailure> {
        let (crm, by) = (self.context.crm(), self.context.by());
        let customers = crm.repo::<Customer>();
        let beyond = |place: Option<CustomerId>| place.map_or(Filter::ALL, |id| ID.greater_than(id.0));
        let begin = self.change.place.or(after);
        self.total = match self.context.job().progress.total {
            Some(total) => Some(total),
            None => {
                let left = customers.count_visible(by, filter.clone().and(beyond(begin))).await?;
                Some(left.saturating_add(u64::try_from(self.change.matched).unwrap_or(0)))
            }
        };
        loop {
            if self.context.interruption().is_some() {
                return Ok(JobOutcome::Interrupted);
            }
            let mut query = Query::new(filter.clone(), CHUNK);
            query.after = self.change.place.or(after).map(|id| Position::of_id(id.0));
            let found = customers.find_visible(by, query).await?;
            let asks: Vec<Ask> = found.records.iter().map(|customer| Ask::Merge(customer.id, change.clone())).collect();
            self.write(&asks).await?;
            if !found.has_more {
                break;
            }
        }
        Ok(JobOutcome::Done(self.change.report()?))
    }

    /// Writes a chunk; in halves where others keep changing somebody of it.
    async fn write(&mut self, asks: &[Ask]) -> Result<(), JobFailure> {
        let mut parts = vec![asks];
        while let Some(part) = parts.pop() {
            match self.write_part(part).await {
                Err(JobFailure::Failed(error)) if is_race(&error) => match part {
                    [one] => self.refuse(one, error).await?,
                    _ => {
                        let (first, second) = part.split_at(part.len() / 2);
                        parts.extend([second, first]);
                    }
                },
                done => done?,
            }
        }
        Ok(())
    }

    async fn write_part(&mut self, part: &[Ask]) -> Result<(), JobFailure> {
        if part.is_empty() {
            return Ok(());
        }
        let mut turn = self.context.crm().turns().join(self.context.by().organization.0).await;
        for _ in 1..ATTEMPTS {
            match self.try_write(part).await {
                Err(JobFailure::Failed(error)) if is_race(&error) => turn.wait().await,
                done => return done,
            }
        }
        self.try_write(part).await
    }

    async fn try_write(&mut self, part: &[Ask]) -> Result<(), JobFailure> {
        let (crm, by) = (self.context.crm(), self.context.by());
        let (mut drafts, answers, holders, settings) = crm.customers().decide_all(by, part, &self.options).await?;
        let mut operation = Operation::new(crm, by);
        crm.customers().put_down(by, &mut operation, &mut drafts, &holders, &settings, &self.options);
        let mut after = self.change.clone();
        if notes::note_down(crm, &mut operation, after.id, after.commits, &drafts)? > 0 {
            after.commits += 1;
        }
        let refused = count(&mut after, part, answers, &drafts);
        list(&mut after.refusals, &refused)?;
        self.commit(operation, part, after).await
    }

    /// Notes that one customer is not changed, because others keep changing it.
    async fn refuse(&mut self, ask: &Ask, error: Error) -> Result<(), JobFailure> {
        let operation = Operation::new(self.context.crm(), self.context.by());
        let mut after = self.change.clone();
        let refused = count(&mut after, std::slice::from_ref(ask), vec![Err(error)], &[]);
        list(&mut after.refusals, &refused)?;
        self.commit(operation, std::slice::from_ref(ask), after).await
    }

    async fn commit(
        &mut self,
        mut operation: Operation<'_>,
        part: &[Ask],
        mut after: BulkChange,
    ) -> Result<(), JobFailure> {
        if self.options.only.is_some() {
            after.place = part.last().and_then(Ask::id).or(after.place);
        }
        after.undoable_until = None;
        operation.update(&self.change, &mut after);
        let shown = self.context.progress();
        let done = u64::try_from(after.matched).unwrap_or(0);
        self.context.show(done, self.total.map(|total| total.max(done)), "customers", None);
        if let Err(failure) = self.context.checkpoint(operation).await {
            self.context.show(shown.done, shown.total, "customers", None);
            return Err(failure);
        }
        self.change = after;
        Ok(())
    }
}

/// Counts what became of the customers of a part; answers those refused.
fn count(after: &mut BulkChange, part: &[Ask], answers: Answers, drafts: &[Draft]) -> Vec<BatchResult> {
    let mut refused = Vec::new();
    for (ask, answer) in part.iter().zip(answers) {
        let index = usize::try_from(after.matched).unwrap_or(usize::MAX);
        after.matched += 1;
        match answer {
            Ok((place, deed)) => {
                let draft = drafts.get(place).map_or(Deed::Unchanged, |draft| draft.deed);
                if deed == Deed::Unchanged || draft == Deed::Unchanged {
                    after.unchanged += 1;
                } else {
                    after.updated += 1;
                }
            }
            Err(error) => {
                after.failed += 1;
                let mut error = BatchError::from(error);
                error.errors.truncate(MOST_ERRORS);
                let status = BatchStatus::Failed;
                refused.push(BatchResult { index, status, id: ask.id(), version: None, error: Some(error) });
            }
        }
    }
    refused
}
