use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{DeliveryState, ReplayRequest, Webhook, WebhookId, attempt::Ended, input::ReplayedState};
use crate::{
    record::{Column, ID, Meta, Record, UPDATED_AT},
    store::{Assignment, Change, Filter, head},
    time::Timestamp,
};

/// So many failures one after the other make a lane rest.
const FAILURES: i64 = 10;
/// For so long at first.
const FIRST_REST: Duration = Duration::from_secs(30);
/// The longest rest.
const LONGEST_REST: Duration = Duration::from_secs(300);

/// What waits for one webhook, as those see it who plan and deliver. One process at a time takes deliveries from it, a few
/// at each turn: however many wait for one webhook, the others do not wait behind them.
///
/// Whatever makes a delivery due changes the lane in the same commit, so that whoever has found nothing to do before
/// notices it.
#[derive(Clone, Debug, Record)]
#[record(collection = "webhook_lanes", installation, index(due_at), index(organization_id))]
pub struct WebhookLane {
    /// The webhook's id.
    pub id: WebhookId,
    /// What the webhook listens to.
    pub events: Vec<String>,
    /// Whether events are posted to it.
    pub enabled: bool,
    /// When the webhook was removed: only its deliveries are left, to be removed as well.
    pub removed_at: Option<Timestamp>,
    /// When there may be something to do; absent where nothing waits.
    pub due_at: Option<Timestamp>,
    /// Nobody looks at it before: it is in somebody's hands, or rests.
    pub held_until: Timestamp,
    /// Who is at it.
    pub holder: Option<Uuid>,
    /// How many attempts have failed since the last success.
    pub failures: i64,
    /// What is being sent again.
    pub replay: Option<Replay>,
    /// How many steps of that were done. Two never do the same.
    pub replay_step: i64,
    /// Its organization, version and times.
    pub meta: Meta,
}

const VERSION: Column<i64> = Column::new("version", head::VERSION);

impl WebhookLane {
    /// Of a new webhook.
    pub(super) fn of(webhook: &Webhook) -> Self {
        let now = webhook.meta.created_at;
        Self {
            id: webhook.id,
            events: webhook.events.clone(),
            enabled: webhook.enabled,
            removed_at: None,
            due_at: None,
            held_until: now,
            holder: None,
            failures: 0,
            replay: None,
            replay_step: 0,
            meta: Meta::new(webhook.meta.organization_id, now),
        }
    }

    /// Follows a change of the webhook. One that is enabled again, or has moved, is tried at once.
    pub(super) fn follow(before: &Webhook, after: &Webhook, now: Timestamp) -> Option<Change> {
        let is_new = after.enabled && (!before.enabled || before.url != after.url);
        if !is_new && (&before.events, before.enabled) == (&after.events, after.enabled) {
            return None;
        }
        let mut assignments =
            vec![Self::events.set(after.events.clone()), Self::enabled.set(after.enabled), UPDATED_AT.set(now)];
        if is_new {
            assignments.extend([
                Self::failures.set(0_i64),
                Self::due_at.set(now),
                Self::held_until.set(now),
                Self::holder.set(None),
            ]);
        }
        Some(Change::UpdateWhere { collection: Self::COLLECTION, filter: ID.equals(after.id), assignments })
    }

    /// Tells that there is something to do on these.
    pub(super) fn wake(webhooks: impl IntoIterator<Item = WebhookId>, now: Timestamp) -> Change {
        let filter = ID.one_of(webhooks.into_iter().map(Uuid::from));
        Change::UpdateWhere { collection: Self::COLLECTION, filter, assignments: vec![Self::due_at.set(now)] }
    }

    /// Has what is left of a removed webhook removed.
    pub(super) fn bury(webhook: WebhookId, now: Timestamp) -> Change {
        let assignments = vec![
            Self::removed_at.set(now),
            Self::enabled.set(false),
            Self::events.set(Vec::new()),
            Self::replay.set(None),
            Self::due_at.set(now),
            Self::held_until.set(now),
            UPDATED_AT.set(now),
        ];
        Change::UpdateWhere { collection: Self::COLLECTION, filter: ID.equals(webhook), assignments }
    }

    /// Forgets it after a turn that found nothing left, unless somebody has said meanwhile that there is something.
    pub(super) fn forget(&self) -> Change {
        Change::DeleteWhere { collection: Self::COLLECTION, filter: self.ours().and(VERSION.equals(self.meta.version)) }
    }

    fn ours(&self) -> Filter {
        ID.equals(self.id).and(Self::holder.equals(self.holder.unwrap_or(Uuid::nil())))
    }

    /// Gives it back after a turn: there is something to do again at `due_at`. Touches nothing where somebody has said
    /// meanwhile that there is something to do.
    pub(super) fn give_back(&self, turn: &Turn, due_at: Option<Timestamp>, now: Timestamp) -> Change {
        let filter = self.ours().and(VERSION.equals(self.meta.version));
        let mut assignments = Self::given_back(turn, now);
        assignments.push(Self::due_at.set(due_at));
        Change::UpdateWhere { collection: Self::COLLECTION, filter, assignments }
    }

    /// The same for when somebody has said so: it is due since then.
    pub(super) fn give_back_due(&self, turn: &Turn, now: Timestamp) -> Change {
        let assignments = Self::given_back(turn, now);
        Change::UpdateWhere { collection: Self::COLLECTION, filter: self.ours(), assignments }
    }

    fn given_back(turn: &Turn, now: Timestamp) -> Vec<Assignment> {
        let rest = turn.rest().map_or(now, |rest| now.plus(rest));
        vec![Self::held_until.set(rest), Self::holder.set(None), Self::failures.set(turn.failures), UPDATED_AT.set(now)]
    }
}

/// How the attempts of a turn went.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turn {
    failures: i64,
    wait: Option<Duration>,
    /// Nothing was sent yet after a rest.
    is_probing: bool,
    /// Nobody wants any more.
    is_over: bool,
}

impl Turn {
    /// After so many failures.
    pub(super) const fn after(failures: i64) -> Self {
        Self { failures, wait: None, is_probing: failures >= FAILURES, is_over: false }
    }

    /// Whether the receiver seems to be there.
    pub(super) const fn goes_on(&self) -> bool {
        self.failures < FAILURES && self.wait.is_none() && !self.is_over
    }

    /// How many deliveries of at most so many are taken up next. After a rest one shows whether the receiver is back.
    pub(super) const fn width(&self, most: usize) -> usize {
        if self.failures < FAILURES { most } else { 1 }
    }

    /// Whether one more is sent beside so many that are under way: not where all of these may fail and be enough.
    pub(super) fn takes(&self, in_hand: usize) -> bool {
        let in_hand = i64::try_from(in_hand).unwrap_or(i64::MAX);
        in_hand == 0 && self.is_probing
            || !self.is_over && self.wait.is_none() && self.failures.saturating_add(in_hand) < FAILURES
    }

    /// One attempt has ended; everything waits where the receiver asks for it.
    pub(super) fn note(&mut self, ended: Ended) {
        self.is_probing = false;
        match ended {
            Ended::Arrived => self.failures = 0,
            Ended::Failed { wait } => {
                self.failures = self.failures.saturating_add(1);
                self.wait = self.wait.max(wait);
            }
            Ended::Gone => self.is_over = true,
        }
    }

    /// How long the webhook is left alone.
    fn rest(&self) -> Option<Duration> {
        let own = (self.failures >= FAILURES).then(|| {
            let doublings = u32::try_from((self.failures - FAILURES).clamp(0, 8)).unwrap_or(8);
            FIRST_REST.saturating_mul(2_u32.saturating_pow(doublings))
        });
        own.max(self.wait).map(|rest| rest.min(LONGEST_REST))
    }
}

/// The deliveries of a span of time that are being sent again, oldest first.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Replay {
    /// Those of events from then on.
    pub since: Timestamp,
    /// Up to then.
    pub until: Timestamp,
    /// Also those that had arrived.
    pub all: bool,
    /// The last one that was looked at.
    pub after: Option<(Timestamp, Uuid)>,
}

impl Replay {
    pub(super) fn of(request: &ReplayRequest, now: Timestamp) -> Self {
        let all = matches!(request.state, Some(ReplayedState::All));
        Self { since: request.since, until: request.until.unwrap_or(now), all, after: None }
    }

    pub(super) fn states(&self) -> Vec<DeliveryState> {
        if self.all { vec![DeliveryState::Failed, DeliveryState::Delivered] } else { vec![DeliveryState::Failed] }
    }
}

crate::json_field_type!(Replay);

/// What to look at first: what has been due the longest, and is in nobody's hands.
pub(super) fn ready(now: Timestamp) -> Filter {
    WebhookLane::due_at.at_most(now).and(WebhookLane::held_until.at_most(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: Ended = Ended::Failed { wait: None };

    #[test]
    fn a_webhook_rests_after_ten_failures() {
        let mut turn = Turn::after(0);
        for _ in 0..FAILURES - 1 {
            turn.note(FAILED);
        }
        assert!(turn.goes_on() && turn.rest().is_none());
        assert_eq!((turn.width(8), turn.takes(0)), (8, true));
        assert!(!turn.takes(1), "it may be the tenth");
        for rest in [30, 60, 120, 240, 300, 300] {
            turn.note(FAILED);
            assert!(!turn.goes_on() && !turn.takes(0));
            assert_eq!(turn.rest(), Some(Duration::from_secs(rest)));
        }
        let probing = Turn::after(i64::MAX);
        assert_eq!((probing.rest(), probing.width(8)), (Some(LONGEST_REST), 1));
        assert!(probing.takes(0) && !probing.takes(1), "one shows whether it is back");
        turn.note(Ended::Arrived);
        assert!(turn.goes_on() && turn.rest().is_none(), "a success ends it");
    }

    #[test]
    fn a_receiver_may_ask_for_time() {
        let asked = |seconds| Ended::Failed { wait: Some(Duration::from_secs(seconds)) };
        let mut turn = Turn::after(0);
        turn.note(asked(7));
        turn.note(asked(5));
        assert!(!turn.goes_on());
        assert_eq!(turn.rest(), Some(Duration::from_secs(7)));
        turn.note(asked(3600));
        assert_eq!(turn.rest(), Some(LONGEST_REST));
    }
}
