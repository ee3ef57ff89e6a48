//! Connections that stay open to tell what happens, and how many there are.

mod events;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

pub(crate) use self::events::{Look, Watched, watch};

/// So many are open at once in one process.
const MOST: usize = 1000;
/// So many of one caller.
const MOST_OF_ONE: usize = 20;

/// Who watches, and how often. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watchers(Arc<Mutex<HashMap<String, usize>>>);

impl Watchers {
    /// One more connection of a caller, where there is room. It counts until it is dropped.
    pub(crate) fn begin(&self, key: &str) -> Option<Watching> {
        let mut counts = self.counts();
        let all: usize = counts.values().sum();
        let own = counts.get(key).copied().unwrap_or_default();
        if all >= MOST || own >= MOST_OF_ONE {
            return None;
        }
        counts.insert(key.to_owned(), own + 1);
        drop(counts);
        Some(Watching { watchers: self.clone(), key: key.to_owned() })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that counts.
#[derive(Debug)]
pub(crate) struct Watching {
    watchers: Watchers,
    key: String,
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut counts = self.watchers.counts();
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_holds_every_connection() {
        let watchers = Watchers::default();
        let own: Vec<Watching> = std::iter::from_fn(|| watchers.begin("one")).take(MOST).collect();
        assert_eq!(own.len(), MOST_OF_ONE);
        let other = watchers.begin("another").expect("room for others");
        drop(own);
        assert!(watchers.begin("one").is_some(), "what has ended counts no more");
        drop(other);
        let all: Vec<Watching> = (0..=MOST).filter_map(|number| watchers.begin(&number.to_string())).collect();
        assert_eq!(all.len(), MOST);
        drop(all);
        assert!(watchers.counts().is_empty());
    }
}
