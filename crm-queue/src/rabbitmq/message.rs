//! Messages as RabbitMQ carries them: the body as it is, everything else in properties and headers.

use std::time::Duration;

use crm_core::{
    id::OrganizationId,
    port::queue::{DeadLetter, Message, QueueError, QueueResult},
    store::Json,
    time::Timestamp,
};
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, ShortString},
};
use serde_json::value::RawValue;
use uuid::Uuid;

const VERSION: &str = "crm-version";
const ORGANIZATION: &str = "crm-organization";
const KEY: &str = "crm-key";
const PRIORITY: &str = "crm-priority";
const PUBLISHED_AT: &str = "crm-published-at";
const REQUEST_ID: &str = "crm-request-id";
/// How many attempts are over.
const ATTEMPTS: &str = "crm-attempts";
/// How often in a row since then a consumer ended without an answer. The broker counts what nobody was handed too.
const ABANDONED: &str = "crm-abandonments";
/// What is left of its delay when it comes back, in milliseconds.
const REMAINING: &str = "crm-remaining-ms";
const CAUSE: &str = "crm-cause";
const DIED_AT: &str = "crm-died-at";
/// Why RabbitMQ itself made it a dead letter.
const FIRST_DEATH_REASON: &str = "x-first-death-reason";

/// The mode of what outlives the broker.
const PERSISTENT: u8 = 2;

/// A message that came, with what the broker and we have counted.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Received {
    pub(super) message: Message,
    /// Attempts that ended with an answer.
    pub(super) attempts: u32,
    /// Attempts since then that ended without one.
    pub(super) abandonments: u32,
    /// What is left of its delay.
    pub(super) remaining: Duration,
}

/// The properties of a message of which so many attempts are over, and so much of its delay is left for later.
pub(super) fn properties(message: &Message, attempts: u32, remaining: Duration) -> QueueResult<BasicProperties> {
    let mut headers = FieldTable::default();
    let mut set = |name: &'static str, value: AMQPValue| {
        headers.insert(name.into(), value);
    };
    set(VERSION, AMQPValue::LongLongInt(i64::from(message.version)));
    set(ORGANIZATION, text(message.organization.to_string()));
    set(PRIORITY, text(message.priority.to_string()));
    set(PUBLISHED_AT, AMQPValue::LongLongInt(message.published_at.as_milliseconds()));
    set(ATTEMPTS, AMQPValue::LongLongInt(i64::from(attempts)));
    if let Some(key) = &message.key {
        set(KEY, text(key.clone()));
    }
    if let Some(request) = &message.request_id {
        set(REQUEST_ID, text(request.clone()));
    }
    if !remaining.is_zero() {
        // Rounded up, so that no delay is cut short.
        let milliseconds = i64::try_from(remaining.as_micros().div_ceil(1000)).unwrap_or(i64::MAX);
        set(REMAINING, AMQPValue::LongLongInt(milliseconds));
    }
    let seconds = u64::try_from(message.published_at.as_milliseconds() / 1000).unwrap_or(0);
    Ok(BasicProperties::default()
        .with_message_id(short(message.id.to_string())?)
        .with_type(short(message.kind.clone())?)
        .with_content_type("application/json".into())
        .with_timestamp(seconds)
        .with_delivery_mode(PERSISTENT)
        .with_headers(headers))
}

/// The same properties, of a message whose consumers ended so often without an answer.
pub(super) fn abandoned(properties: BasicProperties, abandonments: u32) -> BasicProperties {
    let mut headers = properties.headers().clone().unwrap_or_default();
    headers.insert(ABANDONED.into(), AMQPValue::LongLongInt(i64::from(abandonments)));
    properties.with_headers(headers)
}

/// The same properties, of a dead letter.
pub(super) fn buried(properties: BasicProperties, attempts: u32, cause: &str, died_at: Timestamp) -> BasicProperties {
    let mut headers = properties.headers().clone().unwrap_or_default();
    headers.insert(ATTEMPTS.into(), AMQPValue::LongLongInt(i64::from(attempts)));
    headers.insert(CAUSE.into(), text(cause.to_owned()));
    headers.insert(DIED_AT.into(), AMQPValue::LongLongInt(died_at.as_milliseconds()));
    properties.with_headers(headers).with_delivery_mode(PERSISTENT)
}

/// Nothing where it is no message of ours.
pub(super) fn read(properties: &BasicProperties, body: &[u8]) -> Option<Received> {
    let headers = properties.headers().as_ref()?;
    let body = std::str::from_utf8(body).ok()?;
    let _: &RawValue = serde_json::from_str(body).ok()?;
    let count = |name: &str| integer(headers, name).and_then(|number| u32::try_from(number).ok()).unwrap_or(0);
    Some(Received {
        message: Message {
            id: Uuid::try_parse(properties.message_id().as_ref()?.as_str()).ok()?,
            kind: properties.kind().as_ref()?.as_str().to_owned(),
            version: u32::try_from(integer(headers, VERSION)?).ok()?,
            organization: OrganizationId(Uuid::try_parse(&string(headers, ORGANIZATION)?).ok()?),
            key: string(headers, KEY),
            priority: string(headers, PRIORITY)?.parse().ok()?,
            published_at: Timestamp::from_milliseconds(integer(headers, PUBLISHED_AT)?)?,
            request_id: string(headers, REQUEST_ID),
            body: Json::from_trusted(body),
        },
        attempts: count(ATTEMPTS),
        abandonments: count(ABANDONED),
        remaining: integer(headers, REMAINING)
            .and_then(|milliseconds| u64::try_from(milliseconds).ok())
            .map_or(Duration::ZERO, Duration::from_millis),
    })
}

/// The dead letter, as well as it can be read.
pub(super) fn letter(properties: &BasicProperties, body: &[u8]) -> DeadLetter {
    let headers = properties.headers().clone().unwrap_or_default();
    let id = properties.message_id().as_ref().and_then(|id| Uuid::try_parse(id.as_str()).ok());
    let message = read(properties, body)
        .map_or_else(|| crate::envelope::unreadable(body, id.unwrap_or_default()), |received| received.message);
    let broker_buried = string(&headers, FIRST_DEATH_REASON).is_some();
    let count = |name: &str| integer(&headers, name).and_then(|count| u32::try_from(count).ok()).unwrap_or(0);
    let attempts = count(ATTEMPTS);
    DeadLetter {
        // The process of the last attempt died with it.
        attempts: if broker_buried { attempts.saturating_add(count(ABANDONED)).saturating_add(1) } else { attempts },
        cause: string(&headers, CAUSE).unwrap_or_else(|| crate::ABANDONED.to_owned()),
        died_at: integer(&headers, DIED_AT)
            .and_then(Timestamp::from_milliseconds)
            .or_else(|| died_at_of_broker(&headers))
            .unwrap_or(message.published_at),
        message,
    }
}

/// What RabbitMQ noted when it made a dead letter itself.
fn died_at_of_broker(headers: &FieldTable) -> Option<Timestamp> {
    let AMQPValue::FieldArray(deaths) = headers.inner().get("x-death")? else { return None };
    let AMQPValue::FieldTable(death) = deaths.as_slice().first()? else { return None };
    let AMQPValue::Timestamp(seconds) = death.inner().get("time")? else { return None };
    Timestamp::from_milliseconds(i64::try_from(*seconds).ok()?.checked_mul(1000)?)
}

fn text(text: String) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

fn short(text: String) -> QueueResult<ShortString> {
    ShortString::try_new(text).map_err(|_| QueueError::Misuse("the kind of a message is too long".to_owned()))
}

fn string(headers: &FieldTable, name: &str) -> Option<String> {
    match headers.inner().get(name)? {
        AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok().map(str::to_owned),
        AMQPValue::ShortString(text) => Some(text.as_str().to_owned()),
        _ => None,
    }
}

fn integer(headers: &FieldTable, name: &str) -> Option<i64> {
    Some(match headers.inner().get(name)? {
        AMQPValue::ShortShortInt(number) => i64::from(*number),
        AMQPValue::ShortShortUInt(number) => i64::from(*number),
        AMQPValue::ShortInt(number) => i64::from(*number),
        AMQPValue::ShortUInt(number) => i64::from(*number),
        AMQPValue::LongInt(number) => i64::from(*number),
        AMQPValue::LongUInt(number) => i64::from(*number),
        AMQPValue::LongLongInt(number) => *number,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crm_core::{port::queue::Priority, time::Timestamp};
    use lapin::BasicProperties;
    use proptest::prelude::*;

    use super::{Received, abandoned, buried, letter, properties, read};
    use crate::envelope::unreadable;

    #[test]
    fn what_is_written_is_read() {
        let mut message = unreadable(b"x", uuid::Uuid::from_u128(5));
        (message.key, message.priority) = (Some("ключ".to_owned()), Priority::Low);
        message.request_id = Some("r".to_owned());
        let written = properties(&message, 3, Duration::from_millis(7)).unwrap();
        let expected =
            Received { message: message.clone(), attempts: 3, abandonments: 0, remaining: Duration::from_millis(7) };
        assert_eq!(read(&written, message.body.as_str().as_bytes()), Some(expected.clone()));
        let twice = read(&abandoned(written.clone(), 2), message.body.as_str().as_bytes());
        assert_eq!(twice, Some(Received { abandonments: 2, ..expected }));
        let died_at = Timestamp::from_milliseconds(1_780_000_000_123).unwrap();
        let letter = letter(&buried(written, 4, "no use", died_at), message.body.as_str().as_bytes());
        assert_eq!((letter.message, letter.attempts, letter.died_at), (message, 4, died_at));
        assert_eq!(letter.cause, "no use");
    }

    proptest! {
        #[test]
        fn anything_else_is_no_message_and_no_panic(body in any::<Vec<u8>>(), kind in "[a-z]{0,10}") {
            let foreign = BasicProperties::default().with_type(kind.as_str().into());
            prop_assert_eq!(read(&foreign, &body), None);
            prop_assert_eq!(letter(&foreign, &body).message.kind, "unreadable");
        }
    }
}
