use std::time::Duration;

use super::{Campaign, CampaignId};
use crate::{
    id::CustomerId,
    record::{Column, ID, Meta, Record, UPDATED_AT},
    store::{Assignment, Change, Filter, WhenUnmet, head},
    time::Timestamp,
};

/// A campaign that is launched and has not ended, as those see it who begin, plan and send.
///
/// Whatever gives them something to do changes the run in the same commit, so that whoever has found nothing to do before
/// notices it. It is gone once the campaign has ended.
#[derive(Clone, Debug, PartialEq, Record)]
#[record(collection = "campaign_runs", installation, index(due_at))]
pub struct CampaignRun {
    /// The campaign's id.
    pub id: CampaignId,
    /// What is to be done.
    pub step: RunStep,
    /// Whether nothing is sent for now.
    pub paused: bool,
    /// When there may be something to do; absent where there is nothing until somebody says so.
    pub due_at: Option<Timestamp>,
    /// The last customer that is planned.
    pub place: Option<CustomerId>,
    /// How many customers are planned.
    pub planned: i64,
    /// At most so many messages leave in a minute.
    pub per_minute: Option<i64>,
    /// Up to when messages have been let go at that pace.
    pub paced_at: Option<Timestamp>,
    /// Why it fails.
    pub reason: Option<String>,
    /// Its organization, version and times.
    pub meta: Meta,
}

/// What is to be done for a campaign.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum RunStep {
    /// To begin it at its time.
    Scheduled,
    /// It is being planned; what is planned is sent.
    Planning,
    /// What is planned is sent.
    Planned,
    /// It was cancelled: what waits is given up.
    Cancelling,
    /// It could not be planned: what waits is given up.
    Failing,
}

impl RunStep {
    /// Every step.
    pub const ALL: [Self; 5] = [Self::Scheduled, Self::Planning, Self::Planned, Self::Cancelling, Self::Failing];

    /// The name that is stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Planning => "planning",
            Self::Planned => "planned",
            Self::Cancelling => "cancelling",
            Self::Failing => "failing",
        }
    }
}

/// There is no step of that name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be one of scheduled, planning, planned, cancelling, failing")]
pub struct UnknownRunStep;

crate::record::named_types! {
    RunStep, UnknownRunStep;
}

const VERSION: Column<i64> = Column::new("version", head::VERSION);
/// Of a pace, so much that was not used can be made up for.
const BURST: Duration = Duration::from_secs(1);

impl CampaignRun {
    /// Of a campaign that is launched.
    pub(super) fn of(campaign: &Campaign, step: RunStep, due_at: Timestamp, now: Timestamp) -> Self {
        Self {
            id: campaign.id,
            step,
            paused: false,
            due_at: Some(due_at),
            place: None,
            planned: 0,
            per_minute: campaign.throttle_per_minute,
            paced_at: None,
            reason: None,
            meta: Meta::new(campaign.meta.organization_id, now),
        }
    }

    /// Whether messages are sent.
    pub(super) fn sends(&self) -> bool {
        !self.paused && matches!(self.step, RunStep::Planning | RunStep::Planned)
    }

    /// Changes the run of a campaign, whatever step it is at; nothing where there is none.
    pub(super) fn change(id: CampaignId, mut assignments: Vec<Assignment>, now: Timestamp) -> Change {
        assignments.push(UPDATED_AT.set(now));
        Change::UpdateWhere { collection: Self::COLLECTION, filter: ID.equals(id), assignments }
    }

    /// Changes the run only where it is at the step; else nothing of the commit is written.
    pub(super) fn at_step(id: CampaignId, step: RunStep, mut assignments: Vec<Assignment>, now: Timestamp) -> Change {
        assignments.push(UPDATED_AT.set(now));
        Change::Update {
            collection: Self::COLLECTION,
            id: id.into(),
            expected_version: None,
            condition: Some((Self::step.equals(step), WhenUnmet::Abort)),
            assignments,
        }
    }

    /// There is something to do again at `due_at`. Touches nothing where somebody has said meanwhile that there is
    /// something to do.
    pub(super) fn rest(&self, due_at: Option<Timestamp>, now: Timestamp) -> Change {
        let assignments = vec![Self::due_at.set(due_at), UPDATED_AT.set(now)];
        Change::UpdateWhere { collection: Self::COLLECTION, filter: self.unchanged(), assignments }
    }

    /// Lets messages go up to the instant of the pace, unless another process has let some go meanwhile.
    pub(super) fn pace(&self, paced_at: Timestamp, now: Timestamp) -> Change {
        let assignments = vec![Self::paced_at.set(paced_at), UPDATED_AT.set(now)];
        Change::UpdateWhere { collection: Self::COLLECTION, filter: self.unchanged(), assignments }
    }

    /// Removes it with the end of the campaign, unless somebody has said meanwhile that there is something to do: then
    /// nothing of the commit is written.
    pub(super) const fn end(&self) -> Change {
        Change::Delete { collection: Self::COLLECTION, id: self.id.0, expected_version: Some(self.meta.version) }
    }

    /// How many messages may go now at the pace of the campaign, `most` at most, and up to when that lets them go; else
    /// when the next may. Nothing where it has no pace.
    pub(super) fn allowed(&self, now: Timestamp, most: usize) -> Option<Result<(usize, Timestamp), Timestamp>> {
        self.per_minute.map(|per_minute| allowed(per_minute, self.paced_at, now, most))
    }

    fn unchanged(&self) -> Filter {
        ID.equals(self.id).and(VERSION.equals(self.meta.version))
    }
}

/// How many messages may go now at so many a minute, and up to when that lets them go.
fn allowed(
    per_minute: i64,
    paced_at: Option<Timestamp>,
    now: Timestamp,
    most: usize,
) -> Result<(usize, Timestamp), Timestamp> {
    let each = Duration::from_secs(60).div_f64(f64::from(i32::try_from(per_minute.max(1)).unwrap_or(i32::MAX)));
    // What was not used is not made up for, but for a second: after a pause they do not all go at once. The first goes at
    // once.
    let earliest = now.minus(BURST.max(each));
    let from = paced_at.unwrap_or(earliest).max(earliest);
    let room = (now.since(from).as_secs_f64() / each.as_secs_f64() + 1e-6).floor();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float cast saturates")]
    let count = (room as usize).min(most);
    if count == 0 {
        return Err(from.plus(each).max(now.plus(Duration::from_millis(1))));
    }
    let taken = each.mul_f64(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
    Ok((count, from.plus(taken)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn instant(milliseconds: i64) -> Timestamp {
        Timestamp::from_milliseconds(1_780_000_000_000 + milliseconds).expect("an instant")
    }

    #[test]
    fn messages_go_at_their_pace() {
        // One a second: the first at once, the next after a second.
        let (count, paced) = allowed(60, None, instant(0), 100).expect("one");
        assert_eq!((count, paced), (1, instant(0)));
        assert_eq!(allowed(60, Some(paced), instant(400), 100), Err(instant(1000)));
        assert_eq!(allowed(60, Some(paced), instant(1000), 100), Ok((1, instant(1000))));
        // After a rest of an hour no more than a second's worth.
        assert_eq!(allowed(600, Some(paced), instant(3_600_000), 100).map(|(count, _)| count), Ok(10));
        // One in two minutes' time comes in two minutes.
        assert_eq!(allowed(1, Some(instant(0)), instant(59_000), 100), Err(instant(60_000)));
        assert_eq!(allowed(1_000_000, None, instant(0), 200).map(|(count, _)| count), Ok(200));
    }

    proptest! {
        /// However often somebody looks, not more go than the pace allows.
        #[test]
        fn the_pace_holds(per_minute in 1_i64..100_000, looks in prop::collection::vec(0_i64..5_000, 1..80)) {
            let (mut now, mut paced, mut sent) = (0, None, 0_usize);
            let began = now;
            for wait in looks {
                now += wait;
                if let Ok((count, until)) = allowed(per_minute, paced, instant(now), 500) {
                    sent += count;
                    paced = Some(until);
                }
            }
            #[expect(clippy::cast_precision_loss, reason = "small numbers")]
            let most = (now - began) as f64 / 60_000.0 * per_minute as f64 + (per_minute as f64 / 60.0).max(1.0);
            // An instant has whole milliseconds: each look may gain one of them.
            #[expect(clippy::cast_precision_loss, reason = "small numbers")]
            let slack = 80.0 * per_minute as f64 / 60_000.0 + 1.0;
            #[expect(clippy::cast_precision_loss, reason = "small numbers")]
            let sent = sent as f64;
            prop_assert!(sent <= most + slack, "{sent} > {most} + {slack}");
        }
    }
}
