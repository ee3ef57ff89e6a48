//! A message as one JSON text, where a broker has no place for its members.

use crm_core::{
    id::OrganizationId,
    port::queue::{Message, Priority, QueueError, QueueResult},
    store::Json,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

#[derive(Serialize)]
struct Written<'a> {
    id: Uuid,
    kind: &'a str,
    version: u32,
    organization: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    priority: Priority,
    published_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    body: &'a Json,
}

#[derive(Deserialize)]
struct Read {
    id: Uuid,
    kind: String,
    version: u32,
    organization: Uuid,
    key: Option<String>,
    priority: Priority,
    published_at: i64,
    request_id: Option<String>,
    body: Box<RawValue>,
}

pub(crate) fn write(message: &Message) -> QueueResult<String> {
    let written = Written {
        id: message.id,
        kind: &message.kind,
        version: message.version,
        organization: message.organization.0,
        key: message.key.as_deref(),
        priority: message.priority,
        published_at: message.published_at.as_milliseconds(),
        request_id: message.request_id.as_deref(),
        body: &message.body,
    };
    serde_json::to_string(&written).map_err(|_| QueueError::Misuse("the body of a message is not JSON".to_owned()))
}

/// Nothing where the text is no message of ours.
pub(crate) fn read(text: &str) -> Option<Message> {
    let read: Read = serde_json::from_str(text).ok()?;
    Some(Message {
        id: read.id,
        kind: read.kind,
        version: read.version,
        organization: OrganizationId(read.organization),
        key: read.key,
        priority: read.priority,
        published_at: Timestamp::from_milliseconds(read.published_at)?,
        request_id: read.request_id,
        body: Json::from_trusted(Box::<str>::from(read.body)),
    })
}

/// What stands for a message that cannot be read: its beginning, as the text of the body.
pub(crate) fn unreadable(bytes: &[u8], id: Uuid) -> Message {
    const SHOWN: usize = 2000;

    let text: String = String::from_utf8_lossy(bytes).chars().filter(|letter| *letter != '\0').take(SHOWN).collect();
    Message {
        id,
        kind: "unreadable".to_owned(),
        version: 0,
        organization: OrganizationId::INSTALLATION,
        key: None,
        priority: Priority::Normal,
        published_at: Timestamp::default(),
        request_id: None,
        body: Json::from_value(&serde_json::Value::String(text)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{read, unreadable, write};

    proptest! {
        #[test]
        fn arbitrary_text_is_no_message_and_no_panic(text in any::<String>()) {
            prop_assert!(read(&text).is_none());
        }

        #[test]
        fn what_is_written_is_read(key in proptest::option::of("[^\\p{C}]{1,20}"), kind in "[a-z.]{1,20}", number in any::<i64>()) {
            let mut message = unreadable(b"", uuid::Uuid::from_u128(7));
            message.key = key;
            message.kind = kind;
            message.body = crm_core::store::Json::from_value(&serde_json::json!({"number": number, "text": "\u{1}\""}));
            prop_assert_eq!(read(&write(&message).unwrap()), Some(message));
        }
    }
}
