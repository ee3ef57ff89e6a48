use serde::Serialize;
use uuid::Uuid;

use crate::{
    record::{Meta, Record},
    store::Json,
    time::Timestamp,
};

crate::record_ids! {
    /// An event.
    EventId,
}

/// Something that happened to a record, kept in the outbox by the same commit.
#[derive(Clone, Debug, PartialEq, Record, Serialize)]
#[expect(clippy::duplicated_attributes, reason = "several indexes have the same column")]
#[record(
    collection = "outbox",
    installation,
    index(held_by, published_at),
    index(record_id, published_at, record_version)
)]
pub struct Event {
    /// The event's id: the same in every repetition.
    pub id: EventId,
    /// What happened, such as `customer.created`.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The version of the event's shape.
    pub event_version: i64,
    /// The kind of record, such as `customers`.
    pub record_type: String,
    /// The record.
    pub record_id: Uuid,
    /// The record's version after it happened; events of one record are published in this order.
    pub record_version: i64,
    /// Who did it: `user`, `api_key`, `service` or `system`.
    pub actor_type: String,
    /// The person or key.
    pub actor_id: Option<Uuid>,
    /// The request that did it.
    pub request_id: Option<String>,
    /// What a consumer needs to know.
    pub data: Json,
    /// Which of the parts of the outbox it is in, of which one relay at a time publishes from each.
    #[serde(skip)]
    pub partition: Option<i64>,
    /// When a relay published it, or somebody dropped it.
    #[serde(skip)]
    pub published_at: Option<Timestamp>,
    /// How often it could not be published.
    #[serde(skip)]
    pub failures: Option<i64>,
    /// The event of the same record that was set aside and holds this one back; of that one, itself.
    #[serde(skip)]
    pub held_by: Option<Uuid>,
    /// Why it was set aside.
    #[serde(skip)]
    pub cause: Option<String>,
    /// Its organization and times.
    #[serde(flatten)]
    pub meta: Meta,
}

/// So many parts the outbox has. Relays of several processes share them.
pub(crate) const PARTITIONS: i64 = 8;

/// The part that the events of a record are in.
#[must_use]
pub fn partition_of(record_id: Uuid) -> i64 {
    // The last bits of an id are random.
    i64::try_from(record_id.as_u128() % u128::from(PARTITIONS.unsigned_abs())).unwrap_or(0)
}
