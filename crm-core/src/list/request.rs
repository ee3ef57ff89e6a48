use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::DEFAULT_LIMIT;
#[cfg(feature = "openapi")]
use super::MAX_SEARCH;
use crate::{
    error::FieldErrors,
    input::FromInput,
    rule::Rule,
    store::{FieldKind, FieldRef, Sort},
};

/// What is asked of a list, checked.
#[derive(Clone, Debug)]
pub struct ListRequest {
    /// Which records: all conditions of the query string and the rule in `filter`.
    pub rule: Option<Rule>,
    /// Terms, each of which must be in some searchable field.
    pub search: Vec<String>,
    /// The order; newest first where none was asked for.
    pub sort: Vec<Sort>,
    /// Whether the order was asked for, so that a list whose own order is another leaves it alone.
    pub sorted: bool,
    /// Which fields of a record are answered; all where empty.
    pub fields: Vec<String>,
    /// What is joined.
    pub include: Vec<String>,
    /// The most records of a page, 1 to 100.
    pub limit: usize,
    /// Where the page begins: what an earlier page gave as `next_cursor`.
    pub cursor: Option<String>,
    /// The number of the page, from 1.
    pub page: Option<u64>,
    /// Whether the matches are counted.
    pub count: bool,
    /// Parameters that only this list has, as they were given.
    pub extra: BTreeMap<String, String>,
}

impl Default for ListRequest {
    fn default() -> Self {
        Self {
            rule: None,
            search: Vec::new(),
            sort: vec![newest_first()],
            sorted: false,
            fields: Vec::new(),
            include: Vec::new(),
            limit: DEFAULT_LIMIT,
            cursor: None,
            page: None,
            count: false,
            extra: BTreeMap::new(),
        }
    }
}

fn newest_first() -> Sort {
    Sort { field: FieldRef::declared("created_at", FieldKind::Timestamp), descending: true }
}

impl ListRequest {
    /// A parameter that only this list has.
    #[must_use]
    pub fn extra(&self, name: &str) -> Option<&str> {
        self.extra.get(name).map(String::as_str)
    }

    /// Such a parameter that is `true` or `false`; false where it is not given.
    ///
    /// # Errors
    /// `INVALID_FORMAT` on the parameter where it is neither.
    pub fn flag(&self, name: &str) -> Result<bool, FieldErrors> {
        match self.extra(name) {
            None => Ok(false),
            Some(text) => boolean(text).ok_or_else(|| FieldErrors::one(name, "INVALID_FORMAT", TRUE_OR_FALSE)),
        }
    }
}

pub(super) const TRUE_OR_FALSE: &str = "must be true or false";

pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// The body of a list asked for by POST, not yet checked.
#[derive(Clone, Debug)]
pub struct ListBody(Box<RawValue>);

impl FromInput for ListBody {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        if json.get().starts_with('{') {
            Ok(Self(json.to_owned()))
        } else {
            Err(FieldErrors::one("", "INVALID_TYPE", "must be a JSON object"))
        }
    }
}

impl ListBody {
    /// The JSON.
    #[must_use]
    pub fn as_json(&self) -> &RawValue {
        &self.0
    }
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for ListBody {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, OneOfBuilder, Type};
        let text = || ObjectBuilder::new().schema_type(Type::String);
        let names = |description: &str| {
            OneOfBuilder::new()
                .item(text())
                .item(ArrayBuilder::new().items(text()))
                .description(Some(description.to_owned()))
        };
        ObjectBuilder::new()
            .schema_type(Type::Object)
            .property("filter", Rule::schema())
            .property(
                "search",
                text().max_length(Some(MAX_SEARCH)).description(Some("Terms, each of which must occur.")),
            )
            .property("sort", names("Fields in order, `-` before one that runs downward."))
            .property("fields", names("Only these fields of each record."))
            .property("include", names("What is joined."))
            .property(
                "limit",
                ObjectBuilder::new()
                    .schema_type(Type::Integer)
                    .minimum(Some(1))
                    .maximum(Some(100))
                    .default(Some(20.into())),
            )
            .property("cursor", text().description(Some("What an earlier page gave as `next_cursor`.")))
            .property("page", ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)))
            .property("count", ObjectBuilder::new().schema_type(Type::Boolean).description(Some("Whether to count.")))
            .examples([serde_json::json!({
                "filter": {"field": "created_at", "op": "within_last", "value": "30d"},
                "sort": "-created_at",
                "limit": 50
            })])
            .build()
            .into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for ListBody {}
