use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crm_core::{
    async_trait,
    port::queue::{QueueError, QueueResult, Receipt, Settlement, Subscription},
};
use lapin::options::BasicAckOptions;
use tokio::{runtime::Handle, sync::mpsc, task::AbortHandle, time::Instant};

use super::{
    connection::told,
    consume::{LONGEST_WAIT, Ready, Told, give_back, is_poison},
    message::{Received, properties},
    queue::Shared,
};
use crate::handing::HeldReceipt;

/// The claim on one delivery: it holds as long as the channel does, and the lease.
pub(super) struct RabbitReceipt {
    claim: Claim,
    watch: AbortHandle,
    runtime: Handle,
}

impl Drop for RabbitReceipt {
    fn drop(&mut self) {
        self.end();
    }
}

/// What the receipt and its watch agree on.
struct Lease {
    /// When it ends; nothing once it has been answered or has ended.
    until: Option<Instant>,
    /// Whether the watch ended it: then what becomes of the message is for the watch alone.
    is_over: bool,
}

#[derive(Clone)]
struct Claim {
    shared: Arc<Shared>,
    subscription: Subscription,
    ready: Ready,
    tell: Option<mpsc::UnboundedSender<Told>>,
    lease: Arc<Mutex<Lease>>,
}

impl RabbitReceipt {
    pub(super) fn new(
        shared: &Arc<Shared>,
        subscription: Subscription,
        ready: Ready,
        tell: Option<mpsc::UnboundedSender<Told>>,
    ) -> Self {
        let until = Some(Instant::now() + subscription.lease);
        let lease = Arc::new(Mutex::new(Lease { until, is_over: false }));
        let claim = Claim { shared: shared.clone(), subscription, ready, tell, lease };
        let watch = tokio::spawn(claim.clone().watch()).abort_handle();
        Self { claim, watch, runtime: Handle::current() }
    }
}

impl Claim {
    fn lease(&self) -> MutexGuard<'_, Lease> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the message to somebody else when the lease is over. The broker itself watches connections only.
    async fn watch(mut self) {
        // The consumer waits for receipts, not for those who watch over them.
        let tell = self.tell.as_ref().map(mpsc::UnboundedSender::downgrade);
        self.tell = None;
        loop {
            let Some(until) = self.lease().until else { return };
            tokio::time::sleep_until(until).await;
            let is_over = {
                let mut lease = self.lease();
                let is_over = lease.until.is_some_and(|until| until <= Instant::now());
                if is_over {
                    *lease = Lease { until: None, is_over };
                }
                is_over
            };
            if is_over {
                self.tell = tell.as_ref().and_then(mpsc::WeakUnboundedSender::upgrade);
                self.abandon().await;
                return;
            }
        }
    }

    /// Whether the answer is still ours to give; it is given once.
    fn take(&self) -> QueueResult<()> {
        let mut lease = self.lease();
        if lease.until.is_none() || !self.ready.acker.usable() {
            return Err(QueueError::Lost);
        }
        lease.until = None;
        Ok(())
    }

    fn key(&self) -> Option<&String> {
        self.ready.received.message.key.as_ref()
    }

    fn tell(&self, told: Told) {
        if let Some(tell) = &self.tell {
            let _ = tell.send(told);
        }
    }

    /// Attempts with this one.
    fn attempts(&self) -> u32 {
        self.ready.received.attempts.saturating_add(self.ready.received.abandonments).saturating_add(1)
    }

    async fn acknowledge(&self) -> QueueResult<()> {
        let acknowledged = self.ready.acker.ack(BasicAckOptions::default()).await.map_err(told)?;
        if let Some(key) = self.key() {
            self.tell(Told::Done(key.clone()));
        }
        if acknowledged { Ok(()) } else { Err(QueueError::Lost) }
    }

    async fn retry(&self, after: Duration) -> QueueResult<()> {
        let attempts = self.attempts();
        if self.key().is_some() {
            self.wait(after.min(LONGEST_WAIT), |ready| {
                ready.received.attempts = attempts;
                ready.received.abandonments = 0;
            });
            return Ok(());
        }
        let message = &self.ready.received.message;
        let again = self.shared.to_group(self.subscription.group, message, attempts, after)?;
        self.shared.send(again).await?;
        self.acknowledge().await
    }

    /// A message with a key waits with its consumer, and holds back those behind it.
    fn wait(&self, time: Duration, change: impl FnOnce(&mut Ready)) {
        let mut ready = Box::new(self.ready.clone());
        change(&mut ready);
        self.tell(Told::Again(Instant::now() + time, ready));
    }

    async fn bury(&self, cause: &str) -> QueueResult<()> {
        let message = &self.ready.received.message;
        let properties = properties(message, 0, Duration::ZERO)?;
        let body = message.body.as_str().as_bytes();
        let dead = self.shared.to_dead(self.subscription.group, properties, body, self.attempts(), cause);
        self.shared.send(dead).await?;
        self.acknowledge().await
    }

    async fn abandon(&self) {
        let received = &self.ready.received;
        if is_poison(received.abandonments) && self.bury(crate::ABANDONED).await.is_ok() {
            return;
        }
        let abandonments = received.abandonments.saturating_add(1);
        if self.key().is_some() {
            if self.tell.is_some() {
                return self.wait(Duration::ZERO, |ready| ready.received.abandonments = abandonments);
            }
        } else if self.send_again(abandonments).await.is_ok() {
            return;
        }
        give_back(&self.ready.acker).await;
    }

    /// Counted by ourselves: the broker counts what nobody was handed too.
    async fn send_again(&self, abandonments: u32) -> QueueResult<()> {
        let Received { message, attempts, .. } = &self.ready.received;
        let again = self.shared.to_group_again(self.subscription.group, message, *attempts, abandonments)?;
        self.shared.send(again).await?;
        // Where that is lost, it comes twice.
        let _ = self.acknowledge().await;
        Ok(())
    }
}

impl RabbitReceipt {
    /// Ends the watch, unless it is giving the message to somebody else: that goes on, and is done once. Answers
    /// whether there is anything to give back still.
    fn end(&self) -> bool {
        let mut lease = self.claim.lease();
        if lease.is_over {
            return false;
        }
        lease.until = None;
        self.watch.abort();
        self.claim.ready.acker.usable()
    }
}

#[async_trait]
impl Receipt for RabbitReceipt {
    async fn settle(&self, settlement: Settlement) -> QueueResult<()> {
        self.claim.take()?;
        match settlement {
            Settlement::Acknowledge => self.claim.acknowledge().await,
            Settlement::Retry(after) => self.claim.retry(after).await,
            Settlement::Reject(cause) => self.claim.bury(&cause).await,
        }
    }

    async fn extend(&self) -> QueueResult<()> {
        let mut lease = self.claim.lease();
        if lease.until.is_none() || !self.claim.ready.acker.usable() {
            return Err(QueueError::Lost);
        }
        lease.until = Some(Instant::now() + self.claim.subscription.lease);
        Ok(())
    }

    fn abandon(&self) {
        if self.end() {
            let claim = self.claim.clone();
            self.runtime.spawn(async move { claim.abandon().await });
        }
    }
}

impl HeldReceipt for RabbitReceipt {
    fn release(&self) {
        if self.end() {
            self.claim.tell(Told::Released(Box::new(self.claim.ready.clone())));
        }
    }
}
