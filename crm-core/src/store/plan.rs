//! Planning a page: what every engine with ordered indexes has to decide, decided once.
//!
//! The declared indexes are made for known queries, so which of them serves a query follows from the declaration and
//! need not be left to an engine's guess: an engine that thinks a key selective may sort a million rows to save reading
//! twenty. A [`PagePlan`] says
//!
//! - by what the rows are read ([`Access`]): a key, an index, an element of a list, or all matches;
//! - the order as [`Key`]s of [`Column`]s, a text being two of them: its folded form, then itself;
//! - the [`Range`]s of that order that the page has to read, one after the other until it is full;
//! - whether the page is `slow`, because matches have to be read and sorted.
//!
//! # Pages over missing values
//!
//! Missing values come first ascending and last descending, so the first page of an order is one scan of an index. A
//! later page begins at a position, where a comparison with a missing value holds for nothing; so what follows a
//! position is parted into disjoint ranges, each one scan. With one sort key there are at most two where the engine
//! compares tuples: the rest of the missing values and the present ones.
//!
//! # For the author of a store
//!
//! Make a plan with [`PagePlan::new`]. For each range write the filter ([`PagePlan::filter`]), the range's bounds and
//! [`PagePlan::order_within`], and read `limit + 1` rows less those that earlier ranges gave. An index of the engine
//! must have the columns of [`index_columns`], in their order and direction, for [`Access::Index`] to be true.

mod access;
mod order;
mod range;
#[cfg(test)]
mod tests;

pub use self::{
    access::{Access, is_found_by_element, is_found_by_trigrams},
    order::{Column, Form, IndexColumn, Key, index_columns, sort_columns},
    range::{Bound, Range, Ranges},
};
use super::{Collection, FieldRef, Filter, Query};

/// How the pages of a query are read.
#[derive(Clone, Debug, PartialEq)]
pub struct PagePlan {
    /// The keys of the order, the id last.
    pub keys: Vec<Key>,
    /// What has to be read, in order: one range without bounds for a first page.
    pub ranges: Vec<Range>,
    /// By what the rows are read.
    pub access: Access,
    /// What the rows have to match besides what [`PagePlan::access`] already makes sure of.
    pub filter: Filter,
    /// Whether matches have to be read beyond the page and sorted.
    pub slow: bool,
}

impl PagePlan {
    /// Plans a query that fits the collection ([`super::evaluate::check_query`]). `of_organization` tells whether one
    /// organization's rows are read, `custom_index` whether a custom field of it has an index by the columns of
    /// [`sort_columns`] and the id.
    #[must_use]
    pub fn new(
        collection: &'static Collection,
        of_organization: bool,
        query: &Query,
        ranges: Ranges,
        custom_index: impl Fn(&FieldRef) -> bool,
    ) -> Self {
        let keys = order::keys(collection, query);
        let ranges = match &query.after {
            None => vec![Range::default()],
            Some(position) => range::after(&keys, &order::values(&keys, position), ranges),
        };
        let choice = access::choose(collection, of_organization, query, custom_index);
        Self { keys, ranges, access: choice.access, filter: choice.filter, slow: choice.slow }
    }

    /// The columns that order the rows of a range, each with whether it runs downward: what is the same in the whole
    /// range has no part in its order.
    pub fn order_within<'a>(&'a self, range: &'a Range) -> impl Iterator<Item = (&'a Column, bool)> {
        self.keys
            .iter()
            .filter(|key| !range.is_missing(&key.columns[0]))
            .flat_map(|key| key.columns.iter().map(|column| (column, key.descending)))
            .filter(|(column, _)| !range.is_fixed(column))
    }
}
