//! Reading JSON bodies into types: every wrong field is found, and named by its path, before anything is refused.
//!
//! `#[derive(Input)]` on a struct writes the reading of an object. A member may be spelled in camelCase. A member
//! that is not declared is refused, and the declared ones are listed. Those that only the CRM writes are read over
//! (`ignore`) or refused as such (`refuse`), by their names or by those of a constant: `#[input(refuse = READ_ONLY)]`.
//!
//! ```
//! use crm_core::{input::{FromInput, Input, Patch}, text::Line};
//!
//! #[derive(Debug, Input)]
//! #[input(ignore(id, version, created_at, updated_at))]
//! struct ChangedFaq {
//!     question: Line<500>,
//!     #[input(default)]
//!     position: i64,
//!     answer: Patch<Line<500>>,
//! }
//!
//! let body = serde_json::value::RawValue::from_string(r#"{"id":"x","question":" Where? ","answer":null}"#.into()).unwrap();
//! let faq = ChangedFaq::from_input(&body).unwrap();
//! assert_eq!(faq.question.as_str(), "Where?");
//! assert_eq!(faq.answer, Patch::Clear);
//!
//! let body = serde_json::value::RawValue::from_string(r#"{"position":"one","colour":1}"#.into()).unwrap();
//! let wrong: Vec<String> = ChangedFaq::from_input(&body).unwrap_err().iter().map(|error| error.field.clone()).collect();
//! assert_eq!(wrong, ["question", "position", "colour"]);
//! ```

mod as_written;
pub(crate) mod batch;
mod members;
mod values;

pub(crate) use self::values::{parse_date, text};

pub use crm_core_derive::Input;
use serde_json::value::RawValue;

pub use self::{
    as_written::AsWritten,
    batch::MAX_BATCH,
    members::{Members, snake_case},
};
use crate::error::FieldErrors;

/// A type that is read from JSON.
pub trait FromInput: Sized {
    /// Reads a value.
    ///
    /// # Errors
    /// Every wrong field, by its path within the value; the empty path is the value itself.
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors>;

    /// Reads a value that a program put together, such as by `serde_json::json!`. Amounts of money with more digits than
    /// a double has are better given as text to be parsed.
    ///
    /// # Errors
    /// Those of [`FromInput::from_input`].
    fn from_json(value: &serde_json::Value) -> Result<Self, FieldErrors> {
        let json = serde_json::value::to_raw_value(value)
            .map_err(|_| FieldErrors::one("", "INVALID_TYPE", "cannot be written as JSON"))?;
        Self::from_input(&json)
    }

    /// What a member that is not given means; nothing where it is required.
    #[must_use]
    fn absent() -> Option<Self> {
        None
    }
}

/// What a PATCH says of a field.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Patch<T> {
    /// Nothing: the member is absent.
    #[default]
    Keep,
    /// To be cleared: the member is `null`.
    Clear,
    /// To be this.
    Set(T),
}

impl<T> Patch<T> {
    /// The new value of an optional field.
    #[must_use]
    pub fn apply(self, old: Option<T>) -> Option<T> {
        match self {
            Self::Keep => old,
            Self::Clear => None,
            Self::Set(value) => Some(value),
        }
    }

    /// Whether the field is named at all.
    #[must_use]
    pub const fn is_given(&self) -> bool {
        !matches!(self, Self::Keep)
    }

    /// The value, where there is one.
    #[must_use]
    pub const fn value(&self) -> Option<&T> {
        match self {
            Self::Set(value) => Some(value),
            _ => None,
        }
    }
}

impl<T: FromInput> FromInput for Patch<T> {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        if json.get() == "null" { Ok(Self::Clear) } else { T::from_input(json).map(Self::Set) }
    }

    fn absent() -> Option<Self> {
        Some(Self::Keep)
    }
}

impl<T: FromInput> FromInput for Option<T> {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        if json.get() == "null" { Ok(None) } else { T::from_input(json).map(Some) }
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

/// One schema for the value and for the `null` that clears it.
#[cfg(feature = "openapi")]
impl<T: utoipa::ToSchema> utoipa::PartialSchema for Patch<T> {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        let value_or_null = utoipa::openapi::schema::OneOfBuilder::new()
            .item(T::schema())
            .item(utoipa::openapi::ObjectBuilder::new().schema_type(utoipa::openapi::schema::Type::Null))
            .build();
        utoipa::openapi::RefOr::T(utoipa::openapi::Schema::OneOf(value_or_null))
    }
}

#[cfg(feature = "openapi")]
impl<T: utoipa::ToSchema> utoipa::ToSchema for Patch<T> {
    fn name() -> std::borrow::Cow<'static, str> {
        std::borrow::Cow::Owned(format!("Patch{}", T::name()))
    }

    fn schemas(schemas: &mut Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::schema::Schema>)>) {
        T::schemas(schemas);
    }
}
