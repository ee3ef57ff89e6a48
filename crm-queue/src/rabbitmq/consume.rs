use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use crm_core::port::queue::{ABANDONMENTS, Priority, QueueError, QueueResult, Subscription};
use futures::{
    StreamExt as _,
    stream::{self, BoxStream, SelectAll},
};
use lapin::{
    Acker, Channel, Consumer as Subscribed,
    message::Delivery as Delivered,
    options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions},
    types::FieldTable,
};
use tokio::{sync::mpsc, time::Instant};

use super::{
    connection::told,
    keys::Keys,
    message::{Received, read},
    queue::Shared,
    settle::RabbitReceipt,
};
use crate::{backoff::Backoff, handing::Handing, turns::Turns};

/// At least so many messages of each queue are at hand: so that the next of high is there when one is done, and that one
/// key that waits does not hold back the others.
const WINDOW: u16 = 20;

/// A message that may be handed out, or waits for its key or its time.
#[derive(Clone)]
pub(super) struct Ready {
    pub(super) received: Received,
    pub(super) acker: Acker,
}

/// What receipts tell the consumer.
pub(super) enum Told {
    /// The message of this key is dealt with.
    Done(String),
    /// This one, of a key, comes again at this time. It waits here, not in the broker, and those behind it too.
    Again(Instant, Box<Ready>),
    /// Nobody had this one in hand after all.
    Released(Box<Ready>),
}

/// Takes messages for one consumer until it is gone, over as many connections as it takes.
pub(super) async fn pump(shared: Arc<Shared>, subscription: Subscription, handing: Handing) {
    let mut backoff = Backoff::new(shared.random.clone());
    loop {
        let connected = tokio::select! {
            connected = Consumer::join(&shared, subscription) => connected,
            () = handing.ended() => return,
        };
        let ended = match connected {
            Ok(mut consumer) => {
                backoff.reset();
                let ended = consumer.run(&handing).await;
                if ended.is_err() {
                    // Somebody may have deleted a queue: what the others handed over is given back, and all begins anew.
                    shared.consuming.forget_declared().await;
                    let _ = tokio::time::timeout(shared.timeout, consumer.channel.close(200, "ended".into())).await;
                }
                ended
            }
            Err(error) => Err(error),
        };
        match ended {
            Ok(()) | Err(QueueError::Closed) => return,
            Err(error @ (QueueError::Unusable(_) | QueueError::Misuse(_))) => return handing.fail(error).await,
            Err(error) => tracing::warn!(
                group = subscription.group.name(),
                topic = subscription.group.topic().name,
                error = &error as &dyn std::error::Error,
                "taking messages failed and will be tried again"
            ),
        }
        let pause = backoff.next();
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = handing.ended() => return,
        }
    }
}

/// What comes from one queue.
enum Arrival {
    Delivered(Box<Delivered>),
    Failed(lapin::Error),
    /// The consumer of this tag takes nothing more.
    Ended(String),
}

fn arrivals(subscribed: Subscribed) -> BoxStream<'static, Arrival> {
    let ended = Arrival::Ended(subscribed.tag().as_str().to_owned());
    let arrived = subscribed.map(|arrived| match arrived {
        Ok(delivered) => Arrival::Delivered(Box::new(delivered)),
        Err(error) => Arrival::Failed(error),
    });
    arrived.chain(stream::once(async { ended })).boxed()
}

/// A consumer on one channel.
struct Consumer {
    shared: Arc<Shared>,
    subscription: Subscription,
    channel: Channel,
    /// Of the queues without keys; none while the consumer has its hands full.
    tags: Vec<String>,
    /// Those that we ended ourselves.
    cancelled: HashSet<String>,
    /// Since when it could not be handed what is ready.
    full_since: Option<Instant>,
    arriving: SelectAll<BoxStream<'static, Arrival>>,
    ready: [VecDeque<Ready>; 3],
    keys: Keys<Ready>,
    waiting: Vec<(Instant, Box<Ready>)>,
    turns: Turns,
    /// Given to receipts, of which each has one until it is gone.
    tell: Option<mpsc::UnboundedSender<Told>>,
    told: mpsc::UnboundedReceiver<Told>,
}

impl Consumer {
    async fn join(shared: &Arc<Shared>, subscription: Subscription) -> QueueResult<Self> {
        let joining = async {
            shared.check_open()?;
            let session = shared.consuming.session().await?;
            shared.topology.declare(&session, subscription.group).await?;
            let channel = session.channel().await?;
            Ok((session, channel))
        };
        let (session, channel) = shared.in_time(joining).await?;
        // A queue that is not there, though it was declared, was deleted.
        let missing = |_: &QueueError| session.forget_declared();
        let mut arriving = SelectAll::new();
        let mut tags = Vec::new();
        for priority in Priority::ALL {
            let subscribed = subscribe(shared, subscription, &channel, priority.as_str()).await.inspect_err(missing)?;
            tags.push(subscribed.tag().as_str().to_owned());
            arriving.push(arrivals(subscribed));
        }
        for lane in shared.topology.keyed_lanes() {
            let subscribed = subscribe(shared, subscription, &channel, &lane).await.inspect_err(missing)?;
            arriving.push(arrivals(subscribed));
        }
        let (tell, told) = mpsc::unbounded_channel();
        Ok(Self {
            shared: shared.clone(),
            subscription,
            channel,
            tags,
            cancelled: HashSet::new(),
            full_since: None,
            arriving,
            ready: Default::default(),
            keys: Keys::default(),
            waiting: Vec::new(),
            turns: Turns::default(),
            tell: Some(tell),
            told,
        })
    }

    /// Until the consumer is gone, or the connection is.
    async fn run(&mut self, handing: &Handing) -> QueueResult<()> {
        loop {
            let has_ready = self.ready.iter().any(|ready| !ready.is_empty());
            let is_paused = self.tags.is_empty();
            self.full_since = match self.full_since {
                _ if is_paused || !has_ready || handing.has_place() => None,
                None => Some(Instant::now()),
                since => since,
            };
            let next_due = self.waiting.iter().map(|(due, _)| *due).min();
            let too_long = self.full_since.map(|since| since + self.subscription.lease);
            tokio::select! {
                () = handing.ended() => return self.leave(handing).await,
                Some(told) = self.told.recv() => self.hear(told),
                arrived = self.arriving.next() => match arrived {
                    Some(Arrival::Delivered(delivered)) if is_paused && is_unkeyed(&delivered) => {
                        give_back(&delivered.acker).await;
                    }
                    Some(Arrival::Delivered(delivered)) => self.arrive(*delivered),
                    Some(Arrival::Failed(error)) => return Err(told(error)),
                    Some(Arrival::Ended(tag)) if self.cancelled.remove(&tag) => {}
                    // Deleted queues end their consumers.
                    Some(Arrival::Ended(_)) | None => return Err(QueueError::unavailable("RabbitMQ ended the consumer")),
                },
                () = sleep_until(next_due) => self.wake(),
                () = sleep_until(too_long) => self.pause().await,
                place = handing.place(), if has_ready || is_paused => {
                    if is_paused {
                        self.resume().await?;
                    }
                    let order = self.turns.next();
                    let next = order.into_iter().find_map(|priority| self.ready[priority as usize].pop_front());
                    let (Some(place), Some(next)) = (place, next) else { continue };
                    self.full_since = None;
                    let attempt = next.received.attempts.saturating_add(next.received.abandonments).saturating_add(1);
                    let message = next.received.message.clone();
                    let receipt = RabbitReceipt::new(&self.shared, self.subscription, next, self.tell.clone());
                    handing.hand(message, attempt, Box::new(receipt), place).await;
                }
            }
        }
    }

    /// Gives back what it has had at hand for a whole lease, and takes no more until it has a hand free: others may be
    /// idle. What has a key stays, for the sake of its order.
    async fn pause(&mut self) {
        for tag in std::mem::take(&mut self.tags) {
            self.cancelled.insert(tag.clone());
            let _ = self.channel.basic_cancel(tag.as_str().into(), BasicCancelOptions::default()).await;
        }
        self.give_back_unkeyed().await;
    }

    async fn resume(&mut self) -> QueueResult<()> {
        for priority in Priority::ALL {
            let subscribed = subscribe(&self.shared, self.subscription, &self.channel, priority.as_str()).await?;
            self.tags.push(subscribed.tag().as_str().to_owned());
            self.arriving.push(arrivals(subscribed));
        }
        Ok(())
    }

    async fn give_back_unkeyed(&mut self) {
        for ready in &mut self.ready {
            let (unkeyed, keyed) =
                std::mem::take(ready).into_iter().partition(|one: &Ready| one.received.message.key.is_none());
            *ready = keyed;
            let unkeyed: VecDeque<Ready> = unkeyed;
            for one in unkeyed {
                give_back(&one.acker).await;
            }
        }
    }

    fn arrive(&mut self, delivered: Delivered) {
        let Some(received) = read(&delivered.properties, &delivered.data) else {
            return self.bury_unreadable(delivered);
        };
        let ready = Ready { received, acker: delivered.acker };
        if !ready.received.remaining.is_zero() {
            return self.send_on(ready);
        }
        let let_through = match &ready.received.message.key {
            Some(key) => {
                let key = key.clone();
                self.keys.enter(&key, ready)
            }
            None => Some(ready),
        };
        self.make_ready(let_through);
    }

    fn make_ready(&mut self, ready: Option<Ready>) {
        if let Some(ready) = ready {
            self.ready[ready.received.message.priority as usize].push_back(ready);
        }
    }

    fn hear(&mut self, told: Told) {
        match told {
            Told::Done(key) => {
                let next = self.keys.done(&key);
                self.make_ready(next);
            }
            Told::Again(due, ready) => self.waiting.push((due, ready)),
            Told::Released(ready) => self.ready[ready.received.message.priority as usize].push_front(*ready),
        }
    }

    /// Makes ready what has waited long enough.
    fn wake(&mut self) {
        let now = Instant::now();
        let (due, waiting) = std::mem::take(&mut self.waiting).into_iter().partition(|(due, _)| *due <= now);
        self.waiting = waiting;
        let due: Vec<(Instant, Box<Ready>)> = due;
        for (_, ready) in due {
            self.make_ready(Some(*ready));
        }
    }

    /// Sends what came back after one step of its delay on to the next.
    fn send_on(&self, ready: Ready) {
        let (shared, group) = (self.shared.clone(), self.subscription.group);
        tokio::spawn(async move {
            let Received { message, attempts, remaining, .. } = &ready.received;
            let sent = match shared.to_group(group, message, *attempts, *remaining) {
                Ok(sent) => shared.send(sent).await,
                Err(error) => Err(error),
            };
            answer(&ready.acker, sent).await;
        });
    }

    fn bury_unreadable(&self, delivered: Delivered) {
        let (shared, group) = (self.shared.clone(), self.subscription.group);
        tokio::spawn(async move {
            let Delivered { properties, data, acker, .. } = delivered;
            let sent = shared.send(shared.to_dead(group, properties, &data, 1, crate::UNREADABLE)).await;
            answer(&acker, sent).await;
        });
    }

    /// Takes nothing more, gives back what nobody has, and waits for the answers to what somebody has. Partitions are
    /// kept until then, so that nobody else gets the next of a key.
    async fn leave(&mut self, handing: &Handing) -> QueueResult<()> {
        if handing.is_closed() {
            return Ok(());
        }
        self.tell = None;
        self.pause().await;
        loop {
            tokio::select! {
                told = self.told.recv() => match told {
                    Some(Told::Released(ready)) if ready.received.message.key.is_none() => give_back(&ready.acker).await,
                    Some(_) => {}
                    None => break,
                },
                arrived = self.arriving.next() => match arrived {
                    Some(Arrival::Delivered(delivered)) if is_unkeyed(&delivered) => {
                        give_back(&delivered.acker).await;
                    }
                    Some(Arrival::Delivered(_) | Arrival::Ended(_)) => {}
                    Some(Arrival::Failed(_)) | None => break,
                },
                () = handing.closed() => break,
            }
        }
        let _ = self.channel.close(200, "left".into()).await;
        Ok(())
    }
}

async fn subscribe(
    shared: &Shared,
    subscription: Subscription,
    channel: &Channel,
    lane: &str,
) -> QueueResult<Subscribed> {
    let queue = shared.topology.queue(subscription.group, lane);
    let subscribing = async {
        channel.basic_qos(subscription.prefetch.max(WINDOW), BasicQosOptions::default()).await?;
        channel
            .basic_consume(queue.as_str().into(), "".into(), BasicConsumeOptions::default(), FieldTable::default())
            .await
    };
    match tokio::time::timeout(shared.timeout, subscribing).await {
        Ok(subscribed) => subscribed.map_err(told),
        // One that has no leader: others may answer.
        Err(_) => Err(QueueError::unavailable(format!("RabbitMQ's queue {queue} does not answer"))),
    }
}

fn is_unkeyed(delivered: &Delivered) -> bool {
    read(&delivered.properties, &delivered.data).is_none_or(|received| received.message.key.is_none())
}

/// Lets go of what was sent on; what was not comes again.
async fn answer(acker: &Acker, sent: QueueResult<()>) {
    match sent {
        // Where that does not arrive it comes again.
        Ok(()) => {
            let _ = acker.ack(BasicAckOptions::default()).await;
        }
        Err(error) => {
            tracing::debug!(error = &error as &dyn std::error::Error, "a message could not be sent on and comes again");
            give_back(acker).await;
        }
    }
}

/// Back to the queue. Since 4.0 the broker does not count that, unlike `basic.reject`.
pub(super) async fn give_back(acker: &Acker) {
    let _ = acker.nack(BasicNackOptions { requeue: true, ..BasicNackOptions::default() }).await;
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Whether one more end without an answer is one too many.
pub(super) const fn is_poison(abandonments: u32) -> bool {
    abandonments.saturating_add(1) >= ABANDONMENTS
}

/// The longest that a message with a key waits with its consumer: a broker takes a consumer that does not answer for
/// half an hour for one that hangs.
pub(super) const LONGEST_WAIT: Duration = Duration::from_mins(10);
