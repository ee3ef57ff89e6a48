//! The checked tree, and the filter that it means at an instant.

use std::sync::Arc;

use super::{
    CatalogField, Operator, Relation, RuleType,
    operand::{Moment, Operand, Span},
};
use crate::{
    store::{Comparison, FieldRef, Filter, RelatedFilter, RelatedMeasure, Value},
    time::Timestamp,
};

const DAY: i128 = 86_400_000;

#[derive(Clone, Debug)]
pub(crate) enum Node {
    And(Vec<Self>),
    Or(Vec<Self>),
    Not(Box<Self>),
    Condition(Condition),
    Related(Box<RelatedCondition>),
}

/// A field, what is asked of it, and of which form the operands are.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    pub(crate) field: Arc<CatalogField>,
    pub(crate) operator: Operator,
    pub(crate) operands: Operands,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Operands {
    One(Operand),
    /// Of `in` and `not_in`; the two of `between`.
    Many(Vec<Operand>),
    /// Of `exists`.
    Flag(bool),
    /// Of `within_last`.
    Span(Span),
}

/// A measure over related records.
#[derive(Clone, Debug)]
pub(crate) struct RelatedCondition {
    pub(crate) relation: Arc<Relation>,
    pub(crate) filter: Option<Node>,
    pub(crate) within_last: Option<Span>,
    pub(crate) measure: Measure,
    pub(crate) comparison: Operator,
    pub(crate) value: Value,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Measure {
    Count,
    Total(&'static str),
}

impl Node {
    pub(crate) fn filter(&self, as_of: Timestamp) -> Filter {
        match self {
            Self::And(nodes) => Filter::And(nodes.iter().map(|node| node.filter(as_of)).collect()),
            Self::Or(nodes) => Filter::Or(nodes.iter().map(|node| node.filter(as_of)).collect()),
            Self::Not(node) => node.filter(as_of).negated(),
            Self::Condition(condition) => condition.filter(as_of),
            Self::Related(related) => Filter::Related(Box::new(related.filter(as_of))),
        }
    }
}

impl Node {
    /// Looks at every condition on related records.
    pub(crate) fn each_related(&self, look: &mut dyn FnMut(&RelatedCondition)) {
        match self {
            Self::And(nodes) | Self::Or(nodes) => nodes.iter().for_each(|node| node.each_related(look)),
            Self::Not(node) => node.each_related(look),
            Self::Condition(_) => {}
            Self::Related(related) => look(related),
        }
    }
}

impl Condition {
    /// A checked condition always has operands of its operator's form; any other combination is true of nothing.
    fn filter(&self, as_of: Timestamp) -> Filter {
        let field = || self.field.stored.clone();
        let kind = self.field.kind;
        if kind == RuleType::Days {
            return self.days_filter(as_of);
        }
        match (self.operator, &self.operands) {
            (Operator::Exists, Operands::Flag(true)) => Filter::Exists { field: field() },
            (Operator::Exists, Operands::Flag(false)) => Filter::Exists { field: field() }.negated(),
            (Operator::In, Operands::Many(many)) => self.one_of(many, as_of),
            (Operator::NotIn, Operands::Many(many)) => self.one_of(many, as_of).negated(),
            (Operator::Between, Operands::Many(ends)) => match ends.as_slice() {
                [first, last] => Filter::And(vec![
                    Filter::compare(field(), Comparison::GreaterOrEqual, first.value(kind, as_of)),
                    Filter::compare(field(), Comparison::LessOrEqual, last.value(kind, as_of)),
                ]),
                _ => Filter::NONE,
            },
            (Operator::WithinLast, Operands::Span(span)) => within_last(&self.field.stored, *span, as_of),
            (operator, Operands::One(operand)) => match (operator, operand.value(kind, as_of)) {
                (Operator::Contains | Operator::Equal, Value::Text(text)) if is_list(kind) => {
                    Filter::Contains { field: field(), text }
                }
                (Operator::NotEqual, Value::Text(text)) if is_list(kind) => {
                    Filter::Contains { field: field(), text }.negated()
                }
                (Operator::Contains, Value::Text(text)) => Filter::Contains { field: field(), text },
                (Operator::StartsWith, Value::Text(text)) => Filter::StartsWith { field: field(), text },
                (operator, value) => match operator.comparison() {
                    Some(comparison) => Filter::compare(field(), comparison, value),
                    None => Filter::NONE,
                },
            },
            _ => Filter::NONE,
        }
    }

    fn one_of(&self, operands: &[Operand], as_of: Timestamp) -> Filter {
        Filter::In {
            field: self.field.stored.clone(),
            values: operands.iter().map(|operand| operand.value(self.field.kind, as_of)).collect(),
        }
    }

    /// Whole days since an instant as comparisons of the instant itself, so that an index serves them.
    fn days_filter(&self, as_of: Timestamp) -> Filter {
        let field = &self.field.stored;
        let days = |operand: &Operand| match operand {
            Operand::Fixed(Value::Integer(days)) => Some(*days),
            _ => None,
        };
        let compare = |comparison: Comparison, operand: &Operand| match days(operand) {
            Some(days) => days_compare(field, comparison, days, as_of),
            None => Filter::NONE,
        };
        let any =
            |many: &[Operand]| Filter::Or(many.iter().map(|operand| compare(Comparison::Equal, operand)).collect());
        match (self.operator, &self.operands) {
            (Operator::In, Operands::Many(many)) => any(many),
            (Operator::NotIn, Operands::Many(many)) => any(many).negated(),
            (Operator::Between, Operands::Many(ends)) => match ends.as_slice() {
                [first, last] => Filter::And(vec![
                    compare(Comparison::GreaterOrEqual, first),
                    compare(Comparison::LessOrEqual, last),
                ]),
                _ => Filter::NONE,
            },
            (operator, Operands::One(operand)) => match operator.comparison() {
                Some(comparison) => compare(comparison, operand),
                None => Filter::NONE,
            },
            _ => Filter::NONE,
        }
    }
}

const fn is_list(kind: RuleType) -> bool {
    matches!(kind, RuleType::List | RuleType::IdList)
}

/// `floor((as_of - instant) / day)` compared with `days`, where the instant is there.
fn days_compare(field: &FieldRef, comparison: Comparison, days: i64, as_of: Timestamp) -> Filter {
    let days = i128::from(days);
    let before = i128::from(as_of.as_milliseconds());
    // At least `n` days have passed: the instant is at or before as_of - n days.
    let at_least = |n: i128| bound(field, Comparison::LessOrEqual, before - n * DAY);
    let fewer_than = |n: i128| bound(field, Comparison::Greater, before - n * DAY);
    match comparison {
        Comparison::Greater => at_least(days + 1),
        Comparison::GreaterOrEqual => at_least(days),
        Comparison::Less => fewer_than(days),
        Comparison::LessOrEqual => fewer_than(days + 1),
        Comparison::Equal => Filter::And(vec![fewer_than(days + 1), at_least(days)]),
        Comparison::NotEqual => Filter::And(vec![fewer_than(days + 1), at_least(days)]).negated(),
    }
}

/// A comparison with an instant that may lie outside of the range of instants.
fn bound(field: &FieldRef, comparison: Comparison, milliseconds: i128) -> Filter {
    let instant = i64::try_from(milliseconds).ok().and_then(Timestamp::from_milliseconds);
    match (instant, comparison, milliseconds > 0) {
        (Some(instant), _, _) => Filter::compare(field.clone(), comparison, Value::Timestamp(instant)),
        // Every instant is before one beyond the end, and after one beyond the beginning.
        (None, Comparison::LessOrEqual, true) | (None, Comparison::Greater, false) => {
            Filter::Exists { field: field.clone() }
        }
        (None, _, _) => Filter::NONE,
    }
}

/// From `as_of` less the span to `as_of`, both included.
fn within_last(field: &FieldRef, span: Span, as_of: Timestamp) -> Filter {
    let kind = match field.kind {
        crate::store::FieldKind::Date => RuleType::Date,
        _ => RuleType::Timestamp,
    };
    let at = |moment| Operand::Relative(moment).value(kind, as_of);
    Filter::And(vec![
        Filter::compare(field.clone(), Comparison::GreaterOrEqual, at(Moment::Ago(span))),
        Filter::compare(field.clone(), Comparison::LessOrEqual, at(Moment::Now)),
    ])
}

impl RelatedCondition {
    pub(crate) fn filter(&self, as_of: Timestamp) -> RelatedFilter {
        let mut filter = self.filter.as_ref().map_or(Filter::ALL, |node| node.filter(as_of));
        if let (Some(span), Some(when)) = (self.within_last, &self.relation.when) {
            filter = within_last(when, span, as_of).and(filter);
        }
        RelatedFilter {
            collection: self.relation.catalog.collection(),
            key: self.relation.key,
            filter,
            measure: match self.measure {
                Measure::Count => RelatedMeasure::Count,
                Measure::Total(field) => RelatedMeasure::Sum(field),
            },
            comparison: self.comparison.comparison().unwrap_or(Comparison::Equal),
            value: self.value.clone(),
        }
    }
}

/// `floor((as_of - instant) / day)`.
pub(crate) fn days_between(instant: Timestamp, as_of: Timestamp) -> i64 {
    let milliseconds = i128::from(as_of.as_milliseconds()) - i128::from(instant.as_milliseconds());
    i64::try_from(milliseconds.div_euclid(DAY)).unwrap_or(i64::MAX)
}

/// The value seen of a field: days for a field that counts them, the stored value for others.
pub(crate) fn seen(field: &CatalogField, stored: Value, as_of: Timestamp) -> Value {
    match (field.kind, stored) {
        (RuleType::Days, Value::Timestamp(instant)) => Value::Integer(days_between(instant, as_of)),
        (_, stored) => stored,
    }
}
