//! One business operation: its changes, audit entries and events, committed together or not at all.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;
use uuid::Uuid;

use crate::{
    access::Principal,
    audit::{AuditEntry, AuditEntryId, chain},
    crm::Crm,
    error::Result,
    event::{self, Event, EventId},
    id::OrganizationId,
    idempotency::{ClaimRecord, Effect},
    record::{Meta, Record, UPDATED_AT},
    store::{Assignment, Change, Json, Outcome, Scope, StoreError, StoreResult, head},
    time::Timestamp,
};

/// When to ask again what another attempt of the same request has answered.
const OVERTAKEN: Duration = Duration::from_secs(1);

/// What one service call writes. Built up, then given to [`Operation::commit`] once.
#[derive(Debug)]
pub struct Operation<'a> {
    crm: &'a Crm,
    by: &'a Principal,
    organization: OrganizationId,
    now: Timestamp,
    changes: Vec<Change>,
    entries: Vec<AuditEntry>,
    events: Vec<Event>,
    has_jobs: bool,
    /// A type of event that is none.
    undeclared: Option<String>,
}

impl<'a> Operation<'a> {
    /// An operation of `by` in the principal's organization.
    #[must_use]
    pub fn new(crm: &'a Crm, by: &'a Principal) -> Self {
        Self::at(crm, by, crm.now())
    }

    /// The same with the instant that the service took as now.
    #[must_use]
    pub const fn at(crm: &'a Crm, by: &'a Principal, now: Timestamp) -> Self {
        Self {
            crm,
            by,
            organization: by.organization,
            now,
            changes: Vec::new(),
            entries: Vec::new(),
            events: Vec::new(),
            has_jobs: false,
            undeclared: None,
        }
    }

    /// The instant of the operation.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// The organization that it is in.
    #[must_use]
    pub const fn organization(&self) -> OrganizationId {
        self.organization
    }

    /// How many changes there are besides audit and events; the next change has this place among the outcomes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether nothing is to be written.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.entries.is_empty() && self.events.is_empty()
    }

    /// Adds a record.
    pub fn insert<T: Record>(&mut self, record: &T) {
        self.insert_all(std::slice::from_ref(record));
    }

    /// Adds records.
    pub fn insert_all<T: Record>(&mut self, records: &[T]) {
        if !records.is_empty() {
            self.changes
                .push(Change::Insert { collection: T::COLLECTION, rows: records.iter().map(Record::to_row).collect() });
        }
    }

    /// Writes the columns in which `after` differs from `before`, if the record still has `before`'s version, and sets
    /// `updated_at`. Answers whether anything differs. `after` gets its new version and time.
    pub fn update<T: Record>(&mut self, before: &T, after: &mut T) -> bool {
        let (old, new) = (before.to_row(), after.to_row());
        let mut assignments: Vec<Assignment> = new
            .0
            .into_iter()
            .enumerate()
            .skip(head::UPDATED_AT + 1)
            .filter(|(position, value)| old.0.get(*position) != Some(value))
            .map(|(position, value)| Assignment::Set(position, value))
            .collect();
        if assignments.is_empty() {
            return false;
        }
        assignments.push(UPDATED_AT.set(self.now));
        let version = before.meta().version;
        let meta = after.meta_mut();
        meta.version = version + 1;
        meta.updated_at = self.now;
        self.changes.push(Change::Update {
            collection: T::COLLECTION,
            id: before.id().into(),
            expected_version: Some(version),
            condition: None,
            assignments,
        });
        true
    }

    /// Removes a record, if it still has this version.
    pub fn delete<T: Record>(&mut self, record: &T) {
        self.changes.push(Change::Delete {
            collection: T::COLLECTION,
            id: record.id().into(),
            expected_version: Some(record.meta().version),
        });
    }

    /// Any other change.
    pub fn change(&mut self, change: Change) {
        self.changes.push(change);
    }

    /// Any other change, made before all others: whoever wants the same record waits then, instead of spoiling a commit
    /// that is nearly done.
    pub(crate) fn change_first(&mut self, change: Change) {
        self.changes.insert(0, change);
    }

    /// Tells runners once it is committed that there is a job.
    pub(crate) const fn tell_runners(&mut self) {
        self.has_jobs = true;
    }

    /// Notes what was done: `before` and `after` hold what changed, secrets left out.
    pub fn audit<T: Record>(
        &mut self,
        action: &str,
        id: T::Id,
        before: Option<serde_json::Value>,
        after: Option<serde_json::Value>,
    ) {
        self.audit_named(action, T::COLLECTION.name, Some(id.into()), before, after);
    }

    /// The same, naming the kind of record.
    pub fn audit_named(
        &mut self,
        action: &str,
        record_type: &str,
        record_id: Option<Uuid>,
        before: Option<serde_json::Value>,
        after: Option<serde_json::Value>,
    ) {
        let mut salt = [0; 16];
        self.crm.fill_random(&mut salt);
        let salt = URL_SAFE_NO_PAD.encode(salt);
        let (before, after) =
            (before.map(|value| Json::from_value(&value)), after.map(|value| Json::from_value(&value)));
        let ip = self.by.context.ip.map(|ip| ip.to_string());
        let digest = chain::digest(&salt, ip.as_deref(), before.as_ref(), after.as_ref());
        self.entries.push(AuditEntry {
            id: self.crm.new_id_at::<AuditEntryId>(self.now),
            action: action.to_owned(),
            actor_type: self.by.actor.kind().to_owned(),
            actor_id: self.by.actor.id(),
            record_type: record_type.to_owned(),
            record_id,
            ip,
            request_id: self.by.context.request_id.clone(),
            before,
            after,
            salt,
            digest,
            sealed: false,
            sequence: None,
            previous_hash: None,
            hash: None,
            meta: Meta::new(self.organization, self.now),
        });
    }

    /// Tells what happened to a record. The type is one of [`EVENT_TYPES`](crate::event::EVENT_TYPES), else nothing is
    /// committed.
    pub fn emit<T: Record>(&mut self, event_type: &str, record: &T, data: &impl Serialize) {
        self.emit_named(event_type, T::COLLECTION.name, record.id().into(), record.meta().version, data);
    }

    /// The same, naming the record.
    pub fn emit_named(
        &mut self,
        event_type: &str,
        record_type: &str,
        record_id: Uuid,
        record_version: i64,
        data: &impl Serialize,
    ) {
        if event::find(event_type).is_none() {
            self.undeclared = Some(event_type.to_owned());
        }
        self.events.push(Event {
            id: self.crm.new_id_at::<EventId>(self.now),
            event_type: event_type.to_owned(),
            event_version: 1,
            record_type: record_type.to_owned(),
            record_id,
            record_version,
            actor_type: self.by.actor.kind().to_owned(),
            actor_id: self.by.actor.id(),
            request_id: self.by.context.request_id.clone(),
            data: Json::from_trusted(serde_json::to_string(data).unwrap_or_else(|_| "null".to_owned())),
            partition: Some(event::partition_of(record_id)),
            published_at: None,
            failures: None,
            held_by: None,
            cause: None,
            meta: Meta::new(self.organization, self.now),
        });
    }

    /// Writes everything, or nothing. The outcomes are those of the changes, in order.
    ///
    /// # Errors
    /// Those of the store: a taken key, a version that has moved on, an engine that is not there.
    pub async fn commit(self) -> Result<Vec<Outcome>> {
        Ok(self.try_commit().await?)
    }

    /// The same, with the store's own errors: for a service that acts on [`crate::store::StoreError::Unmet`].
    ///
    /// # Errors
    /// Those of the store.
    pub async fn try_commit(mut self) -> StoreResult<Vec<Outcome>> {
        if let Some(event_type) = self.undeclared {
            return Err(StoreError::Misuse(format!("{event_type} is no declared type of event")));
        }
        let wanted = self.changes.len();
        if self.is_empty() {
            return Ok(Vec::new());
        }
        let (entries, events) = (std::mem::take(&mut self.entries), std::mem::take(&mut self.events));
        let told = !events.is_empty();
        self.insert_all(&entries);
        self.insert_all(&events);
        let mark = self.by.context.claim.map(|claim| claim.mark(self.now, effect(&self.changes, &entries)));
        let place = self.changes.len();
        self.changes.extend(mark);
        let committed = self.crm.store().commit(Scope::Organization(self.organization), self.changes).await;
        let mut outcomes = committed.map_err(|error| if is_lost_claim(&error, place) { overtaken() } else { error })?;
        outcomes.truncate(wanted);
        self.crm.hint_background(!entries.is_empty(), told);
        if self.has_jobs {
            self.crm.job_signal().due();
        }
        Ok(outcomes)
    }
}

/// The one record that an operation is about: what its audit entries name, where they name but one.
fn effect(changes: &[Change], entries: &[AuditEntry]) -> Option<Effect> {
    let first = entries.first()?;
    let record_id = first.record_id?;
    let one = entries.iter().all(|entry| entry.record_id == first.record_id && entry.record_type == first.record_type);
    let created = changes.iter().any(|change| match change {
        Change::Insert { collection, rows } => {
            collection.name == first.record_type && rows.iter().any(|row| row.id() == record_id)
        }
        _ => false,
    });
    one.then(|| Effect { record_type: first.record_type.clone(), record_id, created })
}

/// Whether the commit failed because another attempt of the request holds the claim that is marked at `place`.
fn is_lost_claim(error: &StoreError, place: usize) -> bool {
    match error {
        StoreError::Unmet { change } => *change == place,
        StoreError::NotFound { collection, .. } => *collection == ClaimRecord::COLLECTION.name,
        _ => false,
    }
}

fn overtaken() -> StoreError {
    StoreError::Unavailable {
        message: "Another attempt of the same request has overtaken this one.".to_owned(),
        retry_after: OVERTAKEN,
    }
}
