//! Start, health, and what is refused.

use futures::TryStreamExt as _;

use super::{
    CheckResult, Opener,
    collections::{ALL, KEYED, PARTS, THINGS, keyed},
    failure::{ensure, ensure_equal, ensure_error},
    fixture::{Fixture, OURS, THEIRS, all_rows, ensure_same_rows, insert, open, scope},
    generate::{Numbers, id},
    writes::{keyed_row, update},
};
use crate::store::{
    Aggregation, Assignment, Change, Collection, Comparison, CustomIndex, FieldKind, FieldRef, Filter, Group, Measure,
    Position, Query, RelatedFilter, RelatedMeasure, Row, Sort, StoreError, Value, head,
};

/// What a program declares that knows less.
static FEWER: &[&Collection] = &[&KEYED];

/// Migrating again changes nothing, and the store says that it is well.
///
/// # Errors
/// [`Failure`](super::Failure) where the store differs.
pub async fn migrations_repeat(opener: &impl Opener) -> CheckResult {
    let fixture = Fixture::new(opener, 50, 20, Numbers::Any).await?;
    fixture.store.health().await?;
    fixture.store.migrate(ALL, &|_, _, _| {}).await?;
    // A start with fewer collections leaves the others alone.
    fixture.store.migrate(FEWER, &|_, _, _| {}).await?;
    fixture.store.migrate(ALL, &|_, _, _| {}).await?;
    fixture.check_query(&Query::new(Filter::ALL, 1_000)).await?;
    fixture.store.health().await?;
    ensure!(!fixture.store.engine().is_empty(), "the engine has no name");
    Ok(())
}

/// What was committed is there after the store was closed and opened again. Passes where the opener cannot do that.
///
/// # Errors
/// [`Failure`](super::Failure) where something is missing.
pub async fn commits_survive_reopening(opener: &impl Opener) -> CheckResult {
    let Fixture { store, things, parts } = Fixture::new(opener, 51, 20, Numbers::Any).await?;
    let index = CustomIndex { collection: &THINGS, field: "fields", key: "plain".to_owned(), kind: FieldKind::Text };
    store.create_custom_index(scope(OURS), &index).await?;
    let theirs = all_rows(&store, scope(THEIRS), &PARTS).await?;
    let Some(store) = opener.reopen(store).await else { return Ok(()) };
    store.migrate(ALL, &|_, _, _| {}).await?;
    ensure_same_rows(&all_rows(&store, scope(THEIRS), &PARTS).await?, &theirs, "after opening again")?;
    let fixture = Fixture { store, things, parts };
    fixture.check_query(&Query::new(Filter::ALL, 1_000)).await?;
    let plain = FieldRef::custom("fields", "plain", FieldKind::Text);
    fixture.check_query(&Query::new(Filter::Exists { field: plain }, 1_000)).await?;
    for term in ["a", "an", "ann"] {
        fixture.check_query(&Query::new(Filter::Search { terms: vec![term.to_owned()] }, 1_000)).await?;
    }
    let named = FieldRef::declared("name", FieldKind::Text);
    let found = Filter::Contains { field: named, text: "mull".to_owned() };
    fixture.check_query(&Query::new(found, 1_000)).await
}

fn declared(name: &'static str, kind: FieldKind) -> FieldRef {
    FieldRef::declared(name, kind)
}

fn misfits() -> Vec<Filter> {
    let text = |text: &str| Value::Text(text.to_owned());
    let compare = |field, value| Filter::compare(field, Comparison::Equal, value);
    let related = |key, measure, value, filter| {
        let comparison = Comparison::Greater;
        Filter::Related(Box::new(RelatedFilter { collection: &PARTS, key, filter, measure, comparison, value }))
    };
    vec![
        compare(declared("nowhere", FieldKind::Text), text("a")),
        compare(declared("name", FieldKind::Integer), Value::Integer(1)),
        compare(declared("name", FieldKind::Text), Value::Integer(1)),
        compare(declared("name", FieldKind::Text), Value::Null),
        compare(declared("ratio", FieldKind::Number), Value::Number(f64::NAN)),
        compare(declared("ratio", FieldKind::Number), Value::Number(f64::INFINITY)),
        compare(declared("labels", FieldKind::TextList), Value::TextList(Vec::new())),
        compare(declared("labels", FieldKind::TextList), text("a")),
        compare(FieldRef::custom("name", "key", FieldKind::Text), text("a")),
        compare(FieldRef::custom("notes", "key", FieldKind::Text), text("a")),
        compare(FieldRef::custom("fields", "key", FieldKind::Id), Value::Id(id(1))),
        Filter::In { field: declared("number_of", FieldKind::Integer), values: vec![Value::Integer(1), Value::Null] },
        Filter::In { field: declared("labels", FieldKind::TextList), values: vec![Value::TextList(Vec::new())] },
        Filter::Contains { field: declared("code", FieldKind::Text), text: "a".to_owned() },
        Filter::StartsWith { field: declared("code", FieldKind::Text), text: "a".to_owned() },
        Filter::StartsWith { field: declared("labels", FieldKind::TextList), text: "a".to_owned() },
        Filter::Contains { field: declared("number_of", FieldKind::Integer), text: "1".to_owned() },
        Filter::Exists { field: declared("nowhere", FieldKind::Text) },
        Filter::Search { terms: vec![String::new()] },
        related("label", RelatedMeasure::Count, Value::Integer(1), Filter::ALL),
        related("thing_id", RelatedMeasure::Count, text("1"), Filter::ALL),
        related("thing_id", RelatedMeasure::Sum("label"), text("1"), Filter::ALL),
        related("thing_id", RelatedMeasure::Sum("cost"), Value::Integer(1), Filter::ALL),
        related("thing_id", RelatedMeasure::Count, Value::Integer(1), Filter::Search { terms: Vec::new() }),
    ]
}

/// A filter, order, measure or row that does not fit the declaration is [`StoreError::Misuse`], wherever it stands,
/// and never a fault of the engine.
///
/// # Errors
/// [`Failure`](super::Failure) where the store accepts one, or fails otherwise.
pub async fn misuse_is_refused(opener: &impl Opener) -> CheckResult {
    let store = open(opener).await?;
    let ours = scope(OURS);
    insert(&store, OURS, &KEYED, vec![keyed_row(OURS, 1)]).await?;
    for filter in misfits() {
        for filter in [filter.clone(), Filter::And(vec![Filter::Or(vec![filter.clone().negated()])])] {
            let query = Query::new(filter.clone(), 1);
            ensure_error!(store.find(ours, &THINGS, &query).await, StoreError::Misuse(_), "find {filter:?}");
            ensure_error!(store.count(ours, &THINGS, &filter).await, StoreError::Misuse(_), "count {filter:?}");
        }
    }
    for name in ["labels", "notes", "code"] {
        let kind = THINGS.field(name).map_or(FieldKind::Text, |field| field.kind);
        let sort = vec![Sort { field: declared(name, kind), descending: false }];
        let query = Query::new(Filter::ALL, 1).sorted(sort);
        ensure_error!(store.find(ours, &THINGS, &query).await, StoreError::Misuse(_), "an order by {name}");
        let streamed: Result<Vec<Row>, _> = store.stream(ours, &THINGS, query).try_collect().await;
        ensure_error!(streamed, StoreError::Misuse(_), "a stream ordered by {name}");
    }
    let by_name = vec![Sort { field: declared("name", FieldKind::Text), descending: false }];
    for keys in [Vec::new(), vec![Value::Integer(1)], vec![Value::Null, Value::Null]] {
        let query = Query {
            after: Some(Position { keys: keys.clone(), id: id(1) }),
            ..Query::new(Filter::ALL, 1).sorted(by_name.clone())
        };
        ensure_error!(store.find(ours, &THINGS, &query).await, StoreError::Misuse(_), "a position of {keys:?}");
    }
    let groups = [
        Group::Field(declared("notes", FieldKind::Json)),
        Group::Interval { field: declared("seen_at", FieldKind::Timestamp), bounds: Vec::new() },
    ];
    for group in groups {
        let aggregation = Aggregation { filter: Filter::ALL, groups: vec![group], measures: vec![Measure::Count] };
        let answer = store.aggregate(ours, &THINGS, &aggregation).await;
        ensure_error!(answer, StoreError::Misuse(_), "aggregate {aggregation:?}");
    }
    let measures = [
        Measure::Sum(declared("name", FieldKind::Text)),
        Measure::Minimum(declared("labels", FieldKind::TextList)),
        Measure::Distinct(declared("notes", FieldKind::Json)),
        Measure::Percentile { field: declared("name", FieldKind::Text), per_mille: 500 },
        Measure::Percentile { field: declared("price", FieldKind::Money), per_mille: 1_001 },
    ];
    for measure in measures {
        let aggregation = Aggregation { filter: Filter::ALL, groups: Vec::new(), measures: vec![measure] };
        let answer = store.aggregate(ours, &THINGS, &aggregation).await;
        ensure_error!(answer, StoreError::Misuse(_), "aggregate {aggregation:?}");
    }
    misfit_changes_are_refused(&store).await
}

async fn misfit_changes_are_refused(store: &crate::store::SharedStore) -> CheckResult {
    let mut short = keyed_row(OURS, 2);
    short.0.pop();
    let mut wrong = keyed_row(OURS, 3);
    wrong.0[keyed::AMOUNT] = Value::Text("1".to_owned());
    let mut missing = keyed_row(OURS, 4);
    missing.0[keyed::NAME] = Value::Null;
    let mut infinite = keyed_row(OURS, 5);
    infinite.0[keyed::RATIO] = Value::Number(f64::INFINITY);
    for row in [short, wrong, missing, infinite] {
        let described = format!("{row:?}");
        let answer = insert(store, OURS, &KEYED, vec![row]).await;
        ensure_error!(answer, StoreError::Misuse(_), "insert {described}");
    }
    let assignments = [
        Assignment::Set(99, Value::Null),
        Assignment::Set(head::ID, Value::Id(id(9))),
        Assignment::Set(head::VERSION, Value::Integer(9)),
        Assignment::Set(head::ORGANIZATION_ID, Value::Id(THEIRS)),
        Assignment::Set(keyed::NAME, Value::Null),
        Assignment::Set(keyed::AMOUNT, Value::Number(1.0)),
        Assignment::Set(keyed::RATIO, Value::Number(f64::NAN)),
        Assignment::Increment(keyed::AMOUNT, Value::Number(1.0)),
        Assignment::Increment(keyed::NAME, Value::Text("a".to_owned())),
        Assignment::Increment(keyed::AMOUNT, Value::Null),
    ];
    for assignment in assignments {
        let by_filter =
            Change::UpdateWhere { collection: &KEYED, filter: Filter::ALL, assignments: vec![assignment.clone()] };
        for change in [update(1, vec![assignment.clone()]), by_filter] {
            let answer = store.commit(scope(OURS), vec![change]).await;
            ensure_error!(answer, StoreError::Misuse(_), "{assignment:?}");
        }
    }
    let twice = vec![Assignment::Set(keyed::AMOUNT, Value::Integer(1)); 2];
    let answer = store.commit(scope(OURS), vec![update(1, twice)]).await;
    ensure_error!(answer, StoreError::Misuse(_), "a field assigned twice");
    ensure_equal!(
        all_rows(store, scope(OURS), &KEYED).await?,
        vec![keyed_row(OURS, 1)],
        "the rows after what was refused"
    );
    let index = CustomIndex { collection: &KEYED, field: "name", key: "key".to_owned(), kind: FieldKind::Text };
    ensure_error!(
        store.create_custom_index(scope(OURS), &index).await,
        StoreError::Misuse(_),
        "an index of a custom field in a text"
    );
    Ok(())
}
