//! What is asked of customers, and what became of it.

use std::sync::Arc;

use super::{ContactKey, Customer, CustomerInput, bulk::Recording};
use crate::{error::FieldErrors, field::CustomFieldId, id::CustomerId, store::Filter};

/// What is asked of one customer.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    /// A new one.
    Create(CustomerInput),
    /// The one with this e-mail, else this phone; a new one where there is none.
    Upsert(CustomerInput),
    /// The one that a row of a file finds; a new one where there is none, if the row may make one.
    Row(Box<RowAsk>),
    /// To be exactly this, but for what the store keeps by itself: it was so before.
    Become(Box<Customer>),
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

/// What a row of a file asks.
#[derive(Clone, Debug)]
pub(crate) struct RowAsk {
    /// What it says of a customer who is there.
    pub(crate) input: CustomerInput,
    /// What it says of a new one, where that is more.
    pub(crate) with_defaults: Option<Box<CustomerInput>>,
    /// How it finds the customer; nothing where the row leaves that empty.
    pub(crate) sought: Option<Sought>,
    /// The field by which rows find customers, for a refusal.
    pub(crate) field: String,
    /// Whether it may make a customer.
    pub(crate) creates: bool,
}

/// How a customer is found.
#[derive(Clone, Debug)]
pub(crate) enum Sought {
    /// By an e-mail or a phone.
    Contact(ContactKey),
    /// By the value of a unique custom field.
    Unique(CustomFieldId, String),
    /// By the id.
    Id(CustomerId),
}

impl Ask {
    pub(crate) fn id(&self) -> Option<CustomerId> {
        match self {
            Self::Replace(id, _) | Self::Merge(id, _) | Self::Delete(id) | Self::Restore(id) => Some(*id),
            Self::Become(customer) => Some(customer.id),
            Self::Row(row) => match row.sought {
                Some(Sought::Id(id)) => Some(id),
                _ => None,
            },
            Self::Create(_) | Self::Upsert(_) | Self::Unreadable(_) => None,
        }
    }

    pub(super) fn input(&self) -> Option<&CustomerInput> {
        match self {
            Self::Create(input) | Self::Upsert(input) | Self::Replace(_, input) | Self::Merge(_, input) => Some(input),
            Self::Row(row) => Some(&row.input),
            Self::Become(_) | Self::Delete(_) | Self::Restore(_) | Self::Unreadable(_) => None,
        }
    }

    /// What the customer is to be exactly.
    pub(super) fn becomes(&self) -> Option<&Customer> {
        match self {
            Self::Become(customer) => Some(customer),
            _ => None,
        }
    }

    /// Everything that may be said of the customer.
    pub(super) fn inputs(&self) -> impl Iterator<Item = &CustomerInput> {
        let further = match self {
            Self::Row(row) => row.with_defaults.as_deref(),
            _ => None,
        };
        self.input().into_iter().chain(further)
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
    /// No audit entry and no event for a customer: whoever asks writes both for the chunk.
    pub(crate) quiet: bool,
    /// Only customers that (still) match are changed; others are left as they are.
    pub(crate) only: Option<Filter>,
    /// The id that a new customer gets, where one is asked for.
    pub(crate) new_id: Option<CustomerId>,
    /// Notes what the chunk changes, so that it can be undone.
    pub(crate) recording: Option<Arc<Recording>>,
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
