use serde_json::{Value, json};

use crate::rule::Operator;

/// A rule that is being put together, each condition as the JSON that it will be.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Draft {
    Leaf(String),
    And(Vec<Self>),
    Or(Vec<Self>),
    Not(Box<Self>),
}

impl Draft {
    pub(super) fn leaf(field: &str, operator: Operator, value: &Value) -> Self {
        Self::raw(field, operator, &value.to_string())
    }

    /// With a value that is JSON already, such as the digits of an exact number.
    pub(super) fn raw(field: &str, operator: Operator, value: &str) -> Self {
        Self::Leaf(format!(r#"{{"field":{},"op":"{}","value":{value}}}"#, json!(field), operator.symbol()))
    }

    pub(super) fn negated(self) -> Self {
        match self {
            Self::Not(inner) => *inner,
            other => Self::Not(Box::new(other)),
        }
    }

    /// All of them: groups of the same kind become one, and what is said twice stands once.
    pub(super) fn all(parts: Vec<Self>) -> Self {
        Self::group(parts, true)
    }

    /// One of them, in the same way.
    pub(super) fn any(parts: Vec<Self>) -> Self {
        Self::group(parts, false)
    }

    fn group(parts: Vec<Self>, all: bool) -> Self {
        let mut flat: Vec<Self> = Vec::with_capacity(parts.len());
        let inner = parts.into_iter().flat_map(|part| match part {
            Self::And(inner) if all => inner,
            Self::Or(inner) if !all => inner,
            other => vec![other],
        });
        for part in inner {
            if !flat.contains(&part) {
                flat.push(part);
            }
        }
        match flat.len() {
            1 => flat.remove(0),
            _ if all => Self::And(flat),
            _ => Self::Or(flat),
        }
    }

    /// As a rule: a condition alone stands in a group of one.
    pub(super) fn to_json(&self) -> String {
        let mut text = String::with_capacity(256);
        match self {
            Self::And(_) | Self::Or(_) => self.write(&mut text),
            other => Self::And(vec![other.clone()]).write(&mut text),
        }
        text
    }

    fn write(&self, text: &mut String) {
        let (name, parts) = match self {
            Self::Leaf(leaf) => return text.push_str(leaf),
            Self::Not(inner) => {
                text.push_str(r#"{"not":"#);
                inner.write(text);
                return text.push('}');
            }
            Self::And(parts) => ("and", parts),
            Self::Or(parts) => ("or", parts),
        };
        text.push_str("{\"");
        text.push_str(name);
        text.push_str("\":[");
        for (place, part) in parts.iter().enumerate() {
            if place > 0 {
                text.push(',');
            }
            part.write(text);
        }
        text.push_str("]}");
    }
}
