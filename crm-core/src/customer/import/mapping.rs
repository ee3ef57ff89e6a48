//! Which column goes into which field: what was said, else what its name suggests.

use std::collections::HashMap;

use super::{
    error_file::front_columns,
    field::{self, Field, Kind},
    record::{ColumnFields, ImportMode},
};
use crate::{error::FieldErrors, import_file::guess_mapping};

/// At most so many names are listed in a refusal.
const LISTED: usize = 30;

/// What was said of the columns.
#[derive(Clone, Debug)]
pub(super) struct Said<'a> {
    pub(super) columns: &'a ColumnFields,
    /// Whether every column that is named must be in the file, as it must unless the mapping is for many files.
    pub(super) strict: bool,
}

/// The field of each column, empty for one that is ignored. The columns that an error file has in front are, and do not
/// count: what is said of the file that was refused holds for the file of its refused rows.
///
/// # Errors
/// Every column and field that is not there, and every field that two columns go into.
pub(super) fn resolve(
    columns: &[String],
    said: Option<&Said<'_>>,
    fields: &[Field],
) -> Result<Vec<String>, FieldErrors> {
    let (front, columns) = columns.split_at_checked(front_columns(columns)).unwrap_or((&[], columns));
    let mut errors = FieldErrors::new();
    let mut chosen: Vec<Option<Option<Field>>> = vec![None; columns.len()];
    if let Some(said) = said {
        for (column, name) in &said.columns.0 {
            let path = format!("mapping.{}", shown(column));
            let Some(place) = place(column, columns) else {
                if said.strict {
                    let there = listed(columns.iter().map(String::as_str));
                    errors.add(path, "NOT_FOUND", format!("is no column of the file; there are: {there}"));
                }
                continue;
            };
            let field = match name {
                None => None,
                Some(name) => match field::named(name, fields) {
                    Some(field) => Some(field),
                    None => {
                        let there = listed(fields.iter().map(|field| field.name.as_str()));
                        let message = format!("{} is no field; there are: {there}, consent.<channel>", shown(name));
                        errors.add(path, "UNKNOWN_FIELD", message);
                        continue;
                    }
                },
            };
            if let Some(slot) = chosen.get_mut(place) {
                *slot = Some(field);
            }
        }
    }
    guess(columns, &mut chosen, fields);
    let mut taken: HashMap<&str, usize> = HashMap::new();
    for (place, field) in chosen.iter().enumerate() {
        let Some(Some(field)) = field else { continue };
        if let Some(earlier) = taken.insert(&field.name, place)
            && !field.takes_many()
        {
            let column = |place: usize| columns.get(place).map(|name| shown(name)).unwrap_or_default();
            let message = format!("{} and {} both go into {}", column(earlier), column(place), field.name);
            errors.add(format!("mapping.{}", column(place)), "DUPLICATE_FIELD", message);
        }
    }
    let names = chosen.iter().map(|field| field.iter().flatten().next().map(|field| field.name.clone()));
    let ignored = front.iter().map(|_| String::new());
    let names = ignored.chain(names.map(Option::unwrap_or_default)).collect();
    errors.or(names)
}

/// Columns of which nothing was said go into what their names suggest, if nothing else does.
fn guess(columns: &[String], chosen: &mut [Option<Option<Field>>], fields: &[Field]) {
    let taken: Vec<&str> = chosen
        .iter()
        .flatten()
        .flatten()
        .filter(|field| !field.takes_many())
        .map(|field| field.name.as_str())
        .collect();
    let has_name = taken.contains(&"name");
    let has_part = taken.contains(&"first_name") || taken.contains(&"last_name");
    let open: Vec<&Field> = fields
        .iter()
        .filter(|field| !taken.contains(&field.name.as_str()))
        .filter(|field| !(has_name && matches!(field.kind, Kind::FirstName | Kind::LastName)))
        .filter(|field| !(has_part && field.name == "name"))
        .collect();
    let guessable: Vec<_> = open.iter().map(|field| field.guessable()).collect();
    let unsaid: Vec<usize> =
        chosen.iter().enumerate().filter(|(_, said)| said.is_none()).map(|(place, _)| place).collect();
    let headers: Vec<String> = unsaid.iter().filter_map(|place| columns.get(*place).cloned()).collect();
    for (place, guessed) in unsaid.iter().zip(guess_mapping(&headers, &guessable)) {
        let by_name = || {
            // Consent has a field for each channel, which is told by its name alone.
            let header = columns.get(*place)?;
            header.starts_with("consent.").then(|| field::named(header, &[])).flatten()
        };
        let field = guessed.and_then(|guessed| open.get(guessed)).map(|field| (*field).clone()).or_else(by_name);
        if let Some(slot) = chosen.get_mut(*place) {
            *slot = Some(field);
        }
    }
}

/// Whether the fields do for the mode.
///
/// # Errors
/// `REQUIRED` on `mapping` or `upsert_key`, naming the columns that the file has.
pub(super) fn suffices(
    columns: &[String],
    names: &[String],
    mode: ImportMode,
    upsert_key: Option<&str>,
    has_default_name: bool,
) -> Result<(), FieldErrors> {
    let mut errors = FieldErrors::new();
    let has = |name: &str| names.iter().any(|field| field == name);
    let there = || listed(columns.iter().map(String::as_str));
    if mode != ImportMode::Update && !has_default_name && !["name", "first_name", "last_name"].into_iter().any(has) {
        let message = format!("no column goes into name: say which one does; the file has: {}", there());
        errors.add("mapping", "REQUIRED", message);
    }
    if mode != ImportMode::Create {
        match upsert_key {
            Some(key) if !has(key) => {
                errors.add("upsert_key", "REQUIRED", format!("no column goes into {key}; the file has: {}", there()));
            }
            None if !has("email") && !has("phone") => {
                let message = format!(
                    "no column goes into email or phone, by which customers are found; the file has: {}",
                    there()
                );
                errors.add("mapping", "REQUIRED", message);
            }
            _ => {}
        }
    }
    errors.or(())
}

/// The place of a column: by its name, by its name in another case, or by `#` and its number from 1.
fn place(column: &str, columns: &[String]) -> Option<usize> {
    let trimmed = column.trim();
    let same = |name: &String| name == column || name == trimmed;
    columns
        .iter()
        .position(same)
        .or_else(|| columns.iter().position(|name| name.to_lowercase() == trimmed.to_lowercase()))
        .or_else(|| {
            let number: usize = trimmed.strip_prefix('#')?.parse().ok()?;
            number.checked_sub(1).filter(|place| *place < columns.len())
        })
}

fn shown(name: &str) -> String {
    let short: String = name.chars().take(60).collect();
    if short.is_empty() { "(no name)".to_owned() } else { short }
}

fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<String> = names.map(shown).collect();
    let more = names.len().saturating_sub(LISTED);
    names.truncate(LISTED);
    let mut listed = names.join(", ");
    if more > 0 {
        listed.push_str(&format!(" and {more} more"));
    }
    listed
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::field::{AppliesTo, FieldSet};

    fn columns(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn said(pairs: &[(&str, Option<&str>)]) -> ColumnFields {
        let pairs = pairs.iter().map(|(column, field)| ((*column).to_owned(), field.map(str::to_owned)));
        ColumnFields(pairs.collect::<BTreeMap<_, _>>())
    }

    fn codes(result: Result<Vec<String>, FieldErrors>) -> Vec<(String, &'static str)> {
        result.unwrap_err().iter().map(|error| (error.field.clone(), error.code)).collect()
    }

    #[test]
    fn what_is_said_goes_before_what_is_guessed() {
        let fields = field::all(&FieldSet::empty(AppliesTo::Customer));
        let names = columns(&["Full name", "E-Mail", "Notes", "consent.sms", "Tags"]);
        assert_eq!(resolve(&names, None, &fields).unwrap(), ["name", "email", "", "consent.sms", "tags"]);
        let given = said(&[("notes", Some("name")), ("#1", None), ("Tags", Some("add_tags"))]);
        let given = Said { columns: &given, strict: true };
        assert_eq!(resolve(&names, Some(&given), &fields).unwrap(), ["", "email", "name", "consent.sms", "add_tags"]);
    }

    #[test]
    fn what_an_error_file_has_in_front_does_not_count() {
        let fields = field::all(&FieldSet::empty(AppliesTo::Customer));
        let names = columns(&["line", "field", "code", "message", "code", "Mail"]);
        let given = said(&[("code", Some("name")), ("#2", Some("email"))]);
        let given = Said { columns: &given, strict: true };
        assert_eq!(resolve(&names, Some(&given), &fields).unwrap(), ["", "", "", "", "name", "email"]);
        let own = columns(&["line", "field", "code", "Message", "name"]);
        let given = said(&[("message", Some("user_id"))]);
        let given = Said { columns: &given, strict: true };
        assert_eq!(resolve(&own, Some(&given), &fields).unwrap(), ["", "", "", "user_id", "name"]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let fields = field::all(&FieldSet::empty(AppliesTo::Customer));
        let names = columns(&["a", "b"]);
        let given = said(&[("c", Some("name")), ("a", Some("nmae"))]);
        let strict = Said { columns: &given, strict: true };
        assert_eq!(
            codes(resolve(&names, Some(&strict), &fields)),
            [("mapping.a".to_owned(), "UNKNOWN_FIELD"), ("mapping.c".to_owned(), "NOT_FOUND")]
        );
        let given = said(&[("c", Some("name")), ("a", Some("name"))]);
        assert!(resolve(&names, Some(&Said { columns: &given, strict: false }), &fields).is_ok());
        let given = said(&[("b", Some("name")), ("a", Some("name"))]);
        let both = Said { columns: &given, strict: true };
        assert_eq!(codes(resolve(&names, Some(&both), &fields)), [("mapping.b".to_owned(), "DUPLICATE_FIELD")]);
    }

    #[test]
    fn a_mode_needs_its_columns() {
        let names = columns(&["email", "", "tags"]);
        assert!(suffices(&names, &names, ImportMode::Create, None, false).is_err());
        assert!(suffices(&names, &names, ImportMode::Create, None, true).is_ok());
        assert!(suffices(&names, &names, ImportMode::Update, None, false).is_ok());
        assert!(suffices(&names, &names, ImportMode::Update, Some("id"), false).is_err());
        assert!(suffices(&names, &columns(&["name", "", ""]), ImportMode::Upsert, None, false).is_err());
    }
}
