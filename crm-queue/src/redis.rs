//! Redis 6.2 or newer: queues in streams, a cache with hints, and limits that all processes share.

mod cache;
mod connection;
mod consume;
mod dead_letter;
mod limiter;
mod publish;
mod queue;
mod script;
mod settle;

pub use self::{cache::RedisCache, connection::RedisOptions, limiter::RedisLimiter, queue::RedisQueue};
