use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::{
    record::{DecodeError, FieldType},
    store::{FieldKind, Json, Value},
};

/// The values of a record's custom fields: a JSON object of key and value.
///
/// Stored, an instant is a number of milliseconds; [`super::FieldSet::present`] turns it into what the API shows.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CustomValues(Json);

/// The members of [`CustomValues`] by key, each as JSON.
pub(super) type ValueMap<'a> = BTreeMap<String, &'a RawValue>;

impl CustomValues {
    /// Takes an object that a [`super::FieldSet`] checked.
    pub(super) fn from_members<'a>(members: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut text = String::from("{");
        for (key, value) in members {
            if text.len() > 1 {
                text.push(',');
            }
            // Keys are lower snake case, or were read from JSON that was stored.
            text.push_str(&serde_json::to_string(key).unwrap_or_default());
            text.push(':');
            text.push_str(value);
        }
        text.push('}');
        Self(Json::from_trusted(text))
    }

    /// The object as JSON.
    #[must_use]
    pub const fn as_json(&self) -> &Json {
        &self.0
    }

    /// Whether there is no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.as_str() == "{}"
    }

    /// The members; none where the column was changed from outside into something else.
    pub(super) fn members(&self) -> ValueMap<'_> {
        serde_json::from_str(self.0.as_str()).unwrap_or_default()
    }
}

impl From<Json> for CustomValues {
    /// Takes what a store kept.
    fn from(json: Json) -> Self {
        Self(json)
    }
}

impl Serialize for CustomValues {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl FieldType for CustomValues {
    const KIND: FieldKind = FieldKind::Json;

    fn to_value(&self) -> Value {
        Value::Json(self.0.clone())
    }

    fn from_value(value: Value) -> Result<Self, DecodeError> {
        <Json as FieldType>::from_value(value).map(Self)
    }
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for CustomValues {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::Object)
            .additional_properties(Some(utoipa::openapi::schema::AdditionalProperties::FreeForm(true)))
            .description(Some("Values of the organization's custom fields, by key."))
            .examples([serde_json::json!({"city": "Pune", "birthday": "1990-05-17"})])
            .build()
            .into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for CustomValues {}
