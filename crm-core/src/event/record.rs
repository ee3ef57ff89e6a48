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
#[record(collection = "outbox", installation, index(published_at), index(record_id, record_version))]
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
    /// When a relay published it.
    #[serde(skip)]
    pub published_at: Option<Timestamp>,
    /// Its organization and times.
    #[serde(flatten)]
    pub meta: Meta,
}
