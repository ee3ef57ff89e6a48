//! Reading: by id, by page, as a stream, and counting.

use std::{borrow::Cow, collections::HashMap};

use bson::{Bson, Document, RawDocumentBuf, doc};
use crm_core::store::{
    Collection, FieldKind, FieldRef, Filter, Page, Query, Row, Scope, StoreError, StoreResult, Value,
    evaluate::{Order, check_filter, check_query, visible_organization},
    plan::{Access, PagePlan, Range, Ranges},
};
use futures::{StreamExt as _, TryStreamExt as _, stream, stream::BoxStream};
use mongodb::{
    Cursor,
    options::{FindOptions, Hint},
};
use uuid::Uuid;

use crate::{
    compile::{Rows, column_path, is_id},
    failure,
    layout::Layout,
    related::{Parts, Room, part_behind, related},
    row, schema,
    session::{Fault, Session, in_snapshot, limited},
    store::MongoStore,
};

/// How many ids one command asks for.
const IDS: usize = 1000;
/// How many rows come from the server at a time.
const BATCH: u32 = 1000;

pub(crate) async fn get(
    store: &MongoStore,
    scope: Scope,
    collection: &'static Collection,
    ids: &[Uuid],
) -> StoreResult<Vec<Row>> {
    let organization = visible_organization(scope, collection)?;
    let layout = store.layouts.of(collection);
    let rows = Rows { layout: &layout, organization };
    if let [id] = ids {
        let documents = store.collection(collection);
        let found = documents
            .find_one(rows.record(*id))
            .projection(layout.projection.clone())
            .max_time(store.options.operation_timeout);
        let document = limited(store, found).await?.map_err(failure::running)?;
        return document.iter().map(|document| row::decode(collection.fields, document)).collect();
    }
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let found = in_snapshot(store, |mut session| {
        let layout = &layout;
        async move {
            let mut found: HashMap<Uuid, Row> = HashMap::with_capacity(ids.len());
            for ids in ids.chunks(IDS) {
                let values = ids.iter().map(|id| Value::Id(*id)).collect();
                let wanted = Filter::In { field: FieldRef::declared("id", FieldKind::Id), values };
                let filter = rows.matching(&wanted, Vec::new())?;
                let read = session.rows(layout, filter, options(layout, ids.len())).await?;
                found.extend(read.into_iter().map(|row| (row.id(), row)));
            }
            Ok(found)
        }
    });
    let mut found = found.await?;
    Ok(ids.iter().filter_map(|id| found.remove(id)).collect())
}

/// What every `find` of rows says.
fn options(layout: &Layout, limit: usize) -> FindOptions {
    let batch = u32::try_from(limit).unwrap_or(BATCH).clamp(1, BATCH);
    FindOptions::builder().projection(layout.projection.clone()).batch_size(batch).allow_disk_use(true).build()
}

/// How a page is read.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(crate) plan: PagePlan,
    /// Whether the order runs by `_id`: where nothing but the id orders the rows and no other index is better, one
    /// organization's records lie there one behind the other.
    pub(crate) by_key: bool,
    /// Whether the server is told which index to read. Where it lacks that one, the whole is to be run again without,
    /// since an error ends a transaction. Somebody dropped it: by hand, or in another process that of a custom field.
    pub(crate) hinted: bool,
}

/// The plan of a query.
pub(crate) fn plan(store: &MongoStore, layout: &Layout, organization: Option<Uuid>, query: &Query) -> Reading {
    let collection = layout.collection;
    let plan = PagePlan::new(collection, organization.is_some(), query, Ranges::Single, |field| {
        store.has_custom_index(collection, organization, field)
    });
    let by_id = plan.keys.first().is_some_and(|key| is_id(&key.columns[0].field));
    let by_key = by_id && plan.access == Access::Any;
    Reading { plan, by_key, hinted: true }
}

/// The index that is read, where the choice is not left to the server: it might sort all of an organization's records
/// to save reading twenty.
fn hint(plan: &PagePlan, organization: Option<Uuid>) -> Option<String> {
    match &plan.access {
        Access::Index(index) | Access::Element { index, .. } if !plan.slow => Some(schema::index_name(index)),
        Access::Custom(field) => schema::custom_index_name(field, organization?),
        _ => None,
    }
}

/// The order of the rows: in every range the whole of it, which is what an index has.
pub(crate) fn order(plan: &PagePlan, by_key: bool) -> Document {
    plan.keys
        .iter()
        .flat_map(|key| key.columns.iter().map(|column| (column, key.descending)))
        .map(|(column, descending)| {
            let path = if by_key && is_id(&column.field) { "_id".to_owned() } else { column_path(column) };
            (path, Bson::Int32(if descending { -1 } else { 1 }))
        })
        .collect()
}

/// What the rows of a range meet.
pub(crate) fn range_filter(rows: &Rows<'_>, filter: &Filter, range: &Range, by_key: bool) -> StoreResult<Document> {
    let mut bounds = rows.within(range, by_key)?;
    if by_key {
        bounds.extend(rows.key_range());
    }
    rows.matching(filter, bounds)
}

pub(crate) async fn find(
    store: &MongoStore,
    scope: Scope,
    collection: &'static Collection,
    query: &Query,
) -> StoreResult<Page> {
    let organization = visible_organization(scope, collection)?;
    check_query(collection, query)?;
    let layout = store.layouts.of(collection);
    let reading = plan(store, &layout, organization, query);
    let wanted = query.limit.saturating_add(1);
    let mut rows = in_snapshot(store, |mut session| {
        let rows = Rows { layout: &layout, organization };
        let reading = &reading;
        async move {
            match parted(&mut session, &rows, query, reading, wanted).await {
                Err(Fault::Driver(error)) if failure::is_bad_hint(&error) => {
                    let unhinted = Reading { hinted: false, ..reading.clone() };
                    parted(&mut session, &rows, query, &unhinted, wanted).await
                }
                page => page,
            }
        }
    })
    .await?;
    let has_more = rows.len() > query.limit;
    rows.truncate(query.limit);
    Ok(Page { rows, has_more, slow: reading.plan.slow })
}

/// What the server does for each range that a page reads.
pub(crate) async fn explain(
    store: &MongoStore,
    scope: Scope,
    collection: &'static Collection,
    query: &Query,
) -> StoreResult<Vec<RawDocumentBuf>> {
    let organization = visible_organization(scope, collection)?;
    check_query(collection, query)?;
    let layout = store.layouts.of(collection);
    let rows = Rows { layout: &layout, organization };
    let Reading { plan, by_key, .. } = plan(store, &layout, organization, query);
    let mut explained = Vec::with_capacity(plan.ranges.len());
    let mut missing = i64::try_from(query.limit.saturating_add(1)).unwrap_or(i64::MAX);
    for range in &plan.ranges {
        let mut find = doc! {
            "find": collection.name,
            "filter": range_filter(&rows, &query.filter, range, by_key)?,
            "sort": order(&plan, by_key),
            "limit": missing,
            "projection": layout.projection.clone(),
        };
        find.extend(hint(&plan, organization).map(|hint| ("hint".to_owned(), Bson::String(hint))));
        let explain = doc! { "explain": find, "verbosity": "executionStats" };
        let told = RawDocumentBuf::try_from(store.database.run_command(explain).await.map_err(failure::running)?);
        let told = told.map_err(StoreError::engine)?;
        let returned = told.get_document("executionStats").ok().and_then(|stats| stats.get("nReturned").ok().flatten());
        missing -= returned.and_then(row::integer).unwrap_or(0);
        explained.push(told);
        if missing <= 0 {
            break;
        }
    }
    Ok(explained)
}

/// A page of each part of what the conditions on related records mean, put together.
async fn parted(
    session: &mut Session<'_>,
    rows: &Rows<'_>,
    query: &Query,
    reading: &Reading,
    wanted: usize,
) -> Result<Vec<Row>, Fault> {
    if !query.filter.names_related() {
        return page(session, rows, &query.filter, query, reading, wanted).await;
    }
    let (store, collection) = (session.store, rows.layout.collection);
    let skip = usize::try_from(query.skip).unwrap_or(usize::MAX);
    let enough = wanted.saturating_add(skip);
    let by_id = is_by_id(&reading.plan);
    let room = if by_id { Room::of_page(store, &query.filter, enough) } else { Room::whole(store) };
    let after = query.after.as_ref().filter(|_| by_id).map(|position| position.id);
    let mut parts = Parts::new(rows.organization, &query.filter, room, after);
    let unskipped = Query { skip: 0, ..query.clone() };
    let mut read: Vec<Row> = Vec::new();
    while let Some(part) = parts.next(session).await? {
        if part.next.is_none() && read.is_empty() {
            // There is no other part.
            return page(session, rows, &part.filter, query, reading, wanted).await;
        }
        read.extend(page(session, rows, &part.filter, &unskipped, reading, enough).await?);
        if by_id && read.len() >= enough {
            break;
        }
        if !by_id {
            let order = Order::new(collection, &query.sort);
            let mut placed: Vec<_> = read.into_iter().map(|row| (order.place(&row), row)).collect();
            placed.sort_by(|(left, _), (right, _)| order.compare(left, right));
            read = placed.into_iter().map(|(_, row)| row).take(enough).collect();
        }
    }
    Ok(read.into_iter().skip(skip).take(wanted).collect())
}

/// Whether the rows come in the order of their ids.
fn is_by_id(plan: &PagePlan) -> bool {
    plan.keys.first().is_some_and(|key| is_id(&key.columns[0].field) && !key.descending)
}

/// Reads the ranges of a plan one after the other until there are so many rows as are wanted.
pub(crate) async fn page(
    session: &mut Session<'_>,
    rows: &Rows<'_>,
    filter: &Filter,
    query: &Query,
    reading: &Reading,
    wanted: usize,
) -> Result<Vec<Row>, Fault> {
    let Reading { plan, by_key, hinted } = reading;
    // An offset counts over all ranges, so with several of them the rows are counted here.
    let several = plan.ranges.len() > 1;
    let mut left_out = if several { usize::try_from(query.skip).unwrap_or(usize::MAX) } else { 0 };
    let mut read = Vec::new();
    for range in &plan.ranges {
        let missing = (wanted - read.len()).saturating_add(left_out);
        let mut options = options(rows.layout, missing);
        options.limit = i64::try_from(missing).ok();
        options.skip = (!several && query.skip > 0).then_some(query.skip);
        options.sort = Some(order(plan, *by_key));
        options.hint = hint(plan, rows.organization).filter(|_| *hinted).map(Hint::Name);
        let filter = range_filter(rows, filter, range, *by_key)?;
        let found = session.rows(rows.layout, filter, options).await?;
        let skipped = left_out.min(found.len());
        left_out -= skipped;
        read.extend(found.into_iter().skip(skipped));
        if read.len() >= wanted {
            break;
        }
    }
    Ok(read)
}

pub(crate) fn stream<'a>(
    store: &'a MongoStore,
    scope: Scope,
    collection: &'static Collection,
    query: Query,
) -> BoxStream<'a, StoreResult<Row>> {
    if (1..=BATCH as usize).contains(&query.limit) {
        // So few rows are one page.
        let page = async move { find(store, scope, collection, &query).await };
        return stream::once(page).map_ok(|page| stream::iter(page.rows.into_iter().map(Ok))).try_flatten().boxed();
    }
    stream::once(open(store, scope, collection, query)).try_flatten().boxed()
}

/// Opens a cursor that gives no row twice, whatever is written meanwhile.
///
/// By id a row that is met again follows itself, and is left out. In another order a row could move ahead and come
/// twice from an index: there the rows are read by `_id`, which never changes, and sorted by the server, which does so
/// once. A snapshot would do as well, but the server forgets it after five minutes.
async fn open<'a>(
    store: &'a MongoStore,
    scope: Scope,
    collection: &'static Collection,
    query: Query,
) -> StoreResult<BoxStream<'a, StoreResult<Row>>> {
    let organization = visible_organization(scope, collection)?;
    check_query(collection, &query)?;
    if !query.filter.names_related() {
        return cursor(store, organization, collection, &query, &query.filter).await;
    }
    if is_by_id(&plan(store, &store.layouts.of(collection), organization, &query).plan) {
        return Ok(by_parts(store, organization, collection, query));
    }
    let filter = in_snapshot(store, |mut session| {
        let filter = &query.filter;
        async move { related(&mut session, organization, filter).await.map(Cow::into_owned) }
    })
    .await?;
    cursor(store, organization, collection, &query, &filter).await
}

/// The rows by id of each part of what the conditions on related records mean, one part after the other.
fn by_parts<'a>(
    store: &'a MongoStore,
    organization: Option<Uuid>,
    collection: &'static Collection,
    query: Query,
) -> BoxStream<'a, StoreResult<Row>> {
    let skip = usize::try_from(query.skip).unwrap_or(usize::MAX);
    let limit = if query.limit == 0 { usize::MAX } else { query.limit };
    let after = query.after.as_ref().map(|position| position.id);
    let query = Query { skip: 0, limit: 0, ..query };
    stream::try_unfold(Some((query, after)), move |state| async move {
        let Some((query, after)) = state else { return Ok(None) };
        let (filter, next) = in_snapshot(store, |mut session| {
            let filter = &query.filter;
            async move {
                let part = part_behind(&mut session, organization, filter, after).await?;
                Ok((part.filter.into_owned(), part.next))
            }
        })
        .await?;
        let rows = cursor(store, organization, collection, &query, &filter).await?;
        Ok::<_, StoreError>(Some((rows, next.map(|next| (query, Some(next))))))
    })
    .try_flatten()
    .skip(skip)
    .take(limit)
    .boxed()
}

/// The rows that meet the filter, from `_id` to `_id` or sorted by the server.
async fn cursor<'a>(
    store: &'a MongoStore,
    organization: Option<Uuid>,
    collection: &'static Collection,
    query: &Query,
    filter: &Filter,
) -> StoreResult<BoxStream<'a, StoreResult<Row>>> {
    let layout = store.layouts.of(collection);
    let rows = Rows { layout: &layout, organization };
    let Reading { plan, by_key, .. } = plan(store, &layout, organization, query);
    let ranges: Vec<Document> = plan
        .ranges
        .iter()
        .map(|range| rows.within(range, by_key).map(crate::compile::all))
        .collect::<StoreResult<_>>()?;
    let mut more = rows.key_range();
    if ranges.iter().all(|range| !range.is_empty()) {
        more.push(if ranges.is_empty() {
            crate::compile::never()
        } else {
            doc! { "$or": ranges }
        });
    }
    let mut options = options(&layout, if query.limit == 0 { usize::MAX } else { query.limit });
    options.limit = (query.limit > 0).then(|| i64::try_from(query.limit).unwrap_or(i64::MAX));
    options.skip = (query.skip > 0).then_some(query.skip);
    options.sort = Some(order(&plan, by_key));
    let by_id = plan.keys.first().is_some_and(|key| is_id(&key.columns[0].field));
    if !by_id {
        options.hint = Some(Hint::Name("_id_".to_owned()));
    }
    let documents = store.collection(collection);
    let cursor = documents.find(rows.matching(filter, more)?).with_options(options).await.map_err(failure::running)?;
    Ok(stream::try_unfold((cursor, None::<Uuid>), move |(mut cursor, mut last)| async move {
        loop {
            let Some(row) = next(&mut cursor, collection).await? else { return Ok(None) };
            if !by_id || last != Some(row.id()) {
                last = Some(row.id());
                return Ok(Some((row, (cursor, last))));
            }
        }
    })
    .boxed())
}

async fn next(cursor: &mut Cursor<RawDocumentBuf>, collection: &'static Collection) -> StoreResult<Option<Row>> {
    if !cursor.advance().await.map_err(failure::running)? {
        return Ok(None);
    }
    row::decode(collection.fields, cursor.current()).map(Some)
}

pub(crate) async fn count(
    store: &MongoStore,
    scope: Scope,
    collection: &'static Collection,
    filter: &Filter,
) -> StoreResult<u64> {
    let organization = visible_organization(scope, collection)?;
    check_filter(collection, filter)?;
    let layout = store.layouts.of(collection);
    in_snapshot(store, |mut session| {
        let layout = &layout;
        async move {
            let mut parts = Parts::new(organization, filter, Room::whole(store), None);
            let mut all = 0_u64;
            while let Some(part) = parts.next(&mut session).await? {
                let matching = Rows { layout, organization }.matching(&part.filter, Vec::new())?;
                let pipeline = vec![doc! { "$match": matching }, doc! { "$count": "count" }];
                let mut count = 0;
                session
                    .aggregate(collection, pipeline, |answer| {
                        count = answer.get("count").ok().flatten().and_then(row::integer).unwrap_or(0);
                        Ok(())
                    })
                    .await?;
                all += u64::try_from(count).unwrap_or(0);
            }
            Ok(all)
        }
    })
    .await
}
