use std::sync::Arc;

use async_trait::async_trait;

use crate::{error::Result, event::Event};

/// Takes the events of the outbox, in order for each record.
#[async_trait]
pub trait EventSink: Send + Sync + 'static {
    /// Takes a batch. It comes again when this fails or the process dies before it was marked:
    /// the event's id tells a repetition.
    ///
    /// # Errors
    /// Any error keeps the batch in the outbox, to be tried again.
    async fn publish(&self, events: &[Event]) -> Result<()>;
}

#[async_trait]
impl<T: EventSink + ?Sized> EventSink for Arc<T> {
    async fn publish(&self, events: &[Event]) -> Result<()> {
        (**self).publish(events).await
    }
}
