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
    list::{List, Listing},
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
        let mut errors = FieldErrors::new();
        let asked = errors.take("type", kinds(pairs));
        let request = errors.take("", Listing::new(&CATALOG).pages_only().extra(&EXTRA).from_pairs(pairs));
        let (Some(asked), Some(request)) = (asked, request) else { return Err(errors.into()) };
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
fn kinds(pairs: &[(String, String)]) -> Result<Vec<&'static str>, FieldErrors> {
    let named = pairs.iter().find(|(name, _)| name == "type").map(|(_, names)| names.as_str());
    let mut kinds = Vec::new();
    for name in named.into_iter().flat_map(|list| list.split(',')).map(str::trim) {
        let Some(source) = SOURCES.iter().find(|source| source.kind() == name) else {
            let all: Vec<&str> = SOURCES.iter().map(|source| source.kind()).collect();
            return Err(FieldErrors::one("", "INVALID_CHOICE", format!("must be of {}", all.join(", "))));
        };
        kinds.push(source.kind());
    }
    Ok(kinds)
}

#[cfg(test)]
mod tests;
