//! Pages as SQL: the ranges of a [`PagePlan`], each one statement.
//!
//! PostgreSQL compares tuples. Where a value can be missing, orders and indexes say that it comes first ascending and
//! last descending.
//!
//! An index keeps the beginning of a text only ([`INDEXED_CHARACTERS`]). A text that is shorter than that has a place
//! of its own there; among longer ones of one beginning the index knows no order. So a page is read along the index,
//! and if a long text turns up in it, or where it begins, it is read once more in the order of the whole texts.

use std::cmp::Ordering;

use crm_core::store::{
    Collection, FieldRef, Position, Query, Row, StoreResult, Value,
    evaluate::field_value,
    fold::fold,
    plan::{Access, Bound, Column, Form, IndexColumn, PagePlan, Ranges, index_columns, sort_columns},
};

use crate::{
    compile::{Rows, cut, cut_text, is_kept_element, push_operand},
    layout::{ElementTable, INDEXED_CHARACTERS},
    statement::{Statement, identifier},
};

/// The name that a statement gives an element table.
const ELEMENTS: &str = "s";

/// A page ready to be written.
pub(crate) struct Plan<'a> {
    collection: &'static Collection,
    page: PagePlan,
    /// The table by whose rows the page is read, and the element that they have.
    element: Option<(&'a ElementTable, String)>,
    /// Whether texts are compared as far as an index keeps them.
    cut: bool,
    /// Whether the matches are found first, whatever the order.
    matches_first: bool,
}

impl<'a> Plan<'a> {
    /// `whole_texts` asks for the order of the whole texts; `custom_index` tells whether a custom field has an index.
    pub(crate) fn new(
        rows: &Rows<'a>,
        query: &Query,
        whole_texts: bool,
        custom_index: impl Fn(&FieldRef) -> bool,
    ) -> Self {
        let layout = rows.layout;
        let mut page =
            PagePlan::new(layout.collection, rows.organization.is_some(), query, Ranges::Tuples, custom_index);
        let mut element = None;
        if let Access::Element { list, element: text, .. } = &page.access {
            element = layout.element_table(list).filter(|_| is_kept_element(text)).map(|table| (table, text.clone()));
            if element.is_none() {
                page.filter = query.filter.clone();
            }
        }
        let ordered = element.is_some() || matches!(page.access, Access::Index(_) | Access::Custom(_));
        let matches_first = page.access == Access::Matches;
        Self { collection: layout.collection, cut: ordered && !whole_texts, page, element, matches_first }
    }

    /// The same for rows that are locked, which those of a subquery cannot be. Where one was waited for, only itself is
    /// looked at once more, so what it must have is asked of itself and not of an element table.
    pub(crate) fn of_locked_rows(mut self, query: &Query) -> Self {
        self.matches_first = false;
        if self.element.take().is_some() {
            self.page.filter = query.filter.clone();
        }
        self
    }

    /// How many ranges the page may have to read.
    pub(crate) const fn blocks(&self) -> usize {
        self.page.ranges.len()
    }

    /// Whether matches are read beyond the page and sorted.
    pub(crate) const fn is_slow(&self) -> bool {
        self.page.slow
    }

    /// Whether long texts among the rows, or at the position, make the order wrong.
    pub(crate) fn is_misled(&self, query: &Query, rows: &[Row]) -> bool {
        let texts: Vec<(usize, &FieldRef)> = (query.sort.iter().enumerate())
            .filter(|(place, _)| self.page.keys.get(*place).is_some_and(|key| key.columns.len() > 1))
            .map(|(place, sort)| (place, &sort.field))
            .collect();
        if !self.cut || texts.is_empty() {
            return false;
        }
        let begins_long =
            |position: &Position| texts.iter().any(|(place, _)| position.keys.get(*place).is_some_and(is_long));
        query.after.as_ref().is_some_and(begins_long)
            || rows.iter().any(|row| texts.iter().any(|(_, field)| is_long(&field_value(self.collection, field, row))))
    }

    /// Writes `SELECT` with these columns, `FROM`, `WHERE` and `ORDER BY` of a range.
    pub(crate) fn push_block(
        &self,
        statement: &mut Statement,
        rows: &Rows<'_>,
        selected: &str,
        block: usize,
    ) -> StoreResult<()> {
        statement.push("SELECT ").push(selected).push(" FROM ");
        if self.matches_first {
            // The matches are few: no index of the order must tempt the planner to walk along it until it has met them.
            statement.push("(SELECT * FROM ");
        }
        if let (Some((table, _)), true) = (&self.element, rows.organization.is_some()) {
            statement.push(&identifier(&table.name)).push(" AS ").push(ELEMENTS).push(" JOIN ");
            rows.push_table(statement);
            for (place, column) in ["organization_id", "id"].into_iter().enumerate() {
                statement.push(if place == 0 { " ON " } else { " AND " }).push(&rows.column(column));
                statement.push(&format!(" = {ELEMENTS}.{}", identifier(column)));
            }
        } else {
            rows.push_table(statement);
        }
        rows.push_where(statement, &self.page.filter)?;
        if let (Some((_, element)), Some(organization)) = (&self.element, rows.organization) {
            statement.push(&format!(" AND {ELEMENTS}.\"organization_id\" = ")).bind_id(organization);
            statement.push(&format!(" AND {ELEMENTS}.\"element\" = ")).bind_text(element);
        }
        if self.matches_first {
            statement.push(" OFFSET 0) AS ").push(rows.alias);
        }
        let Some(range) = self.page.ranges.get(block) else { return Ok(()) };
        for (place, bound) in range.0.iter().enumerate() {
            statement.push(if place == 0 && self.matches_first { " WHERE " } else { " AND " });
            self.push_bound(statement, rows, bound)?;
        }
        self.push_order(statement, rows)
    }

    /// Writes `ORDER BY`. Columns that are missing in all rows of a range are named all the same, and so are those that
    /// the filter fixes and an index has first: PostgreSQL knows that a column which equals a value has no part in an
    /// order, but not that one which is missing has none, and would not see that the index has the order.
    fn push_order(&self, statement: &mut Statement, rows: &Rows<'_>) -> StoreResult<()> {
        let mut columns: Vec<(Column, bool, bool)> = Vec::new();
        for key in &self.page.keys {
            columns.extend(key.columns.iter().map(|column| (column.clone(), key.descending, key.optional)));
        }
        for (place, (column, descending, optional)) in self.led(columns).iter().enumerate() {
            statement.push(if place == 0 { " ORDER BY " } else { "," });
            statement.push(&self.expression(rows, column)?).push(direction(*descending, *optional));
        }
        Ok(())
    }

    /// The columns of an order behind those that the index has before them, in the direction in which it is read.
    fn led(&self, columns: Vec<(Column, bool, bool)>) -> Vec<(Column, bool, bool)> {
        let (Access::Index(index), false, Some((first, descending, _))) =
            (&self.page.access, self.page.slow, columns.first())
        else {
            return columns;
        };
        let of_index = index_columns(self.collection, index).unwrap_or_default();
        let begins = |column: &IndexColumn| column.field.name == first.field.name && column.form == first.form;
        let Some(start) = of_index.iter().position(begins) else { return columns };
        let reversed = of_index[start].descending != *descending;
        let leading = of_index[..start].iter().filter(|column| column.field.name != "organization_id");
        let leading = leading.map(|column| {
            let field = FieldRef::declared(column.field.name, column.field.kind);
            (Column { field, form: column.form }, column.descending != reversed, column.field.optional)
        });
        leading.chain(columns.iter().cloned()).collect()
    }

    fn push_bound(&self, statement: &mut Statement, rows: &Rows<'_>, bound: &Bound) -> StoreResult<()> {
        match bound {
            Bound::Equal(column, value) => {
                statement.push(&self.expression(rows, column)?).push(" = ");
                self.push_value(statement, column, value);
            }
            Bound::Missing(column) => {
                statement.push(&self.expression(rows, column)?).push(" IS NULL");
            }
            Bound::Present(column) => {
                statement.push(&self.expression(rows, column)?).push(" IS NOT NULL");
            }
            Bound::After { columns, values, descending } => {
                statement.push("(");
                for (place, column) in columns.iter().enumerate() {
                    let expression = self.expression(rows, column)?;
                    statement.comma(place).push(&expression);
                }
                statement.push(if *descending { ") < (" } else { ") > (" });
                for (place, (column, value)) in columns.iter().zip(values).enumerate() {
                    self.push_value(statement.comma(place), column, value);
                }
                statement.push(")");
            }
        }
        Ok(())
    }

    /// A column in the table that is read by: an element table has copies of the columns of its index.
    fn expression(&self, rows: &Rows<'_>, column: &Column) -> StoreResult<String> {
        let copied = self.element.as_ref().is_some_and(|(table, _)| {
            column.field.key.is_none()
                && table
                    .columns
                    .iter()
                    .any(|copied| copied.field.name == column.field.name && copied.form == column.form)
        });
        let rows = if copied { &Rows { alias: ELEMENTS, ..*rows } } else { rows };
        let expression = match column.form {
            Form::Value => rows.scalar(&column.field)?,
            Form::Folded => rows.folded(&column.field)?,
        };
        Ok(if self.is_cut(column) { cut(&expression) } else { expression })
    }

    fn push_value(&self, statement: &mut Statement, column: &Column, value: &Value) {
        match value {
            Value::Text(text) if self.is_cut(column) => {
                statement.bind_text(cut_text(text));
            }
            value => push_operand(statement, &column.field, value),
        }
    }

    /// Whether the column is one of the two of a text.
    fn is_cut(&self, column: &Column) -> bool {
        self.cut && sort_columns(self.collection, &column.field).len() > 1
    }
}

/// How a column is ordered, in orders as in indexes.
pub(crate) const fn direction(descending: bool, optional: bool) -> &'static str {
    match (descending, optional) {
        (false, false) => "",
        (false, true) => " NULLS FIRST",
        (true, false) => " DESC",
        (true, true) => " DESC NULLS LAST",
    }
}

/// Whether an index keeps only the beginning of the text or of its folded form.
fn is_long(value: &Value) -> bool {
    /// How much longer a text can become by folding, characters for bytes.
    const GROWTH: usize = 6;

    let Value::Text(text) = value else { return false };
    let reaches = |text: &str| text.chars().count().cmp(&INDEXED_CHARACTERS) != Ordering::Less;
    if text.is_ascii() {
        return text.len() >= INDEXED_CHARACTERS;
    }
    text.len() * GROWTH >= INDEXED_CHARACTERS && (reaches(text) || reaches(&fold(text)))
}

#[cfg(test)]
mod tests;
