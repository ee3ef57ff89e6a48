use std::{collections::BTreeSet, sync::atomic::Ordering, time::Duration};

use crm_core::{
    port::queue::{Message, QueueError, QueueResult, Topic},
    record::Record as _,
    store::{Aggregation, Change, Measure, Measured, Row, Scope, StoreError, Value},
    time::Timestamp,
};

use super::{Shared, message::QueuedMessage, told};

/// Random bits below the milliseconds of a sequence, so that two processes hardly give the same.
const RANDOM_BITS: u32 = 20;

/// How often rows are left out because they are there already.
const ATTEMPTS: usize = 5;

impl Shared {
    pub(super) async fn publish(
        &self,
        topic: &'static Topic,
        messages: &[Message],
        delay: Duration,
    ) -> QueueResult<()> {
        topic.check()?;
        messages.iter().try_for_each(Message::check)?;
        let now = self.clock.now();
        let due_at = now.plus(delay);
        self.go_past(topic, messages).await?;
        let mut rows = Vec::with_capacity(messages.len() * topic.groups.len());
        for message in messages {
            let sequence = self.next_sequence(now);
            for group in topic.all_groups() {
                rows.push(QueuedMessage::new(group, message, now, due_at, sequence).to_row());
            }
        }
        rows.sort_by_key(Row::id);
        rows.dedup_by_key(|row| row.id());
        self.insert(rows).await?;
        self.tell_news();
        Ok(())
    }

    /// Inserts the rows that are not there yet.
    async fn insert(&self, mut rows: Vec<Row>) -> QueueResult<()> {
        for _ in 0..ATTEMPTS {
            if rows.is_empty() {
                return Ok(());
            }
            let insert = Change::Insert { collection: QueuedMessage::COLLECTION, rows: rows.clone() };
            match self.store.commit(Scope::Installation, vec![insert]).await {
                Ok(_) => return Ok(()),
                Err(StoreError::Duplicate { .. }) => {}
                Err(error) => return Err(told(error)),
            }
            let ids: Vec<uuid::Uuid> = rows.iter().map(Row::id).collect();
            let present = self.store.get(Scope::Installation, QueuedMessage::COLLECTION, &ids).await.map_err(told)?;
            rows.retain(|row| !present.iter().any(|present| present.id() == row.id()));
        }
        Err(QueueError::unavailable("somebody else publishes the same messages"))
    }

    /// Makes the next sequence greater than those that other processes gave to messages of these keys: their clocks may
    /// be ahead of ours.
    async fn go_past(&self, topic: &'static Topic, messages: &[Message]) -> QueueResult<()> {
        let keys: BTreeSet<&String> = messages.iter().filter_map(|message| message.key.as_ref()).collect();
        let Some(group) = topic.all_groups().next().filter(|_| !keys.is_empty()) else { return Ok(()) };
        let highest = Aggregation {
            filter: QueuedMessage::of(group)
                .and(QueuedMessage::ordering_key.one_of(keys.into_iter().cloned().map(Some))),
            groups: Vec::new(),
            measures: vec![Measure::Maximum(QueuedMessage::sequence.field())],
        };
        for row in self.aggregate(&highest).await? {
            if let Some(Measured::Value(Value::Integer(sequence))) = row.measures.first() {
                self.sequence.fetch_max(*sequence, Ordering::SeqCst);
            }
        }
        Ok(())
    }

    /// Greater than every one given before, also when the clock goes back, and about as great as those that other
    /// processes give now.
    fn next_sequence(&self, now: Timestamp) -> i64 {
        let mut random = [0; 4];
        self.random.fill(&mut random);
        let random = i64::from(u32::from_le_bytes(random) >> (u32::BITS - RANDOM_BITS));
        let fresh = (now.as_milliseconds().max(0) << RANDOM_BITS) | random;
        let next = |last: i64| Some(if last >= fresh { last.saturating_add(1) } else { fresh });
        match self.sequence.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next) {
            Ok(last) | Err(last) => next(last).unwrap_or(fresh),
        }
    }
}
