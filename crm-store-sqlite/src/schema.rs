//! The tables, indexes and triggers that follow from a declaration.

use crm_core::store::{Field, FieldKind, Money};

use crate::{
    layout::{ElementColumn, ElementTable, Layout},
    statement::{identifier, literal},
};

/// The version of what this program makes of declarations, kept as `user_version`. A file with a larger one is from
/// a newer program.
pub(crate) const VERSION: i64 = 1;

/// Marks the file as one of this program's, for `file` and for ourselves: "CRMs".
pub(crate) const APPLICATION_ID: i64 = 0x4352_4d73;

/// Something in the schema with the statement that makes it: `sqlite_schema` keeps that statement, so comparing the
/// two tells whether it is as declared.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Item {
    /// Its name, not quoted.
    pub(crate) name: String,
    /// What `CREATE` and `DROP` call it.
    pub(crate) kind: &'static str,
    /// The statement that makes it.
    pub(crate) sql: String,
}

/// A table derived from the collection's, kept by triggers.
#[derive(Clone, Debug)]
pub(crate) struct Derived {
    /// The table.
    pub(crate) table: Item,
    /// What keeps it.
    pub(crate) triggers: Vec<Item>,
    /// Fills it anew from all rows.
    pub(crate) fill: String,
}

/// The table of the collection.
pub(crate) fn table(layout: &Layout) -> Item {
    let mut lines = vec!["  \"row\" INTEGER PRIMARY KEY".to_owned()];
    lines.extend(layout.collection.fields.iter().map(|field| format!("  {}", column(field))));
    lines.extend(shadow_columns(layout).map(|(name, _)| format!("  {} TEXT", identifier(&name))));
    let sql = format!("CREATE TABLE {} (\n{}\n) STRICT", layout.table, lines.join(",\n"));
    Item { name: layout.collection.name.to_owned(), kind: "TABLE", sql }
}

/// The name and place of each shadow.
pub(crate) fn shadow_columns(layout: &Layout) -> impl Iterator<Item = (String, usize)> {
    layout
        .shadows
        .iter()
        .enumerate()
        .map(|(place, (position, _))| (crate::layout::shadow_name(&layout.collection.fields[*position]), place))
}

/// The definition of a field's column.
fn column(field: &Field) -> String {
    let name = identifier(field.name);
    let missing = if field.optional { "" } else { " NOT NULL" };
    format!("{name} {}{missing}{}", affinity(field.kind), range(field))
}

/// The definition of a column that is added to a table which has rows; nothing where no value would be right in them.
pub(crate) fn added_column(field: &Field) -> Option<String> {
    if field.optional {
        return Some(column(field));
    }
    let default = match field.kind {
        FieldKind::Bool | FieldKind::Integer | FieldKind::Money => "0",
        FieldKind::Number => "0.0",
        FieldKind::Text => "''",
        FieldKind::TextList => "'[]'",
        FieldKind::Json => "'{}'",
        FieldKind::Timestamp | FieldKind::Date | FieldKind::Id => return None,
    };
    let name = identifier(field.name);
    Some(format!("{name} {} NOT NULL DEFAULT {default}{}", affinity(field.kind), range(field)))
}

/// The type of a column, as `PRAGMA table_xinfo` tells it.
pub(crate) const fn affinity(kind: FieldKind) -> &'static str {
    match kind {
        FieldKind::Bool | FieldKind::Integer | FieldKind::Money | FieldKind::Timestamp => "INTEGER",
        FieldKind::Number => "REAL",
        FieldKind::Text | FieldKind::Date | FieldKind::TextList | FieldKind::Json => "TEXT",
        FieldKind::Id => "BLOB",
    }
}

/// What an increment must not leave, and what a person who reads the schema should know. The constraint has the
/// field's name, which SQLite tells when it fails.
fn range(field: &Field) -> String {
    let name = identifier(field.name);
    match field.kind {
        FieldKind::Money => format!(
            " CONSTRAINT {name} CHECK ({name} BETWEEN {} AND {}) /* ten-thousandths */",
            Money::MIN.as_ten_thousandths(),
            Money::MAX.as_ten_thousandths()
        ),
        FieldKind::Number => {
            format!(" CONSTRAINT {name} CHECK ({name} BETWEEN -1.7976931348623157e308 AND 1.7976931348623157e308)")
        }
        FieldKind::Bool => " /* 0 or 1 */".to_owned(),
        FieldKind::Timestamp => " /* milliseconds since 1970-01-01T00:00:00Z */".to_owned(),
        FieldKind::Date => " /* YYYY-MM-DD */".to_owned(),
        FieldKind::Id => " /* the 16 bytes of a UUID */".to_owned(),
        FieldKind::TextList => " /* a JSON array of texts */".to_owned(),
        FieldKind::Json => " /* JSON */".to_owned(),
        FieldKind::Integer | FieldKind::Text => String::new(),
    }
}

/// The indexes on the collection's table.
pub(crate) fn indexes(layout: &Layout) -> Vec<Item> {
    let collection = layout.collection;
    let lead = if layout.is_tenant() { "\"organization_id\"," } else { "" };
    let mut items = Vec::new();
    let name = format!("{}_id", collection.name);
    let sql = format!("CREATE UNIQUE INDEX {} ON {} ({lead}\"id\")", identifier(&name), layout.table);
    items.push(Item { name, kind: "INDEX", sql });
    for key in collection.unique {
        let name = format!("{}_key_{}", collection.name, key.name);
        let columns: Vec<String> = key.fields.iter().map(|field| identifier(field)).collect();
        let present: Vec<String> = key
            .fields
            .iter()
            .filter(|field| collection.field(field).is_some_and(|field| field.optional))
            .map(|field| format!("{} IS NOT NULL", identifier(field)))
            .collect();
        let partial = if present.is_empty() { String::new() } else { format!(" WHERE {}", present.join(" AND ")) };
        let columns = columns.join(",");
        let sql = format!("CREATE UNIQUE INDEX {} ON {} ({lead}{columns}){partial}", identifier(&name), layout.table);
        items.push(Item { name, kind: "INDEX", sql });
    }
    for index in collection.indexes {
        let Some(columns) = layout.index_columns(index) else { continue };
        let columns: Vec<String> = columns.iter().map(|(name, descending)| directed(name, *descending)).collect();
        let name = layout.index_name(index);
        let sql = format!("CREATE INDEX {} ON {} ({})", identifier(&name), layout.table, columns.join(","));
        items.push(Item { name, kind: "INDEX", sql });
    }
    items
}

fn directed(name: &str, descending: bool) -> String {
    format!("{}{}", identifier(name), if descending { " DESC" } else { "" })
}

/// The tables that are kept beside the collection's.
pub(crate) fn derived(layout: &Layout) -> Vec<Derived> {
    let mut derived: Vec<Derived> = layout.elements.iter().map(|table| elements(layout, table)).collect();
    derived.extend(layout.search_table().map(|name| search(layout, name)));
    derived
}

fn elements(layout: &Layout, table: &ElementTable) -> Derived {
    let name = identifier(&table.name);
    let mut definitions = vec!["\"organization_id\" BLOB NOT NULL".to_owned()];
    let mut key: Vec<String> = if layout.is_tenant() { vec!["\"organization_id\"".to_owned()] } else { Vec::new() };
    let mut columns = vec!["\"organization_id\"".to_owned()];
    for column in &table.columns {
        match column {
            ElementColumn::Element => {
                definitions.push("\"element\" TEXT NOT NULL".to_owned());
                key.push("\"element\"".to_owned());
                columns.push("\"element\"".to_owned());
            }
            ElementColumn::Copied { name, field, descending } => {
                let kind = layout.collection.field(field).map_or(FieldKind::Text, |field| field.kind);
                let kind = if name == field { kind } else { FieldKind::Text };
                definitions.push(format!("{} {} NOT NULL", identifier(name), affinity(kind)));
                key.push(directed(name, *descending));
                columns.push(identifier(name));
            }
        }
    }
    definitions.push("\"id\" BLOB NOT NULL".to_owned());
    definitions.push("\"row\" INTEGER NOT NULL".to_owned());
    key.push(directed("id", table.id_descends()));
    columns.extend(["\"id\"".to_owned(), "\"row\"".to_owned()]);
    let sql = format!(
        "CREATE TABLE {name} (\n  {},\n  PRIMARY KEY ({})\n) STRICT, WITHOUT ROWID",
        definitions.join(",\n  "),
        key.join(",")
    );
    let list = identifier(table.list);
    // The rows of the record `of`: one for each distinct element.
    let rows = |of: &str, from: &str| {
        let values: Vec<String> = columns
            .iter()
            .map(|column| if column == "\"element\"" { "e.value".to_owned() } else { format!("{of}.{column}") })
            .collect();
        format!(
            "INSERT INTO {name} ({}) SELECT DISTINCT {} FROM {from}json_each({of}.{list}) AS e",
            columns.join(","),
            values.join(",")
        )
    };
    let remove = {
        let same: Vec<String> = columns
            .iter()
            .filter(|column| *column != "\"element\"" && *column != "\"row\"")
            .map(|column| format!("{column} = old.{column}"))
            .collect();
        format!(
            "DELETE FROM {name} WHERE \"element\" IN (SELECT value FROM json_each(old.{list})) AND {}",
            same.join(" AND ")
        )
    };
    let mut watched = vec![list.clone()];
    watched.extend(columns.iter().filter(|column| *column != "\"element\"" && *column != "\"row\"").cloned());
    Derived {
        triggers: triggers(layout, &table.name, &watched, &rows("new", ""), &remove),
        fill: rows(crate::layout::ALIAS, &format!("{} AS {}, ", layout.table, crate::layout::ALIAS)),
        table: Item { name: table.name.clone(), kind: "TABLE", sql },
    }
}

fn search(layout: &Layout, name: String) -> Derived {
    let table = identifier(&name);
    let fields: Vec<&Field> =
        layout.collection.search.iter().filter_map(|name| layout.collection.field(name)).collect();
    let names: Vec<String> = fields.iter().map(|field| identifier(field.name)).collect();
    let folded: Vec<String> = fields.iter().map(|field| identifier(&crate::layout::shadow_name(field))).collect();
    // Trigrams without their places: what is found is verified, so where in a text a trigram stands is not needed.
    let sql = format!(
        "CREATE VIRTUAL TABLE {table} USING fts5({}, content='', contentless_delete=1, detail=none, \
         tokenize='trigram case_sensitive 1')",
        names.join(", ")
    );
    let values = |of: &str| {
        let values = fields.iter().zip(&folded).map(|(field, column)| match field.kind {
            FieldKind::TextList => format!("(SELECT group_concat(value, char(10)) FROM json_each({of}{column}))"),
            _ => format!("{of}{column}"),
        });
        values.collect::<Vec<_>>().join(",")
    };
    let insert = format!("INSERT INTO {table} (rowid,{}) VALUES (new.\"row\",{})", names.join(","), values("new."));
    let remove = format!("DELETE FROM {table} WHERE rowid = old.\"row\"");
    let fill =
        format!("INSERT INTO {table} (rowid,{}) SELECT \"row\",{} FROM {}", names.join(","), values(""), layout.table);
    Derived {
        triggers: triggers(layout, &name, &folded, &insert, &remove),
        fill,
        table: Item { name, kind: "TABLE", sql },
    }
}

/// Keeps a derived table right whoever writes: the program, or a person with SQL.
fn triggers(layout: &Layout, derived: &str, watched: &[String], insert: &str, remove: &str) -> Vec<Item> {
    let table = &layout.table;
    let trigger = |event: &str, when: String, does: String| {
        let name = format!("{derived}_{event}");
        let sql = format!("CREATE TRIGGER {} AFTER {when} ON {table} BEGIN {does} END", identifier(&name));
        Item { name, kind: "TRIGGER", sql }
    };
    vec![
        trigger("insert", "INSERT".to_owned(), format!("{insert};")),
        trigger("update", format!("UPDATE OF {}", watched.join(",")), format!("{remove}; {insert};")),
        trigger("delete", "DELETE".to_owned(), format!("{remove};")),
    ]
}

/// An index over a custom field, by the expressions that filters and orders compile to. The organization leads it,
/// though it is the same in every entry: SQLite would think any index that it leads the better choice.
pub(crate) fn custom_index(layout: &Layout, name: &str, organization: uuid::Uuid, expressions: &[String]) -> Item {
    let sql = format!(
        "CREATE INDEX {} ON {} (\"organization_id\",{},\"id\") WHERE \"organization_id\" = {}",
        identifier(name),
        layout.table,
        expressions.join(","),
        crate::statement::id_literal(organization)
    );
    Item { name: name.to_owned(), kind: "INDEX", sql }
}

/// The statement that tells what is in the schema under the name: its kind and the statement that made it.
pub(crate) fn existing(name: &str) -> String {
    format!("SELECT type, sql FROM sqlite_schema WHERE name = {}", literal(name))
}
