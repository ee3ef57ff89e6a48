//! Bringing a database to the declarations: what is missing is added, what is derived is made anew where it differs.
//!
//! Tables and columns come in one transaction, so that a start that fails there leaves the database as it was. The rest
//! comes beside running work, in steps that the next start goes on with where one does not finish: the shadows of rows
//! that had none, batch by batch; then each table of elements; then each index on a table that has rows. Everything
//! happens under one lock, so that programs that start at once come one after the other.
//!
//! Whoever wants a table that is waited for to be changed waits behind the change. So a change waits for a moment only,
//! lets the others through, and is tried again.

mod shadows;

use std::time::Duration;

use crm_core::store::{Collection, Field, Progress, StoreError, StoreResult, UniqueKey, evaluate::check_collection};
use sqlx::{Row as _, postgres::PgRow};
use tokio::time::sleep;

use crate::{
    failure,
    layout::{Layout, Layouts},
    options::PostgresOptions,
    pool::{Pool, Session},
    row::integer,
    schema::{self, Derived, Item, MIGRATIONS},
    statement::{Statement, identifier, literal},
};

/// The oldest version of the server, as it numbers them.
const OLDEST: i64 = 130_000;
/// The lock of everybody who migrates: "CRMs".
const LOCK: i64 = 0x4352_4d73;
/// How long is waited before the lock is asked for again.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a change waits for those who use a table.
const MOMENT: &str = "2s";
/// How often it is tried again, and how long the others are let through in between.
const TURNS: (u32, Duration) = (60, Duration::from_secs(1));

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
    check_version(options, integer(&row, 0)?, &text(1)?)?;
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

/// Whether the server is new enough, by its number and by the name that people know it by.
fn check_version(options: &PostgresOptions, number: i64, name: &str) -> StoreResult<()> {
    if number >= OLDEST {
        return Ok(());
    }
    let server = options.server();
    Err(StoreError::Unusable(format!(
        "the server at {server} is PostgreSQL {name}: this program needs version {} or newer",
        OLDEST / 10_000
    )))
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
    let mut run = Run { session: pool.acquire_new().await?, pool, progress, stopped_by_others: false };
    run.take_turn().await?;
    let mut turn = 0;
    let later = loop {
        run.begin().await?;
        let made = run.tables(layouts, collections).await;
        if let Some(later) = run.end(made, &mut turn).await? {
            break later;
        }
    };
    for collection in collections {
        let layout = layouts.of(collection);
        // What is kept in tables of elements and indexes is copied from the shadows.
        run.fill_shadows(&layout).await?;
        run.elements(&layout).await?;
    }
    for (collection, index) in later {
        progress(&index.name, 0, 1);
        run.build(&layouts.of(collection), &index).await?;
        progress(&index.name, 1, 1);
    }
    let total = collections.len() as u64;
    progress("schema", total, total);
    // Closed rather than given back: the lock ends with the connection.
    Ok(())
}

struct Run<'a> {
    session: Session<'a>,
    pool: &'a Pool,
    progress: Progress<'a>,
    /// Whether the last statement that failed did so because of others.
    stopped_by_others: bool,
}

impl Run<'_> {
    async fn execute(&mut self, sql: &str) -> StoreResult<()> {
        let done = self.session.run(sql).await;
        done.map_err(|error| self.failed(error))
    }

    async fn all(&mut self, statement: Statement) -> StoreResult<Vec<PgRow>> {
        let rows = self.session.all(statement).await;
        rows.map_err(|error| self.failed(error))
    }

    fn failed(&mut self, error: sqlx::Error) -> StoreError {
        self.stopped_by_others = failure::is_contention(&error) || failure::is_locked(&error);
        failure::starting(&self.pool.options, error)
    }

    /// Begins a transaction that waits for others for a moment only.
    async fn begin(&mut self) -> StoreResult<()> {
        self.execute(&format!("BEGIN; SET LOCAL lock_timeout = '{MOMENT}'")).await
    }

    /// Ends a transaction with what it made. Nothing where others were in its way, so that it is to be begun again;
    /// `turn` counts how often.
    async fn end<T>(&mut self, made: StoreResult<T>, turn: &mut u32) -> StoreResult<Option<T>> {
        match made {
            Ok(made) => {
                self.execute("COMMIT").await?;
                Ok(Some(made))
            }
            Err(_) if self.stopped_by_others && *turn < TURNS.0 => {
                *turn += 1;
                self.stopped_by_others = false;
                self.execute("ROLLBACK").await?;
                (self.progress)("waiting for others", u64::from(*turn), u64::from(TURNS.0));
                sleep(TURNS.1).await;
                Ok(None)
            }
            // A connection that is dropped takes its transaction back.
            Err(error) => Err(error),
        }
    }

    /// Waits for the lock. A statement that waits would be waited for by the building of indexes, so it is asked for
    /// again and again.
    async fn take_turn(&mut self) -> StoreResult<()> {
        let patient = self.session.take_time().await;
        patient.map_err(|error| self.failed(error))?;
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

    /// Makes the tables, or adds what they lack; answers the indexes that are to be built beside running work.
    async fn tables(
        &mut self,
        layouts: &Layouts,
        collections: &'static [&'static Collection],
    ) -> StoreResult<Vec<(&'static Collection, Item)>> {
        self.number().await?;
        let total = collections.len() as u64;
        let mut later = Vec::new();
        for (done, collection) in collections.iter().enumerate() {
            (self.progress)(collection.name, done as u64, total);
            let indexes = self.collection(&layouts.of(collection)).await?;
            later.extend(indexes.into_iter().map(|index| (*collection, index)));
        }
        Ok(later)
    }

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
        Ok(later)
    }

    /// Makes the tables of elements that are not there as declared. Meanwhile the collection is read but not written.
    async fn elements(&mut self, layout: &Layout) -> StoreResult<()> {
        for derived in schema::derived(layout) {
            // What keeps the table is part of what it is.
            let whole = [std::slice::from_ref(&derived.table.sql), &derived.parts].concat().join(";\n");
            let item = Item { name: derived.table.name.clone(), sql: whole };
            if self.is_as_declared("TABLE", &item).await? {
                continue;
            }
            (self.progress)(&item.name, 0, 1);
            let mut turn = 0;
            loop {
                self.begin().await?;
                let made = self.derive(layout, &derived, &item).await;
                if self.end(made, &mut turn).await?.is_some() {
                    break;
                }
            }
            (self.progress)(&item.name, 1, 1);
        }
        Ok(())
    }

    async fn derive(&mut self, layout: &Layout, derived: &Derived, item: &Item) -> StoreResult<()> {
        // First the collection's table, as everybody who writes.
        self.execute(&format!("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE", layout.table)).await?;
        self.execute(&format!("DROP TABLE IF EXISTS {}", identifier(&item.name))).await?;
        self.execute(&item.sql).await?;
        self.execute(&derived.fill).await?;
        self.note("TABLE", item).await
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
    async fn build(&mut self, layout: &Layout, index: &Item) -> StoreResult<()> {
        let drop = format!("DROP INDEX CONCURRENTLY IF EXISTS {}", identifier(&index.name));
        self.execute(&drop).await?;
        let built = self.session.run(&index.sql.replacen("INDEX ", "INDEX CONCURRENTLY ", 1)).await;
        match built {
            Ok(()) => self.note("INDEX", index).await,
            Err(error) if failure::is_taken(&error) => {
                // What was left of it would go on refusing rows.
                self.execute(&drop).await?;
                let key =
                    layout.collection.unique.iter().find(|key| schema::unique_name(layout, key.name) == index.name);
                Err(key.map_or_else(|| failure::running(error), |key| self.doubled(layout, key)))
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    fn doubled(&self, layout: &Layout, key: &UniqueKey) -> StoreError {
        let tenant = layout.is_tenant().then_some("organization_id");
        let columns: Vec<String> = tenant.into_iter().chain(key.fields.iter().copied()).map(identifier).collect();
        let columns = columns.join(", ");
        StoreError::Unusable(format!(
            "the database {}: {} has rows with the same {}, of which the key {} allows one: find them with SELECT              {columns}, count(*) FROM {} GROUP BY {columns} HAVING count(*) > 1, change or remove all but one, and start \
             again",
            self.pool.options.database(),
            layout.collection.name,
            key.fields.join(" and "),
            key.name,
            layout.table
        ))
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
        for (name, sql_type) in schema::shadow_columns(layout) {
            if find(&name).is_none() {
                self.add_shadow(layout, &identifier(&name), sql_type).await?;
            }
        }
        Ok(())
    }

    fn cannot(&self, layout: &Layout, field: &Field, why: &str) -> StoreError {
        StoreError::Unusable(format!(
            "the database {}: the column {}.{} {why}, and this program has no migration for that; nothing was changed",
            self.pool.options.database(),
            layout.collection.name,
            field.name
        ))
    }
}

fn described(kind: &str, item: &Item) -> String {
    format!("{} made by: {}", kind.to_lowercase(), item.sql)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_before_version_13_are_refused() {
        let options = PostgresOptions::parse("postgres://u:hidden@db.example.com/crm").unwrap();
        for (number, name) in [(130_000, "13.0"), (130_012, "13.12"), (180_001, "18.1 (Debian 18.1-1)")] {
            assert!(check_version(&options, number, name).is_ok(), "{name}");
        }
        for (number, name) in [(90_624, "9.6.24"), (120_022, "12.22")] {
            let Err(StoreError::Unusable(said)) = check_version(&options, number, name) else { panic!("{name}") };
            let wanted =
                format!("the server at db.example.com:5432 is PostgreSQL {name}: this program needs version 13");
            assert!(said.starts_with(&wanted), "{said}");
        }
    }
}
