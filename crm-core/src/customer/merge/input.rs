use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    error::FieldErrors,
    id::CustomerId,
    input::{FromInput, Input, Members, text},
};

/// The fields of which one customer's value is taken; those with members (`custom.…`, `metadata.…`) member by member.
pub(super) const CHOOSABLE: [&str; 8] = ["name", "email", "phone", "status", "type", "user_id", "owner_id", "team_id"];

/// Whose value is taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// That of the customer who is kept.
    Kept,
    /// That of the duplicate.
    Duplicate,
}

impl FromInput for Side {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        match text(json)?.as_str() {
            "kept" => Ok(Self::Kept),
            "duplicate" => Ok(Self::Duplicate),
            _ => Err(FieldErrors::one("", "INVALID_CHOICE", "must be one of kept, duplicate")),
        }
    }
}

/// Whose value is taken, by field.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct FieldChoices(pub(super) BTreeMap<String, Side>);

impl FieldChoices {
    /// Whose value of a field is taken, where that was said.
    pub(super) fn of(&self, field: &str) -> Option<Side> {
        self.0.get(field).copied()
    }
}

impl FromInput for FieldChoices {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        let mut errors = FieldErrors::new();
        let mut choices = BTreeMap::new();
        for (name, json) in Members::parse(json)?.into_rest() {
            let name: String = name.chars().take(100).collect();
            let known = CHOOSABLE.contains(&name.as_str())
                || ["custom.", "metadata."].iter().any(|prefix| name.len() > prefix.len() && name.starts_with(prefix));
            if !known {
                let message = format!(
                    "is no field to choose; allowed are: {}, custom.<key>, metadata.<key>",
                    CHOOSABLE.join(", ")
                );
                errors.add(name, "UNKNOWN_FIELD", message);
                continue;
            }
            if let Some(side) = errors.take(&name, Side::from_input(json)) {
                choices.insert(name, side);
            }
        }
        errors.or(Self(choices))
    }

    fn absent() -> Option<Self> {
        Some(Self::default())
    }
}

/// Which customer is the duplicate, and what is kept of it.
#[derive(Clone, Debug, Input)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(example = json!({
    "duplicate_id": "0198c1de-5f00-7000-8000-000000000002", "fields": {"email": "duplicate"}, "dry_run": true
})))]
pub struct MergeRequest {
    /// The customer who goes into the one of the address.
    pub duplicate_id: CustomerId,
    /// Whose value is taken of `name`, `email`, `phone`, `status`, `type`, `user_id`, `owner_id`, `team_id`,
    /// `custom.<key>` and `metadata.<key>`: `kept` or `duplicate`. Where it is not said, the kept customer's, and the
    /// duplicate's where that one has none.
    #[cfg_attr(feature = "openapi", schema(value_type = std::collections::HashMap<String, Side>, required = false))]
    pub fields: FieldChoices,
    /// Only tells what would become of the two.
    #[input(default)]
    #[cfg_attr(feature = "openapi", schema(required = false))]
    pub dry_run: bool,
}
