use crm_core::{
    port::queue::{DeadLetters, Group, QueueError, QueueResult, Which},
    record::{ID, Record as _},
    store::{Change, Filter, Position, Query, Value},
    time::Timestamp,
};
use uuid::Uuid;

use super::{
    Shared,
    message::{QueuedMessage, State, id_of},
};

impl Shared {
    pub(super) async fn dead_letters(
        &self,
        group: Group,
        after: Option<&str>,
        limit: usize,
    ) -> QueueResult<DeadLetters> {
        crate::check_page(limit)?;
        let mut query = Query::new(dead(group, Which::All), limit).sorted(vec![QueuedMessage::due_at.ascending()]);
        query.after = after.map(position).transpose()?;
        let (messages, has_more) = self.find(&query).await?;
        let next = messages.last().filter(|_| has_more).map(cursor);
        Ok(DeadLetters { letters: messages.into_iter().map(QueuedMessage::into_dead_letter).collect(), next })
    }

    pub(super) async fn replay(&self, group: Group, which: Which) -> QueueResult<u64> {
        let again = Change::UpdateWhere {
            collection: QueuedMessage::COLLECTION,
            filter: dead(group, which),
            assignments: vec![
                QueuedMessage::state.set(State::Ready),
                QueuedMessage::due_at.set(self.clock.now()),
                QueuedMessage::attempts.set(0),
                QueuedMessage::abandonments.set(0),
                QueuedMessage::cause.set(None),
            ],
        };
        let touched = self.commit(vec![again]).await?;
        self.tell_news();
        Ok(touched.into_iter().sum())
    }

    pub(super) async fn discard(&self, group: Group, which: Which) -> QueueResult<u64> {
        let drop = Change::DeleteWhere { collection: QueuedMessage::COLLECTION, filter: dead(group, which) };
        Ok(self.commit(vec![drop]).await?.into_iter().sum())
    }
}

fn dead(group: Group, which: Which) -> Filter {
    let dead = QueuedMessage::of(group).and(QueuedMessage::state.equals(State::Dead));
    match which {
        Which::One(message) => ID.equals(id_of(group, message).0).and(dead),
        Which::All => dead,
    }
}

fn cursor(message: &QueuedMessage) -> String {
    format!("{}.{}", message.due_at.as_milliseconds(), message.id.0.simple())
}

fn position(cursor: &str) -> QueueResult<Position> {
    let read = || {
        let (died_at, id) = cursor.split_once('.')?;
        let died_at = Timestamp::from_milliseconds(died_at.parse().ok()?)?;
        Some(Position { keys: vec![Value::Timestamp(died_at)], id: Uuid::try_parse(id).ok()? })
    };
    read().ok_or_else(|| QueueError::Misuse("no page of dead letters ended there".to_owned()))
}
