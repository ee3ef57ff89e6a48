//! Bringing a database to the declarations: what is missing is added, what is derived is made anew where it differs.
//!
//! Tables and columns come in one transaction, so that a start that fails leaves the database as it was. Indexes on
//! tables that have rows are then built beside running work, each by itself; one that a start did not finish is built
//! anew by the next. Everything happens under one lock, so that programs that start at once come one after the other.

use std::time::Duration;

use crm_core::store::{Collection, Field, Progress, StoreError, StoreResult, evaluate::check_collection};
use sqlx::{Row as _, postgres::PgRow};
use tokio::time::sleep;

use crate::{
    failure,
    layout::{Layout, Layouts},
    pool::{Pool, Session},
    row::{Shadow, decode_column, integer},
    schema::{self, Item, MIGRATIONS},
    statement::{Statement, identifier, literal},
    write::push_shadow,
};

/// How many rows get their shadows at a time.
const BATCH: i64 = 1000;
/// The lock of everybody who migrates: "CRMs".
const LOCK: i64 = 0x4352_4d73;
/// How long is waited before the lock is asked for again.
const PAUSE: Duration = Duration::from_millis(50);

/// A step that the declarations do not tell, such as a rename. Each runs once, in order.
struct Migration {
    name: &'static str,
    statements: &'static [&'static str],
}

/// The steps so far.
const STEPS: [Migration; schema::VERSION as usize] = [Migration { name: "begin", statements: &[] }];

/// Looks whether the server and the database are ones that this program may use, changing nothing.
pub(crate) async fn check_server(pool: &Pool) -> StoreResult<()> {
    let options = &pool.options;
    let starting = |error| failure::starting(options, error);
    let mut session = pool.acquire_with(starting).await?;
    let row = session
        .first(Statement::new(
            "SELECT current_setting('server_version_num')::bigint, current_setting('server_version'), \
             current_setting('server_encoding'), pg_is_in_recovery()",
        ))
        .await
        .map_err(starting)?
        .ok_or_else(crate::pool::missing_row)?;
    let text = |column: usize| row.try_get::<String, _>(column).map_err(starting);
    if integer(&row, 0)? < 130_000 {
        return Err(StoreError::Unusable(format!(
            "the server at {} is PostgreSQL {}: this program needs version 13 or newer",
            options.server(),
            text(1)?
        )));
    }
    if text(2)? != "UTF8" {
        let name = options.database();
        return Err(StoreError::Unusable(format!(
            "the database {name} is in the encoding {}: make one in UTF-8 with createdb -T template0 -E UTF8 {name}",
            text(2)?
        )));
    }
    if row.try_get(3).map_err(starting)? {
        return Err(StoreError::Unusable(failure::read_only(options)));
    }
    behind(&mut session, pool).await?;
    session.release();
    Ok(())
}

/// How many steps the database has behind it; nothing where it has never been used.
async fn behind(session: &mut Session<'_>, pool: &Pool) -> StoreResult<Option<i64>> {
    let options = &pool.options;
    let starting = |error| failure::starting(options, error);
    let mut exists = Statement::new("SELECT to_regclass(");
    exists.push(&literal(MIGRATIONS)).push(") IS NOT NULL");
    let row = session.first(exists).await.map_err(starting)?;
    if !row.is_some_and(|row| row.try_get(0).unwrap_or(false)) {
        return Ok(None);
    }
    let query = Statement::new(&format!("SELECT coalesce(max(version),0) FROM {MIGRATIONS}"));
    let row = session.first(query).await.map_err(starting)?.ok_or_else(crate::pool::missing_row)?;
    let version = integer(&row, 0)?;
    if version > schema::VERSION {
        return Err(StoreError::Unusable(format!(
            "the database {} was written by a newer program (its schema is {version}, this program knows {}): start the \
             newer program, or restore a backup from before it; nothing was changed",
            options.database(),
            schema::VERSION
        )));
    }
    Ok(Some(version))
}

pub(crate) async fn migrate(
    pool: &Pool,
    layouts: &Layouts,
    collections: &'static [&'static Collection],
    progress: Progress<'_>,
) -> StoreResult<()> {
    for collection in collections {
        check_collection(collection)?;
    }
    let mut run = Run { session: pool.acquire_new().await?, pool, progress };
    run.take_turn().await?;
    run.execute("BEGIN").await?;
    run.number().await?;
    let total = collections.len() as u64;
    let mut later = Vec::new();
    for (done, collection) in collections.iter().enumerate() {
        progress(collection.name, done as u64, total);
        later.extend(run.collection(&layouts.of(collection)).await?);
    }
    run.execute("COMMIT").await?;
    for index in later {
        progress(&index.name, 0, 1);
        run.build(&index).await?;
        progress(&index.name, 1, 1);
    }
    progress("schema", total, total);
    // Closed rather than given back: the lock ends with the connection.
    Ok(())
}

struct Run<'a> {
    session: Session<'a>,
    pool: &'a Pool,
    progress: Progress<'a>,
}

impl Run<'_> {
    async fn execute(&mut self, sql: &str) -> StoreResult<()> {
        self.session.run(sql).await.map_err(|error| failure::starting(&self.pool.options, error))
    }

    async fn all(&mut self, statement: Statement) -> StoreResult<Vec<PgRow>> {
        self.session.all(statement).await.map_err(|error| failure::starting(&self.pool.options, error))
    }

    /// Waits for the lock. A statement that waits would be waited for by the building of indexes, so it is asked for
    /// again and again.
    async fn take_turn(&mut self) -> StoreResult<()> {
        self.execute("SET statement_timeout = 0; SET lock_timeout = '60s'").await?;
        loop {
            let mut statement = Statement::new("SELECT pg_try_advisory_lock(");
            statement.bind_integer(LOCK).push(")");
            let rows = self.all(statement).await?;
            if rows.first().is_some_and(|row| row.try_get(0).unwrap_or(false)) {
                return Ok(());
            }
            sleep(PAUSE).await;
        }
    }

    /// Runs the numbered steps that are missing.
    async fn number(&mut self) -> StoreResult<()> {
        let mut behind = behind(&mut self.session, self.pool).await?;
        if behind.is_none() {
            for sql in schema::foundation() {
                self.execute(&sql).await?;
            }
        }
        let done = usize::try_from(behind.take().unwrap_or(0)).unwrap_or(0);
        for (version, step) in (1..).zip(&STEPS).skip(done) {
            for statement in step.statements {
                self.execute(statement).await?;
            }
            let mut note = Statement::new(&format!("INSERT INTO {MIGRATIONS} (version, name) VALUES ("));
            note.bind_integer(version).push(",").bind_text(step.name).push(")");
            self.all(note).await?;
        }
        Ok(())
    }

    /// Makes the collection's table, or adds what it lacks; answers the indexes that are to be built beside running work.
    async fn collection(&mut self, layout: &Layout) -> StoreResult<Vec<Item>> {
        let columns = self.columns(layout.collection.name).await?;
        let is_new = columns.is_empty();
        if is_new {
            self.execute(&schema::table(layout)).await?;
        } else {
            self.add_columns(layout, &columns).await?;
        }
        let mut later = Vec::new();
        for index in schema::indexes(layout) {
            if !self.is_as_declared("INDEX", &index).await? {
                if is_new {
                    self.execute(&index.sql).await?;
                    self.note("INDEX", &index).await?;
                } else {
                    later.push(index);
                }
            }
        }
        for derived in schema::derived(layout) {
            // What keeps the table is part of what it is.
            let whole = [std::slice::from_ref(&derived.table.sql), &derived.parts].concat().join(";\n");
            let item = Item { name: derived.table.name.clone(), sql: whole };
            if self.is_as_declared("TABLE", &item).await? {
                continue;
            }
            (self.progress)(&item.name, 0, 1);
            self.execute(&format!("DROP TABLE IF EXISTS {}", identifier(&item.name))).await?;
            self.execute(&item.sql).await?;
            self.execute(&derived.fill).await?;
            self.note("TABLE", &item).await?;
            (self.progress)(&item.name, 1, 1);
        }
        Ok(later)
    }

    /// Whether what has the name is whole and was made by the same statement.
    async fn is_as_declared(&mut self, kind: &str, item: &Item) -> StoreResult<bool> {
        let mut statement = Statement::new(
            "SELECT coalesce(obj_description(c.oid, 'pg_class'),''), coalesce(i.indisvalid, true) FROM pg_class AS c \
             LEFT JOIN pg_index AS i ON i.indexrelid = c.oid WHERE c.oid = to_regclass(",
        );
        statement.bind_text(&identifier(&item.name)).push(")");
        let rows = self.all(statement).await?;
        let Some(row) = rows.first() else { return Ok(false) };
        let made_by: String = row.try_get(0).map_err(StoreError::engine)?;
        let whole: bool = row.try_get(1).map_err(StoreError::engine)?;
        Ok(whole && made_by == described(kind, item))
    }

    /// Keeps the statement that made something as its comment.
    async fn note(&mut self, kind: &str, item: &Item) -> StoreResult<()> {
        let comment = literal(&described(kind, item));
        self.execute(&format!("COMMENT ON {kind} {} IS {comment}", identifier(&item.name))).await
    }

    /// Builds an index on a table that others work with.
    async fn build(&mut self, index: &Item) -> StoreResult<()> {
        self.execute(&format!("DROP INDEX CONCURRENTLY IF EXISTS {}", identifier(&index.name))).await?;
        self.execute(&index.sql.replacen("INDEX ", "INDEX CONCURRENTLY ", 1)).await?;
        self.note("INDEX", index).await
    }

    /// The columns that a table has, with their types; none where there is no table.
    async fn columns(&mut self, table: &str) -> StoreResult<Vec<(String, String)>> {
        let mut statement = Statement::new(
            "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute \
             WHERE attnum > 0 AND NOT attisdropped AND attrelid = to_regclass(",
        );
        statement.bind_text(&identifier(table)).push(")");
        let rows = self.all(statement).await?;
        let text = |row: &PgRow, column: usize| row.try_get(column).map_err(StoreError::engine);
        rows.iter().map(|row| Ok((text(row, 0)?, text(row, 1)?))).collect()
    }

    /// Adds the columns that the table lacks.
    async fn add_columns(&mut self, layout: &Layout, present: &[(String, String)]) -> StoreResult<()> {
        let find = |wanted: &str| present.iter().find(|(column, _)| column == wanted).map(|(_, kind)| kind.as_str());
        for field in layout.collection.fields {
            match find(field.name) {
                Some(kind) if kind == schema::sql_type(field.kind) => {}
                Some(kind) => {
                    return Err(self.cannot(layout, field, &format!("is {kind} in the database")));
                }
                None => {
                    let Some(definition) = schema::added_column(layout, field) else {
                        return Err(self.cannot(layout, field, "has no value for the rows that are there"));
                    };
                    self.execute(&format!("ALTER TABLE {} ADD COLUMN {definition}", layout.table)).await?;
                }
            }
        }
        let mut missing = Vec::new();
        for (place, (name, sql_type)) in schema::shadow_columns(layout).enumerate() {
            if find(&name).is_none() {
                self.execute(&format!("ALTER TABLE {} ADD COLUMN {} {sql_type}", layout.table, identifier(&name)))
                    .await?;
                missing.push(place);
            }
        }
        if missing.is_empty() { Ok(()) } else { self.fill_shadows(layout, &missing).await }
    }

    fn cannot(&self, layout: &Layout, field: &Field, why: &str) -> StoreError {
        StoreError::Unusable(format!(
            "the database {}: the column {}.{} {why}, and this program has no migration for that; nothing was changed",
            self.pool.options.database(),
            layout.collection.name,
            field.name
        ))
    }

    /// Fills shadow columns that were added to a table which has rows.
    async fn fill_shadows(&mut self, layout: &Layout, missing: &[usize]) -> StoreResult<()> {
        let shadows: Vec<(&Field, Shadow)> = missing
            .iter()
            .filter_map(|place| {
                let (position, shadow) = layout.shadows.get(*place)?;
                Some((layout.collection.fields.get(*position)?, *shadow))
            })
            .collect();
        let sources: Vec<String> = shadows.iter().map(|(field, _)| identifier(field.name)).collect();
        self.execute(&format!(
            "DECLARE rows CURSOR FOR SELECT ctid::text,\"organization_id\",{} FROM {}",
            sources.join(","),
            layout.table
        ))
        .await?;
        let mut done = 0;
        loop {
            let rows = self.all(Statement::new(&format!("FETCH {BATCH} FROM rows"))).await?;
            for row in &rows {
                let place: String = row.try_get(0).map_err(StoreError::engine)?;
                let owner = decode_column(row, 1, crm_core::store::FieldKind::Id).map_err(StoreError::engine)?;
                let mut update = Statement::new("UPDATE ");
                update.push(&layout.table).push(" SET ");
                for (number, (field, shadow)) in shadows.iter().enumerate() {
                    let value = decode_column(row, number + 2, field.kind).map_err(StoreError::engine)?;
                    update.comma(number).push(&identifier(&shadow.name(field))).push(" = ");
                    push_shadow(&mut update, layout, *shadow, &owner, &value);
                }
                update.push(" WHERE ctid = ").bind_text(&place).push("::tid");
                self.all(update).await?;
            }
            done += rows.len() as u64;
            (self.progress)(layout.collection.name, done, done);
            if rows.is_empty() {
                return self.execute("CLOSE rows").await;
            }
        }
    }
}

fn described(kind: &str, item: &Item) -> String {
    format!("{} made by: {}", kind.to_lowercase(), item.sql)
}
