use std::sync::atomic::{AtomicI64, Ordering};

use crate::time::Timestamp;

/// Tells the time. Injected, so that a test decides what time it is.
pub trait Clock: Send + Sync + 'static {
    /// The instant now, to the millisecond.
    fn now(&self) -> Timestamp;
}

/// A clock that is shared, so that a test can move it later.
impl<C: Clock> Clock for std::sync::Arc<C> {
    fn now(&self) -> Timestamp {
        self.as_ref().now()
    }
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    fn now(&self) -> Timestamp {
        Timestamp::from(jiff::Timestamp::now())
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that shows `now`.
    #[must_use]
    pub const fn new(now: Timestamp) -> Self {
        Self(AtomicI64::new(now.as_milliseconds()))
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: std::time::Duration) {
        let milliseconds = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.0.fetch_add(milliseconds, Ordering::SeqCst);
    }

    /// Sets the clock.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.as_milliseconds(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_milliseconds(self.0.load(Ordering::SeqCst)).unwrap_or(Timestamp::MAX)
    }
}
