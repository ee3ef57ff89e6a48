//! Typed access to a store.

use std::marker::PhantomData;

use futures::{Stream, StreamExt as _};

use crate::{
    access::Principal,
    error::{Error, Result},
    record::Record,
    store::{Filter, Position, Query, Row, Scope, Store, Value, evaluate},
};

/// A kind of record of which not everybody in the organization sees everything.
pub trait Visible: Record {
    /// What the principal sees: the one rule for single reads, lists, counts and searches.
    fn visible_to(principal: &Principal) -> Filter;
}

/// Records of a page.
#[derive(Clone, Debug)]
pub struct Found<T> {
    /// The records.
    pub records: Vec<T>,
    /// Whether more follow.
    pub has_more: bool,
    /// Where the next page begins, where more follow.
    pub next: Option<Position>,
    /// Whether the order had no index, so that every match was read.
    pub slow: bool,
}

/// The records of one type in a store.
pub struct Repo<'a, T> {
    store: &'a dyn Store,
    record: PhantomData<fn() -> T>,
}

impl<T> std::fmt::Debug for Repo<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repo").field("engine", &self.store.engine()).finish_non_exhaustive()
    }
}

impl<'a, T: Record> Repo<'a, T> {
    /// Over a store.
    pub fn new(store: &'a dyn Store) -> Self {
        Self { store, record: PhantomData }
    }

    /// The record with the id, if the scope has it.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn get(&self, scope: Scope, id: T::Id) -> Result<Option<T>> {
        let rows = self.store.get(scope, T::COLLECTION, &[id.into()]).await?;
        rows.into_iter().next().map(decode).transpose()
    }

    /// The records with these ids that the scope has, in the order of `ids`.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn get_many(&self, scope: Scope, ids: &[T::Id]) -> Result<Vec<T>> {
        let ids: Vec<uuid::Uuid> = ids.iter().map(|id| (*id).into()).collect();
        self.store.get(scope, T::COLLECTION, &ids).await?.into_iter().map(decode).collect()
    }

    /// One page.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn find(&self, scope: Scope, query: &Query) -> Result<Found<T>> {
        let page = self.store.find(scope, T::COLLECTION, query).await?;
        let next = if page.has_more { page.rows.last().map(|row| position::<T>(row, query)) } else { None };
        let records = page.rows.into_iter().map(decode).collect::<Result<_>>()?;
        Ok(Found { records, has_more: page.has_more, next, slow: page.slow })
    }

    /// The first record that matches, by id.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn first(&self, scope: Scope, filter: Filter) -> Result<Option<T>> {
        Ok(self.find(scope, &Query::new(filter, 1)).await?.records.pop())
    }

    /// How many match.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn count(&self, scope: Scope, filter: &Filter) -> Result<u64> {
        Ok(self.store.count(scope, T::COLLECTION, filter).await?)
    }

    /// All that match, in constant memory.
    pub fn stream(&self, scope: Scope, query: Query) -> impl Stream<Item = Result<T>> + Send + 'a {
        self.store.stream(scope, T::COLLECTION, query).map(|row| decode(row?))
    }
}

impl<T: Visible> Repo<'_, T> {
    /// The record with the id, if the principal sees it.
    ///
    /// # Errors
    /// [`Error::NotFound`] naming `what`, alike for a record that is not there, is another organization's or is hidden.
    pub async fn visible(&self, by: &Principal, id: T::Id, what: &'static str) -> Result<T> {
        let rows = self.store.get(by.scope(), T::COLLECTION, &[id.into()]).await?;
        match rows.into_iter().next() {
            Some(row) if evaluate::matches(T::COLLECTION, &T::visible_to(by), &row) => decode(row),
            _ => Err(Error::NotFound(what)),
        }
    }

    /// One page of what the principal sees.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn find_visible(&self, by: &Principal, mut query: Query) -> Result<Found<T>> {
        query.filter = T::visible_to(by).and(query.filter);
        self.find(by.scope(), &query).await
    }

    /// How many the principal sees.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn count_visible(&self, by: &Principal, filter: Filter) -> Result<u64> {
        self.count(by.scope(), &T::visible_to(by).and(filter)).await
    }
}

fn decode<T: Record>(row: Row) -> Result<T> {
    T::from_row(row).map_err(Error::internal)
}

fn position<T: Record>(row: &Row, query: &Query) -> Position {
    evaluate::position(T::COLLECTION, &query.sort, row)
}

impl Position {
    /// The place of the first row, if nothing else is known of it than its id.
    #[must_use]
    pub const fn of_id(id: uuid::Uuid) -> Self {
        Self { keys: Vec::new(), id }
    }

    /// The keys and the id.
    #[must_use]
    pub fn parts(&self) -> (&[Value], uuid::Uuid) {
        (&self.keys, self.id)
    }
}
