use serde_json::value::RawValue;

use super::{FromInput, Members};
use crate::error::FieldErrors;

/// A batch names at most so many records.
pub const MAX_BATCH: usize = 1000;

/// Reads `{"items": […]}`, under another name too, or the list itself. Each item has its own errors: one that is wrong does
/// not spoil the others.
pub(crate) fn items<T: FromInput>(
    json: &RawValue,
    other_name: &str,
) -> Result<Vec<Result<T, FieldErrors>>, FieldErrors> {
    let items = if json.get().starts_with('[') {
        bounded(Some(Vec::from_input(json)), "")?
    } else {
        let mut errors = FieldErrors::new();
        let mut members = Members::parse(json)?;
        let items = members.take(&["items", other_name]).map(Vec::from_input);
        members.finish(&["items"], &mut errors);
        let items = errors.take("", bounded(items, "items"));
        errors.or(items.unwrap_or_default())?
    };
    Ok(items.iter().map(|item| T::from_input(item)).collect())
}

/// The items of a batch, 1 to 1000 of them.
pub(crate) fn bounded(
    items: Option<Result<Vec<Box<RawValue>>, FieldErrors>>,
    field: &str,
) -> Result<Vec<Box<RawValue>>, FieldErrors> {
    let mut errors = FieldErrors::new();
    let items = match items {
        Some(items) => errors.take(field, items).unwrap_or_default(),
        None => Vec::new(),
    };
    if errors.is_empty() && items.is_empty() {
        errors.add(field, "REQUIRED", "must have at least one element");
    }
    if items.len() > MAX_BATCH {
        errors.add(field, "TOO_MANY", format!("must have at most {MAX_BATCH} elements, not {}", items.len()));
    }
    errors.or(items)
}
