//! Values that no two records may have, kept where the store itself sees to it, also when two are written at once.

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{CustomFieldId, CustomFieldType, CustomValues, FieldSet, value::FieldValue};
use crate::{
    contact::Phone,
    crm::Crm,
    operation::Operation,
    record::{Meta, Record},
    store::Change,
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

/// Longer values are kept by their hash: engines limit what an index takes.
const LONGEST: usize = 200;

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
