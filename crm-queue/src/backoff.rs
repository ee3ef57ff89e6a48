//! Pauses between tries that fail.

use std::{sync::Arc, time::Duration};

use crm_core::port::Random;

/// The pause after the first failure, at most.
const SHORTEST: Duration = Duration::from_millis(200);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(10);

/// Doubles the pause with each failure and takes a random part of it, so that processes do not come back all at once.
pub(crate) struct Backoff {
    random: Arc<dyn Random>,
    failures: u32,
}

impl Backoff {
    pub(crate) fn new(random: Arc<dyn Random>) -> Self {
        Self { random, failures: 0 }
    }

    /// What went wrong is over.
    pub(crate) const fn reset(&mut self) {
        self.failures = 0;
    }

    /// How long to wait after one more failure: half to all of the doubled pause.
    pub(crate) fn next(&mut self) -> Duration {
        let longest = SHORTEST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let mut byte = [0];
        self.random.fill(&mut byte);
        longest / 2 + longest / 2 * u32::from(byte[0]) / 255
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use crm_core::port::SeededRandom;

    use super::{Backoff, LONGEST, SHORTEST};

    #[test]
    fn pauses_grow_to_an_end_and_begin_anew() {
        let mut backoff = Backoff::new(Arc::new(SeededRandom::new(1)));
        let first = backoff.next();
        assert!((SHORTEST / 2..=SHORTEST).contains(&first), "{first:?}");
        for _ in 0..100 {
            assert!(backoff.next() <= LONGEST);
        }
        assert!(backoff.next() >= LONGEST / 2 - Duration::from_millis(1));
        backoff.reset();
        assert!(backoff.next() <= SHORTEST);
    }
}
