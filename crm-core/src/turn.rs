//! Turns for writers of one record: decisions are made side by side and those that lost a race are made again, one
//! after the other, so that everybody who asks for a change without naming a version gets it.

use tokio::sync::Mutex;
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

    /// The queue of a record, or of whatever else the id names. The last byte of an id is random.
    pub(crate) fn queue(&self, id: Uuid) -> &Mutex<()> {
        &self.queues[usize::from(id.as_bytes()[15])]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
