//! The conventions that every list of the API follows: filters, search, order, pages, picks.
//!
//! A [`Listing`] says what a list of one collection allows. It reads a [`ListRequest`] from a query string
//! (`spend[gte]=100&sort=-spend`) or from a JSON body (`{"filter":…,"sort":…}`), with every wrong parameter named.
//! [`visible`] and [`everything`] answer it with a [`List`]: records and where the next page begins.
//!
//! ```
//! use crm_core::{audit::AuditEntry, list::Listing, record::Record, rule::{Catalog, CatalogField}};
//!
//! let catalog = Catalog::new(AuditEntry::COLLECTION).with(CatalogField::column(AuditEntry::sequence));
//! let pairs = [("sequence[gte]", "10"), ("sort", "-sequence"), ("limit", "50")];
//! let pairs: Vec<_> = pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
//! let request = Listing::new(&catalog).from_pairs(&pairs).unwrap();
//! assert_eq!(request.limit, 50);
//! assert_eq!(request.rule.unwrap().to_string(), "sequence is at least 10");
//! ```

mod answer;
mod cursor;
mod listing;
mod near;
mod pick;
mod reading;
mod request;
mod run;

#[cfg(test)]
mod tests;

pub(crate) use self::cursor::{Cursor, Digest};
pub use self::{
    answer::{List, ListPage},
    cursor::CursorKey,
    listing::Listing,
    near::{NearMisses, near_misses},
    pick::{Picked, pick},
    request::{ListBody, ListRequest},
    run::{everything, visible},
};

/// Records of a page where nothing else is asked for.
pub const DEFAULT_LIMIT: usize = 20;

/// The most records of one page.
pub const MAX_LIMIT: usize = 100;

/// How far `page` reaches: page × limit is at most this. A cursor has no such end.
pub const MAX_DEPTH: u64 = 100_000;

/// The longest search, in characters.
pub const MAX_SEARCH: usize = 200;

/// The most terms of a search.
pub const MAX_TERMS: usize = 10;

/// The most keys of an order.
pub const MAX_SORT_KEYS: usize = 5;

/// The most parameters of a query string.
pub const MAX_PARAMETERS: usize = 100;
