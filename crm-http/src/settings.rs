//! The settings of the server, read once, checked whole: every wrong one is named in one go.
//!
//! Defaults < `crm.toml` or `config.local.json` (or `CONFIG_FILE`) < `.env`, outside production < the environment.

mod broker;
pub mod catalog;
mod database;
mod delivery;
mod parse;
mod reader;
pub(crate) mod secrets;
mod source;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    env, fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crm_core::{
    account::RegistrationMode, delivery::MockVendorSettings, id::OrganizationId, limit::Policy, port::Random,
    secret::Secret, webhook::SigningSecret,
};
use ipnet::IpNet;

pub use self::{broker::Broker, database::Database, delivery::Mail, source::Source};
use self::{reader::Reader, source::Values};
use crate::options::Origins;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

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
