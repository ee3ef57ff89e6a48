//! Orders, pages and the indexes that serve them.
//!
//! SQLite puts missing values first ascending and last descending, as the contract does, so the first page of an
//! order is one scan of an index. A later page begins at a position, and a comparison with a missing value is
//! unknown; so what follows a position is parted into blocks, each one range of an index, read one after the other
//! until the page is full. With one sort key there are at most two: the rest of the missing values and the present
//! ones.

use crm_core::store::{Comparison, FieldKind, FieldRef, Filter, Position, Query, Sort, StoreResult, Value, fold::fold};

use crate::{
    compile::{Rows, push_digits},
    layout::{ElementColumn, Layout},
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

/// What an expression of a key is compared with.
#[derive(Clone)]
enum Operand {
    Value(Value),
    /// A number beside a custom one.
    Digits(f64),
}

impl Operand {
    fn push(&self, statement: &mut Statement) {
        match self {
            Self::Value(value) => {
                statement.bind_value(value);
            }
            Self::Digits(number) => push_digits(statement, *number),
        }
    }
}

/// One condition on the keys of an order.
enum Bound {
    Equal(String, Operand),
    Missing(String),
    Present(String),
    /// The expressions, as a tuple, lie after the values.
    After {
        expressions: Vec<String>,
        values: Vec<Operand>,
        descending: bool,
    },
}

/// An order ready to be written.
pub(crate) struct Plan {
    keys: Vec<Key>,
    blocks: Vec<Vec<Bound>>,
    /// The index that is read, where the choice is not left to SQLite.
    index: Option<String>,
    /// The element of a list by whose rows the page is read.
    element: Option<Element>,
    /// What the rows must match besides having the element.
    filter: Filter,
    /// Whether every match is read and sorted.
    pub(crate) slow: bool,
}

/// An element of a list whose rows an element table has in the order of the query.
struct Element {
    /// The table, quoted.
    table: String,
    value: String,
}

/// The name that a statement gives an element table.
const ELEMENTS: &str = "s";

impl Plan {
    /// `custom_index` tells the index on a custom field.
    pub(crate) fn new(
        rows: &Rows<'_>,
        query: &Query,
        custom_index: impl Fn(&FieldRef) -> Option<String>,
    ) -> StoreResult<Self> {
        let mut keys = keys(rows, &query.sort)?;
        let choice = choose(rows, query, custom_index);
        if choice.element.is_some() {
            // The element table has copies of the columns, in the order of its key.
            let own = format!("{}.", rows.alias);
            for expression in keys.iter_mut().flat_map(|key| &mut key.expressions) {
                if let Some(column) = expression.strip_prefix(&own) {
                    *expression = format!("{ELEMENTS}.{column}");
                }
            }
        }
        let blocks = match &query.after {
            None => vec![Vec::new()],
            Some(position) => {
                let mut values = values(rows.layout, &query.sort, position);
                values.truncate(keys.len());
                after(&keys, &values)
            }
        };
        let Choice { index, element, filter, slow } = choice;
        Ok(Self { keys, blocks, index, element, filter, slow })
    }

    /// How many ranges the page may have to read.
    pub(crate) const fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// Writes `FROM`, `WHERE` and `ORDER BY` of a block.
    pub(crate) fn push_block(&self, statement: &mut Statement, rows: &Rows<'_>, block: usize) -> StoreResult<()> {
        statement.push(" FROM ");
        if let (Some(element), Some(organization)) = (&self.element, rows.organization) {
            // A cross join is read from left to right.
            statement.push(&format!(
                "{} AS {ELEMENTS} CROSS JOIN {} AS {alias} ON {alias}.\"row\" = {ELEMENTS}.\"row\"",
                element.table,
                rows.layout.table,
                alias = rows.alias
            ));
            rows.push_where(statement, &self.filter)?;
            statement.push(&format!(" AND {ELEMENTS}.\"organization_id\" = ")).bind_id(organization);
            statement.push(&format!(" AND {ELEMENTS}.\"element\" = ")).bind_text(element.value.clone());
        } else {
            match &self.index {
                Some(index) => {
                    statement.push(&format!("{} AS {}", rows.layout.table, rows.alias));
                    statement.push(" INDEXED BY ").push(&identifier(index));
                }
                None => rows.push_table(statement, &self.filter),
            }
            rows.push_where(statement, &self.filter)?;
        }
        for bound in self.blocks.get(block).into_iter().flatten() {
            statement.push(" AND ");
            bound.push(statement);
        }
        // What is the same in the whole block has no part in its order.
        let fixed = |key: &Key| {
            self.blocks.get(block).into_iter().flatten().any(|bound| match bound {
                Bound::Missing(expression) => key.expressions.first() == Some(expression),
                Bound::Equal(expression, _) => key.expressions.last() == Some(expression),
                Bound::Present(_) | Bound::After { .. } => false,
            })
        };
        let directed = self.keys.iter().filter(|key| !fixed(key)).flat_map(|key| {
            key.expressions.iter().map(|expression| (expression, if key.descending { " DESC" } else { "" }))
        });
        for (place, (expression, direction)) in directed.enumerate() {
            statement.push(if place == 0 { " ORDER BY " } else { "," }).push(expression).push(direction);
        }
        Ok(())
    }
}

impl Bound {
    fn push(&self, statement: &mut Statement) {
        match self {
            Self::Equal(expression, value) => {
                statement.push(expression).push(" = ");
                value.push(statement);
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
                    value.push(statement.comma(place));
                }
                statement.push(")");
            }
        }
    }
}

/// The keys of the order, the id last: nothing after an id orders anything.
fn keys(rows: &Rows<'_>, sort: &[Sort]) -> StoreResult<Vec<Key>> {
    let mut keys = Vec::with_capacity(sort.len() + 1);
    for sort in sort {
        let declared = rows.layout.collection.field(&sort.field.name);
        keys.push(Key {
            expressions: rows.order(&sort.field)?,
            descending: sort.descending,
            optional: sort.field.key.is_some() || declared.is_some_and(|field| field.optional),
        });
        if sort.field.key.is_none() && sort.field.name == "id" {
            return Ok(keys);
        }
    }
    let descending = sort.last().is_some_and(|sort| sort.descending);
    keys.push(Key { expressions: vec![rows.column("id")], descending, optional: false });
    Ok(keys)
}

/// The values of a position for each key's expressions; nothing for a missing one.
fn values(layout: &Layout, sort: &[Sort], position: &Position) -> Vec<Option<Vec<Operand>>> {
    let mut values: Vec<Option<Vec<Operand>>> = sort
        .iter()
        .zip(&position.keys)
        .map(|(sort, value)| match value {
            Value::Null => None,
            Value::Text(text) if is_folded(layout, &sort.field) => {
                Some(vec![Operand::Value(Value::Text(fold(text))), Operand::Value(Value::Text(text.clone()))])
            }
            Value::Number(number) if sort.field.key.is_some() => Some(vec![Operand::Digits(*number)]),
            value => Some(vec![Operand::Value(value.clone())]),
        })
        .collect();
    values.push(Some(vec![Operand::Value(Value::Id(position.id))]));
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
fn after(keys: &[Key], values: &[Option<Vec<Operand>>]) -> Vec<Vec<Bound>> {
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

fn equal(key: &Key, values: Option<&[Operand]>) -> Vec<Bound> {
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

/// How a query is read.
struct Choice {
    index: Option<String>,
    element: Option<Element>,
    filter: Filter,
    slow: bool,
}

/// Chooses what a query is read by, since SQLite, which knows nothing of the values, may sort a million rows to save
/// reading twenty.
///
/// - A key that names one record, or a list of ids: SQLite finds that by itself.
/// - An element of a list, where an element table has the order too.
/// - Search, or an element of a list in another order: the matches are few, so they are found first and sorted.
/// - The index that has the filter's equalities and then the order, the one with the most equalities. Without an
///   order, one that has more of the equalities, even where the matches then have to be sorted by id.
fn choose(rows: &Rows<'_>, query: &Query, custom_index: impl Fn(&FieldRef) -> Option<String>) -> Choice {
    let layout = rows.layout;
    let collection = layout.collection;
    let mut bound = Bindings { values: Vec::new(), missing: Vec::new() };
    bound.collect(&query.filter);
    if rows.organization.is_some() {
        bound.values.push("organization_id");
    }
    let choice = |index, slow| Choice { index, element: None, filter: query.filter.clone(), slow };
    let names_one = bound.values.contains(&"id")
        || names_ids(&query.filter)
        || collection.unique.iter().any(|key| key.fields.iter().all(|field| bound.values.contains(field)));
    if names_one {
        return choice(None, false);
    }
    if let Some((element, filter)) = by_element(rows, query, &bound) {
        return Choice { index: None, element: Some(element), filter, slow: false };
    }
    if rows.found_by_row(&query.filter) {
        return choice(None, true);
    }
    if let Some(sort) = query.sort.iter().find(|sort| sort.field.key.is_some()) {
        let index = if query.sort.len() == 1 { custom_index(&sort.field) } else { None };
        let slow = index.is_none();
        return choice(index, slow);
    }
    let best = collection
        .indexes
        .iter()
        .filter_map(|index| {
            let columns = layout.index_columns(index)?;
            let equal = columns.iter().take_while(|(name, _)| bound.binds(layout, name)).count();
            let values = columns.iter().take_while(|(name, _)| bound.binds_value(layout, name)).count();
            let serves = serves(layout, &columns[equal..], &query.sort, &bound);
            let led = usize::from(layout.is_tenant());
            let fits = if query.sort.is_empty() { values > led || serves && equal > led } else { serves };
            fits.then(|| ((values, serves, equal), layout.index_name(index)))
        })
        .max_by_key(|(worth, _)| *worth);
    match best {
        Some(((_, serves, _), index)) => choice(Some(index), !serves),
        None => choice(None, !orders_by_id(&query.sort, &bound)),
    }
}

/// The element table that has an element of the filter and then the order, and what is left of the filter.
fn by_element(rows: &Rows<'_>, query: &Query, bound: &Bindings<'_>) -> Option<(Element, Filter)> {
    let conjuncts = match &query.filter {
        Filter::And(filters) => filters.as_slice(),
        other => std::slice::from_ref(other),
    };
    rows.organization?;
    conjuncts.iter().enumerate().find_map(|(place, conjunct)| {
        let (list, value) = match conjunct {
            Filter::Contains { field, text } if field.kind == FieldKind::TextList && field.key.is_none() => {
                (&field.name, text)
            }
            Filter::In { field, values } if field.kind == FieldKind::TextList && field.key.is_none() => {
                let [Value::Text(text)] = values.as_slice() else { return None };
                (&field.name, text)
            }
            _ => return None,
        };
        let table = rows.layout.elements.iter().find(|table| {
            let columns: Vec<(String, bool)> = table
                .columns
                .iter()
                .filter_map(|column| match column {
                    ElementColumn::Element => None,
                    ElementColumn::Copied { name, descending, .. } => Some((name.clone(), *descending)),
                })
                .chain([("id".to_owned(), table.id_descends())])
                .collect();
            table.list == list.as_ref()
                && table.columns.first() == Some(&ElementColumn::Element)
                && serves(rows.layout, &columns, &query.sort, bound)
        })?;
        let mut rest = conjuncts.to_vec();
        rest.remove(place);
        Some((Element { table: identifier(&table.name), value: value.clone() }, Filter::And(rest)))
    })
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

    fn has(&self, name: &str) -> bool {
        self.values.contains(&name) || self.missing.contains(&name)
    }

    /// Whether the column has one value in all matches, or is missing in all.
    fn binds(&self, layout: &Layout, column: &str) -> bool {
        self.has(column) || folded_source(layout, column).is_some_and(|name| self.has(name))
    }

    /// Whether the column has one value in all matches.
    fn binds_value(&self, layout: &Layout, column: &str) -> bool {
        self.values.contains(&column) || folded_source(layout, column).is_some_and(|name| self.values.contains(&name))
    }
}

/// The field whose folded form the column is, where an equality names that form too.
fn folded_source<'a>(layout: &Layout, column: &'a str) -> Option<&'a str> {
    column.strip_suffix("_folded").filter(|name| layout.is_folded_in_index(name))
}

fn orders_by_id(sort: &[Sort], bound: &Bindings<'_>) -> bool {
    sort.iter().find(|sort| !bound.has(&sort.field.name)).is_none_or(|sort| sort.field.name == "id")
}

/// Whether the columns run in the order, or in the opposite of it.
fn serves(layout: &Layout, columns: &[(String, bool)], sort: &[Sort], bound: &Bindings<'_>) -> bool {
    let mut wanted: Vec<(String, bool)> = Vec::new();
    for sort in sort {
        let Some(declared) = layout.collection.field(&sort.field.name) else { return false };
        if bound.has(declared.name) {
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

/// Whether a match is one of a list of records.
fn names_ids(filter: &Filter) -> bool {
    match filter {
        Filter::And(filters) => filters.iter().any(names_ids),
        Filter::In { field, .. } => field.key.is_none() && field.name == "id",
        _ => false,
    }
}

#[cfg(test)]
mod tests;
