//! The suite that every store must pass, public so that a stranger's store can run it too.
//!
//! It declares four collections of its own, fills them with random records, and compares every answer of the store
//! with the evaluator ([`crate::store::evaluate`]): random filters, orders, pages, searches, aggregates and commits,
//! made as small as they go before they are told. Beside these properties stand plain checks of
//! what only shows in one situation: races for a key, commits that fail in the middle, organizations that must not see
//! each other.
//!
//! # Running it
//!
//! One line makes a test of each check, so that a test runner names what fails. It needs `tokio` (features `macros` and
//! `rt-multi-thread`) among the crate's dev-dependencies, and `crm-core` with the feature `conformance`:
//!
//! ```
//! use std::sync::Arc;
//!
//! use crm_core::store::{SharedStore, memory::MemoryStore};
//!
//! /// A new, empty store for each check, thrown away afterwards.
//! async fn open() -> SharedStore {
//!     Arc::new(MemoryStore::new())
//! }
//!
//! crm_core::conformance_suite!(open = open);
//! # fn main() {}
//! ```
//!
//! An [`Opener`] that can also close and open a store again, or make its engine fail in the middle of a commit, is
//! checked for what then must hold:
//!
//! ```
//! use std::sync::{Arc, Mutex};
//!
//! use crm_core::{
//!     conformance::{self, Opener},
//!     store::{SharedStore, memory::MemoryStore},
//! };
//!
//! #[derive(Default)]
//! struct Memory(Mutex<Arc<MemoryStore>>);
//!
//! impl Opener for Memory {
//!     async fn open(&self) -> SharedStore {
//!         let store = Arc::new(MemoryStore::new());
//!         *self.0.lock().unwrap() = store.clone();
//!         store
//!     }
//!
//!     fn fail_next_commit(&self, changes: usize) -> bool {
//!         self.0.lock().unwrap().fail_next_commit_after(changes);
//!         true
//!     }
//! }
//!
//! # #[tokio::main]
//! # async fn main() -> conformance::CheckResult {
//! // A single check; `conformance::run` runs them all.
//! conformance::failed_commits_leave_nothing(&Memory::default()).await
//! # }
//! ```
//!
//! The random input is the same in each run. The environment variable `CONFORMANCE_SEED`, a number, gives other input: a
//! failure tells the number that it was found with.
//!
//! The checks spawn tasks, so they run inside a tokio runtime; one with several threads shows more races. Each takes
//! seconds at most in a debug build, if a commit takes the store milliseconds.

mod aggregates;
mod collections;
mod failure;
mod fixture;
mod generate;
mod lifecycle;
mod property;
mod queries;
mod races;
mod tenants;
mod unique_keys;
mod writes;

use std::future::Future;

pub use self::{
    aggregates::{aggregates, sums_do_not_overflow},
    failure::{CheckResult, Failure},
    lifecycle::{commits_survive_reopening, migrations_repeat, misuse_is_refused},
    queries::{
        conditions, custom_indexes_change_no_answer, get_keeps_the_order, long_texts, nested_filters, opposites,
        orders_and_pages, pages_after_any_position, pages_stay_stable_under_inserts, related_records, searches,
        searches_follow_changes, streams, values_come_back,
    },
    races::{
        claims, claims_hand_out_each_record_once, increments_are_not_lost, races_for_a_unique_key, races_for_a_version,
        readers_see_whole_commits, transfers_keep_their_total,
    },
    tenants::{
        installation_records_have_their_scope, organizations_are_sealed_off, tenant_collections_need_an_organization,
    },
    unique_keys::unique_keys,
    writes::{
        alike_changes, changes_by_any_filter, changes_by_filter, conditional_changes, failed_commits_leave_nothing,
        increments, random_commits, versions,
    },
};
use crate::store::SharedStore;

/// Opens stores for the checks. An async function without arguments that answers a store is one.
pub trait Opener {
    /// A new store without collections or records. Each check opens its own.
    fn open(&self) -> impl Future<Output = SharedStore>;

    /// Closes the store and opens again what it wrote; nothing where nothing outlives the store.
    fn reopen(&self, store: SharedStore) -> impl Future<Output = Option<SharedStore>> {
        let _ = store;
        async { None }
    }

    /// Makes the next commit on the store that was opened last fail after so many of its changes (at its end, where it
    /// has fewer), as if the engine had died. Answers whether it can.
    fn fail_next_commit(&self, changes: usize) -> bool {
        let _ = changes;
        false
    }
}

impl<O, F> Opener for O
where
    O: Fn() -> F,
    F: Future<Output = SharedStore>,
{
    fn open(&self) -> impl Future<Output = SharedStore> {
        self()
    }
}

/// Runs every check, one after the other, until one fails.
///
/// # Errors
/// [`Failure`] of the first check that finds a difference, with the check's name.
pub async fn run(opener: &impl Opener) -> CheckResult {
    crate::conformance_suite!(@list run opener);
    Ok(())
}

/// Makes a test of each check of the suite: see [the module](crate::conformance).
///
/// `open` is an expression that gives an [`Opener`](crate::conformance::Opener), evaluated once for each test.
#[macro_export]
macro_rules! conformance_suite {
    (open = $open:expr) => {
        $crate::conformance_suite!(@list test $open);
    };
    (@list $what:ident $open:expr) => {
        $crate::conformance_suite!(@$what $open;
            values_come_back
            long_texts
            conditions
            opposites
            nested_filters
            searches
            searches_follow_changes
            related_records
            streams
            get_keeps_the_order
            orders_and_pages
            pages_after_any_position
            pages_stay_stable_under_inserts
            custom_indexes_change_no_answer
            aggregates
            sums_do_not_overflow
            versions
            conditional_changes
            increments
            alike_changes
            changes_by_filter
            changes_by_any_filter
            random_commits
            failed_commits_leave_nothing
            unique_keys
            races_for_a_unique_key
            races_for_a_version
            increments_are_not_lost
            readers_see_whole_commits
            transfers_keep_their_total
            claims
            claims_hand_out_each_record_once
            organizations_are_sealed_off
            tenant_collections_need_an_organization
            installation_records_have_their_scope
            migrations_repeat
            commits_survive_reopening
            misuse_is_refused
        );
    };
    (@test $open:expr; $($check:ident)+) => {
        $(
            #[::tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $check() -> $crate::conformance::CheckResult {
                $crate::conformance::$check(&$open).await
            }
        )+
    };
    (@run $opener:expr; $($check:ident)+) => {
        $(
            $crate::conformance::$check($opener)
                .await
                .map_err(|failure| $crate::conformance::Failure::within(failure, stringify!($check)))?;
        )+
    };
}
