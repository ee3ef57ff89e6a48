//! One turn of a lane: a few of the deliveries that are due, or a piece of other work on them.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, timeout},
};
use uuid::Uuid;

use super::{
    DeliveryState, Webhook, WebhookDelivery,
    attempt::{self, CutOff, Sender, written},
    deliver::HOLD,
    lane::{Turn, WebhookLane},
    plan::DISABLED,
    removal, replay,
    service::TEST,
};
use crate::{
    crm::Crm,
    error::{Error, Result},
    record::{ID, Record as _},
    store::{Change, Filter, Outcome, Query, Scope},
    time::Timestamp,
};

/// Attempts of one webhook at once.
const WIDTH: usize = 4;
/// The most deliveries that are taken up together.
const ROUND: usize = 32;
/// Of these none is begun later: so soon it is looked again whether the webhook is wanted, and the last ones can hang and
/// be written within the hold.
const LAST_BEGIN: Duration = Duration::from_millis(250);
/// Deliveries to a webhook that is disabled, ended together.
const MANY: usize = 200;
/// A turn has no further round after so long.
const TURN: Duration = Duration::from_secs(2);
/// How long a turn waits until the process may make more attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// How long a lane rests here after a failure of the store.
const REST: Duration = Duration::from_secs(2);

/// What the turns of a process share.
pub(super) struct Tools {
    permits: Semaphore,
    stopping: AtomicBool,
}

impl Tools {
    pub(super) const fn new(permits: Semaphore) -> Self {
        Self { permits, stopping: AtomicBool::new(false) }
    }

    /// Nothing more is sent.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

/// Takes a turn of a lane that is in our hands, and gives it back. Where the store fails on the way, the hold ends by
/// itself.
pub(super) async fn take(crm: &Crm, lane: &WebhookLane, tools: &Tools) {
    let mut turn = Turn::after(lane.failures);
    let due_at = match serve(crm, lane, tools, &mut turn).await {
        Ok(due_at) => due_at,
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "a webhook cannot be served for now");
            sleep(REST).await;
            Some(crm.now())
        }
    };
    give_back(crm, lane, &turn, due_at).await;
}

/// Gives a lane back without a turn.
pub(super) async fn leave(crm: &Crm, lane: &WebhookLane) {
    give_back(crm, lane, &Turn::after(lane.failures), Some(crm.now())).await;
}

async fn give_back(crm: &Crm, lane: &WebhookLane, turn: &Turn, due_at: Option<Timestamp>) {
    let now = crm.now();
    let given = async {
        let outcomes = written(crm, Scope::Installation, vec![lane.give_back(turn, due_at, now)]).await?;
        if outcomes.first() == Some(&Outcome::Touched(0)) {
            written(crm, Scope::Installation, vec![lane.give_back_due(turn, now)]).await?;
        }
        Ok::<_, Error>(())
    };
    if let Err(error) = given.await {
        tracing::warn!(error = &error as &dyn std::error::Error, "the lane of a webhook cannot be given back");
    }
}

/// Does what there is to do; answers when there is something again.
async fn serve(crm: &Crm, lane: &WebhookLane, tools: &Tools, turn: &mut Turn) -> Result<Option<Timestamp>> {
    if lane.removed_at.is_some() {
        return removal::step(crm, lane).await;
    }
    if let Some(replay) = &lane.replay {
        replay::step(crm, lane, replay).await?;
    }
    let begun = Instant::now();
    // As many as the receiver takes in the time.
    let mut round = 2 * WIDTH;
    loop {
        let scope = Scope::Organization(lane.meta.organization_id);
        let Some(webhook) = crm.repo::<Webhook>().get(scope, lane.id).await? else {
            // Removed meanwhile, or with everything else of its organization.
            let now = crm.now();
            crm.store().commit(Scope::Installation, vec![WebhookLane::bury(lane.id, now)]).await?;
            return Ok(Some(now));
        };
        let width = if webhook.enabled { turn.width(round) } else { MANY };
        let waiting =
            WebhookDelivery::webhook_id.equals(lane.id).and(WebhookDelivery::due_at.greater_than(Timestamp::MIN));
        let query = Query::new(waiting, width + 1).sorted(vec![WebhookDelivery::due_at.ascending()]);
        let first = crm.repo::<WebhookDelivery>().find(Scope::Installation, &query).await?.records;
        let now = crm.now();
        let mut due: Vec<WebhookDelivery> = Vec::with_capacity(width);
        let mut next = None;
        for delivery in first {
            if delivery.due_at.is_some_and(|at| at <= now) {
                if due.len() < width {
                    due.push(delivery);
                }
            } else {
                next = next.or(delivery.due_at);
            }
        }
        if !webhook.enabled {
            let unwanted;
            (due, unwanted) = due.into_iter().partition(|delivery| delivery.event_type == TEST);
            due.truncate(turn.width(round));
            if !unwanted.is_empty() {
                give_up(crm, unwanted, now).await?;
                next = Some(now);
            }
        }
        if due.is_empty() {
            return Ok(next);
        }
        let wanted = u32::try_from(due.len().min(WIDTH)).unwrap_or(1);
        let Ok(permit) = timeout(LONGEST_WAIT, tools.permits.acquire_many(wanted)).await else {
            return Ok(Some(crm.now()));
        };
        let _permit = permit.map_err(Error::internal)?;
        let taken = begin(crm, lane, due, crm.now()).await?;
        let (sender, noted) = (Sender::new(crm, &webhook), Instant::now());
        let (mut waiting, mut in_hand) = (taken.into_iter(), FuturesUnordered::new());
        loop {
            while in_hand.len() < WIDTH
                && turn.takes(in_hand.len())
                && !tools.is_stopping()
                && noted.elapsed() < LAST_BEGIN
                && let Some(delivery) = waiting.next()
            {
                in_hand.push(attempt::attempt(crm, &sender, delivery));
            }
            let Some(ended) = in_hand.next().await else { break };
            turn.note(ended);
        }
        let unsent: Vec<WebhookDelivery> = waiting.collect();
        round = if unsent.is_empty() { (2 * round).min(ROUND) } else { (round - unsent.len().min(round)).max(WIDTH) };
        put_back(crm, lane, unsent).await?;
        if !turn.goes_on() || tools.is_stopping() || begun.elapsed() > TURN {
            return Ok(Some(crm.now()));
        }
    }
}

/// Notes attempts before anything is sent, so that one that is cut off counts. Answers the deliveries that are in our
/// hands: to be sent.
async fn begin(
    crm: &Crm,
    lane: &WebhookLane,
    due: Vec<WebhookDelivery>,
    now: Timestamp,
) -> Result<Vec<WebhookDelivery>> {
    let begun = || {
        vec![
            WebhookDelivery::attempts.increment(1_i64),
            WebhookDelivery::last_attempt_at.set(now),
            WebhookDelivery::holder.set(lane.holder),
            WebhookDelivery::due_at.set(now.plus(HOLD)),
        ]
    };
    // Whoever else had the lane before us may have taken some of them.
    let still = |filter: Filter| filter.and(WebhookDelivery::due_at.at_most(now));
    let update = |filter, assignments| Change::UpdateWhere {
        collection: WebhookDelivery::COLLECTION,
        filter: still(filter),
        assignments,
    };
    let (mut changes, mut going, mut plain) =
        (Vec::new(), Vec::with_capacity(due.len()), Vec::with_capacity(due.len()));
    let mut expected = 0;
    for mut delivery in due {
        match attempt::cut_off(crm, &mut delivery, now) {
            None => plain.push(delivery.id.into()),
            Some(CutOff::SentAgain(noted)) => {
                changes.push(update(ID.equals(delivery.id), [begun(), noted].concat()));
                expected += 1;
            }
            Some(CutOff::Waits(noted)) => {
                changes.push(update(ID.equals(delivery.id), noted));
                expected += 1;
                continue;
            }
        }
        delivery.attempts += 1;
        delivery.holder = lane.holder;
        delivery.last_attempt_at = Some(now);
        going.push(delivery);
    }
    if !plain.is_empty() {
        expected += u64::try_from(plain.len()).unwrap_or(u64::MAX);
        changes.push(update(ID.one_of(plain), begun()));
    }
    let outcomes = crm.store().commit(Scope::Installation, changes).await?;
    let touched: u64 = outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::Touched(count) => *count,
            _ => 0,
        })
        .sum();
    if touched == expected {
        return Ok(going);
    }
    let ids: Vec<_> = going.iter().map(|delivery| delivery.id).collect();
    let mut ours = crm.repo::<WebhookDelivery>().get_many(Scope::Installation, &ids).await?;
    ours.retain(|delivery| delivery.holder.is_some() && delivery.holder == lane.holder);
    Ok(ours)
}

/// Gives back what was noted and not sent, as it was before.
async fn put_back(crm: &Crm, lane: &WebhookLane, unsent: Vec<WebhookDelivery>) -> Result<()> {
    if unsent.is_empty() {
        return Ok(());
    }
    let now = crm.now();
    let back = |ids: Vec<Uuid>, last_attempt_at: Option<Timestamp>| Change::UpdateWhere {
        collection: WebhookDelivery::COLLECTION,
        filter: ID.one_of(ids).and(WebhookDelivery::holder.equals(lane.holder)),
        assignments: vec![
            WebhookDelivery::attempts.increment(-1_i64),
            WebhookDelivery::last_attempt_at.set(last_attempt_at),
            WebhookDelivery::holder.set(None),
            WebhookDelivery::due_at.set(now),
        ],
    };
    let (tried, untried): (Vec<_>, Vec<_>) = unsent.into_iter().partition(|delivery| !delivery.log.0.is_empty());
    let mut changes: Vec<Change> = tried
        .into_iter()
        .map(|delivery| back(vec![delivery.id.into()], delivery.log.0.last().map(|last| last.at)))
        .collect();
    if !untried.is_empty() {
        changes.push(back(untried.into_iter().map(|delivery| delivery.id.into()).collect(), None));
    }
    written(crm, Scope::Installation, changes).await?;
    Ok(())
}

/// Ends deliveries that nobody wants for now.
async fn give_up(crm: &Crm, unwanted: Vec<WebhookDelivery>, now: Timestamp) -> Result<()> {
    if unwanted.is_empty() {
        return Ok(());
    }
    let mut assignments = attempt::ended(DeliveryState::Failed, now);
    assignments.push(WebhookDelivery::error.set(Some(DISABLED.to_owned())));
    let still =
        ID.one_of(unwanted.into_iter().map(|delivery| delivery.id.into())).and(WebhookDelivery::due_at.at_most(now));
    let end = Change::UpdateWhere { collection: WebhookDelivery::COLLECTION, filter: still, assignments };
    crm.store().commit(Scope::Installation, vec![end]).await?;
    Ok(())
}
