//! The settings of the server, read once, checked whole: every wrong one is named in one go.
//!
//! Defaults < `crm.toml` or `config.local.json` (or `CONFIG_FILE`) < `.env`, outside production < the environment.

mod broker;
pub mod catalog;
mod database;
mod delivery;
mod parse;
pub(crate) mod secrets;
mod source;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    env, fmt,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use crm_core::{
    account::RegistrationMode, delivery::MockVendorSettings, id::OrganizationId, limit::Policy, port::Random,
    secret::Secret, webhook::SigningSecret,
};
use ipnet::IpNet;

pub use self::{broker::Broker, database::Database, delivery::Mail, source::Source};
use self::{
    catalog::{Effect, SETTINGS},
    source::{Given, Values},
};
use crate::options::Origins;

/// The names of the limits of anonymous requests, as clients see them.
const ANONYMOUS_POLICIES: [&str; 4] = ["anonymous", "anonymous-2", "anonymous-3", "anonymous-4"];
/// The names of the limits of attempts to sign in: per account and address, and per account.
const LOGIN_POLICIES: [&str; 2] = ["login", "login-account"];
const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
/// More connections than this to one database are a mistake.
const MOST_CONNECTIONS: u16 = 1000;

/// Where the server runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Environment {
    /// On somebody's desk: comfortable.
    Development,
    /// Under tests: as in development.
    Test,
    /// For people: what is weak is refused.
    Production,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// The settings, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the server runs.
    pub environment: Environment,
    /// The folder of the default database and of generated secrets.
    pub data_dir: PathBuf,
    /// The address to listen on.
    pub host: String,
    /// The port to listen on.
    pub port: u16,
    /// The public address of the server.
    pub base_url: Option<String>,
    /// Origins that may call from a browser.
    pub allowed_origins: Origins,
    /// The database.
    pub database: Database,
    /// How many connections to it there are at most; nothing for the store's own choice.
    pub database_pool: Option<u16>,
    /// A Redis that processes share limits through, by its URL.
    pub redis: Option<Secret<String>>,
    /// What events go through on their way from the commit to who deals with them.
    pub broker: Broker,
    /// Signs access tokens.
    pub jwt_secret: Secret<String>,
    /// An Ed25519 key, as PEM, that signs access tokens instead.
    pub jwt_key: Option<Secret<String>>,
    /// Encrypt secrets at rest; the newest first, which seals.
    pub encryption_keys: Vec<Secret<String>>,
    /// How long an access token lives.
    pub access_lifetime: Duration,
    /// How long a refresh token lives.
    pub refresh_lifetime: Duration,
    /// Limits of anonymous requests of one address.
    pub anonymous_limits: Vec<Policy>,
    /// The limit of one user or key.
    pub principal_limit: Option<Policy>,
    /// The limit of attempts to sign in to one account from one address.
    pub login_limit: Option<Policy>,
    /// The same from all addresses together.
    pub account_limit: Option<Policy>,
    /// The largest file that is imported over HTTP, in bytes.
    pub import_limit: u64,
    /// Threads that answer requests; 0 for as many as there are cores.
    pub workers: usize,
    /// How long requests in hand may take after a stop.
    pub shutdown_timeout: Duration,
    /// How long requests are still taken after readiness has turned false.
    pub shutdown_delay: Duration,
    /// How often the store is looked at.
    pub health_interval: Duration,
    /// How long it may take to answer.
    pub health_timeout: Duration,
    /// Private networks that requests to addresses named by organizations may reach.
    pub outbound_allow_subnets: Vec<IpNet>,
    /// The language model that drafts are asked of.
    pub language_model: Option<ModelSettings>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Arc<[IpNet]>,
    /// Who may register.
    pub registration: RegistrationMode,
    /// The organization of those who register without one.
    pub default_organization: Option<OrganizationId>,
    /// Another service that keeps the orders of customers.
    pub order_service: Option<String>,
    /// Another service that keeps their complaints.
    pub complaint_service: Option<String>,
    /// A key for services.
    pub service_key: Option<Secret<String>>,
    /// How the built-in vendor behaves, where there is one.
    pub mock_vendor: Option<MockVendorSettings>,
    /// What vendors sign receipts with, where it is said.
    pub receipt_secret: Option<SigningSecret>,
    /// The mail server, where there is one.
    pub mail: Option<Mail>,
    /// Whether tokens are given out without a password.
    pub development_tokens: bool,
    /// Which log lines are written.
    pub log_level: String,
    /// In which form.
    pub log_format: LogFormat,
    /// What was given, for people; secrets masked.
    pub shown: Vec<Shown>,
}

/// A language model, and how it is reached.
#[derive(Clone, Debug)]
pub struct ModelSettings {
    /// The address that `/chat/completions` is under.
    pub base_url: String,
    /// Its key.
    pub api_key: Option<Secret<String>>,
    /// The model's name.
    pub model: String,
}

/// One setting as it stands, for people.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Shown {
    /// The setting.
    pub name: String,
    /// Its value, masked where it is secret.
    pub value: String,
    /// Where it stands; nothing for the default.
    pub source: Option<Source>,
    /// Whether it has no effect in this version.
    pub later: bool,
}

/// One wrong setting.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SettingError {
    /// The setting, as it was named.
    pub name: String,
    /// Where it stands.
    pub place: String,
    /// What is wrong.
    pub problem: String,
}

impl SettingError {
    pub(crate) fn new(name: &str, source: &Source, problem: String) -> Self {
        Self { name: name.to_owned(), place: source.to_string(), problem }
    }
}

/// Every wrong setting.
#[derive(Debug, thiserror::Error)]
pub struct SettingsError(pub Vec<SettingError>);

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "{count} {} wrong:", if count == 1 { "setting is" } else { "settings are" })?;
        for SettingError { name, place, problem } in &self.0 {
            write!(f, "\n  {name} ({place}): {problem}")?;
        }
        Ok(())
    }
}

impl Settings {
    /// Reads the settings of this process; `config_file` stands for `CONFIG_FILE`.
    ///
    /// # Errors
    /// Every wrong setting, by name.
    pub fn load(config_file: Option<&Path>, random: &dyn Random) -> Result<Self, SettingsError> {
        let mut environment = BTreeMap::new();
        let mut errors = Vec::new();
        for (name, value) in env::vars_os() {
            match (name.into_string(), value.into_string()) {
                (Ok(name), Ok(value)) => {
                    environment.insert(name, value);
                }
                (Ok(name), Err(_)) if source::find(&name).is_some() => {
                    errors.push(SettingError::new(&name, &Source::Environment, "is not UTF-8".to_owned()));
                }
                _ => {}
            }
        }
        if let Some(file) = config_file {
            environment.insert("CONFIG_FILE".to_owned(), file.to_string_lossy().into_owned());
        }
        let settings = Self::read(Path::new(""), &environment, random);
        if errors.is_empty() {
            return settings;
        }
        errors.extend(settings.err().map(|error| error.0).unwrap_or_default());
        Err(SettingsError(errors))
    }

    /// Reads the settings from the files of a folder and an environment.
    ///
    /// # Errors
    /// Every wrong setting, by name.
    pub fn read(
        folder: &Path,
        environment: &BTreeMap<String, String>,
        random: &dyn Random,
    ) -> Result<Self, SettingsError> {
        let mut values = Values::read(folder, environment);
        let errors = std::mem::take(&mut values.errors);
        let mut reader = Reader { values: &values, errors };
        let settings = reader.settings(folder, random);
        match (settings, reader.errors) {
            (Some(settings), errors) if errors.is_empty() => Ok(settings),
            (_, errors) => Err(SettingsError(errors)),
        }
    }

    /// Makes the folder of a database in a file, for this user alone, where it is not there.
    ///
    /// # Errors
    /// A sentence where that cannot be.
    pub fn create_folders(&self) -> Result<(), String> {
        let Database::Sqlite(file) = &self.database else { return Ok(()) };
        match file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            Some(folder) => secrets::create_folder(folder),
            None => Ok(()),
        }
    }

    /// How long a session lives, however often it is refreshed: 30 days, or one refresh token if that is longer.
    #[must_use]
    pub fn session_lifetime(&self) -> Duration {
        self.refresh_lifetime.max(Duration::from_hours(30 * 24))
    }

    /// Whether the server serves people.
    #[must_use]
    pub fn is_production(&self) -> bool {
        self.environment == Environment::Production
    }

    /// What links in messages begin with: the public address, outside production else the one that is listened on.
    #[must_use]
    pub fn public_url(&self) -> Option<String> {
        let own = || (!self.is_production()).then(|| format!("http://{}:{}", self.host, self.port));
        self.base_url.clone().or_else(own)
    }

    /// Whether clients come by HTTPS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.base_url.as_ref().map_or(self.is_production(), |url| url.starts_with("https:"))
    }
}

/// Reads values, and notes what is wrong.
struct Reader<'a> {
    values: &'a Values,
    errors: Vec<SettingError>,
}

impl Reader<'_> {
    fn given(&self, name: &str) -> Option<&Given> {
        self.values.known.get(name)
    }

    fn wrong(&mut self, name: &str, problem: impl Into<String>) {
        let error = match self.values.known.get(name) {
            Some(given) => SettingError::new(&given.name, &given.source, problem.into()),
            None => SettingError { name: name.to_owned(), place: "default".to_owned(), problem: problem.into() },
        };
        self.errors.push(error);
    }

    /// The value read, or `default` where it was not given or is wrong.
    fn read<T>(&mut self, name: &str, default: T, read: impl FnOnce(&str) -> Result<T, String>) -> T {
        let Some(text) = self.values.text(name) else { return default };
        read(text).unwrap_or_else(|problem| {
            self.wrong(name, problem);
            default
        })
    }

    /// The model, where one is named.
    fn language_model(&mut self) -> Option<ModelSettings> {
        let base_url = self.read("AI_BASE_URL", None, |text| parse::base_url(text).map(Some));
        let api_key = self.read("AI_API_KEY", None, |text| {
            let sendable = text.bytes().all(|byte| byte.is_ascii_graphic());
            if sendable { Ok(Some(Secret::new(text.to_owned()))) } else { Err("must be printable ASCII".to_owned()) }
        });
        let model = self.values.text("AI_MODEL").map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        match (base_url, model) {
            (Some(base_url), Some(model)) => Some(ModelSettings { base_url, api_key, model }),
            (Some(_), None) => {
                self.wrong("AI_MODEL", "is needed with AI_BASE_URL");
                None
            }
            (None, _) => None,
        }
    }

    fn duration(&mut self, name: &str, default: Duration, unit: Duration, range: (Duration, Duration)) -> Duration {
        self.read(name, default, |text| {
            let duration = parse::duration(text, unit)?;
            if (range.0..=range.1).contains(&duration) {
                Ok(duration)
            } else {
                Err(format!("must be between {} and {} s", range.0.as_secs_f64(), range.1.as_secs_f64()))
            }
        })
    }

    fn settings(&mut self, folder: &Path, random: &dyn Random) -> Option<Settings> {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        let environment = self.read("APP_ENV", Environment::Development, |text| match text {
            "development" => Ok(Environment::Development),
            "test" => Ok(Environment::Test),
            "production" => Ok(Environment::Production),
            _ => Err("must be development, test or production".to_owned()),
        });
        let production = environment == Environment::Production;
        let data_dir = folder.join(self.values.text("DATA_DIR").unwrap_or("crm-data"));
        self.read("API_VERSION", (), |text| {
            if text == "v1" { Ok(()) } else { Err("must be v1, the only version there is".to_owned()) }
        });
        let base_url = self.read("API_BASE_URL", None, |text| parse::base_url(text).map(Some));
        let log_level = self.read("LOG_LEVEL", "info".to_owned(), |text| {
            tracing_subscriber::filter::Targets::from_str(text)
                .map(|_| text.to_owned())
                .map_err(|_| "must be error, warn, info, debug or trace".to_owned())
        });
        let default_format = if production { LogFormat::Json } else { LogFormat::Text };
        let log_format = self.read("LOG_FORMAT", default_format, |text| match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err("must be text or json".to_owned()),
        });
        let window = self.duration("RATE_LIMIT_WINDOW", Duration::from_mins(15), MILLISECOND, (SECOND, DAY));
        let principal_limit = self.read("RATE_LIMIT_MAX_REQUESTS", Some(6000), |text| {
            if text.eq_ignore_ascii_case("off") {
                return Ok(None);
            }
            parse::count(text).map(Some).ok_or_else(|| "must be a number of requests, or off".to_owned())
        });
        let default_limits = vec![
            Policy::new(ANONYMOUS_POLICIES[0], 100, Duration::from_mins(1)),
            Policy::new(ANONYMOUS_POLICIES[1], 1000, Duration::from_hours(1)),
        ];
        let anonymous_limits =
            self.read("RATE_LIMIT_IP", default_limits, |text| parse::policies(text, &ANONYMOUS_POLICIES));
        let default_login = [
            Policy::new(LOGIN_POLICIES[0], 10, Duration::from_mins(15)),
            Policy::new(LOGIN_POLICIES[1], 100, Duration::from_hours(1)),
        ];
        let mut login_limits = self.read("RATE_LIMIT_LOGIN", default_login.to_vec(), |text| {
            let mut limits = parse::policies(text, &LOGIN_POLICIES)?;
            // One alone is that of an address.
            if limits.len() == 1 {
                limits.extend_from_slice(&default_login[1..]);
            }
            Ok(limits)
        });
        if production && login_limits.is_empty() {
            self.wrong("RATE_LIMIT_LOGIN", "cannot be off in production");
        }
        let default_delay = if production { Duration::from_secs(5) } else { Duration::ZERO };
        let default_registration = if production { RegistrationMode::Off } else { RegistrationMode::Open };
        let allowed_origins = self.origins(production);
        let database = self.database(folder, &data_dir);
        let redis = self.redis();
        let broker = self.broker(redis.as_ref());
        let jwt_key = self.jwt_key(folder);
        let access_lifetime = self.duration("JWT_EXPIRES_IN", Duration::from_mins(15), SECOND, (SECOND, DAY * 30));
        let refresh_lifetime = self.duration("JWT_REFRESH_EXPIRES_IN", DAY * 7, SECOND, (SECOND, DAY * 365));
        let given_jwt_secret = self.secret("JWT_SECRET", production);
        let given_encryption_keys = self.secrets("ENCRYPTION_KEY", production);
        let service_key = self.secret("SERVICE_API_KEY", production);
        let mock_vendor = self.mock_vendor(production);
        let receipt_secret = self.receipt_secret(production);
        let mail = self.mail(production);
        let settings = Settings {
            environment,
            host: self.values.text("HOST").unwrap_or("127.0.0.1").to_owned(),
            port: self
                .read("PORT", 4000, |text| text.parse().map_err(|_| "must be a port between 0 and 65535".to_owned())),
            base_url,
            allowed_origins,
            database_pool: self.read("DATABASE_POOL_SIZE", None, |text| {
                let connections = text.parse().ok().filter(|connections| (1..=MOST_CONNECTIONS).contains(connections));
                connections.map(Some).ok_or_else(|| format!("must be a number of connections, 1 to {MOST_CONNECTIONS}"))
            }),
            redis,
            broker,
            access_lifetime,
            refresh_lifetime,
            anonymous_limits,
            principal_limit: principal_limit.map(|limit| Policy::new("principal", limit, window)),
            account_limit: login_limits.pop(),
            login_limit: login_limits.pop(),
            import_limit: self.read("IMPORT_MAX_BYTES", 1 << 30, parse::bytes),
            workers: self.read("MAX_WORKERS", 0, |text| {
                let workers = text.parse().ok().filter(|workers| *workers <= 1024);
                workers.ok_or_else(|| "must be a number of threads up to 1024, 0 for one a core".to_owned())
            }),
            shutdown_timeout: self.duration(
                "SHUTDOWN_TIMEOUT",
                Duration::from_secs(30),
                MILLISECOND,
                (Duration::ZERO, DAY),
            ),
            shutdown_delay: self.duration("SHUTDOWN_DELAY", default_delay, MILLISECOND, (Duration::ZERO, DAY)),
            health_interval: self.duration(
                "HEALTH_CHECK_INTERVAL",
                Duration::from_secs(30),
                MILLISECOND,
                (Duration::ZERO, DAY),
            ),
            health_timeout: self.duration(
                "HEALTH_CHECK_TIMEOUT",
                Duration::from_secs(5),
                MILLISECOND,
                (MILLISECOND, DAY),
            ),
            outbound_allow_subnets: self.read("OUTBOUND_ALLOW_SUBNETS", Vec::new(), parse::networks),
            language_model: self.language_model(),
            trusted_proxies: self.read("TRUSTED_PROXIES", Arc::from([]), |text| parse::networks(text).map(Arc::from)),
            registration: self.read("REGISTRATION", default_registration, |text| {
                text.parse().map_err(|_| "must be open, customer or off".to_owned())
            }),
            default_organization: self.read("DEFAULT_ORGANIZATION", None, |text| {
                text.parse().map(Some).map_err(|_| "must be the id of an organization".to_owned())
            }),
            development_tokens: environment == Environment::Development && self.given("GOOGLE_CLIENT_ID").is_none(),
            mock_vendor,
            receipt_secret,
            mail,
            log_level,
            log_format,
            shown: self.shown(&database),
            database,
            jwt_key,
            order_service: self.read("ORDER_SERVICE_URL", None, |text| parse::service_url(text).map(Some)),
            complaint_service: self.read("COMPLAINT_SERVICE_URL", None, |text| parse::service_url(text).map(Some)),
            service_key,
            // Replaced below where none was given.
            jwt_secret: given_jwt_secret.clone().unwrap_or_default(),
            encryption_keys: given_encryption_keys.clone().unwrap_or_default(),
            data_dir,
        };
        // A wrong setting must not leave files behind.
        if !self.errors.is_empty() {
            return None;
        }
        self.with_generated(settings, given_jwt_secret.is_none(), given_encryption_keys.is_none(), random)
    }

    /// With secrets of the data folder in place of those that were not given.
    fn with_generated(
        &mut self,
        mut settings: Settings,
        jwt_secret: bool,
        encryption_key: bool,
        random: &dyn Random,
    ) -> Option<Settings> {
        if !jwt_secret && !encryption_key {
            return Some(settings);
        }
        match secrets::of_folder(&settings.data_dir, random) {
            Ok(generated) => {
                if jwt_secret {
                    settings.jwt_secret = generated.jwt_secret;
                }
                if encryption_key {
                    settings.encryption_keys = vec![generated.encryption_key];
                }
                Some(settings)
            }
            Err(problem) => {
                self.wrong("DATA_DIR", problem);
                None
            }
        }
    }

    /// The URL of Redis, with the password that is given apart from it.
    fn redis(&mut self) -> Option<Secret<String>> {
        let url = self.read("REDIS_URL", None, |text| parse::redis(text).map(Some));
        let Some(password) = self.values.text("REDIS_PASSWORD").map(str::to_owned) else {
            return url.map(|url| Secret::new(url.into()));
        };
        let Some(mut url) = url else {
            self.wrong("REDIS_PASSWORD", "is of no use without REDIS_URL");
            return None;
        };
        if url.password().is_some() || url.set_password(Some(&password)).is_err() {
            self.wrong("REDIS_PASSWORD", "must not be given where REDIS_URL holds a password");
        }
        Some(Secret::new(url.into()))
    }

    /// A secret that is long enough, and in production not one that everybody knows.
    fn secret(&mut self, name: &str, production: bool) -> Option<Secret<String>> {
        let text = self.values.text(name)?.to_owned();
        self.checked_secret(name, &text, production)
    }

    /// Several of them, with commas between.
    fn secrets(&mut self, name: &str, production: bool) -> Option<Vec<Secret<String>>> {
        let text = self.values.text(name)?.to_owned();
        text.split(',').map(|part| self.checked_secret(name, part.trim(), production)).collect()
    }

    fn checked_secret(&mut self, name: &str, text: &str, production: bool) -> Option<Secret<String>> {
        if text.len() < secrets::SHORTEST {
            self.wrong(
                name,
                format!("must have at least {} bytes, for example of: openssl rand -base64 32", secrets::SHORTEST),
            );
            None
        } else if production && secrets::is_weak(text) {
            self.wrong(name, "is a sample or too simple; take one of: openssl rand -base64 32");
            None
        } else {
            Some(Secret::new(text.to_owned()))
        }
    }

    fn jwt_key(&mut self, folder: &Path) -> Option<Secret<String>> {
        let path = folder.join(self.values.text("JWT_KEY_FILE")?);
        match std::fs::read_to_string(&path) {
            Ok(pem) => Some(Secret::new(pem)),
            Err(error) => {
                self.wrong("JWT_KEY_FILE", format!("{} cannot be read: {error}", path.display()));
                None
            }
        }
    }

    fn origins(&mut self, production: bool) -> Origins {
        let origins = self.read("ALLOWED_ORIGINS", Origins::none(), |text| {
            if text == "*" {
                return Ok(Origins::Any);
            }
            parse::list(text).map(parse::origin).collect::<Result<Vec<_>, _>>().map(|list| Origins::List(list.into()))
        });
        if production && origins == Origins::Any {
            self.wrong("ALLOWED_ORIGINS", "cannot be * in production, where pages come with cookies: name the origins");
        }
        origins
    }

    fn database(&mut self, folder: &Path, data_dir: &Path) -> Database {
        let only_mongo = self.given("DATABASE_URL").is_some_and(|given| given.name.starts_with("MONGO"));
        self.read("DATABASE_URL", Database::Sqlite(data_dir.join("crm.db")), |text| {
            match Database::parse(text, folder)? {
                database @ Database::Mongo(_) => Ok(database),
                _ if only_mongo => Err("must begin with mongodb:// or mongodb+srv://".to_owned()),
                database => Ok(database),
            }
        })
    }

    /// What was given and what holds instead, for people.
    fn shown(&self, database: &Database) -> Vec<Shown> {
        let mut shown: Vec<Shown> = Vec::new();
        for setting in SETTINGS {
            let given = self.given(setting.name);
            if given.is_none() && setting.effect == Effect::Later {
                continue;
            }
            shown.push(Shown {
                name: given.map_or(setting.name, |given| &given.name).to_owned(),
                value: match given {
                    Some(_) if setting.name == "DATABASE_URL" => database.to_string(),
                    Some(_) if setting.secret => "(set, not shown)".to_owned(),
                    Some(given) => given.text.clone(),
                    None => setting.default.to_owned(),
                },
                source: given.map(|given| given.source.clone()),
                later: setting.effect == Effect::Later,
            });
        }
        shown.extend(self.values.later.iter().map(|given| Shown {
            name: given.name.clone(),
            value: "(set, not shown)".to_owned(),
            source: Some(given.source.clone()),
            later: true,
        }));
        shown
    }
}
