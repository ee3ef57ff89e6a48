//! Changes as SQL.

use crm_core::store::{
    Assignment, Change, Collection, Field, FieldKind, Filter, Query, Row, Scope, Sort, StoreResult, Value, WhenUnmet,
    evaluate::{check_claim, visible_organization},
    head,
};
use uuid::Uuid;

use crate::{
    binary,
    compile::Rows,
    layout::{ALIAS, Layout, Layouts},
    plan::Plan,
    row::{Cast, Shadow},
    schema::REFUSE,
    statement::{Statement, identifier, literal},
};

/// The head of a binary `COPY`, without flags and extensions.
pub(crate) const COPY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// Its end.
pub(crate) const COPY_TRAILER: [u8; 2] = (-1_i16).to_be_bytes();

/// Whose trigrams a row of the collection has, and what leads its key.
pub(crate) fn owner_of(layout: &Layout, row: &Row) -> Option<Uuid> {
    match row.0.get(head::ORGANIZATION_ID) {
        Some(Value::Id(organization)) if layout.is_tenant() => Some(*organization),
        _ => None,
    }
}

/// Writes `INSERT` of the rows: one as it is, several as an array for each column, so that one text serves all numbers.
pub(crate) fn push_insert(statement: &mut Statement, layout: &Layout, rows: &[Row]) {
    statement.push("INSERT INTO ").push(&layout.table).push(" (").push(&layout.inserted).push(") ");
    match rows {
        [row] => push_row(statement, layout, row),
        rows => push_rows(statement, layout, &rows.iter().collect::<Vec<_>>()),
    }
}

/// The same of rows from several places, of which one too is written as an array: one text serves all numbers.
pub(crate) fn push_insert_of_many(statement: &mut Statement, layout: &Layout, rows: &[&Row]) {
    statement.push("INSERT INTO ").push(&layout.table).push(" (").push(&layout.inserted).push(") ");
    push_rows(statement, layout, rows);
}

fn push_row(statement: &mut Statement, layout: &Layout, row: &Row) {
    statement.push("VALUES (");
    for (position, (field, value)) in layout.collection.fields.iter().zip(&row.0).enumerate() {
        statement.comma(position);
        if position == head::VERSION {
            statement.push("1");
        } else {
            statement.bind_value(field.kind, value);
        }
    }
    for (position, shadow) in &layout.shadows {
        let cast = row.0.get(*position).and_then(|value| shadow.of(owner_of(layout, row), value));
        push_cast(statement.push(","), *shadow, cast);
    }
    statement.push(")");
}

/// A record and shadows of it.
pub(crate) struct Shadowed {
    pub(crate) organization: Value,
    pub(crate) id: Value,
    pub(crate) casts: Vec<Option<Cast>>,
}

/// Writes the change of these shadows, and of nothing else, in several records.
pub(crate) fn push_shadows(
    statement: &mut Statement,
    layout: &Layout,
    shadows: &[(&Field, Shadow)],
    records: Vec<Shadowed>,
) {
    statement.push("UPDATE ").push(&layout.table).push(" AS t SET ");
    for (place, (field, shadow)) in shadows.iter().enumerate() {
        statement.comma(place).push(&identifier(&shadow.name(field))).push(" = ");
        statement.push(&from_text(*shadow, &format!("r.s{place}")));
    }
    statement.push(" FROM unnest(").bind_array(FieldKind::Id, records.iter().map(|record| &record.id));
    statement.push(",").bind_array(FieldKind::Id, records.iter().map(|record| &record.organization));
    let mut columns: Vec<Vec<Option<String>>> = shadows.iter().map(|_| Vec::with_capacity(records.len())).collect();
    for record in records {
        for (column, cast) in columns.iter_mut().zip(record.casts) {
            column.push(cast.map(to_text));
        }
    }
    for column in columns {
        statement.push(",").bind_texts(column);
    }
    let names: Vec<String> = (0..shadows.len()).map(|place| format!(",s{place}")).collect();
    statement.push(&format!(") AS r(id,organization_id{}) WHERE t.\"id\" = r.id", names.join("")));
    if layout.is_tenant() {
        statement.push(" AND t.\"organization_id\" = r.organization_id");
    }
}

/// A shadow as a text, as which all of them travel in arrays.
pub(crate) fn to_text(cast: Cast) -> String {
    match cast {
        Cast::Text(text) => text,
        Cast::Json(json) => json.as_str().to_owned(),
        Cast::Integers(integers) => {
            let digits: Vec<String> = integers.iter().map(i32::to_string).collect();
            format!("{{{}}}", digits.join(","))
        }
    }
}

/// The expression of a shadow that travelled as a text.
pub(crate) fn from_text(shadow: Shadow, text: &str) -> String {
    match shadow {
        Shadow::Trigrams => format!("{text}::integer[]"),
        Shadow::Members => format!("{text}::jsonb"),
        Shadow::Text | Shadow::Elements => text.to_owned(),
    }
}

fn push_cast(statement: &mut Statement, shadow: Shadow, cast: Option<Cast>) {
    match (shadow, cast) {
        (Shadow::Members, Some(Cast::Json(json))) => statement.bind_value(FieldKind::Json, &Value::Json(json)),
        (Shadow::Members, _) => statement.bind_value(FieldKind::Json, &Value::Null),
        (Shadow::Trigrams, Some(Cast::Integers(integers))) => statement.bind_integers(Some(&integers)),
        (Shadow::Trigrams, _) => statement.bind_integers(None),
        (_, Some(Cast::Text(text))) => statement.bind_text(&text),
        (_, _) => statement.bind_optional_text(None),
    };
}

fn push_rows(statement: &mut Statement, layout: &Layout, rows: &[&Row]) {
    let fields = layout.collection.fields;
    statement.push("SELECT ");
    for (position, field) in fields.iter().enumerate() {
        statement.comma(position);
        match (position, field.kind) {
            (head::VERSION, _) => statement.push("1"),
            // There are no arrays of arrays of different lengths, so lists travel as literals.
            (_, FieldKind::TextList) => statement.push(&format!("r.c{position}::text[]")),
            _ => statement.push(&format!("r.c{position}")),
        };
    }
    for (place, (_, shadow)) in layout.shadows.iter().enumerate() {
        statement.push(",").push(&from_text(*shadow, &format!("r.s{place}")));
    }
    statement.push(" FROM unnest(");
    let mut names = Vec::with_capacity(fields.len() + layout.shadows.len());
    for (position, field) in fields.iter().enumerate().filter(|(position, _)| *position != head::VERSION) {
        statement.comma(names.len()).bind_array(field.kind, rows.iter().filter_map(|row| row.0.get(position)));
        names.push(format!("c{position}"));
    }
    for (place, (position, shadow)) in layout.shadows.iter().enumerate() {
        let casts = rows.iter().map(|row| {
            let cast = row.0.get(*position).and_then(|value| shadow.of(owner_of(layout, row), value));
            cast.map(to_text)
        });
        statement.push(",").bind_texts(casts.collect());
        names.push(format!("s{place}"));
    }
    statement.push(&format!(") AS r({})", names.join(",")));
}

/// Writes a row of a binary `COPY`.
pub(crate) fn copy_row(layout: &Layout, row: &Row, out: &mut Vec<u8>) {
    let columns = layout.collection.fields.len() + layout.shadows.len();
    out.extend(i16::try_from(columns).unwrap_or(i16::MAX).to_be_bytes());
    for (position, value) in row.0.iter().enumerate() {
        let value = if position == head::VERSION { &Value::Integer(1) } else { value };
        binary::write_sized(out, |out| binary::write(value, out));
    }
    for (position, shadow) in &layout.shadows {
        let cast = row.0.get(*position).and_then(|value| shadow.of(owner_of(layout, row), value));
        binary::write_sized(out, |out| match cast {
            Some(Cast::Text(text)) => {
                out.extend(text.as_bytes());
                true
            }
            Some(Cast::Json(json)) => binary::write(&Value::Json(json), out),
            Some(Cast::Integers(integers)) => {
                binary::write_array(binary::INT4, integers.len(), out, |place, out| {
                    out.extend(integers[place].to_be_bytes());
                    true
                });
                true
            }
            None => false,
        });
    }
}

/// A change of one record, or the removal of one.
pub(crate) struct OneRecord<'a> {
    pub(crate) id: Uuid,
    pub(crate) expected_version: Option<i64>,
    pub(crate) condition: Option<&'a (Filter, WhenUnmet)>,
    /// What is assigned; nothing where the record is removed.
    pub(crate) assignments: Option<&'a [Assignment]>,
}

impl<'a> OneRecord<'a> {
    /// The record that a change names, and where it is.
    pub(crate) fn of(change: &'a Change) -> Option<(&'static Collection, Self)> {
        match change {
            Change::Update { collection, id, expected_version, condition, assignments } => Some((
                collection,
                Self {
                    id: *id,
                    expected_version: *expected_version,
                    condition: condition.as_ref(),
                    assignments: Some(assignments),
                },
            )),
            Change::Delete { collection, id, expected_version } => Some((
                collection,
                Self { id: *id, expected_version: *expected_version, condition: None, assignments: None },
            )),
            Change::Insert { .. } | Change::UpdateWhere { .. } | Change::DeleteWhere { .. } => None,
        }
    }

    /// Writes the change; it answers the record's version, the new one where it is changed.
    pub(crate) fn push(
        &self,
        statement: &mut Statement,
        layouts: &Layouts,
        layout: &Layout,
        organization: Option<Uuid>,
    ) -> StoreResult<()> {
        match self.assignments {
            Some(assignments) => {
                statement.push("UPDATE ").push(&layout.table).push(" AS t SET ");
                push_assignments(statement, layout, organization, assignments);
            }
            None => {
                statement.push("DELETE FROM ").push(&layout.table).push(" AS t");
            }
        }
        push_record(statement, organization, self.id);
        if let Some(version) = self.expected_version {
            statement.push(" AND t.\"version\" = ").bind_integer(version);
        }
        if let Some((filter, _)) = self.condition {
            statement.push(" AND ");
            let rows = Rows::new(layouts, layout, organization, filter).of_written();
            rows.push_condition(statement, filter, false)?;
        }
        statement.push(" RETURNING t.\"version\"");
        Ok(())
    }
}

/// The version of a record.
pub(crate) fn version(layout: &Layout, organization: Option<Uuid>, id: Uuid) -> Statement {
    let mut statement = Statement::new("SELECT t.\"version\" FROM ");
    statement.push(&layout.table).push(" AS t");
    push_record(&mut statement, organization, id);
    statement
}

/// The whole record.
pub(crate) fn record(layout: &Layout, organization: Option<Uuid>, id: Uuid) -> Statement {
    let mut statement = Statement::new("SELECT ");
    statement.push(&layout.selected).push(" FROM ").push(&layout.table).push(" AS t");
    push_record(&mut statement, organization, id);
    statement
}

/// Locks records in the order of their ids, as every commit does, so that two never wait for each other.
pub(crate) fn lock(layout: &Layout, organization: Option<Uuid>, ids: &[Uuid]) -> Statement {
    let values: Vec<Value> = ids.iter().map(|id| Value::Id(*id)).collect();
    let mut statement = Statement::new("SELECT FROM ");
    statement.push(&layout.table).push(" AS t WHERE ");
    if let Some(organization) = organization {
        statement.push("t.\"organization_id\" = ").bind_id(organization).push(" AND ");
    }
    statement.push("t.\"id\" = ANY(").bind_array(FieldKind::Id, values.iter()).push(") ORDER BY t.\"id\" FOR UPDATE");
    statement
}

/// Writes the change or removal of every record that matches.
pub(crate) fn push_where(
    statement: &mut Statement,
    layouts: &Layouts,
    layout: &Layout,
    organization: Option<Uuid>,
    filter: &Filter,
    assignments: Option<&[Assignment]>,
) -> StoreResult<()> {
    match assignments {
        Some(assignments) => {
            statement.push("UPDATE ").push(&layout.table).push(" AS t SET ");
            push_assignments(statement, layout, organization, assignments);
        }
        None => {
            statement.push("DELETE FROM ").push(&layout.table).push(" AS t");
        }
    }
    Rows::new(layouts, layout, organization, filter).of_written().push_where(statement, filter)
}

fn push_record(statement: &mut Statement, organization: Option<Uuid>, id: Uuid) {
    statement.push(" WHERE ");
    if let Some(organization) = organization {
        statement.push("t.\"organization_id\" = ").bind_id(organization).push(" AND ");
    }
    statement.push("t.\"id\" = ").bind_id(id);
}

fn push_assignments(
    statement: &mut Statement,
    layout: &Layout,
    organization: Option<Uuid>,
    assignments: &[Assignment],
) {
    let owner = organization.filter(|_| layout.is_tenant());
    for assignment in assignments {
        let (Assignment::Set(position, value) | Assignment::Increment(position, value)) = assignment;
        let Some(field) = layout.collection.fields.get(*position) else { continue };
        let column = identifier(field.name);
        statement.push(&column).push(" = ");
        if matches!(assignment, Assignment::Set(..)) {
            statement.bind_value(field.kind, value);
            for (_, shadow) in layout.shadows.iter().filter(|(shadowed, _)| shadowed == position) {
                statement.push(",").push(&identifier(&shadow.name(field))).push(" = ");
                push_cast(statement, *shadow, shadow.of(owner, value));
            }
        } else {
            push_sum(statement, &format!("coalesce({ALIAS}.{column},0)"), field.name, field.kind, value);
        }
        statement.push(",");
    }
    statement.push("\"version\" = t.\"version\" + 1");
}

/// Writes a sum that names its field where it leaves the range; a sum of money is watched by the column's constraint.
fn push_sum(statement: &mut Statement, old: &str, name: &str, kind: FieldKind, addend: &Value) {
    let refuse = format!("{REFUSE}('the sum is out of range',{})", literal(name));
    match kind {
        FieldKind::Integer => {
            statement.push(&format!("CASE WHEN {old}::numeric + ")).bind_value(kind, addend);
            statement.push(&format!(" BETWEEN {} AND {} THEN {old} + ", i64::MIN, i64::MAX)).bind_value(kind, addend);
            statement.push(&format!(" ELSE {refuse} END"));
        }
        FieldKind::Number => {
            // Halves do not overflow.
            statement.push(&format!("CASE WHEN abs({old} / 2 + ")).bind_value(kind, addend).push(" / 2) <= ");
            statement.push(&format!("{:e} THEN {old} + ", f64::MAX / 2.0)).bind_value(kind, addend);
            statement.push(&format!(" ELSE {refuse} END"));
        }
        _ => {
            statement.push(old).push(" + ").bind_value(kind, addend);
        }
    }
}

/// Compiles a claim.
pub(crate) fn claim(
    layouts: &Layouts,
    scope: Scope,
    collection: &'static Collection,
    filter: &Filter,
    sort: &[Sort],
    limit: usize,
    set: &[(usize, Value)],
) -> StoreResult<Statement> {
    let organization = visible_organization(scope, collection)?;
    check_claim(collection, filter, sort, set)?;
    let layout = layouts.of(collection);
    let query = Query::new(filter.clone(), limit).sorted(sort.to_vec());
    let rows = Rows::new(layouts, &layout, organization, filter).of_written();
    let plan = Plan::new(&rows, &query, true, |_| false).of_locked_rows(&query);
    let assignments: Vec<Assignment> =
        set.iter().map(|(position, value)| Assignment::Set(*position, value.clone())).collect();
    let mut statement = Statement::new("WITH c AS MATERIALIZED (");
    plan.push_block(&mut statement, &rows, "t.\"organization_id\",t.\"id\"", 0)?;
    statement.push(" LIMIT ").bind_integer(i64::try_from(limit).unwrap_or(i64::MAX));
    statement.push(" FOR UPDATE OF t SKIP LOCKED) UPDATE ").push(&layout.table).push(" AS t SET ");
    push_assignments(&mut statement, &layout, organization, &assignments);
    statement.push(" FROM c WHERE t.\"organization_id\" = c.\"organization_id\" AND t.\"id\" = c.\"id\" RETURNING ");
    statement.push(&layout.selected);
    Ok(statement)
}
