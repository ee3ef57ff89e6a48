//! One level of JSON at a time, so that numbers keep their digits and nothing is parsed that is not looked at.

use std::fmt;

use serde::{
    Deserializer as _,
    de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

/// More members than any object of ours has.
const MOST_MEMBERS: usize = 64;

/// The outermost level of a JSON text.
#[derive(Debug)]
pub(crate) enum Token<'a> {
    Null,
    Boolean(bool),
    /// The digits as they were written.
    Number(&'a str),
    Text(String),
    List(Vec<&'a RawValue>),
    /// The members in the order written, each name once.
    Object(Vec<(String, &'a RawValue)>),
}

impl<'a> Token<'a> {
    /// Reads the outermost level; of a list at most `most + 1` elements, so that the caller sees that it is too long.
    ///
    /// # Errors
    /// A sentence where the text cannot be read, such as an object that has a member twice.
    pub(crate) fn read(raw: &'a RawValue, most: usize) -> Result<Self, String> {
        let text = raw.get();
        let mut reader = serde_json::Deserializer::from_str(text);
        match text.as_bytes().first() {
            Some(b'n') => Ok(Self::Null),
            Some(b't') => Ok(Self::Boolean(true)),
            Some(b'f') => Ok(Self::Boolean(false)),
            Some(b'"') => serde_json::from_str(text).map(Self::Text).map_err(|_| "is not valid text".to_owned()),
            Some(b'[') => reader.deserialize_seq(Elements { most }).map(Self::List).map_err(|error| sentence(&error)),
            Some(b'{') => {
                reader.deserialize_map(Members { trusted: false }).map(Self::Object).map_err(|error| sentence(&error))
            }
            _ => Ok(Self::Number(text)),
        }
    }

    /// Reads the outermost level of JSON of our own, however long.
    pub(crate) fn read_all(raw: &'a RawValue) -> Result<Self, String> {
        let text = raw.get();
        if !text.starts_with('{') {
            return Self::read(raw, usize::MAX - 1);
        }
        let mut reader = serde_json::Deserializer::from_str(text);
        reader.deserialize_map(Members { trusted: true }).map(Self::Object).map_err(|error| sentence(&error))
    }

    /// What it is, for a person.
    pub(crate) const fn description(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean(_) => "true or false",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }
}

/// The message without serde's "at line 1 column 2".
fn sentence(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

struct Elements {
    most: usize,
}

impl<'a> Visitor<'a> for Elements {
    type Value = Vec<&'a RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while elements.len() <= self.most {
            match list.next_element()? {
                Some(element) => elements.push(element),
                None => return Ok(elements),
            }
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(elements)
    }
}

struct Members {
    /// Whether we wrote it ourselves, so that it needs no checks.
    trusted: bool,
}

impl<'a> Visitor<'a> for Members {
    type Value = Vec<(String, &'a RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members: Vec<(String, &'a RawValue)> = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value()?;
            if self.trusted {
                members.push((name, value));
                continue;
            }
            if members.iter().any(|(known, _)| *known == name) {
                return Err(A::Error::custom(format_args!("has the member {} twice", quoted(&name))));
            }
            if members.len() == MOST_MEMBERS {
                return Err(A::Error::custom("has too many members"));
            }
            members.push((name, value));
        }
        Ok(members)
    }
}

/// A text from outside as a message shows it: cut to 60 characters, without control characters.
pub(crate) fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().filter(|character| !character.is_control()).take(60).collect();
    if text.chars().nth(60).is_some() {
        shown.push('…');
    }
    format!("\"{shown}\"")
}

/// Names in a row for a message: "a, b or c".
pub(crate) fn alternatives<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> String {
    joined(names, "or")
}

/// Names in a row: "a, b and c" with `last` before the last one. At most 100, then how many more there are.
pub(crate) fn joined<S: AsRef<str>>(names: impl IntoIterator<Item = S>, last: &str) -> String {
    const MOST: usize = 100;
    let names: Vec<S> = names.into_iter().collect();
    let mut text = String::new();
    for (position, name) in names.iter().take(MOST).enumerate() {
        if position > 0 {
            text.push_str(if position + 1 == names.len() { " " } else { ", " });
            if position + 1 == names.len() {
                text.push_str(last);
                text.push(' ');
            }
        }
        text.push_str(name.as_ref());
    }
    if names.len() > MOST {
        text.push_str(&format!(" … and {} more", names.len() - MOST));
    }
    text
}

/// The name most like the one given, where it is likely meant.
pub(crate) fn nearest<'a>(given: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if given.chars().nth(100).is_some() {
        return None;
    }
    names
        .map(|name| (strsim::osa_distance(given, name), name))
        .filter(|(distance, name)| *distance <= name.chars().count().div_ceil(3).min(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}
