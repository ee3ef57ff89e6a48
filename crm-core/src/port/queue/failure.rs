use std::time::Duration;

use crate::error::Error;

/// The result of a call of a queue.
pub type QueueResult<T> = Result<T, QueueError>;

/// Why a queue did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// A message is larger than every broker takes. Nothing was sent.
    #[error("{0}")]
    TooLarge(String),
    /// The call does not fit the contract. A fault of the caller's code. Nothing was sent.
    #[error("{0}")]
    Misuse(String),
    /// The delivery is somebody else's by now, or was answered already: what is done with it will be done again.
    #[error("the delivery is no longer this consumer's")]
    Lost,
    /// The broker does not answer for now. What was asked may have happened or not.
    #[error("{message}")]
    Unavailable {
        /// Why, in a sentence.
        message: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// The queue was closed.
    #[error("the queue is closed")]
    Closed,
    /// The broker cannot be used as it is: a sentence that says why and what to do.
    #[error("{0}")]
    Unusable(String),
    /// A fault of the broker.
    #[error("the message broker failed")]
    Broker(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl QueueError {
    /// A fault of the broker, with its cause.
    pub fn broker(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Broker(cause.into())
    }

    /// The broker does not answer, and why; worth trying again in a second.
    #[must_use]
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::Unavailable { message: message.into(), retry_after: Duration::from_secs(1) }
    }
}

impl From<QueueError> for Error {
    fn from(error: QueueError) -> Self {
        match error {
            QueueError::TooLarge(message) => Self::TooLarge(message),
            QueueError::Unavailable { message, retry_after } => Self::Unavailable { message, retry_after },
            QueueError::Closed => {
                Self::Unavailable { message: "The queue is closed.".to_owned(), retry_after: Duration::from_secs(1) }
            }
            other => Self::internal(other),
        }
    }
}
