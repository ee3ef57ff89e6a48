//! When an event is sent again: plain decisions.

use std::time::Duration;

use crate::{
    port::{OutboundAnswer, OutboundFailure, Random},
    time::Timestamp,
};

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes * 60)
}

const fn hours(hours: u64) -> Duration {
    minutes(hours * 60)
}

/// When attempts are made, from the first one on: over a day, ten in all.
const SCHEDULE: [Duration; 10] = [
    Duration::ZERO,
    Duration::from_secs(5),
    minutes(5),
    minutes(30),
    hours(2),
    hours(5),
    hours(10),
    hours(14),
    hours(20),
    hours(24),
];
/// The shortest wait between two attempts.
const SHORTEST: Duration = Duration::from_secs(5);
/// A webhook of which every attempt failed for so long is disabled.
pub(super) const PATIENCE: Duration = hours(5 * 24);

/// What follows from an attempt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// It has arrived.
    Delivered,
    /// To be tried again; where the receiver asks for it, everything that is on its way there waits so long.
    Retry { wait: Option<Duration> },
    /// Nobody wants it any more.
    Gone,
}

/// What an attempt means.
pub(super) fn verdict(outcome: &Result<OutboundAnswer, OutboundFailure>, now: Timestamp) -> Verdict {
    let wait = |answer: &OutboundAnswer| answer.retry_after.map(|asked| asked.from(now));
    match outcome {
        Ok(answer) => match answer.status {
            200..=299 => Verdict::Delivered,
            410 => Verdict::Gone,
            429 | 502 | 503 | 504 => Verdict::Retry { wait: Some(wait(answer).unwrap_or(SHORTEST)) },
            _ => Verdict::Retry { wait: wait(answer) },
        },
        Err(_) => Verdict::Retry { wait: None },
    }
}

/// When the attempt at this place of the schedule is made; nothing after the last. Never earlier than the receiver asks,
/// and up to a tenth later than the schedule says, so that what failed together does not come back together. What comes
/// late (nobody was there to send it) keeps its distances: else all that is left would be tried within a minute.
pub(super) fn due(
    step: i64,
    begun: Timestamp,
    now: Timestamp,
    wait: Option<Duration>,
    random: &dyn Random,
) -> Option<Timestamp> {
    let place = usize::try_from(step).ok()?;
    let (at, before) = (*SCHEDULE.get(place)?, place.checked_sub(1).and_then(|place| SCHEDULE.get(place)));
    let mut byte = [0; 1];
    random.fill(&mut byte);
    let gap = at.saturating_sub(before.copied().unwrap_or_default());
    let planned = begun.plus(at);
    let base = if planned < now.plus(gap / 2) { now.plus(gap) } else { planned };
    let scheduled = base.plus((gap / 10).mul_f64(f64::from(byte[0]) / 255.0));
    Some(scheduled.max(now.plus(wait.unwrap_or(SHORTEST).max(SHORTEST))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::{RetryAfter, SeededRandom};

    #[test]
    fn attempts_are_made_for_a_day() {
        let random = SeededRandom::new(1);
        let begun = Timestamp::from_milliseconds(1_780_000_000_000).expect("an instant");
        let mut now = begun;
        let mut attempts = 1;
        for step in 1.. {
            let Some(next) = due(step, begun, now, None, &random) else { break };
            assert!(next >= now.plus(SHORTEST), "attempt {step}");
            now = next;
            attempts += 1;
        }
        assert_eq!(attempts, 10);
        assert!(now.since(begun) >= hours(24) && now.since(begun) < hours(25), "{now}");
    }

    #[test]
    fn what_comes_late_keeps_its_distances() {
        let random = SeededRandom::new(1);
        let begun = Timestamp::from_milliseconds(1_780_000_000_000).expect("an instant");
        let late = begun.plus(hours(30));
        let mut now = late;
        for step in 1..SCHEDULE.len() {
            let gap = SCHEDULE[step] - SCHEDULE[step - 1];
            let next = due(i64::try_from(step).expect("small"), begun, now, None, &random).expect("an attempt");
            assert!(next >= now.plus(gap) && next <= now.plus(gap + gap / 10), "attempt {step}");
            now = next;
        }
        assert!(now.since(late) >= hours(24));
    }

    #[test]
    fn the_receiver_is_heard() {
        let random = SeededRandom::new(1);
        let begun = Timestamp::from_milliseconds(1_780_000_000_000).expect("an instant");
        let due = |wait| due(1, begun, begun, wait, &random).expect("a second attempt").since(begun);
        assert_eq!(due(Some(minutes(7))), minutes(7));
        assert!(due(Some(Duration::ZERO)) >= SHORTEST && due(None) < Duration::from_secs(6));
    }

    #[test]
    fn only_a_success_is_one() {
        let answer = |status, retry_after| Ok(OutboundAnswer { status, retry_after, body: Vec::new() });
        let now = Timestamp::from_milliseconds(1_780_000_000_000).expect("an instant");
        let seven = Some(Duration::from_secs(7));
        let at = |seconds| Some(RetryAfter::At(now.plus(Duration::from_secs(seconds))));
        for (outcome, expected) in [
            (answer(200, None), Verdict::Delivered),
            (answer(204, None), Verdict::Delivered),
            (answer(302, None), Verdict::Retry { wait: None }),
            (answer(400, None), Verdict::Retry { wait: None }),
            (answer(410, None), Verdict::Gone),
            (answer(429, seven.map(RetryAfter::In)), Verdict::Retry { wait: seven }),
            (answer(500, at(7)), Verdict::Retry { wait: seven }),
            (answer(503, at(48 * 3600)), Verdict::Retry { wait: Some(hours(24)) }),
            (answer(503, Some(RetryAfter::At(Timestamp::MIN))), Verdict::Retry { wait: Some(Duration::ZERO) }),
            (answer(503, None), Verdict::Retry { wait: Some(SHORTEST) }),
            (Err(OutboundFailure::TimedOut), Verdict::Retry { wait: None }),
        ] {
            assert_eq!(verdict(&outcome, now), expected, "{outcome:?}");
        }
    }
}
