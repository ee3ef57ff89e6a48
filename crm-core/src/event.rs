//! Events: what happened, told once the commit that made it happen is in.
//!
//! An [`Event`] is written to the outbox by the commit of the operation itself, so none is lost and none tells of
//! something that did not happen. The [`relay`] hands them to every [`EventSink`](crate::port::EventSink).

mod record;
pub mod relay;
mod types;

pub use self::{
    record::{Event, EventId},
    types::{EVENT_TYPES, EventType, find},
};
