//! Transactions: run again where others were in the way, and found out about where the connection broke.

use bson::{Bson, RawDocumentBuf, doc};
use crm_core::store::{
    Assignment, Change, Collection, Filter, Outcome, Query, Row, Scope, StoreError, StoreResult, Value,
    evaluate::{self, check_claim, visible_organization},
    head,
};
use mongodb::{
    error::ErrorKind,
    options::{ReadConcern, WriteConcern},
};
use tokio::time::Instant;

use crate::{
    compile::Rows,
    failure,
    read::{self, Reading},
    related::related,
    session::{Fault, Pause, Session, is_past, limited, limited_write},
    store::MongoStore,
    write::{Program, Step, Update, at_version, is_of_one_record, refused, update_document},
};

pub(crate) async fn commit(store: &MongoStore, scope: Scope, changes: &[Change]) -> StoreResult<Vec<Outcome>> {
    let (mut program, mut is_as_given) = match Program::new(store, scope, changes)?.contended_first(changes) {
        Ok(program) => (program, false),
        Err(program) => (program, true),
    };
    let deadline = Instant::now() + store.options.commit_deadline;
    let mut pause = Pause::default();
    loop {
        let done = match program.steps.as_slice() {
            [] => return Ok(program.outcomes(None)),
            [step] if is_atomic(step) => match alone(store, &program, step, deadline).await {
                Ok(Some(outcomes)) => return Ok(outcomes),
                // The record was changed between the attempt and the look at why it failed.
                Ok(None) if is_past(deadline) => return Err(failure::crowded()),
                Ok(None) => {
                    pause.wait().await;
                    continue;
                }
                Err(fault) => Err(fault),
            },
            _ => together(store, &program, deadline).await,
        };
        match done {
            Ok(outcomes) => return Ok(outcomes),
            Err(fault) if is_past(deadline) || !is_worth_another_try(&fault) => {
                let error = fault.into();
                if is_as_given || !is_refusal(&error) {
                    return Err(error);
                }
                // What refuses it first is told in the order given.
                (program, is_as_given) = (Program::new(store, scope, changes)?, true);
            }
            Err(_) => pause.wait().await,
        }
    }
}

/// Whether the records as they are do not allow the commit.
const fn is_refusal(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::Duplicate { .. }
            | StoreError::NotFound { .. }
            | StoreError::VersionConflict { .. }
            | StoreError::Unmet { .. }
    )
}

/// Whether nothing was written and trying again may succeed soon. Where there is no server to write to, the driver has
/// waited for one already.
fn is_worth_another_try(fault: &Fault) -> bool {
    fault.driver().is_some_and(|error| {
        failure::is_transient(error) && !matches!(error.kind.as_ref(), ErrorKind::ServerSelection { .. })
    })
}

/// Whether one command does it all, which then needs no transaction.
fn is_atomic(step: &Step<'_>) -> bool {
    match step {
        Step::Insert { documents, .. } => documents.len() == 1,
        Step::Change { change: Change::Update { condition, .. }, .. } => {
            condition.as_ref().is_none_or(|(filter, _)| is_of_one_record(filter))
        }
        Step::Change { change: Change::Delete { .. }, .. } => true,
        Step::Change { .. } => false,
    }
}

/// Does the only step of a program. Nothing where the record was changed between the attempt and the look at why it
/// failed.
async fn alone(
    store: &MongoStore,
    program: &Program<'_>,
    step: &Step<'_>,
    deadline: Instant,
) -> Result<Option<Vec<Outcome>>, Fault> {
    let (place, change, layout) = match step {
        Step::Insert { layout, documents } => {
            for document in documents {
                insert(store, layout.collection, document, deadline).await?;
            }
            return Ok(Some(program.outcomes(None)));
        }
        Step::Change { place, change, layout } => (*place, *change, layout),
    };
    let rows = Rows { layout, organization: visible_organization(program.scope(), layout.collection)? };
    let collection = store.collection(layout.collection);
    let mut session = Session { store, session: store.client.start_session().await? };
    match change {
        Change::Update { id, expected_version, condition, assignments, .. } => {
            let update = Update::new(rows, place, *id, *expected_version, condition.clone(), assignments)?;
            let changed = limited_write(store, update.run(&collection, None, store.options.operation_timeout));
            let changed = changed.await?.map_err(not_sent_or_unknown)?;
            let outcome = match changed {
                Some(version) => Some(Outcome::Updated { version }),
                None => limited(store, update.explain(&mut session)).await??,
            };
            Ok(outcome.map(|outcome| program.outcomes(Some((place, outcome)))))
        }
        Change::Delete { id, expected_version, .. } => {
            let removal = collection.delete_one(at_version(rows.record(*id), *expected_version));
            let removed = limited_write(store, removal).await?;
            let removed = removed.map_err(|error| not_sent_or_unknown(error.into()))?;
            if removed.deleted_count > 0 {
                return Ok(Some(program.outcomes(Some((place, Outcome::Touched(1))))));
            }
            Err(limited(store, refused(&mut session, &rows, *id, *expected_version)).await??.into())
        }
        _ => together(store, program, deadline).await.map(Some),
    }
}

/// A change of which nothing is known any more is not made again: it may have been made. One that found no server was
/// never sent.
fn not_sent_or_unknown(fault: Fault) -> Fault {
    let lost = fault.driver().is_some_and(|error| {
        failure::is_lost(error) && !matches!(error.kind.as_ref(), ErrorKind::ServerSelection { .. })
    });
    if lost { failure::unknown().into() } else { fault }
}

/// Adds one document. Where the connection breaks it is added again; that it is there then, as it was sent, means
/// that it had been added.
async fn insert(
    store: &MongoStore,
    collection: &'static Collection,
    document: &RawDocumentBuf,
    deadline: Instant,
) -> Result<(), Fault> {
    let documents = store.collection(collection);
    let mut pause = Pause::default();
    let mut lost = false;
    loop {
        let inserting = documents.insert_one(document);
        match limited_write(store, inserting).await? {
            Ok(_) => return Ok(()),
            Err(error) if failure::is_lost(&error) && !is_past(deadline) => {
                lost = true;
                pause.wait().await;
            }
            Err(error) if lost && failure::is_duplicate(&error) && is_stored(store, collection, document).await? => {
                return Ok(());
            }
            Err(error) => return Err(not_sent_or_unknown(Fault::Writing(collection, error))),
        }
    }
}

async fn is_stored(
    store: &MongoStore,
    collection: &'static Collection,
    document: &RawDocumentBuf,
) -> Result<bool, Fault> {
    let Ok(Some(id)) = document.get("_id") else { return Ok(false) };
    let id = Bson::try_from(id).map_err(StoreError::engine)?;
    let documents = store.collection(collection);
    let found = documents.find_one(doc! { "_id": id });
    let found = limited_write(store, found.max_time(store.options.operation_timeout)).await??;
    Ok(found.is_some_and(|found| found.as_bytes() == document.as_bytes()))
}

/// Does all steps in one transaction.
async fn together(store: &MongoStore, program: &Program<'_>, deadline: Instant) -> Result<Vec<Outcome>, Fault> {
    let mut session = begin(store).await?;
    match limited(store, program.run(&mut session)).await? {
        Ok(outcomes) => {
            let evidence = program.evidence();
            finish(session, evidence, deadline).await?;
            Ok(outcomes)
        }
        Err(fault) => {
            abort(session).await;
            Err(fault)
        }
    }
}

async fn begin(store: &MongoStore) -> Result<Session<'_>, Fault> {
    let mut session = store.client.start_session().await?;
    session
        .start_transaction()
        .read_concern(ReadConcern::snapshot())
        .write_concern(WriteConcern::majority())
        .max_commit_time(store.options.operation_timeout)
        .await?;
    Ok(Session { store, session })
}

/// Takes the transaction back. Where that cannot be said, the server does so by itself.
async fn abort(mut session: Session<'_>) {
    let aborting = session.session.abort_transaction();
    drop(tokio::time::timeout(std::time::Duration::from_secs(1), aborting.into_future()).await);
}

/// Commits. Where the answer is lost the server is asked again, which commits once whatever happens; `evidence` is a
/// document that is there only if the transaction was committed, should the server have forgotten it.
async fn finish(
    mut session: Session<'_>,
    evidence: Option<(&'static Collection, Bson)>,
    deadline: Instant,
) -> Result<(), Fault> {
    let mut pause = Pause::default();
    let mut unknown = false;
    loop {
        let store = session.store;
        let committing = session.session.commit_transaction();
        let error = match limited(store, committing).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error,
            Err(_) => return Err(failure::unknown().into()),
        };
        if failure::is_unknown(&error) || (unknown && failure::is_lost(&error)) {
            unknown = true;
            if is_past(deadline) {
                return Err(failure::unknown().into());
            }
            pause.wait().await;
        } else if unknown && failure::is_transient(&error) {
            if let Some((collection, id)) = evidence
                && is_there(store, collection, id, deadline).await?
            {
                return Ok(());
            }
            return Err(error.into());
        } else {
            return Err(error.into());
        }
    }
}

async fn is_there(
    store: &MongoStore,
    collection: &'static Collection,
    id: Bson,
    deadline: Instant,
) -> Result<bool, Fault> {
    let documents = store.collection(collection);
    let mut pause = Pause::default();
    loop {
        let found = documents.find_one(doc! { "_id": id.clone() });
        match limited(store, found.max_time(store.options.operation_timeout)).await {
            Ok(Ok(found)) => return Ok(found.is_some()),
            _ if is_past(deadline) => return Err(failure::unknown().into()),
            _ => pause.wait().await,
        }
    }
}

pub(crate) async fn claim(
    store: &MongoStore,
    scope: Scope,
    collection: &'static Collection,
    query: &Query,
    set: &[(usize, Value)],
) -> StoreResult<Vec<Row>> {
    let organization = visible_organization(scope, collection)?;
    check_claim(collection, &query.filter, &query.sort, set)?;
    if query.limit == 0 {
        // To MongoDB that would be no limit.
        return Ok(Vec::new());
    }
    let layout = store.layouts.of(collection);
    let rows = Rows { layout: &layout, organization };
    let assignments: Vec<Assignment> =
        set.iter().map(|(position, value)| Assignment::Set(*position, value.clone())).collect();
    // Callers of one process would only be in each other's way.
    let _turn = layout.claiming.lock().await;
    let deadline = Instant::now() + store.options.commit_deadline;
    let mut pause = Pause::default();
    let mut hinted = true;
    loop {
        let done = async {
            let mut session = begin(store).await?;
            match limited(store, take(&mut session, &rows, query, &assignments, hinted)).await? {
                Ok(taken) => {
                    finish(session, None, deadline).await?;
                    Ok(taken)
                }
                Err(fault) => {
                    abort(session).await;
                    Err(fault)
                }
            }
        };
        match done.await {
            Ok(taken) => return Ok(taken),
            Err(Fault::Store(error)) => return Err(error),
            Err(Fault::Driver(error)) if hinted && failure::is_bad_hint(&error) => hinted = false,
            Err(fault) if is_past(deadline) || !is_worth_another_try(&fault) => return Err(fault.into()),
            Err(_) => pause.wait().await,
        }
    }
}

/// Changes the first rows of the query, and answers what they are then.
async fn take(
    session: &mut Session<'_>,
    rows: &Rows<'_>,
    query: &Query,
    assignments: &[Assignment],
    hinted: bool,
) -> Result<Vec<Row>, Fault> {
    let collection = rows.layout.collection;
    let filter: std::borrow::Cow<'_, Filter> = related(session, rows.organization, &query.filter).await?;
    let reading = Reading { hinted, ..read::plan(session.store, rows.layout, rows.organization, query) };
    let mut found = read::page(session, rows, &filter, query, &reading, query.limit).await?;
    if found.is_empty() {
        return Ok(found);
    }
    let keys: Vec<Bson> =
        found.iter().map(|row| rows.layout.key(rows.organization.unwrap_or_default(), row.id())).collect();
    session
        .store
        .collection(collection)
        .update_many(doc! { "_id": { "$in": keys } }, update_document(rows.layout, assignments)?)
        .session(&mut session.session)
        .await
        .map_err(|error| Fault::Writing(collection, error))?;
    for row in &mut found {
        evaluate::apply(collection, assignments, row)?;
        row.0[head::VERSION] = Value::Integer(row.version() + 1);
    }
    Ok(found)
}
