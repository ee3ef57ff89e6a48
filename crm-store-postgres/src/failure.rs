//! What went wrong in PostgreSQL, as errors of the contract and sentences for people.

use std::time::Duration;

use crm_core::store::{Collection, StoreError};
use sqlx::{error::DatabaseError, postgres::PgDatabaseError};

use crate::{layout::Layout, options::PostgresOptions, schema};

/// The SQLSTATE of an error; see <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
pub(crate) fn code(error: &sqlx::Error) -> Option<&str> {
    server(error).map(PgDatabaseError::code)
}

fn server(error: &sqlx::Error) -> Option<&PgDatabaseError> {
    error.as_database_error().and_then(<dyn DatabaseError>::try_downcast_ref)
}

const READ_ONLY: &str = "25006";
const UNIQUE: &str = "23505";
const CHECK: &str = "23514";
const OUT_OF_RANGE: &str = "22003";
const WRONG_PASSWORD: &str = "28P01";
const NOT_ALLOWED_IN: &str = "28000";
const NO_DATABASE: &str = "3D000";
const NO_PRIVILEGE: &str = "42501";
const SERIALIZATION: &str = "40001";
const DEADLOCK: &str = "40P01";
const DISK_FULL: &str = "53100";
const NO_MEMORY: &str = "53200";
const TOO_MANY_CONNECTIONS: &str = "53300";
const CANCELLED: &str = "57014";
const LOCKED: &str = "55P03";
/// The server ended the session: it goes away, or the session was idle or busy too long.
const SHUTTING_DOWN: [&str; 7] = ["57P01", "57P02", "57P03", "57P04", "57P05", "25P03", "25P04"];

/// Whether others got in the way, so that running the same again may succeed.
pub(crate) fn is_contention(error: &sqlx::Error) -> bool {
    matches!(code(error), Some(SERIALIZATION | DEADLOCK))
}

/// Whether others held a lock for longer than was to be waited.
pub(crate) fn is_locked(error: &sqlx::Error) -> bool {
    code(error) == Some(LOCKED)
}

/// Whether a unique key is taken.
pub(crate) fn is_taken(error: &sqlx::Error) -> bool {
    code(error) == Some(UNIQUE)
}

/// Whether the connection is gone.
pub(crate) fn is_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => true,
        other => code(other).is_some_and(|code| code.starts_with("08") || SHUTTING_DOWN.contains(&code)),
    }
}

/// Whether running it in another way would end the same: the server has no time, no room, or may not write.
pub(crate) fn is_over(error: &sqlx::Error) -> bool {
    matches!(code(error), Some(CANCELLED | DISK_FULL | NO_MEMORY | READ_ONLY))
}

fn unavailable(message: &str, seconds: u64) -> StoreError {
    StoreError::Unavailable { message: message.to_owned(), retry_after: Duration::from_secs(seconds) }
}

/// The error of a store that was closed.
pub(crate) fn closed() -> StoreError {
    unavailable("the connection to the database is closed", 1)
}

/// The error where all connections are on loan for too long.
pub(crate) fn busy() -> StoreError {
    unavailable("every connection to the database is in use", 1)
}

/// The error where others have changed the same records for too long.
pub(crate) fn crowded() -> StoreError {
    unavailable("others change the same records", 1)
}

/// The error where the server does not answer.
pub(crate) fn away() -> StoreError {
    unavailable("the database cannot be reached", 1)
}

/// The error where a commit was under way when the connection was lost, and whether it was made cannot be found out.
pub(crate) fn unknown_outcome() -> StoreError {
    unavailable("the connection to the database was lost during a commit, which may or may not have been made", 1)
}

/// An error while the program runs.
pub(crate) fn running(error: sqlx::Error) -> StoreError {
    if is_lost(&error) {
        return away();
    }
    match code(&error) {
        Some(SERIALIZATION | DEADLOCK) => crowded(),
        Some(DISK_FULL) => unavailable("the disk of the database is full: free some space", 30),
        Some(NO_MEMORY) => unavailable("the database server is out of memory", 5),
        Some(TOO_MANY_CONNECTIONS) => unavailable("the database server takes no more connections", 2),
        Some(READ_ONLY) => unavailable("the database cannot be written: the server is a read-only standby", 5),
        Some(CANCELLED) => unavailable("the database took too long to answer", 5),
        Some(LOCKED) => unavailable("the records are locked by others", 1),
        Some(code) if code.starts_with("54") => {
            StoreError::TooLarge("a value is larger than the database takes".to_owned())
        }
        Some(NO_PRIVILEGE) => StoreError::Unusable(format!("the database's user may not do that: {error}")),
        _ => StoreError::engine(error),
    }
}

/// An error of a statement that writes to the collection.
pub(crate) fn writing(layout: &Layout, error: sqlx::Error) -> StoreError {
    let Some(details) = server(&error) else { return running(error) };
    match details.code() {
        UNIQUE => {
            let taken = details.constraint().and_then(|name| taken_key(layout, name));
            taken.map_or_else(|| running(error), |(key, fields)| duplicate(layout.collection, key, fields))
        }
        CHECK => {
            let constraint = details.constraint().unwrap_or_default();
            let field = layout.collection.fields.iter().find(|field| schema::range_name(layout, field) == constraint);
            field.map_or_else(|| running(error), |field| out_of_range(layout.collection, field.name))
        }
        schema::REFUSED => {
            let field = details.column().and_then(|name| layout.collection.field(name));
            field.map_or_else(|| running(error), |field| out_of_range(layout.collection, field.name))
        }
        // A sum of money that leaves the column itself: its type says so before its range does.
        OUT_OF_RANGE => StoreError::Misuse(format!("{}: a number is out of range", layout.collection.name)),
        _ => running(error),
    }
}

const fn out_of_range(collection: &'static Collection, field: &'static str) -> StoreError {
    StoreError::OutOfRange { collection: collection.name, field }
}

fn duplicate(collection: &'static Collection, key: &str, fields: &[&str]) -> StoreError {
    StoreError::Duplicate {
        collection: collection.name,
        key: key.to_owned(),
        fields: fields.iter().map(|field| (*field).to_owned()).collect(),
    }
}

/// Which key the index is of.
fn taken_key(layout: &Layout, index: &str) -> Option<(&'static str, &'static [&'static str])> {
    if index == schema::primary_key(layout) {
        return Some(("id", &["id"]));
    }
    let key = layout.collection.unique.iter().find(|key| schema::unique_name(layout, key.name) == index)?;
    Some((key.name, key.fields))
}

/// An error while the database is opened or brought up to date.
pub(crate) fn starting(options: &PostgresOptions, error: sqlx::Error) -> StoreError {
    let (server, database) = (options.server(), options.database());
    let user = options.connect.get_username();
    let sentence = match (&error, code(&error)) {
        (_, Some(WRONG_PASSWORD)) => format!(
            "the PostgreSQL server at {server} refuses the password of the user {user}: correct it in the URL, or set it \
             with ALTER ROLE {user} PASSWORD '…'"
        ),
        (_, Some(NOT_ALLOWED_IN)) => format!(
            "the PostgreSQL server at {server} does not let the user {user} in: make it with createuser {user}, or allow \
             it in the server's pg_hba.conf ({error})"
        ),
        (_, Some(NO_DATABASE)) => format!(
            "the PostgreSQL server at {server} has no database {database}: make it with createdb -O {user} {database}"
        ),
        (_, Some(NO_PRIVILEGE)) => format!(
            "the user {user} may not make tables in the database {database}: let it with GRANT CREATE ON SCHEMA public TO \
             {user}, or make it the database's owner; nothing was changed"
        ),
        (_, Some(READ_ONLY)) => read_only(options),
        (_, Some(LOCKED)) => format!(
            "others keep the tables of the database {database} locked: end their transactions, which pg_stat_activity \
             shows, and start again"
        ),
        (_, Some(DISK_FULL)) => {
            format!("the disk of the PostgreSQL server at {server} is full: free some space and start again")
        }
        (_, Some(code)) if code == TOO_MANY_CONNECTIONS || SHUTTING_DOWN.contains(&code) => return running(error),
        (sqlx::Error::Io(cause), _) => {
            return StoreError::Unavailable {
                message: format!(
                    "no PostgreSQL server answers at {server} ({cause}): start it, or correct the host and port in the URL"
                ),
                retry_after: Duration::from_secs(1),
            };
        }
        (sqlx::Error::Tls(cause), _) => format!(
            "no safe connection to the PostgreSQL server at {server} ({cause}): check sslmode and sslrootcert in the URL"
        ),
        _ => return running(error),
    };
    StoreError::Unusable(sentence)
}

/// The sentence for a standby.
pub(crate) fn read_only(options: &PostgresOptions) -> String {
    format!(
        "the database {} at {} is read-only: name the primary server in the URL, not a standby",
        options.database(),
        options.server()
    )
}
