use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use crm_core::port::queue::{DeadLetter, DeadLetters, Group, QueueResult, Which};
use lapin::{
    Channel,
    message::BasicGetMessage,
    options::{BasicAckOptions, BasicGetOptions, QueuePurgeOptions},
};
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    connection::told,
    message::{letter, read},
    queue::Shared,
    topology::ready,
};
use crate::cursor::Cursor;

/// How long the broker is waited for, to have again what was only looked at.
const PUT_BACK: Duration = Duration::from_secs(30);

impl Shared {
    /// A queue can only be looked at by taking from it: what is taken goes back when the channel is closed, in no order
    /// that the broker promises. So a page costs a look at every letter, of which the page's own are kept in memory. The
    /// queue is taken from until it is empty: how many it has, the broker tells as none where its leader is slow.
    pub(super) async fn dead_letters(
        &self,
        group: Group,
        after: Option<&str>,
        limit: usize,
    ) -> QueueResult<DeadLetters> {
        crate::check_page(limit)?;
        let after: Option<Cursor> = after.map(str::parse).transpose()?;
        let looking = self.looking.lock().await;
        let channel = self.open_dead(group).await?;
        let mut taken = 0;
        let mut page: BTreeMap<Cursor, DeadLetter> = BTreeMap::new();
        let mut has_more = false;
        while let Some(got) = self.get(&channel, group).await? {
            taken += 1;
            let letter = letter(&got.delivery.properties, &got.delivery.data);
            let cursor = Cursor { died_at: letter.died_at, id: letter.message.id };
            if after.is_some_and(|after| cursor <= after) {
                continue;
            }
            page.insert(cursor, letter);
            if page.len() > limit {
                page.pop_last();
                has_more = true;
            }
        }
        self.put_back(group, &channel, taken).await?;
        drop(looking);
        let next = page.last_key_value().filter(|_| has_more).map(|(cursor, _)| cursor.to_string());
        Ok(DeadLetters { letters: page.into_values().collect(), next })
    }

    pub(super) async fn replay(&self, group: Group, which: Which) -> QueueResult<u64> {
        self.each_dead(group, which, true).await
    }

    pub(super) async fn discard(&self, group: Group, which: Which) -> QueueResult<u64> {
        if which == Which::All {
            let channel = self.open_dead(group).await?;
            let purged = channel.queue_purge(self.topology.dead(group).as_str().into(), QueuePurgeOptions::default());
            return self.in_time(async { purged.await.map(u64::from).map_err(told) }).await;
        }
        self.each_dead(group, which, false).await
    }

    /// Replays or drops each letter that is there now, and answers how many there were.
    async fn each_dead(&self, group: Group, which: Which, replays: bool) -> QueueResult<u64> {
        let looking = self.looking.lock().await;
        let channel = self.open_dead(group).await?;
        let begun = self.clock.now();
        let mut seen = HashSet::new();
        let (mut taken, mut dealt_with) = (0_u64, 0);
        while let Some(got) = self.get(&channel, group).await? {
            taken += 1;
            let wanted = match which {
                Which::One(id) => id_of(&got) == Some(id),
                // Not those that die meanwhile, nor those that die again, whatever the clocks say.
                Which::All => {
                    let died_at = letter(&got.delivery.properties, &got.delivery.data).died_at;
                    died_at <= begun && id_of(&got).is_none_or(|id| seen.insert(id))
                }
            };
            if wanted {
                let gone = if replays { self.replay_one(group, &got).await? } else { acknowledge(&got).await? };
                dealt_with += u64::from(gone);
                if which != Which::All {
                    break;
                }
            }
        }
        self.put_back(group, &channel, taken.saturating_sub(dealt_with)).await?;
        drop(looking);
        Ok(dealt_with)
    }

    async fn count_dead(&self, group: Group) -> QueueResult<u64> {
        self.in_time(async {
            let session = self.publishing.session().await?;
            ready(&session, &self.topology.dead(group)).await
        })
        .await
    }

    /// Gives back what was taken and not acknowledged, and waits until the broker has so many again, so that whoever
    /// looks next sees them. It tells of none while the queue's leader is slow.
    async fn put_back(&self, group: Group, channel: &Channel, count: u64) -> QueueResult<()> {
        channel.close(200, "looked".into()).await.map_err(told)?;
        let deadline = Instant::now() + PUT_BACK;
        while count > 0 && Instant::now() < deadline {
            if self.count_dead(group).await.is_ok_and(|ready| ready >= count) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    async fn replay_one(&self, group: Group, got: &BasicGetMessage) -> QueueResult<bool> {
        match read(&got.delivery.properties, &got.delivery.data) {
            Some(received) => {
                self.send(self.to_group(group, &received.message, 0, Duration::ZERO)?).await?;
                acknowledge(got).await
            }
            // What cannot be read would only die again.
            None => Ok(false),
        }
    }

    async fn open_dead(&self, group: Group) -> QueueResult<Channel> {
        self.in_time(async {
            let session = self.publishing.session().await?;
            self.topology.declare(&session, group).await?;
            session.channel().await
        })
        .await
    }

    async fn get(&self, channel: &Channel, group: Group) -> QueueResult<Option<BasicGetMessage>> {
        let queue = self.topology.dead(group);
        let got = channel.basic_get(queue.as_str().into(), BasicGetOptions::default());
        self.in_time(async { got.await.map_err(told) }).await
    }
}

async fn acknowledge(got: &BasicGetMessage) -> QueueResult<bool> {
    got.delivery.acker.ack(BasicAckOptions::default()).await.map_err(told)
}

fn id_of(got: &BasicGetMessage) -> Option<Uuid> {
    got.delivery.properties.message_id().as_ref().and_then(|id| Uuid::try_parse(id.as_str()).ok())
}
