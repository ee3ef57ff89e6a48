//! How the cells of a file are read, as an import keeps it.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// How the cells of a file are read.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct ImportSettings {
    /// The order of dates, such as `dd/mm/yyyy`; `yyyy-mm-dd` where it is not given.
    pub(super) date_format: Option<String>,
    /// `.` or `,`.
    pub(super) decimal_separator: Option<String>,
    /// Whether an empty cell empties the field.
    pub(super) clear_empty: bool,
    /// Whether a row whose customer is there already is left out instead of refused.
    pub(super) skip_duplicates: bool,
    /// Whether customers may share phones.
    pub(super) allow_duplicate_phone: bool,
    /// What new customers get where the file says nothing.
    pub(super) defaults: Option<Box<RawValue>>,
}
