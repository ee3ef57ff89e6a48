//! The embedded default: messages are records of the CRM's own store, so that there is nothing more to run.
//!
//! Consumers claim what is ready ([`crm_core::store::Store::claim`]), under a lease. One in the process that published
//! hears of it at once; one in another process finds it within [`POLL`]. A message in a store is known by its id: a
//! repetition that arrives while the first is still there is no second one. A delay is kept to about [`POLL`].

mod consume;
mod dead_letter;
mod message;
mod publish;
mod settle;

use std::{
    fmt,
    sync::{Arc, atomic::AtomicI64},
    time::Duration,
};

use crm_core::{
    async_trait,
    id::new_uuid,
    port::{
        Clock, Random,
        queue::{
            DeadLetters, Deliveries, Depth, Group, Message, Queue, QueueError, QueueResult, Subscription, Topic, Which,
        },
    },
    record::Record as _,
    store::{AggregateRow, Aggregation, Change, Collection, Group as By, Measure, Measured, Outcome, Query, Scope},
    store::{SharedStore, StoreError, Value},
};
use tokio::sync::watch;

use self::message::State;
pub use self::message::{QueuedMessage, QueuedMessageId};
use crate::handing::Handing;

/// The longest that a consumer in another process does not see a message.
pub const POLL: Duration = Duration::from_millis(250);

/// What the queue keeps in the store.
pub const COLLECTIONS: &[&Collection] = &[QueuedMessage::COLLECTION];

/// A queue in a store.
pub struct InStoreQueue {
    shared: Arc<Shared>,
}

/// What consumers and receipts share with the queue.
pub(crate) struct Shared {
    store: SharedStore,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    /// The last sequence given.
    sequence: AtomicI64,
    /// Changes whenever something may have become ready.
    news: watch::Sender<u64>,
    closed: watch::Sender<bool>,
}

impl fmt::Debug for InStoreQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InStoreQueue").field("engine", &self.shared.store.engine()).finish_non_exhaustive()
    }
}

impl InStoreQueue {
    /// Over a store, whose collections it brings up to date.
    ///
    /// # Errors
    /// [`QueueError::Unusable`] and [`QueueError::Unavailable`], as the store says.
    pub async fn open(store: SharedStore, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> QueueResult<Self> {
        store.migrate(COLLECTIONS, &|_, _, _| {}).await.map_err(told)?;
        let shared = Shared {
            store,
            clock,
            random,
            sequence: AtomicI64::new(0),
            news: watch::Sender::new(0),
            closed: watch::Sender::new(false),
        };
        Ok(Self { shared: Arc::new(shared) })
    }
}

impl Shared {
    fn check_open(&self) -> QueueResult<()> {
        if *self.closed.borrow() { Err(QueueError::Closed) } else { Ok(()) }
    }

    /// Makes the changes, and answers how many rows each touched.
    async fn commit(&self, changes: Vec<Change>) -> QueueResult<Vec<u64>> {
        let outcomes = self.store.commit(Scope::Installation, changes).await.map_err(told)?;
        Ok(outcomes
            .into_iter()
            .map(|outcome| match outcome {
                Outcome::Touched(rows) => rows,
                Outcome::Updated { .. } => 1,
                Outcome::Unmet => 0,
            })
            .collect())
    }

    async fn find(&self, query: &Query) -> QueueResult<(Vec<QueuedMessage>, bool)> {
        let page = self.store.find(Scope::Installation, QueuedMessage::COLLECTION, query).await.map_err(told)?;
        Ok((decode(page.rows)?, page.has_more))
    }

    async fn aggregate(&self, aggregation: &Aggregation) -> QueueResult<Vec<AggregateRow>> {
        self.store.aggregate(Scope::Installation, QueuedMessage::COLLECTION, aggregation).await.map_err(told)
    }

    fn tell_news(&self) {
        self.news.send_modify(|news| *news = news.wrapping_add(1));
    }
}

fn decode(rows: Vec<crm_core::store::Row>) -> QueueResult<Vec<QueuedMessage>> {
    rows.into_iter().map(|row| QueuedMessage::from_row(row).map_err(QueueError::broker)).collect()
}

#[async_trait]
impl Queue for InStoreQueue {
    async fn publish(&self, topic: &'static Topic, messages: &[Message], delay: Duration) -> QueueResult<()> {
        self.shared.check_open()?;
        self.shared.publish(topic, messages, delay).await
    }

    async fn consume(&self, subscription: Subscription) -> QueueResult<Box<dyn Deliveries>> {
        self.shared.check_open()?;
        subscription.check()?;
        let (handing, deliveries) = Handing::new(&subscription, self.shared.closed.subscribe());
        let holder = new_uuid(self.shared.clock.now(), self.shared.random.as_ref());
        tokio::spawn(consume::pump(self.shared.clone(), subscription, holder, handing));
        Ok(deliveries)
    }

    async fn depth(&self, group: Group) -> QueueResult<Depth> {
        self.shared.check_open()?;
        let by_state = Aggregation {
            filter: QueuedMessage::of(group),
            groups: vec![By::Field(QueuedMessage::state.field())],
            measures: vec![Measure::Count],
        };
        let rows = self.shared.aggregate(&by_state).await?;
        let count = |state: State| -> u64 {
            rows.iter()
                .filter(|row| matches!(row.groups.first(), Some(Value::Text(text)) if text == state.as_ref()))
                .filter_map(|row| match row.measures.first() {
                    Some(Measured::Count(count)) => Some(*count),
                    _ => None,
                })
                .sum()
        };
        Ok(Depth {
            ready: count(State::Ready) + count(State::Blocked),
            delayed: count(State::Delayed),
            in_hand: Some(count(State::InHand)),
            dead: count(State::Dead),
        })
    }

    async fn dead_letters(&self, group: Group, after: Option<&str>, limit: usize) -> QueueResult<DeadLetters> {
        self.shared.check_open()?;
        self.shared.dead_letters(group, after, limit).await
    }

    async fn replay(&self, group: Group, which: Which) -> QueueResult<u64> {
        self.shared.check_open()?;
        self.shared.replay(group, which).await
    }

    async fn discard(&self, group: Group, which: Which) -> QueueResult<u64> {
        self.shared.check_open()?;
        self.shared.discard(group, which).await
    }

    async fn health(&self) -> QueueResult<()> {
        self.shared.check_open()?;
        self.shared.store.health().await.map_err(told)
    }

    fn engine(&self) -> &'static str {
        "in-store"
    }

    /// Ends consumers. The store is not this one's to close.
    async fn close(&self) {
        self.shared.closed.send_replace(true);
    }
}

/// What the store said, in words of a queue.
fn told(error: StoreError) -> QueueError {
    match error {
        StoreError::Unavailable { message, retry_after } => QueueError::Unavailable { message, retry_after },
        StoreError::TooLarge(message) => QueueError::TooLarge(message),
        StoreError::Misuse(message) => QueueError::Misuse(message),
        StoreError::Unusable(message) => QueueError::Unusable(message),
        other => QueueError::broker(other),
    }
}
