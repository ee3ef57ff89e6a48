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
