//! The suite that every queue must pass, public so that a stranger's queue can run it too.
//!
//! One line makes a test of each check. It needs `tokio` (features `macros` and `rt-multi-thread`) among the crate's
//! dev-dependencies, and `crm-queue` with the feature `conformance`:
//!
//! ```
//! use std::sync::{Arc, Mutex};
//!
//! use crm_core::{
//!     port::{OperatingSystemRandom, SystemClock, queue::SharedQueue},
//!     store::{SharedStore, memory::MemoryStore},
//! };
//! use crm_queue::{InStoreQueue, suite::Opener};
//!
//! #[derive(Default)]
//! struct InMemory(Mutex<Option<SharedStore>>);
//!
//! impl Opener for InMemory {
//!     async fn open(&self) -> SharedQueue {
//!         *self.0.lock().unwrap() = Some(Arc::new(MemoryStore::new()));
//!         self.join().await
//!     }
//!
//!     async fn join(&self) -> SharedQueue {
//!         let store = self.0.lock().unwrap().clone().expect("opened before");
//!         Arc::new(InStoreQueue::open(store, Arc::new(SystemClock), Arc::new(OperatingSystemRandom)).await.unwrap())
//!     }
//! }
//!
//! crm_queue::queue_suite!(open = InMemory::default());
//! # fn main() {}
//! ```
//!
//! The checks work in real time, with delays of some tenths of a second, and wait half a minute for what must come.

mod dead_letters;
mod failure;
mod fixture;
mod lifecycle;
mod order;
mod publishing;
mod settling;

use std::future::Future;

use crm_core::port::queue::SharedQueue;

pub use self::{
    dead_letters::{dead_letters_come_in_pages, dead_letters_wait_until_they_are_replayed_or_dropped, poison_dies},
    failure::{CheckResult, Failure},
    lifecycle::{a_closed_queue_is_closed, consumers_that_leave_give_back, queues_that_close_give_back},
    order::{keys_keep_their_order, keys_keep_their_order_after_a_lease, low_is_not_starved, priorities},
    publishing::{
        delays, each_group_gets_each_message, large_bodies, messages_come_as_published, misuse_is_refused,
        repetitions_are_taken,
    },
    settling::{
        dropped_deliveries_come_back, expired_leases_are_given_to_others, extended_leases_last,
        no_more_than_the_prefetch, nothing_is_lost_among_racing_consumers, retries,
    },
};

/// Opens queues for the checks.
pub trait Opener {
    /// A queue without messages. Each check opens its own.
    fn open(&self) -> impl Future<Output = SharedQueue>;

    /// Another queue with the same messages as the one that was opened last, as a second process has it.
    fn join(&self) -> impl Future<Output = SharedQueue>;

    /// Whether a consumer that hangs loses its messages when the lease is over, not only when its connection breaks.
    fn watches_leases(&self) -> bool {
        true
    }
}

/// Makes a test of each check of the suite: see [the module](crate::suite).
///
/// `open` is an expression that gives an [`Opener`](crate::suite::Opener), evaluated once for each test.
#[macro_export]
macro_rules! queue_suite {
    (open = $open:expr) => {
        $crate::queue_suite!(@test $open;
            messages_come_as_published
            each_group_gets_each_message
            repetitions_are_taken
            delays
            large_bodies
            misuse_is_refused
            priorities
            low_is_not_starved
            keys_keep_their_order
            keys_keep_their_order_after_a_lease
            retries
            dropped_deliveries_come_back
            expired_leases_are_given_to_others
            extended_leases_last
            no_more_than_the_prefetch
            nothing_is_lost_among_racing_consumers
            dead_letters_wait_until_they_are_replayed_or_dropped
            dead_letters_come_in_pages
            poison_dies
            consumers_that_leave_give_back
            queues_that_close_give_back
            a_closed_queue_is_closed
        );
    };
    (@test $open:expr; $($check:ident)+) => {
        $(
            #[::tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $check() -> $crate::suite::CheckResult {
                $crate::suite::$check(&$open).await
            }
        )+
    };
}
