use std::{sync::Arc, time::Duration};

use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    Customer, CustomerInput, Customers, Deed, NewCustomer, WriteOptions, Written,
    ask::{Ask, ChunkOptions},
    bulk::{Recording, merge},
    write::is_race,
};
use crate::{
    access::{Principal, Visibility, permissions},
    error::{Error, FieldError, FieldErrors, Result},
    id::{CustomerId, TeamId},
    input::{FromInput, MAX_BATCH, Members, Patch, batch},
    job::JobId,
    store::{Filter, Position, Query},
    text::Line,
    time::Timestamp,
};

/// A change of all customers that match, all or none, is of at most so many.
pub const MAX_ATOMIC: usize = 10_000;
/// So many wrong fields are listed of each customer.
const MAX_ERRORS: usize = 100;
/// What such a change writes at most, in bytes: all of it is in memory at once.
const MAX_ATOMIC_BYTES: usize = 64 * 1024 * 1024;
/// So many customers are written by one commit.
pub(super) const CHUNK: usize = 100;

/// How a batch is written.
#[derive(Clone, Debug, Default)]
pub struct BatchOptions {
    /// Everything or nothing: one customer refused leaves all unwritten.
    pub atomic: bool,
    /// An existing customer with the e-mail, else the phone, is changed instead of refused.
    pub upsert: bool,
    /// See [`WriteOptions::allow_duplicate_phone`].
    pub allow_duplicate_phone: bool,
    /// How long a change by filter goes on; what is left by then is told by [`BatchReport::continue_after`]. As long as
    /// it takes, where there is none. An atomic one is not cut.
    pub time_limit: Option<Duration>,
}

/// Customers to be created: `{"items": […]}` or the list itself, 1 to 1000 of them.
#[derive(Clone, Debug)]
pub struct NewCustomers {
    items: Vec<Result<NewCustomer, FieldErrors>>,
}

impl FromInput for NewCustomers {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        Ok(Self { items: batch::items(json, "customers")? })
    }
}

/// Changes of customers: `{"items": [{"id", …}]}`, or `{"filter": rule, "set": {…}, "add_tags": […], "remove_tags": […]}`.
#[derive(Clone, Debug)]
pub enum CustomerPatches {
    /// One change for each customer named, 1 to 1000 of them.
    Items(Vec<Result<(CustomerId, CustomerInput), FieldErrors>>),
    /// One change for every customer that matches a rule.
    Matching {
        /// The rule, not checked yet.
        filter: Box<RawValue>,
        /// The change.
        change: Box<CustomerInput>,
        /// The change as it was given, for the audit trail.
        given: serde_json::Value,
        /// Only customers after this one, in the order of ids.
        after: Option<CustomerId>,
    },
}

impl FromInput for CustomerPatches {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        let mut errors = FieldErrors::new();
        let mut members = Members::parse(json)?;
        let items = members.take(&["items"]);
        let filter = members.take(&["filter"]);
        let set = members.take(&["set"]);
        let add_tags = members.take(&["add_tags"]);
        let remove_tags = members.take(&["remove_tags"]);
        let after = members.read::<Option<uuid::Uuid>>(&["after"], &mut errors).flatten().map(CustomerId);
        members.finish(&["items", "filter", "set", "add_tags", "remove_tags", "after"], &mut errors);
        match (items, filter) {
            (Some(items), None) => {
                for (name, given) in [
                    ("set", set.is_some()),
                    ("add_tags", add_tags.is_some()),
                    ("remove_tags", remove_tags.is_some()),
                    ("after", after.is_some()),
                ] {
                    if given {
                        errors.add(name, "NOT_ALLOWED", "goes with a filter: with items, each says what it changes");
                    }
                }
                let items = errors.take("", batch::bounded(Some(Vec::from_input(items)), "items"));
                Ok(Self::Items(errors.or(items.unwrap_or_default())?.iter().map(|item| identified(item)).collect()))
            }
            (None, Some(filter)) => {
                let mut change = set.map_or_else(|| Ok(CustomerInput::default()), CustomerInput::from_input);
                if let Ok(change) = &mut change {
                    let wrong = std::mem::take(&mut change.wrong);
                    errors.extend_under("set", wrong);
                    for (name, given, tags) in [
                        ("add_tags", add_tags, &mut change.add_tags),
                        ("remove_tags", remove_tags, &mut change.remove_tags),
                    ] {
                        if let Some(given) = given {
                            tags.extend(errors.take(name, tag_list(given)).unwrap_or_default());
                        }
                    }
                }
                let change = errors.take("set", change).unwrap_or_default();
                if errors.is_empty() && change.is_empty() {
                    errors.add("set", "REQUIRED", "is required, or else add_tags or remove_tags");
                }
                let part = |json: Option<&RawValue>| {
                    json.and_then(|json| serde_json::from_str(json.get()).ok()).unwrap_or(serde_json::Value::Null)
                };
                let given = serde_json::json!({
                    "filter": part(Some(filter)),
                    "set": part(set),
                    "add_tags": part(add_tags),
                    "remove_tags": part(remove_tags),
                });
                errors.or(Self::Matching { filter: filter.to_owned(), change: Box::new(change), given, after })
            }
            (Some(_), Some(_)) => {
                errors.add("filter", "NOT_ALLOWED", "cannot be given together with items");
                Err(errors)
            }
            (None, None) => {
                errors.add("items", "REQUIRED", "is required, or else a filter");
                Err(errors)
            }
        }
    }
}

fn tag_list(json: &RawValue) -> Result<Vec<Line<64>>, FieldErrors> {
    let tags: Vec<Box<RawValue>> = Vec::from_input(json)?;
    if tags.len() > super::MAX_TAGS {
        let message = format!("must have at most {} elements, not {}", super::MAX_TAGS, tags.len());
        return Err(FieldErrors::one("", "TOO_MANY", message));
    }
    Vec::from_input(json)
}

/// The `id` of an item, and the rest as a change.
fn identified(json: &RawValue) -> Result<(CustomerId, CustomerInput), FieldErrors> {
    let mut errors = FieldErrors::new();
    let id = Members::parse(json)?.read::<uuid::Uuid>(&["id"], &mut errors);
    let change = CustomerInput::from_input(json)?;
    match id {
        Some(id) if errors.is_empty() => Ok((CustomerId(id), change)),
        _ => {
            errors.extend_under("", change.wrong);
            Err(errors)
        }
    }
}

/// What became of one customer of a batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum BatchStatus {
    /// It is new.
    Created,
    /// It was changed.
    Updated,
    /// It was so already.
    Unchanged,
    /// It was refused; `error` says why.
    Failed,
}

/// Why one customer of a batch was refused.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BatchError {
    /// The code, as in the error envelope.
    pub code: String,
    /// What is wrong, for a person.
    pub message: String,
    /// The wrong fields, at most 100.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Object>))]
    pub errors: Vec<FieldError>,
    /// The customers in the way, as far as the caller sees them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub matches: Vec<uuid::Uuid>,
}

impl From<Error> for BatchError {
    fn from(error: Error) -> Self {
        let code = error.code().to_owned();
        let message = match &error {
            // Each of them stands among the errors.
            Error::Invalid(_) => "Some fields are not valid.".to_owned(),
            error => error.to_string(),
        };
        let (mut errors, mut found) = (Vec::new(), Vec::new());
        match error {
            Error::Invalid(fields) => errors = fields.iter().take(MAX_ERRORS).cloned().collect(),
            Error::Duplicate { matches, .. } => found = matches,
            _ => {}
        }
        Self { code, message, errors, matches: found }
    }
}

/// One customer of a batch.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BatchResult {
    /// Its place in the request, from 0; for a change by filter, in the order of ids.
    pub index: usize,
    /// What became of it.
    pub status: BatchStatus,
    /// Its id, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<CustomerId>,
    /// Its version now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<BatchError>,
}

/// What became of a batch.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BatchReport {
    /// How many customers the batch was about.
    pub matched: u64,
    /// How many are new.
    pub created: u64,
    /// How many were changed.
    pub updated: u64,
    /// How many were so already.
    pub unchanged: u64,
    /// How many were refused.
    pub failed: u64,
    /// What became of each customer named. A change by filter lists the first 1000 of those changed or refused.
    pub results: Vec<BatchResult>,
    /// Whether `results` leaves some out, which only a change by filter does.
    pub results_truncated: bool,
    /// Where a change by filter ran out of time: the same request with this id as `after` changes the rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub continue_after: Option<CustomerId>,
    /// The job by which the change can be undone for 24 hours, where a change of customers wrote anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_id: Option<JobId>,
}

impl BatchReport {
    fn add(&mut self, id: Option<CustomerId>, answer: Result<Written>) {
        let index = usize::try_from(self.matched).unwrap_or(usize::MAX);
        self.matched += 1;
        let result = match answer {
            Ok(written) => {
                let status = match written.deed {
                    Deed::Created => BatchStatus::Created,
                    Deed::Unchanged => BatchStatus::Unchanged,
                    Deed::Updated | Deed::Deleted | Deed::Restored => BatchStatus::Updated,
                };
                let (id, version) = (Some(written.customer.id), Some(written.customer.meta.version));
                BatchResult { index, status, id, version, error: None }
            }
            Err(error) => {
                BatchResult { index, status: BatchStatus::Failed, id, version: None, error: Some(error.into()) }
            }
        };
        *match result.status {
            BatchStatus::Created => &mut self.created,
            BatchStatus::Updated => &mut self.updated,
            BatchStatus::Unchanged => &mut self.unchanged,
            BatchStatus::Failed => &mut self.failed,
        } += 1;
        if self.results.len() < MAX_BATCH {
            self.results.push(result);
        } else {
            self.results_truncated = true;
        }
    }
}

/// Which part of those that match is changed.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    /// Only those after this one.
    after: Option<CustomerId>,
    /// No commit begins after this instant.
    until: Option<Timestamp>,
}

impl Customers<'_> {
    /// Creates customers, or upserts them. Each has its own answer; one that is refused does not spoil the others
    /// unless the batch is atomic. Written in commits of 100, so that no other request waits long.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `customers:write`; for an atomic batch, every refusal at once.
    pub async fn create_batch(&self, by: &Principal, new: NewCustomers, options: BatchOptions) -> Result<BatchReport> {
        by.may(permissions::CUSTOMERS_WRITE)?;
        let asks = new
            .items
            .into_iter()
            .map(|item| match item {
                Ok(new) if options.upsert => Ask::Upsert(new.0),
                Ok(new) => Ask::Create(new.0),
                Err(errors) => Ask::Unreadable(errors),
            })
            .collect();
        self.named_batch(by, asks, &options, None).await
    }

    /// Changes customers: those named, or every one that matches. Each named one has its own answer.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `customers:write`, [`Error::Invalid`] for a wrong rule or change; for an atomic
    /// batch, every refusal at once.
    pub async fn patch_batch(
        &self,
        by: &Principal,
        patches: CustomerPatches,
        options: BatchOptions,
    ) -> Result<BatchReport> {
        by.may(permissions::CUSTOMERS_WRITE)?;
        let recording = Arc::new(Recording::begin(self.crm, by)?);
        let report = self.patch_recorded(by, patches, &options, &recording).await?;
        let job_id = recording.end(by, &report).await;
        Ok(BatchReport { job_id, ..report })
    }

    async fn patch_recorded(
        &self,
        by: &Principal,
        patches: CustomerPatches,
        options: &BatchOptions,
        recording: &Arc<Recording>,
    ) -> Result<BatchReport> {
        let recording = Some(Arc::clone(recording));
        match patches {
            CustomerPatches::Items(items) => {
                let asks = items.into_iter().map(merge).collect();
                self.named_batch(by, asks, options, recording).await
            }
            CustomerPatches::Matching { filter, change, given, after } => {
                let filter = self.rule_filter(by, &filter, "filter").await?;
                let chunk = ChunkOptions {
                    write: WriteOptions {
                        allow_duplicate_phone: options.allow_duplicate_phone,
                        expected_version: None,
                    },
                    atomic: options.atomic,
                    entry: Some(("customer.batch_updated", given)),
                    recording,
                    ..ChunkOptions::default()
                };
                let until = options.time_limit.map(|limit| self.crm.now().plus(limit));
                self.change_matching_part(by, filter, &change, chunk, Part { after, until }).await
            }
        }
    }

    async fn named_batch(
        &self,
        by: &Principal,
        asks: Vec<Ask>,
        options: &BatchOptions,
        recording: Option<Arc<Recording>>,
    ) -> Result<BatchReport> {
        let chunk = ChunkOptions {
            write: WriteOptions { allow_duplicate_phone: options.allow_duplicate_phone, expected_version: None },
            atomic: options.atomic,
            recording,
            ..ChunkOptions::default()
        };
        let answers = self.write_chunks(by, &asks, &chunk).await?;
        if options.atomic
            && let Some(refusal) = refusal(&answers)
        {
            return Err(refusal);
        }
        let mut report = BatchReport::default();
        for (ask, answer) in asks.iter().zip(answers) {
            report.add(ask.id(), answer);
        }
        Ok(report)
    }

    /// Changes every customer in sight that matches, in bounded memory: any number, in commits of 100, unless all or
    /// none is asked for. One that does not match any more when it is written is left as it is.
    pub(crate) async fn change_matching(
        &self,
        by: &Principal,
        filter: Filter,
        change: &CustomerInput,
        options: ChunkOptions,
    ) -> Result<BatchReport> {
        self.change_matching_part(by, filter, change, options, Part::default()).await
    }

    async fn change_matching_part(
        &self,
        by: &Principal,
        filter: Filter,
        change: &CustomerInput,
        options: ChunkOptions,
        part: Part,
    ) -> Result<BatchReport> {
        let atomic = options.atomic;
        let options = ChunkOptions { only: Some(filter.clone()), ..options };
        let mut query = Query::new(filter, if atomic { MAX_ATOMIC } else { CHUNK });
        query.after = part.after.map(|id| Position::of_id(id.into()));
        let mut report = BatchReport::default();
        loop {
            let found = self.crm.repo::<Customer>().find_visible(by, query.clone()).await?;
            if atomic && found.has_more {
                let message = format!("More than {MAX_ATOMIC} customers match: change them without atomic, or fewer.");
                return Err(Error::TooLarge(message));
            }
            if atomic && change.free_bytes().saturating_mul(found.records.len()) > MAX_ATOMIC_BYTES {
                let message = "The change is too large for so many customers: change them without atomic, or fewer.";
                return Err(Error::TooLarge(message.to_owned()));
            }
            let asks: Vec<Ask> = found.records.iter().map(|customer| Ask::Merge(customer.id, change.clone())).collect();
            let answers = self.write_chunks(by, &asks, &options).await?;
            if atomic && let Some(refusal) = refusal(&answers) {
                return Err(refusal);
            }
            for (ask, answer) in asks.iter().zip(answers) {
                report.add(ask.id(), answer);
            }
            query.after = found.next;
            let Some(next) = &query.after else { return Ok(report) };
            if part.until.is_some_and(|until| self.crm.now() >= until) {
                report.continue_after = Some(CustomerId(next.id));
                return Ok(report);
            }
        }
    }

    /// Takes every customer out of a team that is going away, also those whom the principal does not see. Those in the
    /// bin keep its id; restoring drops it.
    pub(crate) async fn leave_team(&self, by: &Principal, team: TeamId) -> Result<()> {
        let all = Principal { visibility: Visibility::All, ..by.clone() };
        let leave = CustomerInput { team_id: Patch::Clear, ..CustomerInput::default() };
        let options = ChunkOptions {
            entry: Some(("team.customers_removed", serde_json::json!({ "team_id": team }))),
            ..ChunkOptions::default()
        };
        let report = self.change_matching(&all, Customer::team_id.equals(team), &leave, options).await?;
        if report.failed == 0 {
            return Ok(());
        }
        let why = report.results.into_iter().find_map(|result| Some(result.error?.message)).unwrap_or_default();
        Err(Error::Conflict(format!("{} customers could not be taken out of the team. {why}", report.failed)))
    }

    /// Writes any number of asks in commits of 100; an atomic batch in one.
    pub(crate) async fn write_chunks(
        &self,
        by: &Principal,
        asks: &[Ask],
        options: &ChunkOptions,
    ) -> Result<Vec<Result<Written>>> {
        if options.atomic {
            return self.write(by, asks, options).await;
        }
        let mut answers = Vec::with_capacity(asks.len());
        // Parts still to be written, the next one last.
        let mut parts: Vec<&[Ask]> = asks.chunks(CHUNK).rev().collect();
        while let Some(part) = parts.pop() {
            match self.write(by, part, options).await {
                Ok(written) => answers.extend(written),
                // Somebody keeps changing one of them: half as many get past more easily, one alone has its own answer.
                Err(error) if is_race(&error) && part.len() > 1 => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.push(second);
                    parts.push(first);
                }
                Err(error) if is_race(&error) => answers.push(Err(error)),
                Err(error) if answers.is_empty() => return Err(error),
                Err(error) => {
                    // What is written stays written: the caller learns which part is not.
                    let message = "The batch was interrupted before this customer: send it again.".to_owned();
                    let retry_after = match error {
                        Error::Unavailable { retry_after, .. } => retry_after,
                        _ => Duration::from_secs(1),
                    };
                    tracing::warn!(error = &error as &dyn std::error::Error, "a batch of customers was interrupted");
                    while answers.len() < asks.len() {
                        answers.push(Err(Error::Unavailable { message: message.clone(), retry_after }));
                    }
                    return Ok(answers);
                }
            }
        }
        Ok(answers)
    }
}

/// Why an atomic batch is refused: every wrong field of every item, or else the first other reason.
fn refusal(answers: &[Result<Written>]) -> Option<Error> {
    let mut wrong = FieldErrors::new();
    let mut other = None;
    for (place, answer) in answers.iter().enumerate() {
        match answer {
            Err(Error::Invalid(errors)) => wrong.extend_under(&format!("items[{place}]"), errors.clone()),
            Err(error) if other.is_none() => other = Some((place, error)),
            Ok(_) | Err(_) => {}
        }
    }
    let Some((place, error)) = other else { return (!wrong.is_empty()).then_some(Error::Invalid(wrong)) };
    let at = |message: &str| format!("items[{place}]: {message}");
    Some(match error {
        Error::Duplicate { message, fields, matches } => {
            Error::Duplicate { message: at(message), fields: fields.clone(), matches: matches.clone() }
        }
        Error::Forbidden(message) => Error::Forbidden(at(message)),
        Error::NotFound(what) => Error::NotFound(what),
        error => Error::Conflict(at(&error.to_string())),
    })
}
