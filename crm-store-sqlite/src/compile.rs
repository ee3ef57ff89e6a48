//! Filters as SQL conditions.
//!
//! Where negation goes is told by [`Condition`]; at a leaf it becomes `IS NOT TRUE` (or `IS NOT` for an equality).

use crm_core::{
    store::{
        FieldKind, FieldRef, Filter, RelatedFilter, RelatedMeasure, StoreError, StoreResult, Value,
        condition::Condition,
        fold::{end_of_prefix, fold},
        plan::{is_found_by_element, is_found_by_trigrams},
    },
    time::Timestamp,
};
use uuid::Uuid;

use crate::{
    layout::{Layout, Layouts},
    search,
    statement::{Statement, id_literal, identifier, literal},
};

/// How many operands of `In` are written as a list; more are bound as one JSON array.
const LISTED: usize = 8;

/// The rows that a statement speaks of.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub(crate) layouts: &'a Layouts,
    pub(crate) layout: &'a Layout,
    /// The name that the statement gives the table.
    pub(crate) alias: &'a str,
    /// Whose rows; of all where nothing.
    pub(crate) organization: Option<Uuid>,
    /// Whether the organization stands in the text: an index on a custom field is of one organization, and SQLite
    /// uses it only where the text itself proves that no other is asked for.
    pub(crate) literal_organization: bool,
}

impl<'a> Rows<'a> {
    pub(crate) fn new(layouts: &'a Layouts, layout: &'a Layout, organization: Option<Uuid>, filter: &Filter) -> Self {
        let literal_organization = layout.is_tenant() && filter.names_custom_field();
        Self { layouts, layout, alias: crate::layout::ALIAS, organization, literal_organization }
    }

    /// Writes the table. Where the filter finds rows by their numbers (through trigrams or elements), no index must
    /// get between: SQLite, which thinks that an organization has ten records, would go through all of them.
    pub(crate) fn push_table(&self, statement: &mut Statement, filter: &Filter) {
        statement.push(&format!("{} AS {}", self.layout.table, self.alias));
        if self.found_by_row(filter) {
            statement.push(" NOT INDEXED");
        }
    }

    /// Whether every match is found through the trigrams of a search or the elements of a list.
    pub(crate) fn found_by_row(&self, filter: &Filter) -> bool {
        is_found_by_trigrams(filter)
            || self.organization.is_some() && is_found_by_element(self.layout.collection, filter)
    }

    /// Writes `WHERE` with the organization and the filter.
    pub(crate) fn push_where(&self, statement: &mut Statement, filter: &Filter) -> StoreResult<()> {
        statement.push(" WHERE ");
        match self.organization {
            Some(organization) => {
                statement.push(&self.column("organization_id")).push(" = ");
                if self.literal_organization {
                    statement.push(&id_literal(organization));
                } else {
                    statement.bind_id(organization);
                }
            }
            None => {
                statement.push("1");
            }
        }
        if *filter != Filter::ALL {
            statement.push(" AND ");
            self.push_condition(statement, filter, false)?;
        }
        Ok(())
    }

    /// Writes the filter, or its opposite, in parentheses or as one term.
    pub(crate) fn push_condition(&self, statement: &mut Statement, filter: &Filter, negated: bool) -> StoreResult<()> {
        match Condition::of(filter, negated) {
            Condition::All { filters, negated } => self.push_list(statement, filters, " AND ", "1", negated)?,
            Condition::Any { filters, negated } => self.push_list(statement, filters, " OR ", "0", negated)?,
            Condition::Equal(field, value) => self.push_equal(statement, field, value)?,
            Condition::Unequal(field, value) => {
                statement.push("(").push(&self.scalar(field)?).push(" IS NOT ");
                push_operand(statement, field, value);
                statement.push(")");
            }
            Condition::Missing(field) => {
                statement.push("(").push(&self.scalar(field)?).push(" IS NULL)");
            }
            Condition::Leaf(leaf) => self.push_leaf(statement, leaf)?,
            Condition::NotTrue(leaf) => {
                statement.push("(");
                self.push_leaf(statement, leaf)?;
                statement.push(" IS NOT TRUE)");
            }
        }
        Ok(())
    }

    /// Halves long lists, so that the depth of SQLite's tree grows with the logarithm of their length.
    fn push_list(
        &self,
        statement: &mut Statement,
        filters: &[Filter],
        operator: &str,
        empty: &str,
        negated: bool,
    ) -> StoreResult<()> {
        match filters {
            [] => {
                statement.push(empty);
                Ok(())
            }
            [only] => self.push_condition(statement, only, negated),
            filters => {
                let (left, right) = filters.split_at(filters.len() / 2);
                statement.push("(");
                self.push_list(statement, left, operator, empty, negated)?;
                statement.push(operator);
                self.push_list(statement, right, operator, empty, negated)?;
                statement.push(")");
                Ok(())
            }
        }
    }

    fn push_equal(&self, statement: &mut Statement, field: &FieldRef, value: &Value) -> StoreResult<()> {
        statement.push("(");
        if let (Value::Text(text), Some(folded)) = (value, self.indexed_folded(field)) {
            statement.push(&folded).push(" = ").bind_text(fold(text)).push(" AND ");
        }
        statement.push(&self.scalar(field)?).push(" = ");
        push_operand(statement, field, value);
        statement.push(")");
        Ok(())
    }

    fn push_leaf(&self, statement: &mut Statement, filter: &Filter) -> StoreResult<()> {
        match filter {
            Filter::Compare { field, comparison, value } => {
                statement.push("(").push(&self.scalar(field)?).push(" ").push(comparison.sql()).push(" ");
                push_operand(statement, field, value);
                statement.push(")");
            }
            Filter::In { values, .. } if values.is_empty() => {
                statement.push("0");
            }
            Filter::In { field, values } if field.kind == FieldKind::TextList => {
                self.push_elements(statement, field, values)?;
            }
            Filter::In { field, values } => {
                statement.push("(");
                if let (true, Some(folded)) = (field.kind == FieldKind::Text, self.indexed_folded(field)) {
                    let operands: Vec<Value> = values.iter().map(folded_value).collect();
                    statement.push(&folded).push(" IN ");
                    push_operands(statement, field, FieldKind::Text, &operands);
                    statement.push(" AND ");
                }
                statement.push(&self.scalar(field)?).push(" IN ");
                push_operands(statement, field, field.kind, values);
                statement.push(")");
            }
            Filter::Contains { field, text } if field.kind == FieldKind::TextList => {
                self.push_elements(statement, field, &[Value::Text(text.clone())])?;
            }
            Filter::Contains { field, text } => {
                statement.push("(instr(").push(&self.folded(field)?).push(",").bind_text(fold(text)).push(") > 0)");
            }
            Filter::StartsWith { field, text } => {
                let folded = self.folded(field)?;
                let prefix = fold(text);
                let end = end_of_prefix(&prefix);
                statement.push("(").push(&folded).push(" >= ").bind_text(prefix);
                if let Some(end) = end {
                    statement.push(" AND ").push(&folded).push(" < ").bind_text(end);
                }
                statement.push(")");
            }
            Filter::Exists { field } if field.kind == FieldKind::TextList => {
                statement.push("(json_array_length(").push(&self.list(field)?).push(") > 0)");
            }
            Filter::Exists { field } => {
                statement.push("(").push(&self.scalar(field)?).push(" IS NOT NULL)");
            }
            Filter::Search { terms } => search::push_terms(statement, self.layout, self.alias, terms),
            Filter::Related(related) => self.push_related(statement, related)?,
            Filter::And(_) | Filter::Or(_) | Filter::Not(_) => self.push_condition(statement, filter, false)?,
        }
        Ok(())
    }

    /// Whether the list has one of the elements.
    fn push_elements(&self, statement: &mut Statement, field: &FieldRef, values: &[Value]) -> StoreResult<()> {
        let table = if field.key.is_none() { self.layout.element_table(&field.name) } else { None };
        match (table, self.organization) {
            (Some(table), Some(organization)) => {
                let alias = self.alias;
                let name = identifier(&table.name);
                statement
                    .push(&format!("({alias}.\"row\" IN (SELECT \"row\" FROM {name} WHERE \"organization_id\" = "));
                statement.bind_id(organization).push(" AND \"element\" IN ");
                push_operands(statement, field, FieldKind::Text, values);
                statement.push("))");
            }
            _ => {
                statement.push("(EXISTS (SELECT 1 FROM json_each(").push(&self.list(field)?).push(") WHERE value IN ");
                push_operands(statement, field, FieldKind::Text, values);
                statement.push("))");
            }
        }
        Ok(())
    }

    /// One grouped pass over the related records, never one query for each record: those whose measure compares so,
    /// or, where a record without any compares so too, all but those whose measure does not.
    fn push_related(&self, statement: &mut Statement, related: &RelatedFilter) -> StoreResult<()> {
        let Some(organization) = self.organization else {
            return Err(StoreError::OutOfScope { collection: related.collection.name });
        };
        let layout = self.layouts.of(related.collection);
        let rows = Rows { layout: &layout, alias: "r", ..*self };
        let operand = match &related.value {
            Value::Integer(value) => *value,
            Value::Money(value) => value.as_ten_thousandths(),
            _ => return Err(StoreError::Misuse(format!("{}: no operand for a measure", related.collection.name))),
        };
        let none_counts = related.comparison.holds(Some(0.cmp(&operand)));
        let key = rows.column(related.key);
        statement.push("(").push(&self.column("id")).push(if none_counts { " NOT IN (" } else { " IN (" });
        statement.push(&format!("SELECT {key} FROM {} AS r WHERE {} = ", layout.table, rows.column("organization_id")));
        statement.bind_id(organization).push(&format!(" AND {key} IS NOT NULL"));
        if related.filter != Filter::ALL {
            statement.push(" AND ");
            rows.push_condition(statement, &related.filter, false)?;
        }
        statement.push(&format!(" GROUP BY {key} HAVING "));
        if none_counts {
            statement.push("NOT ");
        }
        let operator = related.comparison.sql();
        match related.measure {
            RelatedMeasure::Count => {
                statement.push("count(*) ").push(operator).push(" ").bind_integer(operand);
            }
            RelatedMeasure::Sum(name) => {
                // Two halves of 32 bits, carried over and compared together: a sum of money can leave 64 bits.
                let column = rows.column(name);
                let (high, low) = (format!("sum({column} >> 32)"), format!("sum({column} & 4294967295)"));
                statement
                    .push(&format!("(ifnull({high} + ({low} >> 32),0),ifnull({low} & 4294967295,0)) {operator} ("));
                statement.bind_integer(operand >> 32).push(",").bind_integer(operand & 0xffff_ffff).push(")");
            }
        }
        statement.push("))");
        Ok(())
    }

    pub(crate) fn column(&self, name: &str) -> String {
        format!("{}.{}", self.alias, identifier(name))
    }

    /// The expression whose value the field is; for a list, its JSON text.
    pub(crate) fn scalar(&self, field: &FieldRef) -> StoreResult<String> {
        match &field.key {
            None => Ok(self.column(&field.name)),
            Some(key) => member(&format!("{}.", self.alias), &field.name, key, field.kind),
        }
    }

    /// The expression whose value is the folded form of the text.
    pub(crate) fn folded(&self, field: &FieldRef) -> StoreResult<String> {
        match &field.key {
            None => Ok(self.column(&format!("{}_folded", field.name))),
            Some(key) => folded_member(&format!("{}.", self.alias), &field.name, key),
        }
    }

    /// The folded form where an index has it before the text.
    fn indexed_folded(&self, field: &FieldRef) -> Option<String> {
        match &field.key {
            Some(_) => self.folded(field).ok(),
            None => self.layout.is_folded_in_index(&field.name).then(|| self.column(&format!("{}_folded", field.name))),
        }
    }

    /// The expression whose value is the list as a JSON array; missing where there is none.
    pub(crate) fn list(&self, field: &FieldRef) -> StoreResult<String> {
        self.scalar(field)
    }
}

fn folded_value(value: &Value) -> Value {
    match value {
        Value::Text(text) => Value::Text(fold(text)),
        other => other.clone(),
    }
}

/// Writes what a field's expression is compared with.
fn push_operand(statement: &mut Statement, field: &FieldRef, value: &Value) {
    match value {
        Value::Number(number) if field.key.is_some() => push_digits(statement, *number),
        value => {
            statement.bind_value(value);
        }
    }
}

/// Writes a number that is compared with a custom one. SQLite reads the digits of JSON to a neighbour of the double
/// beyond about 1e±30, so this one is read from its digits by SQLite too. The plus takes the cast's affinity away, with
/// which no index of the expression would serve.
pub(crate) fn push_digits(statement: &mut Statement, number: f64) {
    statement.push("+CAST(").bind_text(format!("{number:?}")).push(" AS REAL)");
}

/// Writes operands of `IN`: a few as a list, its length rounded up so that few texts cover all; many as one array.
fn push_operands(statement: &mut Statement, field: &FieldRef, kind: FieldKind, values: &[Value]) {
    if values.len() <= LISTED {
        statement.push("(");
        for place in 0..values.len().next_power_of_two() {
            statement.comma(place);
            push_operand(statement, field, &values[place.min(values.len() - 1)]);
        }
        statement.push(")");
        return;
    }
    let array: Vec<serde_json::Value> = values
        .iter()
        .map(|value| match value {
            Value::Bool(value) => i64::from(*value).into(),
            Value::Integer(value) => (*value).into(),
            Value::Number(value) => (*value).into(),
            Value::Money(value) => value.as_ten_thousandths().into(),
            Value::Timestamp(value) => value.as_milliseconds().into(),
            Value::Text(value) => value.as_str().into(),
            Value::Date(value) => value.to_string().into(),
            Value::Id(value) => value.simple().to_string().into(),
            Value::Null | Value::TextList(_) | Value::Json(_) => serde_json::Value::Null,
        })
        .collect();
    let value = if kind == FieldKind::Id { "unhex(value)" } else { "value" };
    statement.push("(SELECT ").push(value).push(" FROM json_each(");
    statement.bind_text(serde_json::Value::from(array).to_string()).push("))");
}

/// The member of a JSON column as a value of the kind, the same in filters, orders and indexes. `prefix` is the
/// table's name and a dot, or nothing.
pub(crate) fn member(prefix: &str, name: &str, key: &str, kind: FieldKind) -> StoreResult<String> {
    let json = format!("{prefix}{}", identifier(name));
    let shadow = format!("{prefix}{}", identifier(&format!("{name}_folded")));
    let path = path(key)?;
    let (a_type, value) = (format!("json_type({json},{path})"), format!("{json} ->> {path}"));
    Ok(match kind {
        FieldKind::Bool => format!("CASE {a_type} WHEN 'true' THEN 1 WHEN 'false' THEN 0 END"),
        FieldKind::Integer => {
            format!("CASE WHEN {a_type} = 'integer' AND typeof({value}) = 'integer' THEN {value} END")
        }
        FieldKind::Number => format!(
            "CASE WHEN {a_type} IN ('integer','real') \
             AND CAST({value} AS REAL) BETWEEN -1.7976931348623157e308 AND 1.7976931348623157e308 \
             THEN CAST({value} AS REAL) END"
        ),
        FieldKind::Money => {
            format!("CASE json_type({shadow},{path}) WHEN 'integer' THEN {shadow} ->> {path} END")
        }
        FieldKind::Text => format!("CASE {a_type} WHEN 'text' THEN {value} END"),
        FieldKind::Timestamp => format!(
            "CASE WHEN {a_type} = 'integer' AND typeof({value}) = 'integer' AND {value} BETWEEN {} AND {} THEN {value} END",
            Timestamp::MIN.as_milliseconds(),
            Timestamp::MAX.as_milliseconds()
        ),
        FieldKind::Date => format!(
            "CASE WHEN {a_type} = 'text' AND {value} GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]' \
             AND date({value}) = {value} AND {value} >= '0001' THEN {value} END"
        ),
        FieldKind::TextList => format!(
            "CASE WHEN {a_type} = 'array' AND NOT EXISTS (SELECT 1 FROM json_each({json},{path}) WHERE type <> 'text') \
             THEN {json} -> {path} END"
        ),
        FieldKind::Json => format!("CASE WHEN {a_type} <> 'null' THEN {json} -> {path} END"),
        FieldKind::Id => return Err(StoreError::Misuse(format!("{name}[{key:?}]: a custom field is no id"))),
    })
}

/// The folded form of a custom text.
pub(crate) fn folded_member(prefix: &str, name: &str, key: &str) -> StoreResult<String> {
    let shadow = format!("{prefix}{}", identifier(&format!("{name}_folded")));
    let path = path(key)?;
    Ok(format!("CASE json_type({shadow},{path}) WHEN 'text' THEN {shadow} ->> {path} END"))
}

/// The JSON path to a member, as an SQL literal: the name inside quotes, escaped as in JSON.
fn path(key: &str) -> StoreResult<String> {
    if key.contains('\0') {
        return Err(StoreError::Misuse("the name of a custom field has a NUL".to_owned()));
    }
    let quoted = serde_json::Value::from(key).to_string();
    Ok(literal(&format!("$.{quoted}")))
}
