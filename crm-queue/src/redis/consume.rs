use std::{sync::Arc, time::Duration};

use crm_core::{
    async_trait,
    port::queue::{ABANDONMENTS, QueueResult, Subscription},
};
use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use uuid::Uuid;

use super::{
    queue::Shared,
    script::{Keys, rank},
    settle::RedisReceipt,
};
use crate::{
    asking::{Asking, Source},
    backoff::Backoff,
    envelope,
    handing::Handing,
    turns::Turns,
};

/// The longest that a consumer in another process does not see a message, or that a delay is over.
const POLL: Duration = Duration::from_millis(200);
/// How often it is looked for leases that are over.
const SWEEP: Duration = Duration::from_secs(1);

/// An entry of a stream that was taken: rank, id, deliveries of the entry, attempts before, losses, message.
type Taken = (u8, String, u64, u32, u32, String);

/// Takes messages for one consumer until it is gone.
pub(super) async fn pump(shared: Arc<Shared>, subscription: Subscription, name: String, handing: Handing) {
    let keys = shared.keys(subscription.group);
    let tidied = shared.link.run::<i64>(&shared.scripts.tidy(&keys)).await;
    if let Err(error) = tidied {
        tracing::debug!(?error, "names of consumers that ended long ago stay a while longer");
    }
    let asking = Asking {
        subscription,
        poll: POLL,
        news: shared.news.subscribe(),
        backoff: Backoff::new(shared.random.clone()),
    };
    let consumer = Consumer { shared, keys, subscription, name: name.into(), turns: Turns::default(), swept: None };
    asking.pump(consumer, handing).await;
}

struct Consumer {
    shared: Arc<Shared>,
    keys: Keys,
    subscription: Subscription,
    name: Arc<str>,
    turns: Turns,
    swept: Option<Instant>,
}

#[async_trait]
impl Source for Consumer {
    type Taken = Taken;

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

    async fn hand(
        &self,
        (rank, entry, deliveries, attempts, abandonments, text): Taken,
        place: OwnedSemaphorePermit,
        handing: &Handing,
    ) {
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
