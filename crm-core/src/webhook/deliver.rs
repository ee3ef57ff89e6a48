//! Sends what is due to webhooks. Any number of processes may; each delivery is in the hands of one of them.

use std::{future::Future, panic::AssertUnwindSafe, time::Duration};

use bytes::Bytes;
use futures::FutureExt as _;
use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tracing::Instrument as _;
use uuid::Uuid;

use super::{
    DeliveryAttempt, DeliveryState, DisabledReason, Webhook, WebhookDelivery, WebhookId,
    lane::Lanes,
    plan::DISABLED,
    schedule::{self, PATIENCE, Verdict},
    service::{self, TEST},
};
use crate::{
    access::Principal,
    crm::Crm,
    error::{Error, Result},
    id::new_uuid,
    operation::Operation,
    port::{OutboundAnswer, OutboundFailure, OutboundRequest},
    record::{ID, ORGANIZATION_ID, Record as _, UPDATED_AT},
    secret::Secret,
    store::{Assignment, Change, Outcome, Scope, Value},
    time::Timestamp,
};

/// The longest that a delivery waits to be looked at where no hint came.
const POLL: Duration = Duration::from_secs(1);
/// How long taking up deliveries rests after a failure.
const REST: Duration = Duration::from_secs(2);
/// How long an attempt keeps others from the delivery: longer than it may take.
const HOLD: Duration = Duration::from_secs(60);
/// Attempts at once in a process.
const AT_ONCE: usize = 50;
/// Deliveries taken up at once.
const BATCH: usize = 16;
/// A webhook is disabled in so many tries, while others change it.
const TRIES: usize = 5;

/// How an attempt went, for the webhook's lane.
struct Ended {
    webhook: WebhookId,
    failed: bool,
    wait: Option<Duration>,
}

/// Delivers until `stop` resolves, then waits for the attempts in hand.
pub(crate) async fn run(crm: Crm, stop: impl Future<Output = ()> + Send) {
    if crm.outbound().is_none() {
        return stop.await;
    }
    let mut courier = Courier::new(crm);
    let mut stop = std::pin::pin!(stop);
    loop {
        let rest = match courier.take_up().await {
            Ok(true) if courier.attempts.len() < AT_ONCE => continue,
            Ok(_) => POLL,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "deliveries cannot be taken up for now");
                REST
            }
        };
        tokio::select! {
            () = &mut stop => break,
            () = courier.woken(rest) => {}
        }
    }
    while let Some(ended) = courier.attempts.join_next().await {
        courier.note(ended);
    }
}

/// Sends everything that is due now, and waits for the attempts. For tests and for programs with a schedule of their
/// own.
///
/// # Errors
/// Those of the store.
pub async fn deliver_due(crm: &Crm) -> Result<()> {
    if crm.outbound().is_none() {
        return Ok(());
    }
    let mut courier = Courier::new(crm.clone());
    loop {
        if courier.take_up().await? {
            continue;
        }
        match courier.attempts.join_next().await {
            Some(ended) => courier.note(ended),
            None => return Ok(()),
        }
    }
}

struct Courier {
    crm: Crm,
    lanes: Lanes,
    attempts: JoinSet<Ended>,
}

impl Courier {
    fn new(crm: Crm) -> Self {
        Self { crm, lanes: Lanes::default(), attempts: JoinSet::new() }
    }

    async fn woken(&mut self, rest: Duration) {
        tokio::select! {
            _ = timeout(rest, self.crm.delivery_hint().notified()) => {}
            Some(ended) = self.attempts.join_next(), if !self.attempts.is_empty() => self.note(ended),
        }
    }

    fn note(&mut self, ended: Result<Ended, tokio::task::JoinError>) {
        match ended {
            Ok(Ended { webhook, failed, wait }) => self.lanes.leave(webhook, failed, wait, self.crm.now()),
            Err(error) => tracing::error!(%error, "an attempt to deliver broke"),
        }
    }

    /// Begins attempts of what is due; answers whether there may be more.
    async fn take_up(&mut self) -> Result<bool> {
        let room = AT_ONCE.saturating_sub(self.attempts.len()).min(BATCH);
        if room == 0 {
            return Ok(false);
        }
        let crm = &self.crm;
        let now = crm.now();
        let holder = new_uuid(now, crm.random());
        let mut due = WebhookDelivery::due_at.at_most(now);
        let full = self.lanes.full(now);
        if !full.is_empty() {
            due = due.and(WebhookDelivery::webhook_id.one_of(full).negated());
        }
        let sated = self.lanes.sated();
        if !sated.is_empty() {
            due = due.and(ORGANIZATION_ID.one_of(sated).negated());
        }
        let set =
            [WebhookDelivery::holder.set(holder), WebhookDelivery::due_at.set(now.plus(HOLD)), UPDATED_AT.set(now)];
        let set: Vec<(usize, Value)> = set
            .into_iter()
            .filter_map(|assignment| match assignment {
                Assignment::Set(position, value) => Some((position, value)),
                Assignment::Increment(..) => None,
            })
            .collect();
        let order = [WebhookDelivery::due_at.ascending()];
        let rows =
            crm.store().claim(Scope::Installation, WebhookDelivery::COLLECTION, &due, &order, room, &set).await?;
        let taken = rows.len();
        let mut going = Vec::with_capacity(taken);
        let mut changes = Vec::with_capacity(taken);
        for row in rows {
            let delivery = match WebhookDelivery::from_row(row) {
                Ok(delivery) => delivery,
                Err(error) => {
                    tracing::error!(%error, "a delivery cannot be read");
                    continue;
                }
            };
            // What is more than the webhook takes at once goes back.
            if self.lanes.enter(delivery.meta.organization_id, delivery.webhook_id, now) {
                let begun = vec![WebhookDelivery::attempts.increment(1_i64), WebhookDelivery::last_attempt_at.set(now)];
                changes.push(held(&delivery, begun));
                going.push((changes.len() - 1, delivery));
            } else {
                let back = vec![WebhookDelivery::holder.set(None), WebhookDelivery::due_at.set(now)];
                changes.push(held(&delivery, back));
            }
        }
        if changes.is_empty() {
            return Ok(false);
        }
        // Noted before anything is sent, so that an attempt that is cut off counts.
        let outcomes = match crm.store().commit(Scope::Installation, changes).await {
            Ok(outcomes) => outcomes,
            Err(error) => {
                for (_, delivery) in going {
                    self.lanes.leave(delivery.webhook_id, false, None, now);
                }
                return Err(error.into());
            }
        };
        for (place, mut delivery) in going {
            if outcomes.get(place) == Some(&Outcome::Touched(0)) {
                // It has come into other hands meanwhile.
                self.lanes.leave(delivery.webhook_id, false, None, now);
                continue;
            }
            delivery.attempts += 1;
            let span = tracing::info_span!("webhook", webhook = %delivery.webhook_id, event = %delivery.event_id);
            self.attempts.spawn(attempt(self.crm.clone(), delivery).instrument(span));
        }
        Ok(taken == room)
    }
}

/// A change of a delivery that is in our hands; of one that is not any more, nothing.
fn held(delivery: &WebhookDelivery, assignments: Vec<Assignment>) -> Change {
    let ours = ID.equals(delivery.id).and(WebhookDelivery::holder.equals(delivery.holder.unwrap_or(Uuid::nil())));
    Change::UpdateWhere { collection: WebhookDelivery::COLLECTION, filter: ours, assignments }
}

async fn attempt(crm: Crm, delivery: WebhookDelivery) -> Ended {
    let webhook = delivery.webhook_id;
    match AssertUnwindSafe(send(&crm, delivery)).catch_unwind().await {
        Ok(Ok(ended)) => ended,
        Err(_) => {
            // It gives its place back like any other.
            tracing::error!("an attempt to deliver broke");
            Ended { webhook, failed: true, wait: None }
        }
        Ok(Err(error)) => {
            // Taken up again once the hold has passed; the receiver knows the message by its id.
            tracing::warn!(error = &error as &dyn std::error::Error, "what became of a delivery cannot be written");
            sleep(REST).await;
            Ended { webhook, failed: false, wait: None }
        }
    }
}

async fn send(crm: &Crm, delivery: WebhookDelivery) -> Result<Ended> {
    let scope = Scope::Organization(delivery.meta.organization_id);
    let webhook = crm.repo::<Webhook>().get(scope, delivery.webhook_id).await?;
    let wanted = webhook.filter(|webhook| webhook.enabled || delivery.event_type == TEST);
    let Some(webhook) = wanted else {
        let ends =
            [ended(DeliveryState::Failed, crm.now()), vec![WebhookDelivery::error.set(Some(DISABLED.to_owned()))]];
        crm.store().commit(Scope::Installation, vec![held(&delivery, ends.concat())]).await?;
        return Ok(Ended { webhook: delivery.webhook_id, failed: false, wait: None });
    };
    let (begun, clock) = (crm.now(), Instant::now());
    let outcome = match (crm.outbound(), request(crm, &webhook, &delivery, begun)) {
        (Some(outbound), Ok(request)) => outbound.post(request).await,
        (None, _) => return Err(Error::internal("there is no way out")),
        (_, Err(error)) => {
            tracing::error!(error = &error as &dyn std::error::Error, "a webhook cannot be signed");
            Err(OutboundFailure::Broken("The webhook's secret cannot be opened: rotate it.".to_owned()))
        }
    };
    let elapsed = clock.elapsed();
    let verdict = schedule::verdict(&outcome);
    let now = crm.now();
    let mut assignments = logged(&delivery, begun, elapsed, outcome);
    let next = match verdict {
        Verdict::Retry { wait } => {
            let step = delivery.step + 1;
            schedule::due(step, delivery.begun_at, now, wait, crm.random()).map(|due| (step, due))
        }
        Verdict::Delivered | Verdict::Gone => None,
    };
    match (verdict, next) {
        (Verdict::Delivered, _) => assignments.extend(ended(DeliveryState::Delivered, now)),
        (_, Some((step, due))) => assignments.extend([
            WebhookDelivery::step.set(step),
            WebhookDelivery::due_at.set(due),
            WebhookDelivery::holder.set(None),
            UPDATED_AT.set(now),
        ]),
        (_, None) => assignments.extend(ended(DeliveryState::Failed, now)),
    }
    let mut changes = vec![held(&delivery, assignments)];
    changes.extend(health(&webhook, verdict, now));
    // In the scope of the webhook, which is the organization's.
    crm.store().commit(scope, changes).await?;
    match verdict {
        Verdict::Gone => disable(crm, &webhook, DisabledReason::Gone).await?,
        Verdict::Retry { .. } if webhook.failing_since.is_some_and(|since| now.since(since) >= PATIENCE) => {
            disable(crm, &webhook, DisabledReason::Failing).await?;
        }
        _ => {}
    }
    let (failed, wait) = match verdict {
        Verdict::Retry { wait } => (true, wait),
        _ => (false, None),
    };
    Ok(Ended { webhook: webhook.id, failed, wait })
}

fn request(crm: &Crm, webhook: &Webhook, delivery: &WebhookDelivery, now: Timestamp) -> Result<OutboundRequest> {
    let id = delivery.event_id.to_string();
    let timestamp = now.as_milliseconds().div_euclid(1000);
    let secrets = service::secrets(crm, webhook, now)?;
    let signatures: Vec<String> = secrets.iter().map(|secret| secret.sign(&id, timestamp, &delivery.payload)).collect();
    let mut headers = service::headers(crm, webhook)?;
    for (name, value) in [
        ("content-type", "application/json".to_owned()),
        ("webhook-id", id),
        ("webhook-timestamp", timestamp.to_string()),
        ("webhook-signature", signatures.join(" ")),
    ] {
        headers.push((name.to_owned(), Secret::new(value)));
    }
    Ok(OutboundRequest { url: webhook.url.clone(), headers, body: Bytes::from(delivery.payload.clone()) })
}

/// The assignments of a delivery that has ended.
fn ended(state: DeliveryState, now: Timestamp) -> Vec<Assignment> {
    vec![
        WebhookDelivery::state.set(state),
        WebhookDelivery::due_at.set(None),
        WebhookDelivery::holder.set(None),
        UPDATED_AT.set(now),
    ]
}

/// What is known of an attempt.
fn logged(
    delivery: &WebhookDelivery,
    at: Timestamp,
    elapsed: Duration,
    outcome: Result<OutboundAnswer, OutboundFailure>,
) -> Vec<Assignment> {
    let (status, response, error) = match outcome {
        Ok(answer) => {
            let error =
                (!(200..300).contains(&answer.status)).then(|| format!("The receiver answered {}.", answer.status));
            // A store takes no NUL in a text.
            let text = String::from_utf8_lossy(&answer.body).replace('\0', "\u{fffd}");
            (Some(answer.status), Some(text).filter(|text| !text.is_empty()), error)
        }
        Err(failure) => (None, None, Some(failure.to_string())),
    };
    let mut log = delivery.log.clone();
    log.add(DeliveryAttempt {
        number: delivery.attempts,
        at,
        status,
        milliseconds: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        response,
        error: error.clone(),
    });
    vec![
        WebhookDelivery::log.set(log),
        WebhookDelivery::last_status.set(status.map(i64::from)),
        WebhookDelivery::error.set(error),
    ]
}

/// Notes since when a webhook fails, where that has changed.
fn health(webhook: &Webhook, verdict: Verdict, now: Timestamp) -> Option<Change> {
    let failing = verdict != Verdict::Delivered;
    if failing == webhook.failing_since.is_some() {
        return None;
    }
    let before = if failing { Webhook::failing_since.missing() } else { Webhook::failing_since.exists() };
    Some(Change::UpdateWhere {
        collection: Webhook::COLLECTION,
        filter: ID.equals(webhook.id).and(before),
        assignments: vec![Webhook::failing_since.set(failing.then_some(now))],
    })
}

/// Disables a webhook, and tells so.
async fn disable(crm: &Crm, webhook: &Webhook, reason: DisabledReason) -> Result<()> {
    let by = Principal::system(webhook.meta.organization_id);
    for _ in 0..TRIES {
        let Some(before) = crm.repo::<Webhook>().get(by.scope(), webhook.id).await? else { return Ok(()) };
        // Somebody has mended it meanwhile, or it has taken something.
        let mended = reason == DisabledReason::Failing && before.failing_since != webhook.failing_since;
        if !before.enabled || before.url != webhook.url || mended {
            return Ok(());
        }
        let mut operation = Operation::new(crm, &by);
        let mut after = Webhook {
            enabled: false,
            disabled_reason: Some(reason),
            disabled_at: Some(operation.now()),
            ..before.clone()
        };
        operation.update(&before, &mut after);
        let what = json!({"enabled": false, "disabled_reason": reason});
        operation.audit::<Webhook>("webhook.disabled", webhook.id, Some(json!({"enabled": true})), Some(what));
        // Not its address: where others receive may be a secret of its own.
        let told = json!({"id": webhook.id, "reason": reason});
        operation.emit("webhook.disabled", &after, &told);
        match operation.commit().await {
            Ok(_) => {
                tracing::warn!(webhook = %webhook.id, %reason, "a webhook was disabled");
                return Ok(());
            }
            Err(Error::VersionConflict { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
