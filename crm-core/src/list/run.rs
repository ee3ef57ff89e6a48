use futures::future::OptionFuture;

use super::{
    List, ListPage, ListRequest, MAX_DEPTH,
    cursor::{Cursor, Digest},
    near_misses,
};
use crate::{
    access::Principal,
    crm::Crm,
    error::{Error, Result},
    record::Record,
    repo::Visible,
    store::{Filter, Query},
};

/// Answers a list of what the principal sees. `within` holds for every record of the list, whatever is asked, such as
/// that it is not deleted.
///
/// # Errors
/// [`Error::Invalid`] on `cursor` where it belongs to another list; those of the store.
pub async fn visible<T: Visible>(crm: &Crm, by: &Principal, request: &ListRequest, within: Filter) -> Result<List<T>> {
    everything(crm, by, request, T::visible_to(by).and(within)).await
}

/// Answers a list of a kind of record that everybody in the organization sees alike.
///
/// # Errors
/// [`Error::Invalid`] on `cursor` where it belongs to another list; those of the store.
pub async fn everything<T: Record>(
    crm: &Crm,
    by: &Principal,
    request: &ListRequest,
    within: Filter,
) -> Result<List<T>> {
    let now = crm.now();
    let digest = Digest::of(by.organization, T::COLLECTION, request);
    let cursor = match &request.cursor {
        Some(text) => Some(Cursor::decode(text, digest, request.sort.len(), crm.cursor_key(), now)?),
        None => None,
    };
    // The instant of the first page, so that "the last 30 days" are the same days on every page.
    let as_of = cursor.as_ref().map_or(now, |cursor| cursor.as_of);
    let matching = match &request.rule {
        Some(rule) => within.and(rule.filter(as_of)),
        None => within,
    };
    let searched = if request.search.is_empty() {
        matching.clone()
    } else {
        matching.clone().and(Filter::Search { terms: request.search.clone() })
    };
    let repo = crm.repo::<T>();
    let skip = skipped(request)?;
    let counted = request.count || request.page.is_some();
    let total = OptionFuture::from(counted.then(|| repo.count(by.scope(), &searched)));
    let query = Query {
        filter: searched.clone(),
        sort: request.sort.clone(),
        limit: request.limit,
        after: cursor.map(|cursor| cursor.position),
        skip,
    };
    let (found, total) = futures::join!(repo.find(by.scope(), &query), total);
    let (found, total) = (found?, total.transpose()?);
    let nothing = found.records.is_empty() && request.cursor.is_none() && total.unwrap_or(0) == 0;
    if nothing && !request.search.is_empty() {
        return near(&repo, by, request, &matching, skip, total).await;
    }
    let next_cursor = found.next.and_then(|position| Cursor { as_of, position }.encode(digest, crm.cursor_key()));
    let page = ListPage {
        limit: request.limit,
        next_cursor,
        has_more: found.has_more,
        total,
        slow: found.slow,
        ..ListPage::default()
    };
    Ok(List { data: found.records, page })
}

fn skipped(request: &ListRequest) -> Result<u64> {
    let limit = u64::try_from(request.limit).unwrap_or(u64::MAX);
    let page = request.page.unwrap_or(1);
    match page.checked_mul(limit) {
        Some(end) if end <= MAX_DEPTH && page > 0 => Ok(end - limit),
        _ => Err(Error::invalid("page", "OUT_OF_RANGE", "is out of range: use cursor to go further")),
    }
}

async fn near<T: Record>(
    repo: &crate::repo::Repo<'_, T>,
    by: &Principal,
    request: &ListRequest,
    matching: &Filter,
    skip: u64,
    total: Option<u64>,
) -> Result<List<T>> {
    let misses = near_misses(repo, by.scope(), matching, &request.search).await?;
    let found = misses.records.len();
    let skip = usize::try_from(skip).unwrap_or(usize::MAX);
    let data: Vec<T> = misses.records.into_iter().skip(skip).take(request.limit).collect();
    let follow = found > skip.saturating_add(data.len());
    let page = ListPage {
        limit: request.limit,
        // Near misses have no place in the order of the list, so only a numbered page goes on.
        has_more: follow && request.page.is_some(),
        total: total.map(|_| u64::try_from(found).unwrap_or(u64::MAX)),
        fuzzy: found > 0,
        partial: misses.partial || follow && request.page.is_none(),
        ..ListPage::default()
    };
    Ok(List { data, page })
}
