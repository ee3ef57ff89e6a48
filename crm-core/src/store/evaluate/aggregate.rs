//! Measures over groups of rows.

use std::collections::{BTreeMap, BTreeSet};

use super::{Ordered, field_value, filter::exact, order_values};
use crate::store::{AggregateRow, Aggregation, Collection, FieldKind, Group, Measure, Measured, Row, Value};

/// The measures over the given rows, which match the aggregation's filter: one answer for each group, ordered by the
/// groups' values (missing first, texts by code point). Without groups there is one answer, also over no rows.
#[must_use]
pub fn aggregate<'a>(
    collection: &'static Collection,
    aggregation: &Aggregation,
    rows: impl IntoIterator<Item = &'a Row>,
) -> Vec<AggregateRow> {
    let mut groups: BTreeMap<Vec<Ordered>, Vec<&Row>> = BTreeMap::new();
    if aggregation.groups.is_empty() {
        groups.insert(Vec::new(), Vec::new());
    }
    for row in rows {
        // A row is in every combination of the groups that each grouping puts it into.
        let mut combinations: Vec<Vec<Ordered>> = vec![Vec::new()];
        for group in &aggregation.groups {
            let values = group_values(collection, group, row);
            combinations = combinations
                .iter()
                .flat_map(|combination| {
                    values.iter().map(|value| [combination.as_slice(), std::slice::from_ref(value)].concat())
                })
                .collect();
        }
        for combination in combinations {
            groups.entry(combination).or_default().push(row);
        }
    }
    groups
        .into_iter()
        .map(|(values, rows)| AggregateRow {
            groups: values.into_iter().map(|value| value.0).collect(),
            measures: aggregation.measures.iter().map(|measure| measured(collection, measure, &rows)).collect(),
        })
        .collect()
}

fn group_values(collection: &'static Collection, group: &Group, row: &Row) -> BTreeSet<Ordered> {
    match group {
        Group::Field(field) => match (field.kind, field_value(collection, field, row).into_owned()) {
            (_, Value::TextList(elements)) => {
                elements.into_iter().map(|element| Ordered(Value::Text(element))).collect()
            }
            (FieldKind::TextList, _) => BTreeSet::new(),
            (_, value) => BTreeSet::from([Ordered(value)]),
        },
        Group::Interval { field, bounds } => match *field_value(collection, field, row) {
            Value::Timestamp(instant) => bounds
                .windows(2)
                .find(|interval| interval[0] <= instant && instant < interval[1])
                .map(|interval| Ordered(Value::Timestamp(interval[0])))
                .into_iter()
                .collect(),
            _ => BTreeSet::new(),
        },
    }
}

fn measured(collection: &'static Collection, measure: &Measure, rows: &[&Row]) -> Measured {
    let values = |field| {
        let mut values: Vec<Value> = rows
            .iter()
            .map(|row| field_value(collection, field, row).into_owned())
            .filter(|value| !value.is_null())
            .collect();
        values.sort_by(order_values);
        values
    };
    match measure {
        Measure::Count => Measured::Count(rows.len() as u64),
        Measure::Sum(field) => {
            let values = values(field);
            let count = values.len() as u64;
            if field.kind == FieldKind::Number {
                let numbers = values.iter().filter_map(|value| match value {
                    Value::Number(number) => Some(*number),
                    _ => None,
                });
                // The empty sum of floats is -0 in the standard library.
                Measured::NumberSum { sum: numbers.sum::<f64>() + 0.0, count }
            } else {
                Measured::ExactSum { sum: values.iter().filter_map(exact).sum(), count }
            }
        }
        Measure::Minimum(field) => Measured::Value(values(field).first().cloned().unwrap_or_default()),
        Measure::Maximum(field) => Measured::Value(values(field).last().cloned().unwrap_or_default()),
        Measure::Percentile { field, per_mille } => {
            let values = values(field);
            let rank = (values.len() * usize::from(*per_mille)).div_ceil(1000).max(1);
            Measured::Value(values.get(rank - 1).cloned().unwrap_or_default())
        }
        Measure::Distinct(field) => {
            Measured::Count(values(field).into_iter().map(Ordered).collect::<BTreeSet<_>>().len() as u64)
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::{super::example::*, *};
    use crate::{store::Filter, time::Timestamp};

    fn measures(rows: &[Row], measures: Vec<Measure>) -> Vec<Measured> {
        let aggregation = Aggregation { filter: Filter::ALL, groups: Vec::new(), measures };
        let mut answer = aggregate(&EXAMPLE, &aggregation, rows);
        assert_eq!(answer.len(), 1);
        answer.remove(0).measures
    }

    fn groups(rows: &[Row], groups: Vec<Group>) -> Vec<(Vec<Value>, u64)> {
        let aggregation = Aggregation { filter: Filter::ALL, groups, measures: vec![Measure::Count] };
        let count = |row: AggregateRow| match row.measures[..] {
            [Measured::Count(count)] => (row.groups, count),
            _ => panic!("{row:?}"),
        };
        aggregate(&EXAMPLE, &aggregation, rows).into_iter().map(count).collect()
    }

    #[test]
    fn measures_leave_missing_values_out() {
        let rows = [
            row(1, [(PRICE, money(i64::from(i32::MAX))), (COUNT, Value::Integer(i64::MAX)), (NAME, text("b"))]),
            row(2, [(PRICE, money(-5)), (COUNT, Value::Integer(i64::MAX)), (NAME, text("B"))]),
            row(3, [(RATIO, Value::Number(0.5)), (NAME, text("b"))]),
        ];
        let expected = vec![
            Measured::Count(3),
            Measured::ExactSum { sum: i128::from(i32::MAX) - 5, count: 2 },
            Measured::ExactSum { sum: 2 * i128::from(i64::MAX), count: 2 },
            Measured::NumberSum { sum: 0.5, count: 1 },
            Measured::Value(text("B")),
            Measured::Value(text("b")),
            Measured::Count(2),
        ];
        let wanted = vec![
            Measure::Count,
            Measure::Sum(declared(PRICE)),
            Measure::Sum(declared(COUNT)),
            Measure::Sum(declared(RATIO)),
            Measure::Minimum(declared(NAME)),
            Measure::Maximum(declared(NAME)),
            Measure::Distinct(declared(NAME)),
        ];
        assert_eq!(measures(&rows, wanted), expected);
    }

    #[test]
    fn nothing_is_measured_as_nothing() {
        let wanted = vec![
            Measure::Count,
            Measure::Sum(declared(PRICE)),
            Measure::Sum(declared(RATIO)),
            Measure::Minimum(declared(NAME)),
            Measure::Percentile { field: declared(COUNT), per_mille: 500 },
            Measure::Distinct(declared(NAME)),
        ];
        let expected = vec![
            Measured::Count(0),
            Measured::ExactSum { sum: 0, count: 0 },
            Measured::NumberSum { sum: 0.0, count: 0 },
            Measured::Value(Value::Null),
            Measured::Value(Value::Null),
            Measured::Count(0),
        ];
        assert_eq!(measures(&[], wanted), expected);
        assert_eq!(groups(&[], vec![Group::Field(declared(NAME))]), Vec::new());
    }

    #[rstest]
    #[case(0, 10)]
    #[case(1, 10)]
    #[case(200, 10)]
    #[case(201, 20)]
    #[case(500, 30)]
    #[case(900, 50)]
    #[case(1000, 50)]
    fn percentiles_are_of_the_nearest_rank(#[case] per_mille: u16, #[case] expected: i64) {
        let rows = [50, 20, 40, 10, 30].map(|count| row(1, [(COUNT, Value::Integer(count))]));
        let percentile = Measure::Percentile { field: declared(COUNT), per_mille };
        assert_eq!(measures(&rows, vec![percentile]), vec![Measured::Value(Value::Integer(expected))]);
    }

    #[test]
    fn records_are_grouped_by_value_and_element() {
        let rows = [
            row(1, [(LABELS, list(&["b", "a", "b"])), (COUNT, Value::Integer(1))]),
            row(2, [(LABELS, list(&["b"]))]),
            row(3, [(LABELS, list(&[]))]),
            row(4, []),
        ];
        assert_eq!(
            groups(&rows, vec![Group::Field(declared(LABELS))]),
            vec![(vec![text("a")], 1), (vec![text("b")], 2)]
        );
        assert_eq!(
            groups(&rows, vec![Group::Field(declared(COUNT))]),
            vec![(vec![Value::Null], 3), (vec![Value::Integer(1)], 1)]
        );
        let both = vec![Group::Field(declared(COUNT)), Group::Field(declared(LABELS))];
        assert_eq!(
            groups(&rows, both),
            vec![
                (vec![Value::Null, text("b")], 1),
                (vec![Value::Integer(1), text("a")], 1),
                (vec![Value::Integer(1), text("b")], 1),
            ]
        );
    }

    #[test]
    fn intervals_are_half_open() {
        let rows = [-1, 0, 9, 10, 19, 20].map(|at| row(1, [(SEEN_AT, instant(at))]));
        let bounds = [0, 10, 20].map(|at| Timestamp::from_milliseconds(at).unwrap()).to_vec();
        let interval = Group::Interval { field: declared(SEEN_AT), bounds };
        assert_eq!(groups(&rows, vec![interval]), vec![(vec![instant(0)], 2), (vec![instant(10)], 2)]);
    }
}
