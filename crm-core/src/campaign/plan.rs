//! Finds out who gets what of a campaign, a chunk a commit.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Campaign, CampaignChannel, CampaignId, Communication, CommunicationId, CommunicationStage, CommunicationStatus,
    HOLDOUT, admission,
    message::Messages,
    run::{CampaignRun, RunStep},
    template::RenderContext,
    variant::{self, Share},
    window::Timetable,
};
use crate::{
    access::permissions::{CAMPAIGNS_SEND, CUSTOMERS_READ},
    customer::Customer,
    delivery::Candidate,
    error::{Error, Result},
    field::FieldSet,
    id::CustomerId,
    job::{Job, JobContext, JobFailure, JobHandler, JobOutcome, JobPriority, JobProgress, JobState, NewJob},
    operation::Operation,
    record::{ID, Meta, Record as _, UPDATED_AT},
    repo::{Found, Visible as _},
    rule::Rule,
    store::{Change, Filter, Position, Query},
    tenancy::Organization,
    time::Timestamp,
};

/// The kind of these jobs.
const KIND: &str = "campaign_plan";
/// The version of their input.
const VERSION: i64 = 1;
/// About so many bytes of communications are planned in one commit, of a few customers at least and so many at most.
const CHUNK_BYTES: usize = 2 << 20;
const LEAST: usize = 200;
const MOST: usize = 4000;
/// What a communication has besides its message, about.
const COMMUNICATION_BYTES: usize = 400;

/// What the job is given.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(super) struct PlanInput {
    campaign_id: CampaignId,
}

/// The job that plans a campaign.
pub(super) fn job(id: CampaignId) -> NewJob<'static, PlanInput> {
    NewJob {
        kind: KIND,
        version: VERSION,
        input: PlanInput { campaign_id: id },
        priority: JobPriority::Normal,
        about: Some((Campaign::COLLECTION.name, id.0)),
        progress: JobProgress { unit: "customers".to_owned(), ..JobProgress::default() },
    }
}

/// Plans campaigns.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PlanHandler;

#[async_trait]
impl JobHandler for PlanHandler {
    fn kind(&self) -> &'static str {
        KIND
    }

    async fn run(&self, context: &JobContext) -> Result<JobOutcome, JobFailure> {
        let PlanInput { campaign_id } = context.input()?;
        let (crm, by) = (context.crm(), context.by());
        let campaign = crm.campaigns().stored(by, campaign_id).await?;
        let Some(run) = planning(context, campaign_id).await? else { return Ok(over(&campaign)) };
        by.may(CAMPAIGNS_SEND)?;
        by.may(CUSTOMERS_READ)?;
        let fields = crm.customers().context(by).await?.fields;
        let organization = crm.organizations().settings(by).await?;
        let filter = audience(context, &campaign).await?;
        let planner = Planner::new(context, campaign, &fields, organization, filter)?;
        match planner.plan(run).await {
            // Somebody ended the campaign meanwhile.
            Err(error) if planning(context, campaign_id).await?.is_none() => {
                tracing::debug!(error = &error as &dyn std::error::Error, "the campaign is not planned any further");
                Ok(over(&planner.campaign))
            }
            ended => ended,
        }
    }

    fn ended(&self, job: &Job, operation: &mut Operation<'_>) {
        let reason = match job.state {
            JobState::Failed => job.error.as_ref().map_or_else(String::new, |error| error.message.clone()),
            JobState::Cancelled => "The job that plans it was cancelled.".to_owned(),
            _ => return,
        };
        let Some(id) = job.record_id else { return };
        let now = operation.now();
        let assignments = vec![
            CampaignRun::step.set(RunStep::Failing),
            CampaignRun::paused.set(false),
            CampaignRun::reason.set(Some(reason)),
            CampaignRun::due_at.set(now),
            UPDATED_AT.set(now),
        ];
        operation.change(Change::UpdateWhere {
            collection: CampaignRun::COLLECTION,
            filter: ID.equals(id).and(CampaignRun::step.equals(RunStep::Planning)),
            assignments,
        });
    }
}

/// The run of the campaign, while it is to be planned.
async fn planning(context: &JobContext, id: CampaignId) -> Result<Option<CampaignRun>> {
    let run = context.crm().repo::<CampaignRun>().get(context.by().scope(), id).await?;
    Ok(run.filter(|run| run.step == RunStep::Planning))
}

fn over(campaign: &Campaign) -> JobOutcome {
    JobOutcome::Done(json!({"campaign_id": campaign.id, "audience": campaign.audience}))
}

/// The customers that the campaign goes to: those in sight of who launched it.
async fn audience(context: &JobContext, campaign: &Campaign) -> Result<Filter> {
    let (crm, by) = (context.crm(), context.by());
    let as_of = campaign.as_of.unwrap_or_else(|| crm.now());
    match (&campaign.rules, campaign.segment_id) {
        (Some(rules), _) => {
            let catalog = crm.customers().catalog(by).await?;
            let rule = Rule::parse(rules.as_str(), &catalog, "rules_json")?;
            Ok(Customer::visible_to(by).and(rule.filter(as_of)))
        }
        (None, Some(segment)) => Ok(crm.segments().audience(by, segment).await?.filter),
        (None, None) => Err(Error::InvalidState("The campaign has no rules.".to_owned())),
    }
}

/// Where a customer is reached on a channel.
pub(super) fn address(channel: CampaignChannel, customer: &Customer) -> Option<String> {
    match channel {
        CampaignChannel::Email => customer.email.as_ref().map(|email| email.as_str().to_owned()),
        CampaignChannel::Sms | CampaignChannel::Whatsapp => {
            customer.phone.as_ref().map(|phone| phone.as_str().to_owned())
        }
        CampaignChannel::Mock | CampaignChannel::Webhook => Some(customer.id.to_string()),
    }
}

/// What is known of a customer when the message is written.
type Planned<'a> = ((i64, CommunicationId), ((&'a Customer, Option<String>), Option<&'static str>));

/// Some customers' communications, and how far the plan is with them.
struct Chunk {
    communications: Vec<Communication>,
    /// The last of the customers.
    place: Option<CustomerId>,
    planned: i64,
    /// Whether there are customers after them.
    more: bool,
    now: Timestamp,
}

struct Planner<'a> {
    context: &'a JobContext,
    campaign: Campaign,
    messages: Messages,
    organization: Arc<Organization>,
    filter: Filter,
}

impl<'a> Planner<'a> {
    fn new(
        context: &'a JobContext,
        campaign: Campaign,
        fields: &FieldSet,
        organization: Arc<Organization>,
        filter: Filter,
    ) -> Result<Self> {
        let messages = Messages::of(&campaign, fields)?;
        Ok(Self { context, campaign, messages, organization, filter })
    }

    /// Goes through the audience by id, from where the run before got to. While a chunk is written the next is read and
    /// its messages are made.
    async fn plan(&self, run: CampaignRun) -> Result<JobOutcome, JobFailure> {
        let (crm, by) = (self.context.crm(), self.context.by());
        let total = match self.context.job().progress.total {
            Some(total) => Some(total),
            None => Some(crm.repo::<Customer>().count(by.scope(), &self.filter).await?),
        };
        let mut chunk = self.chunk(run.place, run.planned).await?;
        loop {
            if self.context.interruption().is_some() {
                return Ok(JobOutcome::Interrupted);
            }
            let shown = u64::try_from(chunk.planned).unwrap_or(0);
            self.context.show(shown, total.map(|total| total.max(shown)), "customers", None);
            let (place, planned) = (chunk.place, chunk.planned);
            let operation = self.operation(&chunk);
            let next = async { if chunk.more { self.chunk(place, planned).await.map(Some) } else { Ok(None) } };
            let (written, next) = futures::join!(self.context.checkpoint(operation), next);
            written?;
            crm.campaign_hint().notify_one();
            match next? {
                Some(next) => chunk = next,
                None => return Ok(JobOutcome::Done(json!({"campaign_id": self.campaign.id, "audience": planned}))),
            }
        }
    }

    /// What the customers get who come after that one, where so many are planned before them.
    async fn chunk(&self, after: Option<CustomerId>, planned: i64) -> Result<Chunk> {
        let found = self.read(after).await?;
        let now = self.context.crm().now();
        let communications = self.communications(&found.records, planned, now).await?;
        Ok(Chunk {
            place: found.records.last().map(|customer| customer.id).or(after),
            planned: planned + i64::try_from(communications.len()).unwrap_or(0),
            more: found.has_more,
            communications,
            now,
        })
    }

    async fn read(&self, after: Option<CustomerId>) -> Result<Found<Customer>> {
        let mut query = Query::new(self.filter.clone(), self.most());
        query.after = after.map(|id| Position::of_id(id.0));
        self.context.crm().repo::<Customer>().find(self.context.by().scope(), &query).await
    }

    /// How many customers a chunk has: fewer where messages are long.
    fn most(&self) -> usize {
        let variants = self.campaign.variants.0.iter().filter_map(|variant| variant.message.as_ref());
        let longest = variants.map(|message| message.len()).chain([self.campaign.message.len()]).max().unwrap_or(0);
        (CHUNK_BYTES / (longest + COMMUNICATION_BYTES)).clamp(LEAST, MOST)
    }

    /// The commit of a chunk: its communications and how far the plan is, if it is still to be made.
    fn operation(&self, chunk: &Chunk) -> Operation<'_> {
        let Chunk { communications, place, planned, now, .. } = chunk;
        let (planned, now) = (*planned, *now);
        let mut operation = Operation::at(self.context.crm(), self.context.by(), now);
        let id = self.campaign.id;
        operation.insert_all(communications);
        let mut assignments =
            vec![CampaignRun::place.set(*place), CampaignRun::planned.set(planned), CampaignRun::due_at.set(now)];
        if !chunk.more {
            assignments.push(CampaignRun::step.set(RunStep::Planned));
            operation.change(Change::UpdateWhere {
                collection: Campaign::COLLECTION,
                filter: ID.equals(id),
                assignments: vec![Campaign::audience.set(planned), Campaign::planned_at.set(now), UPDATED_AT.set(now)],
            });
        }
        operation.change(CampaignRun::at_step(id, RunStep::Planning, assignments, now));
        operation
    }

    /// What the customers of a chunk get.
    async fn communications(&self, customers: &[Customer], planned: i64, now: Timestamp) -> Result<Vec<Communication>> {
        let crm = self.context.crm();
        let campaign = &self.campaign;
        let addresses: Vec<Option<String>> =
            customers.iter().map(|customer| address(campaign.channel, customer)).collect();
        let candidates: Vec<Candidate<'_>> = customers
            .iter()
            .zip(&addresses)
            .map(|(customer, address)| Candidate {
                customer,
                reference: customer.id.into(),
                address: address.as_deref().unwrap_or_default(),
            })
            .collect();
        let topic = campaign.topic.as_deref();
        let by = self.context.by();
        let refusals = crm.deliveries().may_plan(by, campaign.channel, topic, &candidates).await?;
        let zone = &self.organization.time_zone;
        let mut timetable =
            Timetable::new(campaign.as_of.unwrap_or(now), campaign.window.as_ref(), campaign.spread_hours, zone);
        // Those of one instant are in no order by themselves; the order of the plan is that of the ids.
        let mut ids: Vec<CommunicationId> = customers.iter().map(|_| crm.new_id_at(now)).collect();
        ids.sort_unstable();
        let plan = |((sequence, id), ((customer, address), refusal)): Planned<'_>| {
            let share = variant::share(campaign.id, customer.id, campaign.holdout_percent, &campaign.variants.0);
            let reason = match (share, &address) {
                (Share::Holdout, _) => Some(HOLDOUT),
                (_, None) => Some("no_address"),
                _ => refusal,
            };
            let (place, variant) = match share {
                Share::Holdout => (None, Some(HOLDOUT.to_owned())),
                Share::Whole => (None, None),
                Share::Variant(place) => {
                    (Some(place), campaign.variants.0.get(place).map(|variant| variant.name.to_string()))
                }
            };
            let rendered = reason.is_none().then(|| {
                let url = admission::unsubscribe_url(crm, campaign, customer.id);
                let context = RenderContext { organization: &self.organization, unsubscribe_url: url.as_deref() };
                self.messages.render(customer, place, campaign.channel, &context)
            });
            let (subject, message) = rendered.map_or((None, String::new()), |one| (one.subject, one.text));
            let due_at = timetable.due(campaign.id, customer);
            Communication {
                id,
                campaign_id: campaign.id,
                customer_id: customer.id,
                channel: campaign.channel,
                variant,
                sequence,
                address: address.unwrap_or_default(),
                subject,
                message,
                status: if reason.is_none() { CommunicationStatus::Queued } else { CommunicationStatus::Suppressed },
                stage: reason.is_none().then_some(CommunicationStage::Waiting),
                due_at: reason.is_none().then_some(due_at),
                holder: None,
                attempts: 0,
                vendor_message_id: None,
                reason: reason.map(str::to_owned),
                sent_at: None,
                confirmed_at: None,
                delivered_at: None,
                read_at: None,
                failed_at: None,
                meta: Meta::new(campaign.meta.organization_id, now),
            }
        };
        Ok((planned + 1..).zip(ids).zip(customers.iter().zip(addresses).zip(refusals)).map(plan).collect())
    }
}
