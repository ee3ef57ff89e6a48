//! Contracts of what lies outside: time, randomness, where events go, who is told of work, requests to others, and
//! the ways by which messages reach customers.
//!
//! An embedder may bring its own; the ones here are the defaults and the doubles for tests.

pub mod cache;
mod channel;
mod clock;
mod event_sink;
mod job_signal;
mod language_model;
mod limiter;
mod outbound;
pub mod queue;
mod random;
mod record_service;

pub(crate) use self::channel::Channels;
pub use self::{
    channel::{Accepted, Channel, OutgoingMessage, SendFailure},
    clock::{Clock, ManualClock, SystemClock},
    event_sink::EventSink,
    job_signal::{InProcessJobSignal, JobSignal},
    language_model::{LanguageModel, ModelFailure, ModelRequest},
    limiter::{InProcessLimiter, RequestLimiter},
    outbound::{Outbound, OutboundAnswer, OutboundFailure, OutboundRequest, RetryAfter},
    random::{OperatingSystemRandom, Random, SeededRandom},
    record_service::{RecordService, RecordsAsked, ServiceFailure},
};
