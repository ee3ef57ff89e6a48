//! Queues for the CRM, behind the contract of [`crm_core::port::queue`].
//!
//! | | runs in | for |
//! |---|---|---|
//! | [`in_store`] | the CRM's own store | one process to a few: nothing more to run |

mod backoff;
mod handing;
mod hash;
pub mod in_store;
#[cfg(feature = "conformance")]
pub mod suite;
mod turns;

use crm_core::port::queue::{QueueError, QueueResult};

pub use self::in_store::InStoreQueue;

/// Why a message died that no consumer ever answered for.
pub(crate) const ABANDONED: &str = "every consumer that had it ended without an answer";

/// Whether so many dead letters fit a page.
pub(crate) fn check_page(limit: usize) -> QueueResult<()> {
    if (1..=1000).contains(&limit) {
        Ok(())
    } else {
        Err(QueueError::Misuse("a page has 1 to 1000 dead letters".to_owned()))
    }
}
