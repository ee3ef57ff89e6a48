use std::{sync::Arc, time::Duration};

use crm_core::{
    async_trait,
    port::queue::{ABANDONMENTS, QueueError, QueueResult, Receipt, Settlement},
};
use redis::ScriptInvocation;
use tokio::runtime::Handle;
use uuid::Uuid;

use super::{queue::Shared, script::Keys};
use crate::handing::HeldReceipt;

/// The claim on one entry: it holds as long as the entry is pending for this consumer with this number of deliveries.
#[derive(Clone)]
pub(super) struct RedisReceipt {
    shared: Arc<Shared>,
    keys: Keys,
    rank: u8,
    entry: String,
    consumer: Arc<str>,
    deliveries: u64,
    attempts: u32,
    abandonments: u32,
    message: Uuid,
    runtime: Handle,
}

impl RedisReceipt {
    pub(super) fn new(
        shared: &Arc<Shared>,
        keys: Keys,
        (rank, entry, consumer, deliveries): (u8, String, Arc<str>, u64),
        (attempts, abandonments): (u32, u32),
        message: Uuid,
    ) -> Self {
        let (shared, runtime) = (shared.clone(), Handle::current());
        Self { shared, keys, rank, entry, consumer, deliveries, attempts, abandonments, message, runtime }
    }

    async fn settle_by(&self, what: &str, arguments: impl FnOnce(&mut ScriptInvocation<'_>)) -> QueueResult<()> {
        let mut invocation = self.shared.scripts.settle(&self.keys);
        invocation.arg(self.rank).arg(&self.entry).arg(self.consumer.as_ref()).arg(self.deliveries).arg(what);
        arguments(&mut invocation);
        let ours: bool = self.shared.link.run(&invocation).await?;
        if ours { Ok(()) } else { Err(QueueError::Lost) }
    }

    async fn again(&self, after: Duration, attempts: u32, abandonments: u32) -> QueueResult<()> {
        let delay = u64::try_from(after.as_micros().div_ceil(1000)).unwrap_or(u64::MAX >> 12);
        self.settle_by("again", |invocation| {
            invocation.arg(delay).arg(attempts).arg(abandonments);
        })
        .await?;
        self.shared.tell_news();
        Ok(())
    }

    /// Makes it a dead letter after so many attempts.
    pub(super) async fn bury(&self, attempts: u32, cause: &str) -> QueueResult<()> {
        self.settle_by("bury", |invocation| {
            invocation.arg(attempts).arg(cause).arg(self.message.to_string());
        })
        .await?;
        self.shared.tell_news();
        Ok(())
    }

    async fn give_back(&self, counted: bool) -> QueueResult<()> {
        if !counted {
            return self.again(Duration::ZERO, self.attempts, self.abandonments).await;
        }
        let (attempts, abandonments) = (self.attempts.saturating_add(1), self.abandonments.saturating_add(1));
        if abandonments >= ABANDONMENTS {
            return self.bury(attempts, crate::ABANDONED).await;
        }
        self.again(Duration::ZERO, attempts, abandonments).await
    }

    fn give_back_soon(&self, counted: bool) {
        let receipt = self.clone();
        self.runtime.spawn(async move {
            match receipt.give_back(counted).await {
                Ok(()) | Err(QueueError::Lost | QueueError::Closed) => {}
                Err(error) => tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "a message that was not answered comes back by its lease"
                ),
            }
        });
    }
}

#[async_trait]
impl Receipt for RedisReceipt {
    async fn settle(&self, settlement: Settlement) -> QueueResult<()> {
        match settlement {
            Settlement::Acknowledge => {
                self.settle_by("acknowledge", |_| {}).await?;
                // The next of its key may be ready.
                self.shared.tell_news();
                Ok(())
            }
            Settlement::Retry(after) => self.again(after, self.attempts.saturating_add(1), 0).await,
            Settlement::Reject(cause) => self.bury(self.attempts.saturating_add(1), &cause).await,
        }
    }

    async fn extend(&self) -> QueueResult<()> {
        self.settle_by("extend", |_| {}).await
    }

    fn abandon(&self) {
        self.give_back_soon(true);
    }
}

impl HeldReceipt for RedisReceipt {
    fn release(&self) {
        self.give_back_soon(false);
    }
}
