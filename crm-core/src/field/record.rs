use serde::Serialize;

use super::{AppliesTo, CustomFieldType, FieldRules, IndexState, JsonText};
use crate::{
    record::{Meta, Record},
    text::Line,
};

crate::record_ids! {
    /// A custom field.
    CustomFieldId,
}

/// A field that an organization added to its customers.
///
/// Kept among the installation's collections, so that work on stored values that a process left behind is found
/// by another, whatever the organization.
#[derive(Clone, Debug, PartialEq, Record, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[record(
    collection = "custom_fields",
    installation,
    unique(organization_id, applies_to, key),
    index(organization_id, applies_to, position),
    index(working, held_until)
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
    /// Until when the process that works on it is trusted to be alive.
    #[serde(skip)]
    pub held_until: Option<crate::time::Timestamp>,
    /// Its version and times.
    #[serde(flatten)]
    pub meta: Meta,
}
