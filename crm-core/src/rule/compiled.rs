use std::collections::HashSet;

use jiff::civil::Date;
use uuid::Uuid;

use crate::store::{Collection, Comparison, FieldRef, Filter, Row, Value, evaluate, fold::fold};

/// A filter made ready for many rows in memory: columns found, operands taken out and folded. Looking at a row
/// allocates nothing, but for custom fields, and for texts beyond ASCII under `contains` and `starts_with`.
#[derive(Clone, Debug)]
pub struct Compiled(Test);

/// Fewer values than this are faster to look through than to hash.
const HASHED_FROM: usize = 12;

#[derive(Clone, Debug)]
enum Test {
    All(Box<[Self]>),
    Any(Box<[Self]>),
    Not(Box<Self>),
    Bool(usize, Comparison, bool),
    Integer(usize, Range),
    Number(usize, Comparison, f64),
    Money(usize, Range),
    Text(usize, Comparison, Box<str>),
    Timestamp(usize, Range),
    Date(usize, Comparison, Date),
    Id(usize, Comparison, Uuid),
    IntegerIn(usize, HashSet<i64>),
    TextIn(usize, HashSet<Box<str>>),
    IdIn(usize, HashSet<Uuid>),
    /// Of few values, or of a rarer kind.
    ValueIn(usize, Box<[Value]>),
    /// A folded part of a text, or an element of a list as it is.
    Contains(usize, Box<str>, Box<str>),
    StartsWith(usize, Box<str>),
    Exists(usize),
    /// What is rare: by the reference.
    Reference(&'static Collection, Box<Filter>),
}

/// A comparison of whole numbers as a range, so that each costs the same two steps.
#[derive(Clone, Copy, Debug)]
struct Range {
    low: i64,
    high: i64,
    /// Whether it holds outside of the range, and of what is missing, instead of inside.
    outside: bool,
}

impl Range {
    const NONE: Self = Self { low: 1, high: 0, outside: false };

    fn new(comparison: Comparison, operand: i64) -> Self {
        let range = |low, high| Self { low, high, outside: false };
        match comparison {
            Comparison::Equal => range(operand, operand),
            Comparison::NotEqual => Self { outside: true, ..range(operand, operand) },
            Comparison::LessOrEqual => range(i64::MIN, operand),
            Comparison::GreaterOrEqual => range(operand, i64::MAX),
            Comparison::Less => operand.checked_sub(1).map_or(Self::NONE, |high| range(i64::MIN, high)),
            Comparison::Greater => operand.checked_add(1).map_or(Self::NONE, |low| range(low, i64::MAX)),
        }
    }

    #[inline]
    const fn has(self, value: i64) -> bool {
        (self.low <= value && value <= self.high) != self.outside
    }
}

impl Compiled {
    /// Of a filter over the collection's rows. Related records count as none.
    #[must_use]
    pub fn new(collection: &'static Collection, filter: &Filter) -> Self {
        Self(Test::new(collection, filter))
    }

    /// Whether the row matches.
    #[must_use]
    #[inline]
    pub fn matches(&self, row: &Row) -> bool {
        self.0.holds(row)
    }
}

impl Test {
    fn new(collection: &'static Collection, filter: &Filter) -> Self {
        let all = |filters: &[Filter]| {
            let mut tests: Vec<Self> = filters.iter().map(|filter| Self::new(collection, filter)).collect();
            // The order changes nothing but the time it takes: what is cheap often decides.
            tests.sort_by_key(Self::cost);
            tests.into_boxed_slice()
        };
        let reference = || Self::Reference(collection, Box::new(filter.clone()));
        let column = |field: &FieldRef| match field.key {
            None => collection.position(&field.name),
            Some(_) => None,
        };
        match filter {
            Filter::And(filters) => Self::All(all(filters)),
            Filter::Or(filters) => Self::Any(all(filters)),
            Filter::Not(filter) => Self::Not(Box::new(Self::new(collection, filter))),
            Filter::Compare { field, comparison, value } => {
                let Some(column) = column(field) else { return reference() };
                let comparison = *comparison;
                match value {
                    Value::Bool(value) => Self::Bool(column, comparison, *value),
                    Value::Integer(value) => Self::Integer(column, Range::new(comparison, *value)),
                    Value::Number(value) => Self::Number(column, comparison, *value),
                    Value::Money(value) => Self::Money(column, Range::new(comparison, value.as_ten_thousandths())),
                    Value::Text(value) => Self::Text(column, comparison, value.as_str().into()),
                    Value::Timestamp(value) => Self::Timestamp(column, Range::new(comparison, value.as_milliseconds())),
                    Value::Date(value) => Self::Date(column, comparison, *value),
                    Value::Id(value) => Self::Id(column, comparison, *value),
                    Value::Null | Value::TextList(_) | Value::Json(_) => reference(),
                }
            }
            Filter::In { field, values } => match column(field) {
                Some(column) => Self::one_of(column, values),
                None => reference(),
            },
            Filter::Contains { field, text } => match column(field) {
                Some(column) => Self::Contains(column, fold(text).into(), text.as_str().into()),
                None => reference(),
            },
            Filter::StartsWith { field, text } => match column(field) {
                Some(column) => Self::StartsWith(column, fold(text).into()),
                None => reference(),
            },
            Filter::Exists { field } => match column(field) {
                Some(column) => Self::Exists(column),
                None => reference(),
            },
            Filter::Search { .. } | Filter::Related(_) => reference(),
        }
    }

    /// How dear the test is, roughly.
    fn cost(&self) -> u32 {
        match self {
            Self::Bool(..)
            | Self::Integer(..)
            | Self::Number(..)
            | Self::Money(..)
            | Self::Timestamp(..)
            | Self::Date(..)
            | Self::Id(..)
            | Self::Exists(_) => 1,
            Self::Text(..) => 2,
            Self::IntegerIn(..) | Self::TextIn(..) | Self::IdIn(..) | Self::ValueIn(..) => 6,
            Self::StartsWith(..) => 10,
            Self::Contains(..) => 40,
            Self::Reference(..) => 400,
            Self::Not(test) => test.cost(),
            Self::All(tests) | Self::Any(tests) => tests.iter().map(Self::cost).fold(0, u32::saturating_add),
        }
    }

    fn one_of(column: usize, values: &[Value]) -> Self {
        if values.len() < HASHED_FROM {
            return Self::ValueIn(column, values.into());
        }
        fn every<T: std::hash::Hash + Eq>(values: &[Value], take: fn(&Value) -> Option<T>) -> Option<HashSet<T>> {
            values.iter().map(take).collect()
        }
        let integer = |value: &Value| match value {
            Value::Integer(value) => Some(*value),
            _ => None,
        };
        let text = |value: &Value| match value {
            Value::Text(value) => Some(value.as_str().into()),
            _ => None,
        };
        let id = |value: &Value| match value {
            Value::Id(value) => Some(*value),
            _ => None,
        };
        if let Some(values) = every(values, integer) {
            Self::IntegerIn(column, values)
        } else if let Some(values) = every(values, text) {
            Self::TextIn(column, values)
        } else if let Some(values) = every(values, id) {
            Self::IdIn(column, values)
        } else {
            Self::ValueIn(column, values.into())
        }
    }

    /// Kept small, so that it needs no stack of its own for what is asked most.
    #[inline]
    fn holds(&self, row: &Row) -> bool {
        let value = |column: usize| row.0.get(column);
        match self {
            Self::All(tests) => tests.iter().all(|test| test.holds(row)),
            Self::Integer(column, range) => match value(*column) {
                Some(Value::Integer(value)) => range.has(*value),
                _ => range.outside,
            },
            Self::Money(column, range) => match value(*column) {
                Some(Value::Money(value)) => range.has(value.as_ten_thousandths()),
                _ => range.outside,
            },
            Self::Timestamp(column, range) => match value(*column) {
                Some(Value::Timestamp(value)) => range.has(value.as_milliseconds()),
                _ => range.outside,
            },
            Self::Text(column, comparison, operand) => match value(*column) {
                Some(Value::Text(value)) => compares(value.as_bytes(), *comparison, operand.as_bytes()),
                _ => *comparison == Comparison::NotEqual,
            },
            _ => self.holds_rarely(row),
        }
    }

    /// The tests that are dearer than a call, or rarer.
    fn holds_rarely(&self, row: &Row) -> bool {
        let value = |column: usize| row.0.get(column);
        match self {
            Self::All(_) | Self::Integer(..) | Self::Money(..) | Self::Timestamp(..) | Self::Text(..) => {
                self.holds(row)
            }
            Self::Any(tests) => tests.iter().any(|test| test.holds(row)),
            Self::Not(test) => !test.holds(row),
            Self::Bool(column, comparison, operand) => match value(*column) {
                Some(Value::Bool(value)) => compares(value, *comparison, operand),
                _ => *comparison == Comparison::NotEqual,
            },
            Self::Number(column, comparison, operand) => match value(*column) {
                Some(Value::Number(value)) => compares(value, *comparison, operand),
                _ => *comparison == Comparison::NotEqual,
            },
            Self::Date(column, comparison, operand) => match value(*column) {
                Some(Value::Date(value)) => compares(value, *comparison, operand),
                _ => *comparison == Comparison::NotEqual,
            },
            Self::Id(column, comparison, operand) => match value(*column) {
                Some(Value::Id(value)) => compares(value, *comparison, operand),
                _ => *comparison == Comparison::NotEqual,
            },
            Self::IntegerIn(column, operands) => {
                matches!(value(*column), Some(Value::Integer(value)) if operands.contains(value))
            }
            Self::TextIn(column, operands) => match value(*column) {
                Some(Value::Text(value)) => operands.contains(value.as_str()),
                Some(Value::TextList(values)) => values.iter().any(|value| operands.contains(value.as_str())),
                _ => false,
            },
            Self::IdIn(column, operands) => {
                matches!(value(*column), Some(Value::Id(value)) if operands.contains(value))
            }
            Self::ValueIn(column, operands) => match value(*column) {
                None | Some(Value::Null) => false,
                Some(Value::TextList(values)) => operands.iter().any(
                    |operand| matches!(operand, Value::Text(operand) if values.iter().any(|value| value == operand)),
                ),
                Some(value) => operands.contains(value),
            },
            Self::Contains(column, folded, exact) => match value(*column) {
                Some(Value::Text(value)) => folded_contains(value, folded),
                Some(Value::TextList(values)) => values.iter().any(|value| **value == **exact),
                _ => false,
            },
            Self::StartsWith(column, folded) => {
                matches!(value(*column), Some(Value::Text(value)) if folded_starts_with(value, folded))
            }
            Self::Exists(column) => match value(*column) {
                None | Some(Value::Null) => false,
                Some(Value::TextList(values)) => !values.is_empty(),
                Some(_) => true,
            },
            Self::Reference(collection, filter) => evaluate::matches(collection, filter, row),
        }
    }
}

#[inline]
fn compares<T: PartialOrd + ?Sized>(value: &T, comparison: Comparison, operand: &T) -> bool {
    match comparison {
        Comparison::Equal => value == operand,
        Comparison::NotEqual => value != operand,
        Comparison::Less => value < operand,
        Comparison::LessOrEqual => value <= operand,
        Comparison::Greater => value > operand,
        Comparison::GreaterOrEqual => value >= operand,
    }
}

/// Whether the text, folded, has the folded part in it. An ASCII text folds to its lower case.
fn folded_contains(text: &str, part: &str) -> bool {
    if !text.is_ascii() {
        return fold(text).contains(part);
    }
    let (text, part) = (text.as_bytes(), part.as_bytes());
    let Some((first, rest)) = part.split_first() else { return true };
    text.len() >= part.len()
        && text[..=text.len() - part.len()].iter().enumerate().any(|(place, byte)| {
            byte.to_ascii_lowercase() == *first && text[place + 1..=place + rest.len()].eq_ignore_ascii_case(rest)
        })
}

fn folded_starts_with(text: &str, part: &str) -> bool {
    if !text.is_ascii() {
        return fold(text).starts_with(part);
    }
    text.as_bytes().get(..part.len()).is_some_and(|start| start.eq_ignore_ascii_case(part.as_bytes()))
}
