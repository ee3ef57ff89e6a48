//! Launching, pausing, resuming and cancelling.

use serde_json::json;

use super::{
    Campaign, CampaignChannel, CampaignId, CampaignStatus, Campaigns,
    decide::{self, Step},
    input::Draft,
    plan,
    run::{CampaignRun, RunStep},
    service::{TRIES, busy, told},
};
use crate::{
    access::{
        Principal,
        permissions::{CAMPAIGNS_SEND, CUSTOMERS_READ},
    },
    error::{Error, Result},
    operation::Operation,
    port::Channel,
    record::{ID, Record as _},
    segment::SegmentRules,
    store::Change,
};

impl Campaigns<'_> {
    /// Launches a draft: now, or at its time where that is to come. Whom it goes to is frozen: the rule of the segment as
    /// it is now, the customers in sight of the principal. Of two who launch it at once, one does.
    ///
    /// # Errors
    /// [`Error::InvalidState`] where it is no draft, where nothing is sent on its channel here, or where its segment cannot
    /// be told; [`Error::Invalid`] where what it names is not there any more; [`Error::NotFound`],
    /// [`Error::VersionConflict`], [`Error::Forbidden`] without `campaigns:send` and `customers:read`.
    pub async fn launch(&self, by: &Principal, id: CampaignId, expected_version: Option<i64>) -> Result<Campaign> {
        by.may(CAMPAIGNS_SEND)?;
        for _ in 0..TRIES {
            let before = self.stored(by, id).await?;
            before.meta.expect(expected_version)?;
            decide::after(before.status, Step::Launch)?;
            self.check(by, &Draft::of(&before)?).await?;
            self.reach(by, before.channel).await?;
            let frozen = self.frozen(by, &before).await?;
            let mut after = before.clone();
            let mut operation = Operation::new(self.crm, by);
            self.put_on(by, &mut operation, &mut after, frozen)?;
            operation.update(&before, &mut after);
            operation.audit::<Campaign>("campaign.launched", id, None, Some(told(&after)));
            operation.emit("campaign.launched", &after, &told(&after));
            match operation.commit().await {
                Ok(_) => {
                    self.crm.campaign_hint().notify_one();
                    return Ok(after);
                }
                // Looked at again, it may be launched already.
                Err(Error::VersionConflict { .. } | Error::Duplicate { .. }) if expected_version.is_none() => {}
                Err(error) => return Err(error),
            }
        }
        Err(busy())
    }

    /// Whether anything can be sent on a channel.
    ///
    /// # Errors
    /// [`Error::InvalidState`] with what is missing.
    pub(super) async fn reach(&self, by: &Principal, channel: CampaignChannel) -> Result<&dyn Channel> {
        let Some(found) = self.crm.channel(channel.name()) else {
            let there: Vec<&str> = self.crm.channel_names().collect();
            let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
            return Err(Error::InvalidState(format!(
                "This installation sends nothing by {channel}: its channels are {there}."
            )));
        };
        match found.ready(self.crm, by.organization).await {
            Ok(()) => Ok(found),
            Err(missing) => Err(Error::InvalidState(format!("Nothing can be sent by {channel} now: {missing}"))),
        }
    }

    /// The rule that a launch freezes, where the campaign has none of its own; nothing for a static segment, whose members
    /// are frozen already.
    pub(super) async fn frozen(&self, by: &Principal, campaign: &Campaign) -> Result<Option<SegmentRules>> {
        by.may(CUSTOMERS_READ)?;
        let Some(segment) = campaign.segment_id else { return Ok(campaign.rules.clone()) };
        let audience = self.crm.segments().audience(by, segment).await?;
        Ok(audience.rule.as_ref().filter(|_| audience.segment.dynamic).map(SegmentRules::from))
    }

    /// Makes a draft a campaign that is scheduled, or begins it.
    pub(super) fn put_on(
        self,
        by: &Principal,
        operation: &mut Operation<'_>,
        campaign: &mut Campaign,
        frozen: Option<SegmentRules>,
    ) -> Result<()> {
        let now = operation.now();
        campaign.rules = frozen;
        campaign.launched_at = Some(now);
        campaign.launched_by_type = Some(by.actor.kind().to_owned());
        campaign.launched_by_id = by.actor.id();
        match campaign.schedule_at.filter(|at| *at > now) {
            Some(at) => {
                campaign.status = decide::after(campaign.status, Step::Schedule)?;
                operation.insert(&CampaignRun::of(campaign, RunStep::Scheduled, at, now));
            }
            None => {
                campaign.status = decide::after(campaign.status, Step::Launch)?;
                self.begin(by, operation, campaign)?;
                operation.insert(&CampaignRun::of(campaign, RunStep::Planning, now, now));
            }
        }
        Ok(())
    }

    /// Has it planned, from now on.
    pub(super) fn begin(self, by: &Principal, operation: &mut Operation<'_>, campaign: &mut Campaign) -> Result<()> {
        let now = operation.now();
        campaign.status = CampaignStatus::Sending;
        campaign.as_of = Some(now);
        campaign.started_at = Some(now);
        campaign.plan_job_id = Some(self.crm.jobs().enqueue(by, operation, plan::job(campaign.id))?.id);
        Ok(())
    }

    /// Sends nothing for now. Whatever is in somebody's hands still leaves; within two seconds nothing more does. The plan
    /// goes on being made.
    ///
    /// # Errors
    /// [`Error::InvalidState`] where it is not being sent, [`Error::NotFound`], [`Error::VersionConflict`],
    /// [`Error::Forbidden`] without `campaigns:send`.
    pub async fn pause(&self, by: &Principal, id: CampaignId, expected_version: Option<i64>) -> Result<Campaign> {
        self.step(by, id, expected_version, Step::Pause).await
    }

    /// Sends again. At a pace, what was not sent while it was paused is not made up for.
    ///
    /// # Errors
    /// Those of [`Campaigns::pause`]; [`Error::InvalidState`] where it is not paused.
    pub async fn resume(&self, by: &Principal, id: CampaignId, expected_version: Option<i64>) -> Result<Campaign> {
        self.step(by, id, expected_version, Step::Resume).await
    }

    /// Ends it: what has not left is given up, a few thousand a second, and counts as suppressed.
    ///
    /// # Errors
    /// Those of [`Campaigns::pause`]; [`Error::InvalidState`] for a draft, and where it has ended.
    pub async fn cancel(&self, by: &Principal, id: CampaignId, expected_version: Option<i64>) -> Result<Campaign> {
        self.step(by, id, expected_version, Step::Cancel).await
    }

    async fn step(
        &self,
        by: &Principal,
        id: CampaignId,
        expected_version: Option<i64>,
        step: Step,
    ) -> Result<Campaign> {
        by.may(CAMPAIGNS_SEND)?;
        for _ in 0..TRIES {
            let before = self.stored(by, id).await?;
            before.meta.expect(expected_version)?;
            let mut operation = Operation::new(self.crm, by);
            let now = operation.now();
            let mut after = before.clone();
            after.status = decide::after(before.status, step)?;
            after.paused_at = (step == Step::Pause).then_some(now);
            let name = match step {
                Step::Pause => {
                    let held = vec![CampaignRun::paused.set(true), CampaignRun::due_at.set(None)];
                    operation.change(CampaignRun::change(id, held, now));
                    "campaign.paused"
                }
                Step::Resume => {
                    let let_go = vec![CampaignRun::paused.set(false), CampaignRun::due_at.set(now)];
                    operation.change(CampaignRun::change(id, let_go, now));
                    "campaign.resumed"
                }
                _ => {
                    after.finished_at = Some(now);
                    operation.change(if before.status == CampaignStatus::Scheduled {
                        Change::DeleteWhere { collection: CampaignRun::COLLECTION, filter: ID.equals(id) }
                    } else {
                        let given_up = vec![
                            CampaignRun::step.set(RunStep::Cancelling),
                            CampaignRun::paused.set(false),
                            CampaignRun::due_at.set(now),
                        ];
                        CampaignRun::change(id, given_up, now)
                    });
                    "campaign.cancelled"
                }
            };
            operation.update(&before, &mut after);
            let what = |campaign: &Campaign| json!({"status": campaign.status});
            operation.audit::<Campaign>(name, id, Some(what(&before)), Some(what(&after)));
            operation.emit(name, &after, &told(&after));
            match operation.commit().await {
                Ok(_) => {
                    self.crm.campaign_hint().notify_one();
                    return Ok(after);
                }
                Err(Error::VersionConflict { .. }) if expected_version.is_none() => {}
                Err(error) => return Err(error),
            }
        }
        Err(busy())
    }
}
