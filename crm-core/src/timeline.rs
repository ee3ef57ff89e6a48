//! Everything about a customer, newest first, as one list over several kinds of records.
//!
//! Each kind that joins is one line in `SOURCES`: which of its fields names the customer, which says when it was, and what
//! a line about it says. A page is merged from one indexed page of each kind, so that it costs the same however far back
//! it is.

mod page;
mod source;

use std::sync::LazyLock;

use serde::Serialize;
use uuid::Uuid;

use self::source::{SOURCES, Source};
use crate::{
    access::{Principal, permissions},
    crm::Crm,
    customer::{CUSTOMER, Customer},
    error::{FieldErrors, Result},
    id::CustomerId,
    list::{List, ListRequest, Listing},
    record::Record as _,
    rule::Catalog,
    time::Timestamp,
};

/// Parameters that only this list has.
const EXTRA: [&str; 1] = ["type"];

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| Catalog::new(Customer::COLLECTION));

/// Something that has to do with a customer.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(example = json!({
    "at": "2026-01-30T17:05:00.000Z", "type": "order", "id": "0198c1de-5f00-7000-8000-0000000000b1",
    "summary": "Order of 59.97, paid", "data": {"amount": 59.97, "status": "paid"}
})))]
pub struct TimelineEntry {
    /// When it was.
    pub at: Timestamp,
    /// What it is: `note`, `order`, `complaint`, `communication` or `change`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The record.
    pub id: Uuid,
    /// What it is, in a line.
    pub summary: String,
    /// The record itself.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub data: Box<serde_json::value::RawValue>,
}

/// The timelines of customers.
#[derive(Clone, Copy, Debug)]
pub struct Timeline<'a> {
    crm: &'a Crm,
}

impl Crm {
    /// Everything about a customer, newest first.
    #[must_use]
    pub const fn timeline(&self) -> Timeline<'_> {
        Timeline { crm: self }
    }
}

impl Timeline<'_> {
    /// A page of a customer's timeline, as a query string asks for it: `type`, `limit` and `cursor`. Kinds of records that
    /// the principal may not read are left out.
    ///
    /// # Errors
    /// [`crate::Error::Forbidden`] without `customers:read`, [`crate::Error::NotFound`] for a customer who is not in sight,
    /// [`crate::Error::Invalid`] with every wrong parameter.
    pub async fn list(
        &self,
        by: &Principal,
        customer: CustomerId,
        pairs: &[(String, String)],
    ) -> Result<List<TimelineEntry>> {
        by.may(permissions::CUSTOMERS_READ)?;
        let request = Listing::new(&CATALOG).fields(&[]).sortable(&[]).extra(&EXTRA).from_pairs(pairs)?;
        let asked = kinds(&request)?;
        self.crm.repo::<Customer>().visible(by, customer, CUSTOMER).await?;
        let sources: Vec<(usize, &dyn Source)> = SOURCES
            .iter()
            .enumerate()
            .map(|(rank, source)| (rank, *source))
            .filter(|(_, source)| by.may(source.permission()).is_ok())
            .filter(|(_, source)| asked.is_empty() || asked.contains(&source.kind()))
            .collect();
        page::read(self.crm, by, customer, &request, &sources).await
    }
}

/// The kinds that are asked for; none for all.
fn kinds(request: &ListRequest) -> Result<Vec<&'static str>, FieldErrors> {
    let mut errors = FieldErrors::new();
    for (given, name) in [
        (request.page.is_some(), "page"),
        (request.count, "count"),
        (!request.search.is_empty(), "search"),
        (request.sorted, "sort"),
        (!request.fields.is_empty(), "fields"),
    ] {
        if given {
            errors.add(name, "NOT_ALLOWED", "is not for this list: use type, limit and cursor");
        }
    }
    let mut kinds = Vec::new();
    for name in request.extra("type").into_iter().flat_map(|list| list.split(',')).map(str::trim) {
        match SOURCES.iter().find(|source| source.kind() == name) {
            Some(source) => kinds.push(source.kind()),
            None => {
                let all: Vec<&str> = SOURCES.iter().map(|source| source.kind()).collect();
                errors.add("type", "INVALID_CHOICE", format!("must be of {}", all.join(", ")));
                break;
            }
        }
    }
    errors.or(kinds)
}

#[cfg(test)]
mod tests;
