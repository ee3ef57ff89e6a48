use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{QueueError, QueueResult};
use crate::{id::OrganizationId, store::Json, time::Timestamp};

/// The largest body, in bytes. What is larger belongs into the store, with its id in the message.
pub const MAX_BODY: usize = 1 << 20;

/// What comes first.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Somebody waits for it.
    High,
    /// Most things.
    #[default]
    Normal,
    /// Whenever there is time.
    Low,
}

impl Priority {
    /// All, the highest first.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Priority {
    type Err = QueueError;

    fn from_str(text: &str) -> Result<Self, QueueError> {
        Self::ALL
            .into_iter()
            .find(|priority| priority.as_str() == text)
            .ok_or_else(|| QueueError::Misuse("a priority is high, normal or low".to_owned()))
    }
}

/// Something to be dealt with by each group of a topic.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The id: the same in every repetition, by which a consumer knows what it has done already.
    pub id: Uuid,
    /// What it is, such as `customer.created`: 1–128 bytes.
    pub kind: String,
    /// The version of the body's shape.
    pub version: u32,
    /// Whose it is.
    pub organization: OrganizationId,
    /// Messages of one key keep their order. At most 256 bytes, no control characters.
    pub key: Option<String>,
    /// What comes first.
    pub priority: Priority,
    /// When it was made.
    pub published_at: Timestamp,
    /// The request that caused it, at most 128 bytes.
    pub request_id: Option<String>,
    /// What a consumer needs to know, at most [`MAX_BODY`]. It comes out meaning the same, not always as the same text.
    pub body: Json,
}

impl Message {
    /// Whether every broker takes it.
    ///
    /// # Errors
    /// [`QueueError::TooLarge`] for the body, [`QueueError::Misuse`] naming any other member.
    pub fn check(&self) -> QueueResult<()> {
        let size = self.body.as_str().len();
        if size > MAX_BODY {
            return Err(QueueError::TooLarge(format!(
                "the body of a message has at most {MAX_BODY} bytes, this one has {size}"
            )));
        }
        let fits = |text: &str, longest: usize| text.len() <= longest && !text.chars().any(char::is_control);
        if self.kind.is_empty() || !fits(&self.kind, 128) {
            return Err(QueueError::Misuse("the kind of a message has 1 to 128 bytes".to_owned()));
        }
        if self.key.as_ref().is_some_and(|key| key.is_empty() || !fits(key, 256)) {
            return Err(QueueError::Misuse("the key of a message has 1 to 256 bytes".to_owned()));
        }
        if self.request_id.as_ref().is_some_and(|id| !fits(id, 128)) {
            return Err(QueueError::Misuse("the request id of a message has at most 128 bytes".to_owned()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_BODY, Message, Priority};
    use crate::{
        id::OrganizationId,
        port::queue::{QueueError, Topic},
        store::Json,
        time::Timestamp,
    };

    fn message() -> Message {
        Message {
            id: uuid::Uuid::nil(),
            kind: "customer.created".to_owned(),
            version: 1,
            organization: OrganizationId::INSTALLATION,
            key: None,
            priority: Priority::Normal,
            published_at: Timestamp::default(),
            request_id: None,
            body: Json::default(),
        }
    }

    #[test]
    fn what_is_too_large_or_misnamed_is_refused() {
        let body = |size: usize| Json::from_trusted(format!("\"{}\"", "x".repeat(size - 2)));
        assert!(Message { body: body(MAX_BODY), ..message() }.check().is_ok());
        let large = Message { body: body(MAX_BODY + 1), ..message() }.check();
        assert!(matches!(large, Err(QueueError::TooLarge(_))), "{large:?}");
        for wrong in [
            Message { kind: String::new(), ..message() },
            Message { kind: "x".repeat(129), ..message() },
            Message { key: Some(String::new()), ..message() },
            Message { key: Some("a\0b".to_owned()), ..message() },
            Message { request_id: Some("x".repeat(129)), ..message() },
        ] {
            assert!(matches!(wrong.check(), Err(QueueError::Misuse(_))), "{wrong:?}");
        }
        assert!(Message { key: Some("ключ 1".to_owned()), ..message() }.check().is_ok());
    }

    #[test]
    fn topics_have_names_that_every_broker_takes() {
        static SOUND: Topic = Topic { name: "jobs-2", groups: &["workers"] };
        assert!(SOUND.check().is_ok());
        assert_eq!(SOUND.group("workers").map(super::super::Group::name).ok(), Some("workers"));
        assert!(matches!(SOUND.group("others"), Err(QueueError::Misuse(_))));
        for wrong in [
            Topic { name: "", groups: &["a"] },
            Topic { name: "Jobs", groups: &["a"] },
            Topic { name: "jobs", groups: &["a.b"] },
            Topic { name: "jobs", groups: &[] },
        ] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
    }
}
