use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crm_core::{port::queue::QueueError, secret::Secret};
use redis::{
    Client, ErrorKind, FromRedisValue, RedisError, ScriptInvocation, ServerErrorKind,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use tokio::time::Instant;

/// Where Redis is, and how it is used.
#[derive(Clone)]
pub struct RedisOptions {
    url: Secret<String>,
    prefix: String,
    timeout: Duration,
}

impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOptions")
            .field("prefix", &self.prefix)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl RedisOptions {
    /// `redis://[user:password@]host[:port][/database]`, or `rediss://…` for TLS.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: Secret::new(url.into()), prefix: "crm".to_owned(), timeout: Duration::from_secs(5) }
    }

    /// What every key begins with, `crm` unless set: two installations can share a Redis.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// How long an answer may take, 5 s unless set.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

/// What commands go through.
struct Current {
    manager: ConnectionManager,
    since: Instant,
}

/// Why Redis did not answer as it should.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It is away, or too busy to answer in time.
    Away(&'static str),
    /// It refuses us, or is no Redis that we can use.
    Unusable(String),
    /// A fault.
    Fault(RedisError),
}

/// How soon a connection is made anew after one that was refused.
const REFUSAL: Duration = Duration::from_secs(1);

/// A connection that comes back by itself.
pub(crate) struct Link {
    client: Client,
    config: ConnectionManagerConfig,
    current: Mutex<Current>,
    prefix: String,
    timeout: Duration,
}

impl Link {
    /// Does not wait for Redis, which may come later.
    pub(crate) fn open(options: &RedisOptions) -> Result<Self, Failure> {
        let prefix_fits = (1..=64).contains(&options.prefix.len())
            && options.prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte));
        if !prefix_fits {
            return Err(Failure::Unusable(
                "the prefix of Redis keys has 1 to 64 letters, digits, and any of - _ . :".to_owned(),
            ));
        }
        // The error is not shown: it may quote the URL.
        let client = Client::open(options.url.expose().as_str()).map_err(|_| {
            Failure::Unusable(
                "REDIS_URL is no URL of the form redis://[user:password@]host[:port][/database]".to_owned(),
            )
        })?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(options.timeout))
            .set_response_timeout(Some(options.timeout))
            .set_number_of_retries(2)
            .set_min_delay(Duration::from_millis(50))
            .set_max_delay(Duration::from_secs(1));
        let manager =
            ConnectionManager::new_lazy_with_config(client.clone(), config.clone()).map_err(Failure::Fault)?;
        let current = Mutex::new(Current { manager, since: Instant::now() });
        Ok(Self { client, config, current, prefix: options.prefix.clone(), timeout: options.timeout })
    }

    pub(crate) const fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(crate) const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Runs a script, by its hash; Redis is told the text where it does not know it.
    pub(crate) async fn run<T: FromRedisValue>(&self, invocation: &ScriptInvocation<'_>) -> Result<T, Failure> {
        let mut manager = self.manager();
        self.in_time(invocation.invoke_async(&mut manager)).await
    }

    pub(crate) async fn query<T: FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, Failure> {
        let mut manager = self.manager();
        self.in_time(command.query_async(&mut manager)).await
    }

    async fn in_time<T>(&self, answer: impl Future<Output = redis::RedisResult<T>>) -> Result<T, Failure> {
        let answer = match tokio::time::timeout(self.timeout, answer).await {
            Ok(answer) => answer.map_err(Failure::from),
            Err(_) => Err(Failure::Away("Redis did not answer in time")),
        };
        if let Err(Failure::Unusable(_)) = answer {
            self.begin_anew();
        }
        answer
    }

    fn manager(&self) -> ConnectionManager {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).manager.clone()
    }

    /// A manager keeps the answer of a Redis that refused it, so that a password that is put right later, there or in
    /// front of it, would never be seen.
    fn begin_anew(&self) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.since.elapsed() < REFUSAL {
            return;
        }
        if let Ok(manager) = ConnectionManager::new_lazy_with_config(self.client.clone(), self.config.clone()) {
            *current = Current { manager, since: Instant::now() };
        }
    }
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        match error.kind() {
            ErrorKind::AuthenticationFailed => {
                Self::Unusable("Redis refuses the user or password of REDIS_URL".to_owned())
            }
            ErrorKind::Server(ServerErrorKind::NoPerm) => {
                Self::Unusable("Redis does not allow this user what the CRM needs".to_owned())
            }
            ErrorKind::Io => Self::Away("Redis cannot be reached"),
            ErrorKind::Server(
                ServerErrorKind::BusyLoading
                | ServerErrorKind::TryAgain
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ReadOnly,
            ) => Self::Away("Redis cannot answer for now"),
            _ if error.is_connection_dropped() || error.is_timeout() => Self::Away("Redis cannot be reached"),
            _ => Self::Fault(error),
        }
    }
}

impl From<Failure> for QueueError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Away(message) => Self::unavailable(message),
            Failure::Unusable(message) => Self::Unusable(message),
            Failure::Fault(error) => Self::broker(error),
        }
    }
}
