//! The order of rows.

use std::cmp::Ordering;

use uuid::Uuid;

use super::{field_value, order_values};
use crate::store::{Collection, Position, Query, Row, Sort, Value, fold::fold};

/// The order that a query asks for.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    collection: &'static Collection,
    sort: &'a [Sort],
}

/// Where a row stands in an [`Order`], ready to be compared.
#[derive(Clone, Debug)]
pub struct Place {
    keys: Vec<(Option<String>, Value)>,
    id: Uuid,
}

impl<'a> Order<'a> {
    /// By these keys, then by id in the direction of the last.
    #[must_use]
    pub const fn new(collection: &'static Collection, sort: &'a [Sort]) -> Self {
        Self { collection, sort }
    }

    /// The place of a row.
    #[must_use]
    pub fn place(&self, row: &Row) -> Place {
        self.place_of(&position(self.collection, self.sort, row))
    }

    /// The place that a position tells.
    #[must_use]
    pub fn place_of(&self, position: &Position) -> Place {
        let keys = position.keys.iter().map(|value| match value {
            Value::Text(text) => (Some(fold(text)), value.clone()),
            _ => (None, value.clone()),
        });
        Place { keys: keys.collect(), id: position.id }
    }

    /// Which place comes first.
    #[must_use]
    pub fn compare(&self, left: &Place, right: &Place) -> Ordering {
        for (sort, (left, right)) in self.sort.iter().zip(left.keys.iter().zip(&right.keys)) {
            // A missing value has no folded form and comes before a present one in both parts.
            let ordering = left.0.cmp(&right.0).then_with(|| order_values(&left.1, &right.1));
            if ordering.is_ne() {
                return if sort.descending { ordering.reverse() } else { ordering };
            }
        }
        let ordering = left.id.cmp(&right.id);
        if self.sort.last().is_some_and(|sort| sort.descending) { ordering.reverse() } else { ordering }
    }
}

/// The sort keys and id of a row.
#[must_use]
pub fn position(collection: &'static Collection, sort: &[Sort], row: &Row) -> Position {
    Position {
        keys: sort.iter().map(|sort| field_value(collection, &sort.field, row).into_owned()).collect(),
        id: row.id(),
    }
}

/// Which row comes first in the order of the query.
#[must_use]
pub fn compare_rows(collection: &'static Collection, query: &Query, left: &Row, right: &Row) -> Ordering {
    let order = Order::new(collection, &query.sort);
    order.compare(&order.place(left), &order.place(right))
}

/// Whether a row comes before, at or after a position in the order of the query.
#[must_use]
pub fn compare_to_position(collection: &'static Collection, query: &Query, row: &Row, position: &Position) -> Ordering {
    let order = Order::new(collection, &query.sort);
    order.compare(&order.place(row), &order.place_of(position))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::{super::example::*, *};
    use crate::store::Filter;

    fn sorted(sort: &[(usize, bool)], rows: &[Row]) -> Vec<u128> {
        let sort = sort.iter().map(|(field, descending)| Sort { field: declared(*field), descending: *descending });
        let query = Query::new(Filter::ALL, 10).sorted(sort.collect());
        let mut rows: Vec<&Row> = rows.iter().collect();
        rows.sort_by(|left, right| compare_rows(&EXAMPLE, &query, left, right));
        rows.into_iter().map(|row| row.id().as_u128()).collect()
    }

    #[rstest]
    // Missing first upward and last downward; the id breaks ties in the direction of the last key.
    #[case(&[], &[1, 2, 3, 4, 5])]
    #[case(&[(COUNT, false)], &[2, 4, 1, 5, 3])]
    #[case(&[(COUNT, true)], &[3, 5, 1, 4, 2])]
    #[case(&[(COUNT, false), (NAME, true)], &[4, 2, 5, 1, 3])]
    #[case(&[(COUNT, true), (NAME, false)], &[3, 1, 5, 2, 4])]
    // Folded, then raw: A and a are beside each other, upper case first, before á.
    #[case(&[(NAME, false)], &[2, 1, 4, 5, 3])]
    #[case(&[(NAME, true)], &[3, 5, 4, 1, 2])]
    fn rows_are_ordered(#[case] sort: &[(usize, bool)], #[case] expected: &[u128]) {
        let rows = [
            row(5, [(COUNT, Value::Integer(1)), (NAME, text("á"))]),
            row(4, [(NAME, text("a"))]),
            row(3, [(COUNT, Value::Integer(2)), (NAME, text("b"))]),
            row(2, []),
            row(1, [(COUNT, Value::Integer(1)), (NAME, text("A"))]),
        ];
        assert_eq!(sorted(sort, &rows), expected);
    }

    #[test]
    fn a_row_stands_at_its_own_position() {
        let query = Query::new(Filter::ALL, 1).sorted(vec![
            Sort { field: declared(NAME), descending: true },
            Sort { field: declared(COUNT), descending: false },
        ]);
        let first = row(1, [(NAME, text("b"))]);
        let second = row(2, [(NAME, text("a")), (COUNT, Value::Integer(1))]);
        let place = position(&EXAMPLE, &query.sort, &second);
        assert_eq!(place, Position { keys: vec![text("a"), Value::Integer(1)], id: second.id() });
        assert_eq!(compare_to_position(&EXAMPLE, &query, &second, &place), Ordering::Equal);
        assert_eq!(compare_to_position(&EXAMPLE, &query, &first, &place), Ordering::Less);
    }
}
