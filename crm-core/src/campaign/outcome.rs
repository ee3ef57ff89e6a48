//! What follows from trying to send: plain decisions.

use std::time::Duration;

use super::{Communication, CommunicationStage, CommunicationStatus};
use crate::{
    port::{Accepted, SendFailure},
    record::UPDATED_AT,
    store::Assignment,
    time::Timestamp,
};

/// So often sending is tried.
pub(super) const MOST_ATTEMPTS: i64 = 5;
/// The wait before the second attempt.
const FIRST_WAIT: Duration = Duration::from_secs(5);
/// The longest wait that a vendor may ask for.
const LONGEST_WAIT: Duration = Duration::from_hours(6);
/// The longest reason that is kept, in bytes.
const LONGEST_REASON: usize = 500;
/// Why a message is unknown whose process died.
const INTERRUPTED: &str = "interrupted";

/// What becomes of a communication.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    /// The vendor has it.
    Sent(String),
    /// It is not sent again.
    Failed(String),
    /// It is not sent again, nor is anything else to its address: there is nobody.
    Bounced(String),
    /// It is sent again, then.
    Waits(Timestamp, String),
    /// Nobody knows whether the vendor has it.
    Unknown(String),
    /// It is not to be sent.
    Suppressed(String),
}

impl Outcome {
    /// What follows from the answer to the attempt with that number.
    pub(super) fn of(answer: Result<Accepted, SendFailure>, attempt: i64, repeatable: bool, now: Timestamp) -> Self {
        let again = |reason: String, asked: Option<Duration>| Self::Waits(now.plus(wait(attempt, asked)), reason);
        match answer {
            Ok(Accepted { vendor_message_id }) => Self::Sent(vendor_message_id),
            Err(SendFailure::Refused(reason)) => Self::Failed(shortened(reason)),
            Err(SendFailure::NoSuchAddress(reason)) => Self::Bounced(shortened(reason)),
            Err(SendFailure::NotSent { reason, .. }) if attempt >= MOST_ATTEMPTS => Self::Failed(shortened(reason)),
            Err(SendFailure::NotSent { reason, retry_after }) => again(shortened(reason), retry_after),
            // Under the same reference it arrives once, however often it is sent.
            Err(SendFailure::Ambiguous(reason)) if repeatable && attempt < MOST_ATTEMPTS => {
                again(shortened(reason), None)
            }
            Err(SendFailure::Ambiguous(reason)) => Self::Unknown(shortened(reason)),
        }
    }

    /// What follows from the death of the process that made the attempt with that number; nothing where it is to be sent
    /// again at once.
    pub(super) fn of_interrupted(attempt: i64, repeatable: bool) -> Option<Self> {
        (!repeatable || attempt >= MOST_ATTEMPTS).then(|| Self::Unknown(INTERRUPTED.to_owned()))
    }

    /// What is written of it.
    pub(super) fn assignments(self, now: Timestamp) -> Vec<Assignment> {
        let ended = |status: CommunicationStatus, reason: Option<String>| {
            vec![
                Communication::status.set(status),
                Communication::stage.set(None),
                Communication::due_at.set(None),
                Communication::reason.set(reason),
                UPDATED_AT.set(now),
            ]
        };
        match self {
            Self::Sent(id) => {
                let mut sent = ended(CommunicationStatus::Sent, None);
                sent.extend([Communication::vendor_message_id.set(Some(id)), Communication::sent_at.set(Some(now))]);
                sent
            }
            Self::Failed(reason) | Self::Bounced(reason) => {
                let mut failed = ended(CommunicationStatus::Failed, Some(reason));
                failed.push(Communication::failed_at.set(Some(now)));
                failed
            }
            Self::Unknown(reason) => ended(CommunicationStatus::Unknown, Some(reason)),
            Self::Suppressed(reason) => ended(CommunicationStatus::Suppressed, Some(reason)),
            Self::Waits(due_at, reason) => vec![
                Communication::stage.set(Some(CommunicationStage::Waiting)),
                Communication::due_at.set(Some(due_at)),
                Communication::holder.set(None),
                Communication::reason.set(Some(reason)),
                UPDATED_AT.set(now),
            ],
        }
    }
}

/// How long to wait after the attempt with that number: doubling from 5 seconds, and never less than the vendor asks for.
fn wait(attempt: i64, asked: Option<Duration>) -> Duration {
    let doublings = u32::try_from(attempt.saturating_sub(1).clamp(0, 10)).unwrap_or(10);
    let own = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(doublings));
    own.max(asked.unwrap_or_default().min(LONGEST_WAIT))
}

fn shortened(mut reason: String) -> String {
    reason.truncate(reason.floor_char_boundary(LONGEST_REASON));
    // What an engine cannot keep a vendor may well say.
    reason.retain(|character| character != '\0');
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_certainly_not_sent_is_sent_again() {
        let now = Timestamp::from_milliseconds(1_780_000_000_000).expect("an instant");
        let at = |seconds| now.plus(Duration::from_secs(seconds));
        let passing = |seconds: Option<u64>| {
            Err(SendFailure::NotSent { reason: "busy".to_owned(), retry_after: seconds.map(Duration::from_secs) })
        };
        let unclear = || Err(SendFailure::Ambiguous("cut off".to_owned()));
        let accepted = Ok(Accepted { vendor_message_id: "v1".to_owned() });
        for (answer, attempt, repeatable, expected) in [
            (accepted, 1, false, Outcome::Sent("v1".to_owned())),
            (Err(SendFailure::Refused("no".to_owned())), 1, true, Outcome::Failed("no".to_owned())),
            (Err(SendFailure::NoSuchAddress("gone".to_owned())), 1, true, Outcome::Bounced("gone".to_owned())),
            (passing(None), 1, false, Outcome::Waits(at(5), "busy".to_owned())),
            (passing(None), 4, false, Outcome::Waits(at(40), "busy".to_owned())),
            (passing(Some(90)), 1, false, Outcome::Waits(at(90), "busy".to_owned())),
            (passing(Some(10_000_000)), 1, false, Outcome::Waits(at(6 * 3600), "busy".to_owned())),
            (passing(None), 5, true, Outcome::Failed("busy".to_owned())),
            (unclear(), 1, false, Outcome::Unknown("cut off".to_owned())),
            (unclear(), 1, true, Outcome::Waits(at(5), "cut off".to_owned())),
            (unclear(), 5, true, Outcome::Unknown("cut off".to_owned())),
        ] {
            let shown = format!("{answer:?} {attempt} {repeatable}");
            assert_eq!(Outcome::of(answer, attempt, repeatable, now), expected, "{shown}");
        }
        assert_eq!(Outcome::of_interrupted(1, true), None);
        for (attempt, repeatable) in [(1, false), (5, true)] {
            assert_eq!(Outcome::of_interrupted(attempt, repeatable), Some(Outcome::Unknown("interrupted".to_owned())));
        }
        assert_eq!(shortened(format!("\0{}", "ä".repeat(1000))).len(), 498);
    }
}
