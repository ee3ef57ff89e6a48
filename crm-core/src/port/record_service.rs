use async_trait::async_trait;
use serde_json::value::RawValue;

use crate::id::{CustomerId, OrganizationId};

/// Another service of the operator that knows records of customers, such as their orders.
///
/// Whoever implements it bounds time and memory, and asks again only where that does no harm.
#[async_trait]
pub trait RecordService: Send + Sync + 'static {
    /// A customer's records, as the service tells them, the newest first.
    ///
    /// # Errors
    /// [`ServiceFailure`]: the caller makes do with what was known before.
    async fn records_of(&self, asked: RecordsAsked<'_>) -> Result<Vec<Box<RawValue>>, ServiceFailure>;
}

/// Whose records are asked for.
#[derive(Clone, Copy, Debug)]
pub struct RecordsAsked<'a> {
    /// The organization.
    pub organization: OrganizationId,
    /// The customer.
    pub customer: CustomerId,
    /// At most so many.
    pub limit: usize,
    /// The request that asks, to be passed on.
    pub request_id: Option<&'a str>,
}

/// Why a service gave no answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceFailure {
    /// It failed too often just now: it is not asked for a while.
    #[error("it failed too often just now, and is left alone for a while")]
    LeftAlone,
    /// Too many ask it at once already.
    #[error("too many ask it at once")]
    Busy,
    /// No answer in time.
    #[error("it did not answer in time")]
    TimedOut,
    /// Nobody answers there, or the connection broke.
    #[error("it cannot be reached")]
    Unreachable,
    /// It answered with this status.
    #[error("it answered {0}")]
    Status(u16),
    /// It answered with something that cannot be understood, or is too long.
    #[error("its answer cannot be understood")]
    Unintelligible,
}
