use std::{sync::Arc, time::Duration};

use crm_core::port::queue::{ABANDONMENTS, QueueError, QueueResult, Subscription};
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    queue::Shared,
    script::{Keys, rank},
    settle::RedisReceipt,
};
use crate::{backoff::Backoff, envelope, handing::Handing, turns::Turns};

/// The longest that a consumer in another process does not see a message, or that a delay is over.
const POLL: Duration = Duration::from_millis(200);
/// How often it is looked for leases that are over.
const SWEEP: Duration = Duration::from_secs(1);

/// An entry of a stream that was taken: rank, id, deliveries of the entry, attempts before, losses, message.
type Taken = (u8, String, u64, u32, u32, String);

/// Takes messages for one consumer until it is gone.
pub(super) async fn pump(shared: Arc<Shared>, subscription: Subscription, name: String, handing: Handing) {
    let mut consumer = Consumer {
        keys: shared.keys(subscription.group),
        backoff: Backoff::new(shared.random.clone()),
        shared,
        subscription,
        name: name.into(),
        turns: Turns::default(),
        swept: None,
    };
    let tidied = consumer.shared.link.run::<i64>(&consumer.shared.scripts.tidy(&consumer.keys)).await;
    if let Err(error) = tidied {
        tracing::debug!(?error, "names of consumers that ended long ago stay a while longer");
    }
    consumer.run(&handing).await;
}

struct Consumer {
    shared: Arc<Shared>,
    keys: Keys,
    subscription: Subscription,
    name: Arc<str>,
    turns: Turns,
    swept: Option<Instant>,
    backoff: Backoff,
}

impl Consumer {
    async fn run(&mut self, handing: &Handing) {
        let mut news = self.shared.news.subscribe();
        loop {
            // Only waits are cut short: what is taken is handed over, or released on the way.
            let mut places = tokio::select! {
                places = handing.places() => places,
                () = handing.ended() => return,
            };
            news.mark_unchanged();
            let taken = match self.take(places.len()).await {
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
                    _ = tokio::time::timeout(POLL, news.changed()) => continue,
                    () = handing.ended() => return,
                }
            }
            for (rank, entry, deliveries, attempts, abandonments, text) in taken {
                let Some(place) = places.pop() else { break };
                let message = envelope::read(&text);
                let receipt = RedisReceipt::new(
                    &self.shared,
                    self.keys.clone(),
                    (rank, entry, self.name.clone(), deliveries),
                    (attempts, abandonments),
                    message.as_ref().map_or(Uuid::nil(), |message| message.id),
                );
                match message {
                    Some(message) if abandonments < ABANDONMENTS => {
                        handing.hand(message, attempts.saturating_add(1), Box::new(receipt), place).await;
                    }
                    message => {
                        let cause = if message.is_some() { crate::ABANDONED } else { crate::UNREADABLE };
                        // Where that fails it comes again, by its lease.
                        let _ = receipt.bury(attempts, cause).await;
                    }
                }
            }
        }
    }

    /// Takes up to so many messages that are ready.
    async fn take(&mut self, limit: usize) -> QueueResult<Vec<Taken>> {
        let sweeps = self.swept.is_none_or(|swept| swept.elapsed() >= SWEEP.min(self.subscription.lease / 2));
        let lease = if sweeps { u64::try_from(self.subscription.lease.as_millis()).unwrap_or(u64::MAX) } else { 0 };
        let mut invocation = self.shared.scripts.take(&self.keys);
        invocation.arg(self.name.as_ref()).arg(limit).arg(lease);
        for priority in self.turns.next() {
            invocation.arg(rank(priority));
        }
        let taken = self.shared.link.run(&invocation).await?;
        if sweeps {
            self.swept = Some(Instant::now());
        }
        Ok(taken)
    }
}
