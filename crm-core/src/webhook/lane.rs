//! How many attempts each webhook has in hand in this process, and which webhooks are left alone for a while.

use std::{collections::HashMap, time::Duration};

use super::WebhookId;
use crate::time::Timestamp;

/// Attempts of one webhook at once.
const WIDTH: usize = 4;
/// So many failures one after the other close a lane.
const FAILURES: u32 = 10;
/// For so long at first.
const FIRST_REST: Duration = Duration::from_secs(30);
/// The longest rest.
const LONGEST_REST: Duration = Duration::from_secs(300);

/// The lanes of this process.
#[derive(Debug, Default)]
pub(super) struct Lanes(HashMap<WebhookId, Lane>);

#[derive(Debug, Default)]
struct Lane {
    in_hand: usize,
    failures: u32,
    closed_until: Option<Timestamp>,
}

impl Lane {
    fn takes(&self, now: Timestamp) -> bool {
        // After a rest one attempt shows whether the receiver is back.
        let width = if self.failures >= FAILURES { 1 } else { WIDTH };
        self.in_hand < width && self.closed_until.is_none_or(|end| end <= now)
    }
}

impl Lanes {
    /// Takes a place; answers whether there was one.
    pub(super) fn enter(&mut self, webhook: WebhookId, now: Timestamp) -> bool {
        let lane = self.0.entry(webhook).or_default();
        let takes = lane.takes(now);
        lane.in_hand += usize::from(takes);
        takes
    }

    /// Gives the place back: `failed`, or not; and everything waits where the receiver asks for it.
    pub(super) fn leave(&mut self, webhook: WebhookId, failed: bool, wait: Option<Duration>, now: Timestamp) {
        let Some(lane) = self.0.get_mut(&webhook) else { return };
        lane.in_hand = lane.in_hand.saturating_sub(1);
        lane.failures = if failed { lane.failures.saturating_add(1) } else { 0 };
        let rest = (lane.failures >= FAILURES).then(|| {
            let doublings = (lane.failures - FAILURES).min(8);
            FIRST_REST.saturating_mul(2_u32.saturating_pow(doublings)).min(LONGEST_REST)
        });
        if let Some(rest) = rest.max(wait.map(|wait| wait.min(LONGEST_REST))) {
            lane.closed_until = Some(now.plus(rest));
        } else if !failed {
            lane.closed_until = None;
        }
        let idle = |lane: &Lane| lane.in_hand == 0 && lane.failures == 0 && lane.closed_until.is_none();
        self.0.retain(|_, lane| !idle(lane));
    }

    /// The webhooks that take nothing for now.
    pub(super) fn full(&self, now: Timestamp) -> Vec<WebhookId> {
        self.0.iter().filter(|(_, lane)| !lane.takes(now)).map(|(webhook, _)| *webhook).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_four_wide_and_closes_after_ten_failures() {
        let (mut lanes, one, other) =
            (Lanes::default(), WebhookId(uuid::Uuid::from_u128(1)), WebhookId(uuid::Uuid::from_u128(2)));
        let now = Timestamp::from_milliseconds(1_780_000_000_000).expect("an instant");
        assert_eq!((0..6).filter(|_| lanes.enter(one, now)).count(), 4);
        assert!(lanes.enter(other, now), "another is not concerned");
        assert_eq!(lanes.full(now), [one]);
        for _ in 0..4 {
            lanes.leave(one, false, None, now);
        }
        for failure in 0..10 {
            assert!(lanes.enter(one, now), "after {failure} failures");
            lanes.leave(one, true, None, now);
        }
        assert!(!lanes.enter(one, now));
        let later = now.plus(FIRST_REST);
        assert!(lanes.enter(one, later) && !lanes.enter(one, later), "one attempt shows");
        lanes.leave(one, true, None, later);
        assert!(!lanes.enter(one, later.plus(FIRST_REST)), "twice as long");
        assert!(lanes.enter(one, later.plus(2 * FIRST_REST)));
        lanes.leave(one, false, None, later.plus(2 * FIRST_REST));
        assert_eq!((0..6).filter(|_| lanes.enter(one, later)).count(), 4, "open again");
    }

    #[test]
    fn a_receiver_may_ask_for_time() {
        let (mut lanes, webhook) = (Lanes::default(), WebhookId(uuid::Uuid::from_u128(1)));
        let now = Timestamp::from_milliseconds(1_780_000_000_000).expect("an instant");
        assert!(lanes.enter(webhook, now));
        lanes.leave(webhook, true, Some(Duration::from_secs(7)), now);
        assert!(!lanes.enter(webhook, now.plus(Duration::from_secs(6))));
        assert!(lanes.enter(webhook, now.plus(Duration::from_secs(7))));
    }
}
