//! Contracts of what lies outside: time, randomness, and where events go.
//!
//! An embedder may bring its own; the ones here are the defaults and the doubles for tests.

mod clock;
mod event_sink;
mod random;

pub use self::{
    clock::{Clock, ManualClock, SystemClock},
    event_sink::EventSink,
    random::{OperatingSystemRandom, Random, SeededRandom},
};
