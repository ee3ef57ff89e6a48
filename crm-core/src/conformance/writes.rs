//! What single changes do, and what whole commits leave.

use proptest::{
    arbitrary::any,
    collection::vec,
    option,
    prelude::{Just, Strategy, prop_oneof},
    sample::select,
    strategy::BoxedStrategy,
};
use uuid::Uuid;

use super::{
    CheckResult, Failure, Opener,
    collections::{ALL, KEYED, TASKS, THINGS, keyed},
    failure::{ensure, ensure_equal, ensure_error},
    fixture::{Fixture, OURS, THEIRS, all_rows, ensure_same_rows, insert, open, row, scope},
    generate::{self, Numbers, id},
    property::{for_all, runner},
};
use crate::{
    store::{
        Assignment, Change, Comparison, FieldKind, FieldRef, Filter, Json, Money, Outcome, Row, Scope, SharedStore,
        Store as _, StoreError, StoreResult, Value, WhenUnmet, head, memory::MemoryStore,
    },
    time::Timestamp,
};

/// A keyed row without keys.
pub(super) fn keyed_row(organization: Uuid, seed: u128) -> Row {
    let values = [
        Value::Null,
        Value::Text("series".to_owned()),
        Value::Null,
        Value::Integer(0),
        Value::Money(Money::ZERO),
        Value::Number(0.0),
        Value::Text(format!("Name {seed}")),
        Value::TextList(Vec::new()),
        Value::Json(Json::default()),
    ];
    row(organization, id(seed), values)
}

/// A task that is due.
pub(super) fn task_row(organization: Uuid, seed: u128) -> Row {
    let values = [Value::Timestamp(Timestamp::default()), Value::Null, Value::Null, Value::Integer(0)];
    row(organization, id(seed), values)
}

pub(super) fn update(seed: u128, assignments: Vec<Assignment>) -> Change {
    Change::Update { collection: &KEYED, id: id(seed), expected_version: None, condition: None, assignments }
}

fn set(field: usize, value: Value) -> Vec<Assignment> {
    vec![Assignment::Set(field, value)]
}

async fn value(store: &SharedStore, seed: u128, field: usize) -> Result<Value, Failure> {
    let rows = store.get(scope(OURS), &KEYED, &[id(seed)]).await?;
    Ok(rows.first().and_then(|row| row.0.get(field)).cloned().unwrap_or_default())
}

/// Versions begin at 1 and grow by one with each change; a change or removal that expects another is refused.
///
/// # Errors
/// [`Failure`] where the store differs.
pub async fn versions(opener: &impl Opener) -> CheckResult {
    let store = open(opener).await?;
    let mut odd = keyed_row(OURS, 1);
    odd.0[head::VERSION] = Value::Integer(7);
    insert(&store, OURS, &KEYED, vec![odd, keyed_row(OURS, 2)]).await?;
    ensure_equal!(value(&store, 1, head::VERSION).await?, Value::Integer(1), "the version of a new row");
    let expecting = |version| Change::Update {
        collection: &KEYED,
        id: id(1),
        expected_version: Some(version),
        condition: Some((Filter::NONE.negated(), WhenUnmet::Abort)),
        assignments: set(keyed::AMOUNT, Value::Integer(version)),
    };
    for version in 1..4 {
        let outcomes = store.commit(scope(OURS), vec![expecting(version)]).await?;
        ensure_equal!(outcomes, vec![Outcome::Updated { version: version + 1 }], "update at version {version}");
    }
    ensure_error!(
        store.commit(scope(OURS), vec![expecting(2)]).await,
        StoreError::VersionConflict { id: other, found: 4, .. } if other == id(1),
        "update that expects version 2 at version 4"
    );
    // The version is looked at before the condition.
    let conditional = Change::Update {
        collection: &KEYED,
        id: id(1),
        expected_version: Some(1),
        condition: Some((Filter::NONE, WhenUnmet::Skip)),
        assignments: set(keyed::AMOUNT, Value::Integer(0)),
    };
    ensure_error!(
        store.commit(scope(OURS), vec![conditional]).await,
        StoreError::VersionConflict { found: 4, .. },
        "update with another version and an unmet condition"
    );
    let delete = |expected_version| Change::Delete { collection: &KEYED, id: id(1), expected_version };
    ensure_error!(
        store.commit(scope(OURS), vec![delete(Some(3))]).await,
        StoreError::VersionConflict { found: 4, .. },
        "delete that expects version 3 at version 4"
    );
    let by_filter = Change::UpdateWhere {
        collection: &KEYED,
        filter: Filter::ALL,
        assignments: set(keyed::AMOUNT, Value::Integer(9)),
    };
    store.commit(scope(OURS), vec![by_filter]).await?;
    ensure_equal!(value(&store, 1, head::VERSION).await?, Value::Integer(5), "the version after a change by filter");
    let twice = vec![
        update(1, set(keyed::AMOUNT, Value::Integer(1))),
        update(1, vec![Assignment::Increment(keyed::AMOUNT, Value::Integer(1))]),
    ];
    let outcomes = store.commit(scope(OURS), twice).await?;
    let expected = vec![Outcome::Updated { version: 6 }, Outcome::Updated { version: 7 }];
    ensure_equal!(outcomes, expected, "two updates of a row in one commit");
    ensure_equal!(value(&store, 1, keyed::AMOUNT).await?, Value::Integer(2), "the second seeing the first");
    ensure_equal!(
        store.commit(scope(OURS), vec![delete(Some(7))]).await?,
        vec![Outcome::Touched(1)],
        "delete at the version"
    );
    for change in [update(1, set(keyed::AMOUNT, Value::Integer(1))), delete(None), delete(Some(7))] {
        ensure_error!(
            store.commit(scope(OURS), vec![change]).await,
            StoreError::NotFound { id: other, .. } if other == id(1),
            "change of a row that is gone"
        );
    }
    Ok(())
}

/// A condition that does not hold skips its change or stops the commit, as asked; it sees the changes before it.
///
/// # Errors
/// [`Failure`] where the store differs.
pub async fn conditional_changes(opener: &impl Opener) -> CheckResult {
    let store = open(opener).await?;
    insert(&store, OURS, &KEYED, vec![keyed_row(OURS, 1), keyed_row(OURS, 2)]).await?;
    let amount = FieldRef::declared("amount", FieldKind::Integer);
    let take = |amount_before: i64, when_unmet| Change::Update {
        collection: &KEYED,
        id: id(1),
        expected_version: None,
        condition: Some((Filter::equal(amount.clone(), Value::Integer(amount_before)), when_unmet)),
        assignments: vec![Assignment::Increment(keyed::AMOUNT, Value::Integer(5))],
    };
    let changes = vec![
        take(0, WhenUnmet::Abort),
        take(0, WhenUnmet::Skip),
        take(5, WhenUnmet::Skip),
        update(2, set(keyed::AMOUNT, Value::Integer(1))),
    ];
    let outcomes = store.commit(scope(OURS), changes).await?;
    let expected = vec![
        Outcome::Updated { version: 2 },
        Outcome::Unmet,
        Outcome::Updated { version: 3 },
        Outcome::Updated { version: 2 },
    ];
    ensure_equal!(outcomes, expected, "conditions that hold and one that does not");
    ensure_equal!(value(&store, 1, keyed::AMOUNT).await?, Value::Integer(10), "the amount");
    let changes = vec![update(2, set(keyed::AMOUNT, Value::Integer(2))), take(0, WhenUnmet::Abort)];
    ensure_error!(
        store.commit(scope(OURS), changes).await,
        StoreError::Unmet { change: 1 },
        "a condition that stops the commit"
    );
    ensure_equal!(value(&store, 2, keyed::AMOUNT).await?, Value::Integer(1), "the amount before the stopped commit");
    Ok(())
}

/// Increments add exactly, to a missing value as to 0, and are refused where they leave the range of the field.
///
/// # Errors
/// [`Failure`] where the store differs.
pub async fn increments(opener: &impl Opener) -> CheckResult {
    let store = open(opener).await?;
    let cent = |amount| Value::Money(Money::from_ten_thousandths(amount).unwrap_or_default());
    let cases = [
        (keyed::AMOUNT, Value::Null, Value::Integer(-3), Some(Value::Integer(-3))),
        (keyed::AMOUNT, Value::Integer(i64::MAX - 1), Value::Integer(1), Some(Value::Integer(i64::MAX))),
        (keyed::AMOUNT, Value::Integer(i64::MAX), Value::Integer(1), None),
        (keyed::AMOUNT, Value::Integer(i64::MIN), Value::Integer(-1), None),
        (keyed::AMOUNT, Value::Integer(i64::MIN), Value::Integer(i64::MAX), Some(Value::Integer(-1))),
        (keyed::PRICE, Value::Null, cent(7), Some(cent(7))),
        (keyed::PRICE, cent(1), cent(999_999_999_999_999_998), Some(Value::Money(Money::MAX))),
        (keyed::PRICE, Value::Money(Money::MAX), cent(1), None),
        (keyed::PRICE, Value::Money(Money::MIN), cent(-1), None),
        (keyed::PRICE, cent(1), cent(-3), Some(cent(-2))),
        (keyed::RATIO, Value::Null, Value::Number(0.5), Some(Value::Number(0.5))),
        (keyed::RATIO, Value::Number(0.25), Value::Number(-1.0), Some(Value::Number(-0.75))),
        (keyed::RATIO, Value::Number(f64::MAX), Value::Number(f64::MAX), None),
    ];
    for (place, (field, before, addend, after)) in cases.into_iter().enumerate() {
        let seed = place as u128 + 1;
        let mut row = keyed_row(OURS, seed);
        row.0[field] = before.clone();
        insert(&store, OURS, &KEYED, vec![row]).await?;
        let what = format!("{before:?} + {addend:?}");
        let by_id = update(seed, vec![Assignment::Increment(field, addend.clone())]);
        let by_filter = Change::UpdateWhere {
            collection: &KEYED,
            filter: Filter::equal(FieldRef::declared("id", FieldKind::Id), Value::Id(id(seed))),
            assignments: vec![Assignment::Increment(field, addend)],
        };
        if let Some(after) = after {
            let outcomes = store.commit(scope(OURS), vec![by_id]).await?;
            ensure_equal!(outcomes, vec![Outcome::Updated { version: 2 }], "{what}");
            ensure_equal!(value(&store, seed, field).await?, after, "{what}");
        } else {
            let name = KEYED.fields[field].name;
            for change in [by_id, by_filter] {
                ensure_error!(
                    store.commit(scope(OURS), vec![change]).await,
                    StoreError::OutOfRange { field, .. } if field == name,
                    "{what}"
                );
            }
            ensure_equal!(value(&store, seed, field).await?, before, "{what}, refused");
            ensure_equal!(value(&store, seed, head::VERSION).await?, Value::Integer(1), "{what}, refused");
        }
    }
    Ok(())
}

/// Many changes of single records in one commit, which differ in the records and their values only, are made each as by
/// itself, or none of them: beside a change by filter of records that it names, whatever the kinds of the values.
///
/// # Errors
/// [`Failure`] with the smallest records on which the store differs.
pub async fn alike_changes(opener: &impl Opener) -> CheckResult {
    let store = open(opener).await?;
    let records = vec((generate::record(&THINGS, Numbers::Any), generate::record(&THINGS, Numbers::Any)), 3..30);
    for_all(&mut runner(43), 12, &records, async |records| {
        let wipe = Change::DeleteWhere { collection: &THINGS, filter: Filter::ALL };
        store.commit(scope(OURS), vec![wipe]).await?;
        let mut before: Vec<Row> = Vec::new();
        let mut after: Vec<Row> = Vec::new();
        for ((seed, old), (_, new)) in records {
            if before.iter().all(|row| row.id() != id(seed)) {
                before.push(row(OURS, id(seed), old));
                after.push(row(OURS, id(seed), new));
            }
        }
        insert(&store, OURS, &THINGS, before.clone()).await?;
        let flag = THINGS.position("flag").unwrap_or(0);
        let changed = |row: &Row, expected_version: i64| Change::Update {
            collection: &THINGS,
            id: row.id(),
            expected_version: Some(expected_version),
            condition: None,
            assignments: (5..THINGS.fields.len()).map(|place| Assignment::Set(place, row.0[place].clone())).collect(),
        };
        // One that is not as it must be stops all.
        let one = after.len() / 2;
        let with_one = |odd: Change| {
            let mut changes: Vec<Change> = after.iter().map(|row| changed(row, 1)).collect();
            changes[one] = odd;
            changes
        };
        ensure_error!(
            store.commit(scope(OURS), with_one(changed(&after[one], 2))).await,
            StoreError::VersionConflict { id: other, found: 1, .. } if other == after[one].id(),
            "alike changes of which one expects another version"
        );
        let mut gone = after[one].clone();
        gone.0[head::ID] = Value::Id(id(gone.id().as_u128() ^ 1));
        ensure_error!(
            store.commit(scope(OURS), with_one(changed(&gone, 1))).await,
            StoreError::NotFound { id: other, .. } if other == gone.id(),
            "alike changes of which one has no record"
        );
        // The first by filter, the others each by itself.
        let named = FieldRef::declared("id", FieldKind::Id);
        let mut changes: Vec<Change> = after.iter().skip(1).map(|row| changed(row, 1)).collect();
        changes.push(Change::UpdateWhere {
            collection: &THINGS,
            filter: Filter::In { field: named, values: vec![Value::Id(after[0].id()); 2] },
            assignments: set(flag, after[0].0[flag].clone()),
        });
        let outcomes = store.commit(scope(OURS), changes).await?;
        let mut expected = vec![Outcome::Updated { version: 2 }; after.len() - 1];
        expected.push(Outcome::Touched(1));
        ensure_equal!(outcomes, expected, "alike changes");
        let flagged = after[0].0[flag].clone();
        after[0] = before[0].clone();
        after[0].0[flag] = flagged;
        for row in &mut after {
            row.0[head::VERSION] = Value::Integer(2);
        }
        after.sort_by_key(Row::id);
        ensure_same_rows(&all_rows(&store, scope(OURS), &THINGS).await?, &after, "after alike changes")
    })
    .await
}

/// Changes by filter touch exactly the rows that match, once each, and say how many they were.
///
/// # Errors
/// [`Failure`] where the store differs.
pub async fn changes_by_filter(opener: &impl Opener) -> CheckResult {
    let store = open(opener).await?;
    let rows = (0..10).map(|seed| {
        let mut row = keyed_row(OURS, seed);
        row.0[keyed::AMOUNT] = Value::Integer(i64::try_from(seed).unwrap_or(0));
        row
    });
    insert(&store, OURS, &KEYED, rows.collect()).await?;
    insert(&store, THEIRS, &KEYED, vec![keyed_row(THEIRS, 100)]).await?;
    let amount = FieldRef::declared("amount", FieldKind::Integer);
    let at_least = |limit| Filter::compare(amount.clone(), Comparison::GreaterOrEqual, Value::Integer(limit));
    let changes = vec![
        // The change makes rows leave and enter its own filter: each is touched once all the same.
        Change::UpdateWhere {
            collection: &KEYED,
            filter: at_least(4),
            assignments: vec![Assignment::Increment(keyed::AMOUNT, Value::Integer(1))],
        },
        Change::DeleteWhere { collection: &KEYED, filter: at_least(9) },
        Change::UpdateWhere {
            collection: &KEYED,
            filter: Filter::NONE,
            assignments: set(keyed::AMOUNT, Value::Integer(0)),
        },
        Change::DeleteWhere { collection: &KEYED, filter: Filter::NONE },
        Change::Insert { collection: &KEYED, rows: Vec::new() },
    ];
    let outcomes = store.commit(scope(OURS), changes).await?;
    ensure_equal!(outcomes, [6, 2, 0, 0, 0].map(Outcome::Touched).to_vec(), "rows touched");
    let left: Vec<(Value, i64)> = all_rows(&store, scope(OURS), &KEYED)
        .await?
        .into_iter()
        .map(|row| (row.0[keyed::AMOUNT].clone(), row.version()))
        .collect();
    let expected: Vec<(Value, i64)> = [(0, 1), (1, 1), (2, 1), (3, 1), (5, 2), (6, 2), (7, 2), (8, 2)]
        .map(|(amount, version)| (Value::Integer(amount), version))
        .to_vec();
    ensure_equal!(left, expected, "what is left");
    Ok(())
}

/// Changes by filter, claims, and changes under a condition touch what the evaluator says of any filter, also one that
/// searches, or looks at related records.
///
/// # Errors
/// [`Failure`] with the smallest filter on which the store differs.
pub async fn changes_by_any_filter(opener: &impl Opener) -> CheckResult {
    let fixture = Fixture::new(opener, 41, 25, Numbers::Any).await?;
    let store = &fixture.store;
    let mark = THINGS.position("order").unwrap_or(0);
    let filters = prop_oneof![3 => generate::condition(), 1 => generate::filter(), 1 => generate::related()];
    for_all(&mut runner(41), 120, &(filters, 0..3_u8, any::<i64>()), async |(filter, way, mark_with)| {
        let before = all_rows(store, scope(OURS), &THINGS).await?;
        let changed = |row: &Row| {
            let mut row = row.clone();
            row.0[mark] = Value::Integer(mark_with);
            row.0[head::VERSION] = Value::Integer(row.version() + 1);
            row
        };
        let expected: Vec<Row> =
            before.iter().map(|row| if fixture.matches(&filter, row) { changed(row) } else { row.clone() }).collect();
        let touched = before.iter().filter(|row| fixture.matches(&filter, row)).count() as u64;
        let assignments = || vec![Assignment::Set(mark, Value::Integer(mark_with))];
        if way == 0 {
            let set = [(mark, Value::Integer(mark_with))];
            let mut claimed = store.claim(scope(OURS), &THINGS, &filter, &[], 1_000, &set).await?;
            claimed.sort_by_key(Row::id);
            let taken: Vec<Row> = before.iter().filter(|row| fixture.matches(&filter, row)).map(changed).collect();
            ensure_same_rows(&claimed, &taken, &format!("claim {filter:#?}"))?;
        } else if way == 1 {
            let change =
                Change::UpdateWhere { collection: &THINGS, filter: filter.clone(), assignments: assignments() };
            let outcomes = store.commit(scope(OURS), vec![change]).await?;
            ensure_equal!(outcomes, vec![Outcome::Touched(touched)], "rows changed by {filter:#?}");
        } else {
            let changes = before.iter().map(|row| Change::Update {
                collection: &THINGS,
                id: row.id(),
                expected_version: Some(row.version()),
                condition: Some((filter.clone(), WhenUnmet::Skip)),
                assignments: assignments(),
            });
            let outcomes = store.commit(scope(OURS), changes.collect()).await?;
            let met = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Updated { .. })).count() as u64;
            ensure_equal!(met, touched, "rows changed where {filter:#?}");
        }
        ensure_same_rows(
            &all_rows(store, scope(OURS), &THINGS).await?,
            &expected,
            &format!("after changes by {filter:#?}"),
        )
    })
    .await
}

/// Random commits, some of which fail, have the outcomes and leave the rows that they have and leave in memory.
///
/// # Errors
/// [`Failure`] with the smallest sequence of commits on which the store differs.
pub async fn random_commits(opener: &impl Opener) -> CheckResult {
    let store = open(opener).await?;
    let commits = vec(vec(change(), 1..5), 1..12);
    for_all(&mut runner(40), 60, &commits, async |commits| {
        let wipe = || vec![Change::DeleteWhere { collection: &KEYED, filter: Filter::ALL }];
        store.commit(scope(OURS), wipe()).await?;
        let reference = MemoryStore::new();
        for changes in commits {
            let answer = store.commit(scope(OURS), changes.clone()).await;
            let expected = reference.commit(scope(OURS), changes.clone()).await;
            if !same_result(&answer, &expected) {
                ensure_equal!(
                    answer.map_err(|e| format!("{e:?}")),
                    expected.map_err(|e| format!("{e:?}")),
                    "commit {changes:#?}"
                );
            }
            let query = crate::store::Query::new(Filter::ALL, 1_000);
            let rows = store.find(scope(OURS), &KEYED, &query).await?.rows;
            let expected = reference.find(scope(OURS), &KEYED, &query).await?.rows;
            ensure_same_rows(&rows, &expected, &format!("the rows after {changes:#?}"))?;
        }
        Ok(())
    })
    .await
}

fn same_result(left: &StoreResult<Vec<Outcome>>, right: &StoreResult<Vec<Outcome>>) -> bool {
    use StoreError::{Duplicate, NotFound, OutOfRange, Unmet, VersionConflict};

    match (left, right) {
        (Ok(left), Ok(right)) => left == right,
        // Of several faults of one change any may be told.
        (Err(Duplicate { .. } | OutOfRange { .. }), Err(Duplicate { .. } | OutOfRange { .. })) => true,
        (Err(NotFound { id: left, .. }), Err(NotFound { id: right, .. })) => left == right,
        (Err(Unmet { change: left }), Err(Unmet { change: right })) => left == right,
        (Err(VersionConflict { id, found, .. }), Err(VersionConflict { id: other_id, found: other_found, .. })) => {
            id == other_id && found == other_found
        }
        _ => false,
    }
}

fn change() -> BoxedStrategy<Change> {
    let seed = || 1_u128..7;
    let rows = vec((seed(), generate::record(&KEYED, Numbers::Any), mail(), serial()), 0..3).prop_map(|records| {
        let rows = records.into_iter().map(|(seed, (_, mut values), mail, serial)| {
            values[0] = mail;
            values[1] = Value::Text("a".to_owned());
            values[2] = serial;
            row(OURS, id(seed), values)
        });
        Change::Insert { collection: &KEYED, rows: rows.collect() }
    });
    let condition = option::weighted(0.3, (filter(), select(&[WhenUnmet::Skip, WhenUnmet::Abort][..])));
    let updates = (seed(), option::weighted(0.3, 1_i64..4), condition, assignments()).prop_map(
        |(seed, expected_version, condition, assignments)| Change::Update {
            collection: &KEYED,
            id: id(seed),
            expected_version,
            condition,
            assignments,
        },
    );
    let deletes = (seed(), option::weighted(0.3, 1_i64..4)).prop_map(|(seed, expected_version)| Change::Delete {
        collection: &KEYED,
        id: id(seed),
        expected_version,
    });
    let updates_where = (filter(), assignments()).prop_map(|(filter, assignments)| Change::UpdateWhere {
        collection: &KEYED,
        filter,
        assignments,
    });
    let deletes_where = filter().prop_map(|filter| Change::DeleteWhere { collection: &KEYED, filter });
    prop_oneof![6 => rows, 4 => updates, 2 => deletes, 2 => updates_where, 1 => deletes_where].boxed()
}

fn mail() -> BoxedStrategy<Value> {
    let mails = select(&["a@x", "b@x", "A@x", "á@x"][..]).prop_map(|mail| Value::Text(mail.to_owned()));
    option::weighted(0.4, mails).prop_map(Option::unwrap_or_default).boxed()
}

fn serial() -> BoxedStrategy<Value> {
    option::weighted(0.4, (0_i64..6).prop_map(Value::Integer)).prop_map(Option::unwrap_or_default).boxed()
}

fn filter() -> BoxedStrategy<Filter> {
    let amount = FieldRef::declared("amount", FieldKind::Integer);
    let name = FieldRef::declared("name", FieldKind::Text);
    let version = FieldRef::declared("version", FieldKind::Integer);
    let mail_field = FieldRef::declared("mail", FieldKind::Text);
    prop_oneof![
        2 => (generate::comparison(), -3_i64..4)
            .prop_map(move |(comparison, value)| Filter::compare(amount.clone(), comparison, Value::Integer(value))),
        1 => (generate::comparison(), 1_i64..4)
            .prop_map(move |(comparison, value)| Filter::compare(version.clone(), comparison, Value::Integer(value))),
        1 => select(&["a", "é", "ß"][..])
            .prop_map(move |text| Filter::Contains { field: name.clone(), text: text.to_owned() }),
        1 => Just(Filter::Exists { field: mail_field }),
    ]
    .prop_flat_map(|filter| prop_oneof![Just(filter.clone()), Just(filter.negated())])
    .boxed()
}

fn assignments() -> BoxedStrategy<Vec<Assignment>> {
    let one = prop_oneof![
        2 => mail().prop_map(|mail| Assignment::Set(keyed::MAIL, mail)),
        1 => select(&["a", "b"][..]).prop_map(|series| Assignment::Set(keyed::SERIES, Value::Text(series.to_owned()))),
        1 => serial().prop_map(|serial| Assignment::Set(keyed::SERIAL, serial)),
        3 => (-2_i64..3).prop_map(|addend| Assignment::Increment(keyed::AMOUNT, Value::Integer(addend))),
        1 => any::<i64>().prop_map(|addend| Assignment::Increment(keyed::AMOUNT, Value::Integer(addend))),
        1 => generate::value(FieldKind::Money, Numbers::Any).prop_map(|price| Assignment::Increment(keyed::PRICE, price)),
        1 => generate::value(FieldKind::Number, Numbers::Any).prop_map(|ratio| Assignment::Set(keyed::RATIO, ratio)),
        1 => generate::text().prop_map(|name| Assignment::Set(keyed::NAME, Value::Text(name))),
        1 => vec(generate::text(), 0..3).prop_map(|labels| Assignment::Set(keyed::LABELS, Value::TextList(labels))),
    ];
    vec(one, 1..4)
        .prop_map(|assignments| {
            // Each field once.
            let mut fields = std::collections::BTreeSet::new();
            assignments
                .into_iter()
                .filter(|assignment| {
                    let (Assignment::Set(field, _) | Assignment::Increment(field, _)) = assignment;
                    fields.insert(*field)
                })
                .collect()
        })
        .boxed()
}

/// Everything in the store, to be compared.
async fn everything(store: &SharedStore) -> Result<Vec<Vec<Row>>, Failure> {
    let mut rows = Vec::new();
    for organization in [OURS, THEIRS] {
        for collection in ALL {
            rows.push(all_rows(store, scope(organization), collection).await?);
        }
    }
    rows.push(all_rows(store, Scope::Installation, &TASKS).await?);
    Ok(rows)
}

async fn ensure_unchanged(store: &SharedStore, before: &[Vec<Row>], what: &str) -> CheckResult {
    let after = everything(store).await?;
    before.iter().zip(&after).try_for_each(|(before, after)| ensure_same_rows(after, before, what))
}

/// A commit of many changes over several collections, of which the last fails, leaves nothing behind, whatever the
/// reason; nor does one in which the engine itself fails, where the opener can make it.
///
/// # Errors
/// [`Failure`] where something is left.
pub async fn failed_commits_leave_nothing(opener: &impl Opener) -> CheckResult {
    let store = open(opener).await?;
    let mut taken = keyed_row(OURS, 1);
    taken.0[keyed::MAIL] = Value::Text("taken".to_owned());
    insert(&store, OURS, &KEYED, vec![taken.clone(), keyed_row(OURS, 2), keyed_row(OURS, 3)]).await?;
    insert(&store, OURS, &TASKS, vec![task_row(OURS, 1), task_row(THEIRS, 2)]).await?;
    let before = everything(&store).await?;
    let good = || {
        vec![
            Change::Insert { collection: &KEYED, rows: vec![keyed_row(OURS, 10), keyed_row(OURS, 11)] },
            Change::Insert { collection: &TASKS, rows: vec![task_row(OURS, 12)] },
            update(2, set(keyed::NAME, Value::Text("Another name".to_owned()))),
            Change::Delete { collection: &KEYED, id: id(3), expected_version: Some(1) },
            Change::UpdateWhere {
                collection: &KEYED,
                filter: Filter::ALL,
                assignments: vec![Assignment::Increment(keyed::AMOUNT, Value::Integer(1))],
            },
            Change::DeleteWhere { collection: &TASKS, filter: Filter::ALL },
        ]
    };
    let mut same_mail = keyed_row(OURS, 20);
    same_mail.0[keyed::MAIL] = Value::Text("taken".to_owned());
    let too_much = vec![Assignment::Increment(keyed::AMOUNT, Value::Integer(i64::MAX))];
    let at_version = |expected_version, condition| Change::Update {
        collection: &KEYED,
        id: id(1),
        expected_version,
        condition,
        assignments: set(keyed::AMOUNT, Value::Integer(1)),
    };
    let bad = [
        Change::Insert { collection: &KEYED, rows: vec![keyed_row(OURS, 21), same_mail] },
        Change::Insert { collection: &KEYED, rows: vec![keyed_row(OURS, 22), keyed_row(OURS, 1)] },
        Change::Insert { collection: &KEYED, rows: vec![keyed_row(OURS, 23), keyed_row(OURS, 23)] },
        Change::Insert { collection: &KEYED, rows: vec![keyed_row(OURS, 24), keyed_row(THEIRS, 25)] },
        Change::Insert { collection: &KEYED, rows: vec![keyed_row(OURS, 26), Row(Vec::new())] },
        update(2, set(keyed::MAIL, Value::Text("taken".to_owned()))),
        update(3, set(keyed::AMOUNT, Value::Integer(1))),
        update(1, too_much.clone()),
        Change::UpdateWhere { collection: &KEYED, filter: Filter::ALL, assignments: too_much },
        at_version(Some(1), None),
        at_version(None, Some((Filter::NONE, WhenUnmet::Abort))),
        Change::Delete { collection: &KEYED, id: id(99), expected_version: None },
        Change::Delete { collection: &KEYED, id: id(1), expected_version: Some(99) },
    ];
    for change in bad {
        let described = format!("{change:?}");
        let mut changes = good();
        changes.push(change);
        let answer = store.commit(scope(OURS), changes).await;
        ensure!(answer.is_err(), "the commit succeeds although its last change cannot: {described}");
        ensure_unchanged(&store, &before, &format!("after a commit that failed at {described}")).await?;
    }
    for after in 0..=good().len() {
        if !opener.fail_next_commit(after) {
            break;
        }
        let answer = store.commit(scope(OURS), good()).await;
        ensure!(answer.is_err(), "the commit succeeds although the engine was made to fail: {answer:?}");
        ensure_unchanged(&store, &before, &format!("after the engine failed behind change {after}")).await?;
    }
    ensure_equal!(store.commit(scope(OURS), good()).await?.len(), 6, "outcomes of the commit without fault");
    Ok(())
}
