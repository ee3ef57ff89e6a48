use std::{collections::HashMap, fmt, path::PathBuf, sync::Arc};

use tokio::sync::Notify;

use super::{Crm, Inner};
use crate::{
    account::{AccountSettings, AccountState},
    background::{self, CleaningHandler},
    campaign::PlanHandler,
    customer::{
        BulkHandler, BulkUndoHandler, CreateHandler, ExportPlaces, PurgeHandler,
        import::{ImportHandler, RevertHandler},
    },
    delivery::{DeliverySettings, MockVendor, MockVendorSettings, WebhookChannel},
    field::{FieldSets, FieldWorkHandler},
    hint::Hints,
    job::{JobHandler, JobHandlers, RunningJobs, Schedule},
    limit::Limits,
    list::CursorKey,
    order::OrderHandler,
    personal_data::ErasureHandler,
    port::{
        Channel, Channels, Clock, EventSink, InProcessJobSignal, JobSignal, LanguageModel, OperatingSystemRandom,
        Outbound, Random, RecordService, RequestLimiter, SystemClock,
        cache::{Cache, SharedCache},
        queue::SharedQueue,
    },
    related::{LastAnswers, RelatedKind},
    segment::{FreezeHandler, SegmentRemovalHandler},
    statistics::{
        Cuts,
        verification::{AllHandler, VerificationHandler},
    },
    store::SharedStore,
    tenancy::OrganizationCache,
    turn::Turns,
};

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
    /// One over a store, with what there is where nothing is said.
    pub(super) fn new(store: SharedStore) -> Self {
        Self {
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
