use super::AppliesTo;
use crate::{
    customer::{self, Customer},
    order::{self, Order},
    record::Record as _,
    rule::Catalog,
    store::Collection,
};

/// The records that have custom fields of one kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject {
    /// Their collection.
    pub(super) collection: &'static Collection,
    /// Its JSON column of custom values.
    pub(super) column: &'static str,
    /// The fields besides custom ones that `required_if` may name.
    pub(super) catalog: fn() -> Catalog,
}

impl AppliesTo {
    /// The records; nothing where there are none of the kind yet.
    pub(super) fn subject(self) -> Option<Subject> {
        match self {
            Self::Customer => Some(Subject {
                collection: Customer::COLLECTION,
                column: Customer::custom.name(),
                catalog: customer::declared_catalog,
            }),
            Self::Order => Some(Subject {
                collection: Order::COLLECTION,
                column: Order::custom.name(),
                catalog: order::declared_catalog,
            }),
            Self::Query => None,
        }
    }
}
