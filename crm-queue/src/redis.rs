//! Redis 6.2 or newer: queues in streams, a cache with hints, and limits that all processes share.

mod connection;
mod consume;
mod dead_letter;
mod publish;
mod queue;
mod script;
mod settle;

pub use self::{connection::RedisOptions, queue::RedisQueue};
