use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Event, EventId, partition_of};
use crate::{
    error::{Error, Result},
    id::OrganizationId,
    port::queue::{Message, Priority, Topic},
    record::Meta,
    store::Json,
    time::Timestamp,
};

/// Events, on a queue. The group [`HANDLERS`] is the CRM's own.
pub static EVENTS: Topic = Topic { name: "events", groups: &[HANDLERS] };

/// The group of the CRM's processes: one of them hands each event to its sinks, and plans its deliveries to webhooks.
pub const HANDLERS: &str = "handlers";

/// The longest request id that a queue carries beside the body.
const LONGEST_REQUEST_ID: usize = 128;

/// An event as others see it: on a queue, and in the body of a webhook.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Envelope {
    id: Uuid,
    #[serde(rename = "type")]
    event_type: String,
    version: i64,
    timestamp: Timestamp,
    organization_id: OrganizationId,
    record: RecordReference,
    actor: ActorReference,
    request_id: Option<String>,
    data: Box<serde_json::value::RawValue>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct RecordReference {
    #[serde(rename = "type")]
    record_type: String,
    id: Uuid,
    version: i64,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct ActorReference {
    #[serde(rename = "type")]
    actor_type: String,
    id: Option<Uuid>,
}

/// The event as JSON.
///
/// # Errors
/// Where its data was damaged in the store.
pub(crate) fn to_json(event: &Event) -> Result<String> {
    let envelope = Envelope {
        id: event.id.0,
        event_type: event.event_type.clone(),
        version: event.event_version,
        timestamp: event.meta.created_at,
        organization_id: event.meta.organization_id,
        record: RecordReference {
            record_type: event.record_type.clone(),
            id: event.record_id,
            version: event.record_version,
        },
        actor: ActorReference { actor_type: event.actor_type.clone(), id: event.actor_id },
        request_id: event.request_id.clone(),
        data: serde_json::from_str(event.data.as_str()).map_err(Error::internal)?,
    };
    serde_json::to_string(&envelope).map_err(Error::internal)
}

/// The event as a message: its id is the event's, its key the record's, so that a queue keeps their order.
///
/// # Errors
/// Where its data was damaged in the store, or no queue takes it.
pub(crate) fn to_message(event: &Event) -> Result<Message> {
    let fits = |id: &String| id.len() <= LONGEST_REQUEST_ID && !id.chars().any(char::is_control);
    let message = Message {
        id: event.id.0,
        kind: event.event_type.clone(),
        version: u32::try_from(event.event_version).map_err(Error::internal)?,
        organization: event.meta.organization_id,
        key: Some(event.record_id.to_string()),
        priority: Priority::Normal,
        published_at: event.meta.created_at,
        request_id: event.request_id.clone().filter(fits),
        body: Json::from_trusted(to_json(event)?),
    };
    message.check()?;
    Ok(message)
}

/// The event of a message.
///
/// # Errors
/// Where it is none.
pub(crate) fn of_message(message: &Message) -> Result<Event> {
    let envelope: Envelope = serde_json::from_str(message.body.as_str()).map_err(Error::internal)?;
    let at = envelope.timestamp;
    Ok(Event {
        id: EventId(envelope.id),
        event_type: envelope.event_type,
        event_version: envelope.version,
        record_type: envelope.record.record_type,
        record_id: envelope.record.id,
        record_version: envelope.record.version,
        actor_type: envelope.actor.actor_type,
        actor_id: envelope.actor.id,
        request_id: envelope.request_id,
        data: Json::from_trusted(envelope.data.get()),
        partition: Some(partition_of(envelope.record.id)),
        published_at: None,
        failures: None,
        held_by: None,
        cause: None,
        meta: Meta::new(envelope.organization_id, at),
    })
}
