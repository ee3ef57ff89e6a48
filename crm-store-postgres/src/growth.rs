//! Statistics for tables that grow quickly.
//!
//! The server looks at a table that has changed by itself, but only about once a minute. Until then it takes a table that
//! was just filled for one of a few rows, and may read a whole index for one of them, or compare each row with each. So
//! the program that adds rows has the server look at them whenever it has added ten times as many.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{layout::Layout, statement::identifier};

/// After so many rows the server looks for the first time.
const FIRST: u64 = 2_000;
/// How many times as many there are the next time.
const FACTOR: u64 = 10;

/// How many rows this program has added to a table.
#[derive(Debug, Default)]
pub(crate) struct Growth(AtomicU64);

impl Growth {
    /// Notes rows that were added; tells whether the server should look at the table now.
    pub(crate) fn note(&self, rows: u64) -> bool {
        let before = self.0.fetch_add(rows, Ordering::Relaxed);
        is_due(before, before.saturating_add(rows))
    }
}

fn is_due(before: u64, after: u64) -> bool {
    let steps = std::iter::successors(Some(FIRST), |step| step.checked_mul(FACTOR));
    steps.take_while(|step| *step <= after).any(|step| step > before)
}

/// Has the server look at the tables of a collection, those left out that somebody is at work on.
pub(crate) fn analyze(layout: &Layout) -> String {
    let elements = layout.elements.iter().map(|elements| identifier(&elements.name));
    let tables: Vec<String> = std::iter::once(layout.table.clone()).chain(elements).collect();
    format!("ANALYZE (SKIP_LOCKED) {}", tables.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_looks_whenever_a_table_is_ten_times_as_large() {
        let growth = Growth::default();
        let looked: Vec<u64> = (1..=500).filter(|_| growth.note(500)).collect();
        assert_eq!(looked, [4, 40, 400]);
    }

    #[test]
    fn once_for_several_steps() {
        let growth = Growth::default();
        assert!(growth.note(1_000_000));
        assert!(!growth.note(1));
    }
}
