//! Values that no two records may have, kept where the store itself sees to it, also when two are written at once.

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{CustomFieldId, CustomFieldType, CustomValues, FieldSet, value::FieldValue};
use crate::{
    contact::Phone,
    crm::Crm,
    error::{Error, Result},
    operation::Operation,
    record::{Meta, Record},
    store::{Change, Filter, Query, Scope},
};

crate::record_ids! {
    /// A value of a unique custom field.
    UniqueValueId,
}

/// That a record has a value of a unique custom field, and no other may.
#[derive(Clone, Debug, PartialEq, Record)]
#[record(collection = "custom_unique_values", unique(field_id, value), index(record_id))]
pub struct UniqueValue {
    /// Its id.
    pub id: UniqueValueId,
    /// The field.
    pub field_id: CustomFieldId,
    /// The value in the form in which equal ones are equal.
    pub value: String,
    /// The record that has it.
    pub record_id: Uuid,
    /// Its times.
    pub meta: Meta,
}

/// A value that another record has already.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Taken {
    /// The field's key.
    pub key: String,
    /// The record that has the value.
    pub record_id: Uuid,
}

/// Longer values are kept by their hash: engines limit what an index takes.
const LONGEST: usize = 200;
/// So many records with the same value are named.
const NAMED: usize = 100;

/// The form in which equal values are equal; nothing for a blank one, which clashes with none.
pub(super) fn value_key(kind: CustomFieldType, value: &FieldValue) -> Option<String> {
    if value.is_blank() {
        return None;
    }
    let text = value.to_text();
    let text = match kind {
        CustomFieldType::Phone => Phone::parse(&text, None).map_or(text, |phone| phone.match_key()),
        _ => text,
    };
    if text.len() <= LONGEST {
        return Some(text);
    }
    let hash: String = Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    Some(format!("sha256:{hash}"))
}

/// Whether a commit failed because another record took a unique custom value meanwhile: to be decided again.
#[must_use]
pub fn is_unique_race(error: &Error) -> bool {
    matches!(error, Error::Duplicate { fields, .. } if *fields == ["field_id", "value"])
}

/// Of the unique values that the record is to have now and had not before, those that other records have.
///
/// # Errors
/// Those of the store.
pub(super) async fn taken(
    crm: &Crm,
    scope: Scope,
    set: &FieldSet,
    record_id: Option<Uuid>,
    before: Option<&CustomValues>,
    after: &CustomValues,
) -> Result<Vec<Taken>> {
    let old = before.map(|before| set.unique_values(before)).unwrap_or_default();
    let new: Vec<Filter> = set
        .unique_values(after)
        .into_iter()
        .filter(|value| !old.contains(value))
        .map(|(field, value)| UniqueValue::field_id.equals(field).and(UniqueValue::value.equals(value)))
        .collect();
    if new.is_empty() {
        return Ok(Vec::new());
    }
    let found = crm.repo::<UniqueValue>().find(scope, &Query::new(Filter::Or(new), NAMED)).await?;
    Ok(found
        .records
        .into_iter()
        .filter(|value| Some(value.record_id) != record_id)
        .filter_map(|value| Some(Taken { key: set.key_of(value.field_id)?.to_owned(), record_id: value.record_id }))
        .collect())
}

/// Adds to an operation what keeps unique values in step with a record whose custom values change: `before` is what
/// they were while the record counted, `after` what they are; nothing for a record that is new, deleted or restored.
pub(super) fn keep(
    crm: &Crm,
    operation: &mut Operation<'_>,
    set: &FieldSet,
    record_id: Uuid,
    before: Option<&CustomValues>,
    after: Option<&CustomValues>,
) {
    let old = before.map(|before| set.unique_values(before)).unwrap_or_default();
    let new = after.map(|after| set.unique_values(after)).unwrap_or_default();
    let gone: Vec<CustomFieldId> = old.iter().filter(|value| !new.contains(value)).map(|(field, _)| *field).collect();
    if !gone.is_empty() {
        operation.change(Change::DeleteWhere {
            collection: UniqueValue::COLLECTION,
            filter: UniqueValue::record_id.equals(record_id).and(UniqueValue::field_id.one_of(gone)),
        });
    }
    let now = operation.now();
    let added: Vec<UniqueValue> = new
        .into_iter()
        .filter(|value| !old.contains(value))
        .map(|(field_id, value)| UniqueValue {
            id: crm.new_id_at(now),
            field_id,
            value,
            record_id,
            meta: Meta::new(operation.organization(), now),
        })
        .collect();
    operation.insert_all(&added);
}
