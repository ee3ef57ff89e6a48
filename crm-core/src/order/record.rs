use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::{
    access::{Actor, Principal, Visibility},
    error::FieldErrors,
    field::CustomValues,
    id::{CustomerId, TeamId, UserId},
    input::{FromInput, text},
    record::{DecodeError, FieldType, Meta, Record},
    repo::Visible,
    store::{FieldKind, Filter, Json, Money, Value},
    text::Line,
    time::Timestamp,
};

crate::record_ids! {
    /// An order.
    OrderId,
}

/// Something that a customer has bought.
#[derive(Clone, Debug, PartialEq, Record, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(example = json!({
    "id": "0198c1de-5f00-7000-8000-0000000000b1", "customer_id": "0198c1de-5f00-7000-8000-000000000001",
    "external_id": "SHOP-1001", "status": "paid", "amount": 59.97,
    "items": [{"sku": "MUG-1", "name": "Mug", "qty": 3, "price": 19.99}],
    "date": "2026-01-30T17:05:00.000Z", "custom": {}, "metadata": {"source": "web shop"},
    "organization_id": "0198c1de-5f00-7000-8000-0000000000aa", "version": 1,
    "created_at": "2026-01-30T17:05:01.000Z", "updated_at": "2026-01-30T17:05:01.000Z"
})))]
#[record(
    collection = "orders",
    search(external_id),
    unique(external_id),
    index(customer_id, -date, covers(amount, status)),
    index(-date, covers(customer_id, amount, status)),
    index(status, -date),
    index(owner_id, -date),
    index(team_id, -date)
)]
pub struct Order {
    /// The order's id.
    pub id: OrderId,
    /// Who has bought.
    pub customer_id: CustomerId,
    /// What the order is called where it was made; no other order of the organization has it.
    #[record(folded)]
    pub external_id: Option<Line<200>>,
    /// How far it is. All but `cancelled` and `refunded` ones count in the customer's figures.
    pub status: OrderStatus,
    /// What it comes to: the exact sum of its items, where there are any.
    pub amount: Money,
    /// What was bought.
    pub items: OrderItems,
    /// When it was made.
    pub date: Timestamp,
    /// Values of the organization's custom fields.
    #[record(custom)]
    pub custom: CustomValues,
    /// Free-form JSON of the caller's own.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub metadata: Json,
    /// Who looks after the customer: kept here too, so that a list of orders in sight has an index.
    #[serde(skip)]
    pub owner_id: Option<UserId>,
    /// The team that looks after the customer.
    #[serde(skip)]
    pub team_id: Option<TeamId>,
    /// Version and times.
    #[serde(flatten)]
    pub meta: Meta,
}

/// How far an order is. Any status may follow any other: the CRM is told what a shop has decided.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    /// It was made; no more is known.
    #[default]
    Placed,
    /// It waits for its payment.
    Pending,
    /// It is paid.
    Paid,
    /// It is being made ready.
    Processing,
    /// It is on its way.
    Shipped,
    /// It has arrived.
    Delivered,
    /// Everything is done.
    Completed,
    /// It was called off. It does not count.
    Cancelled,
    /// Its payment was given back. It does not count.
    Refunded,
}

impl OrderStatus {
    /// Every status.
    pub const ALL: [Self; 9] = [
        Self::Placed,
        Self::Pending,
        Self::Paid,
        Self::Processing,
        Self::Shipped,
        Self::Delivered,
        Self::Completed,
        Self::Cancelled,
        Self::Refunded,
    ];

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Placed => "placed",
            Self::Pending => "pending",
            Self::Paid => "paid",
            Self::Processing => "processing",
            Self::Shipped => "shipped",
            Self::Delivered => "delivered",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::Refunded => "refunded",
        }
    }

    /// Whether an order of this status counts in its customer's figures.
    #[must_use]
    pub const fn counts(self) -> bool {
        !matches!(self, Self::Cancelled | Self::Refunded)
    }
}

/// There is no status of that name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be one of placed, pending, paid, processing, shipped, delivered, completed, cancelled, refunded")]
pub struct UnknownOrderStatus;

crate::record::named_types! {
    OrderStatus, UnknownOrderStatus;
}

impl FromInput for OrderStatus {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        let name = text(json)?;
        // The other spelling of the word.
        let name = if name == "canceled" { Self::Cancelled.name() } else { &*name };
        name.parse().map_err(|unknown: UnknownOrderStatus| FieldErrors::one("", "INVALID_CHOICE", unknown.to_string()))
    }
}

/// One line of an order.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OrderItem {
    /// The seller's own number of the thing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sku: Option<Line<100>>,
    /// What it is called; the `sku` where nothing is said.
    pub name: Line<300>,
    /// How many or how much of it.
    pub qty: Quantity,
    /// What one of it costs. Less than nothing for a discount.
    pub price: Money,
}

/// The lines of an order, in the order given.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct OrderItems(pub Vec<OrderItem>);

/// How many or how much: an exact decimal with at most 4 places, more than 0.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Quantity(Money);

impl Quantity {
    /// One.
    pub const ONE: Self = match Money::from_ten_thousandths(10_000) {
        Some(one) => Self(one),
        None => Self(Money::MAX),
    };
    /// The largest quantity: a thousand millions.
    pub const MAX_TEN_THOUSANDTHS: i64 = 10_000_000_000_000;

    /// So many ten-thousandths, if in range.
    #[must_use]
    pub const fn from_ten_thousandths(quantity: i64) -> Option<Self> {
        if quantity < 1 || quantity > Self::MAX_TEN_THOUSANDTHS {
            return None;
        }
        match Money::from_ten_thousandths(quantity) {
            Some(quantity) => Some(Self(quantity)),
            None => None,
        }
    }

    /// The quantity in ten-thousandths.
    #[must_use]
    pub const fn as_ten_thousandths(self) -> i64 {
        self.0.as_ten_thousandths()
    }
}

impl std::fmt::Display for Quantity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl FromInput for Quantity {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        let quantity = Money::from_input(json)
            .map_err(|_| FieldErrors::one("", "INVALID_TYPE", "must be a decimal number with at most 4 places"))?;
        Self::from_ten_thousandths(quantity.as_ten_thousandths())
            .ok_or_else(|| FieldErrors::one("", "OUT_OF_RANGE", "must be more than 0 and at most 1000000000"))
    }
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for Quantity {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::Number)
            .description(Some("An exact decimal with at most 4 places, more than 0 and at most 1,000,000,000."))
            .examples([serde_json::json!(3)])
            .build()
            .into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for Quantity {}

/// A line as it is stored: decimals are texts, because a number in JSON is a double to some engines.
#[derive(Deserialize, Serialize)]
struct StoredItem<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sku: Option<std::borrow::Cow<'a, str>>,
    name: std::borrow::Cow<'a, str>,
    qty: std::borrow::Cow<'a, str>,
    price: std::borrow::Cow<'a, str>,
}

impl FieldType for OrderItems {
    const KIND: FieldKind = FieldKind::Json;

    fn to_value(&self) -> Value {
        let stored: Vec<StoredItem<'_>> = self
            .0
            .iter()
            .map(|item| StoredItem {
                sku: item.sku.as_ref().map(|sku| sku.as_str().into()),
                name: item.name.as_str().into(),
                qty: item.qty.to_string().into(),
                price: item.price.to_string().into(),
            })
            .collect();
        Value::Json(Json::from_trusted(serde_json::to_string(&stored).unwrap_or_else(|_| "[]".to_owned())))
    }

    fn from_value(value: Value) -> Result<Self, DecodeError> {
        const EXPECTED: DecodeError = DecodeError::expected("a list of order lines");
        let Value::Json(json) = value else { return Err(EXPECTED) };
        let stored: Vec<StoredItem<'_>> = serde_json::from_str(json.as_str()).map_err(|_| EXPECTED)?;
        let read = |item: StoredItem<'_>| {
            let quantity: Money = item.qty.parse().ok()?;
            Some(OrderItem {
                sku: item.sku.map(|sku| sku.parse()).transpose().ok()?,
                name: item.name.parse().ok()?,
                qty: Quantity::from_ten_thousandths(quantity.as_ten_thousandths())?,
                price: item.price.parse().ok()?,
            })
        };
        stored.into_iter().map(read).collect::<Option<_>>().map(Self).ok_or(EXPECTED)
    }
}

impl Visible for Order {
    /// The orders of the customers that the principal's visibility reaches.
    fn visible_to(principal: &Principal) -> Filter {
        let user = match principal.actor {
            Actor::User(user) => Some(user),
            Actor::ApiKey(_) | Actor::Service | Actor::System => None,
        };
        match principal.visibility {
            Visibility::All => Filter::ALL,
            Visibility::Team => {
                let team = principal.team.map(|team| Self::team_id.equals(team));
                let own = user.map(|user| Self::owner_id.equals(user));
                Filter::Or(team.into_iter().chain(own).collect())
            }
            // Whose a login's customer is stands in the customer, not in its orders.
            Visibility::Own => Filter::NONE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_stored_with_every_digit() {
        let item = |sku: Option<&str>, quantity: i64, price: i64| OrderItem {
            sku: sku.map(|sku| sku.parse().unwrap()),
            name: "Kaffee, gemahlen".parse().unwrap(),
            qty: Quantity::from_ten_thousandths(quantity).unwrap(),
            price: Money::from_ten_thousandths(price).unwrap(),
        };
        let items = OrderItems(vec![
            item(Some("K-1"), 1, 999_999_999_999_999_999),
            item(None, Quantity::MAX_TEN_THOUSANDTHS, -999_999_999_999_999_999),
        ]);
        assert_eq!(OrderItems::from_value(items.to_value()), Ok(items.clone()));
        assert_eq!(OrderItems::from_value(Value::Json(Json::from_trusted("[]"))), Ok(OrderItems::default()));
        let shown = serde_json::to_string(&items).unwrap();
        assert!(
            shown.starts_with(r#"[{"sku":"K-1","name":"Kaffee, gemahlen","qty":0.0001,"price":99999999999999.9999}"#)
        );
        for text in ["{}", r#"[{"name":"x","qty":"0","price":"1"}]"#, r#"[{"name":"x","qty":1,"price":1}]"#] {
            assert!(OrderItems::from_value(Value::Json(Json::from_trusted(text))).is_err(), "{text}");
        }
    }

    #[test]
    fn all_but_orders_called_off_count() {
        let not_counted: Vec<&str> =
            OrderStatus::ALL.into_iter().filter(|status| !status.counts()).map(OrderStatus::name).collect();
        assert_eq!(not_counted, ["cancelled", "refunded"]);
        for status in OrderStatus::ALL {
            assert_eq!(status.name().parse(), Ok(status));
            assert!(UnknownOrderStatus.to_string().contains(status.name()));
        }
    }
}
