//! Contracts of what lies outside: time, randomness, where events go, who is told of work, and requests to others.
//!
//! An embedder may bring its own; the ones here are the defaults and the doubles for tests.

pub mod cache;
mod clock;
mod event_sink;
mod job_signal;
mod limiter;
mod outbound;
pub mod queue;
mod random;

pub use self::{
    clock::{Clock, ManualClock, SystemClock},
    event_sink::EventSink,
    job_signal::{InProcessJobSignal, JobSignal},
    limiter::{InProcessLimiter, RequestLimiter},
    outbound::{Outbound, OutboundAnswer, OutboundFailure, OutboundRequest, RetryAfter},
    random::{OperatingSystemRandom, Random, SeededRandom},
};
