//! Turns for writers of one record: decisions are made side by side and those that lost a race are made again, one
//! after the other, so that everybody who asks for a change without naming a version gets it.

use tokio::sync::{Mutex, MutexGuard};
use uuid::Uuid;

/// Records share queues, for there is no end to records. Two that share one wait for each other at worst.
const QUEUES: usize = 256;

/// The queues of writers who lost a race.
pub(crate) struct Turns {
    queues: Vec<Mutex<()>>,
}

impl Turns {
    pub(crate) fn new() -> Self {
        Self { queues: std::iter::repeat_with(Mutex::default).take(QUEUES).collect() }
    }

    /// Joins the writers of a record, or of whatever else the id names. Who comes while others have their turn lets them
    /// end first: else the newcomers win each race against those. Then newcomers go side by side: if each of them took a
    /// turn, one lost race would line up all who come after for as long as there is no pause.
    pub(crate) async fn join(&self, id: Uuid) -> Turn<'_> {
        let queue = self.queue(id);
        if queue.try_lock().is_err() {
            drop(queue.lock().await);
        }
        Turn { queue, held: None }
    }

    /// The last byte of an id is random.
    fn queue(&self, id: Uuid) -> &Mutex<()> {
        &self.queues[usize::from(id.as_bytes()[15])]
    }
}

/// A writer's place, given up when it is dropped.
pub(crate) struct Turn<'a> {
    queue: &'a Mutex<()>,
    held: Option<MutexGuard<'a, ()>>,
}

impl Turn<'_> {
    /// After a lost race: waits until it is this writer's turn to decide again.
    pub(crate) async fn wait(&mut self) {
        if self.held.is_none() {
            self.held = Some(self.queue.lock().await);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::poll;

    use super::*;

    #[tokio::test]
    async fn newcomers_wait_for_who_lost_a_race_and_then_go_side_by_side() {
        let (turns, id) = (Turns::new(), Uuid::nil());
        let mut loser = turns.join(id).await;
        loser.wait().await;
        let (mut first, mut second) = (pin!(turns.join(id)), pin!(turns.join(id)));
        assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
        drop(loser);
        let first = poll!(&mut first);
        assert!(first.is_ready() && poll!(&mut second).is_ready());
    }

    #[test]
    fn every_id_has_its_queue() {
        let turns = Turns::new();
        for last in 0..=u8::MAX {
            let mut bytes = [7; 16];
            bytes[15] = last;
            let queue = turns.queue(Uuid::from_bytes(bytes));
            assert!(std::ptr::eq(queue, turns.queue(Uuid::from_bytes(bytes))), "{last}");
        }
    }
}
