use std::{fmt, sync::Arc, time::Duration};

use crm_core::{
    async_trait,
    id::new_uuid,
    port::{
        Clock, Random,
        queue::{
            DeadLetters, Deliveries, Depth, Group, Message, Queue, QueueError, QueueResult, Subscription, Topic, Which,
        },
    },
};
use tokio::sync::watch;

use super::{
    connection::{Link, RedisOptions},
    consume,
    script::{Keys, Scripts},
};
use crate::handing::Handing;

/// A queue in Redis streams: one for each priority, with a set for what is delayed and a stream of dead letters.
///
/// Redis's own clock decides what is due. What it confirms outlives it as far as its `appendfsync` says. A consumer in
/// another process than the publisher's finds a message within 200 ms. A message that is published twice comes twice.
pub struct RedisQueue {
    shared: Arc<Shared>,
}

/// What consumers and receipts share with the queue.
pub(super) struct Shared {
    pub(super) link: Link,
    pub(super) scripts: Scripts,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) random: Arc<dyn Random>,
    /// Changes whenever something may have become ready.
    pub(super) news: watch::Sender<u64>,
    pub(super) closed: watch::Sender<bool>,
}

impl fmt::Debug for RedisQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisQueue").field("prefix", &self.shared.link.prefix()).finish_non_exhaustive()
    }
}

impl RedisQueue {
    /// Does not wait for Redis, which may come later. Needs to be called in a tokio runtime.
    ///
    /// # Errors
    /// [`QueueError::Unusable`] where the options are not valid.
    pub fn open(options: &RedisOptions, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> QueueResult<Self> {
        let shared = Shared {
            link: Link::open(options)?,
            scripts: Scripts::new(),
            clock,
            random,
            news: watch::Sender::new(0),
            closed: watch::Sender::new(false),
        };
        Ok(Self { shared: Arc::new(shared) })
    }
}

impl Shared {
    pub(super) fn check_open(&self) -> QueueResult<()> {
        if *self.closed.borrow() { Err(QueueError::Closed) } else { Ok(()) }
    }

    pub(super) fn keys(&self, group: Group) -> Keys {
        Keys::new(self.link.prefix(), group)
    }

    pub(super) fn tell_news(&self) {
        self.news.send_modify(|news| *news = news.wrapping_add(1));
    }
}

#[async_trait]
impl Queue for RedisQueue {
    async fn publish(&self, topic: &'static Topic, messages: &[Message], delay: Duration) -> QueueResult<()> {
        self.shared.check_open()?;
        self.shared.publish(topic, messages, delay).await
    }

    async fn consume(&self, subscription: Subscription) -> QueueResult<Box<dyn Deliveries>> {
        self.shared.check_open()?;
        subscription.check()?;
        let (handing, deliveries) = Handing::new(&subscription, self.shared.closed.subscribe());
        let name = new_uuid(self.shared.clock.now(), self.shared.random.as_ref()).simple().to_string();
        tokio::spawn(consume::pump(self.shared.clone(), subscription, name, handing));
        Ok(deliveries)
    }

    async fn depth(&self, group: Group) -> QueueResult<Depth> {
        self.shared.check_open()?;
        let invocation = self.shared.scripts.depth(&self.shared.keys(group));
        let (ready, delayed, in_hand, dead) = self.shared.link.run(&invocation).await?;
        Ok(Depth { ready, delayed, in_hand: Some(in_hand), dead })
    }

    async fn dead_letters(&self, group: Group, after: Option<&str>, limit: usize) -> QueueResult<DeadLetters> {
        self.shared.check_open()?;
        self.shared.dead_letters(group, after, limit).await
    }

    async fn replay(&self, group: Group, which: Which) -> QueueResult<u64> {
        self.shared.check_open()?;
        let replayed = self.shared.each_dead(group, which, "replay").await?;
        self.shared.tell_news();
        Ok(replayed)
    }

    async fn discard(&self, group: Group, which: Which) -> QueueResult<u64> {
        self.shared.check_open()?;
        self.shared.each_dead(group, which, "discard").await
    }

    async fn health(&self) -> QueueResult<()> {
        self.shared.check_open()?;
        let _: String = self.shared.link.query(&redis::cmd("PING")).await?;
        Ok(())
    }

    fn engine(&self) -> &'static str {
        "redis"
    }

    async fn close(&self) {
        self.shared.closed.send_replace(true);
    }
}
