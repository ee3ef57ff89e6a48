//! What went wrong in SQLite, as errors of the contract and sentences for people.

use std::{path::Path, time::Duration};

use crm_core::store::{Collection, StoreError};
use sqlx::error::DatabaseError;

/// The primary result code of an error; see <https://www.sqlite.org/rescode.html>.
pub(crate) fn code(error: &sqlx::Error) -> Option<i32> {
    extended_code(error).map(|code| code & 0xff)
}

fn extended_code(error: &sqlx::Error) -> Option<i32> {
    error.as_database_error().and_then(DatabaseError::code).and_then(|code| code.parse().ok())
}

const BUSY: i32 = 5;
const LOCKED: i32 = 6;
const NO_MEMORY: i32 = 7;
const READ_ONLY: i32 = 8;
const INPUT_OUTPUT: i32 = 10;
const CORRUPT: i32 = 11;
const FULL: i32 = 13;
const CANNOT_OPEN: i32 = 14;
const TOO_BIG: i32 = 18;
const CONSTRAINT: i32 = 19;
const NOT_A_DATABASE: i32 = 26;
const CHECK: i32 = CONSTRAINT | (1 << 8);
const DATA_TYPE: i32 = CONSTRAINT | (12 << 8);

/// Whether the error is one statement's own affair, so that the rest of its transaction can go on.
pub(crate) fn spares_the_transaction(error: &sqlx::Error) -> bool {
    matches!(code(error), Some(CONSTRAINT | TOO_BIG | 1))
}

/// Whether another program holds the file.
pub(crate) fn is_locked(error: &sqlx::Error) -> bool {
    matches!(code(error), Some(BUSY | LOCKED))
}

/// The error for a file that another program holds.
pub(crate) fn locked() -> StoreError {
    StoreError::Unavailable {
        message: "the database is locked by another program".to_owned(),
        retry_after: Duration::from_secs(1),
    }
}

/// An error while the program runs.
pub(crate) fn running(error: sqlx::Error) -> StoreError {
    let unavailable = |message: &str, seconds| StoreError::Unavailable {
        message: message.to_owned(),
        retry_after: Duration::from_secs(seconds),
    };
    match code(&error) {
        Some(BUSY | LOCKED) => locked(),
        Some(FULL) => unavailable("the disk of the database is full: free some space", 30),
        Some(READ_ONLY) => unavailable("the database cannot be written: its file or folder is read-only", 30),
        Some(CANNOT_OPEN) => unavailable("the database file cannot be opened any more", 30),
        Some(NO_MEMORY) => unavailable("the machine is out of memory", 5),
        Some(INPUT_OUTPUT) => unavailable("the disk of the database answers with errors", 30),
        Some(TOO_BIG) => StoreError::TooLarge("a value is larger than the database takes".to_owned()),
        Some(CORRUPT | NOT_A_DATABASE) => StoreError::Unusable(
            "the database file is damaged: stop the program and restore the last backup beside it".to_owned(),
        ),
        _ => StoreError::engine(error),
    }
}

/// An error while the database is opened or brought up to date.
pub(crate) fn starting(path: &Path, error: sqlx::Error) -> StoreError {
    let path = path.display();
    let sentence = match code(&error) {
        Some(BUSY | LOCKED) => format!(
            "{path} is locked by another program: stop it (or let it finish) and start again; nothing was changed"
        ),
        Some(FULL) => format!("the disk of {path} is full: free some space and start again; nothing was changed"),
        Some(READ_ONLY) => {
            format!("{path} cannot be written: give the program's user write permission to the file and its folder")
        }
        Some(CANNOT_OPEN) => {
            format!("{path} cannot be opened: check that the folder exists and that the program's user may write to it")
        }
        Some(INPUT_OUTPUT) => {
            format!("the disk of {path} answers with errors: check the disk, then start again or restore a backup")
        }
        Some(CORRUPT) => {
            format!("{path} is damaged and was left as it is: put it aside and restore the last backup in its place")
        }
        Some(NOT_A_DATABASE) => not_a_database(&path),
        Some(NO_MEMORY) => format!("the machine has too little memory to open {path}"),
        _ => return StoreError::engine(error),
    };
    StoreError::Unusable(sentence)
}

/// The sentence for a file that is something else.
pub(crate) fn not_a_database(path: &dyn std::fmt::Display) -> String {
    format!("{path} is not a database of this program and was left as it is: name another file, or move this one away")
}

/// An error of a statement that writes to the collection.
pub(crate) fn writing(collection: &'static Collection, error: sqlx::Error) -> StoreError {
    if code(&error) != Some(CONSTRAINT) {
        return running(error);
    }
    let extended = extended_code(&error);
    let Some(message) = error.as_database_error().map(|error| error.message().to_owned()) else {
        return running(error);
    };
    if matches!(extended, Some(CHECK | DATA_TYPE)) {
        // "CHECK constraint failed: spend" or "cannot store TEXT value in INTEGER column customers.visits"
        let name = message.rsplit([' ', '.']).next().unwrap_or_default();
        return match collection.field(name) {
            Some(field) => StoreError::OutOfRange { collection: collection.name, field: field.name },
            None => running(error),
        };
    }
    match taken_key(collection, &message) {
        Some((key, fields)) => StoreError::Duplicate {
            collection: collection.name,
            key: key.to_owned(),
            fields: fields.iter().map(|field| (*field).to_owned()).collect(),
        },
        None => running(error),
    }
}

/// Which key a message such as `UNIQUE constraint failed: customers.organization_id, customers.email` speaks of.
fn taken_key(collection: &'static Collection, message: &str) -> Option<(&'static str, &'static [&'static str])> {
    let columns: Vec<&str> = message
        .strip_prefix("UNIQUE constraint failed: ")?
        .split(", ")
        .map(|column| column.rsplit('.').next().unwrap_or(column))
        .collect();
    let names = |fields: &[&str]| {
        columns.ends_with(fields) && matches!(columns[..columns.len() - fields.len()], [] | ["organization_id"])
    };
    // The longest first, so that a key led by the organization itself is not taken for a shorter one.
    collection
        .unique
        .iter()
        .map(|key| (key.name, key.fields))
        .chain([("id", ["id"].as_slice())])
        .filter(|(_, fields)| names(fields))
        .max_by_key(|(_, fields)| fields.len())
}
