//! What rows of earlier parts took, where nothing is written that would tell: for a dry run.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, Hash, RandomState},
};

/// So many e-mails, phones and unique values are remembered: about 40 MB.
const MOST: usize = 2_000_000;

/// The line that first took each e-mail, phone or unique value. What is taken after the first two million is not told
/// apart any more; a real run does.
#[derive(Debug, Default)]
pub(super) struct Seen {
    lines: HashMap<u64, u32>,
    hasher: RandomState,
}

impl Seen {
    /// Notes that a line takes something. The first line stays.
    pub(super) fn take(&mut self, key: &impl Hash, line: u64) {
        if self.lines.len() < MOST {
            let line = u32::try_from(line).unwrap_or(u32::MAX);
            self.lines.entry(self.hasher.hash_one(key)).or_insert(line);
        }
    }

    /// The line that took it.
    pub(super) fn line_of(&self, key: &impl Hash) -> Option<u64> {
        self.lines.get(&self.hasher.hash_one(key)).map(|line| u64::from(*line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_stays() {
        let mut seen = Seen::default();
        seen.take(&"a@example.com", 2);
        seen.take(&"a@example.com", 9);
        assert_eq!((seen.line_of(&"a@example.com"), seen.line_of(&"b@example.com")), (Some(2), None));
    }
}
