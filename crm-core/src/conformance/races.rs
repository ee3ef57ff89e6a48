//! Many tasks at once.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::task::JoinSet;
use uuid::Uuid;

use super::{
    CheckResult, Failure, Opener,
    collections::{KEYED, TASKS, keyed, task},
    failure::{ensure, ensure_equal},
    fixture::{OURS, THEIRS, all_rows, insert, open, scope},
    generate::id,
    writes::{keyed_row, task_row, update},
};
use crate::{
    store::{
        Assignment, Change, Comparison, FieldKind, FieldRef, Filter, Query, Row, Scope, Sort, StoreError, StoreResult,
        Value, WhenUnmet, head,
    },
    time::Timestamp,
};

/// How many tasks work at once.
const TASKS_AT_ONCE: u128 = 12;

/// Runs the work so many times at once, and answers what each run did.
async fn at_once<T, W>(work: impl Fn(u128) -> W) -> Result<Vec<T>, Failure>
where
    T: Send + 'static,
    W: Future<Output = T> + Send + 'static,
{
    let mut running = JoinSet::new();
    for number in 0..TASKS_AT_ONCE {
        running.spawn(work(number));
    }
    let mut answers = Vec::new();
    while let Some(answer) = running.join_next().await {
        answers.push(answer.map_err(|error| Failure::new(format!("a task ended badly: {error}")))?);
    }
    Ok(answers)
}

/// Of many tasks that want the same unique key at once, exactly one gets it and the others are told so.
///
/// # Errors
/// [`Failure`] where the store differs.
pub async fn races_for_a_unique_key(opener: &impl Opener) -> CheckResult {
    let store = open(opener).await?;
    for round in 0..5_u128 {
        let answers = at_once(|number| {
            let store = store.clone();
            async move {
                let mut row = keyed_row(OURS, round * 1_000 + number);
                row.0[keyed::MAIL] = Value::Text(format!("{round}@x"));
                insert(&store, OURS, &KEYED, vec![row]).await
            }
        })
        .await?;
        ensure_one_wins(&answers, |error| matches!(error, StoreError::Duplicate { key, .. } if key == "mail"))?;
        ensure_equal!(
            store.count(scope(OURS), &KEYED, &Filter::ALL).await?,
            u64::try_from(round).unwrap_or(0) + 1,
            "rows after the race"
        );
    }
    Ok(())
}

/// Of many tasks that change a record at the same expected version, exactly one succeeds.
///
/// # Errors
/// [`Failure`] where the store differs.
pub async fn races_for_a_version(opener: &impl Opener) -> CheckResult {
    let store = open(opener).await?;
    insert(&store, OURS, &KEYED, vec![keyed_row(OURS, 1)]).await?;
    for version in 1..6 {
        let answers = at_once(|number| {
            let store = store.clone();
            let assignments = vec![Assignment::Set(keyed::AMOUNT, Value::Integer(i64::try_from(number).unwrap_or(0)))];
            let change = Change::Update {
                collection: &KEYED,
                id: id(1),
                expected_version: Some(version),
                condition: None,
                assignments,
            };
            async move { store.commit(scope(OURS), vec![change]).await }
        })
        .await?;
        ensure_one_wins(&answers, |error| matches!(error, StoreError::VersionConflict { .. }))?;
    }
    Ok(())
}

fn ensure_one_wins<T: std::fmt::Debug>(answers: &[StoreResult<T>], loses: impl Fn(&StoreError) -> bool) -> CheckResult {
    let winners = answers.iter().filter(|answer| answer.is_ok()).count();
    ensure_equal!(winners, 1, "how many of {} tasks succeed", answers.len());
    let stranger = answers.iter().filter_map(|answer| answer.as_ref().err()).find(|error| !loses(error));
    ensure!(stranger.is_none(), "a loser of the race is told {stranger:?}");
    Ok(())
}

/// Increments of many tasks all count, whatever else happens to the record.
///
/// # Errors
/// [`Failure`] where one is lost.
pub async fn increments_are_not_lost(opener: &impl Opener) -> CheckResult {
    const EACH: i64 = 10;

    let store = open(opener).await?;
    insert(&store, OURS, &KEYED, vec![keyed_row(OURS, 1)]).await?;
    let answers = at_once(|_| {
        let store = store.clone();
        async move {
            for _ in 0..EACH {
                let addition = vec![Assignment::Increment(keyed::AMOUNT, Value::Integer(1))];
                store.commit(scope(OURS), vec![update(1, addition)]).await?;
            }
            StoreResult::Ok(())
        }
    })
    .await?;
    answers.into_iter().collect::<StoreResult<Vec<()>>>()?;
    let rows = store.get(scope(OURS), &KEYED, &[id(1)]).await?;
    let total = EACH * i64::try_from(TASKS_AT_ONCE).unwrap_or(0);
    ensure_equal!(rows[0].0[keyed::AMOUNT], Value::Integer(total), "the sum of all increments");
    ensure_equal!(rows[0].version(), total + 1, "the version after them");
    Ok(())
}

/// Nobody who reads while commits are made sees half of one.
///
/// # Errors
/// [`Failure`] where somebody does.
pub async fn readers_see_whole_commits(opener: &impl Opener) -> CheckResult {
    /// Commits that the reader sees come and go: before them the writer may not have begun.
    const SEEN: usize = 40;

    let store = open(opener).await?;
    insert(&store, OURS, &KEYED, (0..4).map(|seed| keyed_row(OURS, seed)).collect()).await?;
    let (writer, done) = (store.clone(), Arc::new(AtomicBool::new(false)));
    let read_enough = Arc::clone(&done);
    let writing = tokio::spawn(async move {
        let mut round = 0;
        while !read_enough.load(Ordering::Relaxed) {
            round += 1;
            let changes = (0..4).map(|seed| update(seed, vec![Assignment::Set(keyed::AMOUNT, Value::Integer(round))]));
            writer.commit(scope(OURS), changes.collect()).await?;
            tokio::task::yield_now().await;
        }
        StoreResult::Ok(())
    });
    let mut seen = Vec::new();
    let mut checked = Ok(());
    while checked.is_ok() && seen.len() < SEEN && !writing.is_finished() {
        let rows = all_rows(&store, scope(OURS), &KEYED).await?;
        let amounts: Vec<Value> = rows.into_iter().map(|mut row| row.0.swap_remove(keyed::AMOUNT)).collect();
        checked = ensure_alike(&amounts);
        if seen.last() != amounts.first() {
            seen.extend(amounts.into_iter().next());
        }
        tokio::task::yield_now().await;
    }
    done.store(true, Ordering::Relaxed);
    writing.await.map_err(|error| Failure::new(format!("the writer ended badly: {error}")))??;
    checked
}

fn ensure_alike(amounts: &[Value]) -> CheckResult {
    ensure!(amounts.len() == 4 && amounts.iter().all(|it| *it == amounts[0]), "half a commit is seen: {amounts:?}");
    Ok(())
}

/// What many tasks move between records at once, each only where there is enough, is neither lost nor made.
///
/// # Errors
/// [`Failure`] where the total changes, or an amount falls below 0.
pub async fn transfers_keep_their_total(opener: &impl Opener) -> CheckResult {
    const ACCOUNTS: u128 = 4;
    const EACH: u128 = 15;

    let store = open(opener).await?;
    let rows = (0..ACCOUNTS).map(|seed| {
        let mut row = keyed_row(OURS, seed);
        row.0[keyed::AMOUNT] = Value::Integer(10);
        row
    });
    insert(&store, OURS, &KEYED, rows.collect()).await?;
    let answers = at_once(|number| {
        let store = store.clone();
        async move {
            for step in 0..EACH {
                let (from, to) = ((number + step) % ACCOUNTS, (number * 3 + step * 2 + 1) % ACCOUNTS);
                let amount = i64::try_from(1 + (number + step) % 7).unwrap_or(1);
                let enough = Filter::compare(
                    FieldRef::declared("amount", FieldKind::Integer),
                    Comparison::GreaterOrEqual,
                    Value::Integer(amount),
                );
                let take = Change::Update {
                    collection: &KEYED,
                    id: id(from),
                    expected_version: None,
                    condition: Some((enough, WhenUnmet::Abort)),
                    assignments: vec![Assignment::Increment(keyed::AMOUNT, Value::Integer(-amount))],
                };
                let give = update(to, vec![Assignment::Increment(keyed::AMOUNT, Value::Integer(amount))]);
                match store.commit(scope(OURS), vec![give, take]).await {
                    Ok(_) | Err(StoreError::Unmet { change: 1 }) => {}
                    Err(error) => return Err(error),
                }
            }
            StoreResult::Ok(())
        }
    })
    .await?;
    answers.into_iter().collect::<StoreResult<Vec<()>>>()?;
    let amounts: Vec<i64> = all_rows(&store, scope(OURS), &KEYED)
        .await?
        .iter()
        .filter_map(|row| match row.0[keyed::AMOUNT] {
            Value::Integer(amount) => Some(amount),
            _ => None,
        })
        .collect();
    ensure_equal!(amounts.iter().sum::<i64>(), 40, "the total of {amounts:?}");
    ensure!(amounts.iter().all(|amount| *amount >= 0), "more was taken than there was: {amounts:?}");
    Ok(())
}

fn due(seed: u128, milliseconds: i64) -> Row {
    let mut row = task_row(OURS, seed);
    row.0[task::DUE_AT] = Value::Timestamp(Timestamp::from_milliseconds(milliseconds).unwrap_or_default());
    row
}

fn unclaimed_and_due(milliseconds: i64) -> Filter {
    let claimed_by = FieldRef::declared("claimed_by", FieldKind::Text);
    let due_at = FieldRef::declared("due_at", FieldKind::Timestamp);
    let now = Value::Timestamp(Timestamp::from_milliseconds(milliseconds).unwrap_or_default());
    Filter::And(vec![
        Filter::Exists { field: claimed_by }.negated(),
        Filter::compare(due_at, Comparison::LessOrEqual, now),
    ])
}

fn by_due() -> Vec<Sort> {
    vec![Sort { field: FieldRef::declared("due_at", FieldKind::Timestamp), descending: false }]
}

/// A claim takes only what matches, no more than its limit, and answers the rows as they are afterwards.
///
/// # Errors
/// [`Failure`] where the store differs.
pub async fn claims(opener: &impl Opener) -> CheckResult {
    let store = open(opener).await?;
    insert(&store, OURS, &TASKS, (0..10).map(|seed| due(seed, i64::try_from(seed).unwrap_or(0))).collect()).await?;
    let set = [
        (task::CLAIMED_BY, Value::Text("worker".to_owned())),
        (head::UPDATED_AT, Value::Timestamp(Timestamp::default())),
    ];
    let claim =
        async |limit| store.claim(Scope::Installation, &TASKS, &unclaimed_and_due(5), &by_due(), limit, &set).await;
    let mut claimed = claim(4).await?;
    ensure_equal!(claimed.len(), 4, "rows claimed of at most 4");
    for row in &claimed {
        ensure_equal!(row.0[task::CLAIMED_BY], Value::Text("worker".to_owned()), "a claimed row has what was set");
        ensure_equal!(
            row.0[head::UPDATED_AT],
            Value::Timestamp(Timestamp::default()),
            "a claimed row has what was set"
        );
        ensure_equal!(row.version(), 2, "the version of a claimed row");
        ensure_equal!(
            store.get(Scope::Installation, &TASKS, &[row.id()]).await?,
            vec![row.clone()],
            "a claimed row as it is stored"
        );
    }
    claimed.extend(claim(100).await?);
    let mut ids: Vec<Uuid> = claimed.iter().map(Row::id).collect();
    ids.sort();
    ensure_equal!(ids, (0..6).map(id).collect::<Vec<_>>(), "all that were due");
    ensure_equal!(claim(100).await?.len(), 0, "rows left to claim");
    ensure_equal!(claim(0).await?.len(), 0, "rows claimed of none");
    Ok(())
}

/// However many tasks claim at once, each record goes to one of them, and none is left.
///
/// # Errors
/// [`Failure`] where a record goes to two or to none.
pub async fn claims_hand_out_each_record_once(opener: &impl Opener) -> CheckResult {
    const RECORDS: u128 = 150;

    let store = open(opener).await?;
    let rows = (0..RECORDS).map(|seed| {
        let mut row = due(seed, 0);
        row.0[head::ORGANIZATION_ID] = Value::Id(if seed % 2 == 0 { OURS } else { THEIRS });
        row
    });
    store.commit(Scope::Installation, vec![Change::Insert { collection: &TASKS, rows: rows.collect() }]).await?;
    let answers = at_once(|number| {
        let store = store.clone();
        async move {
            let set = [(task::CLAIMED_BY, Value::Text(format!("worker {number}")))];
            let mut mine: Vec<Uuid> = Vec::new();
            loop {
                let rows = store.claim(Scope::Installation, &TASKS, &unclaimed_and_due(0), &by_due(), 7, &set).await?;
                // Nothing may also mean that others hold what is left: then look whether something is.
                if rows.is_empty() && store.count(Scope::Installation, &TASKS, &unclaimed_and_due(0)).await? == 0 {
                    return StoreResult::Ok((format!("worker {number}"), mine));
                }
                mine.extend(rows.iter().map(Row::id));
                tokio::task::yield_now().await;
            }
        }
    })
    .await?;
    let mut holders: BTreeMap<Uuid, String> = BTreeMap::new();
    for answer in answers {
        let (worker, ids) = answer?;
        for id in ids {
            let other = holders.insert(id, worker.clone());
            ensure!(other.is_none(), "{id} goes to {worker} and to {other:?}");
        }
    }
    ensure_equal!(holders.len() as u128, RECORDS, "records handed out");
    let page = store.find(Scope::Installation, &TASKS, &Query::new(Filter::ALL, 1_000)).await?;
    for row in page.rows {
        let holder = holders.get(&row.id()).cloned().unwrap_or_default();
        ensure_equal!(row.0[task::CLAIMED_BY], Value::Text(holder), "who holds {}", row.id());
        ensure_equal!(row.version(), 2, "the version of a row that was claimed once");
    }
    Ok(())
}
