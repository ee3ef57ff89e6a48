use std::{collections::HashSet, sync::LazyLock};

use serde_json::{json, value::RawValue};

use super::{
    Campaign, CampaignChannel, CampaignDetail, CampaignId, CampaignProgress, CampaignStatistics, CampaignStatus,
    ChangedCampaign, Communication, CommunicationStatus, NewCampaign, ReplacedCampaign,
    decide::{self, Step},
    input::Draft,
    message::Messages,
};
use crate::{
    access::{
        Actor, Principal, Visibility,
        permissions::{CAMPAIGNS_READ, CAMPAIGNS_SEND, CAMPAIGNS_WRITE},
    },
    crm::Crm,
    customer::Customer,
    error::{Error, FieldErrors, Result},
    id::CustomerId,
    list::{self, List, ListRequest, Listing},
    operation::Operation,
    record::{CREATED_AT, ID, Meta, Record as _},
    repo::Visible as _,
    rule::{Catalog, CatalogField, Rule},
    segment::{Segment, SegmentRules},
    store::Query,
};

/// A change without an expected version is decided so often, while others change the record.
pub(super) const TRIES: usize = 10;
/// The refusal of a campaign that is not there.
pub(super) const MISSING: Error = Error::NotFound("campaign");

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| {
    Catalog::new(Campaign::COLLECTION)
        .with(CatalogField::column(CREATED_AT))
        .with(CatalogField::column(Campaign::name))
        .with(CatalogField::column(Campaign::status).options(CampaignStatus::ALL.map(CampaignStatus::name)))
        .with(CatalogField::column(Campaign::channel).options(CampaignChannel::ALL.map(CampaignChannel::name)))
        .with(CatalogField::column(Campaign::segment_id))
        .with(CatalogField::column(Campaign::topic))
        .with(CatalogField::column(Campaign::schedule_at))
        .with(CatalogField::column(Campaign::audience))
        .with(CatalogField::column(Campaign::launched_at))
        .with(CatalogField::column(Campaign::finished_at))
        .with(CatalogField::column(Campaign::created_by))
});

/// The fields of a campaign as it is shown.
const SHOWN: [&str; 31] = [
    "id",
    "organization_id",
    "name",
    "description",
    "segment_id",
    "rules_json",
    "channel",
    "message",
    "subject",
    "template",
    "topic",
    "schedule_at",
    "throttle_per_minute",
    "window",
    "spread_hours",
    "variants",
    "holdout_percent",
    "status",
    "as_of",
    "audience",
    "launched_at",
    "started_at",
    "planned_at",
    "paused_at",
    "finished_at",
    "reason",
    "plan_job_id",
    "created_by",
    "version",
    "created_at",
    "updated_at",
];

static COMMUNICATIONS: LazyLock<Catalog> = LazyLock::new(|| {
    Catalog::new(Communication::COLLECTION)
        .with(
            CatalogField::column(Communication::status)
                .options(CommunicationStatus::ALL.map(CommunicationStatus::name)),
        )
        .with(CatalogField::column(Communication::variant))
        .with(CatalogField::column(Communication::customer_id))
        .with(CatalogField::column(Communication::vendor_message_id))
        .with(CatalogField::column(Communication::reason))
        .with(CatalogField::column(Communication::attempts))
        .with(CatalogField::column(Communication::sent_at))
});

/// The fields of a communication as it is shown.
const COMMUNICATION_SHOWN: [&str; 22] = [
    "id",
    "organization_id",
    "campaign_id",
    "customer_id",
    "channel",
    "variant",
    "sequence",
    "address",
    "subject",
    "message",
    "status",
    "due_at",
    "attempts",
    "vendor_message_id",
    "reason",
    "sent_at",
    "delivered_at",
    "read_at",
    "failed_at",
    "version",
    "created_at",
    "updated_at",
];

/// The campaigns of an organization.
#[derive(Clone, Copy, Debug)]
pub struct Campaigns<'a> {
    pub(super) crm: &'a Crm,
}

impl Crm {
    /// Messages to many customers.
    #[must_use]
    pub const fn campaigns(&self) -> Campaigns<'_> {
        Campaigns { crm: self }
    }
}

impl Campaigns<'_> {
    /// What a list of campaigns can be asked.
    #[must_use]
    pub fn listing() -> Listing<'static> {
        Listing::new(&CATALOG).sortable(&["created_at"]).fields(&SHOWN)
    }

    /// What a list of communications can be asked.
    #[must_use]
    pub fn communication_listing() -> Listing<'static> {
        Listing::new(&COMMUNICATIONS).sortable(&[]).fields(&COMMUNICATION_SHOWN)
    }

    /// The organization's campaigns, newest first where no order is asked for.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `campaigns:read`; those of the store.
    pub async fn list(&self, by: &Principal, request: &ListRequest) -> Result<List<Campaign>> {
        by.may(CAMPAIGNS_READ)?;
        list::everything(self.crm, by, request, crate::store::Filter::ALL).await
    }

    /// One campaign with its figures and the first page of its communications.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `campaigns:read`, [`Error::NotFound`].
    pub async fn get(&self, by: &Principal, id: CampaignId) -> Result<CampaignDetail> {
        let CampaignProgress { campaign, statistics } = self.progress(by, id).await?;
        let first = self.page(by, id, &ListRequest::default()).await?;
        Ok(CampaignDetail { campaign, statistics, communications: first.data, next_cursor: first.page.next_cursor })
    }

    /// A campaign with its figures, for those who look again and again.
    ///
    /// # Errors
    /// As in [`Self::get`].
    pub async fn progress(&self, by: &Principal, id: CampaignId) -> Result<CampaignProgress> {
        by.may(CAMPAIGNS_READ)?;
        let campaign = self.stored(by, id).await?;
        let statistics = CampaignStatistics::of(self.crm, by.scope(), id).await?;
        Ok(CampaignProgress { campaign, statistics })
    }

    /// The communications of a campaign, in the order of the plan. Who sees only a team's customers is shown only
    /// theirs: a page may then hold fewer than were asked for, though more follow.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `campaigns:read`, [`Error::NotFound`]; those of the store.
    pub async fn communications(
        &self,
        by: &Principal,
        id: CampaignId,
        request: &ListRequest,
    ) -> Result<List<Communication>> {
        by.may(CAMPAIGNS_READ)?;
        self.stored(by, id).await?;
        self.page(by, id, request).await
    }

    async fn page(&self, by: &Principal, id: CampaignId, request: &ListRequest) -> Result<List<Communication>> {
        // By id, which is the order of the plan.
        let request = ListRequest { sort: Vec::new(), ..request.clone() };
        let mut page: List<Communication> =
            list::everything(self.crm, by, &request, Communication::campaign_id.equals(id)).await?;
        if by.visibility != Visibility::All && !page.data.is_empty() {
            let ids = page.data.iter().map(|one| one.customer_id.into());
            let query = Query::new(Customer::visible_to(by).and(ID.one_of(ids)), page.data.len());
            let found = self.crm.repo::<Customer>().find(by.scope(), &query).await?.records;
            let seen: HashSet<CustomerId> = found.into_iter().map(|customer| customer.id).collect();
            page.data.retain(|one| seen.contains(&one.customer_id));
        }
        Ok(page)
    }

    /// Writes a campaign: as a draft, or launched at once.
    ///
    /// # Errors
    /// [`Error::Invalid`] with every wrong field, [`Error::Forbidden`] without `campaigns:write`, and without
    /// `campaigns:send` where it is to be launched; those of [`Campaigns::launch`].
    pub async fn create(&self, by: &Principal, new: NewCampaign) -> Result<Campaign> {
        by.may(CAMPAIGNS_WRITE)?;
        let launch = new.launch;
        if launch {
            by.may(CAMPAIGNS_SEND)?;
        }
        let draft = Draft::from(new);
        let rules = self.check(by, &draft).await?;
        let now = self.crm.now();
        let created_by = match by.actor {
            Actor::User(user) => Some(user),
            _ => None,
        };
        let mut campaign = Campaign {
            id: self.crm.new_id_at(now),
            name: draft.name.clone(),
            description: None,
            segment_id: None,
            rules: None,
            channel: draft.channel,
            message: draft.message.clone(),
            subject: None,
            template: None,
            topic: None,
            schedule_at: None,
            throttle_per_minute: None,
            window: None,
            spread_hours: None,
            variants: super::CampaignVariants::default(),
            holdout_percent: None,
            status: CampaignStatus::Draft,
            as_of: None,
            audience: None,
            launched_at: None,
            launched_by_type: None,
            launched_by_id: None,
            started_at: None,
            planned_at: None,
            paused_at: None,
            finished_at: None,
            reason: None,
            plan_job_id: None,
            created_by,
            meta: Meta::new(by.organization, now),
        };
        draft.put_into(&mut campaign, rules);
        let mut operation = Operation::at(self.crm, by, now);
        operation.audit::<Campaign>("campaign.created", campaign.id, None, Some(json!(campaign)));
        operation.emit("campaign.created", &campaign, &told(&campaign));
        if launch {
            self.reach(by, campaign.channel).await?;
            let frozen = self.frozen(by, &campaign).await?;
            self.put_on(by, &mut operation, &mut campaign, frozen)?;
            operation.audit::<Campaign>("campaign.launched", campaign.id, None, Some(json!(told(&campaign))));
            // One commit, one version; of two events of one record, the second has the next.
            let version = campaign.meta.version + 1;
            let collection = Campaign::COLLECTION.name;
            operation.emit_named("campaign.launched", collection, campaign.id.0, version, &told(&campaign));
        }
        operation.insert(&campaign);
        operation.commit().await?;
        self.crm.campaign_hint().notify_one();
        Ok(campaign)
    }

    /// Replaces what a draft says.
    ///
    /// # Errors
    /// Those of [`Campaigns::create`]; [`Error::InvalidState`] where it is no draft any more, [`Error::NotFound`],
    /// [`Error::VersionConflict`].
    pub async fn replace(
        &self,
        by: &Principal,
        id: CampaignId,
        expected_version: Option<i64>,
        input: ReplacedCampaign,
    ) -> Result<Campaign> {
        let draft = Draft::from(input);
        self.rewrite(by, id, expected_version, |_| draft.clone()).await
    }

    /// Changes some of what a draft says.
    ///
    /// # Errors
    /// Those of [`Campaigns::replace`].
    pub async fn change(
        &self,
        by: &Principal,
        id: CampaignId,
        expected_version: Option<i64>,
        changed: ChangedCampaign,
    ) -> Result<Campaign> {
        self.rewrite(by, id, expected_version, |before| changed.clone().apply(before)).await
    }

    async fn rewrite(
        &self,
        by: &Principal,
        id: CampaignId,
        expected_version: Option<i64>,
        decide: impl Fn(Draft) -> Draft,
    ) -> Result<Campaign> {
        by.may(CAMPAIGNS_WRITE)?;
        for _ in 0..TRIES {
            let before = self.stored(by, id).await?;
            before.meta.expect(expected_version)?;
            decide::after(before.status, Step::Change)?;
            let draft = decide(Draft::of(&before)?);
            let rules = self.check(by, &draft).await?;
            let mut after = before.clone();
            draft.put_into(&mut after, rules);
            let mut operation = Operation::new(self.crm, by);
            if !operation.update(&before, &mut after) {
                return Ok(before);
            }
            operation.audit::<Campaign>("campaign.updated", id, Some(json!(before)), Some(json!(after)));
            operation.emit("campaign.updated", &after, &told(&after));
            match operation.commit().await {
                Ok(_) => return Ok(after),
                Err(Error::VersionConflict { .. }) if expected_version.is_none() => {}
                Err(error) => return Err(error),
            }
        }
        Err(busy())
    }

    /// Removes a draft.
    ///
    /// # Errors
    /// [`Error::InvalidState`] where it is no draft any more, [`Error::NotFound`], [`Error::VersionConflict`],
    /// [`Error::Forbidden`] without `campaigns:write`.
    pub async fn remove(&self, by: &Principal, id: CampaignId, expected_version: Option<i64>) -> Result<()> {
        by.may(CAMPAIGNS_WRITE)?;
        for _ in 0..TRIES {
            let campaign = self.stored(by, id).await?;
            campaign.meta.expect(expected_version)?;
            decide::after(campaign.status, Step::Delete)?;
            let mut operation = Operation::new(self.crm, by);
            operation.delete(&campaign);
            operation.audit::<Campaign>("campaign.deleted", id, Some(json!(campaign)), None);
            let version = campaign.meta.version + 1;
            operation.emit_named("campaign.deleted", Campaign::COLLECTION.name, id.0, version, &json!({"id": id}));
            match operation.commit().await {
                Ok(_) => return Ok(()),
                Err(Error::VersionConflict { .. }) if expected_version.is_none() => {}
                Err(error) => return Err(error),
            }
        }
        Err(busy())
    }

    pub(super) async fn stored(&self, by: &Principal, id: CampaignId) -> Result<Campaign> {
        self.crm.repo::<Campaign>().get(by.scope(), id).await?.ok_or(MISSING)
    }

    /// Checks a draft against what there is in the organization; answers its rules in their one form.
    pub(super) async fn check(&self, by: &Principal, draft: &Draft) -> Result<Option<SegmentRules>> {
        let mut errors = FieldErrors::new();
        let mut rules = None;
        match (draft.segment_id, &draft.rules) {
            (Some(_), Some(_)) => {
                errors.add("rules_json", "INVALID_VALUE", "must not be given together with segment_id: choose one");
            }
            (None, None) => {
                errors.add("rules_json", "REQUIRED", "is required, or segment_id in its place");
            }
            (Some(segment), None) => {
                if self.crm.repo::<Segment>().get(by.scope(), segment).await?.is_none() {
                    errors.add("segment_id", "NOT_FOUND", "there is no such segment");
                }
            }
            (None, Some(given)) => {
                let catalog = self.crm.customers().catalog(by).await?;
                let rule = errors.take("", Rule::from_json(given, &catalog, "rules_json"));
                rules = rule.as_ref().map(SegmentRules::from);
            }
        }
        let context = self.crm.customers().context(by).await?;
        errors.take("", Messages::read(draft, &context.fields));
        if draft.channel == CampaignChannel::Email {
            let without = draft.variants.0.is_empty() || draft.variants.0.iter().any(|one| one.subject.is_none());
            if draft.subject.is_none() && without {
                errors.add("subject", "REQUIRED", "is required for e-mails");
            }
        }
        Ok(errors.or(rules)?)
    }
}

impl Draft {
    /// What a campaign says.
    pub(super) fn of(campaign: &Campaign) -> Result<Self> {
        let rules = campaign.rules.as_ref().map(|rules| RawValue::from_string(rules.as_str().to_owned()));
        Ok(Self {
            name: campaign.name.clone(),
            description: campaign.description.clone(),
            segment_id: campaign.segment_id,
            rules: rules.transpose().map_err(Error::internal)?,
            channel: campaign.channel,
            message: campaign.message.clone(),
            subject: campaign.subject.clone(),
            template: campaign.template.clone(),
            topic: campaign.topic.clone(),
            schedule_at: campaign.schedule_at,
            throttle_per_minute: campaign.throttle_per_minute,
            window: campaign.window.clone(),
            spread_hours: campaign.spread_hours,
            variants: campaign.variants.clone(),
            holdout_percent: campaign.holdout_percent,
        })
    }

    fn put_into(self, campaign: &mut Campaign, rules: Option<SegmentRules>) {
        campaign.name = self.name;
        campaign.description = self.description;
        campaign.segment_id = self.segment_id;
        campaign.rules = rules;
        campaign.channel = self.channel;
        campaign.message = self.message;
        campaign.subject = self.subject;
        campaign.template = self.template;
        campaign.topic = self.topic;
        campaign.schedule_at = self.schedule_at;
        campaign.throttle_per_minute = self.throttle_per_minute;
        campaign.window = self.window;
        campaign.spread_hours = self.spread_hours;
        campaign.variants = self.variants;
        campaign.holdout_percent = self.holdout_percent;
    }
}

/// The refusal of what many change at once.
pub(super) fn busy() -> Error {
    Error::Conflict("The record is being changed by many at once: try again.".to_owned())
}

/// What an event tells of a campaign.
pub(super) fn told(campaign: &Campaign) -> serde_json::Value {
    json!({
        "id": campaign.id, "name": campaign.name, "channel": campaign.channel, "status": campaign.status,
        "audience": campaign.audience,
    })
}
