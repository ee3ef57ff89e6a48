//! Organizations are sealed off from each other.

use futures::TryStreamExt as _;
use uuid::Uuid;

use super::{
    CheckResult, Failure, Opener,
    collections::{KEYED, PARTS, TASKS, THINGS, keyed, task},
    failure::{ensure, ensure_equal, ensure_error},
    fixture::{Fixture, OURS, THEIRS, all_rows, ensure_same_rows, insert, open, row, scope},
    generate::{Numbers, id},
    writes::{keyed_row, task_row},
};
use crate::{
    store::{
        Aggregation, Assignment, Change, Filter, Measure, Measured, Query, Row, Scope, SharedStore, StoreError, Value,
        WhenUnmet, head,
    },
    time::Timestamp,
};

/// No call in the scope of one organization reads, counts, measures, claims, changes or removes another's records.
///
/// # Errors
/// [`Failure`] where the store differs.
pub async fn organizations_are_sealed_off(opener: &impl Opener) -> CheckResult {
    let fixture = Fixture::new(opener, 30, 10, Numbers::Any).await?;
    let store = &fixture.store;
    let (ours, theirs) = (scope(OURS), scope(THEIRS));
    let before = all_rows(store, theirs, &THINGS).await?;
    ensure_equal!(before.len(), 10, "rows of the other organization");
    let ids: Vec<Uuid> = before.iter().map(Row::id).collect();

    ensure!(store.get(ours, &THINGS, &ids).await?.is_empty(), "get answers another organization's rows");
    let mine = all_rows(store, ours, &THINGS).await?;
    ensure!(mine.iter().all(|row| !ids.contains(&row.id())), "find answers another organization's rows");
    let streamed: Vec<Row> = store.stream(ours, &THINGS, Query::new(Filter::ALL, 0)).try_collect().await?;
    ensure_equal!(streamed.len(), 10, "rows in a stream");
    ensure_equal!(store.count(ours, &THINGS, &Filter::ALL).await?, 10, "count");
    let everything = Aggregation { filter: Filter::ALL, groups: Vec::new(), measures: vec![Measure::Count] };
    let counted = store.aggregate(ours, &THINGS, &everything).await?;
    ensure_equal!(counted[0].measures, vec![Measured::Count(10)], "rows measured");

    let by_id = |change: fn(Uuid) -> Change| store.commit(ours, vec![change(ids[0])]);
    let touch = || vec![Assignment::Set(head::UPDATED_AT, Value::Timestamp(Timestamp::default()))];
    let update = Change::Update {
        collection: &THINGS,
        id: ids[0],
        expected_version: Some(1),
        condition: None,
        assignments: touch(),
    };
    ensure_error!(store.commit(ours, vec![update]).await, StoreError::NotFound { .. }, "update of another's row");
    let conditional = Change::Update {
        collection: &THINGS,
        id: ids[0],
        expected_version: None,
        condition: Some((Filter::NONE, WhenUnmet::Skip)),
        assignments: touch(),
    };
    ensure_error!(
        store.commit(ours, vec![conditional]).await,
        StoreError::NotFound { .. },
        "conditional update of another's row"
    );
    let deleted = by_id(|id| Change::Delete { collection: &THINGS, id, expected_version: None }).await;
    ensure_error!(deleted, StoreError::NotFound { .. }, "delete of another's row");
    let outcomes = store
        .commit(
            ours,
            vec![
                Change::UpdateWhere { collection: &THINGS, filter: Filter::ALL, assignments: touch() },
                Change::DeleteWhere { collection: &THINGS, filter: Filter::ALL },
                Change::DeleteWhere { collection: &PARTS, filter: Filter::ALL },
            ],
        )
        .await?;
    ensure!(outcomes.len() == 3, "an outcome for each change, not {outcomes:?}");
    let claimed = store.claim(ours, &THINGS, &Filter::ALL, &[], 100, &[]).await?;
    ensure!(claimed.is_empty(), "claim answers another organization's rows");
    ensure_same_rows(&all_rows(store, theirs, &THINGS).await?, &before, "the other organization's rows afterwards")?;
    ensure!(!all_rows(store, theirs, &PARTS).await?.is_empty(), "the other organization's parts are gone");

    let foreign = vec![row(THEIRS, id(1), before[0].0.iter().skip(5).cloned())];
    ensure_error!(
        insert(store, OURS, &THINGS, foreign).await,
        StoreError::OutOfScope { .. },
        "insert of a row that is another organization's"
    );
    Ok(())
}

/// A tenant collection is refused where no organization is named.
///
/// # Errors
/// [`Failure`] where the store differs.
pub async fn tenant_collections_need_an_organization(opener: &impl Opener) -> CheckResult {
    let store = open(opener).await?;
    let scope = Scope::Installation;
    let what = "a tenant collection without an organization";
    let everything = Aggregation { filter: Filter::ALL, groups: Vec::new(), measures: vec![Measure::Count] };
    ensure_error!(store.get(scope, &THINGS, &[id(1)]).await, StoreError::OutOfScope { .. }, "get: {what}");
    ensure_error!(
        store.find(scope, &THINGS, &Query::new(Filter::ALL, 1)).await,
        StoreError::OutOfScope { .. },
        "find: {what}"
    );
    let streamed: Result<Vec<Row>, _> = store.stream(scope, &THINGS, Query::new(Filter::ALL, 0)).try_collect().await;
    ensure_error!(streamed, StoreError::OutOfScope { .. }, "stream: {what}");
    ensure_error!(store.count(scope, &THINGS, &Filter::ALL).await, StoreError::OutOfScope { .. }, "count: {what}");
    ensure_error!(
        store.aggregate(scope, &THINGS, &everything).await,
        StoreError::OutOfScope { .. },
        "aggregate: {what}"
    );
    ensure_error!(
        store.claim(scope, &KEYED, &Filter::ALL, &[], 1, &[]).await,
        StoreError::OutOfScope { .. },
        "claim: {what}"
    );
    let changes = [
        Change::Insert { collection: &KEYED, rows: vec![keyed_row(OURS, 1)] },
        Change::Update {
            collection: &KEYED,
            id: id(1),
            expected_version: None,
            condition: None,
            assignments: vec![Assignment::Set(keyed::AMOUNT, Value::Integer(1))],
        },
        Change::Delete { collection: &KEYED, id: id(1), expected_version: None },
        Change::UpdateWhere {
            collection: &KEYED,
            filter: Filter::ALL,
            assignments: vec![Assignment::Set(keyed::AMOUNT, Value::Integer(1))],
        },
        Change::DeleteWhere { collection: &KEYED, filter: Filter::ALL },
    ];
    for change in changes {
        let described = format!("{change:?}");
        ensure_error!(store.commit(scope, vec![change]).await, StoreError::OutOfScope { .. }, "{what}: {described}");
    }
    ensure_equal!(all_rows(&store, super::fixture::scope(OURS), &KEYED).await?.len(), 0, "rows left behind");
    Ok(())
}

/// The installation's records keep the organization they were given. All of them are seen in the installation's scope,
/// in an organization's only its own, whatever the call.
///
/// # Errors
/// [`Failure`] where the store differs.
pub async fn installation_records_have_their_scope(opener: &impl Opener) -> CheckResult {
    let store = open(opener).await?;
    let nobody = Uuid::nil();
    // Rows of three owners written under either scope.
    store
        .commit(
            Scope::Installation,
            vec![Change::Insert {
                collection: &TASKS,
                rows: vec![task_row(OURS, 1), task_row(THEIRS, 2), task_row(nobody, 3)],
            }],
        )
        .await?;
    insert(&store, OURS, &TASKS, vec![task_row(OURS, 4), task_row(THEIRS, 5), task_row(nobody, 6)]).await?;
    let all = [1, 2, 3, 4, 5, 6].map(id);
    let seen = async |scope: Scope| -> Result<Vec<Uuid>, Failure> {
        let found: Vec<Uuid> = all_rows(&store, scope, &TASKS).await?.iter().map(Row::id).collect();
        let got: Vec<Uuid> = store.get(scope, &TASKS, &all).await?.iter().map(Row::id).collect();
        let streamed: Vec<Row> = store.stream(scope, &TASKS, Query::new(Filter::ALL, 0)).try_collect().await?;
        let streamed: Vec<Uuid> = streamed.iter().map(Row::id).collect();
        ensure_equal!(got, found, "get against find in {scope:?}");
        ensure_equal!(streamed, found, "stream against find in {scope:?}");
        let count = store.count(scope, &TASKS, &Filter::ALL).await?;
        ensure_equal!(count, found.len() as u64, "count in {scope:?}");
        Ok(found)
    };
    ensure_equal!(seen(Scope::Installation).await?, all.to_vec(), "in the installation's scope");
    ensure_equal!(seen(scope(OURS)).await?, vec![id(1), id(4)], "in our scope");
    ensure_equal!(seen(scope(THEIRS)).await?, vec![id(2), id(5)], "in their scope");

    let touch = || vec![Assignment::Increment(task::ATTEMPTS, Value::Integer(1))];
    let update =
        |id| Change::Update { collection: &TASKS, id, expected_version: None, condition: None, assignments: touch() };
    for foreign in [id(2), id(3)] {
        ensure_error!(
            store.commit(scope(OURS), vec![update(foreign)]).await,
            StoreError::NotFound { .. },
            "update of an installation's row that is not the organization's"
        );
        let delete = Change::Delete { collection: &TASKS, id: foreign, expected_version: None };
        ensure_error!(
            store.commit(scope(OURS), vec![delete]).await,
            StoreError::NotFound { .. },
            "delete of an installation's row that is not the organization's"
        );
    }
    store.commit(Scope::Installation, vec![update(id(2)), update(id(3))]).await?;
    let by_filter = Change::UpdateWhere { collection: &TASKS, filter: Filter::ALL, assignments: touch() };
    let outcomes = store.commit(scope(OURS), vec![by_filter]).await?;
    ensure_equal!(outcomes, vec![crate::store::Outcome::Touched(2)], "update by filter in our scope");
    let claimed = claimed_ids(&store, scope(THEIRS)).await?;
    ensure_equal!(claimed, vec![id(2), id(5)], "claimed in their scope");
    let removal = Change::DeleteWhere { collection: &TASKS, filter: Filter::ALL };
    let outcomes = store.commit(scope(THEIRS), vec![removal]).await?;
    ensure_equal!(outcomes, vec![crate::store::Outcome::Touched(2)], "delete by filter in their scope");
    let claimed = claimed_ids(&store, Scope::Installation).await?;
    ensure_equal!(claimed, vec![id(1), id(3), id(4), id(6)], "claimed in the installation's scope");
    Ok(())
}

async fn claimed_ids(store: &SharedStore, scope: Scope) -> Result<Vec<Uuid>, Failure> {
    let set = [(task::CLAIMED_BY, Value::Text("me".to_owned()))];
    let mut ids: Vec<Uuid> =
        store.claim(scope, &TASKS, &Filter::ALL, &[], 100, &set).await?.iter().map(Row::id).collect();
    ids.sort();
    Ok(ids)
}
