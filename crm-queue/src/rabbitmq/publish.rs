use std::{sync::Arc, time::Duration};

use crm_core::port::queue::{Group, Message, QueueError, QueueResult, Topic};
use futures::future::join_all;
use lapin::{BasicProperties, Confirmation, options::BasicPublishOptions};
use tokio::time::{Instant, timeout_at};

use super::{
    connection::{Session, told},
    message::{abandoned, buried, properties},
    queue::Shared,
    topology::{name_of, route_to},
};
use crate::backoff::Backoff;

/// How many messages are on their way to the broker at once.
const WINDOW: usize = 500;

/// One message as it is sent.
pub(super) struct Sent<'a> {
    /// What must be declared before.
    needs: Needs,
    exchange: String,
    route: String,
    properties: BasicProperties,
    body: &'a [u8],
}

enum Needs {
    Topic(&'static Topic),
    Delay(Group, Duration),
}

impl Shared {
    pub(super) async fn publish(
        &self,
        topic: &'static Topic,
        messages: &[Message],
        delay: Duration,
    ) -> QueueResult<()> {
        topic.check()?;
        messages.iter().try_for_each(Message::check)?;
        let mut all = Vec::with_capacity(messages.len());
        for message in messages {
            if delay.is_zero() {
                all.push(Sent {
                    needs: Needs::Topic(topic),
                    exchange: self.topology.work(),
                    route: format!("{}:{}", topic.name, self.topology.lane(message)),
                    properties: properties(message, 0, Duration::ZERO)?,
                    body: message.body.as_str().as_bytes(),
                });
            } else {
                for group in topic.all_groups() {
                    all.push(self.to_group(group, message, 0, delay)?);
                }
            }
        }
        self.send_all(&all).await
    }

    /// The message for one group after a delay, with so many attempts over.
    pub(super) fn to_group<'a>(
        &self,
        group: Group,
        message: &'a Message,
        attempts: u32,
        delay: Duration,
    ) -> QueueResult<Sent<'a>> {
        let route = route_to(group, &self.topology.lane(message));
        let body = message.body.as_str().as_bytes();
        if delay.is_zero() {
            let (needs, exchange) = (Needs::Topic(group.topic()), self.topology.work());
            return Ok(Sent { needs, exchange, route, properties: properties(message, attempts, delay)?, body });
        }
        let (step, remaining) = self.topology.step(delay);
        let (needs, exchange) = (Needs::Delay(group, step), self.topology.delay(group, step));
        Ok(Sent { needs, exchange, route, properties: properties(message, attempts, remaining)?, body })
    }

    /// The message for one group again, at once, after so many consumers that ended without an answer.
    pub(super) fn to_group_again<'a>(
        &self,
        group: Group,
        message: &'a Message,
        attempts: u32,
        abandonments: u32,
    ) -> QueueResult<Sent<'a>> {
        let sent = self.to_group(group, message, attempts, Duration::ZERO)?;
        Ok(Sent { properties: abandoned(sent.properties, abandonments), ..sent })
    }

    /// A dead letter of the group, whatever it is.
    pub(super) fn to_dead<'a>(
        &self,
        group: Group,
        properties: BasicProperties,
        body: &'a [u8],
        attempts: u32,
        cause: &str,
    ) -> Sent<'a> {
        Sent {
            needs: Needs::Topic(group.topic()),
            exchange: self.topology.dead_exchange(),
            route: name_of(group),
            properties: buried(properties, attempts, cause, self.clock.now()),
            body,
        }
    }

    pub(super) async fn send(&self, one: Sent<'_>) -> QueueResult<()> {
        self.send_all(&[one]).await
    }

    /// Returns when each is confirmed. What a broker did not confirm before it went away is sent again, with the same
    /// id, as long as there is time.
    async fn send_all(&self, all: &[Sent<'_>]) -> QueueResult<()> {
        let deadline = Instant::now() + self.timeout;
        let mut backoff = Backoff::new(self.random.clone());
        let mut pending: Vec<&Sent<'_>> = all.iter().collect();
        while !pending.is_empty() {
            let count = pending.len();
            match timeout_at(deadline, self.try_to_send(&mut pending)).await {
                Ok(Err(error @ QueueError::Unavailable { .. })) if Instant::now() >= deadline => return Err(error),
                Ok(Ok(()) | Err(QueueError::Unavailable { .. })) => {}
                Ok(Err(error)) => return Err(error),
                Err(_) => {
                    // It may be blocked, or gone without a word.
                    self.publishing.drop_current().await;
                    return Err(QueueError::unavailable("RabbitMQ did not confirm in time"));
                }
            }
            if pending.len() < count {
                backoff.reset();
            }
            if !pending.is_empty() {
                if Instant::now() >= deadline {
                    return Err(QueueError::unavailable("RabbitMQ did not confirm in time"));
                }
                tokio::time::sleep_until(deadline.min(Instant::now() + backoff.next())).await;
            }
        }
        Ok(())
    }

    /// Sends what is pending, and takes out what is confirmed.
    async fn try_to_send(&self, pending: &mut Vec<&Sent<'_>>) -> QueueResult<()> {
        self.check_open()?;
        let session = self.publishing.session().await?;
        for one in pending.iter() {
            match one.needs {
                Needs::Topic(topic) => self.topology.declare_topic(&session, topic).await?,
                Needs::Delay(group, step) => {
                    self.topology.declare_topic(&session, group.topic()).await?;
                    self.topology.declare_delay(&session, group, step).await?;
                }
            }
        }
        while !pending.is_empty() {
            let window = pending.len().min(WINDOW);
            let confirmed = confirm(&session, &pending[..window]).await?;
            let mut place = 0;
            pending.retain(|_| {
                place += 1;
                confirmed.get(place - 1).is_none_or(|confirmed| !confirmed)
            });
            if confirmed.contains(&false) {
                return Err(QueueError::unavailable("RabbitMQ did not take every message"));
            }
        }
        Ok(())
    }
}

/// Sends all, and tells which the broker has.
async fn confirm(session: &Arc<Session>, all: &[&Sent<'_>]) -> QueueResult<Vec<bool>> {
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let mut confirms = Vec::with_capacity(all.len());
    let mut broken = None;
    for one in all {
        let sent = session
            .publisher
            .basic_publish(
                one.exchange.as_str().into(),
                one.route.as_str().into(),
                options,
                one.body,
                one.properties.clone(),
            )
            .await;
        match sent {
            Ok(confirm) => confirms.push(confirm),
            Err(error) => {
                broken = Some(error);
                break;
            }
        }
    }
    let mut confirmed = Vec::with_capacity(all.len());
    for answer in join_all(confirms).await {
        confirmed.push(match answer {
            Ok(Confirmation::Ack(None)) => true,
            Ok(Confirmation::Ack(Some(_))) => {
                // No queue took it: somebody deleted one.
                session.forget_declared();
                false
            }
            Ok(Confirmation::Nack(_) | Confirmation::NotRequested) => false,
            Err(error) => {
                broken = Some(error);
                false
            }
        });
    }
    match broken {
        // A missing exchange closes the channel; whatever it was, it is declared anew on the next.
        Some(error) if !confirmed.contains(&true) => Err(match told(error) {
            error @ QueueError::Unusable(_) => error,
            _ => QueueError::unavailable("RabbitMQ cannot be reached"),
        }),
        _ => {
            confirmed.resize(all.len(), false);
            Ok(confirmed)
        }
    }
}
