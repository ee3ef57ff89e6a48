use crm_core::secret::Secret;
use url::Url;

use super::reader::Reader;

/// The longest prefix of the names of queues.
const LONGEST_PREFIX: usize = 64;

/// What events and the work of campaigns go through.
#[derive(Clone, Debug)]
pub enum Broker {
    /// Nothing besides the store: the process that takes an event from the outbox deals with it.
    Store,
    /// RabbitMQ.
    RabbitMq {
        /// Its URL, with the password.
        url: Secret<String>,
        /// What the names of queues begin with.
        prefix: String,
    },
    /// Streams of Redis.
    Redis(Secret<String>),
}

impl Reader<'_> {
    pub(super) fn broker(&mut self, redis: Option<&Secret<String>>) -> Broker {
        let in_redis = self.read("QUEUE", false, |text| match text {
            "store" => Ok(false),
            "redis" => Ok(true),
            _ => Err("must be store or redis; RABBITMQ_URL is enough for RabbitMQ".to_owned()),
        });
        let prefix = self.read("RABBITMQ_QUEUE_PREFIX", "crm".to_owned(), prefix);
        if let Some(url) = self.read("RABBITMQ_URL", None, |text| rabbitmq(text).map(Some)) {
            return Broker::RabbitMq { url, prefix };
        }
        match redis {
            Some(url) if in_redis => Broker::Redis(url.clone()),
            None if in_redis => {
                self.wrong("QUEUE", "cannot be redis without REDIS_URL");
                Broker::Store
            }
            _ => Broker::Store,
        }
    }
}

fn prefix(text: &str) -> Result<String, String> {
    let fits = (1..=LONGEST_PREFIX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if fits { Ok(text.to_owned()) } else { Err("must be 1 to 64 letters, digits, and any of - _ .".to_owned()) }
}

/// Says nothing of what it refuses.
fn rabbitmq(text: &str) -> Result<Secret<String>, String> {
    let url = Url::parse(text).ok();
    let fits = url.is_some_and(|url| {
        matches!(url.scheme(), "amqp" | "amqps") && url.host_str().is_some_and(|host| !host.is_empty())
    });
    if fits {
        Ok(Secret::new(text.to_owned()))
    } else {
        Err("must be an address such as amqp://user:password@host:5672/virtual-host".to_owned())
    }
}
