//! One page out of several kinds of records: newest first, of the same instant in the order of the sources, then the
//! newest id first.

use futures::future::try_join_all;
use uuid::Uuid;

use super::{
    TimelineEntry,
    source::{SOURCES, Source},
};
use crate::{
    access::Principal,
    crm::Crm,
    customer::Customer,
    error::Result,
    id::CustomerId,
    list::{Cursor, Digest, List, ListPage, ListRequest},
    record::Record as _,
    store::{Position, Value},
    time::Timestamp,
};

/// The last entry of a page.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Place {
    pub(super) at: Timestamp,
    pub(super) rank: usize,
    pub(super) id: Uuid,
}

impl Place {
    /// Where a source of that rank goes on after it.
    pub(super) fn of_source(self, rank: usize) -> Position {
        let id = match rank.cmp(&self.rank) {
            // Its entries of the instant were all before.
            std::cmp::Ordering::Less => Uuid::nil(),
            std::cmp::Ordering::Equal => self.id,
            // Its entries of the instant are all still to come.
            std::cmp::Ordering::Greater => Uuid::max(),
        };
        Position { keys: vec![Value::Timestamp(self.at)], id }
    }
}

/// One page.
pub(super) async fn read(
    crm: &Crm,
    by: &Principal,
    customer: CustomerId,
    request: &ListRequest,
    sources: &[(usize, &dyn Source)],
) -> Result<List<TimelineEntry>> {
    let now = crm.now();
    let asked = {
        let mut asked = request.clone();
        asked.extra.insert("timeline".to_owned(), customer.to_string());
        asked
    };
    let digest = Digest::of(by.organization, Customer::COLLECTION, &asked);
    let cursor = match &request.cursor {
        Some(text) => Some(Cursor::decode(text, digest, 2, crm.cursor_key(), now)?),
        None => None,
    };
    let as_of = cursor.as_ref().map_or(now, |cursor| cursor.as_of);
    let place = cursor.and_then(|cursor| match cursor.position.keys.as_slice() {
        [Value::Timestamp(at), Value::Text(kind)] => {
            let rank = SOURCES.iter().position(|source| source.kind() == kind)?;
            Some(Place { at: *at, rank, id: cursor.position.id })
        }
        _ => None,
    });
    let pages = sources.iter().map(|(rank, source)| async move {
        let after = place.map(|place| place.of_source(*rank));
        let entries = source.entries(crm, by, customer, after, request.limit + 1).await?;
        Ok::<_, crate::Error>(entries.into_iter().map(|entry| (*rank, entry)).collect::<Vec<_>>())
    });
    let (data, last) = newest(try_join_all(pages).await?.into_iter().flatten().collect(), request.limit);
    let next_cursor = last.and_then(|last| {
        let kind = SOURCES.get(last.rank)?.kind().to_owned();
        let position = Position { keys: vec![Value::Timestamp(last.at), Value::Text(kind)], id: last.id };
        Cursor { as_of, position }.encode(digest, crm.cursor_key())
    });
    let page = ListPage { limit: request.limit, has_more: next_cursor.is_some(), next_cursor, ..ListPage::default() };
    Ok(List { data, page })
}

/// The newest of them, and the last one's place where more follow.
pub(super) fn newest(mut entries: Vec<(usize, TimelineEntry)>, limit: usize) -> (Vec<TimelineEntry>, Option<Place>) {
    entries.sort_by(|(rank, one), (other_rank, other)| {
        other.at.cmp(&one.at).then(rank.cmp(other_rank)).then(other.id.cmp(&one.id))
    });
    let more = entries.len() > limit;
    entries.truncate(limit);
    let last = entries.last().filter(|_| more).map(|(rank, entry)| Place { at: entry.at, rank: *rank, id: entry.id });
    (entries.into_iter().map(|(_, entry)| entry).collect(), last)
}
