//! Events: what happened, told once the commit that made it happen is in.
//!
//! An [`Event`] is written to the outbox by the commit of the operation itself, so none is lost and none tells of
//! something that did not happen. The [`relay`] hands them on in the order of each record's versions: to the queue of
//! the CRM where it has one, whose consumers (`handler`) then do what is to be done for each; without one it does so
//! itself. An event that cannot be handed on is [set aside](set_aside) and holds back its own record only.

mod envelope;
pub(crate) mod handler;
mod record;
pub mod relay;
pub mod set_aside;
mod types;

pub use self::{
    envelope::{EVENTS, HANDLERS},
    record::{Event, EventId, partition_of},
    types::{EVENT_TYPES, EventType, find},
};

pub(crate) use self::{envelope::to_json, record::PARTITIONS};
