//! By what the rows of a query are read.

use super::order::{Form, IndexColumn, index_columns, sort_columns};
use crate::store::{Collection, Comparison, FieldKind, FieldRef, Filter, Index, Query, Sort, Value, fold::fold};

/// By what rows are read.
#[derive(Clone, Debug, PartialEq)]
pub enum Access {
    /// The filter names one record by its id or a unique key, or a list of ids: a lookup.
    Key,
    /// A declared index, which has the filter's equalities and then, unless the plan is slow, the order.
    Index(&'static Index),
    /// An element of a list, by an index that the list leads and that has the order behind it. The plan's filter no
    /// longer asks for the element.
    Element {
        /// The index.
        index: &'static Index,
        /// The list.
        list: &'static str,
        /// The element.
        element: String,
    },
    /// The index on the custom field by which the rows are ordered.
    Custom(FieldRef),
    /// The matches of a search, through its trigrams, or of an element of a list, through an index that the list
    /// leads: they are few, so they are found first and sorted.
    Matches,
    /// No index is known to help; the engine may know better.
    Any,
}

pub(super) struct Choice {
    pub(super) access: Access,
    pub(super) filter: Filter,
    pub(super) slow: bool,
}

/// - A key that names one record, or a list of ids.
/// - An element of a list, where an index has the order too.
/// - Search, or an element of a list in another order.
/// - The index that has the filter's equalities and then the order, the one with the most equalities. Without an
///   order, one that has more of the equalities, even where the matches then have to be sorted by id.
pub(super) fn choose(
    collection: &'static Collection,
    of_organization: bool,
    query: &Query,
    custom_index: impl Fn(&FieldRef) -> bool,
) -> Choice {
    let mut bound = Bindings::default();
    bound.collect(&query.filter);
    if of_organization {
        bound.values.push("organization_id");
    }
    let choice = |access, slow| Choice { access, filter: query.filter.clone(), slow };
    let names_one = bound.values.contains(&"id")
        || names_ids(&query.filter)
        || collection.unique.iter().any(|key| key.fields.iter().all(|field| bound.values.contains(field)));
    if names_one {
        return choice(Access::Key, false);
    }
    if of_organization {
        if let Some((access, filter)) = by_element(collection, query, &bound) {
            return Choice { access, filter, slow: false };
        }
        if is_found_by_element(collection, &query.filter) {
            return choice(Access::Matches, true);
        }
    }
    if is_found_by_trigrams(&query.filter) {
        return choice(Access::Matches, true);
    }
    if let Some(sort) = query.sort.iter().find(|sort| sort.field.key.is_some()) {
        let served = query.sort.len() == 1 && custom_index(&sort.field);
        return choice(if served { Access::Custom(sort.field.clone()) } else { Access::Any }, !served);
    }
    let best = collection
        .indexes
        .iter()
        .filter_map(|index| {
            let columns = index_columns(collection, index)?;
            if columns.iter().any(|column| column.field.kind == FieldKind::TextList) {
                return None;
            }
            let equal = columns.iter().take_while(|column| bound.has(column.field.name)).count();
            let values = columns.iter().take_while(|column| bound.values.contains(&column.field.name)).count();
            let serves = serves(collection, &columns[equal..], &query.sort, &bound);
            let led = usize::from(of_organization && columns[0].field.name == "organization_id");
            let fits = if query.sort.is_empty() { values > led || serves && equal > led } else { serves };
            fits.then_some(((values, serves, equal), index))
        })
        .max_by_key(|(worth, _)| *worth);
    match best {
        Some(((_, serves, _), index)) => choice(Access::Index(index), !serves),
        None => choice(Access::Any, !orders_by_id(&query.sort, &bound)),
    }
}

/// Whether every match is found through an index that a list leads.
#[must_use]
pub fn is_found_by_element(collection: &'static Collection, filter: &Filter) -> bool {
    let leads = |index: &Index, list: &str| index.fields.first().is_some_and(|first| first.name == list);
    match filter {
        Filter::And(filters) => filters.iter().any(|filter| is_found_by_element(collection, filter)),
        Filter::Contains { field, .. } | Filter::In { field, .. } => {
            field.kind == FieldKind::TextList
                && field.key.is_none()
                && collection.indexes.iter().any(|index| leads(index, &field.name))
        }
        _ => false,
    }
}

/// Whether every match is found through the trigrams of a search: some term has three letters when folded.
#[must_use]
pub fn is_found_by_trigrams(filter: &Filter) -> bool {
    match filter {
        Filter::And(filters) => filters.iter().any(is_found_by_trigrams),
        Filter::Search { terms } => terms.iter().any(|term| fold(term).chars().nth(2).is_some()),
        _ => false,
    }
}

/// The index that has an element of the filter and then the order, and what is left of the filter.
fn by_element(collection: &'static Collection, query: &Query, bound: &Bindings<'_>) -> Option<(Access, Filter)> {
    let conjuncts = match &query.filter {
        Filter::And(filters) => filters.as_slice(),
        other => std::slice::from_ref(other),
    };
    conjuncts.iter().enumerate().find_map(|(place, conjunct)| {
        let (list, element) = named_element(conjunct)?;
        let index = collection.indexes.iter().find(|index| {
            let Some(columns) = index_columns(collection, index) else { return false };
            let rest = columns.iter().position(|column| column.field.name == list).map(|at| &columns[at + 1..]);
            // A record without a value of the order may not be in such an index.
            let whole = |column: &IndexColumn| !column.field.optional && column.field.kind != FieldKind::TextList;
            index.fields.first().is_some_and(|first| first.name == list)
                && rest.is_some_and(|rest| rest.iter().all(whole) && serves(collection, rest, &query.sort, bound))
        })?;
        let list = collection.field(list)?.name;
        let mut rest = conjuncts.to_vec();
        rest.remove(place);
        Some((Access::Element { index, list, element: element.to_owned() }, Filter::And(rest)))
    })
}

/// The declared list of which a filter asks for one element.
fn named_element(filter: &Filter) -> Option<(&str, &str)> {
    match filter {
        Filter::Contains { field, text } if field.kind == FieldKind::TextList && field.key.is_none() => {
            Some((&field.name, text))
        }
        Filter::In { field, values } if field.kind == FieldKind::TextList && field.key.is_none() => {
            let [Value::Text(text)] = values.as_slice() else { return None };
            Some((&field.name, text))
        }
        _ => None,
    }
}

/// The declared fields that a match has exactly one value of, or none.
#[derive(Default)]
struct Bindings<'a> {
    values: Vec<&'a str>,
    missing: Vec<&'a str>,
}

impl<'a> Bindings<'a> {
    fn collect(&mut self, filter: &'a Filter) {
        match filter {
            Filter::And(filters) => filters.iter().for_each(|filter| self.collect(filter)),
            Filter::Compare { field, comparison: Comparison::Equal, .. } if field.key.is_none() => {
                self.values.push(&field.name);
            }
            Filter::In { field, values }
                if field.key.is_none() && values.len() == 1 && field.kind != FieldKind::TextList =>
            {
                self.values.push(&field.name);
            }
            Filter::Not(inner) => {
                if let Filter::Exists { field } = inner.as_ref()
                    && field.key.is_none()
                    && field.kind != FieldKind::TextList
                {
                    self.missing.push(&field.name);
                }
            }
            _ => {}
        }
    }

    /// Whether the field has one value in all matches, or is missing in all.
    fn has(&self, name: &str) -> bool {
        self.values.contains(&name) || self.missing.contains(&name)
    }
}

fn orders_by_id(sort: &[Sort], bound: &Bindings<'_>) -> bool {
    sort.iter().find(|sort| !bound.has(&sort.field.name)).is_none_or(|sort| sort.field.name == "id")
}

/// Whether the columns run in the order, or in the opposite of it.
fn serves(collection: &'static Collection, columns: &[IndexColumn], sort: &[Sort], bound: &Bindings<'_>) -> bool {
    let mut wanted: Vec<(&str, Form, bool)> = Vec::new();
    for sort in sort {
        if bound.has(&sort.field.name) {
            continue;
        }
        let forms = sort_columns(collection, &sort.field);
        wanted.extend(forms.iter().map(|column| (sort.field.name.as_ref(), column.form, sort.descending)));
    }
    if wanted.last().is_none_or(|(name, ..)| *name != "id") {
        wanted.push(("id", Form::Value, sort.last().is_some_and(|sort| sort.descending)));
    }
    let end = wanted.iter().position(|(name, ..)| *name == "id").map_or(wanted.len(), |place| place + 1);
    wanted.truncate(end);
    let agree = |reversed: bool| {
        columns.len() == wanted.len()
            && columns.iter().zip(&wanted).all(|(have, (name, form, descending))| {
                have.field.name == *name && have.form == *form && (have.descending != *descending) == reversed
            })
    };
    agree(false) || agree(true)
}

/// Whether a match is one of a list of records.
fn names_ids(filter: &Filter) -> bool {
    match filter {
        Filter::And(filters) => filters.iter().any(names_ids),
        Filter::In { field, .. } => field.key.is_none() && field.name == "id",
        _ => false,
    }
}
