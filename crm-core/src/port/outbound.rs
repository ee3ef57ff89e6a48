use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::time::Timestamp;

/// Sends requests to addresses that an organization names, such as those of its webhooks.
///
/// Whoever implements it guards what lies inside: no such request reaches a private network, follows a redirect, or
/// takes more time or memory than is said here.
#[async_trait]
pub trait Outbound: Send + Sync + 'static {
    /// Whether requests to the address may be sent, as far as that can be told now. A name that cannot be resolved for
    /// the moment passes: each request is checked again.
    ///
    /// # Errors
    /// [`OutboundFailure::Refused`] with what is wrong, for a person.
    async fn check(&self, url: &str) -> Result<(), OutboundFailure>;

    /// Posts a body, and waits for the answer at most 20 seconds.
    ///
    /// # Errors
    /// [`OutboundFailure`]. Only where it is [`OutboundFailure::Refused`] has certainly nothing been sent.
    async fn post(&self, request: OutboundRequest) -> Result<OutboundAnswer, OutboundFailure>;
}

/// A body to be posted.
#[derive(Clone, Debug)]
pub struct OutboundRequest {
    /// Where to.
    pub url: String,
    /// Headers besides those of the connection. Their values may be secrets: they are in no log.
    pub headers: Vec<(String, crate::secret::Secret<String>)>,
    /// The body.
    pub body: Bytes,
}

/// What came back.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OutboundAnswer {
    /// The status; a redirect is one like another.
    pub status: u16,
    /// What `Retry-After` says.
    pub retry_after: Option<RetryAfter>,
    /// The beginning of the body, at most 1 KB.
    pub body: Vec<u8>,
}

/// When somebody who receives wants to be asked again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RetryAfter {
    /// In so long.
    In(Duration),
    /// At that instant.
    At(Timestamp),
}

/// A longer wait than this is not believed.
const LONGEST_WAIT: Duration = Duration::from_hours(24);

impl RetryAfter {
    /// How long that is from `now`: at most a day.
    #[must_use]
    pub fn from(self, now: Timestamp) -> Duration {
        let wait = match self {
            Self::In(wait) => wait,
            Self::At(instant) => instant.since(now),
        };
        wait.min(LONGEST_WAIT)
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OutboundFailure {
    /// The address is none that may be reached. Nothing was sent.
    #[error("{0}")]
    Refused(String),
    /// The name cannot be resolved, or nobody answers there.
    #[error("{0}")]
    Unreachable(String),
    /// The answer did not come in time.
    #[error("The answer did not come in time.")]
    TimedOut,
    /// The connection broke.
    #[error("{0}")]
    Broken(String),
}
