use std::{fmt, sync::Arc, time::Duration};

use crm_core::{
    async_trait,
    port::{
        Clock, Random,
        queue::{
            DeadLetters, Deliveries, Depth, Group, Message, Priority, Queue, QueueError, QueueResult, Subscription,
            Topic, Which,
        },
    },
};
use tokio::sync::{Mutex, watch};

use super::{
    connection::{Link, RabbitMqOptions},
    consume,
    topology::{Topology, ready},
};
use crate::handing::Handing;

/// Queues in RabbitMQ.
///
/// A message is confirmed when a majority of the queue's nodes has it on disk. A delay is put together from the steps
/// of [`RabbitMqOptions::delay_steps`] and rounded up to the shortest; a message with a key that is to be retried waits
/// with its consumer instead, ten minutes at most. The broker does not tell how many messages are in hand.
pub struct RabbitMqQueue {
    shared: Arc<Shared>,
}

/// What consumers and receipts share with the queue.
pub(super) struct Shared {
    pub(super) publishing: Link,
    pub(super) consuming: Link,
    pub(super) topology: Topology,
    pub(super) timeout: Duration,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) random: Arc<dyn Random>,
    pub(super) closed: watch::Sender<bool>,
    /// Held while dead letters are looked at: they are handed out for that.
    pub(super) looking: Mutex<()>,
}

impl fmt::Debug for RabbitMqQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RabbitMqQueue").field("topology", &self.shared.topology).finish_non_exhaustive()
    }
}

impl RabbitMqQueue {
    /// Does not wait for RabbitMQ, which may come later.
    ///
    /// # Errors
    /// [`QueueError::Unusable`] where the options are not valid.
    pub fn open(options: &RabbitMqOptions, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> QueueResult<Self> {
        options.check()?;
        let shared = Shared {
            publishing: Link::new(options.clone(), "publisher"),
            consuming: Link::new(options.clone(), "consumer"),
            topology: Topology::new(options),
            timeout: options.timeout,
            clock,
            random,
            closed: watch::Sender::new(false),
            looking: Mutex::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }
}

impl Shared {
    pub(super) fn check_open(&self) -> QueueResult<()> {
        if *self.closed.borrow() { Err(QueueError::Closed) } else { Ok(()) }
    }

    /// The answer, if it comes in time.
    pub(super) async fn in_time<T>(&self, answer: impl Future<Output = QueueResult<T>>) -> QueueResult<T> {
        match tokio::time::timeout(self.timeout, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(QueueError::unavailable("RabbitMQ did not answer in time")),
        }
    }

    async fn depth(&self, group: Group) -> QueueResult<Depth> {
        let session = self.publishing.session().await?;
        let mut depth = Depth { dead: ready(&session, &self.topology.dead(group)).await?, ..Depth::default() };
        let priorities = Priority::ALL.into_iter().map(|priority| priority.to_string());
        for lane in priorities.chain(self.topology.keyed_lanes()) {
            depth.ready += ready(&session, &self.topology.queue(group, &lane)).await?;
        }
        for step in self.topology.steps() {
            depth.delayed += ready(&session, &self.topology.delay(group, *step)).await?;
        }
        Ok(depth)
    }
}

#[async_trait]
impl Queue for RabbitMqQueue {
    async fn publish(&self, topic: &'static Topic, messages: &[Message], delay: Duration) -> QueueResult<()> {
        self.shared.check_open()?;
        self.shared.publish(topic, messages, delay).await
    }

    async fn consume(&self, subscription: Subscription) -> QueueResult<Box<dyn Deliveries>> {
        self.shared.check_open()?;
        subscription.check()?;
        let (handing, deliveries) = Handing::new(&subscription, self.shared.closed.subscribe());
        tokio::spawn(consume::pump(self.shared.clone(), subscription, handing));
        Ok(deliveries)
    }

    async fn depth(&self, group: Group) -> QueueResult<Depth> {
        self.shared.check_open()?;
        self.shared.in_time(self.shared.depth(group)).await
    }

    async fn dead_letters(&self, group: Group, after: Option<&str>, limit: usize) -> QueueResult<DeadLetters> {
        self.shared.check_open()?;
        self.shared.dead_letters(group, after, limit).await
    }

    async fn replay(&self, group: Group, which: Which) -> QueueResult<u64> {
        self.shared.check_open()?;
        self.shared.replay(group, which).await
    }

    async fn discard(&self, group: Group, which: Which) -> QueueResult<u64> {
        self.shared.check_open()?;
        self.shared.discard(group, which).await
    }

    async fn health(&self) -> QueueResult<()> {
        self.shared.check_open()?;
        let answers = async {
            for link in [&self.shared.publishing, &self.shared.consuming] {
                // The broker answers that a channel is open.
                link.session().await?.channel().await?;
            }
            Ok(())
        };
        self.shared.in_time(answers).await
    }

    fn engine(&self) -> &'static str {
        "rabbitmq"
    }

    async fn close(&self) {
        self.shared.closed.send_replace(true);
        self.shared.consuming.close().await;
        self.shared.publishing.close().await;
    }
}
