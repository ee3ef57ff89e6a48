//! What went wrong in MongoDB, as errors of the contract and sentences for people.

use std::time::Duration;

use crm_core::store::{Collection, StoreError};
use mongodb::error::{Error, ErrorKind, WriteFailure};

use crate::schema;

const DUPLICATE_KEY: i32 = 11_000;
const WRITE_CONFLICT: i32 = 112;
const NO_SUCH_TRANSACTION: i32 = 251;
const MAX_TIME_EXPIRED: i32 = 50;
const SNAPSHOT_TOO_OLD: i32 = 239;
const SNAPSHOT_UNAVAILABLE: i32 = 246;
const NAMESPACE_EXISTS: i32 = 48;
const NAMESPACE_NOT_FOUND: i32 = 26;
const INDEX_NOT_FOUND: i32 = 27;
const BAD_VALUE: i32 = 2;
const INDEX_OPTIONS_CONFLICT: i32 = 85;
const INDEX_KEY_CONFLICT: i32 = 86;
const UNAUTHORIZED: i32 = 13;
const AUTHENTICATION_FAILED: i32 = 18;
const CANNOT_CREATE_INDEX: i32 = 67;
/// A document or a command that is larger than the server takes, one nested too deep, a transaction with too many changes.
const TOO_LARGE: [i32; 5] = [10_334, 17_419, 17_280, 257, 15];
/// The server is going down, has no primary, or has lost it.
const STEPPING_DOWN: [i32; 13] = [6, 7, 89, 91, 134, 189, 262, 9_001, 10_107, 11_600, 11_602, 13_435, 13_436];

/// The number and the message of an error that the server told.
pub(crate) fn code(error: &Error) -> Option<(i32, &str)> {
    match error.kind.as_ref() {
        ErrorKind::Command(error) => Some((error.code, &error.message)),
        ErrorKind::Write(WriteFailure::WriteError(error)) => Some((error.code, &error.message)),
        ErrorKind::Write(WriteFailure::WriteConcernError(error)) => Some((error.code, &error.message)),
        ErrorKind::InsertMany(errors) => {
            let error = errors.write_errors.iter().flatten().next().map(|error| (error.code, error.message.as_str()));
            error.or_else(|| errors.write_concern_error.as_ref().map(|error| (error.code, error.message.as_str())))
        }
        _ => None,
    }
}

fn has_code(error: &Error, codes: &[i32]) -> bool {
    code(error).is_some_and(|(code, _)| codes.contains(&code))
}

/// Whether the transaction did not happen and may be run again.
pub(crate) fn is_transient(error: &Error) -> bool {
    error.contains_label(mongodb::error::TRANSIENT_TRANSACTION_ERROR)
        || has_code(error, &[WRITE_CONFLICT, NO_SUCH_TRANSACTION])
}

/// Whether it is not known if the transaction happened.
pub(crate) fn is_unknown(error: &Error) -> bool {
    error.contains_label(mongodb::error::UNKNOWN_TRANSACTION_COMMIT_RESULT)
}

/// Whether reading again may succeed at once: a collection or index is so new that no snapshot has it yet, or the
/// snapshot is gone.
pub(crate) fn is_stale_snapshot(error: &Error) -> bool {
    has_code(error, &[SNAPSHOT_TOO_OLD, SNAPSHOT_UNAVAILABLE])
}

/// Whether the command may or may not have reached the server.
pub(crate) fn is_lost(error: &Error) -> bool {
    matches!(
        error.kind.as_ref(),
        ErrorKind::Io(_) | ErrorKind::ConnectionPoolCleared { .. } | ErrorKind::ServerSelection { .. }
    ) || has_code(error, &STEPPING_DOWN)
}

/// Whether an index of the name, or of the same fields, is there and is another.
pub(crate) fn is_other_index(error: &Error) -> bool {
    has_code(error, &[INDEX_OPTIONS_CONFLICT, INDEX_KEY_CONFLICT])
}

/// Whether the index that a command names is not there.
pub(crate) fn is_bad_hint(error: &Error) -> bool {
    code(error).is_some_and(|(code, message)| code == BAD_VALUE && message.contains("hint"))
}

/// Whether the collection is there already.
pub(crate) fn is_there(error: &Error) -> bool {
    has_code(error, &[NAMESPACE_EXISTS])
}

/// Whether the collection or index is not there.
pub(crate) fn is_absent(error: &Error) -> bool {
    has_code(error, &[NAMESPACE_NOT_FOUND, INDEX_NOT_FOUND])
}

/// Whether a unique key is taken.
pub(crate) fn is_duplicate(error: &Error) -> bool {
    has_code(error, &[DUPLICATE_KEY])
}

/// Whether the collection has as many indexes as MongoDB allows.
pub(crate) fn is_out_of_indexes(error: &Error) -> bool {
    has_code(error, &[CANNOT_CREATE_INDEX])
}

/// The error of a server that does not answer.
pub(crate) fn unavailable(message: &str, seconds: u64) -> StoreError {
    StoreError::Unavailable { message: message.to_owned(), retry_after: Duration::from_secs(seconds) }
}

/// An error while the program runs.
pub(crate) fn running(error: Error) -> StoreError {
    if is_lost(&error) {
        return unavailable("the MongoDB server does not answer, or has no primary", 2);
    }
    match code(&error) {
        Some((MAX_TIME_EXPIRED, _)) => unavailable("the database took longer than it may", 5),
        Some((code, _)) if TOO_LARGE.contains(&code) => {
            StoreError::TooLarge("more than MongoDB takes in one document or one transaction".to_owned())
        }
        Some((WRITE_CONFLICT | NO_SUCH_TRANSACTION | SNAPSHOT_TOO_OLD | SNAPSHOT_UNAVAILABLE, _)) => crowded(),
        _ => match error.kind.as_ref() {
            ErrorKind::Shutdown => closed(),
            _ => StoreError::engine(error),
        },
    }
}

/// The error of a store that was closed.
pub(crate) fn closed() -> StoreError {
    unavailable("the database is closed", 1)
}

/// The error of a commit that others kept from happening for too long.
pub(crate) fn crowded() -> StoreError {
    unavailable("too many change the same records at once", 1)
}

/// The error of a commit of which it could not be found out in time whether it happened.
pub(crate) fn unknown() -> StoreError {
    unavailable("the connection to MongoDB broke while a change was written, which may or may not have happened", 2)
}

/// The error of a document that is too large.
pub(crate) fn too_large(collection: &Collection) -> StoreError {
    StoreError::TooLarge(format!("a record of {} is larger than the 16 MiB that MongoDB takes", collection.name))
}

/// An error while the database is connected to or brought up to date. `at` names the server and database, without
/// credentials.
pub(crate) fn starting(at: &str, error: Error) -> StoreError {
    let sentence = match error.kind.as_ref() {
        ErrorKind::Authentication { .. } => format!(
            "{at} refuses the user or the password: check both in the URL (percent-encoded), and `authSource` where the \
             user is kept in another database"
        ),
        ErrorKind::ServerSelection { message, .. } => format!(
            "no MongoDB server that can be written to answers at {at}: check that it runs, the host and port, the name of the replica \
             set and the firewall ({message})"
        ),
        ErrorKind::DnsResolve { message, .. } => {
            format!("the name of {at} cannot be looked up: check the host in the URL ({message})")
        }
        ErrorKind::InvalidTlsConfig { message, .. } => format!("the TLS settings for {at} cannot be used: {message}"),
        _ => match code(&error) {
            Some((AUTHENTICATION_FAILED, _)) => format!("{at} refuses the user or the password: check both in the URL"),
            Some((UNAUTHORIZED, message)) => format!(
                "the user may not do what is needed in {at}: give it the role `readWrite` or `dbOwner` there ({message})"
            ),
            _ => return running(error),
        },
    };
    StoreError::Unusable(sentence)
}

/// An error of a command that writes to the collection.
pub(crate) fn writing(collection: &'static Collection, error: Error) -> StoreError {
    let taken = match code(&error) {
        Some((DUPLICATE_KEY, message)) => taken_key(collection, message),
        _ => None,
    };
    match taken {
        Some((key, fields)) => StoreError::Duplicate {
            collection: collection.name,
            key: key.to_owned(),
            fields: fields.iter().map(|field| (*field).to_owned()).collect(),
        },
        None => running(error),
    }
}

/// Which key a message such as `E11000 duplicate key error collection: crm.customers index: key_email dup key: { … }`
/// speaks of.
fn taken_key(collection: &'static Collection, message: &str) -> Option<(&'static str, &'static [&'static str])> {
    let (_, after) = message.split_once("index: ")?;
    let name = after.split_once(" dup key").map_or(after, |(name, _)| name).trim();
    if name == "_id_" {
        return Some(("id", &["id"]));
    }
    collection.unique.iter().find(|key| schema::key_name(key) == name).map(|key| (key.name, key.fields))
}
