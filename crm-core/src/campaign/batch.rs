//! Some communications of a campaign at a time: claimed, handed to the channel, and what became of them written.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};
use uuid::Uuid;

use super::{
    Campaign, Communication, CommunicationStage, CommunicationStatus,
    admission::{self, Admission},
    outcome::Outcome,
    run::CampaignRun,
    window::Timetable,
};
use crate::{
    access::Principal,
    crm::Crm,
    customer::Customer,
    error::{Error, Result},
    id::{CustomerId, new_uuid},
    port::{Channel, OutgoingMessage, SendFailure},
    record::{Column, ID, Record as _, UPDATED_AT},
    store::{Assignment, Change, Filter, Query, Scope, StoreError, Value, WhenUnmet},
    time::Timestamp,
};

/// So many are claimed at once.
const BATCH: usize = 200;
/// So many are handed to the channel at once, at most.
const HANDED: usize = 64;
/// How long what is claimed by a process that fell silent keeps others from it.
const HOLD: Duration = Duration::from_secs(10);
/// How often a process says that it is alive.
const BEAT: Duration = Duration::from_secs(3);
/// A channel that takes longer for what was handed to it is given up.
const LONGEST_SEND: Duration = Duration::from_secs(150);
/// So long it is tried to write what became of what was sent.
const LONGEST_WRITE: Duration = Duration::from_secs(120);
/// Why a message waits though its time had come.
const OUTSIDE_WINDOW: &str = "outside_window";
/// The wait between two tries.
const WRITE_PAUSE: Duration = Duration::from_millis(500);

/// What is sent of a campaign: what does not change while it goes.
pub(super) struct Sending<'a> {
    pub(super) crm: &'a Crm,
    pub(super) campaign: &'a Campaign,
    pub(super) channel: &'a dyn Channel,
    /// Whether nothing more is to be begun.
    pub(super) stopping: &'a AtomicBool,
}

/// The communications of a campaign at a stage.
pub(super) fn at_stage(run: &CampaignRun, stage: CommunicationStage) -> Filter {
    Communication::campaign_id.equals(run.id).and(Communication::stage.equals(Some(stage)))
}

/// Claims some communications, of those that have waited the longest.
pub(super) async fn claim(
    crm: &Crm,
    run: &CampaignRun,
    filter: &Filter,
    limit: usize,
    set: Vec<Assignment>,
) -> Result<Vec<Communication>> {
    let set: Vec<(usize, Value)> = set
        .into_iter()
        .filter_map(|assignment| match assignment {
            Assignment::Set(position, value) => Some((position, value)),
            Assignment::Increment(..) => None,
        })
        .collect();
    let order = [Communication::due_at.ascending()];
    let scope = Scope::Organization(run.meta.organization_id);
    let rows = crm.store().claim(scope, Communication::COLLECTION, filter, &order, limit, &set).await?;
    rows.into_iter().map(|row| Communication::from_row(row).map_err(Error::internal)).collect()
}

/// When the first of those at a stage is due.
pub(super) async fn next_due(crm: &Crm, run: &CampaignRun, stage: CommunicationStage) -> Result<Option<Timestamp>> {
    let query = Query::new(at_stage(run, stage), 1).sorted(vec![Communication::due_at.ascending()]);
    let scope = Scope::Organization(run.meta.organization_id);
    let found = crm.repo::<Communication>().find(scope, &query).await?.records;
    Ok(found.first().and_then(|first| first.due_at))
}

impl Sending<'_> {
    fn scope(&self) -> Scope {
        Scope::Organization(self.campaign.meta.organization_id)
    }

    /// So many are claimed at once. Should the process die, nobody knows of what is claimed whether it was sent, unless it
    /// may be sent again.
    pub(super) fn most(&self) -> usize {
        if self.channel.repeatable() { BATCH } else { self.handed() }
    }

    /// So many are handed to the channel at once.
    fn handed(&self) -> usize {
        if self.channel.repeatable() { HANDED } else { self.channel.at_once().clamp(1, HANDED) }
    }

    /// Sends up to `limit` of those that wait and are due. Claiming them is the record of the attempt: it is there before
    /// anything is sent. Answers how many there were.
    pub(super) async fn send_waiting(&self, run: &CampaignRun, limit: usize) -> Result<usize> {
        let now = self.crm.now();
        let holder = new_uuid(now, self.crm.random());
        let due = at_stage(run, CommunicationStage::Waiting).and(Communication::due_at.at_most(Some(now)));
        let claimed = claim(self.crm, run, &due, limit, taken(holder, now)).await?;
        let count = claimed.len();
        if count > 0 {
            self.send(claimed, holder).await?;
        }
        Ok(count)
    }

    /// Sees to those whose process died while it sent them: they are sent again only where that does no harm. Answers how
    /// many there were.
    pub(super) async fn send_interrupted(&self, run: &CampaignRun) -> Result<usize> {
        let now = self.crm.now();
        let over = at_stage(run, CommunicationStage::Sending).and(Communication::due_at.at_most(Some(now)));
        let scope = self.scope();
        // Nearly always there are none, and looking costs less than claiming.
        if self.crm.repo::<Communication>().first(scope, over.clone()).await?.is_none() {
            return Ok(0);
        }
        let holder = new_uuid(now, self.crm.random());
        let mut claimed = claim(self.crm, run, &over, BATCH, taken(holder, now)).await?;
        let count = claimed.len();
        let repeatable = self.channel.repeatable();
        let (mut changes, mut again) = (Vec::new(), Vec::new());
        for communication in &mut claimed {
            communication.attempts += 1;
            match Outcome::of_interrupted(communication.attempts, repeatable) {
                None => again.push(communication.id.into()),
                Some(outcome) => changes.push(ours(communication, holder, {
                    let mut assignments = outcome.assignments(now);
                    assignments.push(Communication::attempts.set(communication.attempts));
                    assignments
                })),
            }
        }
        if !again.is_empty() {
            changes.push(Change::UpdateWhere {
                collection: Communication::COLLECTION,
                filter: ID.one_of(again.clone()).and(Communication::holder.equals(Some(holder))),
                assignments: vec![Communication::attempts.increment(1_i64)],
            });
        }
        if !changes.is_empty() {
            self.crm.store().commit(scope, changes).await?;
        }
        claimed.retain(|communication| again.contains(&Uuid::from(communication.id)));
        if !claimed.is_empty() {
            self.send(claimed, holder).await?;
        }
        Ok(count)
    }

    /// Hands what is claimed to the channel, and says all the while that somebody is at it.
    async fn send(&self, claimed: Vec<Communication>, holder: Uuid) -> Result<()> {
        let alive = async {
            let mut beat = interval_at(Instant::now() + BEAT, BEAT);
            beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                beat.tick().await;
                if let Err(error) = self.hold(holder).await {
                    tracing::warn!(error = &error as &dyn std::error::Error, "a campaign cannot say that it is alive");
                }
            }
        };
        // Both go on at once: what is being written may hold the very rows that saying so waits for.
        tokio::select! {
            ended = self.send_all(claimed, holder) => ended,
            () = alive => Ok(()),
        }
    }

    async fn hold(&self, holder: Uuid) -> Result<()> {
        let now = self.crm.now();
        let held = Communication::campaign_id
            .equals(self.campaign.id)
            .and(Communication::stage.equals(Some(CommunicationStage::Sending)))
            .and(Communication::holder.equals(Some(holder)));
        let assignments = vec![Communication::due_at.set(Some(now.plus(HOLD)))];
        let change = Change::UpdateWhere { collection: Communication::COLLECTION, filter: held, assignments };
        self.crm.store().commit(self.scope(), vec![change]).await?;
        Ok(())
    }

    async fn send_all(&self, claimed: Vec<Communication>, holder: Uuid) -> Result<()> {
        let ids: Vec<Uuid> = claimed.iter().map(|communication| communication.id.into()).collect();
        let going = match self.admitted(claimed, holder).await {
            Ok(going) => going,
            Err(error) => {
                // Nothing was handed to anybody yet.
                self.put_back(ids, holder).await?;
                return Err(error);
            }
        };
        let mut parts = chunked(going, self.handed()).into_iter();
        let mut first = true;
        while let Some(part) = parts.next() {
            if !self.goes_on(first).await {
                let left = part.iter().chain(parts.as_slice().iter().flatten());
                return self.put_back(left.map(|(communication, _)| communication.id.into()).collect(), holder).await;
            }
            first = false;
            let outcomes = self.hand_over(part).await;
            if let Err(error) = self.write(outcomes, holder, true).await {
                let left = parts.as_slice().iter().flatten();
                self.put_back(left.map(|(communication, _)| communication.id.into()).collect(), holder).await?;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Those that may go, each with the address at which the customer says that no more are wanted; what becomes of the
    /// others is written.
    async fn admitted(
        &self,
        claimed: Vec<Communication>,
        holder: Uuid,
    ) -> Result<Vec<(Communication, Option<String>)>> {
        let customers = self.customers(&claimed).await?;
        let claimed = self.in_window(claimed, &customers, holder).await?;
        let admitted = admission::admit(self.crm, self.campaign, &claimed, &customers).await?;
        let (mut suppressed, mut going) = (Vec::new(), Vec::with_capacity(claimed.len()));
        for (communication, admission) in claimed.into_iter().zip(admitted) {
            match admission {
                Admission::Refused(reason) => {
                    suppressed.push((communication, Outcome::Suppressed(reason.to_owned())));
                }
                Admission::Granted(unsubscribe_url) => going.push((communication, unsubscribe_url)),
            }
        }
        if !suppressed.is_empty() {
            self.write(suppressed, holder, false).await?;
        }
        Ok(going)
    }

    /// Those of which the sending window is open still: after a pause or an outage it may have closed. The others wait for
    /// it to open again.
    async fn in_window(
        &self,
        claimed: Vec<Communication>,
        customers: &HashMap<CustomerId, Customer>,
        holder: Uuid,
    ) -> Result<Vec<Communication>> {
        let Some(window) = &self.campaign.window else { return Ok(claimed) };
        let by = Principal::system(self.campaign.meta.organization_id);
        let organization = self.crm.organizations().settings(&by).await?;
        let now = self.crm.now();
        let mut timetable = Timetable::new(now, Some(window), None, &organization.time_zone);
        let (mut going, mut waiting) = (Vec::with_capacity(claimed.len()), Vec::new());
        for communication in claimed {
            let customer = customers.get(&communication.customer_id);
            match customer.map(|customer| timetable.due(self.campaign.id, customer)) {
                Some(opens) if opens > now => {
                    waiting.push((communication, Outcome::Waits(opens, OUTSIDE_WINDOW.to_owned())));
                }
                _ => going.push(communication),
            }
        }
        if !waiting.is_empty() {
            self.write(waiting, holder, false).await?;
        }
        Ok(going)
    }

    /// Whether the next part is still to be sent: nobody has paused or ended the campaign, or the process.
    async fn goes_on(&self, first: bool) -> bool {
        if self.stopping.load(Ordering::Relaxed) {
            return false;
        }
        if first {
            return true;
        }
        match self.crm.repo::<CampaignRun>().get(self.scope(), self.campaign.id).await {
            Ok(run) => run.is_some_and(|run| run.sends()),
            Err(_) => false,
        }
    }

    async fn customers(&self, claimed: &[Communication]) -> Result<HashMap<CustomerId, Customer>> {
        let ids: Vec<CustomerId> = claimed.iter().map(|communication| communication.customer_id).collect();
        let found = self.crm.repo::<Customer>().get_many(self.scope(), &ids).await?;
        Ok(found.into_iter().map(|customer| (customer.id, customer)).collect())
    }

    /// Hands a part to the channel.
    async fn hand_over(&self, part: Vec<(Communication, Option<String>)>) -> Vec<(Communication, Outcome)> {
        let messages: Vec<OutgoingMessage> =
            part.iter().map(|(communication, url)| self.outgoing(communication, url.clone())).collect();
        let count = messages.len();
        let answers = match timeout(LONGEST_SEND, self.channel.send_all(self.crm, messages)).await {
            Ok(answers) => answers,
            Err(_) => (0..count).map(|_| Err(SendFailure::Ambiguous("no answer in time".to_owned()))).collect(),
        };
        let (now, repeatable) = (self.crm.now(), self.channel.repeatable());
        let mut answers = answers.into_iter();
        part.into_iter()
            .map(|(communication, _)| {
                let none = || Err(SendFailure::Ambiguous("the channel gave no answer".to_owned()));
                let answer = answers.next().unwrap_or_else(none);
                let outcome = Outcome::of(answer, communication.attempts + 1, repeatable, now);
                (communication, outcome)
            })
            .collect()
    }

    fn outgoing(&self, communication: &Communication, unsubscribe_url: Option<String>) -> OutgoingMessage {
        OutgoingMessage {
            reference: communication.id.into(),
            organization: communication.meta.organization_id,
            campaign: Some(self.campaign.id.into()),
            customer: communication.customer_id,
            address: communication.address.clone(),
            subject: communication.subject.clone(),
            text: communication.message.clone(),
            html: super::template::begins_html(&communication.message),
            template: self.campaign.template.clone(),
            topic: self.campaign.topic.clone(),
            unsubscribe_url,
        }
    }

    /// Gives back what was claimed and not sent.
    async fn put_back(&self, ids: Vec<Uuid>, holder: Uuid) -> Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        let now = self.crm.now();
        let held = Communication::holder.equals(Some(holder));
        let sending = Communication::stage.equals(Some(CommunicationStage::Sending));
        let change = Change::UpdateWhere {
            collection: Communication::COLLECTION,
            filter: ID.one_of(ids).and(held).and(sending),
            assignments: vec![
                Communication::stage.set(Some(CommunicationStage::Waiting)),
                Communication::due_at.set(Some(now)),
                Communication::holder.set(None),
                UPDATED_AT.set(now),
            ],
        };
        self.insist(vec![change]).await
    }

    /// Commits, and does not give up before the store is back: else nobody knows what was sent and what was not.
    async fn insist(&self, changes: Vec<Change>) -> Result<()> {
        let begun = Instant::now();
        loop {
            match self.crm.store().commit(self.scope(), changes.clone()).await {
                Ok(_) => return Ok(()),
                Err(StoreError::Unavailable { .. }) if begun.elapsed() < LONGEST_WRITE => sleep(WRITE_PAUSE).await,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Writes what became of some, in one commit.
    async fn write(&self, outcomes: Vec<(Communication, Outcome)>, holder: Uuid, tried: bool) -> Result<()> {
        let now = self.crm.now();
        let (mut vendor_ids, mut bounced) = (Vec::new(), Vec::new());
        let changes: Vec<Change> = outcomes
            .into_iter()
            .map(|(communication, outcome)| {
                if let Outcome::Sent(id) = &outcome {
                    vendor_ids.push(id.clone());
                }
                if matches!(outcome, Outcome::Bounced(_)) {
                    bounced.push(communication.clone());
                }
                let mut assignments = outcome.assignments(now);
                if tried {
                    assignments.push(Communication::attempts.set(communication.attempts + 1));
                }
                ours(&communication, holder, assignments)
            })
            .collect();
        self.insist(changes).await?;
        let by = Principal::system(self.campaign.meta.organization_id);
        if !bounced.is_empty() {
            self.crm.deliveries().bounced(&by, &bounced).await?;
        }
        if !vendor_ids.is_empty() {
            self.crm.deliveries().apply_parked(&by, &vendor_ids).await?;
        }
        Ok(())
    }
}

/// What a claim sets.
fn taken(holder: Uuid, now: Timestamp) -> Vec<Assignment> {
    vec![
        Communication::stage.set(Some(CommunicationStage::Sending)),
        Communication::holder.set(Some(holder)),
        Communication::due_at.set(Some(now.plus(HOLD))),
        UPDATED_AT.set(now),
    ]
}

/// Changes a communication that is in our hands still, or of which whoever took it over knows nothing.
fn ours(communication: &Communication, holder: Uuid, assignments: Vec<Assignment>) -> Change {
    let unknown = Communication::status.equals(CommunicationStatus::Unknown);
    let held = Communication::holder.equals(Some(holder)).and(STAGE.exists());
    Change::Update {
        collection: Communication::COLLECTION,
        id: communication.id.into(),
        expected_version: None,
        condition: Some((Filter::Or(vec![held, unknown]), WhenUnmet::Skip)),
        assignments,
    }
}

const STAGE: Column<Option<CommunicationStage>> = Communication::stage;

fn chunked<T>(items: Vec<T>, size: usize) -> Vec<Vec<T>> {
    let mut items = items.into_iter();
    let mut chunks = Vec::new();
    loop {
        let chunk: Vec<T> = items.by_ref().take(size).collect();
        if chunk.is_empty() {
            return chunks;
        }
        chunks.push(chunk);
    }
}
