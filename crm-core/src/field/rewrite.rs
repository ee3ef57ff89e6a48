//! The steps of a field's job that go through stored values.

use std::borrow::Cow;

use futures::StreamExt as _;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{
    CustomField, CustomFieldType, CustomValues, UniqueValue, ValueContext,
    convert::convert,
    examine::{stored_value, values_of},
    service::country,
    subject::Subject,
    unique,
    value::FieldValue,
    work::{Reached, Run, TRIES, index_of},
};
use crate::{
    error::{Error, Result},
    hint::Hint,
    job::JobFailure,
    record::{Meta, Record as _},
    store::{Assignment, Change, Filter, Query, Row, Value, head},
};

/// So many records are written by one commit.
const BATCH: usize = 200;
/// From so many on it is counted how many there are.
const MANY: u64 = 2000;

impl Run<'_> {
    /// Converts stored values. One that does not convert was written by a process that did not know of the new type
    /// yet; it is removed, since nothing could be done with it.
    pub(super) async fn convert(&self, subject: Subject) -> Result<Reached, JobFailure> {
        let (crm, field) = (self.context.crm(), &self.field);
        let Some(from) = field.converted_from else { return Ok(Reached::End) };
        let context = ValueContext { now: crm.now(), country: country(crm, field.meta.organization_id).await? };
        self.rewrite(subject, "converting values", |json| {
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
    pub(super) async fn purge(&self, subject: Option<Subject>) -> Result<Reached, JobFailure> {
        let (crm, field) = (self.context.crm(), &self.field);
        if let Some(subject) = subject {
            if self.rewrite(subject, "removing values", |_| Some(None)).await? == Reached::Interruption {
                return Ok(Reached::Interruption);
            }
            let index = index_of(field, field.r#type, subject);
            crm.store().drop_custom_index(self.scope(), &index).await.map_err(Error::from)?;
        }
        let changes = vec![
            Change::DeleteWhere { collection: UniqueValue::COLLECTION, filter: UniqueValue::field_id.equals(field.id) },
            Change::Delete { collection: CustomField::COLLECTION, id: field.id.into(), expected_version: None },
        ];
        self.write(changes).await?;
        crm.has_changed(Hint::Fields);
        Ok(Reached::End)
    }

    /// Notes which values are taken. Where two records turn out to have the same, the first keeps it noted; both stay
    /// as they are, as a record from before any other rule does.
    pub(super) async fn note_unique(&self, subject: Subject) -> Result<Reached, JobFailure> {
        let field = &self.field;
        let mut progress = Progress::new("noting which values are taken");
        let all = Query::new(Filter::ALL, 0);
        let mut rows = self.context.crm().store().stream(self.scope(), subject.collection, all).chunks(BATCH);
        let deleted_at = subject.collection.position("deleted_at");
        while let Some(chunk) = rows.next().await {
            let mut notes = Vec::new();
            progress.read += chunk.len() as u64;
            for row in chunk {
                let row = row.map_err(Error::from)?;
                // What is in the bin holds no value back; restoring it asks again.
                if deleted_at.and_then(|position| row.0.get(position)).is_some_and(|value| !value.is_null()) {
                    continue;
                }
                let key = stored_value(&row, subject, field).and_then(|value| unique::value_key(field.r#type, &value));
                notes.extend(key.map(|value| self.note(row.id(), value)));
            }
            if !notes.is_empty() {
                self.write_notes(&notes).await?;
                self.take_back_stale(subject, &notes).await?;
            }
            if self.pause(subject, &mut progress).await? == Reached::Interruption {
                return Ok(Reached::Interruption);
            }
        }
        Ok(Reached::End)
    }

    async fn write_notes(&self, notes: &[UniqueValue]) -> Result<(), JobFailure> {
        let insert = |notes: &[UniqueValue]| {
            let rows = notes.iter().map(crate::record::Record::to_row).collect();
            vec![Change::Insert { collection: UniqueValue::COLLECTION, rows }]
        };
        match self.write(insert(notes)).await {
            Err(JobFailure::Failed(Error::Duplicate { .. })) => {}
            written => return written,
        }
        for note in notes {
            match self.write(insert(std::slice::from_ref(note))).await {
                Err(JobFailure::Failed(Error::Duplicate { .. })) => {}
                written => written?,
            }
        }
        Ok(())
    }

    /// Removes notes of values that their records had when they were read and no longer have. A record that changes
    /// after this takes its own note back.
    async fn take_back_stale(&self, subject: Subject, notes: &[UniqueValue]) -> Result<(), JobFailure> {
        let field = &self.field;
        let ids: Vec<Uuid> = notes.iter().map(|note| note.record_id).collect();
        let rows = self.context.crm().store().get(self.scope(), subject.collection, &ids).await.map_err(Error::from)?;
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
        if stale.is_empty() {
            return Ok(());
        }
        let filter = UniqueValue::field_id.equals(field.id).and(Filter::Or(stale));
        self.write(vec![Change::DeleteWhere { collection: UniqueValue::COLLECTION, filter }]).await
    }

    fn note(&self, record_id: Uuid, value: String) -> UniqueValue {
        let (crm, field) = (self.context.crm(), &self.field);
        let now = crm.now();
        UniqueValue {
            id: crm.new_id_at(now),
            field_id: field.id,
            value,
            record_id,
            meta: Meta::new(field.meta.organization_id, now),
        }
    }

    /// Shows how far a step is; answers whether it goes on.
    async fn pause(&self, subject: Subject, progress: &mut Progress) -> Result<Reached, JobFailure> {
        if progress.total.is_none() && progress.read >= MANY {
            let store = self.context.crm().store();
            let count = store.count(self.scope(), subject.collection, &Filter::ALL).await;
            progress.total = Some(count.map_err(Error::from)?);
        }
        let total = progress.total.map(|total| total.max(progress.read));
        self.context.show(progress.read, total, "records", Some(progress.message));
        Ok(if self.context.interruption().is_some() { Reached::Interruption } else { Reached::End })
    }

    /// Gives the field another value, or none, in every record where `decide` says so.
    async fn rewrite(
        &self,
        subject: Subject,
        message: &'static str,
        decide: impl Fn(&RawValue) -> Option<Option<String>> + Send + Sync,
    ) -> Result<Reached, JobFailure> {
        let (crm, field) = (self.context.crm(), &self.field);
        let Some(position) = subject.collection.position(subject.column) else { return Ok(Reached::End) };
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
                    Assignment::Set(head::UPDATED_AT, Value::Timestamp(crm.now())),
                ],
            })
        };
        let mut progress = Progress::new(message);
        let all = Query::new(Filter::ALL, 0);
        let mut rows = crm.store().stream(self.scope(), subject.collection, all).chunks(BATCH);
        while let Some(chunk) = rows.next().await {
            let mut changes = Vec::new();
            progress.read += chunk.len() as u64;
            for row in chunk {
                changes.extend(rewritten(&row.map_err(Error::from)?));
            }
            if !changes.is_empty() {
                let ids: Vec<Uuid> = changes.iter().filter_map(changed_id).collect();
                match self.write(changes).await {
                    Err(JobFailure::Failed(Error::VersionConflict { .. } | Error::NotFound(_))) => {
                        for id in ids {
                            self.rewrite_one(subject, id, &rewritten).await?;
                        }
                    }
                    written => written?,
                }
            }
            if self.pause(subject, &mut progress).await? == Reached::Interruption {
                return Ok(Reached::Interruption);
            }
        }
        Ok(Reached::End)
    }

    /// The same for one record that others change meanwhile.
    async fn rewrite_one(
        &self,
        subject: Subject,
        id: Uuid,
        rewritten: &(impl Fn(&Row) -> Option<Change> + Sync),
    ) -> Result<(), JobFailure> {
        let mut found = 0;
        for _ in 0..TRIES {
            let rows = self.context.crm().store().get(self.scope(), subject.collection, &[id]).await;
            let rows = rows.map_err(Error::from)?;
            let Some(change) = rows.first().and_then(rewritten) else { return Ok(()) };
            match self.write(vec![change]).await {
                Err(JobFailure::Failed(Error::VersionConflict { found: newer })) => found = newer,
                Err(JobFailure::Failed(Error::NotFound(_))) => return Ok(()),
                written => return written,
            }
        }
        // Changed by others again and again: the next attempt may do better.
        Err(Error::VersionConflict { found }.into())
    }
}

/// How far a step is.
struct Progress {
    read: u64,
    total: Option<u64>,
    message: &'static str,
}

impl Progress {
    const fn new(message: &'static str) -> Self {
        Self { read: 0, total: None, message }
    }
}

fn changed_id(change: &Change) -> Option<Uuid> {
    match change {
        Change::Update { id, .. } => Some(*id),
        _ => None,
    }
}

fn is_of(kind: CustomFieldType, json: &RawValue, context: &ValueContext) -> bool {
    FieldValue::of_stored(kind, json)
        .is_some_and(|value| FieldValue::of_text(kind, &value.to_text(), context).is_ok_and(|again| again == value))
}
