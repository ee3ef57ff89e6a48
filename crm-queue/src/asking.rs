//! The pump over a broker that has to be asked for messages.

use std::time::Duration;

use crm_core::{
    async_trait,
    port::queue::{QueueError, QueueResult, Subscription},
};
use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::{backoff::Backoff, handing::Handing};

/// Where one consumer's messages come from.
#[async_trait]
pub(crate) trait Source: Send {
    /// A message that was taken.
    type Taken: Send;

    /// Takes up to so many messages that are ready.
    async fn take(&mut self, limit: usize) -> QueueResult<Vec<Self::Taken>>;

    /// Hands one over.
    async fn hand(&self, taken: Self::Taken, place: OwnedSemaphorePermit, handing: &Handing);
}

/// When a source is asked.
pub(crate) struct Asking {
    pub(crate) subscription: Subscription,
    /// The longest that it is not, while there is room.
    pub(crate) poll: Duration,
    /// Changes when something may have become ready.
    pub(crate) news: watch::Receiver<u64>,
    /// Between tries that fail.
    pub(crate) backoff: Backoff,
}

impl Asking {
    /// Takes messages for one consumer until it is gone.
    pub(crate) async fn pump(mut self, mut source: impl Source, handing: Handing) {
        loop {
            // Only waits are cut short: what is taken is handed over, or released on the way.
            let mut places = tokio::select! {
                places = handing.places() => places,
                () = handing.ended() => return,
            };
            self.news.mark_unchanged();
            let taken = match source.take(places.len()).await {
                Ok(taken) => {
                    self.backoff.reset();
                    taken
                }
                Err(error @ (QueueError::Unusable(_) | QueueError::Misuse(_))) => return handing.fail(error).await,
                Err(error) => {
                    tracing::warn!(
                        group = self.subscription.group.name(),
                        topic = self.subscription.group.topic().name,
                        error = &error as &dyn std::error::Error,
                        "taking messages failed and will be tried again"
                    );
                    drop(places);
                    let pause = self.backoff.next();
                    tokio::select! {
                        () = tokio::time::sleep(pause) => continue,
                        () = handing.ended() => return,
                    }
                }
            };
            if taken.is_empty() {
                drop(places);
                tokio::select! {
                    _ = tokio::time::timeout(self.poll, self.news.changed()) => continue,
                    () = handing.ended() => return,
                }
            }
            for message in taken {
                let Some(place) = places.pop() else { break };
                source.hand(message, place, &handing).await;
            }
        }
    }
}
