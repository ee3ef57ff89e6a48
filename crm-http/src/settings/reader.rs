//! The reading of each setting, and of what they mean together.

use std::{path::Path, str::FromStr as _, sync::Arc, time::Duration};

use crm_core::{account::RegistrationMode, limit::Policy, port::Random, secret::Secret};

use super::{
    Database, Environment, LogFormat, MILLISECOND, ModelSettings, SECOND, SettingError, Settings, Shown,
    catalog::{Effect, SETTINGS},
    parse, secrets,
    source::{Given, Values},
};
use crate::options::Origins;

/// The names of the limits of anonymous requests, as clients see them.
const ANONYMOUS_POLICIES: [&str; 4] = ["anonymous", "anonymous-2", "anonymous-3", "anonymous-4"];
/// The names of the limits of attempts to sign in: per account and address, and per account.
const LOGIN_POLICIES: [&str; 2] = ["login", "login-account"];
/// More connections than this to one database are a mistake.
const MOST_CONNECTIONS: u16 = 1000;

/// Reads values, and notes what is wrong.
pub(super) struct Reader<'a> {
    pub(super) values: &'a Values,
    pub(super) errors: Vec<SettingError>,
}

impl Reader<'_> {
    fn given(&self, name: &str) -> Option<&Given> {
        self.values.known.get(name)
    }

    pub(super) fn wrong(&mut self, name: &str, problem: impl Into<String>) {
        let error = match self.values.known.get(name) {
            Some(given) => SettingError::new(&given.name, &given.source, problem.into()),
            None => SettingError { name: name.to_owned(), place: "default".to_owned(), problem: problem.into() },
        };
        self.errors.push(error);
    }

    /// The value read, or `default` where it was not given or is wrong.
    pub(super) fn read<T>(&mut self, name: &str, default: T, read: impl FnOnce(&str) -> Result<T, String>) -> T {
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

    pub(super) fn duration(
        &mut self,
        name: &str,
        default: Duration,
        unit: Duration,
        range: (Duration, Duration),
    ) -> Duration {
        self.read(name, default, |text| {
            let duration = parse::duration(text, unit)?;
            if (range.0..=range.1).contains(&duration) {
                Ok(duration)
            } else {
                Err(format!("must be between {} and {} s", range.0.as_secs_f64(), range.1.as_secs_f64()))
            }
        })
    }

    pub(super) fn settings(&mut self, folder: &Path, random: &dyn Random) -> Option<Settings> {
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
    pub(super) fn secret(&mut self, name: &str, production: bool) -> Option<Secret<String>> {
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
