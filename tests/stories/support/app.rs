use std::{future::Future, sync::Arc, time::Duration};

use crm_connectors::{GuardedHttp, HttpModel, ModelOptions, OutboundRules};
use crm_core::{
    Crm,
    account::{AccountSettings, RegistrationMode},
    async_trait, background,
    delivery::DeliverySettings,
    port::{
        Clock, EventSink, ManualClock, OperatingSystemRandom, RecordService, RecordsAsked, ServiceFailure, SystemClock,
        queue::SharedQueue,
    },
    related::RelatedKind,
    secret::Secret,
    time::Timestamp,
};
use crm_http::{RouterOptions, router, server};
use crm_queue::{InStoreQueue, RedisCache, RedisLimiter, RedisOptions};
use serde_json::value::RawValue;
use tokio::net::TcpListener;

use super::{
    client::Client,
    log,
    store::{Place, StoreKind},
};

/// The installation's own key for services.
pub(crate) const SERVICE_KEY: &str = "a-service-key-for-stories-of-more-than-32-bytes";

/// What vendors sign receipts with.
pub(crate) const RECEIPT_SECRET: &str = "a-secret-of-vendors-for-stories-of-more-than-32-bytes";

/// A server of its own on a throw-away store. It ends with the story.
pub(crate) struct App {
    /// The CRM inside, for what cannot be done over HTTP.
    pub(crate) crm: Crm,
    /// Somebody who is not signed in.
    pub(crate) anonymous: Client,
    /// The server's address, such as `127.0.0.1:40123`.
    pub(crate) address: String,
    options: RouterOptions,
    _place: Arc<Place>,
}

/// What an app is started with.
pub(crate) struct Setup {
    place: Arc<Place>,
    clock: Option<Arc<ManualClock>>,
    options: RouterOptions,
    accounts: AccountSettings,
    background: bool,
    event_sink: Option<Arc<dyn EventSink>>,
    outbound: OutboundRules,
    redis: Option<(RedisLimiter, RedisCache)>,
    queue: Option<QueueKind>,
    record_services: Vec<(RelatedKind, Arc<dyn RecordService>)>,
    model: Option<ModelOptions>,
}

/// What events go through.
pub(crate) enum QueueKind {
    /// The store of the story.
    InStore,
    /// A broker.
    Broker(SharedQueue),
}

/// What a story is given: an app, or the setup of one.
pub(crate) trait Start: Sized {
    fn start(setup: Setup) -> impl Future<Output = Self> + Send;
}

impl Start for App {
    async fn start(setup: Setup) -> Self {
        setup.start().await
    }
}

impl Start for Setup {
    async fn start(setup: Setup) -> Self {
        setup
    }
}

struct SharedService(Arc<dyn RecordService>);

#[async_trait]
impl RecordService for SharedService {
    async fn records_of(&self, asked: RecordsAsked<'_>) -> Result<Vec<Box<RawValue>>, ServiceFailure> {
        self.0.records_of(asked).await
    }
}

struct SharedClock(Arc<ManualClock>);

impl Clock for SharedClock {
    fn now(&self) -> Timestamp {
        self.0.now()
    }
}

impl Setup {
    pub(crate) async fn on(store: StoreKind) -> Self {
        Self::at(Arc::new(Place::new(store).await))
    }

    fn at(place: Arc<Place>) -> Self {
        let accounts = AccountSettings {
            registration: RegistrationMode::Open,
            login_limit: None,
            account_limit: None,
            service_key: Some(Secret::new(SERVICE_KEY.to_owned())),
            ..AccountSettings::ephemeral(&OperatingSystemRandom)
        };
        // Every story comes from one address; those about limits set their own.
        let options = RouterOptions { anonymous_limits: Vec::new(), principal_limit: None, ..RouterOptions::default() };
        // Receivers of stories are on this machine.
        let outbound = OutboundRules {
            allowed: vec!["127.0.0.0/8".parse().expect("a block")],
            plain_http: true,
            ..OutboundRules::default()
        };
        Self {
            place,
            clock: None,
            options,
            accounts,
            background: true,
            event_sink: None,
            outbound,
            redis: None,
            queue: None,
            record_services: Vec::new(),
            model: None,
        }
    }

    /// The same in another process: the same database and keys, and nothing else in common.
    pub(crate) fn another(&self) -> Self {
        Self { accounts: self.accounts.clone(), outbound: self.outbound.clone(), ..Self::at(Arc::clone(&self.place)) }
    }

    /// With a place where events go.
    pub(crate) fn event_sink(mut self, sink: impl EventSink) -> Self {
        self.event_sink = Some(Arc::new(sink));
        self
    }

    /// With other settings for accounts.
    pub(crate) fn accounts(mut self, change: impl FnOnce(&mut AccountSettings)) -> Self {
        change(&mut self.accounts);
        self
    }

    /// With a Redis that processes share.
    pub(crate) fn redis(mut self, options: &RedisOptions) -> Self {
        let cache = RedisCache::open(options, Arc::new(OperatingSystemRandom)).expect("a URL");
        self.redis = Some((RedisLimiter::open(options).expect("a URL"), cache));
        self
    }

    /// With a queue that events go through.
    pub(crate) fn queue(mut self, queue: QueueKind) -> Self {
        self.queue = Some(queue);
        self
    }

    /// With another service that keeps customers' records of a kind.
    pub(crate) fn record_service(mut self, kind: RelatedKind, service: Arc<dyn RecordService>) -> Self {
        self.record_services.push((kind, service));
        self
    }

    /// With a language model.
    pub(crate) fn model(mut self, model: ModelOptions) -> Self {
        self.model = Some(model);
        self
    }

    /// With other rules for requests to addresses outside.
    pub(crate) fn outbound(mut self, change: impl FnOnce(&mut OutboundRules)) -> Self {
        change(&mut self.outbound);
        self
    }

    /// A clock that stands still until the story moves it.
    pub(crate) fn clock(mut self, clock: &Arc<ManualClock>) -> Self {
        self.clock = Some(Arc::clone(clock));
        self
    }

    /// Without background work: the story does it.
    pub(crate) fn without_background(mut self) -> Self {
        self.background = false;
        self
    }

    /// With other options.
    pub(crate) fn options(mut self, change: impl FnOnce(&mut RouterOptions)) -> Self {
        change(&mut self.options);
        self
    }

    /// The app, running, with its background work.
    pub(crate) async fn start(self) -> App {
        log::keep();
        let store = self.place.open().await;
        let outbound = GuardedHttp::new(self.outbound).expect("TLS");
        let queue: Option<SharedQueue> = match self.queue {
            Some(QueueKind::InStore) => {
                let clock: Arc<dyn Clock> = match &self.clock {
                    Some(clock) => Arc::new(SharedClock(Arc::clone(clock))),
                    None => Arc::new(SystemClock),
                };
                let queue = InStoreQueue::open(Arc::clone(&store), clock, Arc::new(OperatingSystemRandom)).await;
                Some(Arc::new(queue.expect("a queue in the store")))
            }
            Some(QueueKind::Broker(queue)) => Some(queue),
            None => None,
        };
        let delivery = DeliverySettings {
            public_url: Some("https://crm.example.com".to_owned()),
            receipt_secret: DeliverySettings::receipt_secret_of(RECEIPT_SECRET),
        };
        let mut builder = Crm::builder(store).accounts(self.accounts).outbound(outbound).delivery(delivery);
        if let Some(queue) = queue {
            builder = builder.queue(queue);
        }
        for (kind, service) in self.record_services {
            builder = builder.record_service(kind, SharedService(service));
        }
        if let Some(model) = self.model {
            builder = builder.language_model(HttpModel::new(model).expect("a model"));
        }
        if let Some((limiter, cache)) = self.redis {
            builder = builder.limiter(limiter).cache(cache);
        }
        if let Some(clock) = self.clock {
            builder = builder.clock(SharedClock(clock));
        }
        if let Some(sink) = self.event_sink {
            builder = builder.event_sink(sink);
        }
        let crm = builder.build();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let options = self.options;
        let app = router(crm.clone(), options.clone());
        let stop = options.stopping.clone().cancelled_owned();
        if self.background {
            tokio::spawn(background::run(crm.clone(), options.stopping.clone().cancelled_owned()));
        }
        tokio::spawn(server::serve(listener, app, stop, Duration::from_secs(5)));
        let anonymous = Client::new(format!("http://{address}"));
        App { crm, anonymous, address, options, _place: self.place }
    }
}

impl App {
    /// Begins to stop the server, as SIGTERM does.
    pub(crate) fn stop(&self) {
        self.options.stopping.cancel();
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.options.stopping.cancel();
    }
}
