use uuid::Uuid;

use super::{Collection, Filter, Row, Value};

/// What a write does to one field, named by its place in the collection. A change assigns each field at most once, and
/// never the id, the version or a tenant's organization.
#[derive(Clone, Debug, PartialEq)]
pub enum Assignment {
    /// Sets the field.
    Set(usize, Value),
    /// Adds to an integer, number or money field; missing counts as 0. Out of range is [`super::StoreError::OutOfRange`].
    Increment(usize, Value),
}

/// What becomes of the commit when a change's condition does not hold.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum WhenUnmet {
    /// The change does nothing and says so: [`Outcome::Unmet`].
    Skip,
    /// Nothing at all is written: [`super::StoreError::Unmet`].
    Abort,
}

/// One step of a commit. The store bumps `version` on every row it changes; other fields change only as told.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Adds rows. Their version becomes 1, whatever the row says. A tenant's row names the organization of the scope,
    /// else it is [`super::StoreError::OutOfScope`]; the installation's keep the one that they name.
    Insert {
        /// Where.
        collection: &'static Collection,
        /// What.
        rows: Vec<Row>,
    },
    /// Changes one record. Looked at in this order: whether it is there ([`super::StoreError::NotFound`]), its version,
    /// the condition.
    Update {
        /// Where.
        collection: &'static Collection,
        /// Which.
        id: Uuid,
        /// The version it must have; another is [`super::StoreError::VersionConflict`].
        expected_version: Option<i64>,
        /// What must hold on it before the change, and what happens where it does not.
        condition: Option<(Filter, WhenUnmet)>,
        /// What changes.
        assignments: Vec<Assignment>,
    },
    /// Removes one record. One that is not there is [`super::StoreError::NotFound`].
    Delete {
        /// Where.
        collection: &'static Collection,
        /// Which.
        id: Uuid,
        /// The version it must have; another is [`super::StoreError::VersionConflict`].
        expected_version: Option<i64>,
    },
    /// Changes every record that matches before the change, once each. Unique keys may be checked record by record.
    UpdateWhere {
        /// Where.
        collection: &'static Collection,
        /// Which.
        filter: Filter,
        /// What changes.
        assignments: Vec<Assignment>,
    },
    /// Removes every record that matches.
    DeleteWhere {
        /// Where.
        collection: &'static Collection,
        /// Which.
        filter: Filter,
    },
}

/// What one change did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// So many rows were added, changed by filter, or removed.
    Touched(u64),
    /// The record has this version now.
    Updated {
        /// The new version.
        version: i64,
    },
    /// The condition did not hold; nothing was changed.
    Unmet,
}
