//! Queues for the CRM, behind the contract of [`crm_core::port::queue`].
//!
//! | | runs in | for |
//! |---|---|---|
//! | [`in_store`] | the CRM's own store | one process to a few: nothing more to run |
//! | [`rabbitmq`] | RabbitMQ 3.8 or newer | many processes, where messages must outlive a broker's node |
//! | [`mod@redis`] | Redis 6.2 or newer | many processes, where Redis is there already |

mod asking;
mod backoff;
#[cfg(feature = "conformance")]
pub mod cache_suite;
mod cursor;
mod envelope;
mod handing;
mod hash;
pub mod in_process;
pub mod in_store;
pub mod rabbitmq;
pub mod redis;
#[cfg(feature = "conformance")]
pub mod suite;
mod turns;

use crm_core::port::queue::{QueueError, QueueResult};

pub use self::{
    in_process::InProcessCache,
    in_store::InStoreQueue,
    rabbitmq::{RabbitMqOptions, RabbitMqQueue},
    redis::{RedisCache, RedisLimiter, RedisOptions, RedisQueue},
};

/// Why a message died that no consumer ever answered for.
pub(crate) const ABANDONED: &str = "every consumer that had it ended without an answer";

/// Why a message died that is none of ours.
pub(crate) const UNREADABLE: &str = "it is no message of the CRM";

/// Whether so many dead letters fit a page.
pub(crate) fn check_page(limit: usize) -> QueueResult<()> {
    if (1..=1000).contains(&limit) {
        Ok(())
    } else {
        Err(QueueError::Misuse("a page has 1 to 1000 dead letters".to_owned()))
    }
}

/// The example of the guide is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../docs/queues.md")]
struct Guide;
