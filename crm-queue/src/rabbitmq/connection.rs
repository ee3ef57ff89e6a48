use std::{
    collections::HashSet,
    fmt,
    sync::{Arc, Mutex as SyncMutex, PoisonError},
    time::Duration,
};

use crm_core::{
    port::queue::{QueueError, QueueResult},
    secret::Secret,
};
use lapin::{
    Channel, Connection, ConnectionProperties, ErrorKind,
    options::ConfirmSelectOptions,
    protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError},
    uri::AMQPUri,
};
use tokio::sync::Mutex;

/// How often both sides show that they are there, in seconds, unless the URL says otherwise.
const HEARTBEAT: u16 = 10;

/// Where RabbitMQ is, and how it is used.
#[derive(Clone)]
pub struct RabbitMqOptions {
    url: Secret<String>,
    pub(super) prefix: String,
    pub(super) delay_steps: Vec<Duration>,
    pub(super) partitions: u16,
    pub(super) timeout: Duration,
}

impl fmt::Debug for RabbitMqOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RabbitMqOptions")
            .field("prefix", &self.prefix)
            .field("delay_steps", &self.delay_steps)
            .field("partitions", &self.partitions)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl RabbitMqOptions {
    /// `amqp://user:password@host[:port][/virtual-host]`, or `amqps://…` for TLS.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: Secret::new(url.into()),
            prefix: "crm".to_owned(),
            delay_steps: [5, 30, 300, 1800, 7200].map(Duration::from_secs).to_vec(),
            partitions: 4,
            timeout: Duration::from_secs(10),
        }
    }

    /// What the name of every queue and exchange begins with, `crm` unless set.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// The delays that there are queues for: 5 s, 30 s, 5 min, 30 min and 2 h unless set. Any other is put together from
    /// them, and rounded up to the shortest.
    #[must_use]
    pub fn delay_steps(mut self, mut steps: Vec<Duration>) -> Self {
        steps.sort_unstable();
        steps.dedup();
        self.delay_steps = steps;
        self
    }

    /// How many queues the messages with a key are parted into, 1–64, 4 unless set: as many consumers work on them at
    /// once. All processes must have the same number, and it is changed only while those queues are empty.
    #[must_use]
    pub const fn partitions(mut self, partitions: u16) -> Self {
        self.partitions = partitions;
        self
    }

    /// How long a confirm may take, reconnecting included, 10 s unless set.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    pub(super) fn check(&self) -> QueueResult<()> {
        let unusable = |message: &str| Err(QueueError::Unusable(message.to_owned()));
        let prefix_fits = (1..=64).contains(&self.prefix.len())
            && self.prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if !prefix_fits {
            return unusable("RABBITMQ_QUEUE_PREFIX has 1 to 64 letters, digits, and any of - _ .");
        }
        if !(1..=64).contains(&self.partitions) {
            return unusable("the messages with a key are parted into 1 to 64 queues");
        }
        let step_fits = |step: &Duration| (Duration::from_millis(1)..=Duration::from_hours(24)).contains(step);
        if self.delay_steps.is_empty() || self.delay_steps.len() > 16 || !self.delay_steps.iter().all(step_fits) {
            return unusable("there are 1 to 16 delay steps, each of a millisecond to a day");
        }
        self.uri().map(|_| ())
    }

    fn uri(&self) -> QueueResult<AMQPUri> {
        // The error is not shown: it may quote the URL.
        let mut uri: AMQPUri = self.url.expose().parse().map_err(|_| {
            QueueError::Unusable(
                "RABBITMQ_URL is no URL of the form amqp://user:password@host[:port][/virtual-host]".to_owned(),
            )
        })?;
        uri.query.heartbeat.get_or_insert(HEARTBEAT);
        Ok(uri)
    }
}

/// One connection, which is made anew where it broke. Publishers and consumers have one each, so that a broker that
/// holds back publishers does not hold back acknowledgements.
pub(super) struct Link {
    options: RabbitMqOptions,
    purpose: &'static str,
    session: Mutex<Option<Arc<Session>>>,
}

/// A connection while it holds.
pub(super) struct Session {
    connection: Connection,
    /// With confirms, for publishing.
    pub(super) publisher: Channel,
    /// What has been declared over this connection.
    pub(super) declared: SyncMutex<HashSet<String>>,
}

impl Session {
    pub(super) async fn channel(&self) -> QueueResult<Channel> {
        self.connection.create_channel().await.map_err(told)
    }

    fn is_alive(&self) -> bool {
        self.connection.status().connected() && self.publisher.status().connected()
    }

    /// Makes the topology be declared again, since something of it is missing.
    pub(super) fn forget_declared(&self) {
        self.declared.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Link {
    pub(super) fn new(options: RabbitMqOptions, purpose: &'static str) -> Self {
        Self { options, purpose, session: Mutex::default() }
    }

    /// The connection, made anew where there is none. One try.
    pub(super) async fn session(&self) -> QueueResult<Arc<Session>> {
        let mut session = self.session.lock().await;
        if let Some(session) = session.as_ref().filter(|session| session.is_alive()) {
            return Ok(session.clone());
        }
        *session = None;
        let connected = tokio::time::timeout(self.options.timeout, self.connect())
            .await
            .map_err(|_| QueueError::unavailable("RabbitMQ did not answer in time"))??;
        Ok(session.insert(Arc::new(connected)).clone())
    }

    async fn connect(&self) -> QueueResult<Session> {
        let name = format!("{} {}", self.options.prefix, self.purpose);
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let connection = Connection::connect_uri(self.options.uri()?, properties).await.map_err(told)?;
        let publisher = connection.create_channel().await.map_err(told)?;
        publisher.confirm_select(ConfirmSelectOptions::default()).await.map_err(told)?;
        Ok(Session { connection, publisher, declared: SyncMutex::default() })
    }

    /// Makes the topology be declared again over the connection that there is.
    pub(super) async fn forget_declared(&self) {
        if let Some(session) = self.session.lock().await.as_ref() {
            session.forget_declared();
        }
    }

    /// Lets go of a connection that does not answer.
    pub(super) async fn drop_current(&self) {
        *self.session.lock().await = None;
    }

    /// Closes the connection. What is unanswered on it goes back to the queues.
    pub(super) async fn close(&self) {
        if let Some(session) = self.session.lock().await.take() {
            let closing = session.connection.close(200, "closed".into());
            let _ = tokio::time::timeout(Duration::from_secs(5), closing).await;
        }
    }
}

/// What the client said, in words of a queue.
pub(super) fn told(error: lapin::Error) -> QueueError {
    match error.kind() {
        ErrorKind::ProtocolError(cause) => match cause.kind() {
            AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => QueueError::Unusable(
                "RabbitMQ refuses the user or password of RABBITMQ_URL, or does not allow what the CRM needs"
                    .to_owned(),
            ),
            AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) => QueueError::Unusable(format!(
                "RabbitMQ has a queue or exchange of this name that was declared otherwise ({}): delete it once it is \
                 empty, or choose another RABBITMQ_QUEUE_PREFIX",
                cause.get_message()
            )),
            AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED) => {
                QueueError::Unusable("RabbitMQ does not know the virtual host of RABBITMQ_URL".to_owned())
            }
            _ => QueueError::unavailable("RabbitMQ closed the connection"),
        },
        ErrorKind::AuthProviderError(_) => {
            QueueError::Unusable("RabbitMQ does not take the kind of sign-in of RABBITMQ_URL".to_owned())
        }
        ErrorKind::InvalidProtocolVersion(_) => {
            QueueError::Unusable("what RABBITMQ_URL names does not speak AMQP 0.9.1".to_owned())
        }
        ErrorKind::SerialisationError(_) | ErrorKind::ParsingError(_) => QueueError::broker(error),
        _ => QueueError::unavailable("RabbitMQ cannot be reached"),
    }
}
