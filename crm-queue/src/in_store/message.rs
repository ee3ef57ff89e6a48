//! Messages as records of a store.

use std::{convert::Infallible, str::FromStr};

use crm_core::{
    id::OrganizationId,
    port::queue::{DeadLetter, Group, Message, Priority},
    record::{Meta, Record},
    store::{Filter, Json},
    time::Timestamp,
};
use uuid::Uuid;

crm_core::record_ids! {
    /// A message for one group.
    QueuedMessageId,
}

/// Where a message is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum State {
    /// May be handed out.
    Ready,
    /// Waits until it is due.
    Delayed,
    /// Waits for an earlier one of its key; looked at again when that is gone, at the latest when it is due.
    Blocked,
    /// With a consumer, until it is due.
    InHand,
    /// A dead letter.
    Dead,
}

impl State {
    const ALL: [Self; 5] = [Self::Ready, Self::Delayed, Self::Blocked, Self::InHand, Self::Dead];
}

impl AsRef<str> for State {
    fn as_ref(&self) -> &str {
        match self {
            Self::Ready => "ready",
            Self::Delayed => "delayed",
            Self::Blocked => "blocked",
            Self::InHand => "in_hand",
            Self::Dead => "dead",
        }
    }
}

impl FromStr for State {
    type Err = Infallible;

    /// What is unknown, from a newer program, is left alone as if it were in hand.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self::ALL.into_iter().find(|state| state.as_ref() == text).unwrap_or(Self::InHand))
    }
}

crm_core::text_field_type!(State);

/// A message for one group.
#[derive(Clone, Debug, PartialEq, Record)]
#[expect(clippy::duplicated_attributes, reason = "several indexes have the same column")]
#[record(
    collection = "queue_messages",
    installation,
    index(queue, state, priority, due_at, sequence),
    index(queue, state, due_at),
    index(queue, ordering_key, sequence)
)]
pub struct QueuedMessage {
    /// Made from the message's id and the group, so that a repetition is known while the first is here.
    pub id: QueuedMessageId,
    /// The topic and the group.
    pub(crate) queue: String,
    /// Where it is.
    pub(crate) state: State,
    /// 0 high, 1 normal, 2 low.
    pub(crate) priority: i64,
    /// By state: since when it is ready, until when it is in hand or waits, when it died.
    pub(crate) due_at: Timestamp,
    /// Ascends with every message that a process publishes.
    pub(crate) sequence: i64,
    /// The message's own id.
    pub(crate) message_id: Uuid,
    /// What it is.
    pub(crate) kind: String,
    /// The version of the body's shape.
    pub(crate) message_version: i64,
    /// The key whose order is kept.
    pub(crate) ordering_key: Option<String>,
    /// When it was made.
    pub(crate) published_at: Timestamp,
    /// The request that caused it.
    pub(crate) request_id: Option<String>,
    /// What a consumer needs to know.
    pub(crate) body: Json,
    /// How many times it was handed out and has come back.
    pub(crate) attempts: i64,
    /// How many of them, the last ones, ended without an answer.
    pub(crate) abandonments: i64,
    /// The consumer that has it.
    pub(crate) holder: Option<Uuid>,
    /// Why it died.
    pub(crate) cause: Option<String>,
    /// Its organization and times.
    pub meta: Meta,
}

impl QueuedMessage {
    /// A message for the group, to be handed out at `due_at`.
    pub(crate) fn new(group: Group, message: &Message, now: Timestamp, due_at: Timestamp, sequence: i64) -> Self {
        Self {
            id: id_of(group, message.id),
            queue: name_of(group),
            state: if due_at > now { State::Delayed } else { State::Ready },
            priority: rank(message.priority),
            due_at,
            sequence,
            message_id: message.id,
            kind: message.kind.clone(),
            message_version: i64::from(message.version),
            ordering_key: message.key.clone(),
            published_at: message.published_at,
            request_id: message.request_id.clone(),
            body: message.body.clone(),
            attempts: 0,
            abandonments: 0,
            holder: None,
            cause: None,
            meta: Meta::new(message.organization, now),
        }
    }

    /// The attempt that is being made, of a message in hand.
    pub(crate) fn attempt(&self) -> u32 {
        count(self.attempts).saturating_add(1)
    }

    pub(crate) fn into_message(self) -> Message {
        Message {
            id: self.message_id,
            kind: self.kind,
            version: count(self.message_version),
            organization: OrganizationId(self.meta.organization_id.0),
            key: self.ordering_key,
            priority: match self.priority {
                0 => Priority::High,
                1 => Priority::Normal,
                _ => Priority::Low,
            },
            published_at: self.published_at,
            request_id: self.request_id,
            body: self.body,
        }
    }

    pub(crate) fn into_dead_letter(mut self) -> DeadLetter {
        DeadLetter {
            attempts: count(self.attempts),
            cause: self.cause.take().unwrap_or_default(),
            died_at: self.due_at,
            message: self.into_message(),
        }
    }

    /// In the group's queue.
    pub(crate) fn of(group: Group) -> Filter {
        Self::queue.equals(name_of(group))
    }
}

pub(crate) const fn rank(priority: Priority) -> i64 {
    match priority {
        Priority::High => 0,
        Priority::Normal => 1,
        Priority::Low => 2,
    }
}

fn count(stored: i64) -> u32 {
    u32::try_from(stored.max(0)).unwrap_or(u32::MAX)
}

fn name_of(group: Group) -> String {
    format!("{}/{}", group.topic().name, group.name())
}

/// The message's id with its random bits changed by the group's name: another for each group, in the same order of time.
pub(crate) fn id_of(group: Group, message: Uuid) -> QueuedMessageId {
    const RANDOM_BITS: u128 = (1 << 62) - 1;

    let mark = u128::from(crate::hash::of(name_of(group).as_bytes())) & RANDOM_BITS;
    QueuedMessageId(Uuid::from_u128(message.as_u128() ^ mark))
}
