use uuid::Uuid;

use super::{FieldRef, Filter, Row, Value};

/// One key of an order. Missing values come first ascending, last descending. Texts compare folded, then raw.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Sort {
    /// The field: declared (a text must be folded), or custom; not a list or JSON.
    pub field: FieldRef,
    /// Whether it runs downward.
    pub descending: bool,
}

/// Which rows, in which order, and where the page begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// Which rows.
    pub filter: Filter,
    /// The order; the id follows as last key, in the direction of the last sort key (ascending where there is none).
    pub sort: Vec<Sort>,
    /// At most so many rows.
    pub limit: usize,
    /// Only rows after this place of the order.
    pub after: Option<Position>,
    /// Leaves out so many rows first. Costs what they cost.
    pub skip: u64,
}

impl Query {
    /// The first `limit` rows that match, by id.
    #[must_use]
    pub const fn new(filter: Filter, limit: usize) -> Self {
        Self { filter, sort: Vec::new(), limit, after: None, skip: 0 }
    }

    /// In this order.
    #[must_use]
    pub fn sorted(mut self, sort: Vec<Sort>) -> Self {
        self.sort = sort;
        self
    }

    /// Whether the id runs downward.
    #[must_use]
    pub fn id_descending(&self) -> bool {
        self.sort.last().is_some_and(|sort| sort.descending)
    }
}

/// A place in an order: the sort keys of a row (raw; a store folds texts itself) and its id.
#[derive(Clone, Debug, PartialEq)]
pub struct Position {
    /// One value for each key of the sort, of its kind or missing.
    pub keys: Vec<Value>,
    /// The row's id.
    pub id: Uuid,
}

/// One page of rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// The rows, at most the limit.
    pub rows: Vec<Row>,
    /// Whether more follow.
    pub has_more: bool,
    /// Whether the order had no index, so that every match was read and sorted.
    pub slow: bool,
}
