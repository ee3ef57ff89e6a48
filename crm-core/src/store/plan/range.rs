//! What follows a position, as ranges of an order.

use super::order::{Column, Key};
use crate::store::Value;

/// One condition on the columns of an order.
#[derive(Clone, Debug, PartialEq)]
pub enum Bound {
    /// The column has this value.
    Equal(Column, Value),
    /// The column's value is missing.
    Missing(Column),
    /// The column's value is there.
    Present(Column),
    /// The columns, compared one after the other as a tuple, lie beyond the values; a row in which one of the
    /// columns that decide is missing does not.
    After {
        /// The columns; exactly one under [`Ranges::Single`].
        columns: Vec<Column>,
        /// A value for each.
        values: Vec<Value>,
        /// Whether beyond means below.
        descending: bool,
    },
}

/// A stretch of an order: every bound holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Range(pub Vec<Bound>);

/// What an engine can compare when it begins a scan of an index.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Ranges {
    /// Several columns of one direction at once, as SQL does in `(a, b) > (1, 2)`.
    Tuples,
    /// One column after equalities on those before it. There are then more ranges: one for each column of the order.
    Single,
}

impl Range {
    /// Whether the range is where the column's value is missing.
    pub(super) fn is_missing(&self, column: &Column) -> bool {
        self.0.iter().any(|bound| matches!(bound, Bound::Missing(missing) if missing == column))
    }

    /// Whether the column has one value in the range.
    pub(super) fn is_fixed(&self, column: &Column) -> bool {
        self.0.iter().any(|bound| matches!(bound, Bound::Equal(fixed, _) if fixed == column))
    }
}

/// The rows after the values, as disjoint ranges in the order.
pub(super) fn after(keys: &[Key], values: &[Option<Vec<Value>>], ranges: Ranges) -> Vec<Range> {
    let bounds = match ranges {
        Ranges::Tuples => follow(keys, values, true),
        Ranges::Single => {
            let (keys, values): (Vec<Key>, Vec<Option<Vec<Value>>>) =
                keys.iter().zip(values).flat_map(|(key, value)| single(key, value.as_deref())).unzip();
            follow(&keys, &values, false)
        }
    };
    bounds.into_iter().map(Range).collect()
}

/// A key parted into keys of one column. Where the first is missing so are the others, and where it is there so are they.
fn single(key: &Key, values: Option<&[Value]>) -> Vec<(Key, Option<Vec<Value>>)> {
    let one = |place: usize, column: &Column, value: Option<&Value>| {
        let optional = key.optional && place == 0;
        let key = Key { columns: vec![column.clone()], descending: key.descending, optional };
        (key, value.map(|value| vec![value.clone()]))
    };
    match values {
        None => vec![one(0, &key.columns[0], None)],
        Some(values) => key
            .columns
            .iter()
            .zip(values)
            .enumerate()
            .map(|(place, (column, value))| one(place, column, Some(value)))
            .collect(),
    }
}

fn follow(keys: &[Key], values: &[Option<Vec<Value>>], tuples: bool) -> Vec<Vec<Bound>> {
    let ([first, rest @ ..], [value, rest_values @ ..]) = (keys, values) else { return Vec::new() };
    let missing = || Bound::Missing(first.columns[0].clone());
    let one_way = rest.iter().all(|key| key.descending == first.descending);
    let all_present = values.iter().all(Option::is_some);
    // A missing value comes before the position ascending, so a comparison of tuples rightly leaves it out;
    // descending it comes after, and would be lost.
    if tuples && one_way && all_present && (!first.descending || rest.iter().all(|key| !key.optional)) {
        let mut ranges = vec![vec![Bound::After {
            columns: keys.iter().flat_map(|key| key.columns.clone()).collect(),
            values: values.iter().flatten().flatten().cloned().collect(),
            descending: first.descending,
        }]];
        if first.descending && first.optional {
            ranges.push(vec![missing()]);
        }
        return ranges;
    }
    let mut ranges: Vec<Vec<Bound>> = follow(rest, rest_values, tuples)
        .into_iter()
        .map(|range| equal(first, value.as_deref()).into_iter().chain(range).collect())
        .collect();
    match (value, first.descending) {
        (None, true) => {}
        (None, false) => ranges.push(vec![Bound::Present(first.columns[0].clone())]),
        (Some(values), descending) => {
            ranges.push(vec![Bound::After { columns: first.columns.clone(), values: values.clone(), descending }]);
            if descending && first.optional {
                ranges.push(vec![missing()]);
            }
        }
    }
    ranges
}

fn equal(key: &Key, values: Option<&[Value]>) -> Vec<Bound> {
    match values {
        None => vec![Bound::Missing(key.columns[0].clone())],
        Some(values) => {
            key.columns.iter().zip(values).map(|(column, value)| Bound::Equal(column.clone(), value.clone())).collect()
        }
    }
}
