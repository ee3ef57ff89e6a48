//! Which stored values stand in the way of a change.

use std::collections::HashMap;

use futures::StreamExt as _;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{
    CustomField, CustomFieldType, CustomValues, Failure, JsonText, ValueContext,
    convert::{convert, quoted},
    subject::Subject,
    unique,
    value::FieldValue,
};
use crate::{
    crm::Crm,
    error::{FieldErrors, Result},
    store::{Filter, Query, Row, Scope, Value},
};

/// So many failures are listed.
const LISTED: usize = 100;
/// A longer value is cut in the list.
const SHOWN: usize = 200;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Examination {
    pub(super) records: u64,
    pub(super) failing: u64,
    pub(super) failures: Vec<Failure>,
}

impl Examination {
    fn fail(&mut self, record_id: Uuid, value: &FieldValue, code: &str, message: &str) {
        self.failing += 1;
        if self.failures.len() < LISTED {
            let json = value.to_json();
            let value = if json.len() > SHOWN { quoted(&json) } else { json };
            let (code, message) = (code.to_owned(), message.to_owned());
            self.failures.push(Failure { record_id, value: JsonText::from_trusted(value), code, message });
        }
    }
}

/// Looks at every stored value, in constant memory but for 16 bytes a record where the field is to be unique. Reads
/// nothing where the change does not touch stored values.
pub(super) async fn examine(
    crm: &Crm,
    subject: Subject,
    before: &CustomField,
    after: &CustomField,
    context: &ValueContext,
) -> Result<Examination> {
    let mut examination = Examination::default();
    let converts = before.r#type != after.r#type;
    let loses_options = !converts && before.options.iter().any(|option| !after.options.contains(option));
    let becomes_unique = after.unique && (converts || !before.unique);
    if !converts && !loses_options && !becomes_unique {
        return Ok(examination);
    }
    let deleted_at = subject.collection.position("deleted_at");
    let mut seen: HashMap<[u8; 16], Uuid> = HashMap::new();
    let scope = Scope::Organization(before.meta.organization_id);
    let mut rows = crm.store().stream(scope, subject.collection, Query::new(Filter::ALL, 0));
    while let Some(row) = rows.next().await {
        let row = row?;
        let Some(value) = stored_value(&row, subject, before) else { continue };
        examination.records += 1;
        let converted = if converts {
            match convert(&value, after.r#type, &after.options, context) {
                Ok(Some(converted)) => converted,
                Ok(None) => continue,
                Err(errors) => {
                    let (code, message) = first(&errors);
                    examination.fail(row.id(), &value, code, &message);
                    continue;
                }
            }
        } else {
            value
        };
        if loses_options && let Some(lost) = lost_option(&converted, after) {
            let message = format!("the option {} is in use", quoted(lost));
            examination.fail(row.id(), &converted, "OPTION_IN_USE", &message);
        }
        // What is in the bin holds no value back.
        let is_deleted = deleted_at.and_then(|position| row.0.get(position)).is_some_and(|value| !value.is_null());
        if becomes_unique
            && !is_deleted
            && let Some(key) = unique::value_key(after.r#type, &converted)
        {
            let mut hash = [0; 16];
            for (byte, hashed) in hash.iter_mut().zip(Sha256::digest(key.as_bytes())) {
                *byte = hashed;
            }
            if let Some(other) = seen.insert(hash, row.id()) {
                let message = format!("the record {other} has the same value");
                examination.fail(row.id(), &converted, "DUPLICATE", &message);
            }
        }
    }
    Ok(examination)
}

/// The value of a field in a row, where it is of the field's type.
pub(super) fn stored_value(row: &Row, subject: Subject, field: &CustomField) -> Option<FieldValue> {
    let values = values_of(row, subject)?;
    let members = values.members();
    let json: &RawValue = members.get(&field.key)?;
    FieldValue::of_stored(field.r#type, json)
}

/// The custom values of a row.
pub(super) fn values_of(row: &Row, subject: Subject) -> Option<CustomValues> {
    let position = subject.collection.position(subject.column)?;
    match row.0.get(position)? {
        Value::Json(json) => Some(CustomValues::from(json.clone())),
        _ => None,
    }
}

fn lost_option<'v>(value: &'v FieldValue, after: &CustomField) -> Option<&'v String> {
    let is_lost = |item: &&String| !after.options.contains(*item);
    match value {
        FieldValue::Text(text) if after.r#type == CustomFieldType::List => Some(text).filter(is_lost),
        FieldValue::List(items) => items.iter().find(is_lost),
        _ => None,
    }
}

fn first(errors: &FieldErrors) -> (&'static str, String) {
    match errors.iter().next() {
        Some(error) => (error.code, error.message.clone()),
        None => ("CANNOT_CONVERT", "does not convert".to_owned()),
    }
}
