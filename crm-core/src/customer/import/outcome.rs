//! What a part came to.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{
    record::{CustomerImport, ImportMode},
    seen::Seen,
};
use crate::{
    customer::{ask::Deed, chunk::Draft, undo::Undo, write::Answers},
    error::{Error, FieldErrors, Result},
    field::FieldSet,
    id::CustomerId,
    store::Json,
};

/// At most so many errors of a row are kept.
const MOST_ERRORS: usize = 20;
/// The longest that is kept of a message and of a field's name, in characters.
const LONGEST_MESSAGE: usize = 300;

/// One row of a part, as it is asked of the store.
#[derive(Clone, Debug)]
pub(super) struct RowText {
    /// The line in which it begins.
    pub(super) line: u64,
    /// As it stands in the file.
    pub(super) text: String,
}

/// What was asked of a part.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) rows: &'a [RowText],
    pub(super) mode: ImportMode,
    pub(super) skip_duplicates: bool,
}

/// A row that was refused.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct RefusedRow {
    pub(super) line: u64,
    /// What is wrong, and where.
    pub(super) errors: Vec<RowError>,
    /// The row as it stands in the file.
    pub(super) text: String,
}

/// What is wrong with a row.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct RowError {
    pub(super) field: String,
    pub(super) code: String,
    pub(super) message: String,
}

/// What a part came to.
#[derive(Clone, Debug, Default)]
pub(super) struct PartOutcome {
    pub(super) created: Vec<CustomerId>,
    pub(super) updated: Vec<CustomerId>,
    pub(super) counts: Counts,
    pub(super) refused: Vec<RefusedRow>,
    pub(super) undo: Undo,
}

/// How many rows came to what.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) read: i64,
    pub(super) created: i64,
    pub(super) updated: i64,
    pub(super) unchanged: i64,
    pub(super) skipped: i64,
    pub(super) failed: i64,
}

impl Counts {
    /// Adds them to an import.
    pub(super) const fn add_to(self, import: &mut CustomerImport) {
        import.rows_read += self.read;
        import.created += self.created;
        import.updated += self.updated;
        import.unchanged += self.unchanged;
        import.skipped += self.skipped;
        import.failed += self.failed;
    }
}

impl RowError {
    fn shortened(&self) -> Self {
        let short = |text: &str| text.chars().take(LONGEST_MESSAGE).collect();
        Self { field: short(&self.field), code: self.code.clone(), message: short(&self.message) }
    }
}

impl PartOutcome {
    /// Of the answers to the rows. What the rows of earlier parts took counts where nothing is written (`seen`).
    pub(super) fn of(
        asked: &Asked<'_>,
        answers: &Answers,
        drafts: &[Draft],
        fields: &FieldSet,
        seen: Option<&Seen>,
    ) -> Self {
        let mut outcome = Self::default();
        let mut lines: HashMap<CustomerId, u64> = HashMap::new();
        let skip_duplicates = asked.skip_duplicates;
        for (row, answer) in asked.rows.iter().zip(answers) {
            outcome.counts.read += 1;
            let draft = match answer {
                Ok((place, deed)) => drafts.get(*place).map(|draft| (draft, *deed)),
                Err(_) => None,
            };
            if let Some((draft, deed)) = draft {
                let earlier = seen.filter(|_| draft.before.is_none()).and_then(|seen| taken(seen, draft, fields));
                match (earlier, draft.deed, deed) {
                    (Some(_), _, Deed::Created) if asked.mode != ImportMode::Create => outcome.counts.updated += 1,
                    (Some((field, line)), _, Deed::Created) => {
                        outcome.refuse_or_skip(row, skip_duplicates, &taken_by(&field, line));
                    }
                    (_, Deed::Unchanged, _) | (_, _, Deed::Unchanged) => outcome.counts.unchanged += 1,
                    (_, _, Deed::Created) => {
                        outcome.counts.created += 1;
                        lines.entry(draft.after.id).or_insert(row.line);
                    }
                    _ => outcome.counts.updated += 1,
                }
                continue;
            }
            let error = match answer {
                Err(error) => error,
                Ok(_) => &Error::NotFound("customer"),
            };
            outcome.refuse_or_skip(row, skip_duplicates, &described(error, &lines));
        }
        for draft in drafts {
            match (&draft.before, draft.deed) {
                (_, Deed::Unchanged) => continue,
                (None, _) => outcome.created.push(draft.after.id),
                (Some(_), _) => outcome.updated.push(draft.after.id),
            }
            if seen.is_none() {
                outcome.undo.add(draft.before.as_ref(), &draft.after);
            }
        }
        outcome
    }

    fn refuse_or_skip(&mut self, row: &RowText, skip_duplicates: bool, errors: &[RowError]) {
        if skip_duplicates && errors.iter().all(|error| error.code == "DUPLICATE") {
            self.counts.skipped += 1;
            return;
        }
        self.counts.failed += 1;
        let errors = errors.iter().take(MOST_ERRORS).map(RowError::shortened).collect();
        self.refused.push(RefusedRow { line: row.line, errors, text: row.text.clone() });
    }

    /// The refused rows, as they are kept.
    pub(super) fn refused_json(&self) -> Result<Json> {
        kept(&self.refused)
    }

    /// What is needed to take the part back, as it is kept.
    pub(super) fn undo_json(&self) -> Result<Json> {
        kept(&self.undo)
    }
}

fn kept(value: &impl Serialize) -> Result<Json> {
    Ok(Json::from_trusted(serde_json::to_string(value).map_err(Error::internal)?))
}

/// The field and the line of an earlier part with which a new customer clashes.
fn taken(seen: &Seen, draft: &Draft, fields: &FieldSet) -> Option<(String, u64)> {
    let contact =
        draft.after.held_keys().into_iter().find_map(|key| Some((key.kind.field().to_owned(), seen.line_of(&key)?)));
    contact.or_else(|| {
        let values = fields.unique_values(&draft.after.custom);
        values.iter().find_map(|value| Some((format!("custom.{}", fields.key_of(value.0)?), seen.line_of(value)?)))
    })
}

fn taken_by(field: &str, line: u64) -> Vec<RowError> {
    let message = format!("There is a customer with the same {field} in line {line} of the file.");
    vec![RowError { field: field.to_owned(), code: "DUPLICATE".to_owned(), message }]
}

/// What is told of a refusal.
fn described(error: &Error, lines: &HashMap<CustomerId, u64>) -> Vec<RowError> {
    let one = |field: String, message: String| vec![RowError { field, code: error.code().to_owned(), message }];
    match error {
        Error::Invalid(errors) => of_fields(errors),
        Error::Duplicate { message, fields, matches } => {
            let line = matches.iter().find_map(|id| lines.get(&CustomerId(*id)));
            match line {
                Some(line) => taken_by(&fields.join(" and "), *line),
                None => {
                    let ids: Vec<String> = matches.iter().take(5).map(ToString::to_string).collect();
                    let named = if ids.is_empty() { String::new() } else { format!(" ({})", ids.join(", ")) };
                    one(fields.join(" and "), format!("{}{named}.", message.trim_end_matches('.')))
                }
            }
        }
        Error::NotFound(_) => one(String::new(), "There is no such customer to be changed.".to_owned()),
        Error::Internal(_) => one(String::new(), "Something went wrong on our side.".to_owned()),
        other => one(String::new(), other.to_string()),
    }
}

fn of_fields(errors: &FieldErrors) -> Vec<RowError> {
    errors
        .iter()
        .map(|error| RowError {
            field: error.field.clone(),
            code: error.code.to_owned(),
            message: error.message.clone(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_a_refused_row_is_bounded() {
        let error = RowError { field: "é".repeat(1000), code: "INVALID".to_owned(), message: "é".repeat(1000) };
        let row = RowText { line: 2, text: "a".to_owned() };
        let mut outcome = PartOutcome::default();
        outcome.refuse_or_skip(&row, false, &vec![error; 500]);
        let errors = &outcome.refused[0].errors;
        assert_eq!(errors.len(), 20);
        assert!(errors.iter().all(|error| error.message.chars().count() == 300 && error.field.chars().count() == 300));
    }
}
