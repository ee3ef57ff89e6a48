use serde::Serialize;

use super::{Picked, pick};
use crate::error::Result;

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct List<T> {
    /// The records.
    pub data: Vec<T>,
    /// Where the page stands in the list.
    pub page: ListPage,
}

/// Where a page stands in its list.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ListPage {
    /// The most records of this page.
    pub limit: usize,
    /// Give it as `cursor`, with the same filter, search and sort, to have the next page.
    pub next_cursor: Option<String>,
    /// Whether more records follow.
    pub has_more: bool,
    /// How many records match; given with `page` and with `count=true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// Whether every match had to be read for the order, because no index has it. Absent means no.
    #[serde(skip_serializing_if = "is_false")]
    pub slow: bool,
    /// Whether nothing matched the search and these records are near misses, one or two letters off, nearest first.
    /// Absent means no.
    #[serde(skip_serializing_if = "is_false")]
    pub fuzzy: bool,
    /// Whether there may be near misses beside these, because not every candidate was looked at or shown. Absent
    /// means no.
    #[serde(skip_serializing_if = "is_false")]
    pub partial: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

impl<T> List<T> {
    /// The same page with every record turned into something else.
    pub fn map<U>(self, turn: impl FnMut(T) -> U) -> List<U> {
        List { data: self.data.into_iter().map(turn).collect(), page: self.page }
    }
}

impl<T: Serialize> List<T> {
    /// The same page with only these fields of each record.
    ///
    /// # Errors
    /// [`crate::Error::Internal`] where a record is not an object.
    pub fn pick(&self, fields: &[String]) -> Result<List<Picked>> {
        let data = self.data.iter().map(|record| pick(record, fields)).collect::<Result<_>>()?;
        Ok(List { data, page: self.page.clone() })
    }
}
