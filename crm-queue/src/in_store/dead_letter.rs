use crm_core::{
    port::queue::{DeadLetters, Group, QueueResult, Which},
    record::{ID, Record as _},
    store::{Change, Filter, Position, Query, Value},
};

use super::{
    Shared,
    message::{QueuedMessage, State, id_of},
};
use crate::cursor::Cursor;

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
    Cursor { died_at: message.due_at, id: message.id.0 }.to_string()
}

fn position(cursor: &str) -> QueueResult<Position> {
    let Cursor { died_at, id } = cursor.parse()?;
    Ok(Position { keys: vec![Value::Timestamp(died_at)], id })
}
