//! The tables, indexes and triggers that follow from a declaration.

use crm_core::store::{
    Field, FieldKind, Money,
    plan::{Form, IndexColumn, index_columns},
};
use uuid::Uuid;

use crate::{
    compile::cut,
    layout::{ELEMENT_CHARACTERS, ElementTable, Layout, column_name, short_name},
    plan::direction,
    statement::{id_literal, identifier},
};

/// The version of what this program makes of declarations. A database with a larger one is from a newer program.
pub(crate) const VERSION: i64 = 1;

/// The table that notes which migrations have run.
pub(crate) const MIGRATIONS: &str = "crm_migrations";

/// The function that stops a statement from inside, with a reason and the name of a field.
pub(crate) const REFUSE: &str = "crm_refuse";

/// The error code of [`REFUSE`].
pub(crate) const REFUSED: &str = "CRM00";

/// Something in the schema with the statement that makes it. The statement is kept as its comment, so comparing the two
/// tells whether it is as declared.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Item {
    /// Its name, not quoted.
    pub(crate) name: String,
    /// The statement that makes it.
    pub(crate) sql: String,
}

/// A table derived from the collection's, kept by a trigger.
#[derive(Clone, Debug)]
pub(crate) struct Derived {
    /// The table.
    pub(crate) table: Item,
    /// Its index and what keeps it.
    pub(crate) parts: Vec<String>,
    /// Fills it anew from all rows.
    pub(crate) fill: String,
}

/// What stands in a database before any collection.
pub(crate) fn foundation() -> [String; 2] {
    [
        format!(
            "CREATE TABLE {MIGRATIONS} (\n  version bigint PRIMARY KEY,\n  name text NOT NULL,\n  \
             applied_at timestamptz NOT NULL DEFAULT now()\n)"
        ),
        format!(
            "CREATE FUNCTION {REFUSE}(reason text, field text DEFAULT NULL) RETURNS bigint LANGUAGE plpgsql VOLATILE AS \
             $$ BEGIN RAISE EXCEPTION USING MESSAGE = reason, COLUMN = coalesce(field, ''), ERRCODE = '{REFUSED}'; END $$"
        ),
    ]
}

/// The table of the collection.
pub(crate) fn table(layout: &Layout) -> String {
    let mut lines: Vec<String> =
        layout.collection.fields.iter().map(|field| format!("  {}", column(layout, field))).collect();
    lines.extend(shadow_columns(layout).map(|(name, sql_type)| format!("  {} {sql_type}", identifier(&name))));
    let lead = if layout.is_tenant() { "\"organization_id\"," } else { "" };
    lines.push(format!("  CONSTRAINT {} PRIMARY KEY ({lead}\"id\")", identifier(&primary_key(layout))));
    format!("CREATE TABLE {} (\n{}\n)", layout.table, lines.join(",\n"))
}

/// The name of the primary key, not quoted.
pub(crate) fn primary_key(layout: &Layout) -> String {
    short_name(&format!("{}_pkey", layout.collection.name))
}

/// The name and type of each shadow, in the order of the layout.
pub(crate) fn shadow_columns(layout: &Layout) -> impl Iterator<Item = (String, &'static str)> {
    layout
        .shadows
        .iter()
        .map(|(position, shadow)| (shadow.name(&layout.collection.fields[*position]), shadow.sql_type()))
}

/// The definition of a field's column.
fn column(layout: &Layout, field: &Field) -> String {
    let missing = if field.optional { "" } else { " NOT NULL" };
    let collation = if field.kind == FieldKind::Text { " COLLATE \"C\"" } else { "" };
    format!("{} {}{collation}{missing}{}", identifier(field.name), sql_type(field.kind), range(layout, field))
}

/// The definition of a column that is added to a table which has rows; nothing where no value would be right in them.
pub(crate) fn added_column(layout: &Layout, field: &Field) -> Option<String> {
    let definition = column(layout, field);
    if field.optional {
        return Some(definition);
    }
    let default = match field.kind {
        FieldKind::Bool => "false",
        FieldKind::Integer | FieldKind::Money | FieldKind::Number => "0",
        FieldKind::Text => "''",
        FieldKind::TextList | FieldKind::Json => "'{}'",
        FieldKind::Timestamp | FieldKind::Date | FieldKind::Id => return None,
    };
    Some(format!("{definition} DEFAULT {default}"))
}

/// The type of a column, as `format_type` tells it.
pub(crate) const fn sql_type(kind: FieldKind) -> &'static str {
    match kind {
        FieldKind::Bool => "boolean",
        FieldKind::Integer => "bigint",
        FieldKind::Number => "double precision",
        FieldKind::Money => "numeric(19,4)",
        FieldKind::Text => "text",
        FieldKind::Timestamp => "timestamp with time zone",
        FieldKind::Date => "date",
        FieldKind::Id => "uuid",
        FieldKind::TextList => "text[]",
        FieldKind::Json => "jsonb",
    }
}

/// What an increment must not leave.
fn range(layout: &Layout, field: &Field) -> String {
    if field.kind != FieldKind::Money {
        return String::new();
    }
    let constraint = identifier(&range_name(layout, field));
    format!(" CONSTRAINT {constraint} CHECK ({} BETWEEN {} AND {})", identifier(field.name), Money::MIN, Money::MAX)
}

/// The name of the constraint that keeps a field in its range, not quoted.
pub(crate) fn range_name(layout: &Layout, field: &Field) -> String {
    short_name(&format!("{}_{}_range", layout.collection.name, field.name))
}

/// The name of a unique key's index, not quoted.
pub(crate) fn unique_name(layout: &Layout, key: &str) -> String {
    short_name(&format!("{}_key_{key}", layout.collection.name))
}

/// The indexes on the collection's table.
pub(crate) fn indexes(layout: &Layout) -> Vec<Item> {
    let collection = layout.collection;
    let lead = if layout.is_tenant() { "\"organization_id\"," } else { "" };
    let mut items = Vec::new();
    for key in collection.unique {
        let name = unique_name(layout, key.name);
        let columns: Vec<String> = key.fields.iter().map(|field| identifier(field)).collect();
        let present: Vec<String> = key
            .fields
            .iter()
            .filter(|field| collection.field(field).is_some_and(|field| field.optional))
            .map(|field| format!("{} IS NOT NULL", identifier(field)))
            .collect();
        let partial = if present.is_empty() { String::new() } else { format!(" WHERE {}", present.join(" AND ")) };
        let sql = format!(
            "CREATE UNIQUE INDEX {} ON {} ({lead}{}){partial}",
            identifier(&name),
            layout.table,
            columns.join(",")
        );
        items.push(Item { name, sql });
    }
    for index in collection.indexes {
        let name = layout.index_name(index);
        let covers: Vec<String> = index.covers.iter().map(|field| identifier(field)).collect();
        if index.fields.is_empty() {
            // Without the id, equal entries share one: a tenth of the size, and a quarter of the time to count.
            let covers = covers.join(",");
            let sql = format!("CREATE INDEX {} ON {} ({lead}{covers})", identifier(&name), layout.table);
            items.push(Item { name, sql });
            continue;
        }
        let Some(columns) = index_columns(collection, index) else { continue };
        if columns.iter().any(|column| column.field.kind == FieldKind::TextList) {
            continue;
        }
        let columns: Vec<String> = columns.iter().map(|column| directed(layout, column)).collect();
        let mut sql = format!("CREATE INDEX {} ON {} ({})", identifier(&name), layout.table, columns.join(","));
        if !covers.is_empty() {
            sql.push_str(&format!(" INCLUDE ({})", covers.join(",")));
        }
        items.push(Item { name, sql });
    }
    if layout.is_searched() {
        let name = short_name(&format!("{}_search", collection.name));
        let sql = format!("CREATE INDEX {} ON {} USING gin ({})", identifier(&name), layout.table, layout.trigrams(""));
        items.push(Item { name, sql });
    }
    items
}

/// A column of an index: of a text that has a folded form, as much as an index takes.
fn directed(layout: &Layout, column: &IndexColumn) -> String {
    let name = identifier(&column_name(column.field, column.form));
    let is_cut = column.field.kind == FieldKind::Text && layout.collection.keeps_folded(column.field);
    let expression = if is_cut { cut(&name) } else { name };
    format!("{expression}{}", direction(column.descending, column.field.optional))
}

/// The tables that are kept beside the collection's.
pub(crate) fn derived(layout: &Layout) -> Vec<Derived> {
    layout.elements.iter().map(|table| elements(layout, table)).collect()
}

fn elements(layout: &Layout, elements: &ElementTable) -> Derived {
    let table = identifier(&elements.name);
    let list = identifier(elements.list);
    let copied: Vec<String> = elements.columns.iter().map(|column| column_name(column.field, column.form)).collect();
    let mut definitions =
        vec!["\"organization_id\" uuid NOT NULL".to_owned(), "\"element\" text COLLATE \"C\" NOT NULL".to_owned()];
    for (name, column) in copied.iter().zip(&elements.columns) {
        let collation = if column.field.kind == FieldKind::Text { " COLLATE \"C\"" } else { "" };
        definitions.push(format!("{} {}{collation} NOT NULL", identifier(name), sql_type(column.field.kind)));
    }
    let sql = format!("CREATE TABLE {table} (\n  {}\n)", definitions.join(",\n  "));
    let ordered: Vec<String> = elements.columns.iter().map(|column| directed(layout, column)).collect();
    let index = format!(
        "CREATE UNIQUE INDEX {} ON {table} (\"organization_id\",\"element\",{})",
        identifier(&short_name(&format!("{}_order", elements.name))),
        ordered.join(",")
    );
    let columns: Vec<String> = copied.iter().map(|name| identifier(name)).collect();
    let rows = |of: &str, from: &str| {
        let values: Vec<String> = columns.iter().map(|column| format!("{of}.{column}")).collect();
        format!(
            "INSERT INTO {table} (\"organization_id\",\"element\",{}) SELECT DISTINCT {of}.\"organization_id\",e,{} \
             FROM {from}unnest({of}.{list}) AS e WHERE char_length(e) <= {ELEMENT_CHARACTERS}",
            columns.join(","),
            values.join(",")
        )
    };
    let same: Vec<String> = columns.iter().map(|column| format!(" AND {column} = OLD.{column}")).collect();
    let keep = identifier(&short_name(&format!("{}_keep", elements.name)));
    let function = format!(
        "CREATE OR REPLACE FUNCTION {keep}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN\n  IF TG_OP <> 'INSERT' THEN\n    \
         DELETE FROM {table} WHERE \"organization_id\" = OLD.\"organization_id\" AND \"element\" = ANY(OLD.{list}){};\n  \
         END IF;\n  IF TG_OP <> 'DELETE' THEN\n    {};\n  END IF;\n  RETURN NULL;\nEND $$",
        same.join(""),
        rows("NEW", "")
    );
    let trigger = |event: &str, when: String| {
        let name = identifier(&short_name(&format!("{}_{event}", elements.name)));
        [
            format!("DROP TRIGGER IF EXISTS {name} ON {}", layout.table),
            format!(
                "CREATE TRIGGER {name} AFTER {event} ON {} FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION {keep}()",
                layout.table
            ),
        ]
    };
    let mut watched = vec![list.clone(), "\"organization_id\"".to_owned()];
    watched.extend(columns.iter().cloned());
    let differs: Vec<String> =
        watched.iter().map(|column| format!("OLD.{column} IS DISTINCT FROM NEW.{column}")).collect();
    let mut parts = vec![index, function];
    parts.extend(trigger("insert", format!("cardinality(NEW.{list}) > 0")));
    parts.extend(trigger("update", differs.join(" OR ")));
    parts.extend(trigger("delete", format!("cardinality(OLD.{list}) > 0")));
    Derived {
        fill: rows("t", &format!("{} AS t, ", layout.table)),
        parts,
        table: Item { name: elements.name.clone(), sql },
    }
}

/// The columns of an index over a custom field, by the expressions that filters and orders compile to.
pub(crate) fn custom_index(layout: &Layout, name: &str, organization: Uuid, expressions: &[(Form, String)]) -> String {
    let columns: Vec<String> = expressions
        .iter()
        .map(|(form, expression)| {
            let is_cut = expressions.len() > 1 || *form == Form::Folded;
            let expression = if is_cut { cut(expression) } else { expression.clone() };
            format!("({expression}){}", direction(false, true))
        })
        .collect();
    format!(
        "CREATE INDEX CONCURRENTLY IF NOT EXISTS {} ON {} ({},\"id\") WHERE \"organization_id\" = {}",
        identifier(name),
        layout.table,
        columns.join(","),
        id_literal(organization)
    )
}
