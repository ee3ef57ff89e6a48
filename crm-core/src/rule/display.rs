//! A rule as a text that a person reads.

use std::fmt;

use super::{
    CatalogField, Operator, Rule, RuleType,
    operand::Operand,
    token::{alternatives, joined},
    tree::{Condition, Measure, Node, Operands, RelatedCondition},
};
use crate::store::Value;

/// More values than a sentence should list.
const MOST_VALUES: usize = 12;

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.root.fmt(f)
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::And(nodes) => group(f, nodes, " and "),
            Self::Or(nodes) => group(f, nodes, " or "),
            Self::Not(node) => write!(f, "not ({node})"),
            Self::Condition(condition) => condition.fmt(f),
            Self::Related(related) => related.fmt(f),
        }
    }
}

fn group(f: &mut fmt::Formatter<'_>, nodes: &[Node], between: &str) -> fmt::Result {
    for (place, node) in nodes.iter().enumerate() {
        if place > 0 {
            f.write_str(between)?;
        }
        match node {
            Node::And(inner) | Node::Or(inner) if nodes.len() > 1 && inner.len() > 1 => write!(f, "({node})")?,
            _ => write!(f, "{node}")?,
        }
    }
    Ok(())
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, operator, operands } = self;
        let phrase = &field.phrase;
        if field.kind == RuleType::Days {
            return write!(f, "{phrase} {} {}", days_words(*operator), words(field, operands, *operator));
        }
        let list = matches!(field.kind, RuleType::List | RuleType::IdList) && !field.element;
        let time = matches!(field.kind, RuleType::Timestamp | RuleType::Date);
        let verb = match operator {
            Operator::Exists => {
                let known = if matches!(operands, Operands::Flag(false)) { "is not known" } else { "is known" };
                return write!(f, "{phrase} {known}");
            }
            Operator::Contains if list => "has",
            Operator::In if list => "has one of",
            Operator::NotIn if list => "has none of",
            Operator::Greater if time => "is after",
            Operator::GreaterOrEqual if time => "is at or after",
            Operator::Less if time => "is before",
            Operator::LessOrEqual if time => "is at or before",
            Operator::Greater => "is more than",
            Operator::GreaterOrEqual => "is at least",
            Operator::Less => "is less than",
            Operator::LessOrEqual => "is at most",
            Operator::Contains if field.kind == RuleType::IdList || field.kind == RuleType::List => "is",
            Operator::Equal => "is",
            Operator::NotEqual => "is not",
            Operator::In => "is one of",
            Operator::NotIn => "is none of",
            Operator::Contains => "contains",
            Operator::StartsWith => "starts with",
            Operator::Between => "is between",
            Operator::Before => "is before",
            Operator::After => "is after",
            Operator::WithinLast => "is within the last",
        };
        write!(f, "{phrase} {verb} {}", words(field, operands, *operator))
    }
}

const fn days_words(operator: Operator) -> &'static str {
    match operator {
        Operator::Greater => "more than",
        Operator::GreaterOrEqual => "at least",
        Operator::Less => "less than",
        Operator::LessOrEqual => "at most",
        Operator::NotEqual => "not exactly",
        Operator::In => "one of",
        Operator::NotIn => "none of",
        Operator::Between => "between",
        _ => "exactly",
    }
}

fn words(field: &CatalogField, operands: &Operands, operator: Operator) -> String {
    let text = match operands {
        Operands::One(operand) => operand_words(operand),
        Operands::Flag(flag) => flag.to_string(),
        Operands::Span(span) => span.words(),
        Operands::Many(operands) if operator == Operator::Between => joined(operands.iter().map(operand_words), "and"),
        Operands::Many(operands) if operands.len() > MOST_VALUES => {
            let first: Vec<String> = operands.iter().take(MOST_VALUES).map(operand_words).collect();
            format!("{} or {} more", first.join(", "), operands.len() - MOST_VALUES)
        }
        Operands::Many(operands) => alternatives(operands.iter().map(operand_words)),
    };
    match (field.kind, operands) {
        (RuleType::Days, Operands::One(Operand::Fixed(Value::Integer(1)))) => format!("{text} day"),
        (RuleType::Days, _) => format!("{text} days"),
        _ => text,
    }
}

fn operand_words(operand: &Operand) -> String {
    match operand {
        Operand::Fixed(value) => value_words(value),
        Operand::Relative(moment) => moment.words(),
    }
}

fn value_words(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Integer(value) => value.to_string(),
        Value::Number(value) => value.to_string(),
        Value::Money(value) => value.to_string(),
        Value::Text(value) => format!("\"{value}\""),
        Value::Timestamp(value) => value.to_string(),
        Value::Date(value) => value.to_string(),
        Value::Id(value) => value.to_string(),
        Value::TextList(values) => alternatives(values),
        Value::Json(value) => value.as_str().to_owned(),
    }
}

impl fmt::Display for RelatedCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = self.relation.name;
        match self.measure {
            Measure::Count => write!(f, "number of {what}")?,
            Measure::Total(_) => write!(f, "total of {what}")?,
        }
        if let Some(span) = self.within_last {
            write!(f, " in the last {}", span.words())?;
        }
        if let Some(filter) = &self.filter {
            write!(f, " where ({filter})")?;
        }
        let verb = match self.comparison {
            Operator::Greater => "is more than",
            Operator::GreaterOrEqual => "is at least",
            Operator::Less => "is less than",
            Operator::LessOrEqual => "is at most",
            Operator::NotEqual => "is not",
            _ => "is",
        };
        write!(f, " {verb} {}", value_words(&self.value))
    }
}
