//! Custom fields: what an organization keeps of its customers beyond what every CRM has.
//!
//! A [`CustomField`] declares a key, a type and rules; [`FieldSet`] is all of an organization's for one kind of record,
//! ready to check values, and [`CustomValues`] is the JSON column that holds them. [`Fields`] is the service that
//! declares, changes, archives and purges fields, and converts stored values when a type changes.

mod convert;
mod declaration;
mod examine;
mod json_text;
mod kind;
mod record;
mod rewrite;
mod rules;
mod service;
mod set;
mod subject;
mod time_bound;
mod unique;
mod value;
mod values;
mod work;

#[cfg(test)]
mod tests;

pub use self::{
    declaration::{ChangedCustomField, MAX_FIELDS, MAX_OPTIONS, NewCustomField},
    json_text::JsonText,
    kind::{AppliesTo, CustomFieldType, IndexState},
    record::{CustomField, CustomFieldId},
    rules::{FieldRules, NumberBound},
    service::{Changed, Failure, Fields, Trial},
    set::{FieldSet, Mode, ValueContext},
    unique::{UniqueValue, UniqueValueId},
    values::CustomValues,
};
pub(crate) use self::{
    set::FieldSets,
    work::{FieldWorkHandler, make_missing_jobs},
};
