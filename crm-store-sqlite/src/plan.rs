//! Pages as SQL: the ranges of a [`PagePlan`], each one statement.
//!
//! SQLite puts missing values first ascending and last descending, as the contract does, and compares tuples.

use crm_core::store::{
    FieldRef, Query, StoreResult, Value,
    plan::{Access, Bound, Column, Form, PagePlan, Ranges},
};

use crate::{
    compile::{Rows, push_digits},
    layout::{ElementColumn, ElementTable},
    statement::{Statement, identifier},
};

/// The name that a statement gives an element table.
const ELEMENTS: &str = "s";

/// A page ready to be written.
pub(crate) struct Plan<'a> {
    page: PagePlan,
    /// The index that is read, where the choice is not left to SQLite, which knows nothing of the values.
    index: Option<String>,
    /// The table by whose rows the page is read, and the element that they have.
    element: Option<(&'a ElementTable, String)>,
}

impl<'a> Plan<'a> {
    /// `custom_index` tells the index on a custom field.
    pub(crate) fn new(rows: &Rows<'a>, query: &Query, custom_index: impl Fn(&FieldRef) -> Option<String>) -> Self {
        let layout = rows.layout;
        let page = PagePlan::new(layout.collection, rows.organization.is_some(), query, Ranges::Tuples, |field| {
            custom_index(field).is_some()
        });
        let index = match &page.access {
            Access::Index(index) => Some(layout.index_name(index)),
            Access::Custom(field) => custom_index(field),
            _ => None,
        };
        let element = match &page.access {
            Access::Element { index, element, .. } => {
                let name = layout.index_name(index);
                layout.elements.iter().find(|table| table.name == name).map(|table| (table, element.clone()))
            }
            _ => None,
        };
        Self { page, index, element }
    }

    /// How many ranges the page may have to read.
    pub(crate) const fn blocks(&self) -> usize {
        self.page.ranges.len()
    }

    /// Whether matches are read beyond the page and sorted.
    pub(crate) const fn is_slow(&self) -> bool {
        self.page.slow
    }

    /// Writes `FROM`, `WHERE` and `ORDER BY` of a range.
    pub(crate) fn push_block(&self, statement: &mut Statement, rows: &Rows<'_>, block: usize) -> StoreResult<()> {
        statement.push(" FROM ");
        if let (Some((table, element)), Some(organization)) = (&self.element, rows.organization) {
            // A cross join is read from left to right.
            statement.push(&format!(
                "{} AS {ELEMENTS} CROSS JOIN {} AS {alias} ON {alias}.\"row\" = {ELEMENTS}.\"row\"",
                identifier(&table.name),
                rows.layout.table,
                alias = rows.alias
            ));
            rows.push_where(statement, &self.page.filter)?;
            statement.push(&format!(" AND {ELEMENTS}.\"organization_id\" = ")).bind_id(organization);
            statement.push(&format!(" AND {ELEMENTS}.\"element\" = ")).bind_text(element.clone());
        } else {
            match &self.index {
                Some(index) => {
                    statement.push(&format!("{} AS {}", rows.layout.table, rows.alias));
                    statement.push(" INDEXED BY ").push(&identifier(index));
                }
                None => rows.push_table(statement, &self.page.filter),
            }
            rows.push_where(statement, &self.page.filter)?;
        }
        let Some(range) = self.page.ranges.get(block) else { return Ok(()) };
        for bound in &range.0 {
            statement.push(" AND ");
            self.push_bound(statement, rows, bound)?;
        }
        for (place, (column, descending)) in self.page.order_within(range).enumerate() {
            statement.push(if place == 0 { " ORDER BY " } else { "," });
            statement.push(&self.expression(rows, column)?).push(if descending { " DESC" } else { "" });
        }
        Ok(())
    }

    fn push_bound(&self, statement: &mut Statement, rows: &Rows<'_>, bound: &Bound) -> StoreResult<()> {
        match bound {
            Bound::Equal(column, value) => {
                statement.push(&self.expression(rows, column)?).push(" = ");
                push_value(statement, column, value);
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
                    push_value(statement.comma(place), column, value);
                }
                statement.push(")");
            }
        }
        Ok(())
    }

    /// A column in the table that is read by: an element table has copies of the columns of its key.
    fn expression(&self, rows: &Rows<'_>, column: &Column) -> StoreResult<String> {
        let name = match column.form {
            _ if column.field.key.is_some() => None,
            Form::Value => Some(column.field.name.clone().into_owned()),
            Form::Folded => Some(format!("{}_folded", column.field.name)),
        };
        let is_copied = |name: &String| {
            self.element.as_ref().is_some_and(|(table, _)| {
                name == "id"
                    || table
                        .columns
                        .iter()
                        .any(|copied| matches!(copied, ElementColumn::Copied { name: copied, .. } if copied == name))
            })
        };
        match (name, column.form) {
            (Some(name), _) if is_copied(&name) => Ok(format!("{ELEMENTS}.{}", identifier(&name))),
            (_, Form::Value) => rows.scalar(&column.field),
            (_, Form::Folded) => rows.folded(&column.field),
        }
    }
}

fn push_value(statement: &mut Statement, column: &Column, value: &Value) {
    match value {
        Value::Number(number) if column.field.key.is_some() => push_digits(statement, *number),
        value => {
            statement.bind_value(value);
        }
    }
}

#[cfg(test)]
mod tests;
