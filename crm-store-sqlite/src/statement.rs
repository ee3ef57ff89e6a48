//! SQL text and its arguments, built up together.

use std::sync::Arc;

use crm_core::store::Value;
use sqlx::{Arguments as _, AssertSqlSafe, Sqlite, query::Query, sqlite::SqliteArguments};
use uuid::Uuid;

/// One or several SQL statements with the arguments of their `?`, in order.
///
/// Values are only ever bound. What is written into the text are names of declarations, quoted, and the names of
/// custom fields inside quoted literals; see [`identifier`] and [`literal`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Statement {
    text: String,
    arguments: Vec<Argument>,
}

/// A value in the form in which the engine takes it.
#[derive(Clone, Debug)]
enum Argument {
    Null,
    Integer(i64),
    Number(f64),
    Text(Arc<str>),
    Id([u8; 16]),
}

impl Statement {
    pub(crate) fn new(text: &str) -> Self {
        let mut whole = String::with_capacity(text.len() + 1024);
        whole.push_str(text);
        Self { text: whole, arguments: Vec::new() }
    }

    pub(crate) fn push(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// A comma between the parts of a list, nothing before the first.
    pub(crate) fn comma(&mut self, position: usize) -> &mut Self {
        if position > 0 {
            self.text.push(',');
        }
        self
    }

    fn bind(&mut self, argument: Argument) -> &mut Self {
        self.text.push('?');
        self.arguments.push(argument);
        self
    }

    pub(crate) fn bind_integer(&mut self, value: i64) -> &mut Self {
        self.bind(Argument::Integer(value))
    }

    pub(crate) fn bind_text(&mut self, value: impl Into<Arc<str>>) -> &mut Self {
        self.bind(Argument::Text(value.into()))
    }

    pub(crate) fn bind_optional_text(&mut self, value: Option<String>) -> &mut Self {
        self.bind(value.map_or(Argument::Null, |value| Argument::Text(value.into())))
    }

    pub(crate) fn bind_id(&mut self, id: Uuid) -> &mut Self {
        self.bind(Argument::Id(id.into_bytes()))
    }

    /// Binds a value in the form in which its column keeps it.
    pub(crate) fn bind_value(&mut self, value: &Value) -> &mut Self {
        self.bind(match value {
            Value::Null => Argument::Null,
            Value::Bool(value) => Argument::Integer(i64::from(*value)),
            Value::Integer(value) => Argument::Integer(*value),
            Value::Number(value) => Argument::Number(*value),
            Value::Money(value) => Argument::Integer(value.as_ten_thousandths()),
            Value::Text(value) => Argument::Text(value.as_str().into()),
            Value::Timestamp(value) => Argument::Integer(value.as_milliseconds()),
            Value::Date(value) => Argument::Text(value.to_string().into()),
            Value::Id(value) => Argument::Id(value.into_bytes()),
            Value::TextList(value) if value.is_empty() => Argument::Text("[]".into()),
            Value::TextList(value) => Argument::Text(serde_json::Value::from(value.as_slice()).to_string().into()),
            Value::Json(value) => Argument::Text(value.as_str().into()),
        })
    }

    /// The same, asking how it would be run.
    #[cfg(test)]
    pub(crate) fn explained(mut self) -> Self {
        self.text.insert_str(0, "EXPLAIN QUERY PLAN ");
        self
    }

    /// Whether both have one text, and so differ in their arguments only.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        self.text == other.text
    }

    /// Several statements as one, in order.
    pub(crate) fn joined<'a>(statements: impl Iterator<Item = &'a Self> + Clone) -> Self {
        let length = statements.clone().map(|statement| statement.text.len() + 1).sum();
        let mut joined = Self { text: String::with_capacity(length), arguments: Vec::new() };
        for statement in statements {
            if !joined.text.is_empty() {
                joined.text.push(';');
            }
            joined.text.push_str(&statement.text);
            joined.arguments.extend_from_slice(&statement.arguments);
        }
        joined
    }

    /// As a query that stays prepared.
    pub(crate) fn query(self) -> sqlx::Result<Query<'static, Sqlite, SqliteArguments>> {
        let mut arguments = SqliteArguments::default();
        arguments.reserve(self.arguments.len(), 0);
        for argument in self.arguments {
            match argument {
                Argument::Null => arguments.add(None::<i64>),
                Argument::Integer(value) => arguments.add(value),
                Argument::Number(value) => arguments.add(value),
                Argument::Text(value) => arguments.add(value),
                Argument::Id(value) => arguments.add(value.to_vec()),
            }
            .map_err(sqlx::Error::Encode)?;
        }
        Ok(sqlx::query_with(AssertSqlSafe(self.text), arguments))
    }
}

/// A name in double quotes.
pub(crate) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text in single quotes.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// An id as a blob literal, for texts in which a parameter cannot stand.
pub(crate) fn id_literal(id: Uuid) -> String {
    format!("x'{}'", id.simple())
}
