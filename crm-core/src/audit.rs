//! The audit trail: who did what to which record, chained so that tampering shows.
//!
//! An entry is written, unchained, by the commit of the operation it tells of. The [`sealer`] numbers and hashes
//! entries of each organization in the background, in the order they are found, so that commits never wait for a
//! chain's end. What a seal covers is in [`chain`].

pub mod chain;
mod record;
pub mod sealer;
mod service;

pub use self::{
    record::{AuditEntry, AuditEntryId},
    service::{Audit, BrokenLink, Verification},
};

#[cfg(test)]
mod tests;
