//! The shadows of rows that were there before the columns for them.
//!
//! Such a column is marked by its comment. At every start the rows that lack a shadow in it are looked for: there are
//! some where a start was interrupted, and where a process of an older version, which knows nothing of the column, has
//! added rows since.

use crm_core::store::{Field, FieldKind, StoreError, StoreResult, Value};
use sqlx::Row as _;

use super::Run;
use crate::{
    layout::Layout,
    row::{Shadow, decode_column},
    statement::{Statement, identifier, literal},
    write::{Shadowed, push_shadows},
};

/// How many rows get their shadows at a time.
const BATCH: usize = 1000;
/// The comment of a column that was added to a table which may have had rows.
const ADDED: &str = "added later: filled at the start of the program where it is missing";

/// The last row of a batch.
struct Place {
    organization: Value,
    id: Value,
}

impl Run<'_> {
    /// Adds a column for a shadow to a table that may have rows.
    pub(super) async fn add_shadow(&mut self, layout: &Layout, column: &str, sql_type: &str) -> StoreResult<()> {
        self.execute(&format!("ALTER TABLE {} ADD COLUMN {column} {sql_type}", layout.table)).await?;
        self.execute(&format!("COMMENT ON COLUMN {}.{column} IS {}", layout.table, literal(ADDED))).await
    }

    /// Fills what is missing in such columns, beside those who work with the table.
    pub(super) async fn fill_shadows(&mut self, layout: &Layout) -> StoreResult<()> {
        let shadows = self.added_shadows(layout).await?;
        if shadows.is_empty() {
            return Ok(());
        }
        let mut after = None;
        let mut done = 0;
        loop {
            let mut turn = 0;
            let (filled, last) = loop {
                self.begin().await?;
                let made = self.fill(layout, &shadows, after.as_ref()).await;
                if let Some(made) = self.end(made, &mut turn).await? {
                    break made;
                }
            };
            done += filled as u64;
            if filled > 0 {
                (self.progress)(layout.collection.name, done, done);
            }
            if filled < BATCH {
                return Ok(());
            }
            after = last;
        }
    }

    async fn added_shadows<'a>(&mut self, layout: &'a Layout) -> StoreResult<Vec<(&'a Field, Shadow)>> {
        if layout.shadows.is_empty() {
            return Ok(Vec::new());
        }
        let mut statement = Statement::new(
            "SELECT attname::text FROM pg_attribute WHERE attnum > 0 AND NOT attisdropped AND attrelid = to_regclass(",
        );
        statement.bind_text(&layout.table).push(") AND col_description(attrelid, attnum) = ").bind_text(ADDED);
        let rows = self.all(statement).await?;
        let added = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<String>, _>>();
        let added = added.map_err(StoreError::engine)?;
        let fields = &layout.collection.fields;
        let shadows = layout.shadows.iter().filter_map(|(position, shadow)| Some((fields.get(*position)?, *shadow)));
        Ok(shadows.filter(|(field, shadow)| added.contains(&shadow.name(field))).collect())
    }

    /// Fills a batch; answers how many rows it had and where it ended. The rows are locked, so that what is written is
    /// of what they hold.
    async fn fill(
        &mut self,
        layout: &Layout,
        shadows: &[(&Field, Shadow)],
        after: Option<&Place>,
    ) -> StoreResult<(usize, Option<Place>)> {
        let rows = self.all(missing(layout, shadows, after)).await?;
        let mut records = Vec::with_capacity(rows.len());
        let mut last = None;
        for row in &rows {
            let read = |column, kind| decode_column(row, column, kind).map_err(StoreError::engine);
            let (organization, id) = (read(0, FieldKind::Id)?, read(1, FieldKind::Id)?);
            let owner = match organization {
                Value::Id(organization) if layout.is_tenant() => Some(organization),
                _ => None,
            };
            let mut casts = Vec::with_capacity(shadows.len());
            for (place, (field, shadow)) in shadows.iter().enumerate() {
                casts.push(shadow.of(owner, &read(place + 2, field.kind)?));
            }
            last = Some(Place { organization: organization.clone(), id: id.clone() });
            records.push(Shadowed { organization, id, casts });
        }
        if !records.is_empty() {
            let mut update = Statement::new("");
            push_shadows(&mut update, layout, shadows, records);
            self.all(update).await?;
        }
        Ok((rows.len(), last))
    }
}

/// The next rows that lack a shadow, in the order of the primary key, locked: their keys and what the shadows are of.
fn missing(layout: &Layout, shadows: &[(&Field, Shadow)], after: Option<&Place>) -> Statement {
    let key = if layout.is_tenant() { "\"organization_id\",\"id\"" } else { "\"id\"" };
    let mut statement = Statement::new("SELECT \"organization_id\",\"id\"");
    for (field, _) in shadows {
        statement.push(",").push(&identifier(field.name));
    }
    statement.push(" FROM ").push(&layout.table).push(" WHERE (");
    for (place, (field, shadow)) in shadows.iter().enumerate() {
        statement.push(if place == 0 { "" } else { " OR " });
        let (source, shadow) = (identifier(field.name), identifier(&shadow.name(field)));
        statement.push(&format!("{source} IS NOT NULL AND {shadow} IS NULL"));
    }
    statement.push(")");
    if let Some(Place { organization, id }) = after {
        statement.push(&format!(" AND ({key}) > ("));
        if layout.is_tenant() {
            statement.bind_value(FieldKind::Id, organization).push(",");
        }
        statement.bind_value(FieldKind::Id, id).push(")");
    }
    statement.push(&format!(" ORDER BY {key} LIMIT {BATCH} FOR UPDATE"));
    statement
}
