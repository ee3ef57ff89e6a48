//! Whether a row matches.

use std::{borrow::Cow, cell::OnceCell, cmp::Ordering};

use super::{
    MISSING, compare_values,
    member::{self, Members},
};
use crate::store::{
    Collection, Comparison, FieldKind, FieldRef, Filter, RelatedFilter, RelatedMeasure, Row, Value, fold::fold,
};

/// Gives the evaluator the rows of other collections, for [`Filter::Related`].
pub trait RelatedRows {
    /// Shows every row of the collection in the organization of the row that is looked at.
    fn visit(&self, collection: &'static Collection, visitor: &mut dyn FnMut(&Row));
}

/// No related rows: every count and sum over them is 0.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRelated;

impl RelatedRows for NoRelated {
    fn visit(&self, _collection: &'static Collection, _visitor: &mut dyn FnMut(&Row)) {}
}

/// Whether a row of the collection matches, [`Filter::Related`] included.
#[must_use]
pub fn matches_with(collection: &'static Collection, filter: &Filter, row: &Row, related: &dyn RelatedRows) -> bool {
    Evaluation { collection, row, related, members: OnceCell::new() }.holds(filter)
}

struct Evaluation<'a> {
    collection: &'static Collection,
    row: &'a Row,
    related: &'a dyn RelatedRows,
    /// The members of the first JSON field that a node asked for, taken apart once for the whole filter.
    members: OnceCell<(usize, Members<'a>)>,
}

impl<'a> Evaluation<'a> {
    fn holds(&self, filter: &Filter) -> bool {
        match filter {
            Filter::And(filters) => filters.iter().all(|filter| self.holds(filter)),
            Filter::Or(filters) => filters.iter().any(|filter| self.holds(filter)),
            Filter::Not(filter) => !self.holds(filter),
            Filter::Compare { field, comparison, value } => comparison.holds(compare_values(&self.value(field), value)),
            Filter::In { field, values } => match &*self.value(field) {
                Value::TextList(elements) => values
                    .iter()
                    .any(|value| matches!(value, Value::Text(text) if elements.iter().any(|element| element == text))),
                value => values.iter().any(|operand| compare_values(value, operand) == Some(Ordering::Equal)),
            },
            Filter::Contains { field, text } => match &*self.value(field) {
                Value::TextList(elements) => elements.iter().any(|element| element == text),
                Value::Text(value) => fold(value).contains(&fold(text)),
                _ => false,
            },
            Filter::StartsWith { field, text } => {
                matches!(&*self.value(field), Value::Text(value) if fold(value).starts_with(&fold(text)))
            }
            Filter::Exists { field } => match &*self.value(field) {
                Value::Null => false,
                Value::TextList(elements) => !elements.is_empty(),
                _ => true,
            },
            Filter::Search { terms } => terms.iter().all(|term| self.finds(&fold(term))),
            Filter::Related(related) => self.related_holds(related),
        }
    }

    fn value(&self, field: &FieldRef) -> Cow<'a, Value> {
        let Some(position) = self.collection.position(&field.name) else { return Cow::Borrowed(&MISSING) };
        let stored = self.row.0.get(position).unwrap_or(&MISSING);
        let Some(key) = &field.key else { return Cow::Borrowed(stored) };
        let Value::Json(json) = stored else { return Cow::Borrowed(&MISSING) };
        let (cached, members) = self.members.get_or_init(|| (position, member::members(json.as_str())));
        let member = if *cached == position {
            member::find(members, key)
        } else {
            member::find(&member::members(json.as_str()), key)
        };
        Cow::Owned(member::read(member, field.kind))
    }

    /// Whether some searchable field has the folded term in it.
    fn finds(&self, term: &str) -> bool {
        self.collection.search.iter().any(|name| {
            match self.collection.position(name).and_then(|position| self.row.0.get(position)) {
                Some(Value::Text(text)) => fold(text).contains(term),
                Some(Value::TextList(elements)) => elements.iter().any(|element| fold(element).contains(term)),
                _ => false,
            }
        })
    }

    fn related_holds(&self, related: &RelatedFilter) -> bool {
        let collection = related.collection;
        let key = FieldRef { name: Cow::Borrowed(related.key), key: None, kind: FieldKind::Id };
        let this = Value::Id(self.row.id());
        let mut measured: i128 = 0;
        self.related.visit(collection, &mut |row| {
            if *super::field_value(collection, &key, row) != this || !super::matches(collection, &related.filter, row) {
                return;
            }
            measured += match related.measure {
                RelatedMeasure::Count => 1,
                RelatedMeasure::Sum(name) => {
                    collection.position(name).and_then(|position| row.0.get(position)).and_then(exact).unwrap_or(0)
                }
            };
        });
        related.comparison.holds(exact(&related.value).map(|operand| measured.cmp(&operand)))
    }
}

/// An integer, or money in ten-thousandths.
pub(super) fn exact(value: &Value) -> Option<i128> {
    match value {
        Value::Integer(value) => Some(i128::from(*value)),
        Value::Money(value) => Some(i128::from(value.as_ten_thousandths())),
        _ => None,
    }
}

impl Comparison {
    /// Whether the comparison holds for two values that compare so; nothing where one is missing.
    #[must_use]
    pub fn holds(self, ordering: Option<Ordering>) -> bool {
        match self {
            Self::Equal => ordering == Some(Ordering::Equal),
            Self::NotEqual => ordering != Some(Ordering::Equal),
            Self::Less => ordering == Some(Ordering::Less),
            Self::LessOrEqual => matches!(ordering, Some(Ordering::Less | Ordering::Equal)),
            Self::Greater => ordering == Some(Ordering::Greater),
            Self::GreaterOrEqual => matches!(ordering, Some(Ordering::Greater | Ordering::Equal)),
        }
    }
}
