//! What the store measures.

use super::{
    CheckResult, Failure, Opener,
    collections::THINGS,
    failure::ensure_equal,
    fixture::{Fixture, OURS, insert, scope},
    generate::{self, Numbers, id},
    property::{for_all, runner},
};
use crate::store::{
    AggregateRow, Aggregation, FieldKind, FieldRef, Filter, Measure, Measured, Money, Row, Value, evaluate,
};

/// Measures over groups equal a plain loop: by every kind of field, by the elements of lists, by intervals, by missing
/// values; sums, extremes, nearest-rank percentiles and distinct values.
///
/// # Errors
/// [`Failure`] with the smallest aggregation on which the store differs.
pub async fn aggregates(opener: &impl Opener) -> CheckResult {
    for seed in [20, 21] {
        let fixture = Fixture::new(opener, seed, 60, Numbers::Modest).await?;
        for_all(&mut runner(seed), 200, &generate::aggregation(), async |aggregation| {
            check(&fixture, &aggregation).await
        })
        .await?;
    }
    Ok(())
}

/// Sums of money and integers are exact where they are larger than 64 bits.
///
/// # Errors
/// [`Failure`] where the store differs.
pub async fn sums_do_not_overflow(opener: &impl Opener) -> CheckResult {
    let mut fixture = Fixture::new(opener, 22, 1, Numbers::Modest).await?;
    let template = fixture.things[0].clone();
    let price = THINGS.position("price").unwrap_or(0);
    let number_of = THINGS.position("number_of").unwrap_or(0);
    let owner = THINGS.position("owner_id").unwrap_or(0);
    for (largest, whole, owned) in [(Money::MAX, i64::MAX, 101), (Money::MIN, i64::MIN, 102)] {
        let rows: Vec<Row> = (0..30)
            .map(|place| {
                let mut row = template.clone();
                row.0[0] = Value::Id(id(owned * 1_000 + place));
                row.0[price] = Value::Money(largest);
                row.0[number_of] = Value::Integer(whole);
                row.0[owner] = Value::Id(id(owned));
                row
            })
            .collect();
        insert(&fixture.store, OURS, &THINGS, rows.clone()).await?;
        fixture.things.extend(rows);
        let aggregation = Aggregation {
            filter: Filter::equal(FieldRef::declared("owner_id", FieldKind::Id), Value::Id(id(owned))),
            groups: Vec::new(),
            measures: vec![
                Measure::Sum(FieldRef::declared("price", FieldKind::Money)),
                Measure::Sum(FieldRef::declared("number_of", FieldKind::Integer)),
            ],
        };
        let expected = [i128::from(largest.as_ten_thousandths()), i128::from(whole)]
            .map(|value| Measured::ExactSum { sum: value * 30, count: 30 });
        let answer = fixture.store.aggregate(scope(OURS), &THINGS, &aggregation).await?;
        let expected = vec![AggregateRow { groups: Vec::new(), measures: expected.to_vec() }];
        ensure_equal!(answer, expected, "thirty times the largest");
        check(&fixture, &Aggregation { filter: Filter::ALL, ..aggregation }).await?;
    }
    Ok(())
}

async fn check(fixture: &Fixture, aggregation: &Aggregation) -> CheckResult {
    let answer = fixture
        .store
        .aggregate(scope(OURS), &THINGS, aggregation)
        .await
        .map_err(|error| Failure::new(format!("{error} ({error:?}), aggregate {aggregation:#?}")))?;
    let rows = fixture.things.iter().filter(|row| fixture.matches(&aggregation.filter, row));
    let expected = evaluate::aggregate(&THINGS, aggregation, rows);
    if answer.len() == expected.len() && answer.iter().zip(&expected).all(|(left, right)| alike(left, right)) {
        return Ok(());
    }
    ensure_equal!(answer, expected, "aggregate {aggregation:#?}");
    Ok(())
}

fn alike(left: &AggregateRow, right: &AggregateRow) -> bool {
    left.groups == right.groups
        && left.measures.len() == right.measures.len()
        && left.measures.iter().zip(&right.measures).all(|(left, right)| match (left, right) {
            // Doubles are added in any order.
            (
                Measured::NumberSum { sum: left, count: left_count },
                Measured::NumberSum { sum: right, count: right_count },
            ) => left_count == right_count && (left - right).abs() <= 1e-6 * (1.0 + right.abs()),
            _ => left == right,
        })
}
