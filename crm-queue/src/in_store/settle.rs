use std::{sync::Arc, time::Duration};

use crm_core::{
    async_trait,
    port::queue::{ABANDONMENTS, QueueError, QueueResult, Receipt, Settlement},
    record::{ID, Record as _},
    store::{Assignment, Change, Filter, Query},
};
use tokio::runtime::Handle;
use uuid::Uuid;

use super::{
    Shared,
    consume::{abandoned, unblock},
    message::{QueuedMessage, State},
};
use crate::handing::HeldReceipt;

/// The claim on one row: it holds as long as the row has this holder and this number of attempts.
#[derive(Clone)]
pub(super) struct StoreReceipt {
    shared: Arc<Shared>,
    id: Uuid,
    queue: String,
    key: Option<String>,
    holder: Uuid,
    attempts: i64,
    abandonments: i64,
    lease: Duration,
    runtime: Handle,
}

impl StoreReceipt {
    pub(super) fn new(shared: &Arc<Shared>, message: &QueuedMessage, holder: Uuid, lease: Duration) -> Self {
        Self {
            shared: shared.clone(),
            id: message.id.0,
            queue: message.queue.clone(),
            key: message.ordering_key.clone(),
            holder,
            attempts: message.attempts,
            abandonments: message.abandonments,
            lease,
            runtime: Handle::current(),
        }
    }

    fn claimed(&self) -> Filter {
        ID.equals(self.id)
            .and(QueuedMessage::holder.equals(self.holder))
            .and(QueuedMessage::attempts.equals(self.attempts))
            .and(QueuedMessage::state.equals(State::InHand))
    }

    fn update(&self, assignments: Vec<Assignment>) -> Change {
        Change::UpdateWhere { collection: QueuedMessage::COLLECTION, filter: self.claimed(), assignments }
    }

    /// Makes the change, and where the message is gone by it, lets the next of its key come.
    async fn make(&self, change: Change, gone: bool) -> QueueResult<()> {
        let next = if gone { self.next_of_key().await? } else { None };
        let mut changes = vec![change];
        changes.extend(next.map(|next| unblock(ID.equals(next), self.shared.clock.now())));
        let touched = self.shared.commit(changes).await?;
        if touched.len() > 1 {
            self.shared.tell_news();
        }
        if touched.first() == Some(&1) { Ok(()) } else { Err(QueueError::Lost) }
    }

    async fn next_of_key(&self) -> QueueResult<Option<Uuid>> {
        let Some(key) = &self.key else { return Ok(None) };
        let behind = QueuedMessage::queue
            .equals(self.queue.clone())
            .and(QueuedMessage::ordering_key.equals(Some(key.clone())))
            .and(QueuedMessage::state.equals(State::Blocked));
        let first = Query::new(behind, 1).sorted(vec![QueuedMessage::sequence.ascending()]);
        Ok(self.shared.find(&first).await?.0.first().map(|message| message.id.0))
    }

    async fn give_back(&self, counted: bool) -> QueueResult<()> {
        if counted && self.abandonments + 1 >= i64::from(ABANDONMENTS) {
            return self.bury(crate::ABANDONED.to_owned(), abandoned().to_vec()).await;
        }
        let now = self.shared.clock.now();
        let mut assignments = vec![
            QueuedMessage::state.set(State::Ready),
            QueuedMessage::due_at.set(now),
            QueuedMessage::holder.set(None),
        ];
        if counted {
            assignments.extend(abandoned());
        }
        self.make(self.update(assignments), false).await?;
        self.shared.tell_news();
        Ok(())
    }

    async fn bury(&self, cause: String, counts: Vec<Assignment>) -> QueueResult<()> {
        let mut assignments = vec![
            QueuedMessage::state.set(State::Dead),
            QueuedMessage::due_at.set(self.shared.clock.now()),
            QueuedMessage::holder.set(None),
            QueuedMessage::cause.set(Some(cause)),
        ];
        assignments.extend(counts);
        self.make(self.update(assignments), true).await
    }

    fn give_back_soon(&self, counted: bool) {
        let receipt = self.clone();
        self.runtime.spawn(async move {
            match receipt.give_back(counted).await {
                Ok(()) | Err(QueueError::Lost) => {}
                Err(error) => tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "a message that was not answered comes back by its lease"
                ),
            }
        });
    }
}

#[async_trait]
impl Receipt for StoreReceipt {
    async fn settle(&self, settlement: Settlement) -> QueueResult<()> {
        match settlement {
            Settlement::Acknowledge => {
                let delete = Change::DeleteWhere { collection: QueuedMessage::COLLECTION, filter: self.claimed() };
                self.make(delete, true).await
            }
            Settlement::Retry(after) => {
                let now = self.shared.clock.now();
                let state = if after.is_zero() { State::Ready } else { State::Delayed };
                let again = self.update(vec![
                    QueuedMessage::state.set(state),
                    QueuedMessage::due_at.set(now.plus(after)),
                    QueuedMessage::holder.set(None),
                    QueuedMessage::attempts.increment(1),
                    QueuedMessage::abandonments.set(0),
                ]);
                self.make(again, false).await?;
                self.shared.tell_news();
                Ok(())
            }
            Settlement::Reject(cause) => self.bury(cause, vec![QueuedMessage::attempts.increment(1)]).await,
        }
    }

    async fn extend(&self) -> QueueResult<()> {
        let until = self.shared.clock.now().plus(self.lease);
        self.make(self.update(vec![QueuedMessage::due_at.set(until)]), false).await
    }

    fn abandon(&self) {
        self.give_back_soon(true);
    }
}

impl HeldReceipt for StoreReceipt {
    fn release(&self) {
        self.give_back_soon(false);
    }
}
