//! Reads the parts of an import, one after the other: the next is prepared while one is being written.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::task::JoinHandle;

use super::{
    lookup::{Lookup, Names},
    outcome::{Asked, PartOutcome, RowText},
    plan::{FindsBy, Plan},
    record::{CustomerImport, CustomerImportId, ImportMode, ImportPart, ImportState},
    row,
    seen::Seen,
    service::IMPORT,
};
use crate::{
    access::{Principal, permissions},
    crm::Crm,
    customer::{
        ContactKey, ContactKind, CustomerInput, Customers,
        ask::{Ask, ChunkOptions, RowAsk, Sought, WriteOptions},
        write::is_race,
    },
    error::{Error, FieldErrors, Result},
    field::ValueContext,
    import_file::{Format, Part, RecordError, records},
    job::{Job, JobContext, JobFailure, JobHandler, JobOutcome, JobState},
    operation::Operation,
    record::{ID, Record as _, UPDATED_AT},
    store::{Assignment, Change, Query, StoreError, WhenUnmet},
};

/// So often is a part decided again when somebody else wrote meanwhile what it was decided on.
const ATTEMPTS: usize = 10;

/// What the job is given.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct ImportInput {
    pub(super) import_id: CustomerImportId,
}

/// Does imports of customers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ImportHandler;

/// The kind of these jobs.
pub(super) const KIND: &str = "customer_import";

#[async_trait]
impl JobHandler for ImportHandler {
    fn kind(&self) -> &'static str {
        KIND
    }

    async fn run(&self, context: &JobContext) -> Result<JobOutcome, JobFailure> {
        let (crm, by) = (context.crm(), context.by());
        by.may(permissions::CUSTOMERS_IMPORT)?;
        by.may(permissions::CUSTOMERS_WRITE)?;
        let input: ImportInput = context.input()?;
        let import = crm.repo::<CustomerImport>().get(by.scope(), input.import_id).await?;
        let import = import.ok_or(Error::NotFound(IMPORT))?;
        Run { context, import, seen: Seen::default() }.run().await
    }

    fn ended(&self, job: &Job, operation: &mut Operation<'_>) {
        let Some(id) = job.record_id else { return };
        let state = match job.state {
            JobState::Succeeded => ImportState::Succeeded,
            JobState::Cancelled => ImportState::Cancelled,
            _ => ImportState::Failed,
        };
        let now = operation.now();
        operation.change(Change::UpdateWhere {
            collection: CustomerImport::COLLECTION,
            filter: ID.equals(id),
            assignments: vec![
                CustomerImport::state.set(state),
                CustomerImport::error.set(job.error.clone()),
                CustomerImport::finished_at.set(now),
                CustomerImport::revertible_until.set(now.plus(super::cleaning::KEPT)),
                UPDATED_AT.set(now),
            ],
        });
        // A failed one may be replayed, and reads on where it stopped.
        if job.state == JobState::Failed {
            return;
        }
        // With the end, not before: a run that dies just short of it is made again, a dry run from its first row.
        operation.change(without_rows(CustomerImportId(id)));
    }

    fn replayed(&self, job: &Job, operation: &mut Operation<'_>) {
        let Some(id) = job.record_id else { return };
        let now = operation.now();
        operation.change(Change::Update {
            collection: CustomerImport::COLLECTION,
            id,
            expected_version: None,
            condition: Some((CustomerImport::state.equals(ImportState::Failed), WhenUnmet::Abort)),
            assignments: vec![
                CustomerImport::state.set(ImportState::Queued),
                CustomerImport::error.set(None),
                CustomerImport::finished_at.set(None),
                CustomerImport::revertible_until.set(None),
                UPDATED_AT.set(now),
            ],
        });
    }

    fn dropped(&self, job: &Job, operation: &mut Operation<'_>) {
        if let Some(id) = job.record_id {
            operation.change(without_rows(CustomerImportId(id)));
        }
    }
}

/// Erases the rows of the file that were not refused.
fn without_rows(id: CustomerImportId) -> Change {
    Change::UpdateWhere {
        collection: ImportPart::COLLECTION,
        filter: ImportPart::import_id.equals(id).and(ImportPart::text.equals(String::new()).negated()),
        assignments: vec![ImportPart::text.set(String::new())],
    }
}

/// A part, read and ready to be decided.
struct Prepared {
    part: ImportPart,
    rows: Vec<RowText>,
    asks: Vec<Ask>,
}

struct Run<'a> {
    context: &'a JobContext,
    import: CustomerImport,
    seen: Seen,
}

impl Run<'_> {
    async fn run(mut self) -> Result<JobOutcome, JobFailure> {
        self.begin().await?;
        let mut next = self.prepare(self.import.parts_done + 1).await?;
        while let Some(coming) = next {
            if self.context.interruption().is_some() {
                coming.abort();
                return Ok(JobOutcome::Interrupted);
            }
            let prepared = coming.await.map_err(|error| JobFailure::Failed(Error::internal(error)))??;
            next = self.prepare(prepared.part.number + 1).await?;
            if let Err(failure) = self.write(prepared).await {
                if let Some(next) = next {
                    next.abort();
                }
                return Err(failure);
            }
        }
        let import = &self.import;
        Ok(JobOutcome::Done(json!({
            "rows_read": import.rows_read, "created": import.created, "updated": import.updated,
            "unchanged": import.unchanged, "skipped": import.skipped, "failed": import.failed,
            "dry_run": import.dry_run,
        })))
    }

    /// Notes that rows are being read. A dry run begins anew, for what its rows took is nowhere written.
    async fn begin(&mut self) -> Result<(), JobFailure> {
        let by = self.context.by();
        let mut operation = Operation::new(self.context.crm(), by);
        let now = operation.now();
        let mut assignments = vec![
            CustomerImport::state.set(ImportState::Running),
            CustomerImport::started_at.set(self.import.started_at.unwrap_or(now)),
            UPDATED_AT.set(now),
        ];
        if self.import.dry_run && self.import.parts_done > 0 {
            let import = &mut self.import;
            (import.rows_read, import.created, import.updated) = (0, 0, 0);
            (import.unchanged, import.skipped, import.failed, import.parts_done) = (0, 0, 0, 0);
            assignments.extend(counted(&self.import));
            operation.change(Change::UpdateWhere {
                collection: ImportPart::COLLECTION,
                filter: ImportPart::import_id.equals(self.import.id).and(ImportPart::done.equals(true)),
                assignments: vec![ImportPart::done.set(false), ImportPart::failed.set(0_i64)],
            });
        }
        operation.change(self.amend(assignments));
        self.show();
        // Having begun is no progress: a part that ends every run must not be tried for ever.
        self.context.note(operation).await.map(|_| ())
    }

    /// Begins to read a part, where there is one. The plan is made for each anew: fields may change meanwhile.
    async fn prepare(&self, number: i64) -> Result<Option<JoinHandle<Result<Prepared>>>> {
        if number > self.import.parts {
            return Ok(None);
        }
        let (crm, by) = (self.context.crm().clone(), self.context.by().clone());
        let context = crm.customers().context(&by).await?;
        let zone = super::service::time_zone(&crm, &by).await?;
        let plan = Arc::new(Plan::new(&self.import, &context, zone)?);
        let value_context = ValueContext { now: crm.now(), country: context.country };
        let id = self.import.id;
        Ok(Some(tokio::spawn(async move {
            let part = load(&crm, &by, id, number).await?;
            let text = text_of(&part);
            let lookup = if Names::matter_to(&plan) || plan.format == Format::Ndjson {
                Lookup::of(&crm, &by, names(&plan, &text)).await?
            } else {
                Lookup::default()
            };
            let ask = move || {
                let (rows, asks) = read(&plan, &text, &lookup, &context, &value_context);
                Prepared { part, rows, asks }
            };
            tokio::task::spawn_blocking(ask).await.map_err(Error::internal)
        })))
    }

    /// Writes a part, or what would have come of it, in one commit.
    async fn write(&mut self, prepared: Prepared) -> Result<(), JobFailure> {
        let (crm, by) = (self.context.crm(), self.context.by());
        let mut turn = crm.turns().join(by.organization.0).await;
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.try_write(&prepared).await {
                Err(JobFailure::Failed(error)) if attempt < ATTEMPTS && is_race(&error) => turn.wait().await,
                // Others are faster again and again: later there may be a moment.
                Err(JobFailure::Failed(error)) if is_race(&error) => {
                    let message = format!(
                        "Others keep changing the customers of the rows from line {}.",
                        prepared.part.first_line
                    );
                    tracing::warn!(error = &error as &dyn std::error::Error, "a part of an import lost every race");
                    return Err(Error::Unavailable { message, retry_after: std::time::Duration::from_secs(2) }.into());
                }
                done => return done,
            }
        }
    }

    async fn try_write(&mut self, prepared: &Prepared) -> Result<(), JobFailure> {
        let (crm, by) = (self.context.crm(), self.context.by());
        let settings: super::settings::ImportSettings =
            serde_json::from_str(self.import.settings.as_str()).map_err(Error::internal)?;
        let options = ChunkOptions {
            write: WriteOptions { allow_duplicate_phone: settings.allow_duplicate_phone, expected_version: None },
            quiet: true,
            ..ChunkOptions::default()
        };
        let customers: Customers<'_> = crm.customers();
        let (mut drafts, answers, holders, context) = customers.decide_all(by, &prepared.asks, &options).await?;
        let mut operation = Operation::new(crm, by);
        if !self.import.dry_run {
            customers.put_down(by, &mut operation, &mut drafts, &holders, &context, &options);
        }
        let seen = self.import.dry_run.then_some(&self.seen);
        let asked = Asked { rows: &prepared.rows, mode: self.import.mode, skip_duplicates: settings.skip_duplicates };
        let outcome = PartOutcome::of(&asked, &answers, &drafts, &context.fields, seen);
        let mut after = self.import.clone();
        outcome.counts.add_to(&mut after);
        after.parts_done = prepared.part.number;
        self.note(&mut operation, &prepared.part, &outcome, &after)?;
        let before = std::mem::replace(&mut self.import, after);
        self.show();
        // A dry run keeps nothing from one run to the next.
        let written = if self.import.dry_run {
            self.context.note(operation).await
        } else {
            self.context.checkpoint(operation).await
        };
        if let Err(failure) = written {
            self.import = before;
            self.show();
            return Err(failure);
        }
        if self.import.dry_run {
            for (row, answer) in prepared.rows.iter().zip(&answers) {
                let draft = answer.as_ref().ok().and_then(|(place, _)| drafts.get(*place));
                let Some(draft) = draft else { continue };
                for key in draft.after.held_keys() {
                    self.seen.take(&key, row.line);
                }
                for value in context.fields.unique_values(&draft.after.custom) {
                    self.seen.take(&value, row.line);
                }
            }
        }
        Ok(())
    }

    /// What the commit of a part says besides the customers themselves.
    fn note(
        &self,
        operation: &mut Operation<'_>,
        part: &ImportPart,
        outcome: &PartOutcome,
        after: &CustomerImport,
    ) -> Result<()> {
        let now = operation.now();
        let mut assignments = vec![
            ImportPart::done.set(true),
            ImportPart::errors.set(outcome.refused_json()?),
            ImportPart::failed.set(outcome.counts.failed),
            UPDATED_AT.set(now),
        ];
        if !self.import.dry_run {
            assignments.extend([ImportPart::text.set(String::new()), ImportPart::undo.set(outcome.undo_json()?)]);
        }
        operation.change(Change::Update {
            collection: ImportPart::COLLECTION,
            id: part.id.0,
            expected_version: None,
            condition: Some((ImportPart::done.equals(false), WhenUnmet::Abort)),
            assignments,
        });
        operation.change(self.amend(counted(after).into_iter().chain([UPDATED_AT.set(now)]).collect()));
        let wrote = !outcome.created.is_empty() || !outcome.updated.is_empty();
        if wrote && !self.import.dry_run {
            let told = json!({
                "import_id": after.id, "part": part.number, "first_line": part.first_line,
                "created": outcome.created, "updated": outcome.updated,
            });
            operation.audit::<CustomerImport>("customers.imported", after.id, None, Some(told.clone()));
            let version = part.number;
            operation.emit_named("customers.imported", CustomerImport::COLLECTION.name, after.id.0, version, &told);
        }
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

    fn show(&self) {
        let unsigned = |count: i64| u64::try_from(count).unwrap_or(0);
        let message = self.import.dry_run.then_some("dry run");
        self.context.show(unsigned(self.import.rows_read), Some(unsigned(self.import.rows_total)), "rows", message);
    }
}

fn counted(import: &CustomerImport) -> Vec<Assignment> {
    vec![
        CustomerImport::rows_read.set(import.rows_read),
        CustomerImport::created.set(import.created),
        CustomerImport::updated.set(import.updated),
        CustomerImport::unchanged.set(import.unchanged),
        CustomerImport::skipped.set(import.skipped),
        CustomerImport::failed.set(import.failed),
        CustomerImport::parts_done.set(import.parts_done),
    ]
}

async fn load(crm: &Crm, by: &Principal, id: CustomerImportId, number: i64) -> Result<ImportPart> {
    let this = ImportPart::import_id.equals(id).and(ImportPart::number.equals(number));
    let found = crm.repo::<ImportPart>().find(by.scope(), &Query::new(this, 1)).await?.records.pop();
    found.ok_or_else(|| Error::internal(StoreError::NotFound { collection: ImportPart::COLLECTION.name, id: id.0 }))
}

fn text_of(part: &ImportPart) -> Part {
    Part {
        number: u32::try_from(part.number).unwrap_or(u32::MAX),
        first_line: u64::try_from(part.first_line).unwrap_or(1),
        records: usize::try_from(part.rows).unwrap_or(0),
        text: part.text.clone(),
    }
}

fn names(plan: &Plan, part: &Part) -> Names {
    let mut names = Names::default();
    for record in records(part, plan.format, plan.columns.len()) {
        if let Ok(content) = &record.content {
            names.take(plan, content);
        }
    }
    names
}

/// What the rows of a part ask.
fn read(
    plan: &Plan,
    part: &Part,
    lookup: &Lookup,
    context: &crate::customer::service::Context,
    value_context: &ValueContext,
) -> (Vec<RowText>, Vec<Ask>) {
    let (mut rows, mut asks) = (Vec::with_capacity(part.records), Vec::with_capacity(part.records));
    for record in records(part, plan.format, plan.columns.len()) {
        rows.push(RowText { line: record.line, text: record.text.to_owned() });
        asks.push(match &record.content {
            Err(error) => Ask::Unreadable(unreadable(error)),
            Ok(content) => ask(plan, row::read(plan, content, lookup), context, value_context),
        });
    }
    (rows, asks)
}

fn unreadable(error: &RecordError) -> FieldErrors {
    FieldErrors::one("", error.code(), error.to_string())
}

fn ask(plan: &Plan, said: row::Said, context: &crate::customer::service::Context, value_context: &ValueContext) -> Ask {
    if plan.mode == ImportMode::Create {
        return Ask::Create(said.with_defaults.map_or(said.input, |input| *input));
    }
    let contact = |kind: ContactKind| match kind {
        ContactKind::Phone => {
            let phone = said.input.phone.value()?.resolve(context.country).ok()?;
            Some(ContactKey::phone(&phone))
        }
        _ => said.input.email.value().map(ContactKey::email),
    };
    let sought = match &plan.finds_by {
        FindsBy::EmailElsePhone => {
            contact(ContactKind::Email).or_else(|| contact(ContactKind::Phone)).map(Sought::Contact)
        }
        FindsBy::Contact(kind) => contact(*kind).map(Sought::Contact),
        FindsBy::Id => said.id.map(Sought::Id),
        FindsBy::Custom(field, key) => custom_value(&said.input, key)
            .and_then(|value| context.fields.unique_form(key, &value, value_context))
            .map(|value| Sought::Unique(*field, value)),
    };
    Ask::Row(Box::new(RowAsk {
        input: said.input,
        with_defaults: said.with_defaults,
        sought,
        field: plan.finds_by.name(),
        creates: plan.mode == ImportMode::Upsert,
    }))
}

fn custom_value(input: &CustomerInput, key: &str) -> Option<Box<serde_json::value::RawValue>> {
    let custom = input.custom.value()?;
    let members = crate::input::Members::parse(custom).ok()?.into_rest();
    members.into_iter().find(|(name, _)| name == key).map(|(_, json)| json.to_owned())
}
