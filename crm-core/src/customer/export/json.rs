use std::io::Write as _;

use serde_json::value::RawValue;

use super::{
    columns::place,
    csv::{write_display, write_id, write_integer, write_money, write_number},
    instant::LocalTime,
    pump::LineWriter,
};
use crate::{
    customer::{
        Consents,
        shape::{FIELDS, RETAIL},
    },
    field::{CustomValues, FieldSet},
    rule::Token,
    store::{Row, Value},
};

/// Writes customers as GET shows each, one a line.
#[derive(Debug)]
pub(super) struct JsonLines {
    members: Vec<Member>,
    custom: std::sync::Arc<FieldSet>,
    time: LocalTime,
}

#[derive(Debug)]
struct Member {
    /// `"name":`.
    prefix: String,
    place: usize,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Plain,
    /// Left out where it is missing.
    Optional,
    Consent,
    Custom {
        /// Those that were asked for; all where nothing.
        keys: Option<Vec<String>>,
    },
}

impl JsonLines {
    /// With these fields; with all where there are none.
    pub(super) fn new(fields: &[String], retail: bool, custom: std::sync::Arc<FieldSet>) -> Self {
        let asked = |own: &str| {
            let other = RETAIL.iter().find(|(name, _)| *name == own).map(|(_, retail)| *retail);
            fields.is_empty() || fields.iter().any(|field| field == own || Some(field.as_str()) == other)
        };
        let keys: Vec<String> =
            fields.iter().filter_map(|field| field.strip_prefix("custom.").map(str::to_owned)).collect();
        let members = FIELDS.into_iter().filter_map(|name| {
            let place = place(name)?;
            let kind = match name {
                "custom" if !asked(name) && !keys.is_empty() => Kind::Custom { keys: Some(keys.clone()) },
                _ if !asked(name) => return None,
                "custom" => Kind::Custom { keys: None },
                "consent" => Kind::Consent,
                "deleted_at" => Kind::Optional,
                _ => Kind::Plain,
            };
            let shown = RETAIL.iter().find(|(own, _)| retail && *own == name).map_or(name, |(_, retail)| retail);
            Some(Member { prefix: format!("\"{shown}\":"), place, kind })
        });
        let time = LocalTime::new(jiff::tz::TimeZone::UTC);
        Self { members: members.collect(), custom, time }
    }

    /// The names of the members.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|member| member.prefix.trim_matches(['"', ':']))
    }
}

impl LineWriter for JsonLines {
    fn begin(&self, _: &mut Vec<u8>) {}

    fn row(&mut self, row: &Row, out: &mut Vec<u8>) {
        let Self { members, custom, time } = self;
        let mut separator = b'{';
        for member in members.iter() {
            let value = row.0.get(member.place).unwrap_or(&Value::Null);
            if matches!(member.kind, Kind::Optional) && value.is_null() {
                continue;
            }
            out.push(std::mem::replace(&mut separator, b','));
            out.extend_from_slice(member.prefix.as_bytes());
            match (&member.kind, value) {
                (Kind::Custom { keys }, Value::Json(json)) => custom_values(custom, json, keys.as_deref(), out),
                (Kind::Consent, Value::Json(json)) if json.as_str() != "{}" => {
                    // A store may keep the members in another order than GET shows them.
                    let consents: Consents = serde_json::from_str(json.as_str()).unwrap_or_default();
                    to_json(&consents, out);
                }
                (_, value) => plain(time, value, out),
            }
        }
        if separator == b'{' {
            out.push(b'{');
        }
        out.extend_from_slice(b"}\n");
    }
}

fn custom_values(set: &FieldSet, json: &crate::store::Json, keys: Option<&[String]>, out: &mut Vec<u8>) {
    let presented;
    let shown = if set.shows_as_stored() {
        json.as_str()
    } else {
        presented = set.present(&CustomValues::from(json.clone()));
        presented.as_json().as_str()
    };
    let Some(keys) = keys else {
        out.extend_from_slice(shown.as_bytes());
        return;
    };
    let object: Option<&RawValue> = serde_json::from_str(shown).ok();
    let mut separator = b'{';
    if let Some(Ok(Token::Object(members))) = object.map(|object| Token::read(object, 0)) {
        for (name, value) in members.iter().filter(|(name, _)| keys.contains(name)) {
            out.push(std::mem::replace(&mut separator, b','));
            to_json(name, out);
            out.push(b':');
            out.extend_from_slice(value.get().as_bytes());
        }
    }
    if separator == b'{' {
        out.push(b'{');
    }
    out.push(b'}');
}

fn plain(time: &mut LocalTime, value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Value::Integer(value) => write_integer(*value, out),
        Value::Number(value) => write_number(*value, out),
        Value::Money(value) => write_money(*value, out),
        Value::Text(text) => to_json(text, out),
        Value::Timestamp(value) => quoted(out, |out| time.write(*value, out)),
        Value::Date(value) => quoted(out, |out| write_display(value, out)),
        Value::Id(value) => quoted(out, |out| write_id(*value, out)),
        Value::TextList(elements) => to_json(elements, out),
        Value::Json(json) => {
            // Writing to memory cannot fail.
            let _ = out.write_all(json.as_str().as_bytes());
        }
    }
}

fn quoted(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    write(out);
    out.push(b'"');
}

fn to_json(value: &impl serde::Serialize, out: &mut Vec<u8>) {
    // Writing a text or a list to memory cannot fail.
    let _ = serde_json::to_writer(out, value);
}
