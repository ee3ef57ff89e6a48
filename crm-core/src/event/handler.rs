//! Does what is to be done for each event that comes from the queue.

use std::{future::Future, time::Duration};

use super::{
    Event,
    envelope::{self, EVENTS, HANDLERS},
    set_aside::told,
};
use crate::{
    crm::Crm,
    error::{Error, Result},
    port::queue::{Delivery, Subscription},
    store::{Scope, StoreError},
    taking, webhook,
};

/// An event that could not be dealt with so often becomes a dead letter.
const MOST_ATTEMPTS: u32 = 10;
/// How long it waits after the first failure; after each further one, twice as long.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// Events at once.
const PREFETCH: u16 = 20;
/// How long another process waits for an event whose process was killed, where the broker does not see that. One that
/// takes longer is dealt with twice.
const LEASE: Duration = Duration::from_secs(15);

/// Deals with events until `stop` resolves, then finishes those in hand. Without a queue there is nothing to do.
pub(crate) async fn run(crm: Crm, stop: impl Future<Output = ()> + Send) {
    let Some(queue) = crm.queue().cloned() else { return };
    let group = match EVENTS.group(HANDLERS) {
        Ok(group) => group,
        Err(error) => return tracing::error!(error = &error as &dyn std::error::Error, "no events are taken"),
    };
    let subscription = Subscription { prefetch: PREFETCH, lease: LEASE, ..Subscription::new(group) };
    let deal = |delivery| {
        let crm = crm.clone();
        async move { settle(&crm, delivery).await }
    };
    taking::run(&queue, subscription, stop, deal).await;
}

async fn settle(crm: &Crm, delivery: Delivery) {
    let attempt = delivery.attempt();
    let handled = match envelope::of_message(delivery.message()) {
        Ok(event) => handle(crm, &event).await,
        Err(error) => Err(error),
    };
    let settled = match handled {
        Ok(()) => delivery.acknowledge().await,
        Err(Error::Unavailable { retry_after, .. }) => delivery.retry(retry_after.max(FIRST_WAIT)).await,
        Err(error) => {
            let is_last = attempt >= MOST_ATTEMPTS;
            tracing::warn!(
                event = %delivery.message().id,
                attempt,
                error = &error as &dyn std::error::Error,
                "an event could not be dealt with{}",
                if is_last { ", and becomes a dead letter" } else { " and will be tried again" }
            );
            if is_last {
                delivery.reject(&told(&error)).await
            } else {
                let wait = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1)));
                delivery.retry(wait.min(LONGEST_WAIT)).await
            }
        }
    };
    if let Err(error) = settled {
        tracing::debug!(
            error = &error as &dyn std::error::Error,
            "an event was dealt with and the queue does not know: it comes again"
        );
    }
}

async fn handle(crm: &Crm, event: &Event) -> Result<()> {
    let one = std::slice::from_ref(event);
    for sink in crm.event_sinks() {
        sink.publish(one).await?;
    }
    let (_, plan) = webhook::planned(crm, one).await?;
    if plan.is_empty() {
        return Ok(());
    }
    match crm.store().commit(Scope::Installation, plan).await {
        // Planned before, by whoever could not say so.
        Ok(_) | Err(StoreError::Duplicate { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    crm.delivery_hint().notify_one();
    Ok(())
}
