use serde_json::json;

use super::{
    create::{CREATE_KIND, CreateInput},
    record::{BulkChange, BulkChangeId},
    run::{BulkInput, KIND, VERSION},
    take_back::{UNDO_KIND, UndoInput},
};
use crate::{
    access::{Principal, permissions},
    customer::{
        BatchOptions, Customer, CustomerPatches, Customers, NewCustomer, WriteOptions,
        ask::{Ask, ChunkOptions},
    },
    error::{Error, Result},
    id::CustomerId,
    input::AsWritten,
    job::{Job, JobId, JobPayload, JobPriority, JobProgress, NewJob},
    operation::Operation,
    record::{Meta, Record as _},
};

/// So often is an undoing asked for again when somebody else wrote meanwhile what it was decided on.
const ATTEMPTS: usize = 10;
/// So many changes of many customers, and jobs that undo them, of one organization may wait. Each keeps what it is given.
const MOST_WAITING: u64 = 100;

impl Customers<'_> {
    /// Changes customers as [`Customers::patch_batch`] does, by a job that is begun now and goes on by itself: its result
    /// is the report with the first 1000 refusals.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `customers:write`, [`Error::Invalid`] for a wrong rule or change, and for an atomic
    /// one: a job writes many commits; [`Error::InvalidState`] where 100 jobs of this kind, or that undo them, wait already.
    pub async fn patch_batch_later(
        &self,
        by: &Principal,
        patches: AsWritten<CustomerPatches>,
        options: BatchOptions,
    ) -> Result<Job> {
        by.may(permissions::CUSTOMERS_WRITE)?;
        if options.atomic {
            return Err(Error::invalid(
                "atomic",
                "NOT_ALLOWED",
                "cannot be combined with async: a job writes in steps",
            ));
        }
        let (told, total) = match &patches.value {
            CustomerPatches::Items(items) => (json!({"items": items.len()}), Some(items.len() as u64)),
            CustomerPatches::Matching { filter, given, .. } => {
                self.rule_filter(by, filter, "filter").await?;
                (given.clone(), None)
            }
        };
        self.crm.jobs().refuse_too_many(by, [KIND, UNDO_KIND], MOST_WAITING).await?;
        let mut operation = Operation::new(self.crm, by);
        let new = NewJob {
            kind: KIND,
            version: VERSION,
            input: BulkInput { allow_duplicate_phone: options.allow_duplicate_phone },
            priority: JobPriority::Normal,
            about: None,
            progress: JobProgress { total, unit: "customers".to_owned(), ..JobProgress::default() },
        };
        let job = self.crm.jobs().enqueue(by, &mut operation, new)?;
        operation.insert(&JobPayload::new(&job, patches.text.get().to_owned()));
        let meta = Meta::new(by.organization, operation.now());
        operation.insert(&BulkChange::new(job.id, false, meta));
        operation.audit::<Job>("customer.batch_started", job.id, None, Some(told));
        operation.commit().await?;
        Ok(job)
    }

    /// Creates a customer, or upserts it, by a job that is begun now: its result is `{"customer_id": …}`. What is wrong
    /// with the fields is told at once; a duplicate is found by the job, which fails with the code `DUPLICATE`.
    ///
    /// # Errors
    /// [`Error::Invalid`] with every wrong field, [`Error::Forbidden`] without `customers:write`.
    pub async fn create_later(
        &self,
        by: &Principal,
        new: AsWritten<NewCustomer>,
        upsert: bool,
        options: WriteOptions,
    ) -> Result<Job> {
        by.may(permissions::CUSTOMERS_WRITE)?;
        let AsWritten { value: NewCustomer(input), text } = new;
        let ask = if upsert { Ask::Upsert(input) } else { Ask::Create(input) };
        let allow_duplicate_phone = options.allow_duplicate_phone;
        let chunk = ChunkOptions { write: options, ..ChunkOptions::default() };
        let (_, mut answers, ..) = self.decide_all(by, std::slice::from_ref(&ask), &chunk).await?;
        match answers.pop() {
            // Who is in the way now may be gone by then.
            Some(Ok(_) | Err(Error::Duplicate { .. })) | None => {}
            Some(Err(error)) => return Err(error),
        }
        let mut operation = Operation::new(self.crm, by);
        let customer_id: CustomerId = self.crm.new_id_at(operation.now());
        let new = NewJob {
            kind: CREATE_KIND,
            version: VERSION,
            input: CreateInput { customer_id, upsert, allow_duplicate_phone },
            priority: JobPriority::High,
            about: (!upsert).then_some((Customer::COLLECTION.name, customer_id.0)),
            progress: JobProgress { total: Some(1), unit: "customers".to_owned(), ..JobProgress::default() },
        };
        let job = self.crm.jobs().enqueue(by, &mut operation, new)?;
        operation.insert(&JobPayload::new(&job, text.get().to_owned()));
        operation.audit::<Job>("customer.create_started", job.id, None, None);
        operation.commit().await?;
        Ok(job)
    }

    /// Undoes a change of many customers by a job that is begun now: each customer gets back what the fields were that
    /// the change set, unless somebody changed them since. For a day after the end of the change, once.
    ///
    /// # Errors
    /// [`Error::NotFound`] where the job is not there or somebody else's; [`Error::InvalidState`] where it is no change of
    /// many customers, goes on still, is too old, or is undone already, and where 100 such jobs wait already; [`Error::Forbidden`] without `customers:write`
    /// and `jobs:write`.
    pub async fn undo_batch(&self, by: &Principal, id: JobId) -> Result<Job> {
        by.may(permissions::JOBS_WRITE)?;
        let mut turn = self.crm.turns().join(id.0).await;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let job = self.crm.jobs().get(by, id).await?;
            by.may(permissions::CUSTOMERS_WRITE)?;
            let before = self.undoable(by, &job).await?;
            self.crm.jobs().refuse_too_many(by, [KIND, UNDO_KIND], MOST_WAITING).await?;
            let mut operation = Operation::new(self.crm, by);
            let new = NewJob {
                kind: UNDO_KIND,
                version: VERSION,
                input: UndoInput { job_id: id },
                priority: JobPriority::Normal,
                about: Some((Job::COLLECTION.name, id.0)),
                progress: JobProgress {
                    total: u64::try_from(before.updated).ok(),
                    unit: "customers".to_owned(),
                    ..JobProgress::default()
                },
            };
            let undo = self.crm.jobs().enqueue(by, &mut operation, new)?;
            let mut after = BulkChange { undo_job_id: Some(undo.id), ..before.clone() };
            operation.update(&before, &mut after);
            operation.audit::<Job>("customer.batch_undo_started", undo.id, None, Some(json!({"job_id": id})));
            match operation.commit().await {
                Err(Error::VersionConflict { .. } | Error::NotFound(_)) if attempt < ATTEMPTS => turn.wait().await,
                Err(error) => return Err(error),
                Ok(_) => return Ok(undo),
            }
        }
    }

    /// The change of a job that can be undone now.
    async fn undoable(&self, by: &Principal, job: &Job) -> Result<BulkChange> {
        let refused = |message: String| Err(Error::InvalidState(message));
        if job.kind != KIND {
            return refused(format!("Only a bulk change of customers can be undone, not a job of kind {}.", job.kind));
        }
        if !job.state.has_ended() {
            return refused(format!("The job is {}: cancel it, or wait for its end.", job.state));
        }
        let now = self.crm.now();
        let change = self.crm.repo::<BulkChange>().get(by.scope(), BulkChangeId(job.id.0)).await?;
        let change = change.filter(|change| !change.closed && change.undoable_until.is_none_or(|until| now < until));
        match change {
            None => refused("The change ended more than 24 hours ago: it cannot be undone any more.".to_owned()),
            Some(BulkChange { undo_job_id: Some(undo), .. }) => {
                refused(format!("The change is undone already, or is being undone, by the job {undo}."))
            }
            Some(change) => Ok(change),
        }
    }
}
