//! How many attempts each webhook and each organization has in hand in this process, and which webhooks are left alone for
//! a while.

use std::{collections::HashMap, time::Duration};

use super::WebhookId;
use crate::{id::OrganizationId, time::Timestamp};

/// Attempts of one webhook at once.
const WIDTH: usize = 4;
/// Attempts of one organization at once: a third of what a process makes, so that slow receivers of one hold up nobody
/// else's.
const SHARE: usize = 16;
/// So many failures one after the other close a lane.
const FAILURES: u32 = 10;
/// For so long at first.
const FIRST_REST: Duration = Duration::from_secs(30);
/// The longest rest.
const LONGEST_REST: Duration = Duration::from_secs(300);

/// The lanes of this process.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: HashMap<WebhookId, Lane>,
    shares: HashMap<OrganizationId, usize>,
}

#[derive(Debug)]
struct Lane {
    organization: OrganizationId,
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
    pub(super) fn enter(&mut self, organization: OrganizationId, webhook: WebhookId, now: Timestamp) -> bool {
        let share = self.shares.entry(organization).or_default();
        let new = || Lane { organization, in_hand: 0, failures: 0, closed_until: None };
        let lane = self.lanes.entry(webhook).or_insert_with(new);
        let takes = *share < SHARE && lane.takes(now);
        lane.in_hand += usize::from(takes);
        *share += usize::from(takes);
        takes
    }

    /// Gives the place back: `failed`, or not; and everything waits where the receiver asks for it.
    pub(super) fn leave(&mut self, webhook: WebhookId, failed: bool, wait: Option<Duration>, now: Timestamp) {
        let Some(lane) = self.lanes.get_mut(&webhook) else { return };
        lane.in_hand = lane.in_hand.saturating_sub(1);
        if let Some(share) = self.shares.get_mut(&lane.organization) {
            *share = share.saturating_sub(1);
        }
        lane.failures = if failed { lane.failures.saturating_add(1) } else { 0 };
        let rest = (lane.failures >= FAILURES).then(|| {
            let doublings = (lane.failures - FAILURES).min(8);
            FIRST_REST.saturating_mul(2_u32.saturating_pow(doublings)).min(LONGEST_REST)
        });
        if let Some(rest) = rest.max(wait.map(|wait| wait.min(LONGEST_REST))) {
            // An answer that was on its way does not shorten what another has asked for.
            lane.closed_until = lane.closed_until.max(Some(now.plus(rest)));
        } else if !failed {
            lane.closed_until = None;
        }
        let idle = |lane: &Lane| lane.in_hand == 0 && lane.failures == 0 && lane.closed_until.is_none();
        self.lanes.retain(|_, lane| !idle(lane));
        self.shares.retain(|_, share| *share > 0);
    }

    /// The webhooks that take nothing for now.
    pub(super) fn full(&self, now: Timestamp) -> Vec<WebhookId> {
        self.lanes.iter().filter(|(_, lane)| !lane.takes(now)).map(|(webhook, _)| *webhook).collect()
    }

    /// The organizations that have as much in hand as they may.
    pub(super) fn sated(&self) -> Vec<OrganizationId> {
        self.shares.iter().filter(|(_, share)| **share >= SHARE).map(|(organization, _)| *organization).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOP: OrganizationId = OrganizationId(uuid::Uuid::from_u128(7));

    #[test]
    fn a_lane_is_four_wide_and_closes_after_ten_failures() {
        let (mut lanes, one, other) =
            (Lanes::default(), WebhookId(uuid::Uuid::from_u128(1)), WebhookId(uuid::Uuid::from_u128(2)));
        let now = Timestamp::from_milliseconds(1_780_000_000_000).expect("an instant");
        assert_eq!((0..6).filter(|_| lanes.enter(SHOP, one, now)).count(), 4);
        assert!(lanes.enter(SHOP, other, now), "another is not concerned");
        assert_eq!(lanes.full(now), [one]);
        for _ in 0..4 {
            lanes.leave(one, false, None, now);
        }
        for failure in 0..10 {
            assert!(lanes.enter(SHOP, one, now), "after {failure} failures");
            lanes.leave(one, true, None, now);
        }
        assert!(!lanes.enter(SHOP, one, now));
        let later = now.plus(FIRST_REST);
        assert!(lanes.enter(SHOP, one, later) && !lanes.enter(SHOP, one, later), "one attempt shows");
        lanes.leave(one, true, None, later);
        assert!(!lanes.enter(SHOP, one, later.plus(FIRST_REST)), "twice as long");
        assert!(lanes.enter(SHOP, one, later.plus(2 * FIRST_REST)));
        lanes.leave(one, false, None, later.plus(2 * FIRST_REST));
        assert_eq!((0..6).filter(|_| lanes.enter(SHOP, one, later)).count(), 4, "open again");
    }

    #[test]
    fn a_receiver_may_ask_for_time() {
        let (mut lanes, webhook) = (Lanes::default(), WebhookId(uuid::Uuid::from_u128(1)));
        let now = Timestamp::from_milliseconds(1_780_000_000_000).expect("an instant");
        assert!(lanes.enter(SHOP, webhook, now));
        assert!(lanes.enter(SHOP, webhook, now));
        lanes.leave(webhook, true, Some(Duration::from_secs(7)), now);
        lanes.leave(webhook, true, Some(Duration::from_secs(5)), now);
        assert!(!lanes.enter(SHOP, webhook, now.plus(Duration::from_secs(6))));
        assert!(lanes.enter(SHOP, webhook, now.plus(Duration::from_secs(7))));
    }

    #[test]
    fn one_organization_takes_a_share_at_most() {
        let mut lanes = Lanes::default();
        let now = Timestamp::from_milliseconds(1_780_000_000_000).expect("an instant");
        let webhooks = (0..10).map(|number| WebhookId(uuid::Uuid::from_u128(number)));
        let taken = webhooks.flat_map(|webhook| [webhook; WIDTH]).filter(|webhook| lanes.enter(SHOP, *webhook, now));
        assert_eq!(taken.count(), SHARE);
        assert_eq!(lanes.sated(), [SHOP]);
        let (other, theirs) = (OrganizationId(uuid::Uuid::from_u128(8)), WebhookId(uuid::Uuid::from_u128(99)));
        assert!(lanes.enter(other, theirs, now));
        lanes.leave(WebhookId(uuid::Uuid::from_u128(0)), false, None, now);
        assert!(lanes.sated().is_empty() && lanes.enter(SHOP, WebhookId(uuid::Uuid::from_u128(9)), now));
    }
}
