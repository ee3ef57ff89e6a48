//! What is kept of a part so that it can be taken back: whom it made, and what it changed of whom, field by field.

use serde::{Deserialize, Serialize};
use serde_json::{Value as JsonValue, json};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::{
    customer::Customer,
    id::CustomerId,
    record::Record as _,
    store::{FieldKind, Json, Row, Value, head},
};

/// What is needed to take a part back.
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
    /// The name of each field that changed, what it was, and what it became.
    pub(super) fields: Vec<(String, JsonValue, JsonValue)>,
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
        hasher.update(to_json(value).to_string());
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
        let (old, new) = (before.to_row(), after.to_row());
        let mut fields = Vec::new();
        let pairs = old.0.iter().zip(&new.0).enumerate().skip(head::UPDATED_AT + 1);
        for (position, (old, new)) in pairs.filter(|(_, (old, new))| old != new) {
            let Some(field) = Customer::COLLECTION.fields.get(position) else { continue };
            match (old, new) {
                // Members are taken back one by one.
                (Value::Json(old), Value::Json(new)) => members(field.name, old, new, &mut fields),
                _ => fields.push((field.name.to_owned(), to_json(old), to_json(new))),
            }
        }
        self.updated.push(Changed { id: after.id, fields });
    }
}

fn members(field: &str, old: &Json, new: &Json, fields: &mut Vec<(String, JsonValue, JsonValue)>) {
    let (old, new) = (old.to_value(), new.to_value());
    let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else { return };
    let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    for key in keys {
        let (old, new) = (old.get(key), new.get(key));
        if old != new {
            let or_null = |value: Option<&JsonValue>| value.cloned().unwrap_or(JsonValue::Null);
            fields.push((format!("{field}.{key}"), or_null(old), or_null(new)));
        }
    }
}

impl Changed {
    /// The customer with every field as it was before that nobody changed since.
    pub(super) fn take_back(&self, now: &Customer) -> Restored {
        let mut row = now.to_row();
        let mut kept = Vec::new();
        let mut differs = false;
        for (name, old, new) in &self.fields {
            let (field, key) = name.split_once('.').map_or((name.as_str(), None), |(field, key)| (field, Some(key)));
            let Some(position) = Customer::COLLECTION.position(field) else { continue };
            let (Some(slot), Some(declared)) = (row.0.get_mut(position), Customer::COLLECTION.fields.get(position))
            else {
                continue;
            };
            let put = match key {
                Some(key) => put_member(slot, key, old, new),
                None if to_json(slot) == *new => of_json(declared.kind, old).map(|value| *slot = value).is_some(),
                None => to_json(slot) == *old,
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
                let kept = self.fields.iter().map(|(name, ..)| name.clone()).collect();
                Restored { customer: now.clone(), kept, differs: false }
            }
        }
    }
}

fn put_member(slot: &mut Value, key: &str, old: &JsonValue, new: &JsonValue) -> bool {
    let Value::Json(json) = slot else { return false };
    let JsonValue::Object(mut members) = json.to_value() else { return false };
    let current = members.get(key).cloned().unwrap_or(JsonValue::Null);
    if current == *old {
        return true;
    }
    if current != *new {
        return false;
    }
    if old.is_null() {
        members.remove(key);
    } else {
        members.insert(key.to_owned(), old.clone());
    }
    *slot = Value::Json(Json::from_value(&JsonValue::Object(members)));
    true
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
        FieldKind::Timestamp => Value::Timestamp(crate::time::Timestamp::from_milliseconds(json.as_i64()?)?),
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
    use crate::{id::OrganizationId, port::SeededRandom, record::Meta, text::Line, time::Timestamp};

    fn customer() -> Customer {
        let now = Timestamp::from_milliseconds(1_767_225_600_000).unwrap();
        let id = crate::id::new_uuid(now, &SeededRandom::new(1));
        Customer::blank(CustomerId(id), Line::parse("Ann").unwrap(), Meta::new(OrganizationId(id), now))
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
    fn a_fingerprint_tells_whether_something_is_said_otherwise() {
        let one = customer();
        let mut other = one.clone();
        other.meta.version = 7;
        assert_eq!(fingerprint(&one), fingerprint(&other));
        other.visits = 1;
        assert_ne!(fingerprint(&one), fingerprint(&other));
    }
}
