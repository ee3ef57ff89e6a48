//! Measures over groups.

use crm_core::store::{
    AggregateRow, Aggregation, Collection, FieldKind, FieldRef, Group, Measure, Measured, Scope, StoreError,
    StoreResult, Value,
    evaluate::{check_aggregation, visible_organization},
};
use sqlx::{Row as _, sqlite::SqliteRow};

use crate::{
    compile::Rows,
    pool::Reader,
    row::{decode_column, integer},
    statement::Statement,
    store::SqliteStore,
};

pub(crate) async fn aggregate(
    store: &SqliteStore,
    scope: Scope,
    collection: &'static Collection,
    aggregation: &Aggregation,
) -> StoreResult<Vec<AggregateRow>> {
    let organization = visible_organization(scope, collection)?;
    check_aggregation(collection, aggregation)?;
    let layout = store.layouts.of(collection);
    let rows = Rows::new(&store.layouts, &layout, organization, &aggregation.filter);
    let whole = whole_statement(&rows, aggregation)?;
    let mut percentiles = Vec::new();
    for (place, measure) in aggregation.measures.iter().enumerate() {
        if let Measure::Percentile { field, per_mille } = measure {
            percentiles.push((place, field.kind, percentile_statement(&rows, aggregation, field, *per_mille)?));
        }
    }
    let mut reader = store.pool.acquire().await?;
    // Several statements see one state of the database.
    let several = !percentiles.is_empty();
    if several {
        reader.all(Statement::new("BEGIN")).await?;
    }
    let answered = reader.all(whole).await?;
    let mut answers: Vec<AggregateRow> =
        answered.iter().map(|row| decode(aggregation, row)).collect::<StoreResult<_>>()?;
    for (place, kind, statement) in percentiles {
        fill_percentile(&mut reader, aggregation, &mut answers, place, kind, statement).await?;
    }
    if several {
        reader.all(Statement::new("COMMIT")).await?;
    }
    reader.release();
    Ok(answers)
}

const fn group_kind(group: &Group) -> FieldKind {
    match group {
        Group::Field(field) => match field.kind {
            FieldKind::TextList => FieldKind::Text,
            kind => kind,
        },
        Group::Interval { .. } => FieldKind::Timestamp,
    }
}

/// Writes the value of a group.
fn push_group(statement: &mut Statement, rows: &Rows<'_>, place: usize, group: &Group) -> StoreResult<()> {
    match group {
        Group::Field(field) if field.kind == FieldKind::TextList => {
            statement.push(&format!("g{place}.value"));
        }
        Group::Field(field) => {
            statement.push(&rows.scalar(field)?);
        }
        Group::Interval { field, bounds } => {
            let instant = rows.scalar(field)?;
            statement.push("CASE");
            for interval in bounds.windows(2) {
                statement.push(" WHEN ").push(&instant).push(" < ").bind_integer(interval[1].as_milliseconds());
                statement.push(" THEN ").bind_integer(interval[0].as_milliseconds());
            }
            statement.push(" END");
        }
    }
    Ok(())
}

/// Writes `FROM` and `WHERE`: the rows that match, once for each element of a list they are grouped by, within the
/// outermost bounds of intervals.
fn push_rows(statement: &mut Statement, rows: &Rows<'_>, aggregation: &Aggregation) -> StoreResult<()> {
    statement.push(" FROM ");
    rows.push_table(statement, &aggregation.filter);
    for (place, group) in aggregation.groups.iter().enumerate() {
        if let Group::Field(field) = group
            && field.kind == FieldKind::TextList
        {
            statement.push(&format!(", json_each({}) AS g{place}", rows.list(field)?));
        }
    }
    rows.push_where(statement, &aggregation.filter)?;
    for (place, group) in aggregation.groups.iter().enumerate() {
        match group {
            Group::Field(field) if field.kind == FieldKind::TextList => {
                // An element counts once, where it stands first.
                statement.push(&format!(
                    " AND NOT EXISTS (SELECT 1 FROM json_each({}) AS d WHERE d.value = g{place}.value AND d.key < g{place}.key)",
                    rows.list(field)?
                ));
            }
            Group::Interval { field, bounds } => {
                if let (Some(first), Some(last)) = (bounds.first(), bounds.last()) {
                    let instant = rows.scalar(field)?;
                    statement.push(" AND ").push(&instant).push(" >= ").bind_integer(first.as_milliseconds());
                    statement.push(" AND ").push(&instant).push(" < ").bind_integer(last.as_milliseconds());
                }
            }
            Group::Field(_) => {}
        }
    }
    Ok(())
}

/// Writes `1,2,3` for the columns of the groups.
fn places(aggregation: &Aggregation) -> String {
    let places: Vec<String> = (1..=aggregation.groups.len()).map(|place| place.to_string()).collect();
    places.join(",")
}

/// Everything but the percentiles.
fn whole_statement(rows: &Rows<'_>, aggregation: &Aggregation) -> StoreResult<Statement> {
    let mut statement = Statement::new("SELECT ");
    for (place, group) in aggregation.groups.iter().enumerate() {
        push_group(&mut statement, rows, place, group)?;
        statement.push(",");
    }
    for measure in &aggregation.measures {
        match measure {
            Measure::Count => {
                statement.push("count(*),");
            }
            Measure::Sum(field) if field.kind == FieldKind::Number => {
                let value = rows.scalar(field)?;
                statement.push(&format!("count({value}),sum({value}),"));
            }
            Measure::Sum(field) => {
                // Halves of 32 bits: neither sum can leave 64 bits before there are two billion rows.
                let value = rows.scalar(field)?;
                statement.push(&format!("count({value}),sum(({value}) >> 32),sum(({value}) & 4294967295),"));
            }
            Measure::Minimum(field) => {
                statement.push("min(").push(&rows.scalar(field)?).push("),");
            }
            Measure::Maximum(field) => {
                statement.push("max(").push(&rows.scalar(field)?).push("),");
            }
            Measure::Distinct(field) => {
                statement.push("count(DISTINCT ").push(&rows.scalar(field)?).push("),");
            }
            Measure::Percentile { .. } => {}
        }
    }
    statement.push("count(*)");
    push_rows(&mut statement, rows, aggregation)?;
    if !aggregation.groups.is_empty() {
        let places = places(aggregation);
        statement.push(" GROUP BY ").push(&places).push(" ORDER BY ").push(&places);
    }
    Ok(statement)
}

/// The groups and the value at the nearest rank.
fn percentile_statement(
    rows: &Rows<'_>,
    aggregation: &Aggregation,
    field: &FieldRef,
    per_mille: u16,
) -> StoreResult<Statement> {
    let names: Vec<String> = (0..aggregation.groups.len()).map(|place| format!("v{place}")).collect();
    let partition = if names.is_empty() { String::new() } else { format!("PARTITION BY {} ", names.join(",")) };
    let listed: String = names.iter().map(|name| format!("{name},")).collect();
    let mut statement = Statement::new("SELECT ");
    statement.push(&format!(
        "{listed}measured FROM (SELECT {listed}measured, row_number() OVER ({partition}ORDER BY measured) AS place, \
         count(*) OVER ({partition}) AS number FROM (SELECT "
    ));
    for (place, group) in aggregation.groups.iter().enumerate() {
        push_group(&mut statement, rows, place, group)?;
        statement.push(&format!(" AS v{place},"));
    }
    statement.push(&rows.scalar(field)?).push(" AS measured");
    push_rows(&mut statement, rows, aggregation)?;
    statement.push(") WHERE measured IS NOT NULL) WHERE place = max(1, (number * ");
    statement.bind_integer(i64::from(per_mille)).push(" + 999) / 1000)");
    if !names.is_empty() {
        statement.push(" ORDER BY ").push(&names.join(","));
    }
    Ok(statement)
}

fn decode_value(row: &SqliteRow, column: usize, kind: FieldKind) -> StoreResult<Value> {
    decode_column(row, column, kind).map_err(StoreError::engine)
}

fn count(row: &SqliteRow, column: usize) -> StoreResult<u64> {
    Ok(u64::try_from(integer(row, column)?).unwrap_or(0))
}

fn decode(aggregation: &Aggregation, row: &SqliteRow) -> StoreResult<AggregateRow> {
    let mut column = 0;
    let mut next = || {
        column += 1;
        column - 1
    };
    let mut groups = Vec::with_capacity(aggregation.groups.len());
    for group in &aggregation.groups {
        groups.push(decode_value(row, next(), group_kind(group))?);
    }
    let mut measures = Vec::with_capacity(aggregation.measures.len());
    for measure in &aggregation.measures {
        measures.push(match measure {
            Measure::Count | Measure::Distinct(_) => Measured::Count(count(row, next())?),
            Measure::Sum(field) if field.kind == FieldKind::Number => {
                let count = count(row, next())?;
                let sum: Option<f64> = row.try_get_unchecked(next()).map_err(StoreError::engine)?;
                Measured::NumberSum { sum: sum.unwrap_or_default(), count }
            }
            Measure::Sum(_) => {
                let count = count(row, next())?;
                let (high, low) = (integer(row, next())?, integer(row, next())?);
                Measured::ExactSum { sum: (i128::from(high) << 32) + i128::from(low), count }
            }
            Measure::Minimum(field) | Measure::Maximum(field) => {
                Measured::Value(decode_value(row, next(), field.kind)?)
            }
            Measure::Percentile { .. } => Measured::Value(Value::Null),
        });
    }
    Ok(AggregateRow { groups, measures })
}

/// Puts a percentile into the answers; both are in the order of the groups.
async fn fill_percentile(
    reader: &mut Reader<'_>,
    aggregation: &Aggregation,
    answers: &mut [AggregateRow],
    place: usize,
    kind: FieldKind,
    statement: Statement,
) -> StoreResult<()> {
    let mut answers = answers.iter_mut();
    for row in reader.all(statement).await? {
        let mut groups = Vec::with_capacity(aggregation.groups.len());
        for (column, group) in aggregation.groups.iter().enumerate() {
            groups.push(decode_value(&row, column, group_kind(group))?);
        }
        let value = decode_value(&row, groups.len(), kind)?;
        let answer = answers.by_ref().find(|answer| answer.groups == groups);
        if let Some(measured) = answer.and_then(|answer| answer.measures.get_mut(place)) {
            *measured = Measured::Value(value);
        }
    }
    Ok(())
}
