//! The queue contract: what a broker must do for jobs and events to be handed on.
//!
//! A [`Topic`] is declared once, with the groups that take its messages: each group gets each message, and within a
//! group one consumer at a time has it. What is confirmed is kept until it is acknowledged or dropped from the dead
//! letters, whatever process or broker dies in between; so a message may come more than once, and its id tells.
//!
//! # What a queue promises
//!
//! - **Nothing confirmed is lost.** [`Queue::publish`] returns when the broker has the messages where they outlive it.
//! - **At least once.** A consumer that dies, hangs past its lease, or drops a [`Delivery`] without an answer gives the
//!   message back. After [`ABANDONMENTS`] such ends in a row it becomes a dead letter.
//! - **Order by key.** Messages of one key that were published one after the other, without a delay, are handed out in
//!   that order, one at a time; one that is to be retried holds back those behind it. A dead letter holds back nothing.
//! - **Priority.** High comes before normal before low, but a steady flow of the higher never keeps the lower from
//!   its turn. A key's order comes before priority.
//! - **Delays** last at least as long as was asked; how much longer, each queue's documentation tells.

mod delivery;
mod failure;
mod message;

use std::time::Duration;

use async_trait::async_trait;

pub use self::{
    delivery::{Deliveries, Delivery, Receipt, Settlement},
    failure::{QueueError, QueueResult},
    message::{MAX_BODY, Message, Priority},
};
use crate::time::Timestamp;

/// How often in a row the consumers of a message may end without an answer before it becomes a dead letter.
pub const ABANDONMENTS: u32 = 20;

/// What messages are about, and who takes them. Declared once, as a `static`.
#[derive(Debug, Eq, Hash, PartialEq)]
pub struct Topic {
    /// The name: 1–64 lower-case letters, digits and `-`.
    pub name: &'static str,
    /// The groups, named alike. Each gets each message. One that is added later gets what is published from then on by
    /// programs that know it.
    pub groups: &'static [&'static str],
}

/// The consumers that share the messages of a topic.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Group {
    topic: &'static Topic,
    name: &'static str,
}

impl Topic {
    /// The group of that name.
    ///
    /// # Errors
    /// [`QueueError::Misuse`] where the topic declares none such.
    pub fn group(&'static self, name: &str) -> QueueResult<Group> {
        let name = self.groups.iter().find(|group| **group == name).ok_or_else(|| {
            QueueError::Misuse(format!("the topic {} has no group {name}, but {}", self.name, self.groups.join(", ")))
        })?;
        Ok(Group { topic: self, name })
    }

    /// Every group.
    pub fn all_groups(&'static self) -> impl Iterator<Item = Group> {
        self.groups.iter().map(move |name| Group { topic: self, name })
    }

    /// Whether the names are such as every broker takes.
    ///
    /// # Errors
    /// [`QueueError::Misuse`] naming the one that is not.
    pub fn check(&self) -> QueueResult<()> {
        for name in self.groups.iter().chain([&self.name]) {
            let fits = (1..=64).contains(&name.len())
                && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
            if !fits {
                return Err(QueueError::Misuse(format!("{name:?} is no name of a topic or group")));
            }
        }
        if self.groups.is_empty() {
            return Err(QueueError::Misuse(format!("nobody takes the messages of the topic {}", self.name)));
        }
        Ok(())
    }
}

impl Group {
    /// The topic.
    #[must_use]
    pub const fn topic(self) -> &'static Topic {
        self.topic
    }

    /// The name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.name
    }
}

/// How a consumer wants its messages.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Subscription {
    /// The group that it is one of.
    pub group: Group,
    /// How many deliveries it may have unanswered at once, 1–1000.
    pub prefetch: u16,
    /// How long a delivery may go without an answer or [`Delivery::extend`] before another consumer gets the message.
    /// A broker that watches connections itself may take longer to see that a consumer hangs; its documentation tells.
    pub lease: Duration,
}

impl Subscription {
    /// With 10 deliveries at once, each for half a minute.
    #[must_use]
    pub const fn new(group: Group) -> Self {
        Self { group, prefetch: 10, lease: Duration::from_secs(30) }
    }

    /// Whether the numbers are in range.
    ///
    /// # Errors
    /// [`QueueError::Misuse`] naming the one that is not.
    pub fn check(&self) -> QueueResult<()> {
        self.group.topic.check()?;
        if !(1..=1000).contains(&self.prefetch) {
            return Err(QueueError::Misuse("a prefetch is 1 to 1000".to_owned()));
        }
        if !(Duration::from_millis(1)..=Duration::from_hours(24)).contains(&self.lease) {
            return Err(QueueError::Misuse("a lease lasts a millisecond to a day".to_owned()));
        }
        Ok(())
    }
}

/// How many messages of a group are where.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Depth {
    /// Waiting to be handed out, also those that wait for an earlier one of their key.
    pub ready: u64,
    /// Waiting for their time.
    pub delayed: u64,
    /// With a consumer; nothing where the broker does not tell.
    pub in_hand: Option<u64>,
    /// Dead letters.
    pub dead: u64,
}

/// A message that nobody could deal with.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetter {
    /// The message.
    pub message: Message,
    /// How many times it was handed out.
    pub attempts: u32,
    /// Why it is here.
    pub cause: String,
    /// Since when.
    pub died_at: Timestamp,
}

/// A page of dead letters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeadLetters {
    /// The letters, in the order in which they died.
    pub letters: Vec<DeadLetter>,
    /// Where the next page begins, where there is more.
    pub next: Option<String>,
}

/// Which dead letters.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Which {
    /// Those of the message with this id.
    One(uuid::Uuid),
    /// All that there are.
    All,
}

/// A broker that hands messages on.
///
/// A failure is a value ([`QueueError`]); a queue reconnects by itself, and every call has an end in time.
#[async_trait]
pub trait Queue: Send + Sync + 'static {
    /// Hands messages to every group of the topic, none of them before `delay` has passed. Returns when the broker has
    /// confirmed each. After an error it is unknown which of them arrived: publish the same again, with the same ids.
    ///
    /// # Errors
    /// [`QueueError::TooLarge`] and [`QueueError::Misuse`] before anything is sent; [`QueueError::Unavailable`] where
    /// the broker did not confirm in time.
    async fn publish(&self, topic: &'static Topic, messages: &[Message], delay: Duration) -> QueueResult<()>;

    /// Joins the group. Messages come from now on, until the answer is dropped or the queue is closed.
    ///
    /// # Errors
    /// [`QueueError::Misuse`], or [`QueueError::Unavailable`] where the broker cannot be reached.
    async fn consume(&self, subscription: Subscription) -> QueueResult<Box<dyn Deliveries>>;

    /// How many messages of the group are where. The numbers are of about one moment.
    async fn depth(&self, group: Group) -> QueueResult<Depth>;

    /// A page of at most `limit` (1–1000) dead letters of the group, from the start or from where another page ended.
    async fn dead_letters(&self, group: Group, after: Option<&str>, limit: usize) -> QueueResult<DeadLetters>;

    /// Hands dead letters out again, as if they had just been published, their attempts counted from 1. Answers how
    /// many there were.
    async fn replay(&self, group: Group, which: Which) -> QueueResult<u64>;

    /// Drops dead letters for good. Answers how many there were.
    async fn discard(&self, group: Group, which: Which) -> QueueResult<u64>;

    /// Answers where the broker does.
    async fn health(&self) -> QueueResult<()>;

    /// The kind of broker for people and metrics, such as `rabbitmq`.
    fn engine(&self) -> &'static str;

    /// Ends every consumer and lets go of connections. What is unanswered is handed out again, to others.
    /// Whatever is asked afterwards is refused with [`QueueError::Closed`].
    async fn close(&self);
}

/// A queue that many hold.
pub type SharedQueue = std::sync::Arc<dyn Queue>;
