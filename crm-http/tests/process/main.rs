//! The binary as a process, on every engine: started on an empty database, killed in the middle of writes, stopped in the
//! middle of requests, two at once, and with its database, its broker or Redis killed under it.

#![expect(clippy::expect_used, clippy::panic, reason = "a story that cannot be told fails")]

mod support;

mod campaign;
mod commands;
mod fields;
mod import;
mod jobs;
mod killed;
mod outage;
mod redis;
mod refusals;
mod relay;
mod secrets;
mod stopped;
mod together;
