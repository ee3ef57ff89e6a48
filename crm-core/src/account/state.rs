use std::{
    fmt,
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use moka::sync::Cache;
use uuid::Uuid;

use super::{AccountSettings, password::PasswordHasher};
use crate::{access::Principal, port::Random, time::Timestamp};

/// For how long what was looked up is believed. Another process's revocations are seen after at most as long.
pub(crate) const BELIEVED: Duration = Duration::from_secs(5);
/// How many tokens are kept verified.
const VERIFIED: u64 = 100_000;
/// How many counters the revocations share.
const COUNTERS: usize = 4096;

/// Somebody whose token was checked, and until when the check is good.
#[derive(Debug)]
pub(crate) struct Verified {
    pub(crate) principal: Principal,
    /// When it was looked up.
    pub(crate) since: Timestamp,
    /// When the token itself ends.
    pub(crate) expires: Option<Timestamp>,
    /// What was counted before it was looked up.
    pub(crate) stamp: Stamp,
}

/// How often the session (or key) and the user had been revoked in this process.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Stamp {
    first: (usize, u64),
    second: (usize, u64),
}

/// Counts revocations, so that what was looked up before one is not believed after it.
///
/// Ids share counters: that costs a needless look-up now and then, and bounds the memory.
pub(crate) struct Revocations {
    hasher: RandomState,
    counters: Vec<AtomicU64>,
}

impl Revocations {
    fn new() -> Self {
        Self { hasher: RandomState::new(), counters: (0..COUNTERS).map(|_| AtomicU64::new(0)).collect() }
    }

    fn counter(&self, id: Uuid) -> usize {
        usize::try_from(self.hasher.hash_one(id) % COUNTERS as u64).unwrap_or(0)
    }

    fn read(&self, counter: usize) -> u64 {
        self.counters.get(counter).map_or(0, |count| count.load(Ordering::Acquire))
    }

    /// To be taken before the look-up.
    pub(crate) fn stamp(&self, first: Uuid, second: Uuid) -> Stamp {
        let (first, second) = (self.counter(first), self.counter(second));
        Stamp { first: (first, self.read(first)), second: (second, self.read(second)) }
    }

    /// Whether nothing was revoked since.
    pub(crate) fn stands(&self, stamp: Stamp) -> bool {
        self.read(stamp.first.0) == stamp.first.1 && self.read(stamp.second.0) == stamp.second.1
    }

    /// Nothing that was looked up before is believed any more.
    pub(crate) fn revoke_all(&self) {
        for count in &self.counters {
            count.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// To be called after the commit that ended a session or key, or changed a user.
    pub(crate) fn revoke(&self, id: Uuid) {
        if let Some(count) = self.counters.get(self.counter(id)) {
            count.fetch_add(1, Ordering::AcqRel);
        }
    }
}

/// What this process keeps for accounts.
pub(crate) struct AccountState {
    pub(crate) settings: AccountSettings,
    pub(crate) hasher: PasswordHasher,
    pub(crate) revocations: Revocations,
    /// By SHA-256 of the token and the organization asked for, so that no token lies in memory.
    pub(crate) verified: Cache<[u8; 32], Arc<Verified>>,
}

impl fmt::Debug for AccountState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountState").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl AccountState {
    pub(crate) fn new(settings: AccountSettings, random: &dyn Random) -> Self {
        Self {
            hasher: PasswordHasher::new(settings.hashes_at_once, random),
            revocations: Revocations::new(),
            verified: Cache::builder().max_capacity(VERIFIED).time_to_live(BELIEVED).build(),
            settings,
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::Revocations;

    #[test]
    fn a_revocation_ends_what_was_looked_up_before_it() {
        let (revocations, session, user) = (Revocations::new(), Uuid::from_u128(1), Uuid::from_u128(2));
        let before = revocations.stamp(session, user);
        assert!(revocations.stands(before));
        revocations.revoke(session);
        assert!(!revocations.stands(before));
        let after = revocations.stamp(session, user);
        assert!(revocations.stands(after));
        revocations.revoke(user);
        assert!(!revocations.stands(after));
        let last = revocations.stamp(session, user);
        revocations.revoke_all();
        assert!(!revocations.stands(last));
    }
}
