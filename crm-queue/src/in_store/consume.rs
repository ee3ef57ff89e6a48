use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use crm_core::{
    async_trait,
    port::queue::{ABANDONMENTS, QueueResult, Subscription},
    record::{ID, Record as _},
    store::{Aggregation, Assignment, Change, Filter, Group as By, Measure, Measured, Query, Scope, Value},
};
use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use uuid::Uuid;

use super::{
    POLL, Shared, decode,
    message::{QueuedMessage, State, rank},
    settle::StoreReceipt,
    told,
};
use crate::{
    asking::{Asking, Source},
    backoff::Backoff,
    handing::Handing,
    turns::Turns,
};

/// How soon a message whose key is busy is looked at again, where nobody has told that the key is free.
const BLOCKED: Duration = Duration::from_secs(2);

/// Takes messages for one consumer until it is gone.
pub(super) async fn pump(shared: Arc<Shared>, subscription: Subscription, holder: Uuid, handing: Handing) {
    let asking = Asking {
        subscription,
        poll: POLL,
        news: shared.news.subscribe(),
        backoff: Backoff::new(shared.random.clone()),
    };
    let consumer = Consumer { shared, subscription, holder, turns: Turns::default(), swept: None };
    asking.pump(consumer, handing).await;
}

struct Consumer {
    shared: Arc<Shared>,
    subscription: Subscription,
    /// The name that it claims rows by.
    holder: Uuid,
    turns: Turns,
    swept: Option<Instant>,
}

#[async_trait]
impl Source for Consumer {
    type Taken = QueuedMessage;

    async fn take(&mut self, limit: usize) -> QueueResult<Vec<QueuedMessage>> {
        if self.swept.is_none_or(|swept| swept.elapsed() >= POLL) {
            self.sweep().await?;
            self.swept = Some(Instant::now());
        }
        let mut taken = Vec::new();
        let first = rank(self.turns.next()[0]);
        if first > 0 {
            taken = self.claim(QueuedMessage::priority.equals(first), limit.div_ceil(4)).await?;
        }
        if taken.len() < limit {
            taken.extend(self.claim(Filter::ALL, limit - taken.len()).await?);
        }
        self.keep_order(&mut taken).await?;
        Ok(taken)
    }

    async fn hand(&self, taken: QueuedMessage, place: OwnedSemaphorePermit, handing: &Handing) {
        let receipt = StoreReceipt::new(&self.shared, &taken, self.holder, self.subscription.lease);
        let attempt = taken.attempt();
        handing.hand(taken.into_message(), attempt, Box::new(receipt), place).await;
    }
}

impl Consumer {
    async fn claim(&self, which: Filter, limit: usize) -> QueueResult<Vec<QueuedMessage>> {
        let ready = self.in_state(State::Ready);
        // Claiming writes, so it is first looked whether there is anything.
        let sort = [
            QueuedMessage::priority.ascending(),
            QueuedMessage::due_at.ascending(),
            QueuedMessage::sequence.ascending(),
        ];
        let filter = ready.and(which);
        if self.shared.find(&Query::new(filter.clone(), 1).sorted(sort.to_vec())).await?.0.is_empty() {
            return Ok(Vec::new());
        }
        let until = self.shared.clock.now().plus(self.subscription.lease);
        let set = [
            (QueuedMessage::state.position(), Value::Text(State::InHand.as_ref().to_owned())),
            (QueuedMessage::holder.position(), Value::Id(self.holder)),
            (QueuedMessage::due_at.position(), Value::Timestamp(until)),
        ];
        let rows = self
            .shared
            .store
            .claim(Scope::Installation, QueuedMessage::COLLECTION, &filter, &sort, limit, &set)
            .await
            .map_err(told)?;
        let mut messages = decode(rows)?;
        messages.sort_by_key(|message| (message.priority, message.sequence));
        Ok(messages)
    }

    /// Puts back those that are not the first of their key: one of a key is out at a time, in the order published.
    async fn keep_order(&self, taken: &mut Vec<QueuedMessage>) -> QueueResult<()> {
        let keys: HashSet<String> = taken.iter().filter_map(|message| message.ordering_key.clone()).collect();
        if keys.is_empty() {
            return Ok(());
        }
        let firsts = self.first_of(&keys).await?;
        let is_first = |message: &QueuedMessage, firsts: &HashMap<String, i64>| match &message.ordering_key {
            Some(key) => firsts.get(key).is_none_or(|first| *first >= message.sequence),
            None => true,
        };
        let (first, behind): (Vec<_>, Vec<_>) = taken.drain(..).partition(|message| is_first(message, &firsts));
        *taken = first;
        if behind.is_empty() {
            return Ok(());
        }
        let due_at = self.shared.clock.now().plus(BLOCKED);
        let put_back = |messages: &[QueuedMessage], state: State| Change::UpdateWhere {
            collection: QueuedMessage::COLLECTION,
            filter: ID
                .one_of(messages.iter().map(|message| message.id.0))
                .and(QueuedMessage::holder.equals(self.holder)),
            assignments: vec![
                QueuedMessage::state.set(state),
                QueuedMessage::due_at.set(if state == State::Blocked { due_at } else { self.shared.clock.now() }),
                QueuedMessage::holder.set(None),
            ],
        };
        self.shared.commit(vec![put_back(&behind, State::Blocked)]).await?;
        // The one in front may have gone in between, and not have seen anybody behind it.
        let keys = behind.iter().filter_map(|message| message.ordering_key.clone()).collect();
        let firsts = self.first_of(&keys).await?;
        let free: Vec<Uuid> =
            behind.iter().filter(|message| is_first(message, &firsts)).map(|message| message.id.0).collect();
        if !free.is_empty() {
            self.shared.commit(vec![unblock(ID.one_of(free), self.shared.clock.now())]).await?;
            self.shared.tell_news();
        }
        Ok(())
    }

    /// The lowest sequence of each key among the living.
    async fn first_of(&self, keys: &HashSet<String>) -> QueueResult<HashMap<String, i64>> {
        let alive = [State::Ready, State::Delayed, State::Blocked, State::InHand];
        let lowest = Aggregation {
            filter: QueuedMessage::of(self.subscription.group)
                .and(QueuedMessage::ordering_key.one_of(keys.iter().cloned().map(Some)))
                .and(QueuedMessage::state.one_of(alive)),
            groups: vec![By::Field(QueuedMessage::ordering_key.field())],
            measures: vec![Measure::Minimum(QueuedMessage::sequence.field())],
        };
        let rows = self.shared.aggregate(&lowest).await?;
        Ok(rows
            .into_iter()
            .filter_map(|mut row| match (row.groups.pop(), row.measures.pop()) {
                (Some(Value::Text(key)), Some(Measured::Value(Value::Integer(sequence)))) => Some((key, sequence)),
                _ => None,
            })
            .collect())
    }

    /// Makes ready what is due: delays that are over, keys that may be free, leases that nobody extended.
    async fn sweep(&self) -> QueueResult<()> {
        let now = self.shared.clock.now();
        let group = QueuedMessage::of(self.subscription.group);
        let waiting = [State::Delayed, State::Blocked, State::InHand];
        let due = group.and(QueuedMessage::state.one_of(waiting)).and(QueuedMessage::due_at.at_most(now));
        if self.shared.find(&Query::new(due, 1)).await?.0.is_empty() {
            return Ok(());
        }
        let of = |state| self.in_state(state).and(QueuedMessage::due_at.at_most(now));
        let expired = of(State::InHand);
        let last = QueuedMessage::abandonments.greater_than(i64::from(ABANDONMENTS) - 2);
        let update =
            |filter, assignments| Change::UpdateWhere { collection: QueuedMessage::COLLECTION, filter, assignments };
        let ready = vec![QueuedMessage::state.set(State::Ready), QueuedMessage::holder.set(None)];
        let mut returned = ready.clone();
        returned.extend(abandoned());
        let mut dead = vec![
            QueuedMessage::state.set(State::Dead),
            QueuedMessage::holder.set(None),
            QueuedMessage::due_at.set(now),
            QueuedMessage::cause.set(Some(crate::ABANDONED.to_owned())),
        ];
        dead.extend(abandoned());
        self.shared
            .commit(vec![
                update(of(State::Delayed), ready.clone()),
                update(of(State::Blocked), ready),
                update(expired.clone().and(last), dead),
                update(expired, returned),
            ])
            .await?;
        Ok(())
    }

    fn in_state(&self, state: State) -> Filter {
        QueuedMessage::of(self.subscription.group).and(QueuedMessage::state.equals(state))
    }
}

/// One more end without an answer.
pub(super) fn abandoned() -> [Assignment; 2] {
    [QueuedMessage::attempts.increment(1), QueuedMessage::abandonments.increment(1)]
}

/// Makes those of them ready that wait for their key.
pub(super) fn unblock(which: Filter, now: crm_core::time::Timestamp) -> Change {
    Change::UpdateWhere {
        collection: QueuedMessage::COLLECTION,
        filter: which.and(QueuedMessage::state.equals(State::Blocked)),
        assignments: vec![QueuedMessage::state.set(State::Ready), QueuedMessage::due_at.set(now)],
    }
}
