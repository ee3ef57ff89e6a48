//! Undoes a change of many customers, the last commit first.

use std::collections::BTreeSet;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::record::{BulkChange, BulkChangeId, BulkNote, list};
use crate::{
    access::permissions,
    customer::{
        ask::{Ask, ChunkOptions, WriteOptions},
        batch::CHUNK,
        restoring::{Kept, Stored},
        undo::Changed,
        write::is_race,
    },
    error::{Error, Result},
    id::CustomerId,
    job::{Job, JobContext, JobFailure, JobHandler, JobId, JobOutcome, JobState},
    operation::Operation,
    record::{ID, Record as _, UPDATED_AT},
    store::{Change, Query, WhenUnmet},
};

/// The kind of these jobs.
pub(super) const UNDO_KIND: &str = "customer_bulk_undo";
/// So often is a part decided again when somebody else wrote meanwhile what it was decided on.
const ATTEMPTS: usize = 10;

/// What the job is given.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(super) struct UndoInput {
    /// The job to be undone.
    pub(super) job_id: JobId,
}

/// Undoes changes of many customers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BulkUndoHandler;

#[async_trait]
impl JobHandler for BulkUndoHandler {
    fn kind(&self) -> &'static str {
        UNDO_KIND
    }

    async fn run(&self, context: &JobContext) -> Result<JobOutcome, JobFailure> {
        let (crm, by) = (context.crm(), context.by());
        by.may(permissions::CUSTOMERS_WRITE)?;
        let UndoInput { job_id } = context.input()?;
        let change = crm.repo::<BulkChange>().get(by.scope(), BulkChangeId(job_id.0)).await?;
        let change = change.filter(|change| change.undo_job_id == Some(context.job().id));
        let Some(change) = change else {
            return Err(
                Error::InvalidState("This attempt to undo the change has ended: ask for it again.".to_owned()).into()
            );
        };
        let mut run = Run { context, change };
        loop {
            if context.interruption().is_some() {
                return Ok(JobOutcome::Interrupted);
            }
            let notes = run.next().await?;
            if notes.is_empty() {
                return Ok(JobOutcome::Done(run.change.undo_report()?));
            }
            run.take_back(&notes).await?;
        }
    }

    fn ended(&self, job: &Job, operation: &mut Operation<'_>) {
        let Some(id) = job.record_id.filter(|_| job.state != JobState::Succeeded) else { return };
        // What is left can be undone by asking again.
        let now = operation.now();
        operation.change(Change::UpdateWhere {
            collection: BulkChange::COLLECTION,
            filter: ID.equals(id).and(BulkChange::undo_job_id.equals(Some(job.id))),
            assignments: vec![BulkChange::undo_job_id.set(None), UPDATED_AT.set(now)],
        });
    }

    fn replayed(&self, job: &Job, operation: &mut Operation<'_>) {
        let Some(id) = job.record_id else { return };
        // Nobody has begun to undo it anew.
        let left = BulkChange::undo_job_id.missing().and(BulkChange::closed.equals(false));
        let now = operation.now();
        operation.change(Change::Update {
            collection: BulkChange::COLLECTION,
            id,
            expected_version: None,
            condition: Some((left, WhenUnmet::Abort)),
            assignments: vec![BulkChange::undo_job_id.set(job.id), UPDATED_AT.set(now)],
        });
    }
}

struct Run<'a> {
    context: &'a JobContext,
    change: BulkChange,
}

impl Run<'_> {
    /// The notes of the last commit that are left, a chunk of them.
    async fn next(&self) -> Result<Vec<BulkNote>> {
        let query = Query::new(BulkNote::change_id.equals(self.change.id), CHUNK);
        let query = query.sorted(vec![BulkNote::number.descending()]);
        let scope = self.context.by().scope();
        let mut notes = self.context.crm().repo::<BulkNote>().find(scope, &query).await?.records;
        let last = notes.first().map(|note| note.number);
        // An earlier commit may have changed the same customers.
        notes.retain(|note| Some(note.number) == last);
        Ok(notes)
    }

    /// Takes back a chunk; in halves where others keep changing somebody of it.
    async fn take_back(&mut self, notes: &[BulkNote]) -> Result<(), JobFailure> {
        let mut parts = vec![notes];
        while let Some(part) = parts.pop() {
            match self.take_part_back(part).await {
                Err(JobFailure::Failed(error)) if is_race(&error) => match part {
                    [one] => {
                        let skipped = Kept::whole(one.customer_id, "is being changed by others again and again");
                        let operation = Operation::new(self.context.crm(), self.context.by());
                        self.commit(operation, part, &BTreeSet::new(), &[skipped]).await?;
                    }
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

    async fn take_part_back(&mut self, part: &[BulkNote]) -> Result<(), JobFailure> {
        let mut turn = self.context.crm().turns().join(self.context.by().organization.0).await;
        for _ in 1..ATTEMPTS {
            match self.try_take_back(part).await {
                Err(JobFailure::Failed(error)) if is_race(&error) => turn.wait().await,
                done => return done,
            }
        }
        self.try_take_back(part).await
    }

    async fn try_take_back(&mut self, part: &[BulkNote]) -> Result<(), JobFailure> {
        let (crm, by) = (self.context.crm(), self.context.by());
        let ids: Vec<CustomerId> = part.iter().map(|note| note.customer_id).collect();
        let stored = Stored::load(crm, by, &ids).await?;
        let fields = crm.customers().context(by).await?.fields;
        let mut skipped = Vec::new();
        let mut asks = Vec::new();
        for note in part {
            let id = note.customer_id;
            let customer = match stored.get(id) {
                Some(customer) if !customer.is_reached_by(by) => {
                    skipped.push(Kept::whole(id, "is out of sight"));
                    continue;
                }
                Some(customer) if customer.deleted_at.is_some() => {
                    skipped.push(Kept::whole(id, "is in the bin"));
                    continue;
                }
                Some(customer) => customer,
                None => {
                    skipped.push(Kept::whole(id, "is gone"));
                    continue;
                }
            };
            let changed: Changed = serde_json::from_str(&note.fields).map_err(Error::internal)?;
            let (changed, stay) = changed.still_possible(&fields, note.meta.created_at);
            let restored = changed.take_back(customer);
            for (fields, reason) in [(restored.kept, "was changed since"), (stay, "is no such field any more")] {
                if !fields.is_empty() {
                    skipped.push(Kept { id, fields, reason: reason.to_owned() });
                }
            }
            if restored.differs {
                asks.push(Ask::Become(Box::new(restored.customer)));
            }
        }
        let options = ChunkOptions {
            write: WriteOptions { allow_duplicate_phone: true, expected_version: None },
            entry: Some(("customer.batch_undone", json!({"job_id": self.change.id}))),
            ..ChunkOptions::default()
        };
        let (operation, answers) = stored.decide(crm, by, &asks, &options).await?;
        let mut restored = BTreeSet::new();
        for (ask, answer) in asks.iter().zip(answers) {
            let Some(id) = ask.id() else { continue };
            match answer {
                Ok(_) => {
                    restored.insert(id);
                }
                Err(error) => skipped.push(Kept::whole(id, error.to_string())),
            }
        }
        self.commit(operation, part, &restored, &skipped).await
    }

    async fn commit(
        &mut self,
        mut operation: Operation<'_>,
        part: &[BulkNote],
        restored: &BTreeSet<CustomerId>,
        skipped: &[Kept],
    ) -> Result<(), JobFailure> {
        let mut after = self.change.clone();
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let each: BTreeSet<CustomerId> = skipped.iter().map(|skipped| skipped.id).collect();
        after.restored += count(restored.len());
        after.skipped += count(each.len());
        list(&mut after.skipped_customers, skipped)?;
        operation.change(Change::DeleteWhere {
            collection: BulkNote::COLLECTION,
            filter: ID.one_of(part.iter().map(|note| note.id.0)),
        });
        // The version moves on with every part: of two runs, one fails.
        operation.update(&self.change, &mut after);
        let shown = self.context.progress();
        self.context.show(shown.done.saturating_add(part.len() as u64), shown.total, "customers", None);
        if let Err(failure) = self.context.checkpoint(operation).await {
            self.context.show(shown.done, shown.total, "customers", None);
            return Err(failure);
        }
        self.change = after;
        Ok(())
    }
}
