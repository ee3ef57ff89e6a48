use std::time::Duration;

use crm_core::port::queue::{Message, QueueError, QueueResult, Topic};
use tokio::time::Instant;

use super::{queue::Shared, script::rank};
use crate::{backoff::Backoff, envelope};

/// How many bytes of messages go into one call of a script.
const BATCH: usize = 4 << 20;

impl Shared {
    /// One script call for each group and batch, which is one step in Redis.
    pub(super) async fn publish(
        &self,
        topic: &'static Topic,
        messages: &[Message],
        delay: Duration,
    ) -> QueueResult<()> {
        topic.check()?;
        messages.iter().try_for_each(Message::check)?;
        let texts = messages.iter().map(envelope::write).collect::<QueueResult<Vec<String>>>()?;
        let mut batch: Vec<(&Message, &str)> = Vec::new();
        let mut size = 0;
        for (message, text) in messages.iter().zip(&texts) {
            if size + text.len() > BATCH && !batch.is_empty() {
                self.publish_batch(topic, &batch, delay).await?;
                batch.clear();
                size = 0;
            }
            size += text.len();
            batch.push((message, text));
        }
        if !batch.is_empty() {
            self.publish_batch(topic, &batch, delay).await?;
        }
        self.tell_news();
        Ok(())
    }

    async fn publish_batch(
        &self,
        topic: &'static Topic,
        batch: &[(&Message, &str)],
        delay: Duration,
    ) -> QueueResult<()> {
        // Rounded up, so that no delay is cut short.
        let delay = u64::try_from(delay.as_micros().div_ceil(1000)).unwrap_or(u64::MAX >> 12);
        for group in topic.all_groups() {
            let mut invocation = self.scripts.publish(&self.keys(group));
            invocation.arg(delay);
            for (message, text) in batch {
                invocation.arg(rank(message.priority)).arg(message.key.as_deref().unwrap_or_default()).arg(*text);
            }
            // What may have been confirmed by an answer that did not arrive is published again: its id tells.
            let deadline = Instant::now() + self.link.timeout() * 2;
            let mut backoff = Backoff::new(self.random.clone());
            loop {
                match self.link.run::<i64>(&invocation).await.map_err(QueueError::from) {
                    Ok(_) => break,
                    Err(QueueError::Unavailable { .. }) if Instant::now() < deadline => {
                        tokio::time::sleep(backoff.next()).await;
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}
