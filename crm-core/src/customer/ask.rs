//! What is asked of customers, and what became of it.

use super::{Customer, CustomerInput};
use crate::{error::FieldErrors, id::CustomerId, store::Filter};

/// What is asked of one customer.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    /// A new one.
    Create(CustomerInput),
    /// The one with this e-mail, else this phone; a new one where there is none.
    Upsert(CustomerInput),
    /// All writable fields of one.
    Replace(CustomerId, CustomerInput),
    /// Some fields of one.
    Merge(CustomerId, CustomerInput),
    /// Into the bin.
    Delete(CustomerId),
    /// Out of the bin.
    Restore(CustomerId),
    /// Nothing that could be read.
    Unreadable(FieldErrors),
}

impl Ask {
    pub(crate) const fn id(&self) -> Option<CustomerId> {
        match self {
            Self::Replace(id, _) | Self::Merge(id, _) | Self::Delete(id) | Self::Restore(id) => Some(*id),
            Self::Create(_) | Self::Upsert(_) | Self::Unreadable(_) => None,
        }
    }

    pub(super) const fn input(&self) -> Option<&CustomerInput> {
        match self {
            Self::Create(input) | Self::Upsert(input) | Self::Replace(_, input) | Self::Merge(_, input) => Some(input),
            Self::Delete(_) | Self::Restore(_) | Self::Unreadable(_) => None,
        }
    }
}

/// How customers are written.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// Lets a customer have a phone that another has. An e-mail is never shared.
    pub allow_duplicate_phone: bool,
    /// The version that the customer must have.
    pub expected_version: Option<i64>,
}

/// How a chunk is committed and noted.
#[derive(Clone, Debug, Default)]
pub(crate) struct ChunkOptions {
    pub(crate) write: WriteOptions,
    /// Nothing is written where one ask is refused.
    pub(crate) atomic: bool,
    /// One audit entry for the chunk with this action and description, instead of one for each customer.
    pub(crate) entry: Option<(&'static str, serde_json::Value)>,
    /// Only customers that (still) match are changed; others are left as they are.
    pub(crate) only: Option<Filter>,
}

/// What became of a customer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Deed {
    /// It is new.
    Created,
    /// It was changed.
    Updated,
    /// It was so already.
    Unchanged,
    /// It is in the bin.
    Deleted,
    /// It is out of the bin.
    Restored,
}

impl Deed {
    pub(super) const fn event(self) -> Option<&'static str> {
        match self {
            Self::Created => Some("customer.created"),
            Self::Updated => Some("customer.updated"),
            Self::Deleted => Some("customer.deleted"),
            Self::Restored => Some("customer.restored"),
            Self::Unchanged => None,
        }
    }
}

/// A customer as it is after a write, and what the write did.
#[derive(Clone, Debug)]
pub struct Written {
    /// The customer.
    pub customer: Customer,
    /// What was done.
    pub deed: Deed,
}
