//! One attempt to deliver, and what is written of it.

use std::{panic::AssertUnwindSafe, time::Duration};

use bytes::Bytes;
use futures::FutureExt as _;
use serde_json::json;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{
    DeliveryAttempt, DeliveryState, DisabledReason, SigningSecret, Webhook, WebhookDelivery,
    lane::WebhookLane,
    schedule::{self, PATIENCE, Verdict},
    service,
};
use crate::{
    access::Principal,
    crm::Crm,
    error::{Error, Result},
    operation::Operation,
    port::{OutboundAnswer, OutboundFailure, OutboundRequest},
    record::{ID, Record as _, UPDATED_AT},
    secret::Secret,
    store::{Assignment, Change, Outcome, Scope, StoreError},
    time::Timestamp,
};

/// A webhook is disabled in so many tries, while others change it.
const TRIES: usize = 5;
/// How long writing what became of an attempt rests each time that the store is away: together, and with the attempt
/// itself, shorter than others are kept from the delivery.
const RESTS: [Duration; 5] = [
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];
/// What stands in the log where nothing is known of an attempt.
const CUT_OFF: &str = "What became of this attempt is not known: its process ended, or could not write it down.";
/// What stands in the log where the answer cannot be written.
const UNWRITABLE: &str = "What the receiver answered cannot be kept.";

/// How an attempt went, for the webhook's lane.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ended {
    /// The receiver took it.
    Arrived,
    /// It did not, and may ask for time.
    Failed {
        /// So much.
        wait: Option<Duration>,
    },
    /// Nobody is there any more: the webhook is disabled.
    Gone,
}

/// Writes to the store, again and again where it is away for a moment.
pub(super) async fn written(crm: &Crm, scope: Scope, changes: Vec<Change>) -> Result<Vec<Outcome>> {
    for rest in RESTS {
        match crm.store().commit(scope, changes.clone()).await {
            Err(StoreError::Unavailable { .. }) => sleep(rest).await,
            outcome => return Ok(outcome?),
        }
    }
    Ok(crm.store().commit(scope, changes).await?)
}

/// A change of a delivery that is in our hands; of one that is not any more, nothing.
fn held(delivery: &WebhookDelivery, assignments: Vec<Assignment>) -> Change {
    let ours = ID.equals(delivery.id).and(WebhookDelivery::holder.equals(delivery.holder.unwrap_or(Uuid::nil())));
    Change::UpdateWhere { collection: WebhookDelivery::COLLECTION, filter: ours, assignments }
}

/// A webhook with what is opened once for several deliveries.
pub(super) struct Sender<'a> {
    webhook: &'a Webhook,
    /// Nothing where it cannot be opened.
    opened: Option<Opened>,
}

/// What is sealed at rest.
struct Opened {
    secrets: Vec<SigningSecret>,
    headers: Vec<(String, Secret<String>)>,
}

impl<'a> Sender<'a> {
    pub(super) fn new(crm: &Crm, webhook: &'a Webhook) -> Self {
        let opened = service::secrets(crm, webhook, crm.now())
            .and_then(|secrets| Ok(Opened { secrets, headers: service::headers(crm, webhook)? }))
            .inspect_err(|error| {
                tracing::error!(error = error as &dyn std::error::Error, "a webhook cannot be signed");
            })
            .ok();
        Self { webhook, opened }
    }
}

/// Sends a delivery that is in our hands, and writes what became of it.
pub(super) async fn attempt(crm: &Crm, sender: &Sender<'_>, delivery: WebhookDelivery) -> Ended {
    match AssertUnwindSafe(send(crm, sender, &delivery)).catch_unwind().await {
        Ok(Ok(ended)) => ended,
        Err(_) => {
            tracing::error!("an attempt to deliver broke");
            Ended::Failed { wait: None }
        }
        Ok(Err(error)) => {
            // Whoever takes it up next notes that nothing is known of it; the receiver knows the message by its id.
            tracing::warn!(error = &error as &dyn std::error::Error, "what became of a delivery cannot be written");
            Ended::Failed { wait: None }
        }
    }
}

async fn send(crm: &Crm, sender: &Sender<'_>, delivery: &WebhookDelivery) -> Result<Ended> {
    let webhook = sender.webhook;
    let (begun, clock) = (crm.now(), Instant::now());
    let outcome = match (crm.outbound(), request(sender, delivery, begun)) {
        (Some(outbound), Some(request)) => outbound.post(request).await,
        (None, _) => return Err(Error::internal("there is no way out")),
        (_, None) => Err(OutboundFailure::Broken("The webhook's secret cannot be opened: rotate it.".to_owned())),
    };
    let elapsed = clock.elapsed();
    let now = crm.now();
    let verdict = schedule::verdict(&outcome, now);
    let follows = follows(crm, delivery, verdict, now);
    let mut entry = logged(delivery, begun, elapsed, outcome);
    let changes = |entry: DeliveryAttempt| {
        let mut assignments = kept(delivery, entry);
        assignments.extend(follows.clone());
        let mut changes = vec![held(delivery, assignments)];
        changes.extend(health(webhook, verdict, now));
        changes
    };
    // In the scope of the webhook, which is the organization's.
    let scope = Scope::Organization(delivery.meta.organization_id);
    match written(crm, scope, changes(entry.clone())).await {
        Err(error) if !matches!(error, Error::Unavailable { .. }) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "the answer of a receiver cannot be written");
            entry.response = None;
            entry.error.get_or_insert_with(|| UNWRITABLE.to_owned());
            written(crm, scope, changes(entry)).await?;
        }
        written => {
            written?;
        }
    }
    match verdict {
        Verdict::Gone => disable(crm, webhook, DisabledReason::Gone).await?,
        Verdict::Retry { .. } if webhook.failing_since.is_some_and(|since| now.since(since) >= PATIENCE) => {
            disable(crm, webhook, DisabledReason::Failing).await?;
        }
        _ => {}
    }
    Ok(match verdict {
        Verdict::Delivered => Ended::Arrived,
        Verdict::Retry { wait } => Ended::Failed { wait },
        Verdict::Gone => Ended::Gone,
    })
}

/// What becomes of a delivery after an attempt.
fn follows(crm: &Crm, delivery: &WebhookDelivery, verdict: Verdict, now: Timestamp) -> Vec<Assignment> {
    let next = match verdict {
        Verdict::Retry { wait } => {
            let step = delivery.step + 1;
            schedule::due(step, delivery.begun_at, now, wait, crm.random()).map(|due| (step, due))
        }
        Verdict::Delivered | Verdict::Gone => None,
    };
    match (verdict, next) {
        (Verdict::Delivered, _) => ended(DeliveryState::Delivered, now),
        (_, Some((step, due))) => vec![
            WebhookDelivery::step.set(step),
            WebhookDelivery::due_at.set(due),
            WebhookDelivery::holder.set(None),
            UPDATED_AT.set(now),
        ],
        (_, None) => ended(DeliveryState::Failed, now),
    }
}

/// What is noted where the attempt before was begun, and nothing is known of its outcome: it counts as one that failed.
/// The first time the delivery is sent again at once, and the answer has no place in the schedule; a second time on end it
/// waits its time, so that what can never be written is not sent for ever.
pub(super) fn cut_off(crm: &Crm, delivery: &mut WebhookDelivery, now: Timestamp) -> Option<CutOff> {
    let last = delivery.log.0.last();
    if last.map_or(0, |last| last.number) >= delivery.attempts {
        return None;
    }
    let again = last.is_some_and(|last| last.error.as_deref() == Some(CUT_OFF));
    delivery.log.add(DeliveryAttempt {
        number: delivery.attempts,
        at: delivery.last_attempt_at.unwrap_or(now),
        status: None,
        milliseconds: 0,
        response: None,
        error: Some(CUT_OFF.to_owned()),
    });
    let mut assignments = vec![
        WebhookDelivery::log.set(delivery.log.clone()),
        WebhookDelivery::last_status.set(None),
        WebhookDelivery::error.set(Some(CUT_OFF.to_owned())),
    ];
    if again {
        assignments.extend(follows(crm, delivery, Verdict::Retry { wait: None }, now));
        return Some(CutOff::Waits(assignments));
    }
    delivery.step += 1;
    assignments.push(WebhookDelivery::step.set(delivery.step));
    Some(CutOff::SentAgain(assignments))
}

/// What is written of a delivery whose attempt was cut off.
pub(super) enum CutOff {
    /// It is sent again at once.
    SentAgain(Vec<Assignment>),
    /// It waits for its time, or is given up.
    Waits(Vec<Assignment>),
}

fn request(sender: &Sender<'_>, delivery: &WebhookDelivery, now: Timestamp) -> Option<OutboundRequest> {
    let Opened { secrets, headers } = sender.opened.as_ref()?;
    let id = delivery.event_id.to_string();
    let timestamp = now.as_milliseconds().div_euclid(1000);
    let signatures: Vec<String> = secrets.iter().map(|secret| secret.sign(&id, timestamp, &delivery.payload)).collect();
    let mut headers = headers.clone();
    for (name, value) in [
        ("content-type", "application/json".to_owned()),
        ("webhook-id", id),
        ("webhook-timestamp", timestamp.to_string()),
        ("webhook-signature", signatures.join(" ")),
    ] {
        headers.push((name.to_owned(), Secret::new(value)));
    }
    let body = Bytes::from(delivery.payload.clone());
    Some(OutboundRequest { url: sender.webhook.url.clone(), headers, body })
}

/// The assignments of a delivery that has ended.
pub(super) fn ended(state: DeliveryState, now: Timestamp) -> Vec<Assignment> {
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
) -> DeliveryAttempt {
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
    DeliveryAttempt {
        number: delivery.attempts,
        at,
        status,
        milliseconds: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        response,
        error,
    }
}

/// Keeps an attempt in the log.
fn kept(delivery: &WebhookDelivery, entry: DeliveryAttempt) -> Vec<Assignment> {
    let (status, error) = (entry.status.map(i64::from), entry.error.clone());
    let mut log = delivery.log.clone();
    log.add(entry);
    vec![WebhookDelivery::log.set(log), WebhookDelivery::last_status.set(status), WebhookDelivery::error.set(error)]
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
        let now = operation.now();
        if let Some(change) = WebhookLane::follow(&before, &after, now) {
            operation.change(change);
        }
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
