//! What the built-in vendor will say of a message: plain decisions by a hash.

use std::time::Duration;

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::MockVendorSettings;

/// How many of those who get a message read it.
const READ_RATE: f64 = 0.3;
/// How much later late receipts come.
const LATE: Duration = Duration::from_secs(5);

/// A receipt that is to come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Planned {
    pub(super) status: &'static str,
    pub(super) reason: Option<&'static str>,
    /// When it was, counted from when the message was taken.
    pub(super) at: Duration,
    /// When it is told.
    pub(super) due: Duration,
}

/// What is said of a message, and when.
pub(super) fn receipts(settings: &MockVendorSettings, message: Uuid) -> Vec<Planned> {
    let hash = Sha256::new().chain_update(settings.seed.to_be_bytes()).chain_update(message.as_bytes()).finalize();
    // Each draw has four bytes of its own.
    let draw = |place: usize| {
        let bytes = hash.get(place * 4..place * 4 + 4).and_then(|bytes| bytes.try_into().ok()).unwrap_or([0; 4]);
        f64::from(u32::from_be_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
    };
    let [fails, reads, late, twice, disorder, lost] = [0, 1, 2, 3, 4, 5].map(draw);
    if lost < settings.lost_rate {
        return Vec::new();
    }
    let step = |steps: u32| settings.latency.saturating_mul(steps);
    let planned = |status: &'static str, reason: Option<&'static str>, steps: u32| Planned {
        status,
        reason,
        at: step(steps),
        due: step(steps),
    };
    let mut receipts = if fails < settings.failure_rate {
        vec![planned("FAILED", Some("The mock vendor failed, as it was told to."), 1)]
    } else {
        vec![planned("SENT", None, 1), planned("DELIVERED", None, 2)]
    };
    if fails >= settings.failure_rate && reads < READ_RATE {
        receipts.push(planned("READ", None, 3));
    }
    if disorder < settings.disorder_rate {
        let dues: Vec<Duration> = receipts.iter().rev().map(|receipt| receipt.due).collect();
        for (receipt, due) in receipts.iter_mut().zip(dues) {
            receipt.due = due;
        }
    }
    if late < settings.late_rate {
        for receipt in &mut receipts {
            receipt.due += LATE;
        }
    }
    if twice < settings.duplicate_rate {
        let again: Vec<Planned> =
            receipts.iter().map(|receipt| Planned { due: receipt.due + step(1), ..*receipt }).collect();
        receipts.extend(again);
    }
    receipts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(settings: MockVendorSettings) -> Vec<Vec<Planned>> {
        (0..2000).map(|message| receipts(&settings, Uuid::from_u128(message))).collect()
    }

    #[test]
    fn the_vendor_misbehaves_as_asked() {
        let well =
            MockVendorSettings { failure_rate: 0.0, duplicate_rate: 0.0, disorder_rate: 0.0, ..Default::default() };
        let in_order = |planned: &Vec<Planned>| planned.iter().all(|receipt| receipt.at == receipt.due);
        let good = all(well);
        assert!(good.iter().all(|planned| in_order(planned) && planned[0].status == "SENT"));
        let count =
            |settings, holds: &dyn Fn(&Vec<Planned>) -> bool| all(settings).iter().filter(|all| holds(all)).count();
        let near = |found: usize, expected: usize| assert!(found.abs_diff(expected) < 100, "{found}, not {expected}");
        near(count(MockVendorSettings { failure_rate: 0.1, ..well }, &|all| all[0].status == "FAILED"), 200);
        near(count(MockVendorSettings { lost_rate: 0.5, ..well }, &Vec::is_empty), 1000);
        near(count(MockVendorSettings { duplicate_rate: 0.5, ..well }, &|all| all.len() > 3), 1000);
        near(count(MockVendorSettings { disorder_rate: 0.5, ..well }, &|all| !in_order(all)), 1000);
        near(count(MockVendorSettings { late_rate: 0.5, ..well }, &|all| all[0].due >= LATE), 1000);
        assert_eq!(all(well), good, "the same whenever it is asked");
        let failing = MockVendorSettings { failure_rate: 0.5, ..well };
        assert_ne!(all(MockVendorSettings { seed: 1, ..failing }), all(failing));
        assert_eq!(count(MockVendorSettings { failure_rate: 1.0, ..well }, &|all| all.len() == 1), 2000);
    }
}
