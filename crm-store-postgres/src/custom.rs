//! Indexes on custom fields, built beside running work.

use std::{collections::HashSet, time::Duration};

use crm_core::store::{Collection, CustomIndex, FieldKind, StoreResult, plan::Form};
use sqlx::Row as _;
use tokio::time::sleep;
use uuid::Uuid;

use crate::{
    compile::{folded_member, member},
    failure,
    layout::{Layouts, digest},
    pool::{Pool, Session},
    read, schema,
    statement::{Statement, identifier, literal},
};

/// What every such index's name begins with.
const PREFIX: &str = "custom_";
/// How often an index is begun that others got in the way of.
const ATTEMPTS: u32 = 5;
/// How long is waited for another that builds an index on the same table.
const PAUSE: Duration = Duration::from_millis(100);

/// The name of an index on a custom field: a digest of everything that it is of, which its comment spells out.
pub(crate) fn index_name(
    collection: &Collection,
    field: &str,
    key: &str,
    kind: FieldKind,
    organization: Uuid,
) -> String {
    let kind = format!("{kind:?}");
    let parts = [collection.name, field, &kind, key].map(str::as_bytes);
    let of_field = digest(parts);
    // Two digests in different orders: names must not meet by chance.
    let again = digest(parts.into_iter().rev());
    let organization = organization.simple();
    format!("{PREFIX}{organization}_{of_field:08x}{again:08x}")
}

/// The names of those that are there and whole.
pub(crate) async fn existing(pool: &Pool) -> StoreResult<HashSet<String>> {
    let mut statement = Statement::new(
        "SELECT c.relname::text FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid \
         WHERE i.indisvalid AND c.relnamespace = current_schema()::regnamespace AND starts_with(c.relname::text, ",
    );
    statement.push(&literal(PREFIX)).push(")");
    let rows = read::all(pool, statement).await?;
    rows.iter().map(|row| row.try_get(0).map_err(failure::running)).collect()
}

/// Builds the index, or keeps it; answers its name, nothing where no index would serve.
pub(crate) async fn create(
    pool: &Pool,
    layouts: &Layouts,
    organization: Uuid,
    index: &CustomIndex,
) -> StoreResult<Option<String>> {
    let value = (Form::Value, member("", index.field, &index.key, index.kind)?);
    let expressions = match index.kind {
        // Lists are looked through element by element; an index over the whole would serve no filter.
        FieldKind::TextList => return Ok(None),
        FieldKind::Text => vec![(Form::Folded, folded_member("", index.field, &index.key)?), value],
        _ => vec![value],
    };
    let name = index_name(index.collection, index.field, &index.key, index.kind, organization);
    let sql = schema::custom_index(&layouts.of(index.collection), &name, organization, &expressions);
    let comment = format!("{}.{}[{:?}] as {:?}", index.collection.name, index.field, index.key, index.kind);
    let mut session = pool.acquire_new().await?;
    take_turn(&mut session, index.collection.name).await?;
    let mut attempt = 0;
    loop {
        attempt += 1;
        // What an earlier attempt left unfinished is no index.
        if is_valid(&mut session, &name).await? == Some(false) {
            session.run(&drop_sql(&name)).await.map_err(failure::running)?;
        }
        match session.run(&sql).await {
            Ok(()) => break,
            Err(error) if failure::is_contention(&error) && attempt < ATTEMPTS => sleep(PAUSE).await,
            Err(error) => return Err(failure::running(error)),
        }
    }
    let comment = format!("COMMENT ON INDEX {} IS {}", identifier(&name), literal(&comment));
    session.run(&comment).await.map_err(failure::running)?;
    // Closed rather than given back: its locks and settings end with it.
    Ok(Some(name))
}

/// Drops the index, if it is there.
pub(crate) async fn drop(pool: &Pool, name: &str) -> StoreResult<()> {
    let mut session = pool.acquire_new().await?;
    session.take_time().await.map_err(failure::running)?;
    for attempt in 1.. {
        match session.run(&drop_sql(name)).await {
            Err(error) if failure::is_contention(&error) && attempt < ATTEMPTS => sleep(PAUSE).await,
            done => return done.map_err(failure::running),
        }
    }
    Ok(())
}

fn drop_sql(name: &str) -> String {
    format!("DROP INDEX CONCURRENTLY IF EXISTS {}", identifier(name))
}

/// Whether the index is whole; nothing where there is none.
async fn is_valid(session: &mut Session<'_>, name: &str) -> StoreResult<Option<bool>> {
    let mut statement = Statement::new("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(");
    statement.bind_text(&identifier(name)).push(")");
    let row = session.first(statement).await.map_err(failure::running)?;
    row.map(|row| row.try_get(0).map_err(failure::running)).transpose()
}

/// Waits until nobody else builds an index on the table: two at once would wait for each other. The lock is asked for
/// again and again, since a statement that waits for it would itself be waited for by the building.
async fn take_turn(session: &mut Session<'_>, table: &str) -> StoreResult<()> {
    session.take_time().await.map_err(failure::running)?;
    loop {
        let mut statement = Statement::new("SELECT pg_try_advisory_lock(");
        statement.bind_integer(i64::from(digest([PREFIX.as_bytes(), table.as_bytes()]))).push(")");
        let row = session.first(statement).await.map_err(failure::running)?;
        if row.is_some_and(|row| row.try_get(0).unwrap_or(false)) {
            return Ok(());
        }
        sleep(PAUSE).await;
    }
}
