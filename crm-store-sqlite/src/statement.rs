//! SQL text and its arguments, built up together.

use std::sync::Arc;

use crm_core::store::Value;
use sqlx::{
    Arguments as _, AssertSqlSafe, Encode, Sqlite, Type, error::BoxDynError, query::Query, sqlite::SqliteArguments,
};
use uuid::Uuid;

/// One or several SQL statements with the arguments of their `?`, in order.
///
/// Values are only ever bound. What is written into the text are names of declarations, quoted, and the names of
/// custom fields inside quoted literals; see [`identifier`] and [`literal`].
#[derive(Clone, Default)]
pub(crate) struct Statement {
    text: String,
    arguments: SqliteArguments,
    failure: Option<Arc<BoxDynError>>,
}

impl Statement {
    pub(crate) fn new(text: &str) -> Self {
        let mut whole = String::with_capacity(text.len() + 512);
        whole.push_str(text);
        Self { text: whole, ..Self::default() }
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

    fn bind<'t, T: Encode<'t, Sqlite> + Type<Sqlite>>(&mut self, value: T) -> &mut Self {
        self.text.push('?');
        if let Err(error) = self.arguments.add(value) {
            self.failure = Some(Arc::new(error));
        }
        self
    }

    pub(crate) fn bind_integer(&mut self, value: i64) -> &mut Self {
        self.bind(value)
    }

    pub(crate) fn bind_text(&mut self, value: String) -> &mut Self {
        self.bind(value)
    }

    pub(crate) fn bind_optional_text(&mut self, value: Option<String>) -> &mut Self {
        self.bind(value)
    }

    pub(crate) fn bind_id(&mut self, id: Uuid) -> &mut Self {
        self.bind(id.as_bytes().to_vec())
    }

    /// Binds a value in the form in which its column keeps it.
    pub(crate) fn bind_value(&mut self, value: &Value) -> &mut Self {
        match value {
            Value::Null => self.bind(None::<i64>),
            Value::Bool(value) => self.bind(i64::from(*value)),
            Value::Integer(value) => self.bind(*value),
            Value::Number(value) => self.bind(*value),
            Value::Money(value) => self.bind(value.as_ten_thousandths()),
            Value::Text(value) => self.bind(value.clone()),
            Value::Timestamp(value) => self.bind(value.as_milliseconds()),
            Value::Date(value) => self.bind(value.to_string()),
            Value::Id(value) => self.bind_id(*value),
            Value::TextList(value) => self.bind(serde_json::Value::from(value.as_slice()).to_string()),
            Value::Json(value) => self.bind(value.as_str().to_owned()),
        }
    }

    /// The same, asking how it would be run.
    #[cfg(test)]
    pub(crate) fn explained(mut self) -> Self {
        self.text.insert_str(0, "EXPLAIN QUERY PLAN ");
        self
    }

    /// As a query that stays prepared.
    pub(crate) fn query(self) -> sqlx::Result<Query<'static, Sqlite, SqliteArguments>> {
        match self.failure {
            Some(failure) => Err(sqlx::Error::Encode(failure.to_string().into())),
            None => Ok(sqlx::query_with(AssertSqlSafe(self.text), self.arguments)),
        }
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
