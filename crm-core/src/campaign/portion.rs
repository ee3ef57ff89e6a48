//! Campaigns through a queue: a message on it says that a batch of a campaign is to be sent, and any process that takes it
//! does so.
//!
//! It names no customers. Which they are is found when the batch is claimed in the store, so that a message that comes
//! twice, late, or never makes nobody get something twice or nothing: as long as something is due, there are more.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{CampaignId, drive::send_portion, run::CampaignRun};
use crate::{
    crm::Crm,
    id::new_uuid,
    port::queue::{Delivery, Message, Priority, QueueResult, SharedQueue, Subscription, Topic},
    store::Json,
    taking,
};

/// Batches of campaigns, on a queue. The group [`SENDERS`] is the CRM's own.
static CAMPAIGNS: Topic = Topic { name: "campaigns", groups: &[SENDERS] };

/// The group of the CRM's processes: one of them sends each batch.
const SENDERS: &str = "senders";

const KIND: &str = "campaign.portion";
const VERSION: u32 = 1;
/// So many wait in the queue, so that nobody is without work: enough for what is handed out before it is looked at again.
const ENOUGH: u64 = 8;
/// Of one campaign so many are added at once, so that others have a place.
const ADDED: u64 = 4;
/// Batches that a process sends at once.
const PREFETCH: u16 = 4;
/// How long a process may be at one before another takes the message too, which does no harm.
const LEASE: Duration = Duration::from_secs(60);
/// So long nothing is handed to a queue that did not answer.
const AWAY: Duration = Duration::from_secs(5);
/// Where nobody takes what waits for so long, whoever hands it out helps.
const IGNORED: Duration = Duration::from_secs(5);
/// The pause after a batch that failed.
const PAUSE: Duration = Duration::from_secs(2);

#[derive(Debug, Deserialize, Serialize)]
struct Portion {
    campaign_id: CampaignId,
}

/// Hands out batches through the queue.
#[derive(Clone)]
pub(super) struct Portions {
    queue: SharedQueue,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// When it last did not answer.
    failed: Option<Instant>,
    /// Since when it has had enough.
    full: Option<Instant>,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Offer {
    /// Whoever takes it from the queue sends it.
    Taken,
    /// Nobody takes it, or the queue is away: it is to be sent from here.
    Refused,
}

impl Portions {
    pub(super) fn new(queue: SharedQueue) -> Self {
        Self { queue, state: Arc::default() }
    }

    /// Says that something of the campaign is to be sent, unless the queue holds enough.
    pub(super) async fn offer(&self, crm: &Crm, run: &CampaignRun) -> Offer {
        if self.with(|state| state.failed.is_some_and(|failed| failed.elapsed() < AWAY)) {
            return Offer::Refused;
        }
        match self.add(crm, run).await {
            Ok(0) => {
                let full = self.with(|state| *state.full.get_or_insert_with(Instant::now));
                if full.elapsed() > IGNORED { Offer::Refused } else { Offer::Taken }
            }
            Ok(_) => {
                self.with(|state| *state = State::default());
                Offer::Taken
            }
            Err(error) => {
                self.with(|state| *state = State { failed: Some(Instant::now()), full: None });
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "campaigns are sent without the queue while it does not answer"
                );
                Offer::Refused
            }
        }
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Answers how many it has added.
    async fn add(&self, crm: &Crm, run: &CampaignRun) -> QueueResult<u64> {
        let waiting = self.queue.depth(CAMPAIGNS.group(SENDERS)?).await?.ready;
        let count = ENOUGH.saturating_sub(waiting).min(ADDED);
        // A pace lets one go at a time.
        let count = if run.per_minute.is_some() { count.min(1) } else { count };
        let now = crm.now();
        let message = |_| Message {
            id: new_uuid(now, crm.random()),
            kind: KIND.to_owned(),
            version: VERSION,
            organization: run.meta.organization_id,
            key: None,
            priority: Priority::Normal,
            published_at: now,
            request_id: None,
            body: Json::from_value(&json!(Portion { campaign_id: run.id })),
        };
        let messages: Vec<Message> = (0..count).map(message).collect();
        if !messages.is_empty() {
            self.queue.publish(&CAMPAIGNS, &messages, Duration::ZERO).await?;
        }
        Ok(count)
    }
}

/// Sends batches that the queue hands out until `stop` resolves, then finishes those in hand.
pub(super) async fn run(
    crm: Crm,
    queue: SharedQueue,
    stopping: Arc<AtomicBool>,
    stop: impl Future<Output = ()> + Send,
) {
    let group = match CAMPAIGNS.group(SENDERS) {
        Ok(group) => group,
        Err(error) => return tracing::error!(error = &error as &dyn std::error::Error, "no batches are taken"),
    };
    let subscription = Subscription { prefetch: PREFETCH, lease: LEASE, ..Subscription::new(group) };
    let deal = |delivery| {
        let (crm, stopping) = (crm.clone(), Arc::clone(&stopping));
        async move { settle(&crm, delivery, &stopping).await }
    };
    taking::run(&queue, subscription, stop, deal).await;
}

async fn settle(crm: &Crm, delivery: Delivery, stopping: &AtomicBool) {
    let message = delivery.message();
    let settled = match serde_json::from_str::<Portion>(message.body.as_str()) {
        Ok(Portion { campaign_id }) if message.version == VERSION => {
            if let Err(error) = send_portion(crm, campaign_id, stopping).await {
                tracing::warn!(
                    campaign = %campaign_id,
                    error = &error as &dyn std::error::Error,
                    "a batch of a campaign cannot be sent for now"
                );
                // As long as something is due, there are more messages.
                sleep(PAUSE).await;
            }
            delivery.acknowledge().await
        }
        Ok(_) => delivery.reject("a version that this program does not know").await,
        Err(_) => delivery.reject("it names no campaign").await,
    };
    if let Err(error) = settled {
        tracing::debug!(error = &error as &dyn std::error::Error, "a batch of a campaign comes from the queue again");
    }
}
