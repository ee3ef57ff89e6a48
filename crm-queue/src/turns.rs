//! Whose turn it is: high before normal before low, without starving low.

use crm_core::port::queue::Priority;

/// Which priority is looked at first in each of ten turns: high in six, normal in three, low in one.
const FIRST: [Priority; 10] = {
    use Priority::{High, Low, Normal};
    [High, Normal, High, High, Normal, High, Low, High, Normal, High]
};

/// Counts turns.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Turns(usize);

impl Turns {
    /// The order in which priorities are looked at in the next turn: one of them first, then the others from high to
    /// low. Where the first has nothing, its turn is the next one's.
    pub(crate) fn next(&mut self) -> [Priority; 3] {
        let first = FIRST[self.0 % FIRST.len()];
        self.0 = (self.0 + 1) % FIRST.len();
        match first {
            Priority::High => Priority::ALL,
            Priority::Normal => [Priority::Normal, Priority::High, Priority::Low],
            Priority::Low => [Priority::Low, Priority::High, Priority::Normal],
        }
    }
}

#[cfg(test)]
mod tests {
    use crm_core::port::queue::Priority;

    use super::Turns;

    #[test]
    fn everybody_has_a_turn_and_the_higher_have_more() {
        let mut turns = Turns::default();
        let firsts: Vec<Priority> = (0..100).map(|_| turns.next()[0]).collect();
        let count = |priority| firsts.iter().filter(|first| **first == priority).count();
        assert_eq!([count(Priority::High), count(Priority::Normal), count(Priority::Low)], [60, 30, 10]);
        assert_eq!(firsts[0], Priority::High);
    }

    #[test]
    fn each_turn_looks_at_all() {
        let mut turns = Turns::default();
        for _ in 0..10 {
            let mut order = turns.next();
            order.sort();
            assert_eq!(order, Priority::ALL);
        }
    }
}
