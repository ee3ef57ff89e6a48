//! Begins, sends and ends campaigns. Any number of processes may; each takes some communications at a time.

use std::{
    collections::HashMap,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use tokio::{
    task::{self, JoinError, JoinSet},
    time::{Instant, sleep, timeout},
};
use tracing::Instrument as _;

use super::{
    Campaign, CampaignId, CampaignStatistics, CampaignStatus, Communication, CommunicationStage, CommunicationStatus,
    batch::{self, Sending},
    run::{self, CampaignRun, RunStep},
    service::told,
};
use crate::{
    access::Principal,
    crm::Crm,
    error::{Error, Result},
    operation::Operation,
    record::UPDATED_AT,
    store::{Query, Scope},
    time::Timestamp,
};

/// The longest that a campaign waits to be looked at where no hint came.
const POLL: Duration = Duration::from_millis(500);
/// How long looking rests after a failure, and a campaign that cannot be sent from here.
const REST: Duration = Duration::from_secs(2);
/// Campaigns at once in a process.
const AT_ONCE: usize = 16;
/// Communications that are given up in one step.
const GIVEN_UP: usize = 500;
/// How long a process is at one campaign before the others that wait have their turn.
const TURN: Duration = Duration::from_secs(10);
/// Of so many batches, one looks for what a dead process left.
const LOOK: usize = 20;

/// Sends until `stop` resolves, then finishes what is in hand.
pub(crate) async fn run(crm: Crm, stop: impl Future<Output = ()> + Send) {
    let mut sender = Sender::new(crm);
    let mut stop = std::pin::pin!(stop);
    loop {
        let rest = match sender.take_up().await {
            Ok(_) => POLL,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "campaigns cannot be looked at for now");
                REST
            }
        };
        tokio::select! {
            () = &mut stop => break,
            () = sender.woken(rest) => {}
        }
    }
    sender.stopping.store(true, Ordering::Relaxed);
    while let Some(ended) = sender.drives.join_next_with_id().await {
        sender.note(ended);
    }
}

/// Does everything that is due now for campaigns, and waits for it. For tests and for programs with a schedule of their
/// own. The jobs that plan them are run by [`crate::job::runner`].
///
/// # Errors
/// Those of the store.
pub async fn send_due(crm: &Crm) -> Result<()> {
    let mut sender = Sender::new(crm.clone());
    loop {
        let begun = sender.take_up().await?;
        match sender.drives.join_next_with_id().await {
            Some(ended) => sender.note(ended),
            None if begun == 0 => return Ok(()),
            None => {}
        }
    }
}

struct Sender {
    crm: Crm,
    stopping: Arc<AtomicBool>,
    drives: JoinSet<()>,
    in_hand: HashMap<task::Id, CampaignId>,
}

impl Sender {
    fn new(crm: Crm) -> Self {
        Self { crm, stopping: Arc::default(), drives: JoinSet::new(), in_hand: HashMap::new() }
    }

    async fn woken(&mut self, rest: Duration) {
        tokio::select! {
            _ = timeout(rest, self.crm.campaign_hint().notified()) => {}
            Some(ended) = self.drives.join_next_with_id(), if !self.drives.is_empty() => self.note(ended),
        }
    }

    fn note(&mut self, ended: std::result::Result<(task::Id, ()), JoinError>) {
        let id = match &ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        if let Err(error) = ended {
            tracing::error!(%error, "sending a campaign broke");
        }
        self.in_hand.remove(&id);
    }

    /// Begins with those campaigns for which there is something to do; answers how many.
    async fn take_up(&mut self) -> Result<usize> {
        while let Some(ended) = self.drives.try_join_next_with_id() {
            self.note(ended);
        }
        let room = AT_ONCE.saturating_sub(self.drives.len());
        if room == 0 {
            return Ok(0);
        }
        let due = CampaignRun::due_at.at_most(Some(self.crm.now()));
        let query = Query::new(due, AT_ONCE).sorted(vec![CampaignRun::due_at.ascending()]);
        let found = self.crm.repo::<CampaignRun>().find(Scope::Installation, &query).await?.records;
        let mut begun = 0;
        for run in found {
            if begun == room || self.in_hand.values().any(|id| *id == run.id) {
                continue;
            }
            let span = tracing::info_span!("campaign", campaign = %run.id);
            let (crm, stopping, id) = (self.crm.clone(), Arc::clone(&self.stopping), run.id);
            let drive = async move { drive(&crm, id, &stopping).await };
            let task = self.drives.spawn(drive.instrument(span));
            self.in_hand.insert(task.id(), id);
            begun += 1;
        }
        Ok(begun)
    }
}

/// Does for a campaign what there is to do, until there is nothing for now.
async fn drive(crm: &Crm, id: CampaignId, stopping: &AtomicBool) {
    let mut driver = Driver { crm, id, stopping, campaign: None, steps: 0, begun: Instant::now() };
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

struct Driver<'a> {
    crm: &'a Crm,
    id: CampaignId,
    stopping: &'a AtomicBool,
    /// As it was launched; what is sent does not change.
    campaign: Option<Campaign>,
    steps: usize,
    begun: Instant,
}

impl Driver<'_> {
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

    /// Sends some of what is due.
    async fn send(&mut self, run: &CampaignRun) -> Result<bool> {
        let Some(campaign) = self.campaign(run).await? else { return self.forget(run).await };
        let Some(channel) = self.crm.channel(campaign.channel.name()) else {
            return Err(Error::InvalidState(format!("Nothing is sent by {} from here.", campaign.channel)));
        };
        let is_stopping = || self.stopping.load(Ordering::Relaxed);
        let sending = Sending { crm: self.crm, campaign: &campaign, channel, is_stopping: &is_stopping };
        self.steps += 1;
        if self.steps % LOOK == 1 && sending.send_interrupted(run).await? > 0 {
            return Ok(true);
        }
        let mut limit = sending.most();
        if let Some(per_minute) = run.per_minute {
            let now = self.crm.now();
            // Where nothing is due, nothing is let go.
            match batch::next_due(self.crm, run, CommunicationStage::Waiting).await? {
                Some(due) if due <= now => {}
                _ => return self.idle(run, &sending).await,
            }
            match run::allowed(per_minute, run.paced_at, now, limit) {
                Ok((count, paced_at)) => {
                    let outcomes = self.crm.store().commit(Scope::Installation, vec![run.pace(paced_at, now)]).await?;
                    if outcomes.first() != Some(&crate::store::Outcome::Touched(1)) {
                        // Another process has let some go.
                        return Ok(true);
                    }
                    limit = count;
                }
                Err(next) => return self.rest(run, Some(next)).await,
            }
        }
        if sending.send_waiting(run, limit).await? > 0 {
            return Ok(true);
        }
        self.idle(run, &sending).await
    }

    /// Nothing is due: waits for what comes next, or ends the campaign where nothing does.
    async fn idle(&self, run: &CampaignRun, sending: &Sending<'_>) -> Result<bool> {
        if sending.send_interrupted(run).await? > 0 {
            return Ok(true);
        }
        let waiting = batch::next_due(self.crm, run, CommunicationStage::Waiting).await?;
        let sending = batch::next_due(self.crm, run, CommunicationStage::Sending).await?;
        let next = waiting.into_iter().chain(sending).min();
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
