//! The CRM: a store and the ports, put together.

mod builder;
mod collections;

use std::{
    collections::HashMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::Notify;

pub use self::{builder::CrmBuilder, collections::collections};
use crate::{
    account::{AccountState, Accounts, Agents, ApiKeys},
    audit::Audit,
    customer::ExportPlaces,
    delivery::{DeliverySettings, MockVendorSettings},
    field::{FieldSets, Fields},
    hint::Hints,
    id::{RecordId, new_uuid},
    job::{JobHandlers, RunningJobs, Schedule},
    limit::Limits,
    list::CursorKey,
    port::{
        Channel, Channels, Clock, EventSink, JobSignal, LanguageModel, Outbound, Random, RecordService,
        cache::SharedCache, queue::SharedQueue,
    },
    record::Record,
    related::{LastAnswers, RelatedKind},
    repo::Repo,
    statistics::Cuts,
    store::{SharedStore, Store},
    tenancy::{OrganizationCache, Organizations, Teams},
    time::Timestamp,
    turn::Turns,
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

impl Crm {
    /// Begins a CRM over a store.
    #[must_use]
    pub fn builder(store: SharedStore) -> CrmBuilder {
        CrmBuilder::new(store)
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
