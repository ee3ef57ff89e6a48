//! Bringing a file to the declarations: what is missing is added, what is derived is made anew where it differs.
//!
//! Everything happens in one transaction, so that a start that fails, or is killed, leaves the file as it was, and
//! two programs that start at once come one after the other. An older program that goes on beside a newer one leaves
//! columns empty that it does not know, the shadows among them, so it is to be stopped first.

use std::path::Path;

use crm_core::store::{Collection, Field, Progress, StoreError, StoreResult, Value, evaluate::check_collection};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, Row as _, SqliteConnection, sqlite::SqliteRow};

use crate::{
    failure,
    layout::{Layout, Layouts},
    options::SqliteOptions,
    row::{Shadow, decode_column},
    schema::{self, Item},
    statement::{Statement, identifier, literal},
};

/// How many rows get their shadows at a time.
const BATCH: i64 = 1000;

/// A step that the declarations do not tell, such as a rename. Each runs once, in order.
struct Migration {
    name: &'static str,
    statements: &'static [&'static str],
}

/// The steps so far: `user_version` is how many of them a file has behind it.
const MIGRATIONS: [Migration; schema::VERSION as usize] = [Migration {
    name: "begin",
    statements: &["CREATE TABLE schema_migrations (
  version INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  applied_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ'))
) STRICT"],
}];

/// Looks whether the file is one that this program may use, changing nothing.
pub(crate) async fn check_file(path: &Path, connection: &mut SqliteConnection) -> StoreResult<()> {
    let starting = |error| failure::starting(path, error);
    let mut read = async |pragma: &'static str| -> StoreResult<i64> {
        let row = connection.fetch_one(pragma).await.map_err(starting)?;
        row.try_get_unchecked(0).map_err(starting)
    };
    let version = read("PRAGMA user_version").await?;
    let application = read("PRAGMA application_id").await?;
    let tables = read("SELECT count(*) FROM sqlite_schema").await?;
    if tables > 0 && application != schema::APPLICATION_ID {
        return Err(StoreError::Unusable(failure::not_a_database(&path.display())));
    }
    if version > schema::VERSION {
        return Err(StoreError::Unusable(format!(
            "{} was written by a newer program (its schema is {version}, this program knows {}): start the newer \
             program, or restore a backup from before it; nothing was changed",
            path.display(),
            schema::VERSION
        )));
    }
    Ok(())
}

pub(crate) async fn migrate(
    options: &SqliteOptions,
    layouts: &Layouts,
    collections: &'static [&'static Collection],
    progress: Progress<'_>,
) -> StoreResult<()> {
    for collection in collections {
        check_collection(collection)?;
    }
    let path = options.path.as_path();
    let starting = |error| failure::starting(path, error);
    let mut connection = options.writer().connect().await.map_err(starting)?;
    connection.execute("BEGIN IMMEDIATE").await.map_err(starting)?;
    let mut migration = Run { connection: &mut connection, path, progress };
    // A connection that is dropped takes its transaction back.
    migration.check_and_number().await?;
    let total = collections.len() as u64;
    for (done, collection) in collections.iter().enumerate() {
        progress(collection.name, done as u64, total);
        migration.collection(&layouts.of(collection)).await?;
    }
    connection.execute("COMMIT").await.map_err(starting)?;
    progress("schema", total, total);
    connection.close().await.map_err(starting)
}

struct Run<'a> {
    connection: &'a mut SqliteConnection,
    path: &'a Path,
    progress: Progress<'a>,
}

impl Run<'_> {
    async fn execute(&mut self, sql: &str) -> StoreResult<()> {
        self.all(Statement::new(sql)).await.map(|_| ())
    }

    async fn all(&mut self, statement: Statement) -> StoreResult<Vec<SqliteRow>> {
        let starting = |error| failure::starting(self.path, error);
        let query = statement.query().map_err(starting)?.persistent(false);
        self.connection.fetch_all(query).await.map_err(starting)
    }

    /// The file may have changed between opening and the lock, so it is looked at again.
    async fn check_and_number(&mut self) -> StoreResult<()> {
        check_file(self.path, self.connection).await?;
        let behind: i64 = match self.all(Statement::new("PRAGMA user_version")).await?.first() {
            Some(row) => row.try_get_unchecked(0).map_err(StoreError::engine)?,
            None => 0,
        };
        if behind == schema::VERSION {
            return Ok(());
        }
        for (version, migration) in (1..).zip(&MIGRATIONS).skip(usize::try_from(behind).unwrap_or(0)) {
            for statement in migration.statements {
                self.execute(statement).await?;
            }
            let mut note = Statement::new("INSERT INTO schema_migrations (version, name) VALUES (");
            note.bind_integer(version).push(",").bind_text(migration.name.to_owned()).push(")");
            self.all(note).await?;
        }
        self.execute(&format!("PRAGMA user_version = {}", schema::VERSION)).await?;
        self.execute(&format!("PRAGMA application_id = {}", schema::APPLICATION_ID)).await
    }

    async fn collection(&mut self, layout: &Layout) -> StoreResult<()> {
        let table = schema::table(layout);
        if self.existing(&table.name).await?.is_none() {
            self.execute(&table.sql).await?;
        } else {
            self.columns(layout).await?;
        }
        for index in schema::indexes(layout) {
            self.item(&index).await?;
        }
        for derived in schema::derived(layout) {
            let mut anew = self.item(&derived.table).await?;
            for trigger in &derived.triggers {
                anew |= self.item(trigger).await?;
            }
            if anew {
                (self.progress)(&derived.table.name, 0, 1);
                // Triggers that differ have kept something else than what is wanted now.
                self.remake(derived.table.kind, &derived.table).await?;
                self.execute(&derived.fill).await?;
                (self.progress)(&derived.table.name, 1, 1);
            }
        }
        Ok(())
    }

    /// What is there under the name: its kind, and the statement that made it.
    async fn existing(&mut self, name: &str) -> StoreResult<Option<(String, String)>> {
        let rows = self.all(Statement::new(&schema::existing(name))).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let text = |column: usize| row.try_get_unchecked(column).map_err(StoreError::engine);
        Ok(Some((text(0)?, text(1)?)))
    }

    /// Makes the item unless it is there as declared; answers whether it was made.
    async fn item(&mut self, item: &Item) -> StoreResult<bool> {
        match self.existing(&item.name).await? {
            Some((_, sql)) if sql == item.sql => Ok(false),
            Some((kind, _)) => self.remake(&kind, item).await.map(|()| true),
            None => {
                if item.kind == "INDEX" {
                    (self.progress)(&item.name, 0, 1);
                }
                self.execute(&item.sql).await.map(|()| true)
            }
        }
    }

    async fn remake(&mut self, kind: &str, item: &Item) -> StoreResult<()> {
        self.execute(&format!("DROP {kind} {}", identifier(&item.name))).await?;
        self.execute(&item.sql).await
    }

    /// Adds the columns that the table lacks.
    async fn columns(&mut self, layout: &Layout) -> StoreResult<()> {
        let name = layout.collection.name;
        let rows = self.all(Statement::new(&format!("PRAGMA table_xinfo({})", literal(name)))).await?;
        let mut present: Vec<(String, String)> = Vec::with_capacity(rows.len());
        for row in &rows {
            let column: String = row.try_get_unchecked(1).map_err(StoreError::engine)?;
            let kind: String = row.try_get_unchecked(2).map_err(StoreError::engine)?;
            present.push((column, kind));
        }
        let find = |wanted: &str| present.iter().find(|(column, _)| column == wanted).map(|(_, kind)| kind.as_str());
        for field in layout.collection.fields {
            match find(field.name) {
                Some(kind) if kind == schema::affinity(field.kind) => {}
                Some(kind) => {
                    return Err(self.cannot(layout, field, &format!("is {kind} in the file")));
                }
                None => {
                    let Some(definition) = schema::added_column(field) else {
                        return Err(self.cannot(layout, field, "has no value for the rows that are there"));
                    };
                    self.execute(&format!("ALTER TABLE {} ADD COLUMN {definition}", layout.table)).await?;
                }
            }
        }
        let missing: Vec<(String, usize)> =
            schema::shadow_columns(layout).filter(|(column, _)| find(column).is_none()).collect();
        for (column, _) in &missing {
            self.execute(&format!("ALTER TABLE {} ADD COLUMN {} TEXT", layout.table, identifier(column))).await?;
        }
        if missing.is_empty() { Ok(()) } else { self.shadows(layout, &missing).await }
    }

    fn cannot(&self, layout: &Layout, field: &Field, why: &str) -> StoreError {
        StoreError::Unusable(format!(
            "{}: the column {}.{} {why}, and this program has no migration for that; nothing was changed",
            self.path.display(),
            layout.collection.name,
            field.name
        ))
    }

    /// Fills shadow columns that were added to a table which has rows.
    async fn shadows(&mut self, layout: &Layout, missing: &[(String, usize)]) -> StoreResult<()> {
        let shadows: Vec<(&str, &Field, Shadow)> = missing
            .iter()
            .filter_map(|(column, place)| {
                let (position, shadow) = layout.shadows.get(*place)?;
                Some((column.as_str(), layout.collection.fields.get(*position)?, *shadow))
            })
            .collect();
        let table = &layout.table;
        let count = self.all(Statement::new(&format!("SELECT count(*) FROM {table}"))).await?;
        let total =
            count.first().map_or(Ok(0), |row| row.try_get_unchecked::<i64, _>(0)).map_err(StoreError::engine)?;
        let total = u64::try_from(total).unwrap_or(0);
        let mut done = 0;
        let mut last = i64::MIN;
        loop {
            let sources: Vec<String> = shadows.iter().map(|(_, field, _)| identifier(field.name)).collect();
            let mut select = Statement::new("SELECT \"row\",");
            select.push(&sources.join(",")).push(" FROM ").push(table).push(" WHERE \"row\" > ").bind_integer(last);
            select.push(" ORDER BY \"row\" LIMIT ").bind_integer(BATCH);
            let rows = self.all(select).await?;
            for row in &rows {
                last = row.try_get_unchecked(0).map_err(StoreError::engine)?;
                let mut update = Statement::new("UPDATE ");
                update.push(table).push(" SET ");
                for (place, (column, field, shadow)) in shadows.iter().enumerate() {
                    let value: Value = decode_column(row, place + 1, field.kind).map_err(StoreError::engine)?;
                    update.comma(place).push(&identifier(column)).push(" = ").bind_optional_text(shadow.of(&value));
                }
                update.push(" WHERE \"row\" = ").bind_integer(last);
                self.all(update).await?;
            }
            done += rows.len() as u64;
            (self.progress)(layout.collection.name, done, total);
            if rows.is_empty() {
                return Ok(());
            }
        }
    }
}
