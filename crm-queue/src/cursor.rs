//! Where a page of dead letters ended, as text.

use std::{fmt, str::FromStr};

use crm_core::{port::queue::QueueError, time::Timestamp};
use uuid::Uuid;

/// When the last letter of the page died, and its id.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Cursor {
    pub(crate) died_at: Timestamp,
    pub(crate) id: Uuid,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.died_at.as_milliseconds(), self.id.simple())
    }
}

impl FromStr for Cursor {
    type Err = QueueError;

    fn from_str(text: &str) -> Result<Self, QueueError> {
        let read = || {
            let (died_at, id) = text.split_once('.')?;
            let died_at = Timestamp::from_milliseconds(died_at.parse().ok()?)?;
            Some(Self { died_at, id: Uuid::try_parse(id).ok()? })
        };
        read().ok_or_else(|| QueueError::Misuse("no page of dead letters ended there".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Cursor;

    proptest! {
        #[test]
        fn what_is_written_is_read_and_nothing_panics(milliseconds in 0_i64..4_000_000_000_000, id in any::<u128>(), text in any::<String>()) {
            let died_at = crm_core::time::Timestamp::from_milliseconds(milliseconds).unwrap();
            let cursor = Cursor { died_at, id: uuid::Uuid::from_u128(id) };
            prop_assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor);
            let _ = text.parse::<Cursor>();
        }
    }
}
