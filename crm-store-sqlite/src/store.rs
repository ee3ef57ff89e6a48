//! The store.

use std::{
    collections::HashSet,
    fs,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use async_trait::async_trait;
use crm_core::store::{
    AggregateRow, Aggregation, Change, Collection, CustomIndex, FieldKind, FieldRef, Filter, Outcome, Page, Progress,
    Query, Row, Scope, Sort, Store, StoreError, StoreResult, Value,
    evaluate::{check_custom_index, visible_organization},
};
use futures::stream::BoxStream;
use sqlx::{ConnectOptions as _, Executor as _, Row as _, SqliteConnection};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    aggregate,
    compile::{folded_member, member},
    failure,
    layout::Layouts,
    migrate,
    options::SqliteOptions,
    pool::Pool,
    read, schema,
    statement::{Statement, identifier},
    write::Program,
    writer::Writer,
};

/// A CRM's records in one SQLite file. See the [crate].
#[derive(Debug)]
pub struct SqliteStore {
    options: SqliteOptions,
    pub(crate) layouts: Layouts,
    pub(crate) pool: Arc<Pool>,
    writer: Writer,
    /// The names of the indexes on custom fields.
    custom_indexes: RwLock<HashSet<String>>,
}

/// Turns the write-ahead log on. Of two programs that do so at once SQLite refuses one without letting it wait, so the
/// waiting is done here.
async fn keep_log(connection: &mut SqliteConnection, patience: Duration) -> sqlx::Result<()> {
    let deadline = Instant::now() + patience;
    loop {
        match connection.execute("PRAGMA journal_mode = WAL").await {
            Err(error) if failure::is_locked(&error) && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            done => return done.map(|_| ()),
        }
    }
}

impl SqliteStore {
    /// Opens the database in this file, which is created where it is not there, with its folder.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] with a sentence for a person; see [`SqliteStore::open_with`].
    pub async fn open(path: impl AsRef<Path>) -> StoreResult<Self> {
        Self::open_with(SqliteOptions::new(path)).await
    }

    /// Opens the database that a URL such as `sqlite:crm-data/crm.db` names.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] with a sentence for a person; see [`SqliteStore::open_with`].
    pub async fn open_url(url: &str) -> StoreResult<Self> {
        Self::open_with(SqliteOptions::from_url(url)?).await
    }

    /// Opens a database. The tables are made by [`Store::migrate`].
    ///
    /// # Errors
    /// [`StoreError::Unusable`] with a sentence for a person where the folder cannot be made, the file cannot be
    /// written, is locked, is damaged, is something else, or is from a newer program. The file is then as it was.
    pub async fn open_with(options: SqliteOptions) -> StoreResult<Self> {
        let path = options.path.as_path();
        make_folder(path)?;
        check_header(path)?;
        let starting = |error| failure::starting(path, error);
        let mut connection = options.writer().connect().await.map_err(starting)?;
        migrate::check_file(path, &mut connection).await?;
        // Only now, for this writes.
        keep_log(&mut connection, options.busy_timeout).await.map_err(starting)?;
        let indexes = connection
            .fetch_all("SELECT name FROM sqlite_schema WHERE type = 'index' AND name GLOB '*:*'")
            .await
            .map_err(starting)?;
        let names: HashSet<String> =
            indexes.iter().map(|row| row.try_get_unchecked(0)).collect::<Result<_, _>>().map_err(starting)?;
        Ok(Self {
            layouts: Layouts::default(),
            pool: Arc::new(Pool::new(options.reader(), options.readers)),
            writer: Writer::start(connection, options.writer()),
            custom_indexes: RwLock::new(names),
            options,
        })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.options.path
    }

    /// Writes a sound copy of the database to another file, which must not be there yet, while others read and write.
    /// The copy holds everything that was committed when it began.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] where the file is there or cannot be written.
    pub async fn backup(&self, target: impl AsRef<Path>) -> StoreResult<()> {
        let target = target.as_ref();
        if target.exists() {
            return Err(StoreError::Unusable(format!("{} is there already: name a new file", target.display())));
        }
        let Some(text) = target.to_str() else {
            return Err(StoreError::Unusable(format!("{}: the name is no UTF-8", target.display())));
        };
        make_folder(target)?;
        let starting = |error| failure::starting(target, error);
        let mut connection = self.options.connection().connect().await.map_err(starting)?;
        let mut statement = Statement::new("VACUUM INTO ");
        statement.bind_text(text.to_owned());
        connection.execute(statement.query().map_err(starting)?).await.map_err(starting)?;
        sqlx::Connection::close(connection).await.map_err(starting)
    }

    /// The index on a custom field of the organization.
    pub(crate) fn custom_index(
        &self,
        collection: &'static Collection,
        organization: Option<Uuid>,
        field: &FieldRef,
    ) -> Option<String> {
        let (organization, key) = (organization?, field.key.as_ref()?);
        let name = index_name(collection, &field.name, key, field.kind, organization);
        self.custom_indexes.read().unwrap_or_else(PoisonError::into_inner).contains(&name).then_some(name)
    }

    /// Another program may have dropped an index that a statement names: forgets it, and answers whether that was
    /// why the statement failed.
    pub(crate) fn forget_dropped_index(&self, error: &StoreError) -> bool {
        let StoreError::Engine(cause) = error else { return false };
        let message = cause.to_string();
        let Some((_, name)) = message.split_once("no such index: ") else { return false };
        self.custom_indexes.write().unwrap_or_else(PoisonError::into_inner).remove(name)
    }
}

fn make_folder(path: &Path) -> StoreResult<()> {
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    fs::create_dir_all(folder).map_err(|error| {
        StoreError::Unusable(format!(
            "the folder {} cannot be made ({error}): make it, or name another file",
            folder.display()
        ))
    })
}

/// Looks at the first bytes of a file that is there.
fn check_header(path: &Path) -> StoreResult<()> {
    use std::io::Read as _;

    let mut header = [0; 16];
    let read = match fs::File::open(path) {
        Ok(mut file) => file.read(&mut header),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => Err(error),
    };
    match read {
        Ok(0) => Ok(()),
        Ok(_) if header == *b"SQLite format 3\0" => Ok(()),
        Ok(_) => Err(StoreError::Unusable(failure::not_a_database(&path.display()))),
        Err(error) => Err(StoreError::Unusable(format!(
            "{} cannot be read ({error}): check that the program's user may read and write it",
            path.display()
        ))),
    }
}

/// The name of an index on a custom field: everything that it is of.
fn index_name(collection: &Collection, field: &str, key: &str, kind: FieldKind, organization: Uuid) -> String {
    format!("{}:{field}:{}:{kind:?}:{key}", collection.name, organization.simple())
}

#[async_trait]
impl Store for SqliteStore {
    async fn migrate(&self, collections: &'static [&'static Collection], progress: Progress<'_>) -> StoreResult<()> {
        migrate::migrate(&self.options, &self.layouts, collections, progress).await
    }

    async fn get(&self, scope: Scope, collection: &'static Collection, ids: &[Uuid]) -> StoreResult<Vec<Row>> {
        read::get(self, scope, collection, ids).await
    }

    async fn find(&self, scope: Scope, collection: &'static Collection, query: &Query) -> StoreResult<Page> {
        read::find(self, scope, collection, query).await
    }

    fn stream<'a>(
        &'a self,
        scope: Scope,
        collection: &'static Collection,
        query: Query,
    ) -> BoxStream<'a, StoreResult<Row>> {
        read::stream(self, scope, collection, query)
    }

    async fn count(&self, scope: Scope, collection: &'static Collection, filter: &Filter) -> StoreResult<u64> {
        read::count(self, scope, collection, filter).await
    }

    async fn aggregate(
        &self,
        scope: Scope,
        collection: &'static Collection,
        aggregation: &Aggregation,
    ) -> StoreResult<Vec<AggregateRow>> {
        aggregate::aggregate(self, scope, collection, aggregation).await
    }

    async fn commit(&self, scope: Scope, changes: Vec<Change>) -> StoreResult<Vec<Outcome>> {
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        let program = Program::commit(&self.layouts, scope, &changes)?;
        drop(changes);
        Ok(self.writer.run(program).await?.outcomes)
    }

    async fn claim(
        &self,
        scope: Scope,
        collection: &'static Collection,
        filter: &Filter,
        sort: &[Sort],
        limit: usize,
        set: &[(usize, Value)],
    ) -> StoreResult<Vec<Row>> {
        let program = Program::claim(&self.layouts, scope, collection, filter, sort, limit, set)?;
        Ok(self.writer.run(program).await?.rows)
    }

    async fn create_custom_index(&self, scope: Scope, index: &CustomIndex) -> StoreResult<()> {
        let Some(organization) = visible_organization(scope, index.collection)? else {
            return Err(StoreError::OutOfScope { collection: index.collection.name });
        };
        check_custom_index(index)?;
        let value = member("", index.field, &index.key, index.kind)?;
        let expressions = match index.kind {
            // Lists are looked through element by element; an index over the whole would serve no filter.
            FieldKind::TextList => return Ok(()),
            FieldKind::Text => vec![folded_member("", index.field, &index.key)?, value],
            _ => vec![value],
        };
        let name = index_name(index.collection, index.field, &index.key, index.kind, organization);
        let item = schema::custom_index(&self.layouts.of(index.collection), &name, organization, &expressions);
        let sql = item.sql.replacen("CREATE INDEX ", "CREATE INDEX IF NOT EXISTS ", 1);
        self.writer.schema(vec![sql]).await?;
        self.custom_indexes.write().unwrap_or_else(PoisonError::into_inner).insert(name);
        Ok(())
    }

    async fn drop_custom_index(&self, scope: Scope, index: &CustomIndex) -> StoreResult<()> {
        let Some(organization) = visible_organization(scope, index.collection)? else {
            return Err(StoreError::OutOfScope { collection: index.collection.name });
        };
        check_custom_index(index)?;
        let name = index_name(index.collection, index.field, &index.key, index.kind, organization);
        self.writer.schema(vec![format!("DROP INDEX IF EXISTS {}", identifier(&name))]).await?;
        self.custom_indexes.write().unwrap_or_else(PoisonError::into_inner).remove(&name);
        Ok(())
    }

    async fn health(&self) -> StoreResult<()> {
        let mut reader = self.pool.acquire().await?;
        reader.first(Statement::new("SELECT count(*) FROM sqlite_schema")).await?;
        reader.release();
        Ok(())
    }

    fn engine(&self) -> &'static str {
        "sqlite"
    }

    async fn close(&self) {
        self.pool.close().await;
        self.writer.close().await;
    }
}
