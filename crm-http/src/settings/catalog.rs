//! Every setting there is: what is not here is misspelt.

/// What a setting does in this version.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Effect {
    /// It is read.
    Now,
    /// It is accepted, and has no effect yet.
    Later,
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its name in the environment and, in any case, in a file.
    pub name: &'static str,
    /// Other names of the same setting.
    pub aliases: &'static [&'static str],
    /// Whether its value is never shown.
    pub secret: bool,
    /// What it does in this version.
    pub effect: Effect,
    /// What holds where it is not given.
    pub default: &'static str,
    /// What it is for.
    pub meaning: &'static str,
}

const fn now(name: &'static str, default: &'static str, meaning: &'static str) -> Setting {
    Setting { name, aliases: &[], secret: false, effect: Effect::Now, default, meaning }
}

const fn later(name: &'static str, meaning: &'static str) -> Setting {
    Setting { name, aliases: &[], secret: false, effect: Effect::Later, default: "none", meaning }
}

impl Setting {
    const fn also(self, aliases: &'static [&'static str]) -> Self {
        Self { aliases, ..self }
    }

    const fn secret(self) -> Self {
        Self { secret: true, ..self }
    }

    /// Whether the setting has this name.
    pub(crate) fn is_named(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(&name)
    }
}

/// Every setting, in the order of the documentation.
pub const SETTINGS: &[Setting] = &[
    now("APP_ENV", "development", "development, test or production. In production weak settings are refused.")
        .also(&["NODE_ENV"]),
    now("CONFIG_FILE", "crm.toml or config.local.json, if present", "A TOML or JSON file with the same names."),
    now("DATA_DIR", "./crm-data", "The folder of the default database and of the generated secrets."),
    now("HOST", "127.0.0.1", "The address to listen on; 0.0.0.0 for every one."),
    now("PORT", "4000", "The port to listen on; 0 for any free one."),
    now("API_VERSION", "v1", "The version of the API; v1 is the only one."),
    now("API_BASE_URL", "none", "The public address of the server; with https, cookies are Secure and HSTS is sent."),
    later("FRONTEND_URL", "The address of the web application."),
    now(
        "ALLOWED_ORIGINS",
        "none",
        "Origins that may call from a browser, separated by commas; * for any, without cookies.",
    )
    .also(&["CORS_ORIGIN"]),
    now("DATABASE_URL", "sqlite in DATA_DIR", "sqlite:PATH, postgres://… or mongodb://… picks the store.")
        .also(&["MONGODB_URI", "MONGO_URI"])
        .secret(),
    now("DATABASE_POOL_SIZE", "the store's own", "Connections to the database.").also(&["MONGODB_POOL_SIZE"]),
    now(
        "REDIS_URL",
        "none",
        "redis://… or rediss://…: what processes share, rate limits and hints of what has changed.",
    )
    .secret(),
    now("REDIS_PASSWORD", "none", "Its password, where the URL does not hold it.").secret(),
    now("RABBITMQ_URL", "none", "amqp://… or amqps://…: a RabbitMQ that events and the work of campaigns go through.").secret(),
    now("RABBITMQ_QUEUE_PREFIX", "crm", "What the names of queues in RabbitMQ begin with."),
    now("QUEUE", "store", "redis for streams in the Redis of REDIS_URL, where there is no RABBITMQ_URL."),
    now("JWT_SECRET", "generated", "Signs access tokens (HS256); at least 32 bytes.").secret(),
    now("JWT_KEY_FILE", "none", "An Ed25519 key (PKCS#8 PEM) that signs access tokens instead (EdDSA)."),
    later("JWT_REFRESH_SECRET", "Refresh tokens are random and stored hashed: they need no secret.").secret(),
    now("JWT_EXPIRES_IN", "15m", "How long an access token lives; a bare number is seconds.").also(&["JWT_EXPIRE"]),
    now("JWT_REFRESH_EXPIRES_IN", "7d", "How long a refresh token lives; a bare number is seconds.")
        .also(&["JWT_REFRESH_EXPIRE"]),
    now("RATE_LIMIT_WINDOW", "900000", "The window of the limit per user or key; a bare number is milliseconds."),
    now("RATE_LIMIT_MAX_REQUESTS", "6000", "Requests in it; off lifts the limit."),
    now("RATE_LIMIT_IP", "100/min,1000/h", "Anonymous requests of one address; off lifts it."),
    now(
        "RATE_LIMIT_LOGIN",
        "10/15min,100/h",
        "Attempts to sign in to one account from one address, and from everywhere; off lifts both, not in production.",
    ),
    now(
        "IMPORT_MAX_BYTES",
        "1GiB",
        "The largest file that is imported over HTTP, such as 500MB; a bare number is bytes.",
    ),
    now("MAX_WORKERS", "0", "Threads, and jobs of one organization at once; 0 for as many as there are cores."),
    now("SHUTDOWN_TIMEOUT", "30000", "How long requests in hand may take after a stop; a bare number is milliseconds."),
    now(
        "SHUTDOWN_DELAY",
        "0, in production 5000",
        "How long requests are still taken after readiness has turned false.",
    ),
    now("HEALTH_CHECK_INTERVAL", "30000", "How often the store is looked at; a bare number is milliseconds."),
    now("HEALTH_CHECK_TIMEOUT", "5000", "How long it may take to answer; a bare number is milliseconds."),
    later("STORAGE_URL", "Where files are kept.").secret(),
    now("SMTP_HOST", "none", "The mail server by which the channel email sends; without it there is no such channel."),
    now("SMTP_PORT", "587", "Its port: 465 speaks TLS from the start, others begin it by STARTTLS."),
    now("SMTP_USER", "none", "Whom it knows us by."),
    now("SMTP_PASS", "none", "The password of SMTP_USER.").secret(),
    now("SMTP_FROM", "none", "Whom mail is from, such as: Shop <news@example.com>. Needed with SMTP_HOST."),
    now(
        "SMTP_TLS",
        "required",
        "required, or off for a server on the same machine or network that knows no TLS; not off in production.",
    ),
    now(
        "DELIVERY_RECEIPT_SECRET",
        "made of ENCRYPTION_KEY",
        "What vendors sign receipts with: whsec_ and base64, or another text of at least 32 bytes.",
    )
    .secret(),
    now("MOCK_VENDOR", "on, in production off", "Whether there is the channel mock, whose built-in vendor sends nothing."),
    now("MOCK_VENDOR_FAILURE_RATE", "0.1", "How many of its messages fail, 0 to 1."),
    now("MOCK_VENDOR_LATENCY", "200", "How long each step takes: sent, delivered, read; a bare number is milliseconds."),
    now("MOCK_VENDOR_LATE_RATE", "0", "How many messages have receipts that come 5 s later."),
    now("MOCK_VENDOR_DUPLICATE_RATE", "0.05", "How many have receipts that come twice."),
    now("MOCK_VENDOR_DISORDER_RATE", "0.05", "How many have receipts that come in the wrong order."),
    now("MOCK_VENDOR_LOST_RATE", "0", "How many have no receipts."),
    now("MOCK_VENDOR_SEED", "0", "Another number is another fate for every message."),
    later("IMAP_HOST", "A first mailbox."),
    later("IMAP_PORT", "A first mailbox."),
    later("IMAP_USER", "A first mailbox."),
    later("IMAP_PASS", "A first mailbox.").secret(),
    now(
        "OUTBOUND_ALLOW_SUBNETS",
        "none",
        "CIDR blocks that requests to addresses named by organizations may reach although they are private.",
    ),
    now("TRUSTED_PROXIES", "none", "CIDR blocks whose X-Forwarded-For is believed, separated by commas."),
    later("GOOGLE_CLIENT_ID", "Sign-in with Google; turns dev tokens off."),
    later("GOOGLE_CLIENT_SECRET", "Sign-in with Google.").secret(),
    later("GOOGLE_CALLBACK_URL", "Sign-in with Google."),
    now("AI_BASE_URL", "none", "A language model with OpenAI's interface, such as https://api.example.com/v1."),
    now("AI_API_KEY", "none", "Its key, sent as a bearer token.").secret(),
    now("AI_MODEL", "none", "The name of the model there; needed with AI_BASE_URL."),
    now("REGISTRATION", "open, in production off", "Who may register: open, customer or off."),
    now("DEFAULT_ORGANIZATION", "none", "The id of the organization of those who register without one."),
    now("SERVICE_API_KEY", "none", "A key for services; at least 32 bytes.").secret(),
    now("ORDER_SERVICE_URL", "none", "Another service that keeps customers' orders; it is given SERVICE_API_KEY."),
    now("COMPLAINT_SERVICE_URL", "none", "Another service that keeps customers' complaints; it is given SERVICE_API_KEY."),
    later("AUTH_SERVICE_URL", "Another service's sign-in."),
    now(
        "ENCRYPTION_KEY",
        "generated",
        "Encrypts secrets at rest; at least 32 bytes. Several with commas between them, the newest first, to rotate it.",
    )
    .secret(),
    later("GEOIP_DATABASE", "Countries of addresses."),
    now("LOG_LEVEL", "info", "error, warn, info, debug or trace; or more, such as info,crm_core=debug."),
    now("LOG_FORMAT", "text, in production json", "text or json."),
    later("OTEL_EXPORTER_OTLP_ENDPOINT", "Where traces go."),
];

/// Families of settings of later versions, by what their names begin with.
pub(crate) const LATER_FAMILIES: &[&str] = &["WHATSAPP_", "EXOTEL_", "STORAGE_", "S3_", "OTEL_"];

/// What the names of settings begin with that nobody else's variables do: another name like it is misspelt.
pub(crate) const OWN_FAMILIES: &[&str] =
    &["JWT_", "RATE_LIMIT_", "HEALTH_CHECK_", "SHUTDOWN_", "RABBITMQ_", "MONGODB_", "SMTP_", "IMAP_", "MOCK_VENDOR"];
