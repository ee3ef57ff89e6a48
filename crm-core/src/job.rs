//! Long work: jobs that go on beside requests, survive the process that runs them, and can be watched and cancelled.
//!
//! A [`Job`] is a record. Whoever wants long work done inserts one in the same commit as what it is about
//! ([`Jobs::enqueue`]); a [`runner`] in any process takes it up and gives it to the [`JobHandler`] of its kind. The run
//! holds the job by a token: everything that the handler writes goes through [`JobContext::checkpoint`], whose commit
//! happens only while the token is still the job's. So a run that was given up for dead can write nothing beside the
//! one that took its place, and a handler that notes its place in the same commit goes on exactly where it was.

mod context;
mod dead_letter;
mod handler;
mod payload;
mod record;
mod retry;
pub mod runner;
mod running;
mod schedule;
mod service;

#[cfg(test)]
mod tests;

pub use self::{
    context::{Interruption, JobContext},
    dead_letter::{DeadLetters, Dropped, Replayed},
    handler::{JobFailure, JobHandler, JobOutcome},
    payload::JobPayload,
    record::{Job, JobError, JobId, JobPriority, JobProgress, JobState, UnknownPriority, UnknownState},
    schedule::{Firing, FiringId, InvalidSchedule, Schedule},
    service::{Jobs, NewJob},
};
pub(crate) use self::{handler::JobHandlers, running::RunningJobs, schedule::fire_due};
