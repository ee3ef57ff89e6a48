//! Reading: by id, by page, as a stream, and counting.

use std::{collections::HashMap, sync::Arc};

use crm_core::store::{
    Collection, Filter, Page, Position, Query, Row, Scope, StoreResult,
    evaluate::{check_filter, check_query, visible_organization},
};
use futures::{StreamExt as _, TryStreamExt as _, stream, stream::BoxStream};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::{
    compile::Rows,
    failure,
    plan::Plan,
    pool::{Pool, missing_row},
    row,
    statement::Statement,
    store::SqliteStore,
};

/// How many rows a stream reads at a time.
const BATCH: usize = 500;
/// How many ids one statement asks for.
const IDS: usize = 500;

pub(crate) async fn get(
    store: &SqliteStore,
    scope: Scope,
    collection: &'static Collection,
    ids: &[Uuid],
) -> StoreResult<Vec<Row>> {
    let organization = visible_organization(scope, collection)?;
    let layout = store.layouts.of(collection);
    let statement = |ids: &[Uuid]| {
        let mut statement = Statement::new("SELECT ");
        statement.push(&layout.selected).push(" FROM ").push(&layout.table).push(" AS t WHERE ");
        if let Some(organization) = organization {
            statement.push("t.\"organization_id\" = ").bind_id(organization).push(" AND ");
        }
        if let [id] = ids {
            statement.push("t.\"id\" = ").bind_id(*id);
        } else {
            statement.push("t.\"id\" IN (");
            for place in 0..ids.len().next_power_of_two() {
                statement.comma(place).bind_id(ids[place.min(ids.len() - 1)]);
            }
            statement.push(")");
        }
        statement
    };
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut reader = store.pool.acquire().await?;
    if let [id] = ids {
        let row = reader.first(statement(&[*id])).await?;
        reader.release();
        return row.map(|row| row::decode(collection.fields, &row)).into_iter().collect();
    }
    let mut found: HashMap<Uuid, Row> = HashMap::with_capacity(ids.len());
    for ids in ids.chunks(IDS) {
        for row in reader.all(statement(ids)).await? {
            let row = row::decode(collection.fields, &row)?;
            found.insert(row.id(), row);
        }
    }
    reader.release();
    Ok(ids.iter().filter_map(|id| found.get(id).cloned()).collect())
}

/// The statements that read what a query asks for, one after the other, without its limit; and whether they are slow.
pub(crate) fn statements(
    store: &SqliteStore,
    scope: Scope,
    collection: &'static Collection,
    query: &Query,
) -> StoreResult<(Vec<Statement>, bool)> {
    let organization = visible_organization(scope, collection)?;
    check_query(collection, query)?;
    let layout = store.layouts.of(collection);
    let mut rows = Rows::new(&store.layouts, &layout, organization, &query.filter);
    rows.literal_organization |= layout.is_tenant() && query.sort.iter().any(|sort| sort.field.key.is_some());
    let plan = Plan::new(&rows, query, |field| store.custom_index(collection, organization, field));
    let mut statements = Vec::with_capacity(plan.blocks());
    for block in 0..plan.blocks() {
        let mut statement = Statement::new("SELECT ");
        statement.push(&layout.selected);
        plan.push_block(&mut statement, &rows, block)?;
        statements.push(statement);
    }
    Ok((statements, plan.is_slow()))
}

pub(crate) async fn find(
    store: &SqliteStore,
    scope: Scope,
    collection: &'static Collection,
    query: &Query,
) -> StoreResult<Page> {
    match read_page(store, scope, collection, query).await {
        Err(error) if store.forget_dropped_index(&error) => read_page(store, scope, collection, query).await,
        page => page,
    }
}

async fn read_page(
    store: &SqliteStore,
    scope: Scope,
    collection: &'static Collection,
    query: &Query,
) -> StoreResult<Page> {
    let (statements, slow) = statements(store, scope, collection, query)?;
    let wanted = query.limit.saturating_add(1);
    // An offset counts over all blocks, so with several of them the rows are counted here.
    let several = statements.len() > 1;
    let mut left_out = if several { usize::try_from(query.skip).unwrap_or(usize::MAX) } else { 0 };
    let mut page = Page { slow, ..Page::default() };
    let mut reader = store.pool.acquire().await?;
    for mut statement in statements {
        let missing = wanted - page.rows.len();
        push_limit(&mut statement, missing.saturating_add(left_out), if several { 0 } else { query.skip });
        let found = reader.all(statement).await?;
        let skipped = left_out.min(found.len());
        left_out -= skipped;
        for row in &found[skipped..] {
            page.rows.push(row::decode(collection.fields, row)?);
        }
        if page.rows.len() >= wanted {
            break;
        }
    }
    reader.release();
    page.has_more = page.rows.len() > query.limit;
    page.rows.truncate(query.limit);
    Ok(page)
}

/// A limit up to this stands in the text.
const WRITTEN_LIMIT: usize = 1001;

/// SQLite plans by the value of a bound limit, and so prepares the statement anew whenever it is bound, which costs as
/// much as reading the page. The few limits that lists have are written out instead.
fn push_limit(statement: &mut Statement, limit: usize, skip: u64) {
    statement.push(" LIMIT ");
    if limit <= WRITTEN_LIMIT {
        statement.push(&limit.to_string());
    } else {
        statement.bind_integer(i64::try_from(limit).unwrap_or(i64::MAX));
    }
    if skip > 0 {
        statement.push(" OFFSET ").bind_integer(i64::try_from(skip).unwrap_or(i64::MAX));
    }
}

pub(crate) fn stream<'a>(
    store: &'a SqliteStore,
    scope: Scope,
    collection: &'static Collection,
    query: Query,
) -> BoxStream<'a, StoreResult<Row>> {
    // By id a row keeps its place whatever is written meanwhile, so the stream is read in batches and holds nothing
    // between them. In another order a row could move ahead and appear twice: there, one statement sees one state.
    if query.sort.is_empty() {
        by_id(store, scope, collection, query)
    } else {
        match sorted(store, scope, collection, &query) {
            Ok(receiver) => {
                stream::unfold(receiver, |mut receiver| async move { receiver.recv().await.map(|row| (row, receiver)) })
                    .boxed()
            }
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }
}

fn by_id<'a>(
    store: &'a SqliteStore,
    scope: Scope,
    collection: &'static Collection,
    query: Query,
) -> BoxStream<'a, StoreResult<Row>> {
    let limit = if query.limit == 0 { usize::MAX } else { query.limit };
    stream::try_unfold((query, limit), move |(mut query, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        query.limit = left.min(BATCH);
        let page = find(store, scope, collection, &query).await?;
        query.skip = 0;
        query.after = page.rows.last().map(|row| Position::of_id(row.id()));
        let left = if page.has_more { left - page.rows.len() } else { 0 };
        Ok(Some((stream::iter(page.rows.into_iter().map(Ok)), (query, left))))
    })
    .try_flatten()
    .boxed()
}

/// Reads in one state of the database, in a task of its own: the rows wait for whoever takes them, and the reading ends
/// when nobody does any more.
fn sorted(
    store: &SqliteStore,
    scope: Scope,
    collection: &'static Collection,
    query: &Query,
) -> StoreResult<mpsc::Receiver<StoreResult<Row>>> {
    let (statements, _) = statements(store, scope, collection, query)?;
    let (sender, receiver) = mpsc::channel(64);
    let skip = usize::try_from(query.skip).unwrap_or(usize::MAX);
    let limit = if query.limit == 0 { usize::MAX } else { query.limit };
    let pool = Arc::clone(&store.pool);
    tokio::spawn(async move {
        if let Err(error) = send_rows(&pool, collection, statements, skip, limit, &sender).await {
            // Where nobody listens any more, nobody misses the error.
            drop(sender.send(Err(error)).await);
        }
    });
    Ok(receiver)
}

async fn send_rows(
    pool: &Pool,
    collection: &'static Collection,
    statements: Vec<Statement>,
    mut skip: usize,
    mut limit: usize,
    sender: &mpsc::Sender<StoreResult<Row>>,
) -> StoreResult<()> {
    let mut reader = pool.acquire().await?;
    reader.all(Statement::new("BEGIN")).await?;
    for statement in statements {
        let mut rows = reader.rows(statement)?;
        while let Some(row) = rows.next().await {
            let row = row.map_err(failure::running)?;
            if skip > 0 {
                skip -= 1;
                continue;
            }
            // A reader that is dropped here is closed, and its transaction with it.
            if limit == 0 || sender.send(Ok(row::decode(collection.fields, &row)?)).await.is_err() {
                return Ok(());
            }
            limit -= 1;
        }
    }
    reader.all(Statement::new("COMMIT")).await?;
    reader.release();
    Ok(())
}

pub(crate) async fn count(
    store: &SqliteStore,
    scope: Scope,
    collection: &'static Collection,
    filter: &Filter,
) -> StoreResult<u64> {
    let organization = visible_organization(scope, collection)?;
    check_filter(collection, filter)?;
    let layout = store.layouts.of(collection);
    let rows = Rows::new(&store.layouts, &layout, organization, filter);
    let mut statement = Statement::new("SELECT count(*) FROM ");
    rows.push_table(&mut statement, filter);
    rows.push_where(&mut statement, filter)?;
    let mut reader = store.pool.acquire().await?;
    let row = reader.first(statement).await?.ok_or_else(missing_row)?;
    reader.release();
    Ok(u64::try_from(row::integer(&row, 0)?).unwrap_or(0))
}
