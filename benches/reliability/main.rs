//! What queues, limits and webhooks cost, each beside a hand-written floor in the same run.
//!
//! - `queue`: messages that wait are taken and acknowledged, 32 in hand, by the in-store queue on PostgreSQL and on SQLite
//!   (`synchronous = FULL`); the floor claims with `SKIP LOCKED` (on SQLite in one transaction at a time) and deletes.
//! - `relay`: events go from the outbox on PostgreSQL to RabbitMQ; the floor reads, publishes with confirms and marks as
//!   many at once. Then it is printed how long an event takes from its commit to who handles it.
//! - `limits`: a request is counted by Redis, beside `EVALSHA` of the same script; and what counting in the process adds
//!   to a request to the router.
//! - `webhooks`: signed deliveries to a receiver on loopback, 50 at once; the floor signs, posts with reqwest and writes
//!   the same log row.
//!
//! One element is one message, request or delivery. The servers are private ones that write before they acknowledge.

#![expect(clippy::unwrap_used, reason = "a bench that cannot go on ends")]
#![expect(clippy::print_stdout, reason = "a bench tells what it measured")]

mod limits;
mod queues;
mod relay;
mod webhooks;
mod writer;

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).measurement_time(Duration::from_secs(8));
    targets = queues::queues, relay::relay, limits::limits, webhooks::webhooks
}
criterion_main!(benches);
