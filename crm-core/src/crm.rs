//! The CRM: a store and the ports, put together.

use std::{
    collections::HashMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::Notify;

use crate::{
    account::{
        AccountSettings, AccountState, Accounts, Agents, ApiKey, ApiKeys, LoginRecord, RefreshToken, Session, User,
    },
    audit::{Audit, AuditEntry},
    background::{self, CleaningHandler},
    campaign::{Campaign, CampaignRun, Communication, PlanHandler},
    complaint::Complaint,
    customer::{
        BulkChange, BulkHandler, BulkNote, BulkUndoHandler, ContactPoint, CreateHandler, Customer, CustomerGroup,
        CustomerMerge, CustomerMergeMove, ExportPlaces, Note, PurgeHandler,
        import::{CustomerImport, ImportHandler, ImportMapping, ImportPart, RevertHandler},
    },
    delivery::{
        ConsentEntry, ContactTally, DeliverySettings, MockMessage, MockReceipt, MockVendor, MockVendorSettings,
        ParkedReceipt, Suppression, WebhookChannel,
    },
    event::Event,
    field::{CustomField, FieldSets, FieldWorkHandler, Fields, UniqueValue},
    hint::Hints,
    id::{RecordId, new_uuid},
    idempotency::ClaimRecord,
    job::{Firing, Job, JobHandler, JobHandlers, JobPayload, RunningJobs, Schedule},
    lease::Lease,
    limit::Limits,
    list::CursorKey,
    order::{Order, OrderHandler},
    personal_data::ErasureHandler,
    port::{
        Channel, Channels, Clock, EventSink, InProcessJobSignal, JobSignal, LanguageModel, OperatingSystemRandom,
        Outbound, Random, RecordService, RequestLimiter, SystemClock,
        cache::{Cache, SharedCache},
        queue::SharedQueue,
    },
    record::Record,
    related::{LastAnswers, RelatedKind},
    repo::Repo,
    segment::{FreezeHandler, Segment, SegmentCount, SegmentMember, SegmentRemovalHandler, SegmentVersion},
    statistics::{
        Cuts,
        verification::{AllHandler, VerificationHandler, VerificationProgress},
    },
    store::{Collection, SharedStore, Store},
    tenancy::{Organization, OrganizationCache, Organizations, Team, Teams},
    time::Timestamp,
    turn::Turns,
    webhook::{Webhook, WebhookDelivery, WebhookLane},
};

/// The CRM over one store. Cheap to clone; every clone is the same CRM.
#[derive(Clone)]
pub struct Crm {
    inner: Arc<Inner>,
}

struct Inner {
    store: SharedStore,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    event_sinks: Vec<Arc<dyn EventSink>>,
    cursor_key: CursorKey,
    turns: Turns,
    audit_hint: Notify,
    event_hint: Notify,
    limits: Limits,
    cache: Option<SharedCache>,
    hints: Hints,
    outbound: Option<Arc<dyn Outbound>>,
    language_model: Option<Arc<dyn LanguageModel>>,
    channels: Channels,
    mock_vendor: Option<MockVendorSettings>,
    delivery: DeliverySettings,
    queue: Option<SharedQueue>,
    delivery_hint: Notify,
    campaign_hint: Notify,
    field_sets: FieldSets,
    rfm_cuts: Cuts,
    accounts: AccountState,
    organizations: OrganizationCache,
    job_handlers: JobHandlers,
    schedules: Vec<Schedule>,
    job_signal: Arc<dyn JobSignal>,
    job_workers: usize,
    running_jobs: RunningJobs,
    exports: ExportPlaces,
    temporary_folder: PathBuf,
    record_services: HashMap<RelatedKind, Arc<dyn RecordService>>,
    last_answers: LastAnswers,
}

impl fmt::Debug for Crm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crm").field("engine", &self.inner.store.engine()).finish_non_exhaustive()
    }
}

/// Puts a CRM together.
#[derive(Clone)]
pub struct CrmBuilder {
    store: SharedStore,
    limiter: Option<Arc<dyn RequestLimiter>>,
    cache: Option<SharedCache>,
    outbound: Option<Arc<dyn Outbound>>,
    language_model: Option<Arc<dyn LanguageModel>>,
    channels: Channels,
    mock_vendor: Option<MockVendorSettings>,
    delivery: DeliverySettings,
    queue: Option<SharedQueue>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    event_sinks: Vec<Arc<dyn EventSink>>,
    accounts: Option<AccountSettings>,
    job_handlers: JobHandlers,
    schedules: Vec<Schedule>,
    job_signal: Arc<dyn JobSignal>,
    job_workers: usize,
    temporary_folder: PathBuf,
    record_services: HashMap<RelatedKind, Arc<dyn RecordService>>,
}

impl fmt::Debug for CrmBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CrmBuilder").field("engine", &self.store.engine()).finish_non_exhaustive()
    }
}

impl CrmBuilder {
    /// With another clock than the machine's.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// With another source of randomness than the operating system.
    #[must_use]
    pub fn random(mut self, random: impl Random) -> Self {
        self.random = Arc::new(random);
        self
    }

    /// With one more place where events go.
    #[must_use]
    pub fn event_sink(mut self, sink: impl EventSink) -> Self {
        self.event_sinks.push(Arc::new(sink));
        self
    }

    /// With rate limits that all processes share. Without, each process counts for itself. See [`Limits`] for what
    /// happens while it does not answer.
    #[must_use]
    pub fn limiter(mut self, limiter: impl RequestLimiter) -> Self {
        self.limiter = Some(Arc::new(limiter));
        self
    }

    /// With a cache through which processes tell each other what has changed. Without, and while it does not answer, each
    /// believes what it has looked up for at most five seconds.
    #[must_use]
    pub fn cache(mut self, cache: impl Cache) -> Self {
        self.cache = Some(Arc::new(cache));
        self
    }

    /// With a queue that events and the work of campaigns go through, to any process that runs the background work.
    /// Without, whichever process relays an event deals with it itself, and each looks for campaigns in the store.
    #[must_use]
    pub fn queue(mut self, queue: SharedQueue) -> Self {
        self.queue = Some(queue);
        self
    }

    /// With another service that keeps customers' records of a kind. Without, they are this CRM's own.
    #[must_use]
    pub fn record_service(mut self, kind: RelatedKind, service: impl RecordService) -> Self {
        self.record_services.insert(kind, Arc::new(service));
        self
    }

    /// With a way to send requests to addresses that organizations name. Without, there are no webhooks.
    #[must_use]
    pub fn outbound(mut self, outbound: impl Outbound) -> Self {
        self.outbound = Some(Arc::new(outbound));
        self
    }

    /// With one more way by which messages reach customers, in the place of another of the same name.
    #[must_use]
    pub fn channel(mut self, channel: impl Channel) -> Self {
        self.channels.add(Arc::new(channel));
        self
    }

    /// With a built-in vendor that behaves so, or with none. There is one where nothing is said: the channel `mock`, which
    /// sends nothing to anybody.
    #[must_use]
    pub const fn mock_vendor(mut self, settings: Option<MockVendorSettings>) -> Self {
        self.mock_vendor = settings;
        self
    }

    /// With what the installation says of receipts and of links in messages.
    #[must_use]
    pub fn delivery(mut self, settings: DeliverySettings) -> Self {
        self.delivery = settings;
        self
    }

    /// With a language model that drafts are asked of. Without, they are made here.
    #[must_use]
    pub fn language_model(mut self, model: impl LanguageModel) -> Self {
        self.language_model = Some(Arc::new(model));
        self
    }

    /// With these settings for accounts. Without, keys are made at random and end with the process:
    /// see [`AccountSettings::ephemeral`].
    #[must_use]
    pub fn accounts(mut self, settings: AccountSettings) -> Self {
        self.accounts = Some(settings);
        self
    }

    /// With somebody who does jobs of one more kind.
    #[must_use]
    pub fn job_handler(mut self, handler: impl JobHandler) -> Self {
        self.job_handlers.add(Arc::new(handler));
        self
    }

    /// With jobs that are begun again and again. A handler of their kind is needed too.
    #[must_use]
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.schedules.push(schedule);
        self
    }

    /// With another way to tell runners that a job is due than inside of the process.
    #[must_use]
    pub fn job_signal(mut self, signal: impl JobSignal) -> Self {
        self.job_signal = Arc::new(signal);
        self
    }

    /// With at most so many jobs of one organization at once in this process, at least one. One more place is for the
    /// others.
    #[must_use]
    pub fn job_workers(mut self, workers: usize) -> Self {
        self.job_workers = workers.max(1);
        self
    }

    /// With another folder for files that a process needs for a while than the system's.
    #[must_use]
    pub fn temporary_folder(mut self, folder: PathBuf) -> Self {
        self.temporary_folder = folder;
        self
    }

    /// The CRM.
    #[must_use]
    pub fn build(self) -> Crm {
        let Self {
            store,
            limiter,
            cache,
            outbound,
            language_model,
            mut channels,
            mock_vendor,
            delivery,
            queue,
            clock,
            random,
            event_sinks,
            accounts,
            job_handlers,
            schedules,
            job_signal,
            job_workers,
            temporary_folder,
            record_services,
        } = self;
        if channels.find("webhook").is_none() {
            channels.add(Arc::new(WebhookChannel));
        }
        if let Some(settings) = mock_vendor {
            channels.add(Arc::new(MockVendor::new(settings)));
        }
        let settings = accounts.unwrap_or_else(|| AccountSettings::ephemeral(random.as_ref()));
        let cursor_key = CursorKey::new(settings.encryption_keys.derive("list cursors"));
        let accounts = AccountState::new(settings, random.as_ref());
        Crm {
            inner: Arc::new(Inner {
                store,
                clock,
                random,
                event_sinks,
                cursor_key,
                turns: Turns::new(),
                audit_hint: Notify::new(),
                event_hint: Notify::new(),
                limits: Limits::new(limiter),
                cache,
                hints: Hints::default(),
                outbound,
                language_model,
                channels,
                mock_vendor,
                delivery,
                queue,
                delivery_hint: Notify::new(),
                campaign_hint: Notify::new(),
                field_sets: FieldSets::default(),
                rfm_cuts: Cuts::default(),
                accounts,
                organizations: OrganizationCache::new(),
                job_handlers,
                schedules,
                job_signal,
                job_workers,
                running_jobs: RunningJobs::default(),
                exports: ExportPlaces::default(),
                temporary_folder,
                record_services,
                last_answers: LastAnswers::default(),
            }),
        }
    }
}

impl Crm {
    /// Begins a CRM over a store.
    #[must_use]
    pub fn builder(store: SharedStore) -> CrmBuilder {
        CrmBuilder {
            store,
            limiter: None,
            cache: None,
            outbound: None,
            language_model: None,
            channels: Channels::default(),
            mock_vendor: Some(MockVendorSettings::default()),
            delivery: DeliverySettings::default(),
            queue: None,
            clock: Arc::new(SystemClock),
            random: Arc::new(OperatingSystemRandom),
            event_sinks: Vec::new(),
            accounts: None,
            job_handlers: JobHandlers::default()
                .with(ImportHandler)
                .with(RevertHandler)
                .with(BulkHandler)
                .with(BulkUndoHandler)
                .with(CreateHandler)
                .with(PlanHandler)
                .with(OrderHandler)
                .with(VerificationHandler)
                .with(AllHandler)
                .with(ErasureHandler)
                .with(FreezeHandler)
                .with(SegmentRemovalHandler)
                .with(FieldWorkHandler::default())
                .with(PurgeHandler)
                .with(CleaningHandler),
            schedules: background::schedules(),
            job_signal: Arc::new(InProcessJobSignal::default()),
            temporary_folder: std::env::temp_dir(),
            record_services: HashMap::new(),
            job_workers: std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2)),
        }
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &dyn Store {
        self.inner.store.as_ref()
    }

    /// The records of one type.
    #[must_use]
    pub fn repo<T: Record>(&self) -> Repo<'_, T> {
        Repo::new(self.store())
    }

    /// The audit trail.
    #[must_use]
    pub const fn audit(&self) -> Audit<'_> {
        Audit::new(self)
    }

    /// Custom fields.
    #[must_use]
    pub const fn fields(&self) -> Fields<'_> {
        Fields::new(self)
    }

    /// The instant now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// Fills `bytes` with random ones fit for secrets.
    pub fn fill_random(&self, bytes: &mut [u8]) {
        self.inner.random.fill(bytes);
    }

    /// The source of randomness.
    #[must_use]
    pub fn random(&self) -> &dyn Random {
        self.inner.random.as_ref()
    }

    /// A new id.
    #[must_use]
    pub fn new_id<I: RecordId>(&self) -> I {
        self.new_id_at(self.now())
    }

    /// A new id of that instant.
    #[must_use]
    pub fn new_id_at<I: RecordId>(&self, now: Timestamp) -> I {
        I::from(new_uuid(now, self.inner.random.as_ref()))
    }

    /// The channel of that name, where there is one.
    #[must_use]
    pub fn channel(&self, name: &str) -> Option<&dyn Channel> {
        self.inner.channels.find(name)
    }

    /// The names of the channels that there are.
    pub fn channel_names(&self) -> impl Iterator<Item = &'static str> {
        self.inner.channels.names()
    }

    /// What cursors of lists are signed with.
    #[must_use]
    pub fn cursor_key(&self) -> &CursorKey {
        &self.inner.cursor_key
    }

    /// Signing in and out, and everything of the person who acts.
    #[must_use]
    pub const fn accounts(&self) -> Accounts<'_> {
        Accounts::new(self)
    }

    /// The keys of services.
    #[must_use]
    pub const fn api_keys(&self) -> ApiKeys<'_> {
        ApiKeys::new(self)
    }

    /// The staff of an organization.
    #[must_use]
    pub const fn agents(&self) -> Agents<'_> {
        Agents::new(self)
    }

    /// The teams of an organization.
    #[must_use]
    pub const fn teams(&self) -> Teams<'_> {
        Teams::new(self)
    }

    /// Organizations and their settings.
    #[must_use]
    pub const fn organizations(&self) -> Organizations<'_> {
        Organizations::new(self)
    }

    /// A key for a purpose such as signing cursors: the same in every process that has the same encryption key.
    #[must_use]
    pub fn derived_key(&self, purpose: &str) -> [u8; 32] {
        self.inner.accounts.settings.encryption_keys.derive(purpose)
    }

    /// The same of every encryption key, that of the newest first.
    pub(crate) fn derived_keys(&self, purpose: &str) -> Vec<[u8; 32]> {
        self.inner.accounts.settings.encryption_keys.derive_all(purpose)
    }

    /// How the built-in vendor behaves, where there is one.
    pub(crate) fn mock_vendor(&self) -> Option<MockVendorSettings> {
        self.inner.mock_vendor
    }

    pub(crate) fn delivery_settings(&self) -> &DeliverySettings {
        &self.inner.delivery
    }

    pub(crate) fn account_state(&self) -> &AccountState {
        &self.inner.accounts
    }

    pub(crate) fn organization_cache(&self) -> &OrganizationCache {
        &self.inner.organizations
    }

    /// Who does jobs of which kind.
    pub(crate) fn job_handlers(&self) -> &JobHandlers {
        &self.inner.job_handlers
    }

    /// The jobs that are begun again and again.
    pub(crate) fn schedules(&self) -> &[Schedule] {
        &self.inner.schedules
    }

    /// Who is told that a job is due.
    pub(crate) fn job_signal(&self) -> &dyn JobSignal {
        self.inner.job_signal.as_ref()
    }

    /// So many jobs of one organization run at once in this process.
    pub(crate) fn job_workers(&self) -> usize {
        self.inner.job_workers
    }

    /// The jobs that run in this process.
    pub(crate) fn running_jobs(&self) -> &RunningJobs {
        &self.inner.running_jobs
    }

    /// Where files are that a process needs for a while.
    pub(crate) fn temporary_folder(&self) -> &Path {
        &self.inner.temporary_folder
    }

    /// The exports that run in this process.
    pub(crate) fn export_places(&self) -> &ExportPlaces {
        &self.inner.exports
    }

    /// Where events go.
    #[must_use]
    pub fn event_sinks(&self) -> &[Arc<dyn EventSink>] {
        &self.inner.event_sinks
    }

    /// The rate limits.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    /// What processes tell each other through.
    pub(crate) fn cache(&self) -> Option<&SharedCache> {
        self.inner.cache.as_ref()
    }

    /// What is to be told to other processes.
    pub(crate) fn hints(&self) -> &Hints {
        &self.inner.hints
    }

    /// Whether anybody takes events.
    pub(crate) fn hands_on_events(&self) -> bool {
        !self.inner.event_sinks.is_empty() || self.inner.outbound.is_some() || self.inner.queue.is_some()
    }

    /// The queue that events and the work of campaigns go through.
    #[must_use]
    pub fn queue(&self) -> Option<&SharedQueue> {
        self.inner.queue.as_ref()
    }

    /// The service that keeps customers' records of a kind, where another does.
    pub(crate) fn record_service(&self, kind: RelatedKind) -> Option<&dyn RecordService> {
        self.inner.record_services.get(&kind).map(AsRef::as_ref)
    }

    /// What such services said last.
    pub(crate) fn last_answers(&self) -> &LastAnswers {
        &self.inner.last_answers
    }

    /// The way to addresses that organizations name.
    pub(crate) fn outbound(&self) -> Option<&dyn Outbound> {
        self.inner.outbound.as_deref()
    }

    /// The language model that the operator has named.
    pub(crate) fn language_model(&self) -> Option<&dyn LanguageModel> {
        self.inner.language_model.as_deref()
    }

    /// Woken when there is something to be sent to a webhook.
    pub(crate) fn delivery_hint(&self) -> &Notify {
        &self.inner.delivery_hint
    }

    /// Woken when there is something to do for a campaign.
    pub(crate) fn campaign_hint(&self) -> &Notify {
        &self.inner.campaign_hint
    }

    /// The sets of custom fields at hand.
    pub(crate) fn field_sets(&self) -> &FieldSets {
        &self.inner.field_sets
    }

    /// What customers of organizations have spent, in quintiles.
    pub(crate) fn rfm_cuts(&self) -> &Cuts {
        &self.inner.rfm_cuts
    }

    /// Wakes the sealer and the relay after a commit.
    pub(crate) fn hint_background(&self, audited: bool, told: bool) {
        if audited {
            self.inner.audit_hint.notify_one();
        }
        if told {
            self.inner.event_hint.notify_one();
        }
    }

    /// Where writers who lost a race wait for their turn.
    pub(crate) fn turns(&self) -> &Turns {
        &self.inner.turns
    }

    /// Woken when audit entries were written here.
    pub(crate) fn audit_hint(&self) -> &Notify {
        &self.inner.audit_hint
    }

    /// Woken when events were written here.
    pub(crate) fn event_hint(&self) -> &Notify {
        &self.inner.event_hint
    }
}

/// Every kind of record there is. A new one is one line here, and nothing in any store.
#[must_use]
pub const fn collections() -> &'static [&'static Collection] {
    const COLLECTIONS: &[&Collection] = &[
        Lease::COLLECTION,
        ClaimRecord::COLLECTION,
        AuditEntry::COLLECTION,
        Event::COLLECTION,
        CustomField::COLLECTION,
        UniqueValue::COLLECTION,
        Organization::COLLECTION,
        User::COLLECTION,
        Team::COLLECTION,
        LoginRecord::COLLECTION,
        Session::COLLECTION,
        RefreshToken::COLLECTION,
        ApiKey::COLLECTION,
        Customer::COLLECTION,
        ContactPoint::COLLECTION,
        CustomerGroup::COLLECTION,
        CustomerMerge::COLLECTION,
        CustomerMergeMove::COLLECTION,
        Note::COLLECTION,
        Order::COLLECTION,
        Complaint::COLLECTION,
        Job::COLLECTION,
        JobPayload::COLLECTION,
        Firing::COLLECTION,
        CustomerImport::COLLECTION,
        ImportPart::COLLECTION,
        ImportMapping::COLLECTION,
        VerificationProgress::COLLECTION,
        BulkChange::COLLECTION,
        BulkNote::COLLECTION,
        Segment::COLLECTION,
        SegmentCount::COLLECTION,
        SegmentVersion::COLLECTION,
        SegmentMember::COLLECTION,
        Webhook::COLLECTION,
        WebhookDelivery::COLLECTION,
        WebhookLane::COLLECTION,
        ConsentEntry::COLLECTION,
        ContactTally::COLLECTION,
        MockMessage::COLLECTION,
        MockReceipt::COLLECTION,
        ParkedReceipt::COLLECTION,
        Suppression::COLLECTION,
        Campaign::COLLECTION,
        Communication::COLLECTION,
        CampaignRun::COLLECTION,
    ];
    COLLECTIONS
}
