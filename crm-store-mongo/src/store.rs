//! The store.

use std::{
    collections::HashSet,
    fmt,
    sync::{PoisonError, RwLock},
};

use async_trait::async_trait;
use bson::{RawDocumentBuf, doc};
use crm_core::store::{
    AggregateRow, Aggregation, Change, Collection, CustomIndex, FieldRef, Filter, Outcome, Page, Progress, Query, Row,
    Scope, Sort, Store, StoreError, StoreResult, Value,
    evaluate::{check_custom_index, visible_organization},
};
use futures::stream::BoxStream;
use mongodb::{Client, Collection as Documents, Database};
use uuid::Uuid;

use crate::{
    aggregate, failure, layout::Layouts, migrate, options::MongoOptions, read, schema, session::limited, transaction,
};

/// A CRM's records in a MongoDB database. See the [crate].
pub struct MongoStore {
    pub(crate) options: MongoOptions,
    pub(crate) client: Client,
    pub(crate) database: Database,
    pub(crate) layouts: Layouts,
    /// The collections and names of the indexes on custom fields, as far as they are known here.
    custom_indexes: RwLock<HashSet<(&'static str, String)>>,
}

impl fmt::Debug for MongoStore {
    /// Leaves out the driver, which knows the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MongoStore").field("options", &self.options).finish_non_exhaustive()
    }
}

impl MongoStore {
    /// Connects to the database that a URL such as `mongodb://host:27017/crm?replicaSet=rs0` names.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] with a sentence for a person; see [`MongoStore::connect_with`].
    pub async fn connect(url: &str) -> StoreResult<Self> {
        Self::connect_with(MongoOptions::parse(url)?).await
    }

    /// Connects to a database. The collections are made by [`Store::migrate`].
    ///
    /// # Errors
    /// [`StoreError::Unusable`] with a sentence for a person where no server answers, the server refuses the user, is
    /// older than MongoDB 6.0 or stands alone, or the database is from a newer program.
    pub async fn connect_with(options: MongoOptions) -> StoreResult<Self> {
        let starting = |error| failure::starting(&options.at, error);
        let client = Client::with_options(options.client_options().await?).map_err(starting)?;
        let hello = client.database("admin").run_command(doc! { "hello": 1 }).await.map_err(starting)?;
        migrate::check_server(&options.at, &hello)?;
        let database = client.database(&options.database);
        let store = Self { options, client, database, layouts: Layouts::default(), custom_indexes: RwLock::default() };
        migrate::check_version(&store).await?;
        Ok(store)
    }

    /// What the server does for each range that a page reads, as its `explain` tells with `executionStats`: for tests of
    /// the indexes.
    ///
    /// # Errors
    /// As [`Store::find`].
    #[doc(hidden)]
    pub async fn explain(
        &self,
        scope: Scope,
        collection: &'static Collection,
        query: &Query,
    ) -> StoreResult<Vec<RawDocumentBuf>> {
        read::explain(self, scope, collection, query).await
    }

    /// What the server does to find whom each condition on related records means, as its `explain` tells: for tests of the
    /// indexes.
    ///
    /// # Errors
    /// As [`Store::find`].
    #[doc(hidden)]
    pub async fn explain_related(
        &self,
        scope: Scope,
        collection: &'static Collection,
        filter: &Filter,
    ) -> StoreResult<Vec<bson::Document>> {
        crate::related::explain(self, visible_organization(scope, collection)?, filter).await
    }

    pub(crate) fn collection(&self, collection: &'static Collection) -> Documents<RawDocumentBuf> {
        self.database.collection(collection.name)
    }

    /// Whether the custom field of the organization has an index.
    pub(crate) fn has_custom_index(
        &self,
        collection: &'static Collection,
        organization: Option<Uuid>,
        field: &FieldRef,
    ) -> bool {
        let Some(name) = organization.and_then(|organization| schema::custom_index_name(field, organization)) else {
            return false;
        };
        self.custom_indexes.read().unwrap_or_else(PoisonError::into_inner).contains(&(collection.name, name))
    }

    /// Looks which custom fields have indexes.
    async fn learn_custom_indexes(&self, collections: &[&'static Collection]) -> StoreResult<()> {
        let mut known = HashSet::new();
        for collection in collections.iter().filter(|collection| collection.fields.iter().any(|field| field.custom)) {
            let names = self.collection(collection).list_index_names().await.map_err(failure::running)?;
            known.extend(names.into_iter().map(|name| (collection.name, name)));
        }
        self.custom_indexes.write().unwrap_or_else(PoisonError::into_inner).extend(known);
        Ok(())
    }
}

#[async_trait]
impl Store for MongoStore {
    async fn migrate(&self, collections: &'static [&'static Collection], progress: Progress<'_>) -> StoreResult<()> {
        migrate::migrate(self, collections, progress).await?;
        self.learn_custom_indexes(collections).await
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
        transaction::commit(self, scope, &changes).await
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
        let query = Query::new(filter.clone(), limit).sorted(sort.to_vec());
        transaction::claim(self, scope, collection, &query, set).await
    }

    async fn create_custom_index(&self, scope: Scope, index: &CustomIndex) -> StoreResult<()> {
        let (name, organization) = custom_index_of(scope, index)?;
        let Some(specification) = schema::custom_index(index, organization) else { return Ok(()) };
        let command = doc! { "createIndexes": index.collection.name, "indexes": [specification] };
        // An index is built beside running work, for as long as it takes.
        self.database.run_command(command).await.map_err(|error| {
            if failure::is_out_of_indexes(&error) {
                StoreError::TooLarge(format!(
                    "MongoDB allows 64 indexes for a collection, and {} has them: drop the index of another custom field",
                    index.collection.name
                ))
            } else {
                failure::running(error)
            }
        })?;
        let known = (index.collection.name, name);
        self.custom_indexes.write().unwrap_or_else(PoisonError::into_inner).insert(known);
        Ok(())
    }

    async fn drop_custom_index(&self, scope: Scope, index: &CustomIndex) -> StoreResult<()> {
        let (name, _) = custom_index_of(scope, index)?;
        match self.collection(index.collection).drop_index(&name).await {
            Err(error) if !failure::is_absent(&error) => return Err(failure::running(error)),
            _ => {}
        }
        let known = (index.collection.name, name);
        self.custom_indexes.write().unwrap_or_else(PoisonError::into_inner).remove(&known);
        Ok(())
    }

    async fn health(&self) -> StoreResult<()> {
        let admin = self.client.database("admin");
        let hello = limited(self, admin.run_command(doc! { "hello": 1 })).await?.map_err(failure::running)?;
        if hello.get_bool("isWritablePrimary").unwrap_or(false) {
            return Ok(());
        }
        Err(failure::unavailable("the MongoDB server has no primary", 2))
    }

    fn engine(&self) -> &'static str {
        "mongodb"
    }

    async fn close(&self) {
        self.client.clone().shutdown().immediate(true).await;
    }
}

/// The name of the index and whose it is.
fn custom_index_of(scope: Scope, index: &CustomIndex) -> StoreResult<(String, Uuid)> {
    let Some(organization) = visible_organization(scope, index.collection)? else {
        return Err(StoreError::OutOfScope { collection: index.collection.name });
    };
    check_custom_index(index)?;
    let field = FieldRef::custom(index.field, index.key.clone(), index.kind);
    let name = schema::custom_index_name(&field, organization);
    name.map(|name| (name, organization)).ok_or_else(|| StoreError::Misuse("JSON is not indexed".to_owned()))
}
