//! Times of which a merge takes the later one, kept apart from each other so that it can be taken back, whichever of several
//! merges that is.

use serde::{Deserialize, Serialize};

use crate::{customer::Customer, order, time::Timestamp};

/// What one customer said of itself, its orders in the CRM left out.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Said {
    last_order: Option<Timestamp>,
    active: Option<Timestamp>,
}

/// The times of a merge.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Times {
    /// What the kept customer said before anybody was merged into it.
    pub(super) own: Said,
    /// What the duplicate said.
    pub(super) given: Said,
}

impl Said {
    fn of(customer: &Customer) -> Self {
        Self { last_order: customer.opening_last_order_date, active: order::earlier_active(customer) }
    }

    fn later(self, other: Self) -> Self {
        Self { last_order: self.last_order.max(other.last_order), active: self.active.max(other.active) }
    }

    /// Each time by itself: `by` where it is what it was thought to be, else what it is.
    fn unless_changed(self, thought: Self, by: Self) -> Self {
        Self {
            last_order: if self.last_order == thought.last_order { by.last_order } else { self.last_order },
            active: if self.active == thought.active { by.active } else { self.active },
        }
    }
}

/// The later of everything that was given.
fn given(merges: &[Times]) -> Said {
    merges.iter().fold(Said::default(), |all, merge| all.later(merge.given))
}

impl Times {
    /// Those of a further merge. `standing` are the merges into the kept one that were not taken back, the newest first.
    pub(super) fn new(kept: &Customer, duplicate: &Customer, standing: &[Self]) -> Self {
        let now = Said::of(kept);
        let own = standing.first().map_or(now, |newest| {
            let thought = newest.own.later(given(standing));
            now.unless_changed(thought, newest.own)
        });
        Self { own, given: Said::of(duplicate) }
    }
}

/// Takes from a customer what a merge gave, but nothing that others give too or that somebody noted since. `others` are
/// those into the same customer that stand, the newest first; `last_order` is the last one that stays.
pub(super) fn take_back(
    now: &Customer,
    rest: &mut Customer,
    merge: Option<Times>,
    others: &[Times],
    last_order: Option<Timestamp>,
) {
    let said = merge.map(|merge| {
        let own = others.first().map_or(merge.own, |newest| newest.own);
        let left = own.later(given(others));
        Said::of(now).unless_changed(left.later(merge.given), left)
    });
    if let Some(said) = said {
        rest.opening_last_order_date = said.last_order;
    }
    rest.last_order_date = last_order.max(rest.opening_last_order_date);
    let active = said.map_or_else(|| order::earlier_active(rest), |said| said.active);
    if now.last_active <= order::earlier_active(now).max(now.last_order_date) {
        rest.last_active = active.max(rest.last_order_date);
    }
    if order::earlier_active(rest) != active {
        rest.opening_last_active = active;
    }
    rest.active_at = rest.last_active.unwrap_or(rest.meta.created_at);
}

/// The same for a duplicate that has its orders again.
pub(super) fn come_back(again: &mut Customer, last_order: Option<Timestamp>) {
    again.last_order_date = last_order.max(again.opening_last_order_date);
    again.last_active = match again.opening_last_active {
        Some(said) => Some(said).max(again.last_order_date),
        None => again.last_active.max(again.last_order_date),
    };
    again.active_at = again.last_active.unwrap_or(again.meta.created_at);
}
