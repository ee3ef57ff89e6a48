//! Reading: by id, by page, as a stream, and counting.

use std::collections::{HashMap, HashSet};

use crm_core::store::{
    Collection, Filter, Page, Query, Row, Scope, StoreResult, Value,
    evaluate::{check_filter, check_query, visible_organization},
};
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, future::BoxFuture, stream, stream::BoxStream};
use sqlx::postgres::PgRow;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::{
    compile::Rows,
    failure,
    layout::Layout,
    plan::Plan,
    pool::{Pool, Session, missing_row},
    row,
    statement::Statement,
    store::PostgresStore,
};

/// How many rows of a stream wait for whoever takes them.
const AHEAD: usize = 256;

/// What a statement is asked for.
enum Wanted {
    All,
    First,
}

/// Runs a statement that only reads. A connection that was lost while it waited to be lent is no reason to fail: reading
/// twice is harmless, so one more is tried.
async fn read(pool: &Pool, statement: Statement, wanted: Wanted) -> StoreResult<Vec<PgRow>> {
    let mut session = pool.acquire().await?;
    let again = session.is_stale().then(|| statement.clone());
    match ask(&mut session, statement, &wanted).await {
        Ok(rows) => {
            session.release();
            Ok(rows)
        }
        Err(error) if failure::is_lost(&error) => {
            drop(session);
            pool.forget_idle();
            let Some(statement) = again else { return Err(failure::running(error)) };
            let mut session = pool.acquire_new().await?;
            let rows = ask(&mut session, statement, &wanted).await.map_err(failure::running)?;
            session.release();
            Ok(rows)
        }
        Err(error) => {
            // The server has ended the statement and is ready for the next.
            session.release();
            Err(failure::running(error))
        }
    }
}

async fn ask(session: &mut Session<'_>, statement: Statement, wanted: &Wanted) -> sqlx::Result<Vec<PgRow>> {
    match wanted {
        Wanted::All => session.all(statement).await,
        Wanted::First => Ok(session.first(statement).await?.into_iter().collect()),
    }
}

pub(crate) async fn all(pool: &Pool, statement: Statement) -> StoreResult<Vec<PgRow>> {
    read(pool, statement, Wanted::All).await
}

pub(crate) async fn get(
    store: &PostgresStore,
    scope: Scope,
    collection: &'static Collection,
    ids: &[Uuid],
) -> StoreResult<Vec<Row>> {
    let organization = visible_organization(scope, collection)?;
    let layout = store.layouts.of(collection);
    let mut statement = Statement::new("SELECT ");
    statement.push(&layout.selected).push(" FROM ").push(&layout.table).push(" AS t WHERE ");
    if let Some(organization) = organization {
        statement.push("t.\"organization_id\" = ").bind_id(organization).push(" AND ");
    }
    match ids {
        [] => Ok(Vec::new()),
        [id] => {
            statement.push("t.\"id\" = ").bind_id(*id);
            let rows = read(&store.pool, statement, Wanted::First).await?;
            rows.iter().map(|row| row::decode(collection.fields, row)).collect()
        }
        ids => {
            let values: Vec<Value> = ids.iter().map(|id| Value::Id(*id)).collect();
            statement.push("t.\"id\" = ANY(").bind_array(crm_core::store::FieldKind::Id, values.iter()).push(")");
            let mut found: HashMap<Uuid, Row> = HashMap::with_capacity(ids.len());
            for row in all(&store.pool, statement).await? {
                let row = row::decode(collection.fields, &row)?;
                found.insert(row.id(), row);
            }
            Ok(ids.iter().filter_map(|id| found.remove(id)).collect())
        }
    }
}

/// A query that fits the collection, ready to be written.
pub(crate) struct Reading<'a> {
    rows: Rows<'a>,
    pub(crate) plan: Plan<'a>,
}

impl<'a> Reading<'a> {
    pub(crate) fn new(
        store: &'a PostgresStore,
        layout: &'a Layout,
        scope: Scope,
        query: &Query,
        whole_texts: bool,
    ) -> StoreResult<Self> {
        let collection = layout.collection;
        let organization = visible_organization(scope, collection)?;
        check_query(collection, query)?;
        let mut rows = Rows::new(&store.layouts, layout, organization, &query.filter);
        rows.literal_organization |= layout.is_tenant() && query.sort.iter().any(|sort| sort.field.key.is_some());
        let plan =
            Plan::new(&rows, query, whole_texts, |field| store.has_custom_index(collection, organization, field));
        Ok(Self { rows, plan })
    }

    /// The statement that reads a range, without its limit.
    pub(crate) fn statement(&self, block: usize) -> StoreResult<Statement> {
        let mut statement = Statement::new("");
        self.plan.push_block(&mut statement, &self.rows, &self.rows.layout.selected, block)?;
        Ok(statement)
    }
}

pub(crate) async fn find(
    store: &PostgresStore,
    scope: Scope,
    collection: &'static Collection,
    query: &Query,
) -> StoreResult<Page> {
    let layout = store.layouts.of(collection);
    let reading = Reading::new(store, &layout, scope, query, false)?;
    let (mut page, misled) = read_page(store, collection, query, &reading).await?;
    if misled {
        let whole = Reading::new(store, &layout, scope, query, true)?;
        let slow = page.slow;
        (page, _) = read_page(store, collection, query, &whole).await?;
        page.slow = slow;
    }
    Ok(page)
}

/// Reads a page; answers also whether long texts make its order wrong.
async fn read_page(
    store: &PostgresStore,
    collection: &'static Collection,
    query: &Query,
    reading: &Reading<'_>,
) -> StoreResult<(Page, bool)> {
    let wanted = query.limit.saturating_add(1);
    // An offset counts over all ranges, so with several of them the rows are counted here.
    let several = reading.plan.blocks() > 1;
    let mut left_out = if several { usize::try_from(query.skip).unwrap_or(usize::MAX) } else { 0 };
    let mut page = Page { slow: reading.plan.is_slow(), ..Page::default() };
    for block in 0..reading.plan.blocks() {
        let mut statement = reading.statement(block)?;
        let missing = wanted - page.rows.len();
        push_limit(&mut statement, missing.saturating_add(left_out), if several { 0 } else { query.skip });
        let found = all(&store.pool, statement).await?;
        let skipped = left_out.min(found.len());
        left_out -= skipped;
        let found = found[skipped..].iter().map(|row| row::decode(collection.fields, row));
        let found = found.collect::<StoreResult<Vec<_>>>()?;
        let was_full = found.len() >= missing;
        let had = add_new(&mut page.rows, found);
        // What was found again has taken the place of others.
        page.has_more = had && was_full;
        if page.rows.len() >= wanted {
            break;
        }
    }
    let misled = reading.plan.is_misled(query, &page.rows);
    page.has_more |= page.rows.len() > query.limit;
    page.rows.truncate(query.limit);
    Ok((page, misled))
}

/// Adds the rows that the page does not have yet; answers whether it had any. Each range is read in a state of its own,
/// so a row that moves from one to another meanwhile is found twice.
fn add_new(page: &mut Vec<Row>, mut found: Vec<Row>) -> bool {
    let ids: HashSet<Uuid> = page.iter().map(Row::id).collect();
    let count = found.len();
    if !ids.is_empty() {
        found.retain(|row| !ids.contains(&row.id()));
    }
    let had = found.len() < count;
    page.append(&mut found);
    had
}

/// A limit up to this stands in the text.
const WRITTEN_LIMIT: usize = 1001;

/// The plan of a prepared statement knows nothing of a bound limit, and so thinks of a tenth of all rows. The few limits
/// that lists have are written out instead.
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

/// One statement for each range, in one state of the database, its rows sent as the server finds them.
pub(crate) fn stream<'a>(
    store: &'a PostgresStore,
    scope: Scope,
    collection: &'static Collection,
    query: &Query,
) -> BoxStream<'a, StoreResult<Row>> {
    let statements = {
        let layout = store.layouts.of(collection);
        Reading::new(store, &layout, scope, query, true).and_then(|reading| {
            let write = |block| {
                let mut statement = reading.statement(block)?;
                if query.limit > 0 {
                    let skip = usize::try_from(query.skip).unwrap_or(usize::MAX);
                    push_limit(&mut statement, query.limit.saturating_add(skip), 0);
                }
                Ok(statement)
            };
            (0..reading.plan.blocks()).map(write).collect::<StoreResult<Vec<_>>>()
        })
    };
    let statements = match statements {
        Ok(statements) => statements,
        Err(error) => return stream::iter([Err(error)]).boxed(),
    };
    let (sender, receiver) = mpsc::channel(AHEAD);
    let reading = send_rows(&store.pool, collection, statements, query.skip, query.limit, sender);
    let rows = stream::unfold(receiver, |mut receiver| async move { receiver.recv().await.map(|row| (row, receiver)) });
    // The reading goes on only while somebody reads: both are one stream.
    let reading = reading.into_stream().filter_map(|done: StoreResult<()>| async move { done.err().map(Err) });
    stream::select(rows, reading).boxed()
}

fn send_rows<'a>(
    pool: &'a Pool,
    collection: &'static Collection,
    statements: Vec<Statement>,
    skip: u64,
    limit: usize,
    sender: mpsc::Sender<StoreResult<Row>>,
) -> BoxFuture<'a, StoreResult<()>> {
    async move {
        let mut skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let mut limit = if limit == 0 { usize::MAX } else { limit };
        let mut session = pool.acquire_for_stream().await?;
        session
            .run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0")
            .await
            .map_err(failure::running)?;
        for statement in statements {
            let mut rows = session.rows(statement).map_err(failure::running)?;
            while let Some(row) = rows.try_next().await.map_err(failure::running)? {
                if skip > 0 {
                    skip -= 1;
                    continue;
                }
                // A session that is dropped here is closed, and the server stops.
                if limit == 0 || sender.send(row::decode(collection.fields, &row)).await.is_err() {
                    return Ok(());
                }
                limit -= 1;
            }
        }
        session.run("COMMIT").await.map_err(failure::running)?;
        session.release();
        Ok(())
    }
    .boxed()
}

pub(crate) async fn count(
    store: &PostgresStore,
    scope: Scope,
    collection: &'static Collection,
    filter: &Filter,
) -> StoreResult<u64> {
    let organization = visible_organization(scope, collection)?;
    check_filter(collection, filter)?;
    let layout = store.layouts.of(collection);
    let rows = Rows::new(&store.layouts, &layout, organization, filter);
    let mut statement = Statement::new("SELECT count(*) FROM ");
    rows.push_table(&mut statement);
    rows.push_where(&mut statement, filter)?;
    let rows = read(&store.pool, statement, Wanted::First).await?;
    let row = rows.first().ok_or_else(missing_row)?;
    Ok(u64::try_from(row::integer(row, 0)?).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_moved_between_ranges_is_on_the_page_once() {
        let row = |number: u128| Row(vec![Value::Id(Uuid::from_u128(number))]);
        let mut page = Vec::new();
        assert!(!add_new(&mut page, vec![row(1), row(2)]));
        assert!(add_new(&mut page, vec![row(3), row(1), row(4)]));
        assert!(!add_new(&mut page, vec![row(5)]));
        assert_eq!(page, [1, 2, 3, 4, 5].map(row));
    }
}
