use std::{fmt, time::Duration};

use async_trait::async_trait;

use super::{Message, QueueResult};

/// The messages that come to one consumer.
#[async_trait]
pub trait Deliveries: Send {
    /// The next message; waits until there is one and fewer than the prefetch are unanswered. Nothing once the queue is
    /// closed. Cancelling the wait loses nothing. While the broker is away it waits for its return.
    ///
    /// # Errors
    /// Only such as do not pass: [`super::QueueError::Unusable`].
    async fn next(&mut self) -> QueueResult<Option<Delivery>>;
}

/// What becomes of a message that was handed out.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Settlement {
    /// It is dealt with.
    Acknowledge,
    /// It comes again, not before this time has passed.
    Retry(Duration),
    /// It becomes a dead letter, for this cause.
    Reject(String),
}

/// The broker's side of a delivery. For those who write a queue.
#[async_trait]
pub trait Receipt: Send + Sync {
    /// Does so with the message.
    ///
    /// # Errors
    /// [`super::QueueError::Lost`] where it is no longer this consumer's; others of the broker.
    async fn settle(&self, settlement: Settlement) -> QueueResult<()>;

    /// Begins the lease anew.
    ///
    /// # Errors
    /// As in [`Self::settle`].
    async fn extend(&self) -> QueueResult<()>;

    /// Gives the message back soon: it was dropped without an answer, or the answer failed.
    fn abandon(&self);
}

/// A message in hand. Dropped without an answer, it is given back and comes again, to this consumer or another.
pub struct Delivery {
    message: Message,
    attempt: u32,
    receipt: Option<Box<dyn Receipt>>,
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("message", &self.message)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

impl Delivery {
    /// A message that is handed out for the `attempt`th time.
    #[must_use]
    pub fn new(message: Message, attempt: u32, receipt: Box<dyn Receipt>) -> Self {
        Self { message, attempt, receipt: Some(receipt) }
    }

    /// The message.
    #[must_use]
    pub const fn message(&self) -> &Message {
        &self.message
    }

    /// How many times it has been handed out, this one counted. Where brokers or consumers crashed it may be fewer
    /// than it was, never more.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The message is dealt with: it does not come again.
    ///
    /// # Errors
    /// [`super::QueueError::Lost`] and those of the broker: the message comes again.
    pub async fn acknowledge(self) -> QueueResult<()> {
        self.settle(Settlement::Acknowledge).await
    }

    /// The message comes again after a time.
    ///
    /// # Errors
    /// [`super::QueueError::Lost`] and those of the broker: the message comes again, maybe at once.
    pub async fn retry(self, after: Duration) -> QueueResult<()> {
        self.settle(Settlement::Retry(after)).await
    }

    /// The message becomes a dead letter, for this cause, of which 1000 characters are kept.
    ///
    /// # Errors
    /// [`super::QueueError::Lost`] and those of the broker: the message comes again.
    pub async fn reject(self, cause: &str) -> QueueResult<()> {
        self.settle(Settlement::Reject(cause.chars().filter(|letter| *letter != '\0').take(1000).collect())).await
    }

    /// Begins the lease anew: for work that takes longer. Every third of the lease is often enough.
    ///
    /// # Errors
    /// [`super::QueueError::Lost`] where somebody else has the message already: stop working on it.
    pub async fn extend(&self) -> QueueResult<()> {
        match &self.receipt {
            Some(receipt) => receipt.extend().await,
            None => Ok(()),
        }
    }

    async fn settle(mut self, settlement: Settlement) -> QueueResult<()> {
        // Kept until the answer has arrived, so that a wait that is cancelled gives the message back.
        if let Some(receipt) = &self.receipt {
            receipt.settle(settlement).await?;
        }
        self.receipt = None;
        Ok(())
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if let Some(receipt) = self.receipt.take() {
            receipt.abandon();
        }
    }
}
