//! The store.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError, RwLock},
};

use async_trait::async_trait;
use crm_core::store::{
    AggregateRow, Aggregation, Change, Collection, CustomIndex, FieldRef, Filter, Outcome, Page, Progress, Query, Row,
    Scope, Sort, Store, StoreError, StoreResult, Value,
    evaluate::{check_change, check_custom_index, visible_organization},
};
use futures::stream::BoxStream;
use uuid::Uuid;

use crate::{
    aggregate, custom,
    gather::{self, Gatherings},
    layout::Layouts,
    migrate,
    options::PostgresOptions,
    pool::Pool,
    read, row,
    statement::Statement,
    write, writer,
};

/// A CRM's records in a PostgreSQL database. See the [crate].
#[derive(Debug)]
pub struct PostgresStore {
    pub(crate) layouts: Arc<Layouts>,
    pub(crate) pool: Arc<Pool>,
    gatherings: Arc<Gatherings>,
    /// The names of the indexes on custom fields.
    custom_indexes: RwLock<HashSet<String>>,
}

impl PostgresStore {
    /// Connects to the database that a URL such as `postgres://crm:secret@db.example.com/crm` names.
    ///
    /// # Errors
    /// As [`PostgresStore::connect_with`], and for a URL that cannot be read.
    pub async fn connect(url: &str) -> StoreResult<Self> {
        Self::connect_with(PostgresOptions::parse(url)?).await
    }

    /// Connects to a database. The tables are made by [`Store::migrate`].
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] where no server answers, or not yet; [`StoreError::Unusable`] with a sentence for a
    /// person where it is older than PostgreSQL 13, refuses the user or the password, has no such database, where the
    /// database is not in UTF-8, on a standby, or from a newer program.
    pub async fn connect_with(options: PostgresOptions) -> StoreResult<Self> {
        let pool = Pool::new(options);
        migrate::check_server(&pool).await?;
        let names = custom::existing(&pool).await?;
        Ok(Self {
            layouts: Arc::default(),
            pool: Arc::new(pool),
            gatherings: Arc::default(),
            custom_indexes: RwLock::new(names),
        })
    }

    /// Whether a custom field of the organization has an index.
    pub(crate) fn has_custom_index(
        &self,
        collection: &'static Collection,
        organization: Option<Uuid>,
        field: &FieldRef,
    ) -> bool {
        let (Some(organization), Some(key)) = (organization, field.key.as_ref()) else { return false };
        let name = custom::index_name(collection, &field.name, key, field.kind, organization);
        self.custom_indexes.read().unwrap_or_else(PoisonError::into_inner).contains(&name)
    }
}

fn owner(scope: Scope, index: &CustomIndex) -> StoreResult<Uuid> {
    let organization = visible_organization(scope, index.collection)?;
    check_custom_index(index)?;
    organization.ok_or(StoreError::OutOfScope { collection: index.collection.name })
}

#[async_trait]
impl Store for PostgresStore {
    async fn migrate(&self, collections: &'static [&'static Collection], progress: Progress<'_>) -> StoreResult<()> {
        migrate::migrate(&self.pool, &self.layouts, collections, progress).await
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
        read::stream(self, scope, collection, &query)
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
        for change in &changes {
            check_change(scope, change)?;
        }
        if gather::is_gathered(&changes) {
            self.gatherings.commit(&self.pool, &self.layouts, scope, changes).await
        } else {
            writer::commit(&self.pool, &self.layouts, scope, &changes).await
        }
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
        let statement = write::claim(&self.layouts, scope, collection, filter, sort, limit, set)?;
        let rows = writer::claim(&self.pool, &self.layouts, statement, collection).await?;
        rows.iter().map(|claimed| row::decode(collection.fields, claimed)).collect()
    }

    async fn create_custom_index(&self, scope: Scope, index: &CustomIndex) -> StoreResult<()> {
        let organization = owner(scope, index)?;
        if let Some(name) = custom::create(&self.pool, &self.layouts, organization, index).await? {
            self.custom_indexes.write().unwrap_or_else(PoisonError::into_inner).insert(name);
        }
        Ok(())
    }

    async fn drop_custom_index(&self, scope: Scope, index: &CustomIndex) -> StoreResult<()> {
        let organization = owner(scope, index)?;
        let name = custom::index_name(index.collection, index.field, &index.key, index.kind, organization);
        // First nothing more is read by it.
        self.custom_indexes.write().unwrap_or_else(PoisonError::into_inner).remove(&name);
        custom::drop(&self.pool, &name).await
    }

    async fn health(&self) -> StoreResult<()> {
        read::all(&self.pool, Statement::new("SELECT 1")).await.map(|_| ())
    }

    fn engine(&self) -> &'static str {
        "postgresql"
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}
