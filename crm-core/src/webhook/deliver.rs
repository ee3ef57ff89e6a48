//! Takes up what waits for webhooks. Any number of processes may; each webhook's lane is in the hands of one of them.

use std::{collections::HashMap, future::Future, sync::Arc, time::Duration};

use tokio::{
    sync::Semaphore,
    task::{self, JoinError, JoinSet},
    time::{Instant, timeout},
};
use tracing::Instrument as _;

use super::{
    lane::{self, WebhookLane},
    turn::{self, Tools},
};
use crate::{
    crm::Crm,
    error::Result,
    id::{OrganizationId, new_uuid},
    record::{ORGANIZATION_ID, Record as _, UPDATED_AT},
    store::{Assignment, Scope, Value},
};

/// The longest that a delivery waits to be looked at where no hint came.
const POLL: Duration = Duration::from_secs(1);
/// How long taking up rests after a failure.
const REST: Duration = Duration::from_secs(2);
/// How long a turn keeps others from the lane.
pub(super) const HOLD: Duration = Duration::from_secs(60);
/// Attempts at once in a process.
const AT_ONCE: usize = 50;
/// Lanes at once in a process.
const LANES: usize = 32;
/// Lanes of one organization at once: with four attempts each, a third of what a process makes, so that slow receivers of
/// one hold up nobody else's.
const SHARE: usize = 4;
/// A lane that waits longer for room is given back.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Lanes taken up at once.
const BATCH: usize = 16;

/// Delivers until `stop` resolves, then waits for the attempts in hand.
pub(crate) async fn run(crm: Crm, stop: impl Future<Output = ()> + Send) {
    let mut courier = Courier::new(crm);
    let mut stop = std::pin::pin!(stop);
    loop {
        let rest = match courier.take_up().await {
            Ok(true) => continue,
            Ok(false) => POLL,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "deliveries cannot be taken up for now");
                REST
            }
        };
        tokio::select! {
            () = &mut stop => break,
            () = courier.woken(rest) => {}
        }
    }
    courier.tools.stop();
    courier.begin_waiting();
    while let Some(ended) = courier.turns.join_next_with_id().await {
        courier.note(ended);
    }
}

/// Sends everything that is due now, and waits for the attempts. For tests and for programs with a schedule of their
/// own.
///
/// # Errors
/// Those of the store.
pub async fn deliver_due(crm: &Crm) -> Result<()> {
    let mut courier = Courier::new(crm.clone());
    loop {
        if courier.take_up().await? {
            continue;
        }
        match courier.turns.join_next_with_id().await {
            Some(ended) => courier.note(ended),
            None => return Ok(()),
        }
    }
}

struct Courier {
    crm: Crm,
    tools: Arc<Tools>,
    turns: JoinSet<()>,
    organizations: HashMap<task::Id, OrganizationId>,
    /// Lanes of organizations that have as much in hand as they may.
    waiting: Vec<(Instant, WebhookLane)>,
}

impl Courier {
    fn new(crm: Crm) -> Self {
        let tools = Arc::new(Tools::new(Semaphore::new(AT_ONCE)));
        Self { crm, tools, turns: JoinSet::new(), organizations: HashMap::new(), waiting: Vec::new() }
    }

    async fn woken(&mut self, rest: Duration) {
        if self.turns.len() >= LANES {
            // No hint makes room.
            if let Some(ended) = self.turns.join_next_with_id().await {
                self.note(ended);
            }
            return;
        }
        tokio::select! {
            _ = timeout(rest, self.crm.delivery_hint().notified()) => {}
            Some(ended) = self.turns.join_next_with_id(), if !self.turns.is_empty() => self.note(ended),
        }
    }

    fn note(&mut self, ended: Result<(task::Id, ()), JoinError>) {
        let id = match &ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        if let Err(error) = ended {
            tracing::error!(%error, "a turn of a webhook broke");
        }
        self.organizations.remove(&id);
    }

    /// How many lanes each organization has in hand.
    fn in_hand(&self) -> HashMap<OrganizationId, usize> {
        let mut counts = HashMap::new();
        for organization in self.organizations.values() {
            *counts.entry(*organization).or_default() += 1;
        }
        counts
    }

    /// Begins the turns of those that waited here, where there is room now.
    fn begin_waiting(&mut self) {
        let mut counts = self.in_hand();
        for (since, lane) in std::mem::take(&mut self.waiting) {
            let count = counts.entry(lane.meta.organization_id).or_default();
            if *count < SHARE || since.elapsed() > LONGEST_WAIT || self.tools.is_stopping() {
                *count += 1;
                self.begin(lane, *count <= SHARE);
            } else {
                self.waiting.push((since, lane));
            }
        }
    }

    /// Begins a turn, or gives the lane back.
    fn begin(&mut self, lane: WebhookLane, has_room: bool) {
        let organization = lane.meta.organization_id;
        let span = tracing::info_span!("webhook", webhook = %lane.id);
        let (crm, tools) = (self.crm.clone(), Arc::clone(&self.tools));
        let turn = async move {
            if has_room { turn::take(&crm, &lane, &tools).await } else { turn::leave(&crm, &lane).await }
        };
        let begun = self.turns.spawn(turn.instrument(span));
        self.organizations.insert(begun.id(), organization);
    }

    /// Begins turns of lanes that wait for one; answers whether there may be more.
    async fn take_up(&mut self) -> Result<bool> {
        // Those that have ended meanwhile make room.
        while let Some(ended) = self.turns.try_join_next_with_id() {
            self.note(ended);
        }
        self.begin_waiting();
        let room = LANES.saturating_sub(self.turns.len()).min(BATCH);
        if room == 0 {
            return Ok(false);
        }
        let crm = &self.crm;
        let now = crm.now();
        let mut ready = lane::ready(now);
        if crm.outbound().is_none() {
            ready = ready.and(WebhookLane::removed_at.exists());
        }
        let mut counts = self.in_hand();
        for (_, lane) in &self.waiting {
            *counts.entry(lane.meta.organization_id).or_default() += 1;
        }
        let sated: Vec<OrganizationId> =
            counts.iter().filter(|(_, lanes)| **lanes >= SHARE).map(|(organization, _)| *organization).collect();
        if !sated.is_empty() {
            ready = ready.and(ORGANIZATION_ID.one_of(sated).negated());
        }
        let holder = new_uuid(now, crm.random());
        let set = [
            WebhookLane::holder.set(holder),
            WebhookLane::held_until.set(now.plus(HOLD)),
            // Behind those that wait already, should it come back at once.
            WebhookLane::due_at.set(now),
            UPDATED_AT.set(now),
        ];
        let set: Vec<(usize, Value)> = set
            .into_iter()
            .filter_map(|assignment| match assignment {
                Assignment::Set(position, value) => Some((position, value)),
                Assignment::Increment(..) => None,
            })
            .collect();
        let order = [WebhookLane::due_at.ascending()];
        let rows = crm.store().claim(Scope::Installation, WebhookLane::COLLECTION, &ready, &order, room, &set).await?;
        let taken = rows.len();
        for row in rows {
            let lane = match WebhookLane::from_row(row) {
                Ok(lane) => lane,
                Err(error) => {
                    tracing::error!(%error, "the lane of a webhook cannot be read");
                    continue;
                }
            };
            let lanes = counts.entry(lane.meta.organization_id).or_default();
            *lanes += 1;
            if *lanes <= SHARE { self.begin(lane, true) } else { self.waiting.push((Instant::now(), lane)) }
        }
        Ok(taken == room)
    }
}
