//! Takes an import back, part by part, the last one first.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    record::{CustomerImport, CustomerImportId, ImportPart, ImportState, RevertReport},
    service::IMPORT,
};
use crate::{
    access::permissions,
    customer::{
        ask::{Ask, ChunkOptions, WriteOptions},
        restoring::{Kept, Stored},
        undo::{Undo, fingerprint},
        write::is_race,
    },
    error::{Error, Result},
    id::CustomerId,
    job::{Job, JobContext, JobFailure, JobHandler, JobOutcome, JobState},
    operation::Operation,
    record::{ID, Record as _, UPDATED_AT},
    store::{Assignment, Change, Json, Query, WhenUnmet},
};

/// So often is a part decided again when somebody else wrote meanwhile what it was decided on.
const ATTEMPTS: usize = 10;

/// What the job is given.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct RevertInput {
    pub(super) import_id: CustomerImportId,
    pub(super) force: bool,
}

/// Takes imports back.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RevertHandler;

/// The kind of these jobs.
pub(super) const REVERT_KIND: &str = "customer_import_revert";

#[async_trait]
impl JobHandler for RevertHandler {
    fn kind(&self) -> &'static str {
        REVERT_KIND
    }

    async fn run(&self, context: &JobContext) -> Result<JobOutcome, JobFailure> {
        let (crm, by) = (context.crm(), context.by());
        by.may(permissions::CUSTOMERS_IMPORT)?;
        by.may(permissions::CUSTOMERS_WRITE)?;
        by.may(permissions::CUSTOMERS_DELETE)?;
        let RevertInput { import_id, force } = context.input()?;
        let import = crm.repo::<CustomerImport>().get(by.scope(), import_id).await?;
        let import = import.ok_or(Error::NotFound(IMPORT))?;
        let report = import.reverted.unwrap_or_default();
        let mut run = Run { context, import, report, force };
        loop {
            if context.interruption().is_some() {
                return Ok(JobOutcome::Interrupted);
            }
            let Some(part) = run.next().await? else { break };
            run.take_back(&part).await?;
        }
        Ok(JobOutcome::Done(json!(run.report)))
    }

    fn ended(&self, job: &Job, operation: &mut Operation<'_>) {
        let Some(id) = job.record_id else { return };
        // What is left can be taken back by asking again.
        let state = if job.state == JobState::Succeeded { ImportState::Reverted } else { ImportState::Cancelled };
        let now = operation.now();
        operation.change(Change::UpdateWhere {
            collection: CustomerImport::COLLECTION,
            filter: ID.equals(id),
            assignments: vec![
                CustomerImport::state.set(state),
                CustomerImport::error.set(job.error.clone()),
                UPDATED_AT.set(now),
            ],
        });
    }

    fn replayed(&self, job: &Job, operation: &mut Operation<'_>) {
        let Some(id) = job.record_id else { return };
        // Nobody has begun to take it back anew.
        let left =
            CustomerImport::state.equals(ImportState::Cancelled).and(CustomerImport::revert_job_id.equals(job.id));
        let now = operation.now();
        operation.change(Change::Update {
            collection: CustomerImport::COLLECTION,
            id,
            expected_version: None,
            condition: Some((left, WhenUnmet::Abort)),
            assignments: vec![
                CustomerImport::state.set(ImportState::Reverting),
                CustomerImport::error.set(None),
                UPDATED_AT.set(now),
            ],
        });
    }
}

struct Run<'a> {
    context: &'a JobContext,
    import: CustomerImport,
    report: RevertReport,
    force: bool,
}

impl Run<'_> {
    /// The last part that was written and not taken back yet.
    async fn next(&self) -> Result<Option<ImportPart>> {
        let left = ImportPart::import_id
            .equals(self.import.id)
            .and(ImportPart::done.equals(true))
            .and(ImportPart::reverted.equals(false));
        let query = Query::new(left, 1).sorted(vec![ImportPart::number.descending()]);
        let scope = self.context.by().scope();
        Ok(self.context.crm().repo::<ImportPart>().find(scope, &query).await?.records.pop())
    }

    async fn take_back(&mut self, part: &ImportPart) -> Result<(), JobFailure> {
        let mut turn = self.context.crm().turns().join(self.context.by().organization.0).await;
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.try_take_back(part).await {
                Err(JobFailure::Failed(error)) if attempt < ATTEMPTS && is_race(&error) => turn.wait().await,
                Err(JobFailure::Failed(error)) if is_race(&error) => {
                    let message = "Others keep changing the customers of the import.".to_owned();
                    return Err(Error::Unavailable { message, retry_after: std::time::Duration::from_secs(2) }.into());
                }
                done => return done,
            }
        }
    }

    async fn try_take_back(&mut self, part: &ImportPart) -> Result<(), JobFailure> {
        let (crm, by) = (self.context.crm(), self.context.by());
        let undo: Undo = serde_json::from_str(part.undo.as_str()).map_err(Error::internal)?;
        let ids: Vec<CustomerId> =
            undo.created.iter().map(|(id, _)| *id).chain(undo.updated.iter().map(|changed| changed.id)).collect();
        let stored = Stored::load(crm, by, &ids).await?;
        let fields = crm.customers().context(by).await?.fields;
        let mut report = self.report;
        let mut kept: Vec<Kept> = Vec::new();
        let mut asks = Vec::new();
        let live = |id: CustomerId| stored.get(id).filter(|customer| customer.deleted_at.is_none());
        for (id, made) in &undo.created {
            // Who is in the bin, or gone, is where the import leaves nobody.
            let Some(customer) = live(*id) else { continue };
            if self.force || fingerprint(customer) == *made {
                asks.push(Ask::Delete(*id));
            } else {
                kept.push(Kept::whole(*id, "was changed since"));
            }
        }
        for changed in undo.updated {
            let Some(customer) = live(changed.id) else {
                let is_there = stored.get(changed.id).is_some();
                kept.push(Kept::whole(changed.id, if is_there { "is in the bin" } else { "is gone" }));
                continue;
            };
            let (changed, stay) = changed.still_possible(&fields, part.meta.updated_at);
            let mut restored = changed.take_back(customer);
            restored.kept.extend(stay);
            if !restored.kept.is_empty() {
                let reason = "was changed since".to_owned();
                kept.push(Kept { id: changed.id, fields: restored.kept, reason });
            }
            if restored.differs {
                asks.push(Ask::Become(Box::new(restored.customer)));
            }
        }
        let options = ChunkOptions {
            write: WriteOptions { allow_duplicate_phone: true, expected_version: None },
            quiet: true,
            ..ChunkOptions::default()
        };
        let (mut operation, answers) = stored.decide(crm, by, &asks, &options).await?;
        let (mut deleted, mut restored) = (Vec::new(), Vec::new());
        for (ask, answer) in asks.iter().zip(&answers) {
            let Some(id) = ask.id() else { continue };
            match (ask, answer) {
                (Ask::Delete(_), Ok(_)) => deleted.push(id),
                (_, Ok(_)) => restored.push(id),
                (_, Err(error)) => kept.push(Kept::whole(id, error.to_string())),
            }
        }
        report.deleted += deleted.len() as u64;
        report.restored += restored.len() as u64;
        report.kept += kept.len() as u64;
        let now = operation.now();
        operation.change(Change::Update {
            collection: ImportPart::COLLECTION,
            id: part.id.0,
            expected_version: None,
            condition: Some((ImportPart::reverted.equals(false), WhenUnmet::Abort)),
            assignments: vec![
                ImportPart::reverted.set(true),
                ImportPart::kept.set(Json::from_trusted(serde_json::to_string(&kept).map_err(Error::internal)?)),
                UPDATED_AT.set(now),
            ],
        });
        operation.change(self.amend(vec![CustomerImport::reverted.set(report), UPDATED_AT.set(now)]));
        if !(deleted.is_empty() && restored.is_empty()) {
            let told = json!({
                "import_id": self.import.id, "part": part.number, "deleted": deleted, "restored": restored,
                "kept": kept,
            });
            operation.audit::<CustomerImport>("customers.import_reverted", self.import.id, None, Some(told.clone()));
            let version = self.import.parts.saturating_mul(2).saturating_sub(part.number).saturating_add(1);
            let kind = CustomerImport::COLLECTION.name;
            operation.emit_named("customers.import_reverted", kind, self.import.id.0, version, &told);
        }
        let parts = u64::try_from(self.import.parts_done).unwrap_or(0);
        let left = u64::try_from(part.number).unwrap_or(1).saturating_sub(1);
        self.context.show(parts.saturating_sub(left), Some(parts), "parts", None);
        self.context.checkpoint(operation).await?;
        self.report = report;
        Ok(())
    }

    fn amend(&self, assignments: Vec<Assignment>) -> Change {
        Change::Update {
            collection: CustomerImport::COLLECTION,
            id: self.import.id.0,
            expected_version: None,
            condition: None,
            assignments,
        }
    }
}
