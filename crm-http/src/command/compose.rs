use std::{sync::Arc, time::Duration};

use crm_connectors::{
    EmailChannel, EmailOptions, GuardedHttp, HttpModel, HttpRecordService, ModelOptions, OutboundRules, ServiceOptions,
};
use crm_core::{
    Crm,
    account::{AccountSettings, SigningKey, SigningKeys},
    crm::collections,
    delivery::DeliverySettings,
    port::{OperatingSystemRandom, SystemClock, queue::SharedQueue},
    related::RelatedKind,
    secret::EncryptionKeys,
    store::{SharedStore, StoreError, StoreResult},
};
use crm_http::{
    RouterOptions,
    settings::{Broker, Database, Environment, Mail, ModelSettings, Settings},
};
use crm_queue::{RabbitMqOptions, RabbitMqQueue, RedisCache, RedisLimiter, RedisOptions, RedisQueue};
use crm_store_mongo::{MongoOptions, MongoStore};
use crm_store_postgres::{PostgresOptions, PostgresStore};
use crm_store_sqlite::{SqliteOptions, SqliteStore};
use tokio_util::sync::CancellationToken;

use super::{Failure, progress};

/// Requests wait no longer than this to be counted, for each try.
const REDIS_TIMEOUT: Duration = Duration::from_secs(1);

/// A runtime with as many threads as the settings say.
pub(super) fn runtime(settings: &Settings) -> Result<tokio::runtime::Runtime, Failure> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if settings.workers > 0 {
        builder.worker_threads(settings.workers);
    }
    Ok(builder.enable_all().build()?)
}

/// The store of the settings, brought to this version.
pub(super) async fn store(settings: &Settings) -> Result<SharedStore, Failure> {
    settings.create_folders()?;
    let bar = progress::Bar::new();
    let opened = async {
        let store = Engine::of(settings)?.open().await?;
        store.migrate(collections(), &|step, done, all| bar.show(step, done, all)).await?;
        Ok(store)
    };
    let opened = opened.await;
    bar.finish();
    opened.map_err(|error: StoreError| unusable(settings, &error))
}

/// Refuses a database that cannot be opened as it is named, without a look at it.
pub(super) fn check_database(settings: &Settings) -> Result<(), Failure> {
    Engine::of(settings).map(drop).map_err(|error| unusable(settings, &error))
}

fn unusable(settings: &Settings, error: &StoreError) -> Failure {
    format!("the database {} cannot be used: {error}", settings.database).into()
}

/// An engine and how to open it: the one place that knows which engines there are.
enum Engine {
    Sqlite(Box<SqliteOptions>),
    Postgres(Box<PostgresOptions>),
    Mongo(Box<MongoOptions>),
}

impl Engine {
    fn of(settings: &Settings) -> StoreResult<Self> {
        let pool = settings.database_pool;
        Ok(match &settings.database {
            Database::Sqlite(path) => {
                let options = SqliteOptions::new(path);
                Self::Sqlite(Box::new(match pool {
                    Some(connections) => options.readers(connections.into()),
                    None => options,
                }))
            }
            Database::Postgres(url) => {
                let options = PostgresOptions::parse(url.expose())?;
                Self::Postgres(Box::new(match pool {
                    Some(connections) => options.pool(connections.into()),
                    None => options,
                }))
            }
            Database::Mongo(url) => {
                let options = MongoOptions::parse(url.expose())?;
                Self::Mongo(Box::new(match pool {
                    Some(connections) => options.connections(connections.into()),
                    None => options,
                }))
            }
        })
    }

    async fn open(self) -> StoreResult<SharedStore> {
        Ok(match self {
            Self::Sqlite(options) => Arc::new(SqliteStore::open_with(*options).await?),
            Self::Postgres(options) => Arc::new(PostgresStore::connect_with(*options).await?),
            Self::Mongo(options) => Arc::new(MongoStore::connect_with(*options).await?),
        })
    }
}

/// The CRM of the settings over a store.
pub(super) fn crm(settings: &Settings, store: SharedStore) -> Result<Crm, Failure> {
    let outbound = GuardedHttp::new(OutboundRules {
        allowed: settings.outbound_allow_subnets.clone(),
        plain_http: settings.environment != Environment::Production,
        ..OutboundRules::default()
    })?;
    let delivery =
        DeliverySettings { receipt_secret: settings.receipt_secret.clone(), public_url: settings.public_url() };
    let builder = Crm::builder(store)
        .accounts(accounts(settings)?)
        .outbound(outbound)
        .delivery(delivery)
        .mock_vendor(settings.mock_vendor);
    let builder = match &settings.mail {
        Some(mail) => builder.channel(email(mail)?),
        None => builder,
    };
    let builder = match &settings.redis {
        Some(url) => {
            let options = RedisOptions::new(url.expose().as_str()).timeout(REDIS_TIMEOUT);
            let cache = RedisCache::open(&options, Arc::new(OperatingSystemRandom))?;
            builder.limiter(RedisLimiter::open(&options)?).cache(cache)
        }
        None => builder,
    };
    let builder =
        [(RelatedKind::Orders, &settings.order_service), (RelatedKind::Complaints, &settings.complaint_service)]
            .into_iter()
            .try_fold(builder, |builder, (kind, url)| {
                let Some(url) = url else { return Ok::<_, Failure>(builder) };
                let options = ServiceOptions::new(url, kind.name()).key(settings.service_key.clone());
                Ok(builder.record_service(kind, HttpRecordService::new(options, Arc::new(OperatingSystemRandom))?))
            })?;
    let builder = match &settings.language_model {
        Some(ModelSettings { base_url, api_key, model }) => {
            let options = ModelOptions::new(base_url.clone(), model.clone(), api_key.clone());
            builder.language_model(HttpModel::new(options)?)
        }
        None => builder,
    };
    let builder = match queue(settings)? {
        Some(queue) => builder.queue(queue),
        None => builder,
    };
    let builder = if settings.workers > 0 { builder.job_workers(settings.workers) } else { builder };
    // The system's folder for temporary files is memory on some machines.
    let builder =
        if settings.data_dir.is_dir() { builder.temporary_folder(settings.data_dir.clone()) } else { builder };
    Ok(builder.build())
}

/// The channel by the mail server of the settings.
fn email(mail: &Mail) -> Result<EmailChannel, Failure> {
    let options = EmailOptions {
        host: mail.host.clone(),
        port: mail.port,
        credentials: mail.credentials.clone(),
        from: mail.from.clone(),
        tls: mail.tls,
        ..EmailOptions::default()
    };
    Ok(EmailChannel::new(options)?)
}

/// The broker of the settings. It need not be there yet.
fn queue(settings: &Settings) -> Result<Option<SharedQueue>, Failure> {
    let (clock, random) = (Arc::new(SystemClock), Arc::new(OperatingSystemRandom));
    Ok(match &settings.broker {
        Broker::Store => None,
        Broker::RabbitMq { url, prefix } => {
            let options = RabbitMqOptions::new(url.expose().as_str()).prefix(prefix);
            Some(Arc::new(RabbitMqQueue::open(&options, clock, random)?))
        }
        Broker::Redis(url) => {
            let options = RedisOptions::new(url.expose().as_str());
            Some(Arc::new(RedisQueue::open(&options, clock, random)?))
        }
    })
}

fn accounts(settings: &Settings) -> Result<AccountSettings, Failure> {
    let by_secret = SigningKey::from_secret(settings.jwt_secret.expose().as_bytes())?;
    let signing_keys = match &settings.jwt_key {
        // Tokens that were signed by the secret stay good until they end.
        Some(pem) => SigningKeys::new(SigningKey::from_ed25519_pem(pem.expose())?, [by_secret]),
        None => SigningKeys::new(by_secret, []),
    };
    let encryption_keys =
        EncryptionKeys::from_secrets(settings.encryption_keys.iter().map(|key| key.expose().as_str()))?;
    Ok(AccountSettings {
        access_lifetime: settings.access_lifetime,
        refresh_lifetime: settings.refresh_lifetime,
        session_lifetime: settings.session_lifetime(),
        registration: settings.registration,
        default_organization: settings.default_organization,
        service_key: settings.service_key.clone(),
        login_limit: settings.login_limit.clone(),
        account_limit: settings.account_limit.clone(),
        development_tokens: settings.development_tokens,
        ..AccountSettings::new(signing_keys, encryption_keys)
    })
}

/// The options of the router.
pub(super) fn options(settings: &Settings, stopping: CancellationToken) -> RouterOptions {
    RouterOptions {
        allowed_origins: settings.allowed_origins.clone(),
        trusted_proxies: Arc::clone(&settings.trusted_proxies),
        https: settings.is_https(),
        anonymous_limits: settings.anonymous_limits.clone(),
        principal_limit: settings.principal_limit.clone(),
        health_interval: settings.health_interval,
        health_timeout: settings.health_timeout,
        base_url: settings.base_url.clone(),
        stopping,
        upload_limit: settings.import_limit,
        ..RouterOptions::default()
    }
}
