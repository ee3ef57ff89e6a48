use serde::Serialize;

use super::{AppliesTo, CustomFieldType, FieldRules, IndexState, JsonText};
use crate::{
    error::{Error, Result},
    job::JobId,
    record::{Meta, Record},
    text::Line,
};

crate::record_ids! {
    /// A custom field.
    CustomFieldId,
}

// Kept among the installation's collections, so that a field with something pending and no job is found, whatever the
// organization.
/// A field that an organization added to its customers.
#[derive(Clone, Debug, PartialEq, Record, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[expect(clippy::duplicated_attributes, reason = "fields begin more than one index")]
#[record(
    collection = "custom_fields",
    installation,
    search(key, label),
    unique(organization_id, applies_to, key),
    index(organization_id, applies_to, position),
    index(organization_id, archived, position),
    index(working)
)]
pub struct CustomField {
    /// The field's id.
    pub id: CustomFieldId,
    /// Its name in `custom` and, as `custom.<key>`, in filters and rules: lower snake case, 1 to 64 characters. Never changes.
    #[record(folded)]
    pub key: String,
    /// Its name for people.
    #[record(folded)]
    pub label: Line<200>,
    /// What its values are.
    pub r#type: CustomFieldType,
    /// Whether every record written from now on must have a value.
    pub required: bool,
    /// Whether no two records have the same value.
    pub unique: bool,
    /// The value of a new record that is given none.
    #[cfg_attr(feature = "openapi", schema(value_type = JsonText))]
    pub default: Option<JsonText>,
    /// What a `list` or `multi_list` is chosen from, in this order; empty for other types.
    pub options: Vec<String>,
    /// What values must be.
    pub rules: FieldRules,
    /// Whether filters and orders by it are served by an index.
    pub indexed: bool,
    /// The kind of record that has it. Never changes.
    pub applies_to: AppliesTo,
    /// Its place among the fields, from small to large.
    pub position: i64,
    /// Whether it is put away: its values stay, but are neither shown nor written.
    pub archived: bool,
    /// How far its index is.
    pub index_state: IndexState,
    /// What is still being done to stored values: `convert` to a new type, `unique` (noting which values are taken),
    /// `index`, `purge`. Left out where nothing is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<String>,
    /// The type that stored values are converted from.
    #[serde(skip)]
    pub converted_from: Option<CustomFieldType>,
    /// Whether `pending` names anything.
    #[serde(skip)]
    pub working: bool,
    /// The job that does what is pending.
    #[serde(skip)]
    pub job_id: Option<JobId>,
    /// Its version and times.
    #[serde(flatten)]
    pub meta: Meta,
}

/// The names of what can be pending on a field, in the order in which it is done.
pub(super) mod step {
    pub(in crate::field) const CONVERT: &str = "convert";
    pub(in crate::field) const UNIQUE: &str = "unique";
    pub(in crate::field) const INDEX: &str = "index";
    pub(in crate::field) const PURGE: &str = "purge";
}

impl CustomField {
    /// Notes work on stored values.
    pub(super) fn plan(&mut self, step: &str) {
        self.pending.push(step.to_owned());
        self.working = true;
        if step == step::INDEX {
            self.index_state = IndexState::Building;
        }
    }

    /// Goes on only where stored values are as the field says. An index that is being built hinders nothing.
    pub(super) fn refuse_while_working(&self) -> Result<()> {
        let steps: Vec<&str> = self.pending.iter().map(String::as_str).filter(|step| *step != step::INDEX).collect();
        if steps.is_empty() {
            return Ok(());
        }
        Err(Error::InvalidState(format!(
            "Stored values of this field are still being worked on ({}): try again when pending is gone.",
            steps.join(", ")
        )))
    }
}
