//! Records of customers that another service of the operator keeps, such as their orders: answered from there while it
//! answers, and from memory while it does not. A service that is away is no fault of the request: the answer says that it
//! is degraded, and holds what was known last.

mod memory;

use serde::Serialize;
use serde_json::value::RawValue;

pub(crate) use self::memory::LastAnswers;
use crate::{
    access::{Permission, Principal},
    crm::Crm,
    customer::{CUSTOMER, Customer},
    error::{Error, Result},
    id::CustomerId,
    list::{DEFAULT_LIMIT, ListPage, MAX_LIMIT},
    port::RecordsAsked,
    time::Timestamp,
};

/// Which records of customers another service may keep.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum RelatedKind {
    /// What customers have bought.
    Orders,
    /// What they are not content with.
    Complaints,
}

impl RelatedKind {
    /// The name, for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Orders => "orders",
            Self::Complaints => "complaints",
        }
    }
}

/// A customer's records out of another service.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(example = json!({
    "data": [{"id": 1017, "total": 59.97}], "page": {"limit": 20, "next_cursor": null, "has_more": false},
    "degraded": true, "as_of": "2026-01-30T17:05:00.000Z",
    "warnings": ["The service of orders gives no answer (it did not answer in time): this is what it said last."]
})))]
pub struct RelatedRecords {
    /// The records, as the service tells them.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Object>))]
    pub data: Vec<Box<RawValue>>,
    /// One page: the service is asked for the newest of them.
    pub page: ListPage,
    /// Whether the service gave no answer, so that this is what was known before, or nothing.
    pub degraded: bool,
    /// When the service said so; absent where nothing was known.
    pub as_of: Option<Timestamp>,
    /// What a reader should know.
    pub warnings: Vec<String>,
}

/// Records of customers that other services keep.
#[derive(Clone, Copy, Debug)]
pub struct Related<'a> {
    crm: &'a Crm,
}

impl Crm {
    /// Records of customers that other services keep.
    #[must_use]
    pub const fn related(&self) -> Related<'_> {
        Related { crm: self }
    }
}

impl Related<'_> {
    /// Whether another service keeps these records.
    #[must_use]
    pub fn keeps(&self, kind: RelatedKind) -> bool {
        self.crm.record_service(kind).is_some()
    }

    /// A customer's records of a kind, out of the service that keeps them. Only `limit` may be said in `pairs`.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `permission`, [`Error::NotFound`] for a customer who is not in sight,
    /// [`Error::Invalid`] with every wrong parameter, [`Error::InvalidState`] where no service is configured. Never for a
    /// service that fails.
    pub async fn records(
        &self,
        by: &Principal,
        permission: Permission,
        kind: RelatedKind,
        customer: CustomerId,
        pairs: &[(String, String)],
    ) -> Result<RelatedRecords> {
        by.may(permission)?;
        let limit = limit_of(pairs)?;
        self.crm.repo::<Customer>().visible(by, customer, CUSTOMER).await?;
        let Some(service) = self.crm.record_service(kind) else {
            return Err(Error::InvalidState(format!("No other service keeps {}.", kind.name())));
        };
        let request_id = by.context.request_id.as_deref();
        let asked = RecordsAsked { organization: by.organization, customer, limit, request_id };
        let now = self.crm.now();
        let mut answer = RelatedRecords {
            data: Vec::new(),
            page: ListPage { limit, ..ListPage::default() },
            degraded: false,
            as_of: Some(now),
            warnings: Vec::new(),
        };
        match service.records_of(asked).await {
            Ok(mut records) => {
                answer.page.has_more = records.len() > limit;
                records.truncate(limit);
                self.crm.last_answers().keep(by.organization, kind, customer, &records, now);
                answer.data = records;
            }
            Err(failure) => {
                tracing::warn!(service = kind.name(), %failure, "another service gives no answer");
                let known = self.crm.last_answers().last(by.organization, kind, customer, now);
                answer.degraded = true;
                answer.as_of = known.as_ref().map(|(_, at)| *at);
                let what = if known.is_some() { "this is what it said last" } else { "nothing is known of it yet" };
                answer.warnings = vec![format!("The service of {} gives no answer ({failure}): {what}.", kind.name())];
                answer.data = known.map(|(records, _)| records).unwrap_or_default();
                answer.data.truncate(limit);
            }
        }
        Ok(answer)
    }
}

fn limit_of(pairs: &[(String, String)]) -> Result<usize> {
    let mut errors = crate::error::FieldErrors::new();
    let mut limit = DEFAULT_LIMIT;
    for (name, value) in pairs {
        if name == "limit" {
            match value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit)) {
                Some(given) => limit = given,
                None => errors.add("limit", "OUT_OF_RANGE", format!("must be a whole number from 1 to {MAX_LIMIT}")),
            }
        } else {
            let name: String = name.chars().take(100).collect();
            errors.add(name, "UNKNOWN_FIELD", "is not for records of another service; allowed is: limit");
        }
    }
    Ok(errors.or(limit)?)
}

#[cfg(test)]
mod tests;
