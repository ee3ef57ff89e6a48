//! Changes of many customers as jobs, and how they are undone for a day.
//!
//! Whatever changes many customers at once has a [`BulkChange`], which has the id of its job, and a [`BulkNote`] for each
//! customer that it changed: what the fields were that it set. Both are written by the commits that change the customers,
//! so that a run that ends anywhere is gone on with where it was, and whatever was written can be undone. A change that a
//! request waits for ([`Recording`]) notes the same, beside a job that ends with the request.

mod cleaning;
mod create;
mod notes;
mod record;
mod recording;
mod run;
mod service;
mod take_back;

#[cfg(test)]
mod tests;

pub use self::record::{BulkChange, BulkChangeId, BulkNote, BulkNoteId};
pub(crate) use self::{
    cleaning::remove_old as remove_old_notes,
    create::CreateHandler,
    recording::Recording,
    run::{BulkHandler, merge},
    take_back::BulkUndoHandler,
};
