//! A small collection for the tests of this module.

use uuid::Uuid;

use crate::{
    record::HEAD,
    store::{Collection, Field, FieldKind, FieldRef, Json, Money, Placement, Row, Value},
    time::Timestamp,
};

const fn field(name: &'static str, kind: FieldKind, optional: bool) -> Field {
    Field { name, kind, optional, folded: matches!(kind, FieldKind::Text), custom: matches!(kind, FieldKind::Json) }
}

pub(in crate::store) static EXAMPLE: Collection = Collection {
    name: "example",
    placement: Placement::Tenant,
    fields: &[
        HEAD[0],
        HEAD[1],
        HEAD[2],
        HEAD[3],
        HEAD[4],
        field("count", FieldKind::Integer, true),
        field("ratio", FieldKind::Number, true),
        field("price", FieldKind::Money, true),
        field("name", FieldKind::Text, true),
        field("seen_at", FieldKind::Timestamp, true),
        field("labels", FieldKind::TextList, true),
        field("parent_id", FieldKind::Id, true),
        field("fields", FieldKind::Json, true),
    ],
    unique: &[],
    indexes: &[],
    search: &["name", "labels"],
};

pub(in crate::store) const COUNT: usize = 5;
pub(in crate::store) const RATIO: usize = 6;
pub(in crate::store) const PRICE: usize = 7;
pub(in crate::store) const NAME: usize = 8;
pub(in crate::store) const SEEN_AT: usize = 9;
pub(in crate::store) const LABELS: usize = 10;
pub(in crate::store) const PARENT_ID: usize = 11;
pub(in crate::store) const FIELDS: usize = 12;

/// A row in which only these fields are there.
pub(in crate::store) fn row(id: u128, present: impl IntoIterator<Item = (usize, Value)>) -> Row {
    let now = Value::Timestamp(Timestamp::default());
    let mut row =
        Row(vec![Value::Id(Uuid::from_u128(id)), Value::Id(Uuid::nil()), Value::Integer(1), now.clone(), now]);
    row.0.resize(EXAMPLE.fields.len(), Value::Null);
    for (position, value) in present {
        row.0[position] = value;
    }
    row
}

pub(in crate::store) fn declared(position: usize) -> FieldRef {
    FieldRef::declared(EXAMPLE.fields[position].name, EXAMPLE.fields[position].kind)
}

pub(in crate::store) fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

pub(in crate::store) fn list(elements: &[&str]) -> Value {
    Value::TextList(elements.iter().map(|element| (*element).to_owned()).collect())
}

pub(in crate::store) fn money(ten_thousandths: i64) -> Value {
    Value::Money(Money::from_ten_thousandths(ten_thousandths).unwrap())
}

pub(in crate::store) fn json(json: &str) -> Value {
    Value::Json(Json::from_trusted(json))
}

pub(in crate::store) fn instant(milliseconds: i64) -> Value {
    Value::Timestamp(Timestamp::from_milliseconds(milliseconds).unwrap())
}
