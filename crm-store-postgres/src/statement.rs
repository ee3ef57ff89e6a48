//! SQL text and its arguments, built up together.

use crm_core::store::{FieldKind, Value};
use sqlx::{
    Arguments as _, AssertSqlSafe, Encode, Postgres, Type,
    encode::IsNull,
    error::BoxDynError,
    postgres::{PgArgumentBuffer, PgArguments, PgTypeInfo, types::Oid},
    query::Query,
};
use uuid::Uuid;

use crate::binary;

/// One SQL statement with the arguments of its `$1`, `$2`, …, in order.
///
/// Values are only ever bound. What is written into the text are names of declarations, quoted, and the names of
/// custom fields inside quoted literals; see [`identifier`] and [`literal`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Statement {
    text: String,
    arguments: PgArguments,
    count: usize,
}

/// An argument in the form in which the server takes it.
enum Argument<'a> {
    Value(FieldKind, &'a Value),
    Text(Option<&'a str>),
    Id(Uuid),
    Integer(i64),
    /// An array of values of the kind; lists as literals.
    Array(FieldKind, Vec<&'a Value>),
    Texts(Vec<Option<String>>),
    Integers(Option<&'a [i32]>),
}

impl Type<Postgres> for Argument<'_> {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(binary::oid(FieldKind::Text)))
    }
}

impl<'q> Encode<'q, Postgres> for Argument<'_> {
    fn encode(self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let is_there = match self {
            Self::Value(_, value) => binary::write(value, buffer),
            Self::Text(Some(text)) => {
                buffer.extend(text.as_bytes());
                true
            }
            Self::Text(None) | Self::Integers(None) => false,
            Self::Id(id) => {
                buffer.extend(id.as_bytes());
                true
            }
            Self::Integer(value) => {
                buffer.extend(value.to_be_bytes());
                true
            }
            Self::Array(kind, values) => {
                let element = if kind == FieldKind::TextList { FieldKind::Text } else { kind };
                binary::write_array(binary::oid(element), values.len(), buffer, |place, out| match values[place] {
                    Value::TextList(list) => {
                        out.extend(binary::list_literal(list).as_bytes());
                        true
                    }
                    value => binary::write(value, out),
                });
                true
            }
            Self::Texts(texts) => {
                binary::write_array(binary::oid(FieldKind::Text), texts.len(), buffer, |place, out| {
                    let Some(text) = &texts[place] else { return false };
                    out.extend(text.as_bytes());
                    true
                });
                true
            }
            Self::Integers(Some(integers)) => {
                binary::write_array(binary::INT4, integers.len(), buffer, |place, out| {
                    out.extend(integers[place].to_be_bytes());
                    true
                });
                true
            }
        };
        Ok(if is_there { IsNull::No } else { IsNull::Yes })
    }

    fn encode_by_ref(&self, _: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        Err("an argument is given once".into())
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(PgTypeInfo::with_oid(Oid(match self {
            Self::Value(kind, _) => binary::oid(*kind),
            Self::Text(_) => binary::oid(FieldKind::Text),
            Self::Id(_) => binary::oid(FieldKind::Id),
            Self::Integer(_) => binary::oid(FieldKind::Integer),
            Self::Array(kind, _) => binary::array_oid(*kind),
            Self::Texts(_) => binary::array_oid(FieldKind::Text),
            Self::Integers(_) => binary::INT4_ARRAY,
        })))
    }
}

impl Statement {
    pub(crate) fn new(text: &str) -> Self {
        let mut whole = String::with_capacity(text.len() + 1024);
        whole.push_str(text);
        Self { text: whole, arguments: PgArguments::default(), count: 0 }
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

    fn bind(&mut self, argument: Argument<'_>) -> &mut Self {
        use std::fmt::Write as _;

        self.count += 1;
        // Neither writing into a text nor encoding into memory fails.
        write!(self.text, "${}", self.count).ok();
        self.arguments.add(argument).ok();
        self
    }

    pub(crate) fn bind_integer(&mut self, value: i64) -> &mut Self {
        self.bind(Argument::Integer(value))
    }

    pub(crate) fn bind_text(&mut self, value: &str) -> &mut Self {
        self.bind(Argument::Text(Some(value)))
    }

    pub(crate) fn bind_optional_text(&mut self, value: Option<&str>) -> &mut Self {
        self.bind(Argument::Text(value))
    }

    pub(crate) fn bind_id(&mut self, id: Uuid) -> &mut Self {
        self.bind(Argument::Id(id))
    }

    /// Binds a value of the kind, or a missing one.
    pub(crate) fn bind_value(&mut self, kind: FieldKind, value: &Value) -> &mut Self {
        self.bind(Argument::Value(kind, value))
    }

    /// Binds an array of values of the kind; lists of text as literals.
    pub(crate) fn bind_array<'a>(&mut self, kind: FieldKind, values: impl Iterator<Item = &'a Value>) -> &mut Self {
        self.bind(Argument::Array(kind, values.collect()))
    }

    /// Binds an array of texts.
    pub(crate) fn bind_texts(&mut self, texts: Vec<Option<String>>) -> &mut Self {
        self.bind(Argument::Texts(texts))
    }

    /// Binds an array of 32-bit integers.
    pub(crate) fn bind_integers(&mut self, integers: Option<&[i32]>) -> &mut Self {
        self.bind(Argument::Integers(integers))
    }

    /// The same, asking how it would be run.
    #[cfg(test)]
    pub(crate) fn explained(mut self) -> Self {
        self.text.insert_str(0, "EXPLAIN ");
        self
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// As a query that stays prepared.
    pub(crate) fn query(self) -> Query<'static, Postgres, PgArguments> {
        sqlx::query_with(AssertSqlSafe(self.text), self.arguments)
    }
}

/// A name in double quotes.
pub(crate) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text in single quotes.
pub(crate) fn literal(text: &str) -> String {
    if text.contains('\\') {
        format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}

/// An id as a literal, for texts in which a parameter cannot stand.
pub(crate) fn id_literal(id: Uuid) -> String {
    format!("'{id}'::uuid")
}
