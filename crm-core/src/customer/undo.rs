//! What is kept of a change so that it can be taken back: whom it made, and what it changed of whom, field by field.

use serde::{Deserialize, Serialize};
use serde_json::{Value as JsonValue, json, value::RawValue};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::meaning::{meaning, same};
use crate::{
    customer::Customer,
    field::FieldSet,
    id::CustomerId,
    input::Members,
    record::Record as _,
    store::{FieldKind, Json, Row, Value, head},
    time::Timestamp,
};

/// What is needed to take back a part of an import.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Undo {
    /// The customers that it made, with a fingerprint of what they were then.
    #[serde(default)]
    pub(super) created: Vec<(CustomerId, String)>,
    /// The customers that it changed.
    #[serde(default)]
    pub(super) updated: Vec<Changed>,
}

/// What was changed of a customer.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Changed {
    pub(super) id: CustomerId,
    /// The fields that changed; of fields with members, the members.
    pub(super) fields: Vec<FieldChange>,
}

/// What became of a field. The values are JSON as text, because a store may round the numbers of JSON.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct FieldChange {
    /// `name`, or `metadata.<member>`.
    name: String,
    /// What it was; nothing where there was no such member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    was: Option<String>,
    /// What it became.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    became: Option<String>,
}

/// What a customer comes to when a change is taken back.
#[derive(Clone, Debug)]
pub(super) struct Restored {
    pub(super) customer: Customer,
    /// Fields that somebody changed since, which stay as they are.
    pub(super) kept: Vec<String>,
    /// Whether anything is taken back.
    pub(super) differs: bool,
}

/// A fingerprint of everything that is said of a customer; equal where nothing was changed, or changed back.
pub(super) fn fingerprint(customer: &Customer) -> String {
    let mut hasher = Sha256::new();
    for value in customer.to_row().0.iter().skip(head::UPDATED_AT + 1) {
        hasher.update(meaning(&to_text(value)));
        hasher.update([0]);
    }
    hasher.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

impl Undo {
    /// Takes in what was done to a customer.
    pub(super) fn add(&mut self, before: Option<&Customer>, after: &Customer) {
        let Some(before) = before else {
            self.created.push((after.id, fingerprint(after)));
            return;
        };
        self.updated.push(Changed::of(before, after));
    }
}

type MemberTexts<'a> = Vec<(std::borrow::Cow<'a, str>, &'a RawValue)>;

/// The members of an object, in their order.
fn members(json: &str) -> Option<MemberTexts<'_>> {
    serde_json::from_str::<Members<'_>>(json).ok().map(Members::into_rest)
}

fn text_of<'a>(members: &MemberTexts<'a>, key: &str) -> Option<&'a str> {
    members.iter().find(|(name, _)| name == key).map(|(_, json)| json.get())
}

/// Whether both are there and say the same, or neither is there.
fn agree(one: Option<&str>, other: Option<&str>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => same(one, other),
        (None, None) => true,
        _ => false,
    }
}

fn changed(field: &str, old: &MemberTexts<'_>, new: &MemberTexts<'_>, fields: &mut Vec<FieldChange>) {
    let mut keys: Vec<&str> = old.iter().chain(new).map(|(key, _)| key.as_ref()).collect();
    keys.sort_unstable();
    keys.dedup();
    for key in keys {
        let (was, became) = (text_of(old, key), text_of(new, key));
        if !agree(was, became) {
            let owned = |text: Option<&str>| text.map(str::to_owned);
            fields.push(FieldChange { name: format!("{field}.{key}"), was: owned(was), became: owned(became) });
        }
    }
}

impl Changed {
    /// What became of a customer.
    pub(super) fn of(before: &Customer, after: &Customer) -> Self {
        let (old, new) = (before.to_row(), after.to_row());
        let mut fields = Vec::new();
        let pairs = old.0.iter().zip(&new.0).enumerate().skip(head::UPDATED_AT + 1);
        for (position, (old, new)) in pairs {
            let Some(field) = Customer::COLLECTION.fields.get(position) else { continue };
            let (was, became) = match (old, new) {
                // Two that a comparison of doubles takes for one differ here.
                (Value::Json(old), Value::Json(new)) => (old.as_str().to_owned(), new.as_str().to_owned()),
                _ if old == new => continue,
                _ => (to_text(old), to_text(new)),
            };
            if was == became {
                continue;
            }
            match (members(&was), members(&became)) {
                // Members are taken back one by one.
                (Some(old), Some(new)) if field.kind == FieldKind::Json => changed(field.name, &old, &new, &mut fields),
                _ => fields.push(FieldChange { name: field.name.to_owned(), was: Some(was), became: Some(became) }),
            }
        }
        Self { id: after.id, fields }
    }

    /// The same without these fields.
    pub(super) fn without(mut self, names: &[&str]) -> Self {
        self.fields.retain(|change| !names.contains(&change.name.as_str()));
        self
    }

    /// What can be taken back of it still, and the names of what cannot: values of custom fields that cannot be written
    /// any more, and values that were cleared of fields that are not what they were then.
    pub(super) fn still_possible(mut self, fields: &FieldSet, since: Timestamp) -> (Self, Vec<String>) {
        let stays = |change: &FieldChange| {
            let Some(key) = change.name.strip_prefix("custom.") else { return false };
            let field = fields.field(key);
            field.is_none_or(|field| change.became.is_none() && field.meta.updated_at > since)
        };
        let names = self.fields.extract_if(.., |change| stays(change)).map(|change| change.name).collect();
        (self, names)
    }

    /// The customer with every field as it was before that nobody changed since.
    pub(super) fn take_back(&self, now: &Customer) -> Restored {
        let mut row = now.to_row();
        let mut kept = Vec::new();
        let mut differs = false;
        for FieldChange { name, was, became } in &self.fields {
            let (field, key) = name.split_once('.').map_or((name.as_str(), None), |(field, key)| (field, Some(key)));
            let Some(position) = Customer::COLLECTION.position(field) else { continue };
            let (Some(slot), Some(declared)) = (row.0.get_mut(position), Customer::COLLECTION.fields.get(position))
            else {
                continue;
            };
            let put = match (key, was) {
                (Some(key), _) => put_member(slot, key, was.as_deref(), became.as_deref()),
                (None, Some(was)) => put_field(slot, declared.kind, was, became.as_deref().unwrap_or("null")),
                (None, None) => false,
            };
            if put {
                differs = true;
            } else {
                kept.push(name.clone());
            }
        }
        match Customer::from_row(Row(row.0)) {
            Ok(customer) => Restored { customer, kept, differs },
            // It was stored by another version: left as it is.
            Err(_) => {
                let kept = self.fields.iter().map(|change| change.name.clone()).collect();
                Restored { customer: now.clone(), kept, differs: false }
            }
        }
    }
}

/// Puts a field back, unless somebody changed it since.
fn put_field(slot: &mut Value, kind: FieldKind, was: &str, became: &str) -> bool {
    let now = to_text(slot);
    if !same(&now, became) {
        return same(&now, was);
    }
    match of_text(kind, was) {
        Some(value) => {
            *slot = value;
            true
        }
        None => false,
    }
}

/// Puts a member back, unless somebody changed it since. The others stay as they are written.
fn put_member(slot: &mut Value, key: &str, was: Option<&str>, became: Option<&str>) -> bool {
    let Value::Json(json) = slot else { return false };
    let Some(members) = members(json.as_str()) else { return false };
    let now = text_of(&members, key);
    if agree(now, was) {
        return true;
    }
    if !agree(now, became) {
        return false;
    }
    let mut parts: Vec<(&str, &str)> = Vec::with_capacity(members.len() + 1);
    for (name, json) in &members {
        let text = if name == key { was } else { Some(json.get()) };
        parts.extend(text.map(|text| (name.as_ref(), text)));
    }
    if now.is_none() {
        parts.extend(was.map(|was| (key, was)));
    }
    // A name can always be written as JSON.
    let quoted = |name: &str| serde_json::to_string(name).unwrap_or_default();
    let parts: Vec<String> = parts.into_iter().map(|(name, json)| format!("{}:{json}", quoted(name))).collect();
    *slot = Value::Json(Json::from_trusted(format!("{{{}}}", parts.join(","))));
    true
}

/// A stored value as JSON text; of what is JSON already, the text as it is.
fn to_text(value: &Value) -> String {
    match value {
        Value::Json(json) => json.as_str().to_owned(),
        other => to_json(other).to_string(),
    }
}

fn of_text(kind: FieldKind, text: &str) -> Option<Value> {
    if kind == FieldKind::Json {
        return Some(Value::Json(Json::from_trusted(text)));
    }
    of_json(kind, &serde_json::from_str(text).ok()?)
}

/// A stored value as JSON. Amounts are texts, so that no double comes between.
fn to_json(value: &Value) -> JsonValue {
    match value {
        Value::Null => JsonValue::Null,
        Value::Bool(value) => json!(value),
        Value::Integer(value) => json!(value),
        Value::Number(value) => json!(value),
        Value::Money(value) => json!(value.to_string()),
        Value::Text(value) => json!(value),
        Value::Timestamp(value) => json!(value.as_milliseconds()),
        Value::Date(value) => json!(value.to_string()),
        Value::Id(value) => json!(value),
        Value::TextList(value) => json!(value),
        Value::Json(value) => value.to_value(),
    }
}

fn of_json(kind: FieldKind, json: &JsonValue) -> Option<Value> {
    if json.is_null() {
        return Some(Value::Null);
    }
    let text = || json.as_str();
    Some(match kind {
        FieldKind::Bool => Value::Bool(json.as_bool()?),
        FieldKind::Integer => Value::Integer(json.as_i64()?),
        FieldKind::Number => Value::Number(json.as_f64()?),
        FieldKind::Money => Value::Money(text()?.parse().ok()?),
        FieldKind::Text => Value::Text(text()?.to_owned()),
        FieldKind::Timestamp => Value::Timestamp(Timestamp::from_milliseconds(json.as_i64()?)?),
        FieldKind::Date => Value::Date(text()?.parse().ok()?),
        FieldKind::Id => Value::Id(text()?.parse::<Uuid>().ok()?),
        FieldKind::TextList => {
            Value::TextList(json.as_array()?.iter().filter_map(|text| text.as_str().map(str::to_owned)).collect())
        }
        FieldKind::Json => Value::Json(Json::from_value(json)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{id::OrganizationId, port::SeededRandom, record::Meta, text::Line};

    fn customer() -> Customer {
        let now = Timestamp::from_milliseconds(1_767_225_600_000).unwrap();
        let id = crate::id::new_uuid(now, &SeededRandom::new(1));
        Customer::blank(CustomerId(id), Line::parse("Ann").unwrap(), Meta::new(OrganizationId(id), now))
    }

    fn values(json: &str) -> crate::field::CustomValues {
        Json::from_trusted(json).into()
    }

    #[test]
    fn a_change_is_taken_back_field_by_field() {
        let before = Customer {
            tags: vec!["old".to_owned()],
            metadata: Json::from_trusted(r#"{"a":1,"b":2}"#),
            spend: "12.5".parse().unwrap(),
            ..customer()
        };
        let after = Customer {
            tags: vec!["new".to_owned()],
            name: Line::parse("Bea").unwrap(),
            metadata: Json::from_trusted(r#"{"a":9,"c":3}"#),
            spend: "99.9999".parse().unwrap(),
            last_active: Timestamp::from_milliseconds(5),
            ..before.clone()
        };
        let mut undo = Undo::default();
        undo.add(Some(&before), &after);
        let json = serde_json::to_string(&undo).unwrap();
        let undo: Undo = serde_json::from_str(&json).unwrap();
        let restored = undo.updated[0].take_back(&after);
        assert!(restored.kept.is_empty() && restored.differs);
        assert_eq!(fingerprint(&restored.customer), fingerprint(&before));
        // Somebody changed two of them since.
        let since =
            Customer { name: Line::parse("Cat").unwrap(), metadata: Json::from_trusted(r#"{"a":9,"c":4}"#), ..after };
        let restored = undo.updated[0].take_back(&since);
        assert_eq!(restored.kept, ["name", "metadata.c"]);
        assert_eq!(
            (restored.customer.name.as_str(), restored.customer.tags.as_slice()),
            ("Cat", &["old".to_owned()][..])
        );
        assert_eq!(restored.customer.metadata.to_value(), json!({"a": 1, "b": 2, "c": 4}));
    }

    #[test]
    fn members_come_back_to_the_last_digit() {
        let written = r#"{"debt":99999999999999.9999,"gone":null,"other":1.50,"stays":12345678901234.5678}"#;
        let before = Customer { custom: values(written), ..customer() };
        let imported = r#"{"debt":99999999999999.9998,"new":1,"other":1.5,"stays":12345678901234.5678}"#;
        let after = Customer { custom: values(imported), ..before.clone() };
        let mut undo = Undo::default();
        undo.add(Some(&before), &after);
        let undo: Undo = serde_json::from_str(&serde_json::to_string(&undo).unwrap()).unwrap();
        let names: Vec<&str> = undo.updated[0].fields.iter().map(|change| change.name.as_str()).collect();
        assert_eq!(names, ["custom.debt", "custom.gone", "custom.new"]);
        let restored = undo.updated[0].take_back(&after);
        assert!(restored.kept.is_empty() && restored.differs);
        let expected = r#"{"debt":99999999999999.9999,"other":1.5,"stays":12345678901234.5678,"gone":null}"#;
        assert_eq!(restored.customer.custom.as_json().as_str(), expected);
        assert_eq!(fingerprint(&restored.customer), fingerprint(&before));
        assert_ne!(fingerprint(&after), fingerprint(&before));
        // Somebody changed the last digit since.
        let since = imported.replace("99.9998", "99.9997");
        let since = Customer { custom: values(&since), ..after };
        let restored = undo.updated[0].take_back(&since);
        assert_eq!(restored.kept, ["custom.debt"]);
        assert!(restored.customer.custom.as_json().as_str().contains("99999999999999.9997"));
    }

    #[test]
    fn values_of_fields_that_are_gone_stay_gone() {
        let before = Customer { custom: values(r#"{"city":"Pune"}"#), visits: 1, ..customer() };
        let after = Customer { custom: values("{}"), visits: 2, ..before.clone() };
        let fields = FieldSet::empty(crate::field::AppliesTo::Customer);
        let (changed, stay) = Changed::of(&before, &after).still_possible(&fields, before.meta.created_at);
        assert_eq!(stay, ["custom.city"]);
        let restored = changed.take_back(&after).customer;
        assert_eq!((restored.visits, restored.custom.as_json().as_str()), (1, "{}"));
    }

    #[test]
    fn a_fingerprint_tells_whether_something_is_said_otherwise() {
        let one = customer();
        let mut other = one.clone();
        other.meta.version = 7;
        assert_eq!(fingerprint(&one), fingerprint(&other));
        other.visits = 1;
        assert_ne!(fingerprint(&one), fingerprint(&other));
    }
}
