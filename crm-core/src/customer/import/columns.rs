//! The columns of a file.

use serde_json::value::RawValue;

use crate::{
    import_file::{Content, Format, Part, records},
    input::Members,
};

/// The most members that are taken for columns of a file of JSON objects.
const MAX_COLUMNS: usize = 1000;

/// What the columns of a file of JSON objects are called: every member of the first records, in the order in which they
/// first come.
pub(super) fn of_objects(part: &Part) -> Vec<String> {
    let mut columns: Vec<String> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for record in records(part, Format::Ndjson, 0) {
        let Ok(Content::Object(object)) = record.content else { continue };
        for name in names_of(object) {
            if columns.len() < MAX_COLUMNS && seen.insert(name.clone()) {
                columns.push(name);
            }
        }
    }
    columns
}

fn names_of(object: &RawValue) -> Vec<String> {
    let members = Members::parse(object).map(Members::into_rest).unwrap_or_default();
    members.into_iter().map(|(name, _)| name.into_owned()).collect()
}
