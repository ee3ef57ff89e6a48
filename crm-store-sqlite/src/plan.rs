//! Orders, pages and the indexes that serve them.
//!
//! SQLite puts missing values first ascending and last descending, as the contract does, so the first page of an
//! order is one scan of an index. A later page begins at a position, and a comparison with a missing value is
//! unknown; so what follows a position is parted into blocks, each one range of an index, read one after the other
//! until the page is full. With one sort key there are at most two: the rest of the missing values and the present
//! ones.

use crm_core::store::{Comparison, FieldKind, FieldRef, Filter, Position, Query, Sort, StoreResult, Value, fold::fold};

use crate::{
    compile::Rows,
    layout::Layout,
    statement::{Statement, identifier},
};

/// One key of an order.
struct Key {
    /// The expressions compared one after the other: a text's folded form, then the text.
    expressions: Vec<String>,
    descending: bool,
    /// Whether it can be missing.
    optional: bool,
}

/// One condition on the keys of an order.
enum Bound {
    Equal(String, Value),
    Missing(String),
    Present(String),
    /// The expressions, as a tuple, lie after the values.
    After {
        expressions: Vec<String>,
        values: Vec<Value>,
        descending: bool,
    },
}

/// An order ready to be written.
pub(crate) struct Plan {
    keys: Vec<Key>,
    blocks: Vec<Vec<Bound>>,
    /// The index that is read, where the choice is not left to SQLite.
    index: Option<String>,
    /// Whether every match is read and sorted.
    pub(crate) slow: bool,
}

impl Plan {
    /// `custom_index` tells whether there is an index on a custom field.
    pub(crate) fn new(rows: &Rows<'_>, query: &Query, custom_index: impl Fn(&FieldRef) -> bool) -> StoreResult<Self> {
        let keys = keys(rows, &query.sort)?;
        let blocks = match &query.after {
            None => vec![Vec::new()],
            Some(position) => after(&keys, &values(rows.layout, &query.sort, position)),
        };
        let Served { index, slow } = serve(rows, query, custom_index);
        Ok(Self { keys, blocks, index, slow })
    }

    /// How many ranges the page may have to read.
    pub(crate) const fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// Writes `FROM`, `WHERE` and `ORDER BY` of a block.
    pub(crate) fn push_block(
        &self,
        statement: &mut Statement,
        rows: &Rows<'_>,
        filter: &Filter,
        block: usize,
    ) -> StoreResult<()> {
        statement.push(&format!(" FROM {} AS {}", rows.layout.table, rows.alias));
        if let Some(index) = &self.index {
            statement.push(" INDEXED BY ").push(&identifier(index));
        }
        rows.push_where(statement, filter)?;
        for bound in self.blocks.get(block).into_iter().flatten() {
            statement.push(" AND ");
            bound.push(statement);
        }
        statement.push(" ORDER BY ");
        let directed = self.keys.iter().flat_map(|key| {
            key.expressions.iter().map(|expression| (expression, if key.descending { " DESC" } else { "" }))
        });
        for (place, (expression, direction)) in directed.enumerate() {
            statement.comma(place).push(expression).push(direction);
        }
        Ok(())
    }
}

impl Bound {
    fn push(&self, statement: &mut Statement) {
        match self {
            Self::Equal(expression, value) => {
                statement.push(expression).push(" = ").bind_value(value);
            }
            Self::Missing(expression) => {
                statement.push(expression).push(" IS NULL");
            }
            Self::Present(expression) => {
                statement.push(expression).push(" IS NOT NULL");
            }
            Self::After { expressions, values, descending } => {
                statement.push("(").push(&expressions.join(",")).push(if *descending { ") < (" } else { ") > (" });
                for (place, value) in values.iter().enumerate() {
                    statement.comma(place).bind_value(value);
                }
                statement.push(")");
            }
        }
    }
}

/// The keys of the order, the id last.
fn keys(rows: &Rows<'_>, sort: &[Sort]) -> StoreResult<Vec<Key>> {
    let mut keys = Vec::with_capacity(sort.len() + 1);
    for sort in sort {
        let declared = rows.layout.collection.field(&sort.field.name);
        keys.push(Key {
            expressions: rows.order(&sort.field)?,
            descending: sort.descending,
            optional: sort.field.key.is_some() || declared.is_some_and(|field| field.optional),
        });
    }
    let descending = sort.last().is_some_and(|sort| sort.descending);
    keys.push(Key { expressions: vec![rows.column("id")], descending, optional: false });
    Ok(keys)
}

/// The values of a position for each key's expressions; nothing for a missing one.
fn values(layout: &Layout, sort: &[Sort], position: &Position) -> Vec<Option<Vec<Value>>> {
    let mut values: Vec<Option<Vec<Value>>> = sort
        .iter()
        .zip(&position.keys)
        .map(|(sort, value)| match value {
            Value::Null => None,
            Value::Text(text) if is_folded(layout, &sort.field) => {
                Some(vec![Value::Text(fold(text)), Value::Text(text.clone())])
            }
            value => Some(vec![value.clone()]),
        })
        .collect();
    values.push(Some(vec![Value::Id(position.id)]));
    values
}

fn is_folded(layout: &Layout, field: &FieldRef) -> bool {
    field.kind == FieldKind::Text
        && (field.key.is_some()
            || layout.collection.field(&field.name).is_some_and(|declared| {
                crate::layout::shadow(layout.collection, declared) == Some(crate::row::Shadow::Text)
            }))
}

/// The rows after the values, as disjoint ranges in the order.
fn after(keys: &[Key], values: &[Option<Vec<Value>>]) -> Vec<Vec<Bound>> {
    let ([first, rest @ ..], [value, rest_values @ ..]) = (keys, values) else { return Vec::new() };
    let one_way = rest.iter().all(|key| key.descending == first.descending);
    let all_present = values.iter().all(Option::is_some);
    // A missing value comes before the position ascending, so a comparison of tuples rightly leaves it out;
    // descending it comes after, and would be lost.
    if one_way && all_present && (!first.descending || rest.iter().all(|key| !key.optional)) {
        let expressions = keys.iter().flat_map(|key| key.expressions.clone()).collect();
        let values = values.iter().flatten().flatten().cloned().collect();
        let mut blocks = vec![vec![Bound::After { expressions, values, descending: first.descending }]];
        if first.descending && first.optional {
            blocks.push(vec![Bound::Missing(first.expressions[0].clone())]);
        }
        return blocks;
    }
    let mut blocks: Vec<Vec<Bound>> = after(rest, rest_values)
        .into_iter()
        .map(|block| equal(first, value.as_deref()).into_iter().chain(block).collect())
        .collect();
    match (value, first.descending) {
        (None, true) => {}
        (None, false) => blocks.push(vec![Bound::Present(first.expressions[0].clone())]),
        (Some(values), descending) => {
            blocks.push(vec![Bound::After {
                expressions: first.expressions.clone(),
                values: values.clone(),
                descending,
            }]);
            if descending && first.optional {
                blocks.push(vec![Bound::Missing(first.expressions[0].clone())]);
            }
        }
    }
    blocks
}

fn equal(key: &Key, values: Option<&[Value]>) -> Vec<Bound> {
    match values {
        None => vec![Bound::Missing(key.expressions[0].clone())],
        Some(values) => key
            .expressions
            .iter()
            .zip(values)
            .map(|(expression, value)| Bound::Equal(expression.clone(), value.clone()))
            .collect(),
    }
}

/// Which index serves a query.
struct Served {
    index: Option<String>,
    slow: bool,
}

/// Chooses the index that has the filter's equalities and then the order: the one with the most equalities. Left to
/// itself SQLite, which knows nothing of the values, may sort a million rows to save reading twenty. Where a key
/// names the record, or nothing serves, the choice is SQLite's.
fn serve(rows: &Rows<'_>, query: &Query, custom_index: impl Fn(&FieldRef) -> bool) -> Served {
    let layout = rows.layout;
    let collection = layout.collection;
    let mut bound: Vec<&str> = Vec::new();
    equalities(&query.filter, &mut bound);
    if rows.organization.is_some() {
        bound.push("organization_id");
    }
    let names_one = bound.contains(&"id")
        || names_ids(&query.filter)
        || collection.unique.iter().any(|key| key.fields.iter().all(|field| bound.contains(field)));
    if names_one {
        return Served { index: None, slow: false };
    }
    if let Some(sort) = query.sort.iter().find(|sort| sort.field.key.is_some()) {
        return Served { index: None, slow: query.sort.len() > 1 || !custom_index(&sort.field) };
    }
    let mut best: Option<(usize, String)> = None;
    for index in collection.indexes {
        let Some(columns) = layout.index_columns(index) else { continue };
        let equal = columns.iter().take_while(|(name, _)| binds(layout, &bound, name)).count();
        // Some of the equalities may be wanted as the beginning of the order instead, which changes nothing.
        if serves(layout, &columns[equal..], &query.sort, &bound) && best.as_ref().is_none_or(|(most, _)| equal > *most)
        {
            best = Some((equal, layout.index_name(index)));
        }
    }
    let led = usize::from(layout.is_tenant());
    match best {
        Some((equal, index)) if equal > led || !query.sort.is_empty() => Served { index: Some(index), slow: false },
        _ => Served { index: None, slow: !orders_by_id(&query.sort, &bound) },
    }
}

/// Whether an equality of the filter fixes the column: the field's own, or its folded form.
fn binds(layout: &Layout, bound: &[&str], column: &str) -> bool {
    bound.contains(&column)
        || column.strip_suffix("_folded").is_some_and(|name| bound.contains(&name) && layout.is_folded_in_index(name))
}

fn orders_by_id(sort: &[Sort], bound: &[&str]) -> bool {
    sort.iter().find(|sort| !bound.contains(&sort.field.name.as_ref())).is_none_or(|sort| sort.field.name == "id")
}

/// Whether the columns run in the order, or in the opposite of it.
fn serves(layout: &Layout, columns: &[(String, bool)], sort: &[Sort], bound: &[&str]) -> bool {
    let mut wanted: Vec<(String, bool)> = Vec::new();
    for sort in sort {
        let Some(declared) = layout.collection.field(&sort.field.name) else { return false };
        if bound.contains(&declared.name) {
            continue;
        }
        wanted.extend(
            crate::layout::sort_columns(layout.collection, declared).into_iter().map(|name| (name, sort.descending)),
        );
    }
    if wanted.last().is_none_or(|(name, _)| name != "id") {
        wanted.push(("id".to_owned(), sort.last().is_some_and(|sort| sort.descending)));
    }
    let end = wanted.iter().position(|(name, _)| name == "id").map_or(wanted.len(), |place| place + 1);
    wanted.truncate(end);
    let agree = |reversed: bool| {
        columns.len() == wanted.len()
            && columns.iter().zip(&wanted).all(|(have, want)| have.0 == want.0 && (have.1 != want.1) == reversed)
    };
    agree(false) || agree(true)
}

/// The declared fields that a match has exactly one value of.
fn equalities<'a>(filter: &'a Filter, bound: &mut Vec<&'a str>) {
    match filter {
        Filter::And(filters) => filters.iter().for_each(|filter| equalities(filter, bound)),
        Filter::Compare { field, comparison: Comparison::Equal, .. } if field.key.is_none() => bound.push(&field.name),
        Filter::In { field, values }
            if field.key.is_none() && values.len() == 1 && field.kind != FieldKind::TextList =>
        {
            bound.push(&field.name);
        }
        Filter::Not(inner) => {
            if let Filter::Exists { field } = inner.as_ref()
                && field.key.is_none()
                && field.kind != FieldKind::TextList
            {
                bound.push(&field.name);
            }
        }
        _ => {}
    }
}

/// Whether a match is one of a list of records.
fn names_ids(filter: &Filter) -> bool {
    match filter {
        Filter::And(filters) => filters.iter().any(names_ids),
        Filter::In { field, .. } => field.key.is_none() && field.name == "id",
        _ => false,
    }
}
