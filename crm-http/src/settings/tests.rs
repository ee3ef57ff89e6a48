use std::fs;

use crm_core::port::SeededRandom;

use super::{
    catalog::{Effect, SETTINGS},
    *,
};

const STRONG: &str = "Vt0mOq3r1n9jKcB7xW5hZsYdLg2fUeAi";

fn read(folder: &Path, environment: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Settings::read(folder, &environment, &SeededRandom::new(1))
}

fn of(environment: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    read(tempfile::tempdir().unwrap().path(), environment)
}

fn wrong(environment: &[(&str, &str)]) -> Vec<String> {
    of(environment).unwrap_err().0.into_iter().map(|error| error.name).collect()
}

#[test]
fn nothing_given_is_enough() {
    let folder = tempfile::tempdir().unwrap();
    let settings = read(folder.path(), &[("PATH", "/bin"), ("HOME", "/"), ("HOSTNAME", "x"), ("LANG", "C")]).unwrap();
    assert_eq!((settings.host.as_str(), settings.port), ("127.0.0.1", 4000));
    assert_eq!(settings.database.to_string(), folder.path().join("crm-data/crm.db").display().to_string());
    assert_eq!(settings.registration, RegistrationMode::Open);
    assert!(settings.development_tokens && !settings.is_https());
    assert_eq!(settings.anonymous_limits.len(), 2);
    assert!(folder.path().join("crm-data/secrets.json").is_file());
}

#[test]
fn the_environment_wins_over_files() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("crm.toml"),
        "port = 1\nhost = \"a\"\njwt_expire = \"1h\"\n[health_check]\ntimeout = 7000\n",
    )
    .unwrap();
    fs::write(folder.path().join(".env"), "PORT=2\nLOG_LEVEL=debug\n# a remark\nREDIS_URL=\n").unwrap();
    let settings = read(folder.path(), &[("PORT", "3")]).unwrap();
    assert_eq!((settings.port, settings.host.as_str(), settings.log_level.as_str()), (3, "a", "debug"));
    assert_eq!(settings.access_lifetime, Duration::from_hours(1));
    assert_eq!(settings.health_timeout, Duration::from_secs(7));
    let settings = read(folder.path(), &[]).unwrap();
    assert_eq!(settings.port, 2);
    let settings = read(folder.path(), &[("NODE_ENV", "production")]).unwrap();
    assert_eq!((settings.port, settings.log_format), (1, LogFormat::Json));
}

#[test]
fn a_json_file_serves_too() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("config.local.json"),
        r#"{"PORT": 5, "allowed_origins": ["https://a.example", "https://b.example"]}"#,
    )
    .unwrap();
    let settings = read(folder.path(), &[]).unwrap();
    assert_eq!(settings.port, 5);
    let list = ["https://a.example".to_owned(), "https://b.example".to_owned()];
    assert_eq!(settings.allowed_origins, Origins::List(Arc::from(list)));
}

#[test]
fn every_wrong_setting_is_named() {
    assert_eq!(
        wrong(&[("PORT", "no"), ("JWT_SECRET", "short"), ("RATE_LIMIT_IP", "many"), ("LOG_FORMAT", "xml")]),
        ["LOG_FORMAT", "RATE_LIMIT_IP", "JWT_SECRET", "PORT"]
    );
    for (name, value) in [
        ("APP_ENV", "live"),
        ("API_VERSION", "v2"),
        ("ALLOWED_ORIGINS", "https://a.example/path"),
        ("CORS_ORIGIN", "rubbish"),
        ("DATABASE_URL", "oracle:thin"),
        ("DATABASE_URL", "postgres:crm"),
        ("MONGO_URI", "postgres://localhost/crm"),
        ("MONGODB_POOL_SIZE", "0"),
        ("JWT_EXPIRES_IN", "soon"),
        ("JWT_KEY_FILE", "nowhere.pem"),
        ("SHUTDOWN_TIMEOUT", "-1"),
        ("TRUSTED_PROXIES", "10.0.0.0/99"),
        ("REGISTRATION", "maybe"),
        ("DEFAULT_ORGANIZATION", "Shop"),
        ("CONFIG_FILE", "nowhere.toml"),
        ("LOG_LEVEL", "a=b=c"),
        ("RATE_LIMIT_MAX_REQUEST", "5"),
        ("DATABSE_URL", "sqlite:x.db"),
        ("JWT_SECRETS", STRONG),
        ("JWT_ISSUER", "x"),
        ("SERVICE_API_KEY", "short"),
    ] {
        assert_eq!(wrong(&[(name, value)]), [name], "{name}={value}");
    }
    let error = of(&[("DATABASE_URL", "oracle://scott:tiger@x")]).unwrap_err().to_string();
    assert!(["sqlite:", "postgres:", "mongodb:"].iter().all(|scheme| error.contains(scheme)), "{error}");
    assert!(!error.contains("tiger"), "{error}");
}

#[test]
fn a_file_may_not_hold_what_is_no_setting() {
    let folder = tempfile::tempdir().unwrap();
    for (file, text, name) in [
        ("crm.toml", "prot = 1", "prot"),
        ("crm.toml", "colour = 1", "colour"),
        ("crm.toml", "port = [", "CONFIG_FILE"),
        (".env", "POTR=1", "POTR"),
        (".env", "a line without a sign", ".env"),
    ] {
        let path = folder.path().join(file);
        fs::write(&path, text).unwrap();
        let errors = read(folder.path(), &[]).unwrap_err();
        assert_eq!(errors.0.first().map(|error| error.name.as_str()), Some(name), "{errors}");
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn production_refuses_what_is_weak() {
    const PRODUCTION: (&str, &str) = ("NODE_ENV", "production");
    assert!(of(&[PRODUCTION, ("JWT_SECRET", STRONG)]).is_ok());
    for (name, value) in [
        ("JWT_SECRET", "your-jwt-secret-your-jwt-secret-your-jwt-secret"),
        ("ENCRYPTION_KEY", "change-me-change-me-change-me-change-me"),
        ("SERVICE_API_KEY", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
        ("ALLOWED_ORIGINS", "*"),
        ("RATE_LIMIT_LOGIN", "off"),
    ] {
        assert_eq!(wrong(&[PRODUCTION, (name, value)]), [name], "{name}={value}");
        assert!(of(&[(name, value)]).is_ok(), "{name}={value}");
    }
    let settings = of(&[PRODUCTION]).unwrap();
    assert!(!settings.development_tokens && settings.is_https());
    assert_eq!(settings.registration, RegistrationMode::Off);
}

#[test]
fn two_names_of_one_setting_must_agree() {
    assert!(of(&[("JWT_EXPIRE", "1h"), ("JWT_EXPIRES_IN", "1h")]).is_ok());
    assert_eq!(wrong(&[("JWT_EXPIRE", "1h"), ("JWT_EXPIRES_IN", "2h")]).len(), 1);
}

#[test]
fn settings_of_later_versions_are_accepted_and_say_so() {
    let settings = of(&[("IMAP_PASS", "hunter2"), ("WHATSAPP_TOKEN", "hunter2"), ("IMAP_HOST", "mail")]).unwrap();
    for name in ["IMAP_PASS", "WHATSAPP_TOKEN", "IMAP_HOST"] {
        let shown = settings.shown.iter().find(|shown| shown.name == name).unwrap();
        assert!(shown.later, "{name}");
    }
    assert!(!format!("{settings:?}").contains("hunter2"));
}

#[test]
fn redis_is_named_by_a_url_and_its_password_never_shown() {
    assert!(of(&[]).unwrap().redis.is_none());
    let url = |given: &[(&str, &str)]| of(given).unwrap().redis.unwrap().expose().clone();
    assert_eq!(url(&[("REDIS_URL", "redis://:hunter2@localhost")]), "redis://:hunter2@localhost");
    let apart = [("REDIS_URL", "rediss://redis.example:6380/2"), ("REDIS_PASSWORD", "hunter2 @/")];
    assert_eq!(url(&apart), "rediss://:hunter2%20%40%2F@redis.example:6380/2");
    assert!(!format!("{:?}", of(&apart).unwrap()).contains("hunter2"));
    for text in ["localhost:6379", "http://localhost", "redis://", "redis:localhost"] {
        assert_eq!(wrong(&[("REDIS_URL", text)]), ["REDIS_URL"], "{text}");
    }
    assert_eq!(wrong(&[("REDIS_PASSWORD", "hunter2")]), ["REDIS_PASSWORD"]);
    assert_eq!(wrong(&[("REDIS_URL", "redis://:a@b"), ("REDIS_PASSWORD", "hunter2")]), ["REDIS_PASSWORD"]);
}

#[test]
fn events_go_through_the_broker_that_is_named() {
    assert!(matches!(of(&[]).unwrap().broker, Broker::Store));
    assert!(matches!(of(&[("REDIS_URL", "redis://localhost")]).unwrap().broker, Broker::Store), "that is for limits");
    let redis = [("REDIS_URL", "redis://:hunter2@localhost"), ("QUEUE", "redis")];
    assert!(matches!(of(&redis).unwrap().broker, Broker::Redis(url) if url.expose() == "redis://:hunter2@localhost"));
    let rabbitmq = [("RABBITMQ_URL", "amqp://crm:hunter2@localhost"), ("RABBITMQ_QUEUE_PREFIX", "crm-2")];
    let settings = of(&rabbitmq).unwrap();
    assert!(matches!(&settings.broker, Broker::RabbitMq { prefix, .. } if prefix == "crm-2"));
    assert!(!format!("{settings:?}").contains("hunter2"));
    assert_eq!(wrong(&[("QUEUE", "redis")]), ["QUEUE"]);
    assert_eq!(wrong(&[("QUEUE", "kafka")]), ["QUEUE"]);
    for text in ["localhost:5672", "http://localhost", "amqp://"] {
        assert_eq!(wrong(&[("RABBITMQ_URL", text)]), ["RABBITMQ_URL"], "{text}");
    }
    assert_eq!(wrong(&[("RABBITMQ_QUEUE_PREFIX", "a/b")]), ["RABBITMQ_QUEUE_PREFIX"]);
}

#[test]
fn limits_can_be_lifted() {
    let settings =
        of(&[("RATE_LIMIT_IP", "off"), ("RATE_LIMIT_LOGIN", "off"), ("RATE_LIMIT_MAX_REQUESTS", "off")]).unwrap();
    assert!(
        settings.anonymous_limits.is_empty() && settings.login_limit.is_none() && settings.principal_limit.is_none()
    );
}

#[test]
fn attempts_to_sign_in_are_limited_twice() {
    for (text, expected) in [
        ("10/15min,100/h", Some((10, 100))),
        ("20/min", Some((20, 100))),
        ("20/min,30/h", Some((20, 30))),
        ("off", None),
    ] {
        let settings = of(&[("RATE_LIMIT_LOGIN", text)]).unwrap();
        let limits = settings.login_limit.zip(settings.account_limit);
        assert_eq!(limits.map(|(address, account)| (address.limit, account.limit)), expected, "{text}");
    }
    assert_eq!(wrong(&[("RATE_LIMIT_LOGIN", "1/min,2/h,3/d")]), ["RATE_LIMIT_LOGIN"]);
}

#[test]
fn secrets_are_never_shown() {
    let settings = of(&[("JWT_SECRET", STRONG), ("ENCRYPTION_KEY", STRONG), ("SERVICE_API_KEY", STRONG)]).unwrap();
    assert!(!format!("{settings:?}").contains(STRONG));
}

#[test]
fn the_password_of_a_database_is_never_shown() {
    for (name, url) in [
        ("DATABASE_URL", "postgres://crm:hunter2@db.example/crm"),
        ("MONGODB_URI", "mongodb://crm:hunter2@db.example/crm"),
        ("MONGO_URI", "mongodb+srv://crm:hunter2@db.example/crm"),
    ] {
        let settings = of(&[(name, url), ("MONGODB_POOL_SIZE", "7")]).unwrap();
        assert!(settings.database.to_string().ends_with("://db.example/crm"), "{}", settings.database);
        assert_eq!(settings.database_pool, Some(7));
        let shown = settings.shown.iter().find(|shown| shown.name == name).unwrap();
        assert_eq!(shown.value, settings.database.to_string());
        assert!(!format!("{settings:?}").contains("hunter2"), "{name}");
    }
    assert_eq!(wrong(&[("DATABASE_URL", "postgres://a/crm"), ("MONGODB_URI", "mongodb://a/crm")]).len(), 1);
}

#[test]
fn names_are_known_once() {
    let mut names: Vec<&str> = SETTINGS
        .iter()
        .flat_map(|setting| std::iter::once(setting.name).chain(setting.aliases.iter().copied()))
        .collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn every_setting_is_documented() {
    let manual = include_str!("../../../docs/configuration.md");
    for setting in SETTINGS.iter().filter(|setting| setting.effect == Effect::Now) {
        for name in std::iter::once(&setting.name).chain(setting.aliases) {
            assert!(manual.contains(&format!("`{name}`")), "{name} is not in docs/configuration.md");
        }
    }
}

#[test]
fn messages_leave_as_the_settings_say() {
    let settings = of(&[]).unwrap();
    assert!(settings.mail.is_none() && settings.receipt_secret.is_none());
    assert_eq!(settings.mock_vendor, Some(MockVendorSettings::default()));
    assert_eq!(settings.public_url().as_deref(), Some("http://127.0.0.1:4000"));
    let mail = [("SMTP_HOST", "mail.example"), ("SMTP_FROM", "Shop <news@example.com>"), ("SMTP_PORT", "465")];
    let mail = of(&mail).unwrap().mail.unwrap();
    assert_eq!((mail.host.as_str(), mail.port, mail.tls), ("mail.example", 465, true));
    let given = [
        ("MOCK_VENDOR_FAILURE_RATE", "0.5"),
        ("MOCK_VENDOR_LATENCY", "2s"),
        ("MOCK_VENDOR_SEED", "7"),
        ("DELIVERY_RECEIPT_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        ("API_BASE_URL", "https://crm.example.com"),
    ];
    let settings = of(&given).unwrap();
    let vendor = settings.mock_vendor.unwrap();
    assert_eq!((vendor.failure_rate, vendor.latency, vendor.seed), (0.5, Duration::from_secs(2), 7));
    assert!(settings.receipt_secret.is_some());
    assert_eq!(settings.public_url().as_deref(), Some("https://crm.example.com"));
    let strong = [("APP_ENV", "production"), ("JWT_SECRET", STRONG), ("ENCRYPTION_KEY", STRONG)];
    let settings = of(&strong).unwrap();
    assert!(settings.mock_vendor.is_none() && settings.public_url().is_none());
    assert!(of(&[strong[0], strong[1], strong[2], ("MOCK_VENDOR", "on")]).unwrap().mock_vendor.is_some());
    for (name, value) in [
        ("MOCK_VENDOR", "yes"),
        ("MOCK_VENDOR_LOST_RATE", "1.5"),
        ("MOCK_VENDOR_LATE_RATE", "NaN"),
        ("DELIVERY_RECEIPT_SECRET", "short"),
        ("DELIVERY_RECEIPT_SECRET", "whsec_AAAA"),
        ("SMTP_TLS", "perhaps"),
        ("SMTP_PORT", "0"),
    ] {
        assert_eq!(wrong(&[(name, value)]), [name], "{name} {value}");
    }
    assert_eq!(wrong(&[("SMTP_HOST", "mail")]), ["SMTP_FROM"]);
    assert_eq!(wrong(&[("SMTP_HOST", "mail"), ("SMTP_FROM", "nobody")]), ["SMTP_FROM"]);
    assert_eq!(wrong(&[("SMTP_HOST", "mail"), ("SMTP_FROM", "a@b.example"), ("SMTP_USER", "a")]), ["SMTP_PASS"]);
}
