//! The rule language: which customers a segment, a filter or a condition means.
//!
//! A rule is JSON: `{"field","op","value"}`, `{"and":[…]}`, `{"or":[…]}`, `{"not":…}`. It is checked once, against
//! the [`Catalog`] of the fields that may be named, and everything wrong is told with its path. A [`Rule`] that
//! exists is right. It means the same as a [`Filter`] for a store, as a [`Compiled`] test over rows in memory, and
//! as an [`Explanation`] of one record; all against one instant, `as_of`, which relative times count from.
//!
//! ```
//! use crm_core::{audit::AuditEntry, record::Record, rule::{Catalog, CatalogField, Rule}};
//!
//! let catalog = Catalog::new(AuditEntry::COLLECTION)
//!     .with(CatalogField::column(AuditEntry::sequence))
//!     .with(CatalogField::column(AuditEntry::sealed));
//! let rule = Rule::parse(
//!     r#"{"and":[{"field":"sequence","op":">","value":5000},{"field":"created_at","op":"within_last","value":"180d"}]}"#,
//!     &catalog,
//!     "rules_json",
//! ).unwrap();
//! assert_eq!(rule.to_string(), "sequence is more than 5000 and created at is within the last 180 days");
//!
//! let wrong = Rule::parse(r#"{"field":"seqence","op":">","value":1}"#, &catalog, "rules_json").unwrap_err();
//! assert!(wrong.to_string().starts_with(r#"rules_json.field: there is no field "seqence". Did you mean sequence?"#));
//! ```

mod canonical;
mod catalog;
mod compiled;
mod display;
mod explain;
mod operand;
mod operator;
mod parse;
mod token;
mod tree;

#[cfg(test)]
mod tests;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

pub(crate) use self::{catalog::unknown, parse::condition_of_text, token::Token, tree::Node};
pub use self::{
    catalog::{Catalog, CatalogField, Normalise, Relation, RuleType},
    compiled::Compiled,
    explain::{Explained, Explanation},
    operand::{MAX_TEXT, Span},
    operator::Operator,
};
use crate::{
    error::FieldErrors,
    store::{Collection, Filter, Json, RelatedFilter, Row, Value},
    time::Timestamp,
};

/// How deep a rule may be nested; one condition alone is 1 deep.
pub const MAX_DEPTH: usize = 10;

/// How many conditions and groups a rule may have together.
pub const MAX_NODES: usize = 200;

/// How many values `in` may list.
pub const MAX_VALUES: usize = 1000;

/// A rule that was checked against a catalog.
#[derive(Clone, Debug)]
pub struct Rule {
    collection: &'static Collection,
    root: Node,
}

impl Rule {
    /// Reads a rule and checks it.
    ///
    /// # Errors
    /// Everything that is wrong, each with its path below `root` and what is allowed there.
    pub fn parse(text: &str, catalog: &Catalog, root: &str) -> Result<Self, FieldErrors> {
        match serde_json::from_str::<&RawValue>(text) {
            Ok(raw) => Self::from_json(raw, catalog, root),
            Err(_) => Err(FieldErrors::one(
                root,
                "INVALID_FORMAT",
                "is not JSON: a rule looks like {\"field\":\"spend\",\"op\":\">\",\"value\":5000}",
            )),
        }
    }

    /// Checks a rule that is JSON already, with the digits of its numbers as they were written.
    ///
    /// # Errors
    /// Everything that is wrong, each with its path below `root` and what is allowed there.
    pub fn from_json(json: &RawValue, catalog: &Catalog, root: &str) -> Result<Self, FieldErrors> {
        let root = parse::Parser::parse(json, catalog, root)?;
        Ok(Self { collection: catalog.collection(), root })
    }

    /// All of the conditions; `None` where there are none.
    pub(crate) fn all(catalog: &Catalog, mut nodes: Vec<Node>) -> Option<Self> {
        let root = if nodes.len() > 1 { Node::And(nodes) } else { nodes.pop()? };
        Some(Self { collection: catalog.collection(), root })
    }

    /// Both, or whichever there is.
    pub(crate) fn both(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        match (one, other) {
            (Some(one), Some(other)) => {
                let collection = one.collection;
                let parts = |root| match root {
                    Node::And(nodes) => nodes,
                    node => vec![node],
                };
                let mut nodes = parts(one.root);
                nodes.extend(parts(other.root));
                Some(Self { collection, root: Node::And(nodes) })
            }
            (one, other) => one.or(other),
        }
    }

    /// What it asks of other collections, as of an instant.
    pub(crate) fn related(&self, as_of: Timestamp) -> Vec<RelatedFilter> {
        let mut found = Vec::new();
        self.root.each_related(&mut |related| found.push(related.filter(as_of)));
        found
    }

    pub(crate) fn into_root(self) -> Node {
        self.root
    }

    /// The collection whose records it is about.
    #[must_use]
    pub const fn collection(&self) -> &'static Collection {
        self.collection
    }

    /// The same for a store, with relative times counted from `as_of`.
    #[must_use]
    pub fn filter(&self, as_of: Timestamp) -> Filter {
        self.root.filter(as_of)
    }

    /// The same as a fast test over rows in memory.
    #[must_use]
    pub fn compile(&self, as_of: Timestamp) -> Compiled {
        Compiled::new(self.collection, &self.filter(as_of))
    }

    /// Why the rule holds or does not hold on a row. `related` measures what is asked of
    /// other collections: the count, or the sum, that [`RelatedFilter::measure`] wants of this record's.
    #[must_use]
    pub fn explain(&self, as_of: Timestamp, row: &Row, related: &dyn Fn(&RelatedFilter) -> Value) -> Explanation {
        explain::explain(self.collection, &self.root, as_of, row, related)
    }

    /// As it is stored: the JSON in one form, whatever spaces and digits it was given with. Reading it gives the
    /// same rule again.
    #[must_use]
    pub fn to_json(&self) -> Json {
        Json::from_trusted(serde_json::to_string(self).unwrap_or_default())
    }
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.collection == other.collection && self.to_json() == other.to_json()
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.root.serialize(serializer)
    }
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for Rule {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::Object)
            .description(Some(
                "A condition {\"field\",\"op\",\"value\"}, or a group {\"and\":[…]}, {\"or\":[…]}, {\"not\":…}; at most 10 \
                 levels deep and 200 conditions and groups. Operators: > >= < <= == != in not_in contains starts_with \
                 exists between before after within_last.",
            ))
            .examples([serde_json::json!({"and": [
                {"field": "spend", "op": ">", "value": 5000},
                {"field": "inactive_days", "op": ">", "value": 180}
            ]})])
            .build()
            .into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for Rule {}
