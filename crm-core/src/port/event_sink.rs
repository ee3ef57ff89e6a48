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
    /// [`Error::Unavailable`](crate::error::Error::Unavailable) keeps everything in the outbox until it passes. After
    /// another error events come one by one; one that is refused some times on end is
    /// [set aside](crate::event::set_aside), with what follows of its record.
    async fn publish(&self, events: &[Event]) -> Result<()>;
}

#[async_trait]
impl<T: EventSink + ?Sized> EventSink for Arc<T> {
    async fn publish(&self, events: &[Event]) -> Result<()> {
        (**self).publish(events).await
    }
}
