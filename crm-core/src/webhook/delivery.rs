use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::WebhookId;
use crate::{
    record::{Meta, Record},
    time::Timestamp,
};

crate::record_ids! {
    /// A delivery.
    WebhookDeliveryId,
}

/// One event on its way to one webhook. Kept for 30 days.
#[derive(Clone, Debug, Record, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[record(
    collection = "webhook_deliveries",
    installation,
    unique(webhook_id, event_id),
    index(webhook_id, due_at),
    index(webhook_id, -created_at)
)]
pub struct WebhookDelivery {
    /// The delivery's id.
    pub id: WebhookDeliveryId,
    /// The webhook.
    pub webhook_id: WebhookId,
    /// The event; sent as `webhook-id`, the same in every attempt.
    pub event_id: Uuid,
    /// The type of the event.
    pub event_type: String,
    /// What is posted.
    #[serde(serialize_with = "as_json")]
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub payload: String,
    /// How far it is.
    pub state: DeliveryState,
    /// How often it was sent.
    pub attempts: i64,
    /// The place in the schedule of retries.
    #[serde(skip)]
    pub step: i64,
    /// When this round of attempts began: when it was planned, or last replayed.
    pub begun_at: Timestamp,
    /// When it is sent next; absent once it has ended.
    pub due_at: Option<Timestamp>,
    /// Who is at it.
    #[serde(skip)]
    pub holder: Option<Uuid>,
    /// When it was last sent.
    pub last_attempt_at: Option<Timestamp>,
    /// What the receiver answered last.
    pub last_status: Option<i64>,
    /// Why it has not arrived.
    pub error: Option<String>,
    /// The last attempts, the newest last.
    pub log: DeliveryAttempts,
    /// Its organization, version and times.
    #[serde(flatten)]
    pub meta: Meta,
}

#[expect(clippy::ptr_arg, reason = "serde gives the field as it is")]
fn as_json<S: Serializer>(text: &String, serializer: S) -> Result<S::Ok, S::Error> {
    <&RawValue>::deserialize(&mut serde_json::Deserializer::from_str(text))
        .map_err(serde::ser::Error::custom)?
        .serialize(serializer)
}

/// How far a delivery is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// It is being sent, or will be.
    Pending,
    /// The receiver took it.
    Delivered,
    /// It is not tried again by itself.
    Failed,
}

impl DeliveryState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Pending, Self::Delivered, Self::Failed];

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for DeliveryState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl AsRef<str> for DeliveryState {
    fn as_ref(&self) -> &str {
        self.name()
    }
}

/// There is no state of that name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be one of pending, delivered, failed")]
pub struct UnknownDeliveryState;

impl FromStr for DeliveryState {
    type Err = UnknownDeliveryState;

    fn from_str(name: &str) -> Result<Self, UnknownDeliveryState> {
        Self::ALL.into_iter().find(|state| state.name() == name).ok_or(UnknownDeliveryState)
    }
}

crate::text_field_type!(DeliveryState);

/// What became of one attempt.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeliveryAttempt {
    /// Which it was, from 1.
    pub number: i64,
    /// When it began.
    pub at: Timestamp,
    /// What the receiver answered.
    pub status: Option<u16>,
    /// How long it took, in milliseconds.
    pub milliseconds: u64,
    /// The beginning of the answer, at most 1 KB.
    pub response: Option<String>,
    /// Why there was no answer.
    pub error: Option<String>,
}

/// The last attempts, at most 20.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct DeliveryAttempts(pub Vec<DeliveryAttempt>);

/// So many attempts are kept.
const KEPT: usize = 20;

impl DeliveryAttempts {
    pub(super) fn add(&mut self, attempt: DeliveryAttempt) {
        self.0.push(attempt);
        let surplus = self.0.len().saturating_sub(KEPT);
        self.0.drain(..surplus);
    }
}

crate::json_field_type!(DeliveryAttempts);
