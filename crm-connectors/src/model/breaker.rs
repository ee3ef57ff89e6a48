use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// So many failures in a row, and nobody is asked for a while.
const MOST_FAILURES: u32 = 5;

/// Keeps requests from waiting for somebody who does not answer. When the rest is over, one request tries.
#[derive(Debug)]
pub(super) struct Breaker {
    rest: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    /// Nobody asks before then.
    until: Option<Instant>,
}

/// The right to ask once. Who drops it without a word has failed.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    breaker: &'a Breaker,
    told: bool,
}

impl Breaker {
    pub(super) fn new(rest: Duration) -> Self {
        Self { rest, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing while it rests.
    pub(super) fn enter(&self, now: Instant) -> Option<Pass<'_>> {
        let mut state = self.state();
        match state.until {
            Some(until) if now < until => return None,
            // The others go on waiting for the one that tries now.
            Some(_) => state.until = Some(now + self.rest),
            None => {}
        }
        Some(Pass { breaker: self, told: false })
    }
}

impl Pass<'_> {
    pub(super) fn succeed(&mut self) {
        self.told = true;
        *self.breaker.state() = State::default();
    }

    pub(super) fn fail(&mut self) {
        self.told = true;
        let mut state = self.breaker.state();
        state.failures = state.failures.saturating_add(1);
        if state.failures >= MOST_FAILURES {
            state.until = Some(Instant::now() + self.breaker.rest);
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if !self.told {
            self.fail();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tries_when_the_rest_is_over() {
        let breaker = Breaker::new(Duration::from_hours(1));
        let now = Instant::now();
        for _ in 0..MOST_FAILURES {
            breaker.enter(now).expect("it is asked").fail();
        }
        assert!(breaker.enter(now).is_none(), "it rests");
        let later = now + Duration::from_hours(2);
        let mut probe = breaker.enter(later).expect("one tries");
        assert!(breaker.enter(later).is_none(), "the others wait for it");
        probe.fail();
        assert!(breaker.enter(now).is_none(), "it rests again");
        breaker.enter(later).expect("one tries").succeed();
        assert!(breaker.enter(now).is_some_and(|_| breaker.enter(now).is_some()), "it is back");
    }
}
