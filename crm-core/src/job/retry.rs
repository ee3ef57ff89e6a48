//! When a job that failed is tried again: plain decisions.

use std::time::Duration;

use crate::{error::Error, port::Random};

/// The wait before the second attempt.
const FIRST: Duration = Duration::from_secs(2);
/// The longest wait.
pub(super) const LONGEST: Duration = Duration::from_secs(300);

/// Whether the same work may succeed later without anybody doing anything.
pub(super) const fn may_pass(error: &Error) -> bool {
    matches!(
        error,
        Error::Unavailable { .. }
            | Error::Internal(_)
            | Error::RateLimited { .. }
            | Error::Upstream(_)
            | Error::VersionConflict { .. }
    )
}

/// How long to wait after so many failed attempts: doubling, between half of it and all of it, so that what failed
/// together does not come back together.
pub(super) fn pause(attempts: i64, random: &dyn Random) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(1).clamp(0, 16)).unwrap_or(0);
    let whole = FIRST.saturating_mul(2_u32.saturating_pow(doublings)).min(LONGEST);
    let mut byte = [0; 1];
    random.fill(&mut byte);
    whole / 2 + (whole / 2).mul_f64(f64::from(byte[0]) / 255.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::SeededRandom;

    #[test]
    fn waits_double_and_stay_bounded() {
        let random = SeededRandom::new(1);
        for (attempts, seconds) in [(0, 2), (1, 2), (2, 4), (3, 8), (4, 16), (8, 256), (9, 300), (i64::MAX, 300)] {
            for _ in 0..50 {
                let whole = Duration::from_secs(seconds);
                let waited = pause(attempts, &random);
                assert!(waited >= whole / 2 && waited <= whole, "{attempts}: {waited:?}");
            }
        }
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        assert!(may_pass(&Error::internal("a fault")));
        assert!(may_pass(&Error::VersionConflict { found: 2 }));
        assert!(!may_pass(&Error::Forbidden("no".to_owned())));
        assert!(!may_pass(&Error::NotFound("import")));
    }
}
