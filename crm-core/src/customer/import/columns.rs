//! The columns of a file.

use std::collections::HashSet;

use serde_json::value::RawValue;

use super::error_file::REPORT;
use crate::{
    import_file::{Content, Format, Part, records},
    input::Members,
};

/// The most members that are taken for columns of a file of JSON objects.
const MAX_COLUMNS: usize = 1000;
/// The longest name of one, in bytes.
const MAX_NAME: usize = 1000;

/// What the columns of a file of JSON objects are called: every member of its records, in the order in which they first
/// come.
#[derive(Debug, Default)]
pub(super) struct ObjectColumns {
    names: Vec<String>,
    seen: HashSet<String>,
}

impl ObjectColumns {
    /// Takes in the members of a part's records. What an error file says of a row is none of them.
    pub(super) fn add(&mut self, part: &Part) {
        for record in records(part, Format::Ndjson, 0) {
            let Ok(Content::Object(object)) = record.content else { continue };
            for (name, _) in members_of(object) {
                if self.names.len() == MAX_COLUMNS {
                    return;
                }
                if name != REPORT && name.len() <= MAX_NAME && !self.seen.contains(name.as_ref()) {
                    self.seen.insert(name.clone().into_owned());
                    self.names.push(name.into_owned());
                }
            }
        }
    }

    pub(super) fn into_names(self) -> Vec<String> {
        self.names
    }
}

fn members_of(object: &RawValue) -> Vec<(std::borrow::Cow<'_, str>, &RawValue)> {
    Members::parse(object).map(Members::into_rest).unwrap_or_default()
}
