use std::time::Duration;

use uuid::Uuid;

/// Why a storage call did not do what it was asked. Nothing was written, unless [`StoreError::Unavailable`] says that it
/// may have been: where an engine does not answer a commit in time, nobody can tell.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A unique key is taken (the id counts as the key `id`).
    #[error("{collection}: the key {key} is taken")]
    Duplicate {
        /// The collection.
        collection: &'static str,
        /// The key's name.
        key: String,
        /// The key's fields.
        fields: Vec<String>,
    },
    /// A record has another version than expected.
    #[error("{collection}/{id}: version {found} is stored, another was expected")]
    VersionConflict {
        /// The collection.
        collection: &'static str,
        /// The record.
        id: Uuid,
        /// The version stored.
        found: i64,
    },
    /// A record to be changed or removed is not there.
    #[error("{collection}/{id}: not there")]
    NotFound {
        /// The collection.
        collection: &'static str,
        /// The record.
        id: Uuid,
    },
    /// A condition with [`super::WhenUnmet::Abort`] did not hold.
    #[error("the condition of change {change} does not hold")]
    Unmet {
        /// The change's place in the list.
        change: usize,
    },
    /// An increment left the range of its field.
    #[error("{collection}.{field}: the sum is out of range")]
    OutOfRange {
        /// The collection.
        collection: &'static str,
        /// The field.
        field: &'static str,
    },
    /// A tenant collection was named without an organization, or a row of another organization was to be written.
    #[error("{collection}: outside the scope of the call")]
    OutOfScope {
        /// The collection.
        collection: &'static str,
    },
    /// A filter, sort or row does not fit the declaration. A fault of the caller's code, not of data.
    #[error("{0}")]
    Misuse(String),
    /// More than the engine takes at once.
    #[error("{0}")]
    TooLarge(String),
    /// The engine cannot answer for now.
    #[error("{message}")]
    Unavailable {
        /// Why, in a sentence.
        message: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// The database cannot be used as it is: a sentence that says why and what to do. Nothing was changed.
    #[error("{0}")]
    Unusable(String),
    /// A fault of the engine.
    #[error("the storage engine failed")]
    Engine(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl StoreError {
    /// A fault of the engine, with its cause.
    pub fn engine(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Engine(cause.into())
    }
}
