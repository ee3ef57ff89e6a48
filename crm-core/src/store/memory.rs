//! A store in memory, for tests: small and obvious, the reference implementation of [`Store`].
//!
//! Everything is kept in ordered maps behind one lock and answered by the evaluator, row by row. Nothing survives
//! the last handle.
//!
//! ```
//! use std::sync::Arc;
//!
//! use crm_core::store::{SharedStore, memory::MemoryStore};
//!
//! let store: SharedStore = Arc::new(MemoryStore::new());
//! assert_eq!(store.engine(), "memory");
//! ```

mod table;

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt as _};
use uuid::Uuid;

use self::table::{Key, Table};
use super::{
    AggregateRow, Aggregation, Assignment, Change, Collection, CustomIndex, Filter, Outcome, Page, Placement, Progress,
    Query, Row, Scope, Sort, Store, StoreError, StoreResult, Value, WhenUnmet,
    evaluate::{self, Order, RelatedRows, visible_organization},
    head,
};

/// A store in memory. See the [module](self).
#[derive(Debug, Default)]
pub struct MemoryStore {
    tables: RwLock<Tables>,
    /// After how many changes the next commit is to fail.
    failure: Mutex<Option<usize>>,
}

#[derive(Debug, Default)]
struct Tables(BTreeMap<&'static str, Table>);

/// What a commit has written, so that it can be taken back: where, and what was there before.
#[derive(Debug, Default)]
struct Journal(Vec<(&'static Collection, Key, Option<Row>)>);

/// The rows of one organization, for [`Filter::Related`].
struct Organization<'a> {
    tables: &'a Tables,
    id: Uuid,
}

impl RelatedRows for Organization<'_> {
    fn visit(&self, collection: &'static Collection, visitor: &mut dyn FnMut(&Row)) {
        self.tables.visible(collection, Some(self.id)).for_each(|(_, row)| visitor(row));
    }
}

/// The organization that a row belongs to.
fn organization_of(row: &Row) -> Uuid {
    match row.0.get(head::ORGANIZATION_ID) {
        Some(Value::Id(organization)) => *organization,
        _ => Uuid::nil(),
    }
}

/// Under what a row is kept. Tenants' ids are their own affair, so two of them may use the same.
fn key_of(collection: &'static Collection, row: &Row) -> Key {
    match collection.placement {
        Placement::Tenant => (organization_of(row), row.id()),
        Placement::Installation => (Uuid::nil(), row.id()),
    }
}

impl Tables {
    /// The rows that a call sees: one organization's, or all.
    fn visible(
        &self,
        collection: &'static Collection,
        organization: Option<Uuid>,
    ) -> impl Iterator<Item = (&Key, &Row)> {
        self.0
            .get(collection.name)
            .into_iter()
            .flat_map(Table::rows)
            .filter(move |(_, row)| organization.is_none_or(|organization| organization_of(row) == organization))
    }

    fn get(&self, collection: &'static Collection, organization: Option<Uuid>, id: Uuid) -> Option<(Key, &Row)> {
        let key = match collection.placement {
            Placement::Tenant => (organization?, id),
            Placement::Installation => (Uuid::nil(), id),
        };
        let row = self.0.get(collection.name)?.row(key)?;
        organization.is_none_or(|organization| organization_of(row) == organization).then_some((key, row))
    }

    fn matches(&self, collection: &'static Collection, filter: &Filter, row: &Row) -> bool {
        let related = Organization { tables: self, id: organization_of(row) };
        evaluate::matches_with(collection, filter, row, &related)
    }

    fn matching<'a>(
        &'a self,
        collection: &'static Collection,
        organization: Option<Uuid>,
        filter: &'a Filter,
    ) -> impl Iterator<Item = (&'a Key, &'a Row)> {
        self.visible(collection, organization).filter(move |(_, row)| self.matches(collection, filter, row))
    }

    /// All rows of the query in its order, the limit left aside.
    fn ordered<'a>(
        &'a self,
        collection: &'static Collection,
        organization: Option<Uuid>,
        query: &'a Query,
    ) -> Vec<(Key, &'a Row)> {
        let order = Order::new(collection, &query.sort);
        let after = query.after.as_ref().map(|position| order.place_of(position));
        let mut rows: Vec<_> = self
            .matching(collection, organization, &query.filter)
            .map(|(key, row)| (order.place(row), *key, row))
            .filter(|(place, ..)| after.as_ref().is_none_or(|after| order.compare(place, after).is_gt()))
            .collect();
        rows.sort_by(|left, right| order.compare(&left.0, &right.0));
        let skip = usize::try_from(query.skip).unwrap_or(usize::MAX);
        rows.into_iter().skip(skip).map(|(_, key, row)| (key, row)).collect()
    }

    /// Puts a row in place of what is there, and notes what that was.
    fn put(&mut self, collection: &'static Collection, key: Key, row: Row, journal: &mut Journal) -> StoreResult<()> {
        let before = self.0.entry(collection.name).or_default().replace(collection, key, Some(row))?;
        journal.0.push((collection, key, before));
        Ok(())
    }

    fn remove(&mut self, collection: &'static Collection, key: Key, journal: &mut Journal) -> StoreResult<()> {
        let before = self.0.entry(collection.name).or_default().replace(collection, key, None)?;
        journal.0.push((collection, key, before));
        Ok(())
    }

    /// Makes assignments on the row and bumps its version, which it answers.
    fn change(
        &mut self,
        collection: &'static Collection,
        key: Key,
        assignments: &[Assignment],
        journal: &mut Journal,
    ) -> StoreResult<i64> {
        let missing = || StoreError::NotFound { collection: collection.name, id: key.1 };
        let mut row = self.0.get(collection.name).and_then(|table| table.row(key)).ok_or_else(missing)?.clone();
        evaluate::apply(collection, assignments, &mut row)?;
        let version = row.version() + 1;
        row.0[head::VERSION] = Value::Integer(version);
        self.put(collection, key, row, journal)?;
        Ok(version)
    }

    fn make(&mut self, scope: Scope, place: usize, change: Change, journal: &mut Journal) -> StoreResult<Outcome> {
        evaluate::check_change(scope, &change)?;
        match change {
            Change::Insert { collection, rows } => {
                let count = rows.len() as u64;
                for mut row in rows {
                    let key = key_of(collection, &row);
                    row.0[head::VERSION] = Value::Integer(1);
                    if self.0.get(collection.name).is_some_and(|table| table.row(key).is_some()) {
                        return Err(table::duplicate(collection, "id", &["id"]));
                    }
                    self.put(collection, key, row, journal)?;
                }
                Ok(Outcome::Touched(count))
            }
            Change::Update { collection, id, expected_version, condition, assignments } => {
                let (key, row) = self.expected(scope, collection, id, expected_version)?;
                if let Some((filter, when_unmet)) = condition
                    && !self.matches(collection, &filter, row)
                {
                    return match when_unmet {
                        WhenUnmet::Skip => Ok(Outcome::Unmet),
                        WhenUnmet::Abort => Err(StoreError::Unmet { change: place }),
                    };
                }
                let version = self.change(collection, key, &assignments, journal)?;
                Ok(Outcome::Updated { version })
            }
            Change::Delete { collection, id, expected_version } => {
                let (key, _) = self.expected(scope, collection, id, expected_version)?;
                self.remove(collection, key, journal)?;
                Ok(Outcome::Touched(1))
            }
            Change::UpdateWhere { collection, filter, assignments } => {
                let organization = visible_organization(scope, collection)?;
                let keys: Vec<Key> = self.matching(collection, organization, &filter).map(|(key, _)| *key).collect();
                for key in &keys {
                    self.change(collection, *key, &assignments, journal)?;
                }
                Ok(Outcome::Touched(keys.len() as u64))
            }
            Change::DeleteWhere { collection, filter } => {
                let organization = visible_organization(scope, collection)?;
                let keys: Vec<Key> = self.matching(collection, organization, &filter).map(|(key, _)| *key).collect();
                for key in &keys {
                    self.remove(collection, *key, journal)?;
                }
                Ok(Outcome::Touched(keys.len() as u64))
            }
        }
    }

    /// The row with the id, at the version.
    fn expected(
        &self,
        scope: Scope,
        collection: &'static Collection,
        id: Uuid,
        version: Option<i64>,
    ) -> StoreResult<(Key, &Row)> {
        let (key, row) = self
            .get(collection, visible_organization(scope, collection)?, id)
            .ok_or(StoreError::NotFound { collection: collection.name, id })?;
        match version {
            Some(version) if version != row.version() => {
                Err(StoreError::VersionConflict { collection: collection.name, id, found: row.version() })
            }
            _ => Ok((key, row)),
        }
    }

    /// Takes back what was written, last first.
    fn undo(&mut self, journal: Journal) -> StoreResult<()> {
        journal.0.into_iter().rev().try_for_each(|(collection, key, before)| {
            self.0.entry(collection.name).or_default().replace(collection, key, before).map(|_| ())
        })
    }
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the next commit fail with [`StoreError::Unavailable`] once it has made `changes` of its changes, as an
    /// engine might that dies in the middle. A shorter commit fails at its end. For tests of what is left behind.
    pub fn fail_next_commit_after(&self, changes: usize) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(changes);
    }

    // Every write puts the tables right again before it lets go of the lock, so a poisoned one is still sound.
    fn read(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Tables> {
        self.tables.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn make_all(&self, scope: Scope, changes: Vec<Change>) -> StoreResult<Vec<Outcome>> {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        let fail_at = failure.map(|after| after.min(changes.len()));
        let mut tables = self.write();
        let mut journal = Journal::default();
        let mut outcomes = Vec::with_capacity(changes.len());
        let mut made = changes.into_iter().enumerate().try_for_each(|(place, change)| {
            if fail_at == Some(place) {
                return Err(injected());
            }
            outcomes.push(tables.make(scope, place, change, &mut journal)?);
            Ok(())
        });
        if made.is_ok() && fail_at == Some(outcomes.len()) {
            made = Err(injected());
        }
        match made {
            Ok(()) => Ok(outcomes),
            Err(error) => {
                tables.undo(journal)?;
                Err(error)
            }
        }
    }
}

fn injected() -> StoreError {
    StoreError::Unavailable { message: "a failure was asked for".to_owned(), retry_after: Duration::ZERO }
}

#[async_trait]
impl Store for MemoryStore {
    async fn migrate(&self, collections: &'static [&'static Collection], progress: Progress<'_>) -> StoreResult<()> {
        for (done, collection) in collections.iter().enumerate() {
            evaluate::check_collection(collection)?;
            progress(collection.name, done as u64 + 1, collections.len() as u64);
        }
        Ok(())
    }

    async fn get(&self, scope: Scope, collection: &'static Collection, ids: &[Uuid]) -> StoreResult<Vec<Row>> {
        let organization = visible_organization(scope, collection)?;
        let tables = self.read();
        Ok(ids.iter().filter_map(|id| tables.get(collection, organization, *id)).map(|(_, row)| row.clone()).collect())
    }

    async fn find(&self, scope: Scope, collection: &'static Collection, query: &Query) -> StoreResult<Page> {
        let organization = visible_organization(scope, collection)?;
        evaluate::check_query(collection, query)?;
        let tables = self.read();
        let rows = tables.ordered(collection, organization, query);
        Ok(Page {
            has_more: rows.len() > query.limit,
            rows: rows.into_iter().take(query.limit).map(|(_, row)| row.clone()).collect(),
            slow: false,
        })
    }

    fn stream<'a>(
        &'a self,
        scope: Scope,
        collection: &'static Collection,
        query: Query,
    ) -> BoxStream<'a, StoreResult<Row>> {
        let limit = if query.limit == 0 { usize::MAX } else { query.limit };
        let found = visible_organization(scope, collection).and_then(|organization| {
            evaluate::check_query(collection, &query)?;
            let tables = self.read();
            let rows = tables.ordered(collection, organization, &query);
            Ok(rows.into_iter().take(limit).map(|(_, row)| row.clone()).collect::<Vec<_>>())
        });
        match found {
            Ok(rows) => stream::iter(rows.into_iter().map(Ok)).boxed(),
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }

    async fn count(&self, scope: Scope, collection: &'static Collection, filter: &Filter) -> StoreResult<u64> {
        let organization = visible_organization(scope, collection)?;
        evaluate::check_filter(collection, filter)?;
        Ok(self.read().matching(collection, organization, filter).count() as u64)
    }

    async fn aggregate(
        &self,
        scope: Scope,
        collection: &'static Collection,
        aggregation: &Aggregation,
    ) -> StoreResult<Vec<AggregateRow>> {
        let organization = visible_organization(scope, collection)?;
        evaluate::check_aggregation(collection, aggregation)?;
        let tables = self.read();
        let rows = tables.matching(collection, organization, &aggregation.filter).map(|(_, row)| row);
        Ok(evaluate::aggregate(collection, aggregation, rows))
    }

    async fn commit(&self, scope: Scope, changes: Vec<Change>) -> StoreResult<Vec<Outcome>> {
        self.make_all(scope, changes)
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
        let organization = visible_organization(scope, collection)?;
        evaluate::check_claim(collection, filter, sort, set)?;
        let query = Query::new(filter.clone(), limit).sorted(sort.to_vec());
        let assignments: Vec<Assignment> =
            set.iter().map(|(position, value)| Assignment::Set(*position, value.clone())).collect();
        let mut tables = self.write();
        let keys: Vec<Key> =
            tables.ordered(collection, organization, &query).into_iter().take(limit).map(|(key, _)| key).collect();
        let mut journal = Journal::default();
        let changed =
            keys.iter().try_for_each(|key| tables.change(collection, *key, &assignments, &mut journal).map(|_| ()));
        if let Err(error) = changed {
            tables.undo(journal)?;
            return Err(error);
        }
        let table = tables.0.get(collection.name);
        Ok(keys.into_iter().filter_map(|key| table?.row(key).cloned()).collect())
    }

    async fn create_custom_index(&self, scope: Scope, index: &CustomIndex) -> StoreResult<()> {
        visible_organization(scope, index.collection)?;
        evaluate::check_custom_index(index)
    }

    async fn drop_custom_index(&self, scope: Scope, index: &CustomIndex) -> StoreResult<()> {
        visible_organization(scope, index.collection)?;
        evaluate::check_custom_index(index)
    }

    async fn health(&self) -> StoreResult<()> {
        Ok(())
    }

    fn engine(&self) -> &'static str {
        "memory"
    }

    async fn close(&self) {}
}
