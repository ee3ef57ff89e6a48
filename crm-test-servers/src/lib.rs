//! Private database servers and message brokers for tests and benches.
//!
//! A server listens on a free port of the loopback address, keeps its data in a folder of its own, and ends with the
//! process that started it, also where that is killed: it is the child of a small shell that waits for the end of a
//! pipe. Nothing needs to be set up, and nothing of anybody's is touched.
//!
//! [`Postgres`], [`RabbitMq`] and [`Redis`] take Debian's packages; [`Mongo`] takes `MONGODB_URL`, `MONGOD_BIN` or `mongod` on the `PATH`. Where
//! there is none, the sentence says what to install.

mod mongo;
mod postgres;
mod rabbitmq;
mod redis;
mod supervised;

use std::{fmt, io};

pub use self::{mongo::Mongo, postgres::Postgres, rabbitmq::RabbitMq, redis::Redis};

/// What a server promises of acknowledged writes.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Durability {
    /// Nothing beyond the life of the process: for tests that throw everything away.
    #[default]
    None,
    /// They outlive a crash, as they would for users.
    Full,
}

/// Why there is no server, as a sentence for the person who runs the tests.
#[derive(Debug)]
pub struct NoServer(String);

impl fmt::Display for NoServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoServer {}

impl From<io::Error> for NoServer {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}
