//! Who waits for whom: one message of a key at a time.

use std::collections::{HashMap, VecDeque};

/// What came, by key. The first of each key has been let through.
#[derive(Debug)]
pub(super) struct Keys<T>(HashMap<String, VecDeque<T>>);

impl<T> Default for Keys<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T> Keys<T> {
    /// Lets it through, or keeps it until those of its key that came before are done.
    pub(super) fn enter(&mut self, key: &str, item: T) -> Option<T> {
        match self.0.get_mut(key) {
            Some(waiting) => {
                waiting.push_back(item);
                None
            }
            None => {
                self.0.insert(key.to_owned(), VecDeque::new());
                Some(item)
            }
        }
    }

    /// The one that was let through is done: the next is.
    pub(super) fn done(&mut self, key: &str) -> Option<T> {
        let next = self.0.get_mut(key)?.pop_front();
        if next.is_none() {
            self.0.remove(key);
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::Keys;

    #[test]
    fn one_of_a_key_at_a_time_in_order() {
        let mut keys = Keys::default();
        assert_eq!(keys.enter("a", 1), Some(1));
        assert_eq!(keys.enter("a", 2), None);
        assert_eq!(keys.enter("b", 3), Some(3), "another key does not wait");
        assert_eq!(keys.enter("a", 4), None);
        assert_eq!(keys.done("a"), Some(2));
        assert_eq!(keys.done("a"), Some(4));
        assert_eq!(keys.done("a"), None);
        assert_eq!(keys.enter("a", 5), Some(5), "a key that is done begins anew");
        assert_eq!(keys.done("c"), None);
    }
}
