use serde_json::value::RawValue;

use super::record::{OrderItem, OrderStatus, Quantity};
use crate::{
    customer::Metadata,
    error::FieldErrors,
    id::CustomerId,
    input::{FromInput, Members, Patch},
    store::Money,
    text::Line,
    time::Timestamp,
};

/// An order has at most so many lines.
pub const MAX_ITEMS: usize = 500;

/// What only the CRM sets: ignored when a record is sent back, refused when one is created.
const READ_ONLY: [&str; 6] = ["id", "organization_id", "version", "created_at", "updated_at", "customer"];

/// The fields a caller may give, as the answer to an unknown one lists them.
const ALLOWED: [&str; 8] = ["customer_id", "external_id", "status", "amount", "items", "date", "custom", "metadata"];

/// What a caller says of an order. What is not named stays as it is; a new order gets its default.
#[derive(Clone, Debug, Default)]
pub struct OrderInput {
    /// See [`super::Order::customer_id`]. Never changes.
    pub customer_id: Patch<CustomerId>,
    /// See [`super::Order::external_id`].
    pub external_id: Patch<Line<200>>,
    /// See [`super::Order::status`].
    pub status: Patch<OrderStatus>,
    /// See [`super::Order::amount`].
    pub amount: Patch<Money>,
    /// See [`super::Order::items`].
    pub items: Patch<Vec<OrderItem>>,
    /// See [`super::Order::date`].
    pub date: Patch<Timestamp>,
    /// Values of custom fields, to be checked against their declarations.
    pub custom: Patch<Box<RawValue>>,
    /// See [`super::Order::metadata`].
    pub metadata: Patch<Metadata>,
    /// What could not be read.
    pub(crate) wrong: FieldErrors,
}

impl OrderInput {
    fn read(mut members: Members<'_>, mut wrong: FieldErrors) -> Self {
        let errors = &mut wrong;
        let input = Self {
            customer_id: field(&mut members, &["customer_id"], errors),
            external_id: field(&mut members, &["external_id"], errors),
            status: field(&mut members, &["status"], errors),
            amount: field(&mut members, &["amount"], errors),
            items: items(&mut members, errors),
            date: field(&mut members, &["date"], errors),
            custom: field(&mut members, &["custom"], errors),
            metadata: field(&mut members, &["metadata"], errors),
            wrong: FieldErrors::new(),
        };
        members.finish(&ALLOWED, &mut wrong);
        Self { wrong, ..input }
    }
}

/// What is already stored may be sent back: fields that only the CRM sets are ignored.
impl FromInput for OrderInput {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        let mut members = Members::parse(json)?;
        members.ignore(&READ_ONLY);
        Ok(Self::read(members, FieldErrors::new()))
    }
}

/// What a caller says of an order that is to be created: fields that only the CRM sets are refused.
#[derive(Clone, Debug, Default)]
pub struct NewOrder(pub OrderInput);

impl FromInput for NewOrder {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        let mut members = Members::parse(json)?;
        let mut wrong = FieldErrors::new();
        members.refuse(&READ_ONLY, &mut wrong);
        Ok(Self(OrderInput::read(members, wrong)))
    }
}

impl FromInput for OrderItem {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        let mut errors = FieldErrors::new();
        let mut members = Members::parse(json)?;
        let sku = members.read::<Option<Line<100>>>(&["sku"], &mut errors).flatten();
        let name = members.read::<Option<Line<300>>>(&["name"], &mut errors).flatten();
        let qty = members.read_or::<Quantity>(&["qty", "quantity"], &mut errors, || Some(Quantity::ONE));
        let price = members.read::<Money>(&["price"], &mut errors);
        members.finish(&["sku", "name", "qty", "price"], &mut errors);
        let name = name.or_else(|| sku.as_ref().and_then(|sku| sku.as_str().parse().ok()));
        if name.is_none() && errors.is_empty() {
            errors.add("name", "REQUIRED", "is required where there is no sku");
        }
        match (name, qty, price) {
            (Some(name), Some(qty), Some(price)) => errors.or(Self { sku, name, qty, price }),
            _ => Err(errors),
        }
    }
}

fn field<T: FromInput>(members: &mut Members<'_>, names: &[&str], errors: &mut FieldErrors) -> Patch<T> {
    members.read::<Patch<T>>(names, errors).unwrap_or_default()
}

fn items(members: &mut Members<'_>, errors: &mut FieldErrors) -> Patch<Vec<OrderItem>> {
    let raw = match field::<Vec<Box<RawValue>>>(members, &["items"], errors) {
        Patch::Set(raw) => raw,
        Patch::Clear => return Patch::Clear,
        Patch::Keep => return Patch::Keep,
    };
    if raw.len() > MAX_ITEMS {
        errors.add("items", "TOO_MANY", format!("must have at most {MAX_ITEMS} elements, not {}", raw.len()));
        return Patch::Keep;
    }
    let read = raw
        .iter()
        .enumerate()
        .filter_map(|(place, item)| errors.take(&format!("items[{place}]"), OrderItem::from_input(item)));
    Patch::Set(read.collect())
}
