use serde_json::value::RawValue;

use super::FromInput;
use crate::error::FieldErrors;

/// A value with the JSON that it was read from, for work that is done later.
#[derive(Clone, Debug)]
pub struct AsWritten<T> {
    /// The value.
    pub value: T,
    /// The JSON.
    pub text: Box<RawValue>,
}

impl<T: FromInput> FromInput for AsWritten<T> {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        Ok(Self { value: T::from_input(json)?, text: json.to_owned() })
    }
}
