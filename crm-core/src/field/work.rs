//! Work on stored values: converting them to a new type, noting unique ones, building indexes, purging.
//!
//! What is to be done stands in the field itself (`pending`), so that another process goes on where one died. Every
//! step can be done again without harm.

use std::{borrow::Cow, time::Duration};

use futures::StreamExt as _;
use uuid::Uuid;

use super::{
    CustomField, CustomFieldType, CustomValues, IndexState, UniqueValue, ValueContext,
    convert::convert,
    examine::{stored_value, values_of},
    record::step,
    service::country,
    subject::Subject,
    unique,
    value::FieldValue,
};
use crate::{
    access::Principal,
    crm::Crm,
    error::{Error, Result},
    hint::Hint,
    operation::Operation,
    record::{Meta, Record},
    store::{Assignment, Change, CustomIndex, Filter, Query, Row, Scope, StoreError, Value, head},
    time::Timestamp,
};

/// How long a process that fell silent keeps others from its work.
const HOLD: Duration = Duration::from_secs(60);
/// So long a request waits for the work that it began.
const PATIENCE: Duration = Duration::from_secs(10);
/// So many records are written by one commit.
const BATCH: usize = 200;
/// So many fields are taken on at once.
const FIELDS: usize = 10;
/// So often one record is decided again that others changed meanwhile.
const TRIES: usize = 5;

/// Until when work that begins now is trusted to be alive.
pub(super) fn held_until(now: Timestamp) -> Timestamp {
    now.plus(HOLD)
}

/// Does what is pending on a field, for at most 10 s; what is left then, and indexes, are the background's. Answers the
/// field as it is then.
pub(super) async fn finish_in_time(crm: &Crm, field: CustomField) -> Result<CustomField> {
    let until = crm.now().plus(PATIENCE);
    let mut worker = Worker { crm, until: Some(until) };
    let (field, _) = worker.run(field, false).await?;
    crm.hint_field_work(&field);
    Ok(field)
}

/// Takes on fields that have work pending which nobody is at, and does it. Answers whether there may be more.
///
/// # Errors
/// Those of the store.
pub async fn finish_pending(crm: &Crm) -> Result<bool> {
    let now = crm.now();
    let free = Filter::Or(vec![CustomField::held_until.missing(), CustomField::held_until.at_most(now)]);
    let (Some(position), held) = (CustomField::COLLECTION.position("held_until"), held_until(now)) else {
        return Ok(false);
    };
    let claimed = crm
        .store()
        .claim(
            Scope::Installation,
            CustomField::COLLECTION,
            &CustomField::working.equals(true).and(free),
            &[CustomField::held_until.ascending()],
            FIELDS,
            &[(position, Value::Timestamp(held))],
        )
        .await?;
    let more = claimed.len() == FIELDS;
    for row in claimed {
        let field = CustomField::from_row(row).map_err(Error::internal)?;
        let mut worker = Worker { crm, until: None };
        worker.run(field, true).await?;
    }
    Ok(more)
}

struct Worker<'a> {
    crm: &'a Crm,
    /// When a request no longer waits.
    until: Option<Timestamp>,
}

/// Whether there is time to go on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Pace {
    Done,
    OutOfTime,
}

impl Worker<'_> {
    /// Does the steps in order. Answers the field as it is then, and whether all of it is done.
    async fn run(&mut self, mut field: CustomField, indexes: bool) -> Result<(CustomField, bool)> {
        let Some(subject) = field.applies_to.subject() else { return Ok((field, true)) };
        while let Some(next) = field.pending.first().cloned() {
            let pace = match next.as_str() {
                step::CONVERT => self.convert(&field, subject).await?,
                step::UNIQUE => self.note_unique(&field, subject).await?,
                step::PURGE => self.purge(&field, subject).await?,
                step::INDEX if indexes => self.index(&field, subject).await?,
                // An index is built by the background.
                _ => Pace::OutOfTime,
            };
            if pace == Pace::OutOfTime {
                return Ok((self.release(field).await?, false));
            }
            if next == step::PURGE {
                field.pending.clear();
                field.working = false;
                return Ok((field, true));
            }
            field = self.finish_step(field, &next).await?;
        }
        Ok((field, true))
    }

    fn scope(field: &CustomField) -> Scope {
        Scope::Organization(field.meta.organization_id)
    }

    /// Lets others take the rest on.
    async fn release(&self, field: CustomField) -> Result<CustomField> {
        self.amend(field, |field| {
            field.held_until = None;
        })
        .await
    }

    async fn finish_step(&self, field: CustomField, done: &str) -> Result<CustomField> {
        let field = self
            .amend(field, |field| {
                field.pending.retain(|step| step != done);
                if done == step::INDEX {
                    field.index_state = if field.indexed { IndexState::Ready } else { IndexState::None };
                }
                if field.pending.is_empty() {
                    field.working = false;
                    field.held_until = None;
                    field.converted_from = None;
                }
            })
            .await?;
        self.crm.has_changed(Hint::Fields);
        Ok(field)
    }

    /// Writes a change of the field's own state, whatever else happened to it meanwhile.
    async fn amend(&self, field: CustomField, change: impl Fn(&mut CustomField)) -> Result<CustomField> {
        let system = Principal::system(field.meta.organization_id);
        let mut before = field;
        for _ in 0..TRIES {
            let mut operation = Operation::new(self.crm, &system);
            let mut after = before.clone();
            change(&mut after);
            operation.update(&before, &mut after);
            match operation.commit().await {
                Err(Error::VersionConflict { .. }) => {
                    let found = self.crm.repo::<CustomField>().get(Self::scope(&before), before.id).await?;
                    before = found.ok_or(Error::NotFound("custom field"))?;
                }
                committed => return committed.map(|_| after),
            }
        }
        Err(Error::Conflict("The field is being changed by others: try again.".to_owned()))
    }

    /// Converts stored values. One that does not convert was written by a process that did not know of the new type
    /// yet; it is removed, since nothing could be done with it.
    async fn convert(&self, field: &CustomField, subject: Subject) -> Result<Pace> {
        let Some(from) = field.converted_from else { return Ok(Pace::Done) };
        let context =
            ValueContext { now: self.crm.now(), country: country(self.crm, field.meta.organization_id).await? };
        self.rewrite(field, subject, |json| {
            let stored = FieldValue::of_stored(from, json)?;
            // Both are written alike: what was written as the new type meanwhile has digits that the old one lacks.
            if from.is_numeric() && is_of(field.r#type, json, &context) {
                return None;
            }
            match convert(&stored, field.r#type, &field.options, &context) {
                Ok(Some(value)) => {
                    let value = value.to_stored();
                    (value != json.get()).then_some(Some(value))
                }
                Ok(None) => Some(None),
                // Converted already, where both types are written alike.
                Err(_) if is_of(field.r#type, json, &context) => None,
                Err(errors) => {
                    tracing::warn!(field = %field.id, %errors, "a value that does not convert was removed");
                    Some(None)
                }
            }
        })
        .await
    }

    /// Removes the values from every record, then the field.
    async fn purge(&self, field: &CustomField, subject: Subject) -> Result<Pace> {
        if self.rewrite(field, subject, |_| Some(None)).await? == Pace::OutOfTime {
            return Ok(Pace::OutOfTime);
        }
        self.crm.store().drop_custom_index(Self::scope(field), &index_of(field, field.r#type, subject)).await?;
        let changes = vec![
            Change::DeleteWhere { collection: UniqueValue::COLLECTION, filter: UniqueValue::field_id.equals(field.id) },
            Change::Delete { collection: CustomField::COLLECTION, id: field.id.into(), expected_version: None },
        ];
        match self.crm.store().commit(Self::scope(field), changes).await {
            // Another process was as far.
            Ok(_) | Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        self.crm.has_changed(Hint::Fields);
        Ok(Pace::Done)
    }

    async fn index(&self, field: &CustomField, subject: Subject) -> Result<Pace> {
        let store = self.crm.store();
        if let Some(from) = field.converted_from.filter(|from| from.stored() != field.r#type.stored()) {
            store.drop_custom_index(Self::scope(field), &index_of(field, from, subject)).await?;
        }
        let index = index_of(field, field.r#type, subject);
        if field.indexed {
            store.create_custom_index(Self::scope(field), &index).await?;
        } else {
            store.drop_custom_index(Self::scope(field), &index).await?;
        }
        Ok(Pace::Done)
    }

    /// Notes which values are taken. Where two records turn out to have the same, the first keeps it noted; both stay
    /// as they are, as a record from before any other rule does.
    async fn note_unique(&self, field: &CustomField, subject: Subject) -> Result<Pace> {
        let scope = Self::scope(field);
        let mut rows = self.crm.store().stream(scope, subject.collection, Query::new(Filter::ALL, 0)).chunks(BATCH);
        let deleted_at = subject.collection.position("deleted_at");
        while let Some(chunk) = rows.next().await {
            let mut notes = Vec::new();
            for row in chunk {
                let row = row?;
                // What is in the bin holds no value back; restoring it asks again.
                if deleted_at.and_then(|position| row.0.get(position)).is_some_and(|value| !value.is_null()) {
                    continue;
                }
                let key = stored_value(&row, subject, field).and_then(|value| unique::value_key(field.r#type, &value));
                notes.extend(key.map(|value| self.note(field, row.id(), value)));
            }
            let insert = |notes: &[UniqueValue]| {
                let rows = notes.iter().map(Record::to_row).collect();
                vec![Change::Insert { collection: UniqueValue::COLLECTION, rows }]
            };
            match self.crm.store().commit(scope, insert(&notes)).await {
                Err(StoreError::Duplicate { .. }) => {
                    for note in &notes {
                        match self.crm.store().commit(scope, insert(std::slice::from_ref(note))).await {
                            Ok(_) | Err(StoreError::Duplicate { .. }) => {}
                            Err(error) => return Err(error.into()),
                        }
                    }
                }
                committed => {
                    committed?;
                }
            }
            self.take_back_stale(field, subject, &notes).await?;
            if self.pause(field).await? == Pace::OutOfTime {
                return Ok(Pace::OutOfTime);
            }
        }
        Ok(Pace::Done)
    }

    /// Removes notes of values that their records had when they were read and no longer have. A record that changes
    /// after this takes its own note back.
    async fn take_back_stale(&self, field: &CustomField, subject: Subject, notes: &[UniqueValue]) -> Result<()> {
        let scope = Self::scope(field);
        let ids: Vec<Uuid> = notes.iter().map(|note| note.record_id).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let rows = self.crm.store().get(scope, subject.collection, &ids).await?;
        let stale: Vec<Filter> = notes
            .iter()
            .filter(|note| {
                let row = rows.iter().find(|row| row.id() == note.record_id);
                let value = row.and_then(|row| stored_value(row, subject, field));
                value.and_then(|value| unique::value_key(field.r#type, &value)).as_ref() != Some(&note.value)
            })
            .map(|note| {
                UniqueValue::record_id.equals(note.record_id).and(UniqueValue::value.equals(note.value.clone()))
            })
            .collect();
        if !stale.is_empty() {
            let filter = UniqueValue::field_id.equals(field.id).and(Filter::Or(stale));
            let remove = Change::DeleteWhere { collection: UniqueValue::COLLECTION, filter };
            self.crm.store().commit(scope, vec![remove]).await?;
        }
        Ok(())
    }

    fn note(&self, field: &CustomField, record_id: Uuid, value: String) -> UniqueValue {
        let now = self.crm.now();
        UniqueValue {
            id: self.crm.new_id_at(now),
            field_id: field.id,
            value,
            record_id,
            meta: Meta::new(field.meta.organization_id, now),
        }
    }

    /// Whether there is time to go on; keeps the hold on the field alive.
    async fn pause(&self, field: &CustomField) -> Result<Pace> {
        let now = self.crm.now();
        if self.until.is_some_and(|until| now >= until) {
            return Ok(Pace::OutOfTime);
        }
        if self.until.is_none()
            && field.held_until.is_some_and(|held| held <= now.plus(HOLD / 2))
            && let Some(position) = CustomField::COLLECTION.position("held_until")
        {
            let change = Change::Update {
                collection: CustomField::COLLECTION,
                id: field.id.into(),
                expected_version: None,
                condition: None,
                assignments: vec![Assignment::Set(position, Value::Timestamp(held_until(now)))],
            };
            self.crm.store().commit(Self::scope(field), vec![change]).await?;
        }
        Ok(Pace::Done)
    }

    /// Gives the field another value, or none, in every record where `decide` says so.
    async fn rewrite(
        &self,
        field: &CustomField,
        subject: Subject,
        decide: impl Fn(&serde_json::value::RawValue) -> Option<Option<String>>,
    ) -> Result<Pace> {
        let scope = Self::scope(field);
        let Some(position) = subject.collection.position(subject.column) else { return Ok(Pace::Done) };
        let rewritten = |row: &Row| {
            let values = values_of(row, subject)?;
            let members = values.members();
            let new = decide(members.get(&field.key)?)?;
            let members = members.iter().filter_map(|(key, json)| match (&new, *key == field.key) {
                (None, true) => None,
                (Some(new), true) => Some((key.as_str(), Cow::Borrowed(new.as_str()))),
                (_, false) => Some((key.as_str(), Cow::Borrowed(json.get()))),
            });
            let members: Vec<_> = members.collect();
            let values = CustomValues::from_members(members.iter().map(|(key, json)| (*key, json.as_ref())));
            Some(Change::Update {
                collection: subject.collection,
                id: row.id(),
                expected_version: Some(row.version()),
                condition: None,
                assignments: vec![
                    Assignment::Set(position, Value::Json(values.as_json().clone())),
                    Assignment::Set(head::UPDATED_AT, Value::Timestamp(self.crm.now())),
                ],
            })
        };
        let mut rows = self.crm.store().stream(scope, subject.collection, Query::new(Filter::ALL, 0)).chunks(BATCH);
        while let Some(chunk) = rows.next().await {
            let mut changes = Vec::new();
            for row in chunk {
                changes.extend(rewritten(&row?));
            }
            if !changes.is_empty() {
                let ids: Vec<Uuid> = changes.iter().filter_map(changed_id).collect();
                match self.crm.store().commit(scope, changes).await {
                    Err(StoreError::VersionConflict { .. } | StoreError::NotFound { .. }) => {
                        for id in ids {
                            self.rewrite_one(scope, subject, id, &rewritten).await?;
                        }
                    }
                    committed => {
                        committed?;
                    }
                }
            }
            if self.pause(field).await? == Pace::OutOfTime {
                return Ok(Pace::OutOfTime);
            }
        }
        Ok(Pace::Done)
    }

    /// The same for one record that others change meanwhile.
    async fn rewrite_one(
        &self,
        scope: Scope,
        subject: Subject,
        id: Uuid,
        rewritten: &impl Fn(&Row) -> Option<Change>,
    ) -> Result<()> {
        for _ in 0..TRIES {
            let rows = self.crm.store().get(scope, subject.collection, &[id]).await?;
            let Some(change) = rows.first().and_then(rewritten) else { return Ok(()) };
            match self.crm.store().commit(scope, vec![change]).await {
                Err(StoreError::VersionConflict { .. }) => {}
                Err(StoreError::NotFound { .. }) => return Ok(()),
                committed => return committed.map(|_| ()).map_err(Error::from),
            }
        }
        Err(Error::Conflict("A record is being changed by others again and again: try again.".to_owned()))
    }
}

fn changed_id(change: &Change) -> Option<Uuid> {
    match change {
        Change::Update { id, .. } => Some(*id),
        _ => None,
    }
}

fn is_of(kind: CustomFieldType, json: &serde_json::value::RawValue, context: &ValueContext) -> bool {
    FieldValue::of_stored(kind, json)
        .is_some_and(|value| FieldValue::of_text(kind, &value.to_text(), context).is_ok_and(|again| again == value))
}

fn index_of(field: &CustomField, kind: CustomFieldType, subject: Subject) -> CustomIndex {
    CustomIndex { collection: subject.collection, field: subject.column, key: field.key.clone(), kind: kind.stored() }
}
