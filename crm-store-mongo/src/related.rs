//! Conditions on related records: whom they mean is found beforehand, and stands in the filter by ids.
//!
//! One command has room for so many ids. Where more are meant, the query is run for one part of all ids after the other:
//! those behind one id up to another. A filter means the same within each part as it means of all, whatever it says beside
//! the condition, so that counts are added, and pages put together.

use std::borrow::Cow;

use bson::{Document, doc};
use crm_core::store::{
    Comparison, FieldKind, FieldRef, Filter, RelatedFilter, RelatedMeasure, StoreError, StoreResult, Value,
};
use uuid::Uuid;

use crate::{
    compile::{self, Rows, operator},
    decimal, failure, row,
    session::{Fault, Session},
    store::MongoStore,
};

/// How many ids a first part has of a query that needs few rows.
const FEW: usize = 1000;

/// A filter that names no related records any more.
pub(crate) struct Part<'f> {
    pub(crate) filter: Cow<'f, Filter>,
    /// Behind which id the next part begins; nothing where this was the last.
    pub(crate) next: Option<Uuid>,
}

/// How many ids parts have.
#[derive(Clone, Copy)]
pub(crate) struct Room {
    next: usize,
    most: usize,
}

impl Room {
    /// As many as a command may name.
    pub(crate) fn whole(store: &MongoStore) -> Self {
        Self { next: store.options.related_ids, most: store.options.related_ids }
    }

    /// For the first rows by id, of which there may be enough among few ids. A condition of which every part costs a pass
    /// over all that relates is asked for as much as a command may name.
    pub(crate) fn of_page(store: &MongoStore, filter: &Filter, rows: usize) -> Self {
        let whole = Self::whole(store);
        let mut related = Vec::new();
        conditions(filter, &mut related);
        if !related.iter().all(|related| is_listed(related)) {
            return whole;
        }
        Self { next: rows.saturating_mul(4).max(FEW).min(whole.most), ..whole }
    }

    fn grown(self) -> Self {
        Self { next: self.next.saturating_mul(4).min(self.most), ..self }
    }
}

/// The parts of a filter, one after the other.
pub(crate) struct Parts<'f> {
    filter: &'f Filter,
    organization: Option<Uuid>,
    room: Room,
    after: Option<Uuid>,
    over: bool,
}

impl<'f> Parts<'f> {
    /// Those of the ids behind `after`.
    pub(crate) const fn new(organization: Option<Uuid>, filter: &'f Filter, room: Room, after: Option<Uuid>) -> Self {
        Self { filter, organization, room, after, over: false }
    }

    /// The next part.
    pub(crate) async fn next(&mut self, session: &mut Session<'_>) -> Result<Option<Part<'f>>, Fault> {
        if self.over {
            return Ok(None);
        }
        let part = part(session, self.organization, self.filter, self.after, self.room.next, true).await?;
        self.room = self.room.grown();
        self.after = part.next;
        self.over = part.next.is_none();
        Ok(Some(part))
    }
}

/// The whole filter in one part.
///
/// # Errors
/// [`StoreError::TooLarge`] where it means more ids than one command has room for.
pub(crate) async fn related<'f>(
    session: &mut Session<'_>,
    organization: Option<Uuid>,
    filter: &'f Filter,
) -> Result<Cow<'f, Filter>, Fault> {
    let most = session.store.options.related_ids;
    let part = part(session, organization, filter, None, most, false).await?;
    if part.next.is_some() {
        let told = format!("more than {most} related records match: narrow the conditions");
        return Err(StoreError::TooLarge(told).into());
    }
    Ok(part.filter)
}

/// The largest part behind an id.
pub(crate) async fn part_behind<'f>(
    session: &mut Session<'_>,
    organization: Option<Uuid>,
    filter: &'f Filter,
    after: Option<Uuid>,
) -> Result<Part<'f>, Fault> {
    let room = session.store.options.related_ids;
    part(session, organization, filter, after, room, true).await
}

/// The filter for the ids behind `after`, up to one before which no more than `room` are named. `shared` tells whether
/// room is kept for every condition; else the first ones may take all.
async fn part<'f>(
    session: &mut Session<'_>,
    organization: Option<Uuid>,
    filter: &'f Filter,
    after: Option<Uuid>,
    room: usize,
    shared: bool,
) -> Result<Part<'f>, Fault> {
    if !filter.names_related() {
        return Ok(Part { filter: Cow::Borrowed(filter), next: None });
    }
    let mut named = Vec::new();
    conditions(filter, &mut named);
    let mut left = room;
    let mut next = None;
    let mut found: Vec<Vec<Uuid>> = Vec::with_capacity(named.len());
    for (place, related) in named.iter().enumerate() {
        let room = if shared { left / (named.len() - place) } else { left }.max(1);
        let pass = Pass { organization, related, after, to: next };
        let mut ids = pass.ids(session, room).await?;
        if ids.len() > room {
            ids.truncate(room);
            next = ids.last().copied();
        }
        left = left.saturating_sub(ids.len());
        found.push(ids);
    }
    let mut found = found.into_iter().zip(&named).map(|(mut ids, related)| {
        ids.retain(|id| next.is_none_or(|next| *id <= next));
        let meant = Filter::In { field: id(), values: ids.into_iter().map(Value::Id).collect() };
        if counts_without(related)? { Ok(meant.negated()) } else { Ok(meant) }
    });
    let mut filter = replaced(filter, &mut found)?;
    if let Some(after) = after {
        filter = filter.and(Filter::compare(id(), Comparison::Greater, Value::Id(after)));
    }
    if let Some(next) = next {
        filter = filter.and(Filter::compare(id(), Comparison::LessOrEqual, Value::Id(next)));
    }
    Ok(Part { filter: Cow::Owned(filter), next })
}

fn id() -> FieldRef {
    FieldRef::declared("id", FieldKind::Id)
}

/// The conditions on related records, from the first to the last.
fn conditions<'f>(filter: &'f Filter, found: &mut Vec<&'f RelatedFilter>) {
    match filter {
        Filter::And(filters) | Filter::Or(filters) => filters.iter().for_each(|filter| conditions(filter, found)),
        Filter::Not(filter) => conditions(filter, found),
        Filter::Related(related) => found.push(related),
        _ => {}
    }
}

/// The filter with others in place of those conditions, in the same order.
fn replaced(filter: &Filter, others: &mut dyn Iterator<Item = StoreResult<Filter>>) -> StoreResult<Filter> {
    let mut each = |filters: &[Filter]| {
        filters.iter().map(|filter| replaced(filter, others)).collect::<StoreResult<Vec<Filter>>>()
    };
    Ok(match filter {
        Filter::And(filters) => Filter::And(each(filters)?),
        Filter::Or(filters) => Filter::Or(each(filters)?),
        Filter::Not(filter) => replaced(filter, others)?.negated(),
        Filter::Related(_) => others.next().unwrap_or(Ok(Filter::ALL))?,
        other => other.clone(),
    })
}

/// Whether so many compare as the condition asks.
fn holds(related: &RelatedFilter, count: i128) -> StoreResult<bool> {
    let operand = decimal::scaled(operand(related)?, 4);
    Ok(related.comparison.holds(operand.map(|operand| (count * 10_000).cmp(&operand))))
}

fn operand(related: &RelatedFilter) -> StoreResult<bson::Decimal128> {
    match &related.value {
        Value::Integer(value) => Ok(decimal::of_integer(*value)),
        Value::Money(value) => Ok(decimal::of_money(*value)),
        _ => Err(StoreError::Misuse(format!("{}: no operand for a measure", related.collection.name))),
    }
}

/// Whether a record without any related one is meant too: then those are found who are not.
fn counts_without(related: &RelatedFilter) -> StoreResult<bool> {
    holds(related, 0)
}

/// Whether one related record is enough, and a unique key lets each record have no more: then an index has the ids in
/// their order, and as many are read as are needed.
fn is_listed(related: &RelatedFilter) -> bool {
    let one_is_enough = matches!(related.measure, RelatedMeasure::Count)
        && matches!((holds(related, 0), holds(related, 1)), (Ok(false), Ok(true)));
    let mut equal = Vec::new();
    let plain = push_equal(&related.filter, &mut equal);
    one_is_enough
        && plain
        && related.collection.unique.iter().any(|key| {
            key.fields.last() == Some(&related.key)
                && key.fields.iter().all(|field| *field == related.key || equal.contains(field))
        })
}

/// The fields that have to be equal to something; false where the filter says anything else.
fn push_equal<'f>(filter: &'f Filter, equal: &mut Vec<&'f str>) -> bool {
    match filter {
        Filter::And(filters) => filters.iter().all(|filter| push_equal(filter, equal)),
        Filter::Compare { field, comparison: Comparison::Equal, .. } if field.key.is_none() => {
            equal.push(&field.name);
            true
        }
        _ => false,
    }
}

/// One pass over related records: those of ids behind `after`, up to `to`.
struct Pass<'a> {
    organization: Option<Uuid>,
    related: &'a RelatedFilter,
    after: Option<Uuid>,
    to: Option<Uuid>,
}

impl Pass<'_> {
    /// The ids that it finds, or one more than there is room for: then they are the first, in their order.
    async fn ids(&self, session: &mut Session<'_>, room: usize) -> Result<Vec<Uuid>, Fault> {
        let limit = room.saturating_add(1);
        // Mostly there is room for all, and nothing to be sorted.
        let sorted = self.after.is_some() || is_listed(self.related);
        let ids = self.read(session, limit, sorted).await?;
        if ids.len() <= room || sorted {
            return Ok(ids);
        }
        self.read(session, limit, true).await
    }

    async fn read(&self, session: &mut Session<'_>, limit: usize, sorted: bool) -> Result<Vec<Uuid>, Fault> {
        let pipeline = self.pipeline(session.store, limit, sorted)?;
        let mut ids = Vec::new();
        session
            .aggregate(self.related.collection, pipeline, |answer| {
                let id = answer.get("_id").map_err(StoreError::engine)?;
                if let Some(Value::Id(id)) = id.and_then(|id| row::decode_value(id, FieldKind::Id)) {
                    ids.push(id);
                }
                Ok(())
            })
            .await?;
        Ok(ids)
    }

    fn pipeline(&self, store: &MongoStore, limit: usize, sorted: bool) -> StoreResult<Vec<Document>> {
        let related = self.related;
        let key = related.key;
        let mut of_key = vec![doc! { key: { "$exists": true } }];
        for (operator, id) in [("$gt", self.after), ("$lte", self.to)] {
            if let Some(id) = id {
                of_key.push(doc! { key: { operator: compile::operand(&Value::Id(id))? } });
            }
        }
        let layout = store.layouts.of(related.collection);
        let matching = Rows { layout: &layout, organization: self.organization }.matching(&related.filter, of_key)?;
        let limit = doc! { "$limit": i64::try_from(limit).unwrap_or(i64::MAX) };
        if is_listed(related) {
            let ids = doc! { "$project": { "_id": format!("${key}") } };
            return Ok(vec![doc! { "$match": matching }, doc! { "$sort": { key: 1 } }, limit, ids]);
        }
        let measure = match related.measure {
            RelatedMeasure::Count => doc! { "$sum": 1 },
            // As decimals, since the sum of 64-bit numbers becomes a double where it is larger.
            RelatedMeasure::Sum(name) => doc! { "$sum": { "$toDecimal": format!("${name}") } },
        };
        let compared = doc! { operator(related.comparison): operand(related)? };
        let mut pipeline = vec![
            doc! { "$match": matching },
            doc! { "$group": { "_id": format!("${key}"), "measure": measure } },
            doc! { "$match": { "measure": if counts_without(related)? { doc! { "$not": compared } } else { compared } } },
            doc! { "$project": { "_id": 1 } },
        ];
        if sorted {
            pipeline.push(doc! { "$sort": { "_id": 1 } });
        }
        pipeline.push(limit);
        Ok(pipeline)
    }
}

/// What the server does for each condition on related records.
pub(crate) async fn explain(
    store: &MongoStore,
    organization: Option<Uuid>,
    filter: &Filter,
) -> StoreResult<Vec<Document>> {
    let mut related = Vec::new();
    conditions(filter, &mut related);
    let mut explained = Vec::with_capacity(related.len());
    for related in related {
        let pipeline = Pass { organization, related, after: None, to: None }.pipeline(store, FEW, false)?;
        let aggregate = doc! { "aggregate": related.collection.name, "pipeline": pipeline, "cursor": {} };
        let explain = doc! { "explain": aggregate, "verbosity": "executionStats" };
        explained.push(store.database.run_command(explain).await.map_err(failure::running)?);
    }
    Ok(explained)
}
