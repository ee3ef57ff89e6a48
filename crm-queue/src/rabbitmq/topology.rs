//! The names of queues and exchanges, and what they are declared with.
//!
//! Messages are published to the exchange `work`, by `topic:lane` for every group or `topic.group:lane` for one. A lane
//! is a priority, or a partition of the messages with a key. A delay is a queue that nobody consumes: what has waited
//! there goes back to `work`, by the key that it was published with.

use std::{collections::BTreeMap, sync::PoisonError, time::Duration};

use crm_core::port::queue::{Group, Message, Priority, QueueError, QueueResult, Topic};
use lapin::{
    Channel, ErrorKind, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    protocol::{AMQPErrorKind, AMQPSoftError},
    types::{AMQPValue, FieldTable},
};

use super::connection::{RabbitMqOptions, Session, told};

/// Names under a prefix.
#[derive(Clone, Debug)]
pub(super) struct Topology {
    prefix: String,
    partitions: u16,
    steps: Vec<Duration>,
}

/// The arguments of a queue, as the newest brokers take them, then as older ones do.
type Arguments = Vec<FieldTable>;

impl Topology {
    pub(super) fn new(options: &RabbitMqOptions) -> Self {
        Self { prefix: options.prefix.clone(), partitions: options.partitions, steps: options.delay_steps.clone() }
    }

    pub(super) fn work(&self) -> String {
        format!("{}.work", self.prefix)
    }

    pub(super) fn dead_exchange(&self) -> String {
        format!("{}.dead", self.prefix)
    }

    pub(super) fn dead(&self, group: Group) -> String {
        format!("{}.{}.dead", self.prefix, name_of(group))
    }

    pub(super) fn queue(&self, group: Group, lane: &str) -> String {
        format!("{}.{}.{lane}", self.prefix, name_of(group))
    }

    pub(super) fn delay(&self, group: Group, step: Duration) -> String {
        format!("{}.{}.delay.{}ms", self.prefix, name_of(group), step.as_millis())
    }

    pub(super) fn steps(&self) -> &[Duration] {
        &self.steps
    }

    /// The longest step that is not longer, else the shortest, and what is left after it.
    pub(super) fn step(&self, delay: Duration) -> (Duration, Duration) {
        let fits = self.steps.iter().rev().find(|step| **step <= delay).or_else(|| self.steps.first());
        let step = fits.copied().unwrap_or(delay);
        (step, delay.saturating_sub(step))
    }

    /// The lane of a message.
    pub(super) fn lane(&self, message: &Message) -> String {
        match &message.key {
            Some(key) => {
                keyed(u16::try_from(crate::hash::of(key.as_bytes()) % u64::from(self.partitions)).unwrap_or(0))
            }
            None => message.priority.to_string(),
        }
    }

    /// The lanes of messages with a key.
    pub(super) fn keyed_lanes(&self) -> impl Iterator<Item = String> {
        (0..self.partitions).map(keyed)
    }

    /// Declares what the group's messages need, once for each connection.
    pub(super) async fn declare(&self, session: &Session, group: Group) -> QueueResult<()> {
        let name = name_of(group);
        if is_declared(session, &name) {
            return Ok(());
        }
        let channel = session.channel().await?;
        for exchange in [self.work(), self.dead_exchange()] {
            exchange_declare(&channel, &exchange, ExchangeKind::Direct).await?;
        }
        // Each is noted, so that a broker that is slow, as after its start, is not asked for all of them again.
        let dead = self.dead(group);
        if !is_declared(session, &dead) {
            // Looking at dead letters hands them out and takes them back, which must never drop one. The least that
            // means no limit in one version of the broker means none at all in another, so it is the largest.
            let unlimited = quorum([("x-delivery-limit", AMQPValue::LongInt(i32::MAX))]);
            queue_declare(session, &dead, vec![unlimited]).await?;
            bind(&channel, &dead, &self.dead_exchange(), &name).await?;
            note_declared(session, dead);
        }
        let priorities = Priority::ALL.into_iter().map(|priority| (priority.to_string(), false));
        for (lane, single) in priorities.chain(self.keyed_lanes().map(|lane| (lane, true))) {
            let queue = self.queue(group, &lane);
            if is_declared(session, &queue) {
                continue;
            }
            queue_declare(session, &queue, self.work_arguments(&name, single)).await?;
            for route in [format!("{}:{lane}", group.topic().name), format!("{name}:{lane}")] {
                bind(&channel, &queue, &self.work(), &route).await?;
            }
            note_declared(session, queue);
        }
        note_declared(session, name);
        Ok(())
    }

    pub(super) async fn declare_topic(&self, session: &Session, topic: &'static Topic) -> QueueResult<()> {
        for group in topic.all_groups() {
            self.declare(session, group).await?;
        }
        Ok(())
    }

    /// Declares the queue of a delay, once for each connection.
    pub(super) async fn declare_delay(&self, session: &Session, group: Group, step: Duration) -> QueueResult<()> {
        let name = self.delay(group, step);
        if is_declared(session, &name) {
            return Ok(());
        }
        let channel = session.channel().await?;
        exchange_declare(&channel, &self.work(), ExchangeKind::Direct).await?;
        exchange_declare(&channel, &name, ExchangeKind::Fanout).await?;
        let ttl = AMQPValue::LongLongInt(i64::try_from(step.as_millis()).unwrap_or(i64::MAX));
        let to_work = text(self.work());
        let back = [("x-message-ttl", ttl.clone()), ("x-dead-letter-exchange", to_work.clone())];
        // Quorum queues know no time to live before 3.10.
        let classic = table([("x-message-ttl", ttl), ("x-dead-letter-exchange", to_work)]);
        queue_declare(session, &name, vec![at_least_once(quorum(back.clone())), quorum(back), classic]).await?;
        bind(&channel, &name, &name, "").await?;
        note_declared(session, name);
        Ok(())
    }

    fn work_arguments(&self, name: &str, single: bool) -> Arguments {
        let mut arguments = quorum([
            ("x-dead-letter-exchange", text(self.dead_exchange())),
            ("x-dead-letter-routing-key", text(name.to_owned())),
            ("x-delivery-limit", AMQPValue::LongInt(RETURNS)),
        ]);
        if single {
            arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
        }
        vec![at_least_once(arguments.clone()), arguments]
    }
}

/// How often the broker may get a message back before it makes a dead letter of it. It counts also what consumers only
/// had at hand, so this is for messages that end the whole process; of others we count the attempts ourselves.
const RETURNS: i32 = 200;

/// Where the group's messages are published to, for one lane.
pub(super) fn route_to(group: Group, lane: &str) -> String {
    format!("{}:{lane}", name_of(group))
}

pub(super) fn name_of(group: Group) -> String {
    format!("{}.{}", group.topic().name, group.name())
}

fn keyed(partition: u16) -> String {
    format!("keyed.{partition}")
}

fn is_declared(session: &Session, name: &str) -> bool {
    session.declared.lock().unwrap_or_else(PoisonError::into_inner).contains(name)
}

fn note_declared(session: &Session, name: String) {
    session.declared.lock().unwrap_or_else(PoisonError::into_inner).insert(name);
}

fn text(text: String) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

fn table<const N: usize>(arguments: [(&'static str, AMQPValue); N]) -> FieldTable {
    let arguments: BTreeMap<_, _> = arguments.into_iter().map(|(name, value)| (name.into(), value)).collect();
    arguments.into()
}

fn quorum<const N: usize>(arguments: [(&'static str, AMQPValue); N]) -> FieldTable {
    let mut table = table(arguments);
    table.insert("x-queue-type".into(), text("quorum".to_owned()));
    table
}

/// From 3.10 on the broker does not forget a message before its dead letter is confirmed.
fn at_least_once(mut arguments: FieldTable) -> FieldTable {
    arguments.insert("x-dead-letter-strategy".into(), text("at-least-once".to_owned()));
    arguments.insert("x-overflow".into(), text("reject-publish".to_owned()));
    arguments
}

async fn exchange_declare(channel: &Channel, name: &str, kind: ExchangeKind) -> QueueResult<()> {
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel.exchange_declare(name.into(), kind, options, FieldTable::default()).await.map_err(told)
}

async fn bind(channel: &Channel, queue: &str, exchange: &str, route: &str) -> QueueResult<()> {
    channel
        .queue_bind(queue.into(), exchange.into(), route.into(), QueueBindOptions::default(), FieldTable::default())
        .await
        .map_err(told)
}

/// Declares the queue with the first arguments that the broker takes: it refuses what it does not know, and what is
/// not as the queue was once declared.
async fn queue_declare(session: &Session, name: &str, variants: Arguments) -> QueueResult<()> {
    let mut refused = None;
    for arguments in variants {
        // A refusal closes the channel.
        let channel = session.channel().await?;
        match channel.queue_declare(name.into(), QueueDeclareOptions::durable(), arguments).await {
            Ok(_) => return Ok(()),
            Err(error) if is_soft(&error, &AMQPSoftError::PRECONDITIONFAILED) => refused = Some(told(error)),
            Err(error) => return Err(told(error)),
        }
    }
    Err(refused.unwrap_or_else(|| QueueError::unavailable("RabbitMQ declared no queue")))
}

/// How many messages of a queue are ready; none where there is no such queue, nor where its leader does not answer the
/// broker within a quarter of a second. So it is a figure to show and to wait for, not one to count by.
pub(super) async fn ready(session: &Session, name: &str) -> QueueResult<u64> {
    let channel = session.channel().await?;
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    match channel.queue_declare(name.into(), options, FieldTable::default()).await {
        Ok(queue) => Ok(u64::from(queue.message_count())),
        Err(error) if is_soft(&error, &AMQPSoftError::NOTFOUND) => Ok(0),
        Err(error) => Err(told(error)),
    }
}

fn is_soft(error: &lapin::Error, soft: &AMQPSoftError) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(cause) if matches!(cause.kind(), AMQPErrorKind::Soft(kind) if kind == soft))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{RabbitMqOptions, Topology};

    #[test]
    fn delays_are_put_together_from_steps() {
        let topology = Topology::new(&RabbitMqOptions::new("amqp://localhost"));
        let seconds = |seconds: u64| Duration::from_secs(seconds);
        for (delay, step, left) in
            [(1, 5, 0), (5, 5, 0), (7, 5, 2), (40, 30, 10), (300, 300, 0), (86_400, 7200, 79_200)]
        {
            assert_eq!(topology.step(seconds(delay)), (seconds(step), seconds(left)), "{delay} s");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let options = RabbitMqOptions::new("amqp://user:hunter2@localhost");
        assert!(!format!("{options:?}").contains("hunter2"));
        let wrong = RabbitMqOptions::new("http//user:hunter2@localhost").check();
        assert!(wrong.is_err_and(|error| !format!("{error} {error:?}").contains("hunter2")));
    }
}
