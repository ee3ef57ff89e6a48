use serde::{Serialize, Serializer, ser::Error as _};
use serde_json::value::RawValue;

use crate::{
    error::FieldErrors,
    input::FromInput,
    record::{DecodeError, FieldType},
    store::{FieldKind, Value},
};

/// A piece of JSON kept digit by digit as it was written, so that exact amounts stay exact in every store.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct JsonText(Box<str>);

impl JsonText {
    /// Takes text that is known to be JSON.
    pub(super) fn from_trusted(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The text.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        &self.0
    }

    /// The text as JSON; `null` where it is none.
    pub(super) fn to_raw(&self) -> Box<RawValue> {
        RawValue::from_string(self.0.to_string()).unwrap_or_else(|_| RawValue::NULL.to_owned())
    }
}

impl Serialize for JsonText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(S::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl FromInput for JsonText {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        Ok(Self(json.get().into()))
    }
}

impl FieldType for JsonText {
    const KIND: FieldKind = FieldKind::Text;

    fn to_value(&self) -> Value {
        Value::Text(self.0.to_string())
    }

    fn from_value(value: Value) -> Result<Self, DecodeError> {
        String::from_value(value).map(Self::from_trusted)
    }
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for JsonText {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::SchemaType::AnyValue)
            .description(Some("Any JSON."))
            .build()
            .into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for JsonText {}
