//! Filters as SQL conditions.
//!
//! Where negation goes is told by [`Condition`]; at a leaf it becomes `IS NOT TRUE` (or `IS DISTINCT FROM` for an equality).

use crm_core::{
    store::{
        FieldKind, FieldRef, Filter, Money, RelatedFilter, RelatedMeasure, StoreError, StoreResult, Value,
        condition::Condition,
        fold::{end_of_prefix, fold},
    },
    time::Timestamp,
};
use uuid::Uuid;

use crate::{
    layout::{ELEMENT_CHARACTERS, INDEXED_CHARACTERS, Layout, Layouts},
    search,
    statement::{Statement, id_literal, identifier, literal},
};

/// The rows that a statement speaks of.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub(crate) layouts: &'a Layouts,
    pub(crate) layout: &'a Layout,
    /// The name that the statement gives the table.
    pub(crate) alias: &'a str,
    /// Whose rows; of all where nothing.
    pub(crate) organization: Option<Uuid>,
    /// Whether the organization stands in the text: an index on a custom field is of one organization, and is used
    /// only where the text itself proves that no other is asked for.
    pub(crate) literal_organization: bool,
    /// Whether they are to be changed. Where the statement has waited for another that changed one, the server looks
    /// once more at the row itself but not at other tables, so nothing may be asked of an element table.
    pub(crate) written: bool,
}

impl<'a> Rows<'a> {
    pub(crate) fn new(layouts: &'a Layouts, layout: &'a Layout, organization: Option<Uuid>, filter: &Filter) -> Self {
        let literal_organization = layout.is_tenant() && filter.names_custom_field();
        Self { layouts, layout, alias: crate::layout::ALIAS, organization, literal_organization, written: false }
    }

    /// The same for rows that are to be changed.
    pub(crate) const fn of_written(mut self) -> Self {
        self.written = true;
        self
    }

    /// Writes the table.
    pub(crate) fn push_table(&self, statement: &mut Statement) {
        statement.push(&self.layout.table).push(" AS ").push(self.alias);
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
                statement.push("true");
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
            Condition::All { filters, negated } => self.push_list(statement, filters, "(true", " AND ", negated)?,
            Condition::Any { filters, negated } => self.push_list(statement, filters, "(false", " OR ", negated)?,
            Condition::Equal(field, value) => self.push_equal(statement, field, value)?,
            Condition::Unequal(field, value) => {
                statement.push("(").push(&self.scalar(field)?).push(" IS DISTINCT FROM ");
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

    fn push_list(
        &self,
        statement: &mut Statement,
        filters: &[Filter],
        empty: &str,
        operator: &str,
        negated: bool,
    ) -> StoreResult<()> {
        if let [only] = filters {
            return self.push_condition(statement, only, negated);
        }
        statement.push(empty);
        for filter in filters {
            statement.push(operator);
            self.push_condition(statement, filter, negated)?;
        }
        statement.push(")");
        Ok(())
    }

    fn push_equal(&self, statement: &mut Statement, field: &FieldRef, value: &Value) -> StoreResult<()> {
        statement.push("(");
        if let (Value::Text(text), Some(folded)) = (value, self.indexed_folded(field)) {
            statement.push(&cut(&folded)).push(" = ").bind_text(cut_text(&fold(text))).push(" AND ");
        }
        statement.push(&self.scalar(field)?).push(" = ");
        push_operand(statement, field, value);
        statement.push(")");
        Ok(())
    }

    fn push_leaf(&self, statement: &mut Statement, filter: &Filter) -> StoreResult<()> {
        match filter {
            Filter::Compare { field, comparison, value } => {
                statement.push("(").push(&self.scalar(field)?).push(comparison.sql());
                push_operand(statement, field, value);
                statement.push(")");
            }
            Filter::In { values, .. } if values.is_empty() => {
                statement.push("false");
            }
            Filter::In { field, values } if field.kind == FieldKind::TextList => {
                self.push_elements(statement, field, values)?;
            }
            // Through a list the server does not read an index in its order, and may rather filter all that is in it.
            Filter::In { field, values } if let [value] = values.as_slice() => {
                self.push_equal(statement, field, value)?;
            }
            Filter::In { field, values } => {
                statement.push("(");
                if let (true, Some(folded)) = (field.kind == FieldKind::Text, self.indexed_folded(field)) {
                    let operands: Vec<Value> = values.iter().map(folded_value).collect();
                    statement.push(&cut(&folded)).push(" = ANY(");
                    statement.bind_array(FieldKind::Text, operands.iter()).push(") AND ");
                }
                let operands: Vec<Value> = values.iter().map(|value| operand(field, value)).collect();
                statement.push(&self.scalar(field)?).push(" = ANY(");
                statement.bind_array(operand_kind(field), operands.iter()).push("))");
            }
            Filter::Contains { field, text } if field.kind == FieldKind::TextList => {
                self.push_elements(statement, field, &[Value::Text(text.clone())])?;
            }
            Filter::Contains { field, text } => {
                statement.push("(strpos(").push(&self.folded(field)?).push(",").bind_text(&fold(text)).push(") > 0)");
            }
            Filter::StartsWith { field, text } => self.push_prefix(statement, field, &fold(text))?,
            Filter::Exists { field } if field.kind == FieldKind::TextList => {
                let length = if field.key.is_some() { "jsonb_array_length" } else { "cardinality" };
                statement.push("(").push(length).push("(").push(&self.scalar(field)?).push(") > 0)");
            }
            Filter::Exists { field } => {
                statement.push("(").push(&self.scalar(field)?).push(" IS NOT NULL)");
            }
            Filter::Search { terms } => {
                search::push_terms(statement, self.layout, self.alias, self.search_owner(), terms);
            }
            Filter::Related(related) => self.push_related(statement, related)?,
            Filter::And(_) | Filter::Or(_) | Filter::Not(_) => self.push_condition(statement, filter, false)?,
        }
        Ok(())
    }

    /// Whether the folded text begins with the prefix: a range, which an index has.
    fn push_prefix(&self, statement: &mut Statement, field: &FieldRef, prefix: &str) -> StoreResult<()> {
        let folded = self.folded(field)?;
        let end = end_of_prefix(prefix);
        statement.push("(").push(&folded).push(" >= ").bind_text(prefix);
        if let Some(end) = &end {
            statement.push(" AND ").push(&folded).push(" < ").bind_text(end);
        }
        if self.indexed_folded(field).is_some() {
            let beginning = cut(&folded);
            statement.push(" AND ").push(&beginning).push(" >= ").bind_text(cut_text(prefix));
            if let Some(end) = &end {
                statement.push(" AND ").push(&beginning).push(" <= ").bind_text(cut_text(end));
            }
        }
        statement.push(")");
        Ok(())
    }

    /// Whether the list has one of the elements.
    fn push_elements(&self, statement: &mut Statement, field: &FieldRef, values: &[Value]) -> StoreResult<()> {
        let kept = |value: &Value| matches!(value, Value::Text(text) if is_kept_element(text));
        let table = match &field.key {
            None if !self.written && values.iter().all(kept) => self.layout.element_table(&field.name),
            _ => None,
        };
        match (table, self.organization) {
            (Some(table), Some(organization)) => {
                statement.push("(").push(&self.column("id")).push(" IN (SELECT \"id\" FROM ");
                statement.push(&identifier(&table.name)).push(" WHERE \"organization_id\" = ").bind_id(organization);
                statement.push(" AND \"element\" = ");
                match values {
                    [value] => statement.bind_value(FieldKind::Text, value).push("))"),
                    values => statement.push("ANY(").bind_array(FieldKind::Text, values.iter()).push(")))"),
                };
            }
            _ => {
                let overlaps = if field.key.is_some() { " ?| " } else { " && " };
                statement.push("(").push(&self.scalar(field)?).push(overlaps);
                statement.bind_array(FieldKind::Text, values.iter()).push(")");
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
        let rows = Rows { layout: &layout, alias: "r", literal_organization: false, written: false, ..*self };
        let none = match &related.value {
            Value::Integer(_) => Value::Integer(0),
            Value::Money(_) => Value::Money(Money::ZERO),
            _ => return Err(StoreError::Misuse(format!("{}: no operand for a measure", related.collection.name))),
        };
        let none_counts = related.comparison.holds(crm_core::store::evaluate::compare_values(&none, &related.value));
        let key = rows.column(related.key);
        statement.push("(").push(&self.column("id")).push(if none_counts { " NOT IN (" } else { " IN (" });
        statement.push(&format!("SELECT {key} FROM {} AS r", layout.table));
        statement.push(&format!(" WHERE {} = ", rows.column("organization_id"))).bind_id(organization);
        statement.push(&format!(" AND {key} IS NOT NULL"));
        if related.filter != Filter::ALL {
            statement.push(" AND ");
            rows.push_condition(statement, &related.filter, false)?;
        }
        statement.push(&format!(" GROUP BY {key} HAVING "));
        if none_counts {
            statement.push("NOT ");
        }
        let measure = match related.measure {
            RelatedMeasure::Count => "count(*)".to_owned(),
            RelatedMeasure::Sum(name) => format!("coalesce(sum({}),0)", rows.column(name)),
        };
        let kind = related.value.kind().unwrap_or(FieldKind::Integer);
        statement.push("(").push(&measure).push(related.comparison.sql());
        statement.bind_value(kind, &related.value).push(")))");
        Ok(())
    }

    pub(crate) fn column(&self, name: &str) -> String {
        format!("{}.{}", self.alias, identifier(name))
    }

    /// The expression whose value the field is; for a custom list, its JSON.
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

    /// Whose rows are searched apart from others'.
    fn search_owner(&self) -> Option<Uuid> {
        self.organization.filter(|_| self.layout.is_tenant())
    }
}

/// As much of a text expression as an index keeps.
pub(crate) fn cut(expression: &str) -> String {
    format!("left({expression},{INDEXED_CHARACTERS})")
}

/// As much of a text as an index keeps.
pub(crate) fn cut_text(text: &str) -> &str {
    text.char_indices().nth(INDEXED_CHARACTERS).map_or(text, |(end, _)| &text[..end])
}

/// Whether an element table has the element.
pub(crate) fn is_kept_element(element: &str) -> bool {
    element.chars().nth(ELEMENT_CHARACTERS).is_none()
}

fn folded_value(value: &Value) -> Value {
    match value {
        Value::Text(text) => Value::Text(cut_text(&fold(text)).to_owned()),
        other => other.clone(),
    }
}

/// The kind of what a field's expression is compared with. Casts from text to instants and days are refused in the
/// expressions of indexes, so custom ones stay milliseconds and text.
const fn operand_kind(field: &FieldRef) -> FieldKind {
    match (&field.key, field.kind) {
        (Some(_), FieldKind::Timestamp) => FieldKind::Integer,
        (Some(_), FieldKind::Date) => FieldKind::Text,
        (_, kind) => kind,
    }
}

fn operand(field: &FieldRef, value: &Value) -> Value {
    match (&field.key, value) {
        (Some(_), Value::Timestamp(instant)) => Value::Integer(instant.as_milliseconds()),
        (Some(_), Value::Date(day)) => Value::Text(day.to_string()),
        (_, value) => value.clone(),
    }
}

/// Writes what a field's expression is compared with.
pub(crate) fn push_operand(statement: &mut Statement, field: &FieldRef, value: &Value) {
    match (&field.key, value) {
        (None, value) => statement.bind_value(field.kind, value),
        (Some(_), value) => statement.bind_value(operand_kind(field), &operand(field, value)),
    };
}

/// The days of the years 1 to 9999 as they are written; [`member`] leaves the year 0 out.
const DAY: &str = "^([0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)\
|02-(0[1-9]|1[0-9]|2[0-8]))|([0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)-02-29)$";

/// The member of a JSON column as a value of the kind, the same in filters, orders and indexes. `prefix` is the
/// table's name and a dot, or nothing.
pub(crate) fn member(prefix: &str, name: &str, key: &str, kind: FieldKind) -> StoreResult<String> {
    let key = key_literal(key)?;
    let column = format!("{prefix}{}", identifier(name));
    let json = format!("({column} -> {key})");
    let text = format!("({column} ->> {key}) COLLATE \"C\"");
    let number = format!("({json})::numeric");
    let typed =
        |json_type: &str, value: &str| format!("CASE WHEN jsonb_typeof({json}) = '{json_type}' THEN {value} END");
    let integer = |least: i64, most: i64| {
        typed(
            "number",
            &format!(
                "CASE WHEN scale({number}) = 0 AND {number} BETWEEN {least} AND {most} THEN ({number})::bigint END"
            ),
        )
    };
    Ok(match kind {
        FieldKind::Bool => typed("boolean", &format!("({json})::boolean")),
        FieldKind::Integer => integer(i64::MIN, i64::MAX),
        FieldKind::Number => typed(
            "number",
            &format!("CASE WHEN abs({number}) <= 1.7976931348623157e308 THEN ({number})::double precision END"),
        ),
        FieldKind::Money => typed(
            "number",
            &format!(
                "CASE WHEN {number} = trunc({number},4) AND abs({number}) <= {} THEN ({number})::numeric(19,4) END",
                Money::MAX
            ),
        ),
        FieldKind::Text => typed("string", &text),
        FieldKind::Timestamp => integer(Timestamp::MIN.as_milliseconds(), Timestamp::MAX.as_milliseconds()),
        FieldKind::Date => typed("string", &format!("CASE WHEN {text} ~ '{DAY}' AND {text} >= '0001' THEN {text} END")),
        FieldKind::TextList => typed(
            "array",
            &format!("CASE WHEN NOT jsonb_path_exists({json}, '$[*] ? (@.type() != \"string\")') THEN {json} END"),
        ),
        FieldKind::Json => format!("CASE WHEN jsonb_typeof({json}) <> 'null' THEN {json} END"),
        FieldKind::Id => return Err(StoreError::Misuse(format!("{name}[{key:?}]: a custom field is no id"))),
    })
}

/// The folded form of a custom text.
pub(crate) fn folded_member(prefix: &str, name: &str, key: &str) -> StoreResult<String> {
    let shadow = format!("{prefix}{}", identifier(&format!("{name}_folded")));
    Ok(format!("({shadow} ->> {}) COLLATE \"C\"", key_literal(key)?))
}

/// The name of a member, as an SQL literal.
fn key_literal(key: &str) -> StoreResult<String> {
    if key.contains('\0') {
        return Err(StoreError::Misuse("the name of a custom field has a NUL".to_owned()));
    }
    Ok(literal(key))
}
