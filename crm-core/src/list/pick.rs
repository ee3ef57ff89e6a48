use serde::{Serialize, Serializer, ser::SerializeMap as _};
use serde_json::value::RawValue;

use crate::{
    error::{Error, Result},
    rule::Token,
};

/// The fields of a record that were asked for, in the record's order, with every digit of their numbers.
#[derive(Clone, Debug)]
pub struct Picked(Vec<(String, Part)>);

#[derive(Clone, Debug)]
enum Part {
    Whole(Box<RawValue>),
    Members(Picked),
}

impl Serialize for Picked {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, part) in &self.0 {
            match part {
                Part::Whole(value) => map.serialize_entry(name, value)?,
                Part::Members(members) => map.serialize_entry(name, members)?,
            }
        }
        map.end()
    }
}

impl Picked {
    fn of(json: &RawValue, fields: &[&str]) -> Option<Self> {
        let Ok(Token::Object(members)) = Token::read_all(json) else { return None };
        let picked = members.into_iter().filter_map(|(name, value)| {
            if fields.contains(&name.as_str()) {
                return Some((name, Part::Whole(value.to_owned())));
            }
            let inner: Vec<&str> = fields
                .iter()
                .filter_map(|field| field.strip_prefix(name.as_str()).and_then(|rest| rest.strip_prefix('.')))
                .collect();
            if inner.is_empty() {
                return None;
            }
            Some((name, Part::Members(Self::of(value, &inner)?)))
        });
        Some(Self(picked.collect()))
    }
}

/// Only these fields of a record; `custom.city` is one member of `custom`. All fields where `fields` is empty.
///
/// # Errors
/// [`Error::Internal`] where the record is not an object.
pub fn pick<T: Serialize>(record: &T, fields: &[String]) -> Result<Picked> {
    let json = serde_json::value::to_raw_value(record).map_err(Error::internal)?;
    if fields.is_empty() {
        let Ok(Token::Object(members)) = Token::read_all(&json) else {
            return Err(Error::internal("a record is not an object"));
        };
        let whole = members.into_iter().map(|(name, value)| (name, Part::Whole(value.to_owned())));
        return Ok(Picked(whole.collect()));
    }
    let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
    Picked::of(&json, &fields).ok_or_else(|| Error::internal("a record is not an object"))
}
