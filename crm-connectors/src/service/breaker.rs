use std::time::Duration;

use tokio::time::Instant;

/// So many failures on end, and the service is left alone.
const FAILURES: u32 = 5;
/// For so long the first time, then twice that.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// For no longer than that.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Leaves a service alone that keeps failing, and tries it with one request before all are let through again.
///
/// ```
/// use crm_connectors::Breaker;
/// use tokio::time::{Duration, Instant};
///
/// let now = Instant::now();
/// let mut breaker = Breaker::default();
/// for _ in 0..5 {
///     assert!(breaker.admits(now));
///     breaker.failed(now);
/// }
/// assert!(!breaker.admits(now));
/// assert!(breaker.admits(now + Duration::from_secs(5)), "one probe");
/// assert!(!breaker.admits(now + Duration::from_secs(5)), "and no second one");
/// breaker.succeeded();
/// assert!(breaker.admits(now + Duration::from_secs(5)));
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Breaker {
    state: State,
    /// How often on end it was left alone.
    pauses: u32,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum State {
    /// Everybody may ask. So many failures on end.
    Closed(u32),
    /// Nobody may ask until then.
    Open(Instant),
    /// One request is on its way, until then; the others wait for what becomes of it.
    Probing(Instant),
}

impl Default for State {
    fn default() -> Self {
        Self::Closed(0)
    }
}

impl Breaker {
    /// Whether a request may be sent now. Whoever is let through tells what came of it.
    pub fn admits(&mut self, now: Instant) -> bool {
        match self.state {
            State::Closed(_) => true,
            State::Open(until) | State::Probing(until) if now >= until => {
                // A probe of which nothing is heard holds up the next one only for a while.
                self.state = State::Probing(now + FIRST_PAUSE);
                true
            }
            State::Open(_) | State::Probing(_) => false,
        }
    }

    /// A request was answered.
    pub fn succeeded(&mut self) {
        // Of a request that was sent before the service was left alone nothing follows.
        if !matches!(self.state, State::Open(_)) {
            *self = Self::default();
        }
    }

    /// A request failed.
    pub fn failed(&mut self, now: Instant) {
        match self.state {
            State::Closed(failures) if failures + 1 < FAILURES => self.state = State::Closed(failures + 1),
            State::Closed(_) | State::Probing(_) => {
                let pause = FIRST_PAUSE.saturating_mul(1 << self.pauses.min(8)).min(LONGEST_PAUSE);
                self.pauses = self.pauses.saturating_add(1);
                self.state = State::Open(now + pause);
            }
            State::Open(_) => {}
        }
    }

    /// A request ended without telling anything of the service: another may probe.
    pub fn gave_up(&mut self) {
        if let State::Probing(_) = self.state {
            self.state = State::Open(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(now: Instant) -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..FAILURES {
            assert!(breaker.admits(now));
            breaker.failed(now);
        }
        breaker
    }

    #[test]
    fn only_failures_on_end_count() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 0..10 {
            for _ in 0..FAILURES - 1 {
                breaker.failed(now);
            }
            breaker.succeeded();
        }
        assert!(breaker.admits(now));
    }

    #[test]
    fn a_failed_probe_doubles_the_pause_up_to_an_end() {
        let mut now = Instant::now();
        let mut breaker = broken(now);
        for seconds in [5, 10, 20, 40, 60, 60, 60] {
            assert!(!breaker.admits(now + Duration::from_millis(seconds * 1000 - 1)), "{seconds}");
            now += Duration::from_secs(seconds);
            assert!(breaker.admits(now), "{seconds}");
            assert!(!breaker.admits(now), "one at a time");
            breaker.failed(now);
        }
        now += LONGEST_PAUSE;
        assert!(breaker.admits(now));
        breaker.succeeded();
        assert_eq!(breaker, Breaker::default());
    }

    #[test]
    fn late_answers_of_earlier_requests_change_nothing() {
        let now = Instant::now();
        let mut breaker = broken(now);
        let before = breaker.clone();
        breaker.succeeded();
        breaker.failed(now);
        assert_eq!(breaker, before);
    }

    #[test]
    fn a_probe_that_is_lost_holds_up_no_other_for_long() {
        let now = Instant::now();
        let mut breaker = broken(now);
        let probed = now + FIRST_PAUSE;
        assert!(breaker.admits(probed) && !breaker.admits(probed));
        assert!(breaker.admits(probed + FIRST_PAUSE));
        breaker.gave_up();
        assert!(breaker.admits(Instant::now()));
    }
}
