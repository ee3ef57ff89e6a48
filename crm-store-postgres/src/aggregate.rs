//! Measures over groups, in one statement.

use crm_core::store::{
    AggregateRow, Aggregation, Collection, FieldKind, FieldRef, Group, Measure, Measured, Scope, StoreError,
    StoreResult, Value,
    evaluate::{check_aggregation, visible_organization},
};
use crm_core::time::Timestamp;
use sqlx::{Row as _, ValueRef as _, postgres::PgRow};

use crate::{
    binary,
    compile::{Rows, push_operand},
    read,
    row::{decode_column, integer},
    statement::Statement,
    store::PostgresStore,
};

pub(crate) async fn aggregate(
    store: &PostgresStore,
    scope: Scope,
    collection: &'static Collection,
    aggregation: &Aggregation,
) -> StoreResult<Vec<AggregateRow>> {
    let organization = visible_organization(scope, collection)?;
    check_aggregation(collection, aggregation)?;
    let layout = store.layouts.of(collection);
    let rows = Rows::new(&store.layouts, &layout, organization, &aggregation.filter);
    let answered = read::all(&store.pool, statement(&rows, aggregation)?).await?;
    answered.iter().map(|row| decode(aggregation, row)).collect()
}

pub(crate) fn statement(rows: &Rows<'_>, aggregation: &Aggregation) -> StoreResult<Statement> {
    let mut statement = Statement::new("SELECT ");
    for (place, group) in aggregation.groups.iter().enumerate() {
        push_group(&mut statement, rows, place, group)?;
        statement.push(",");
    }
    for measure in &aggregation.measures {
        push_measure(&mut statement, rows, measure)?;
    }
    statement.push("count(*)");
    push_rows(&mut statement, rows, aggregation)?;
    let places = 1..=aggregation.groups.len();
    for (place, column) in places.clone().enumerate() {
        statement.push(if place == 0 { " GROUP BY " } else { "," }).push(&column.to_string());
    }
    for (place, column) in places.enumerate() {
        statement.push(if place == 0 { " ORDER BY " } else { "," }).push(&format!("{column} NULLS FIRST"));
    }
    Ok(statement)
}

/// Writes the value of a group.
fn push_group(statement: &mut Statement, rows: &Rows<'_>, place: usize, group: &Group) -> StoreResult<()> {
    match group {
        Group::Field(field) if field.kind == FieldKind::TextList => {
            statement.push(&format!("g{place}.element"));
        }
        Group::Field(field) => {
            statement.push(&rows.scalar(field)?);
        }
        Group::Interval { field, bounds } => {
            let instant = rows.scalar(field)?;
            statement.push("CASE");
            for interval in bounds.windows(2) {
                push_instant(statement.push(" WHEN ").push(&instant).push(" < "), field, interval[1]);
                push_instant(statement.push(" THEN "), field, interval[0]);
            }
            statement.push(" END");
        }
    }
    Ok(())
}

fn push_instant(statement: &mut Statement, field: &FieldRef, instant: Timestamp) {
    push_operand(statement, field, &Value::Timestamp(instant));
}

/// Writes a measure and a comma.
fn push_measure(statement: &mut Statement, rows: &Rows<'_>, measure: &Measure) -> StoreResult<()> {
    let written = match measure {
        Measure::Count => "count(*)".to_owned(),
        Measure::Sum(field) => {
            let value = rows.scalar(field)?;
            format!("count({value}),sum({value})")
        }
        Measure::Minimum(field) => extreme(rows, field, "min", "bool_and")?,
        Measure::Maximum(field) => extreme(rows, field, "max", "bool_or")?,
        Measure::Distinct(field) => format!("count(DISTINCT {})", rows.scalar(field)?),
        Measure::Percentile { field, per_mille } => {
            // The rank is ceil(fraction × n). Of a fraction that is a little smaller the ceiling is the same, also
            // where the product is whole and a double of it would be a little larger.
            let fraction = f64::from(*per_mille) / 1000.0 * (1.0 - 1e-12);
            format!("percentile_disc({fraction:?}) WITHIN GROUP (ORDER BY {})", rows.scalar(field)?)
        }
    };
    statement.push(&written).push(",");
    Ok(())
}

/// PostgreSQL compares truth values by functions of their own, and before version 18 has no smallest id.
fn extreme(rows: &Rows<'_>, field: &FieldRef, function: &str, of_bools: &str) -> StoreResult<String> {
    let value = rows.scalar(field)?;
    Ok(match field.kind {
        FieldKind::Bool => format!("{of_bools}({value})"),
        FieldKind::Id => format!("{function}(({value})::text COLLATE \"C\")::uuid"),
        _ => format!("{function}({value})"),
    })
}

/// Writes `FROM` and `WHERE`: the rows that match, once for each element of a list they are grouped by, within the
/// outermost bounds of intervals.
fn push_rows(statement: &mut Statement, rows: &Rows<'_>, aggregation: &Aggregation) -> StoreResult<()> {
    statement.push(" FROM ");
    rows.push_table(statement);
    for (place, group) in aggregation.groups.iter().enumerate() {
        if let Group::Field(field) = group
            && field.kind == FieldKind::TextList
        {
            let elements = if field.key.is_some() { "jsonb_array_elements_text" } else { "unnest" };
            let list = rows.scalar(field)?;
            statement.push(&format!(
                " CROSS JOIN LATERAL (SELECT DISTINCT e COLLATE \"C\" AS element FROM {elements}({list}) AS e) AS g{place}"
            ));
        }
    }
    rows.push_where(statement, &aggregation.filter)?;
    for group in &aggregation.groups {
        if let Group::Interval { field, bounds } = group
            && let (Some(first), Some(last)) = (bounds.first(), bounds.last())
        {
            let instant = rows.scalar(field)?;
            push_instant(statement.push(" AND ").push(&instant).push(" >= "), field, *first);
            push_instant(statement.push(" AND ").push(&instant).push(" < "), field, *last);
        }
    }
    Ok(())
}

/// Reads a column as a value of the field: custom instants are milliseconds, custom days text.
fn decode_value(row: &PgRow, column: usize, field: &FieldRef) -> StoreResult<Value> {
    let read = |kind| decode_column(row, column, kind).map_err(StoreError::engine);
    match (&field.key, field.kind) {
        (_, FieldKind::TextList) => read(FieldKind::Text),
        (Some(_), FieldKind::Timestamp) => Ok(match read(FieldKind::Integer)? {
            Value::Integer(milliseconds) => {
                Timestamp::from_milliseconds(milliseconds).map(Value::Timestamp).unwrap_or_default()
            }
            _ => Value::Null,
        }),
        (Some(_), FieldKind::Date) => match read(FieldKind::Text)? {
            Value::Text(day) => day.parse().map(Value::Date).map_err(StoreError::engine),
            _ => Ok(Value::Null),
        },
        (_, kind) => read(kind),
    }
}

fn count(row: &PgRow, column: usize) -> StoreResult<u64> {
    Ok(u64::try_from(integer(row, column)?).unwrap_or(0))
}

/// The sum of a column in ten-thousandths; nothing where there was no value.
fn numeric(row: &PgRow, column: usize) -> StoreResult<Option<i128>> {
    let raw = row.try_get_raw(column).map_err(StoreError::engine)?;
    if raw.is_null() {
        return Ok(None);
    }
    raw.as_bytes().and_then(binary::numeric).map(Some).map_err(StoreError::engine)
}

fn decode(aggregation: &Aggregation, row: &PgRow) -> StoreResult<AggregateRow> {
    let mut column = 0;
    let mut next = || {
        column += 1;
        column - 1
    };
    let mut groups = Vec::with_capacity(aggregation.groups.len());
    for group in &aggregation.groups {
        let (Group::Field(field) | Group::Interval { field, .. }) = group;
        groups.push(decode_value(row, next(), field)?);
    }
    let mut measures = Vec::with_capacity(aggregation.measures.len());
    for measure in &aggregation.measures {
        measures.push(match measure {
            Measure::Count | Measure::Distinct(_) => Measured::Count(count(row, next())?),
            Measure::Sum(field) if field.kind == FieldKind::Number => {
                let count = count(row, next())?;
                let sum = match decode_column(row, next(), FieldKind::Number).map_err(StoreError::engine)? {
                    Value::Number(sum) => sum,
                    _ => 0.0,
                };
                Measured::NumberSum { sum, count }
            }
            Measure::Sum(field) => {
                let count = count(row, next())?;
                let sum = numeric(row, next())?.unwrap_or(0);
                let sum = if field.kind == FieldKind::Integer { sum / 10_000 } else { sum };
                Measured::ExactSum { sum, count }
            }
            Measure::Minimum(field) | Measure::Maximum(field) | Measure::Percentile { field, .. } => {
                Measured::Value(decode_value(row, next(), field)?)
            }
        });
    }
    Ok(AggregateRow { groups, measures })
}
