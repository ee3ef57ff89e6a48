//! What one process does for one campaign: begins it, sends what is due or has it sent, and ends it.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{
    Campaign, CampaignId, CampaignStatistics, CampaignStatus, Communication, CommunicationStage, CommunicationStatus,
    batch::{self, Sending},
    portion::{Offer, Portions},
    run::{CampaignRun, RunStep},
    send::{POLL, REST},
    service::told,
};
use crate::{
    access::Principal,
    crm::Crm,
    error::{Error, Result},
    operation::Operation,
    record::UPDATED_AT,
    store::{Outcome, Scope},
    time::Timestamp,
};

/// Communications that are given up in one step.
const GIVEN_UP: usize = 500;
/// How long a process is at one campaign before the others that wait have their turn.
const TURN: Duration = Duration::from_secs(10);
/// Of so many batches, one looks for what a dead process left.
const LOOK: usize = 20;
/// How soon it is looked at again how many portions the queue has.
const BREATH: Duration = Duration::from_millis(50);

/// Does for a campaign what there is to do, until there is nothing for now.
pub(super) async fn drive(crm: &Crm, id: CampaignId, stopping: &AtomicBool, portions: Option<&Portions>) {
    let mut driver = Driver { portions, ..Driver::new(crm, id, stopping) };
    loop {
        match driver.step().await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a campaign cannot be sent for now");
                if !stopping.load(Ordering::Relaxed) {
                    sleep(REST).await;
                }
                return;
            }
        }
    }
}

/// Sends one batch of what is due for a campaign, if that is to be sent. Answers how many messages there were.
pub(super) async fn send_portion(crm: &Crm, id: CampaignId, stopping: &AtomicBool) -> Result<usize> {
    let mut driver = Driver::new(crm, id, stopping);
    let run = crm.repo::<CampaignRun>().get(Scope::Installation, id).await?;
    let Some(run) = run.filter(|run| run.sends() && !driver.is_stopping()) else { return Ok(0) };
    let Some(campaign) = driver.campaign(&run).await? else { return Ok(0) };
    let sending = driver.sending(&campaign)?;
    match driver.room(&run, sending.most()).await? {
        Room::For(limit) => sending.send_waiting(&run, limit).await,
        Room::NothingIsDue | Room::At(_) | Room::TakenByAnother => Ok(0),
    }
}

struct Driver<'a> {
    crm: &'a Crm,
    id: CampaignId,
    stopping: &'a AtomicBool,
    /// Where others are told to send.
    portions: Option<&'a Portions>,
    /// As it was launched; what is sent does not change.
    campaign: Option<Campaign>,
    steps: usize,
    begun: Instant,
}

/// How many messages of a campaign may go now.
enum Room {
    /// So many, and that is noted.
    For(usize),
    /// None before that.
    At(Timestamp),
    /// None waits.
    NothingIsDue,
    /// Another process has let some go meanwhile.
    TakenByAnother,
}

impl<'a> Driver<'a> {
    fn new(crm: &'a Crm, id: CampaignId, stopping: &'a AtomicBool) -> Self {
        Self { crm, id, stopping, portions: None, campaign: None, steps: 0, begun: Instant::now() }
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// One step; answers whether there may be more to do. The run is read anew each time: so pausing is heard of.
    async fn step(&mut self) -> Result<bool> {
        if self.is_stopping() {
            return Ok(false);
        }
        let Some(run) = self.crm.repo::<CampaignRun>().get(Scope::Installation, self.id).await? else {
            return Ok(false);
        };
        if run.due_at.is_none_or(|due| due > self.crm.now()) {
            return Ok(false);
        }
        if self.begun.elapsed() > TURN {
            // Behind those that have waited longer.
            self.rest(&run, Some(self.crm.now())).await?;
            self.crm.campaign_hint().notify_one();
            return Ok(false);
        }
        match run.step {
            RunStep::Scheduled => self.begin(&run).await,
            RunStep::Cancelling | RunStep::Failing => self.give_up(&run).await,
            RunStep::Planning | RunStep::Planned if run.paused => self.rest(&run, None).await,
            RunStep::Planning | RunStep::Planned => self.send(&run).await,
        }
    }

    async fn rest(&self, run: &CampaignRun, due_at: Option<Timestamp>) -> Result<bool> {
        let change = run.rest(due_at, self.crm.now());
        self.crm.store().commit(Scope::Installation, vec![change]).await?;
        // Whoever has said meanwhile that there is something to do is heard.
        Ok(true)
    }

    async fn campaign(&mut self, run: &CampaignRun) -> Result<Option<Campaign>> {
        if self.campaign.is_none() {
            let scope = Scope::Organization(run.meta.organization_id);
            self.campaign = self.crm.repo::<Campaign>().get(scope, run.id).await?;
        }
        Ok(self.campaign.clone())
    }

    /// Begins a campaign whose time has come, on behalf of whoever launched it.
    async fn begin(&mut self, run: &CampaignRun) -> Result<bool> {
        let Some(before) = self.campaign(run).await? else { return self.forget(run).await };
        self.campaign = None;
        let system = Principal::system(run.meta.organization_id);
        let launcher = match before.launched_by() {
            Some(actor) => self.crm.accounts().principal_of(actor, run.meta.organization_id).await,
            None => Err(Error::Forbidden("It is not known who launched it.".to_owned())),
        };
        let now = self.crm.now();
        let by = match launcher {
            Ok(by) => by,
            Err(error @ Error::Forbidden(_)) => {
                let failing = vec![
                    CampaignRun::step.set(RunStep::Failing),
                    CampaignRun::reason.set(Some(error.to_string())),
                    CampaignRun::due_at.set(Some(now)),
                ];
                let change = CampaignRun::at_step(run.id, RunStep::Scheduled, failing, now);
                self.crm.store().commit(system.scope(), vec![change]).await?;
                return Ok(true);
            }
            Err(error) => return Err(error),
        };
        let mut after = before.clone();
        let mut operation = Operation::at(self.crm, &by, now);
        self.crm.campaigns().begin(&by, &mut operation, &mut after)?;
        operation.update(&before, &mut after);
        let begun = vec![CampaignRun::step.set(RunStep::Planning), CampaignRun::due_at.set(Some(now))];
        operation.change(CampaignRun::at_step(run.id, RunStep::Scheduled, begun, now));
        operation.audit::<Campaign>("campaign.begun", run.id, None, Some(told(&after)));
        match operation.commit().await {
            // Another process was faster, or somebody cancelled it.
            Ok(_) | Err(Error::VersionConflict { .. } | Error::Conflict(_) | Error::NotFound(_)) => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn sending<'b>(&'b self, campaign: &'b Campaign) -> Result<Sending<'b>> {
        let Some(channel) = self.crm.channel(campaign.channel.name()) else {
            return Err(Error::InvalidState(format!("Nothing is sent by {} from here.", campaign.channel)));
        };
        Ok(Sending { crm: self.crm, campaign, channel, stopping: self.stopping })
    }

    /// Sends some of what is due, or has it sent by whoever takes it from the queue.
    async fn send(&mut self, run: &CampaignRun) -> Result<bool> {
        let Some(campaign) = self.campaign(run).await? else { return self.forget(run).await };
        self.steps += 1;
        let looks = self.steps % LOOK == 1;
        let sending = self.sending(&campaign)?;
        if looks && sending.send_interrupted(run).await? > 0 {
            return Ok(true);
        }
        if let Some(portions) = self.portions {
            let now = self.crm.now();
            if !self.is_due(run, now).await? {
                return self.idle(run, &sending).await;
            }
            if let Some(Err(next)) = run.allowed(now, 1) {
                return self.rest(run, Some(next)).await;
            }
            if portions.offer(self.crm, run).await == Offer::Taken {
                sleep(BREATH).await;
                return Ok(true);
            }
        }
        match self.room(run, sending.most()).await? {
            Room::For(limit) if sending.send_waiting(run, limit).await? > 0 => Ok(true),
            Room::For(_) | Room::NothingIsDue => self.idle(run, &sending).await,
            Room::At(next) => self.rest(run, Some(next)).await,
            Room::TakenByAnother => Ok(true),
        }
    }

    /// Whether a message waits whose time has come.
    async fn is_due(&self, run: &CampaignRun, now: Timestamp) -> Result<bool> {
        Ok(batch::next_due(self.crm, run, CommunicationStage::Waiting).await?.is_some_and(|due| due <= now))
    }

    /// Lets messages go, `most` at most, at the pace of the campaign.
    async fn room(&self, run: &CampaignRun, most: usize) -> Result<Room> {
        let now = self.crm.now();
        let Some(allowed) = run.allowed(now, most) else { return Ok(Room::For(most)) };
        // Where nothing is due, nothing is let go.
        if !self.is_due(run, now).await? {
            return Ok(Room::NothingIsDue);
        }
        let (count, paced_at) = match allowed {
            Ok(allowed) => allowed,
            Err(next) => return Ok(Room::At(next)),
        };
        let outcomes = self.crm.store().commit(Scope::Installation, vec![run.pace(paced_at, now)]).await?;
        Ok(if outcomes.first() == Some(&Outcome::Touched(1)) { Room::For(count) } else { Room::TakenByAnother })
    }

    /// Nothing is due: waits for what comes next, or ends the campaign where nothing does.
    async fn idle(&self, run: &CampaignRun, sending: &Sending<'_>) -> Result<bool> {
        if sending.send_interrupted(run).await? > 0 {
            return Ok(true);
        }
        let waiting = batch::next_due(self.crm, run, CommunicationStage::Waiting).await?;
        let in_hand = batch::next_due(self.crm, run, CommunicationStage::Sending).await?;
        // Whoever has them in hand may be done at any moment.
        let in_hand = in_hand.map(|due| due.min(self.crm.now().plus(POLL)));
        let next = waiting.into_iter().chain(in_hand).min();
        if next.is_none() && run.step == RunStep::Planned {
            return self.end(run, CampaignStatus::Sent).await;
        }
        if next.is_some_and(|next| next <= self.crm.now()) {
            return Ok(true);
        }
        self.rest(run, next).await
    }

    /// Gives up some of what waits; ends with the last.
    async fn give_up(&self, run: &CampaignRun) -> Result<bool> {
        let reason = if run.step == RunStep::Failing { "campaign_failed" } else { "cancelled" };
        let now = self.crm.now();
        let ended = |status: CommunicationStatus, reason: &str| {
            vec![
                Communication::status.set(status),
                Communication::stage.set(None),
                Communication::due_at.set(None),
                Communication::reason.set(Some(reason.to_owned())),
                UPDATED_AT.set(now),
            ]
        };
        let waiting = batch::at_stage(run, CommunicationStage::Waiting);
        let given_up = ended(CommunicationStatus::Suppressed, reason);
        if !batch::claim(self.crm, run, &waiting, GIVEN_UP, given_up).await?.is_empty() {
            return Ok(true);
        }
        let over = batch::at_stage(run, CommunicationStage::Sending).and(Communication::due_at.at_most(Some(now)));
        let unknown = ended(CommunicationStatus::Unknown, "interrupted");
        if !batch::claim(self.crm, run, &over, GIVEN_UP, unknown).await?.is_empty() {
            return Ok(true);
        }
        // What is in somebody's hands still leaves, or comes back.
        if let Some(due) = batch::next_due(self.crm, run, CommunicationStage::Sending).await? {
            return self.rest(run, Some(due.min(now.plus(POLL)))).await;
        }
        if run.step == RunStep::Failing {
            return self.end(run, CampaignStatus::Failed).await;
        }
        self.forget(run).await
    }

    async fn forget(&self, run: &CampaignRun) -> Result<bool> {
        match self.crm.store().commit(Scope::Installation, vec![run.end()]).await.map_err(Error::from) {
            Ok(_) | Err(Error::VersionConflict { .. } | Error::NotFound(_)) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Ends a campaign, and tells so.
    async fn end(&self, run: &CampaignRun, status: CampaignStatus) -> Result<bool> {
        let by = Principal::system(run.meta.organization_id);
        let Some(before) = self.crm.repo::<Campaign>().get(by.scope(), run.id).await? else {
            return self.forget(run).await;
        };
        let CampaignStatistics { counts, .. } = CampaignStatistics::of(self.crm, by.scope(), run.id).await?;
        let mut operation = Operation::new(self.crm, &by);
        let now = operation.now();
        let mut after = Campaign {
            status,
            finished_at: Some(now),
            paused_at: None,
            audience: before.audience.or_else(|| i64::try_from(counts.audience).ok()),
            reason: run.reason.clone(),
            ..before.clone()
        };
        operation.update(&before, &mut after);
        operation.change(run.end());
        let mut data = told(&after);
        if let Some(members) = data.as_object_mut() {
            members.insert("statistics".to_owned(), json!(counts));
        }
        operation.audit::<Campaign>("campaign.finished", run.id, None, Some(data.clone()));
        operation.emit("campaign.finished", &after, &data);
        match operation.commit().await {
            // Somebody changed it meanwhile, or another process ended it.
            Ok(_) | Err(Error::VersionConflict { .. } | Error::NotFound(_)) => Ok(true),
            Err(error) => Err(error),
        }
    }
}
