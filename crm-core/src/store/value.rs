use std::{fmt, str::FromStr};

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};
use uuid::Uuid;

use crate::time::Timestamp;

/// What a field holds.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum FieldKind {
    /// True or false.
    Bool,
    /// A whole number, 64 bits, signed.
    Integer,
    /// A finite double.
    Number,
    /// An exact amount with 4 places.
    Money,
    /// UTF-8 in normal form C, without NUL.
    Text,
    /// An instant to the millisecond.
    Timestamp,
    /// A day of the calendar in the years 1 to 9999, without a time or zone.
    Date,
    /// A UUID.
    Id,
    /// A list of texts, in order.
    TextList,
    /// Free-form JSON, kept as text.
    Json,
}

/// One value of a row or an operand of a filter.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// Missing.
    #[default]
    Null,
    /// See [`FieldKind::Bool`].
    Bool(bool),
    /// See [`FieldKind::Integer`].
    Integer(i64),
    /// See [`FieldKind::Number`]. Always finite.
    Number(f64),
    /// See [`FieldKind::Money`].
    Money(Money),
    /// See [`FieldKind::Text`].
    Text(String),
    /// See [`FieldKind::Timestamp`].
    Timestamp(Timestamp),
    /// See [`FieldKind::Date`].
    Date(jiff::civil::Date),
    /// See [`FieldKind::Id`].
    Id(Uuid),
    /// See [`FieldKind::TextList`].
    TextList(Vec<String>),
    /// See [`FieldKind::Json`].
    Json(Json),
}

impl Value {
    /// Whether the value is missing.
    #[must_use]
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// What kind the value is; nothing where it is missing.
    #[must_use]
    pub const fn kind(&self) -> Option<FieldKind> {
        Some(match self {
            Self::Null => return None,
            Self::Bool(_) => FieldKind::Bool,
            Self::Integer(_) => FieldKind::Integer,
            Self::Number(_) => FieldKind::Number,
            Self::Money(_) => FieldKind::Money,
            Self::Text(_) => FieldKind::Text,
            Self::Timestamp(_) => FieldKind::Timestamp,
            Self::Date(_) => FieldKind::Date,
            Self::Id(_) => FieldKind::Id,
            Self::TextList(_) => FieldKind::TextList,
            Self::Json(_) => FieldKind::Json,
        })
    }
}

/// The values of one record, in the order its collection declares; `Row.0.len()` is the number of fields.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row(pub Vec<Value>);

impl Row {
    /// The record's id: the first field of every collection.
    #[must_use]
    pub fn id(&self) -> Uuid {
        match self.0.first() {
            Some(Value::Id(id)) => *id,
            _ => Uuid::nil(),
        }
    }

    /// The record's version: see [`super::head`].
    #[must_use]
    pub fn version(&self) -> i64 {
        match self.0.get(super::head::VERSION) {
            Some(Value::Integer(version)) => *version,
            _ => 0,
        }
    }
}

/// An exact amount of money: ± 99,999,999,999,999.9999, in ten-thousandths. The currency is the organization's.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Money(i64);

/// The number is no amount of money that can be kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be a decimal number with at most 4 places, between -99999999999999.9999 and 99999999999999.9999")]
pub struct MoneyError;

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount.
    pub const MAX: Self = Self(999_999_999_999_999_999);
    /// The smallest amount.
    pub const MIN: Self = Self(-Self::MAX.0);

    /// So many ten-thousandths, if in range.
    #[must_use]
    pub const fn from_ten_thousandths(amount: i64) -> Option<Self> {
        if amount < Self::MIN.0 || amount > Self::MAX.0 { None } else { Some(Self(amount)) }
    }

    /// The amount in ten-thousandths.
    #[must_use]
    pub const fn as_ten_thousandths(self) -> i64 {
        self.0
    }

    /// The sum, if in range.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Self::from_ten_thousandths(sum),
            None => None,
        }
    }

    /// The amount as a decimal without needless zeros.
    #[must_use]
    pub fn to_decimal(self) -> Decimal {
        Decimal::new(self.0, 4).normalize()
    }
}

impl TryFrom<Decimal> for Money {
    type Error = MoneyError;

    fn try_from(decimal: Decimal) -> Result<Self, MoneyError> {
        let decimal = decimal.normalize();
        if decimal.scale() > 4 {
            return Err(MoneyError);
        }
        let scaled = decimal.mantissa().checked_mul(10_i128.pow(4 - decimal.scale())).ok_or(MoneyError)?;
        i64::try_from(scaled).ok().and_then(Self::from_ten_thousandths).ok_or(MoneyError)
    }
}

impl FromStr for Money {
    type Err = MoneyError;

    /// Reads a JSON number, also with an exponent.
    fn from_str(text: &str) -> Result<Self, MoneyError> {
        if text.is_empty() || text.len() > 64 || text.contains(['_', '+']) && !text.contains(['e', 'E']) {
            return Err(MoneyError);
        }
        let decimal =
            if text.contains(['e', 'E']) { Decimal::from_scientific(text) } else { Decimal::from_str_exact(text) };
        decimal.map_err(|_| MoneyError)?.try_into()
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_decimal().fmt(f)
    }
}

impl Serialize for Money {
    /// Writes a JSON number with every digit; other formats get a text.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw = serde_json::value::RawValue::from_string(self.to_string()).map_err(S::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Money {
    /// Reads the digits of a JSON number themselves, so that no binary float comes between.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&serde_json::value::RawValue>::deserialize(deserializer)?;
        raw.get().parse().map_err(D::Error::custom)
    }
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for Money {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::Number)
            .description(Some("An exact decimal with at most 4 places, in the organization's currency."))
            .examples([serde_json::json!(1249.5)])
            .build()
            .into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for Money {}

/// JSON as text: valid, compact, numbers being i64 or finite doubles; parsed when someone looks inside. Equal is what
/// means the same: engines need not keep the order of members.
#[derive(Clone, Debug)]
pub struct Json(Box<str>);

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0 || self.to_value() == other.to_value()
    }
}

// JSON has no number that differs from itself.
impl Eq for Json {}

impl Json {
    /// Writes a value down.
    #[must_use]
    pub fn from_value(value: &serde_json::Value) -> Self {
        Self(value.to_string().into_boxed_str())
    }

    /// Takes text that is known to be valid JSON, such as what a store kept.
    #[must_use]
    pub fn from_trusted(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Looks inside. Text that is no JSON reads as `null`.
    #[must_use]
    pub fn to_value(&self) -> serde_json::Value {
        serde_json::from_str(&self.0).unwrap_or_default()
    }
}

impl Default for Json {
    fn default() -> Self {
        Self("{}".into())
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &serde_json::value::RawValue = serde_json::from_str(&self.0).map_err(S::Error::custom)?;
        raw.serialize(serializer)
    }
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for Json {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new().description(Some("Free-form JSON.")).build().into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for Json {}

#[cfg(test)]
mod tests {
    use super::Json;

    #[test]
    fn json_is_equal_that_means_the_same() {
        let json = Json::from_trusted(r#"{"a":1,"b":{"c":[1,2],"d":null}}"#);
        assert_eq!(json, Json::from_trusted(r#"{"b": {"d": null, "c": [1, 2]}, "a": 1}"#));
        for other in [r#"{"a":1.0,"b":{"c":[1,2],"d":null}}"#, r#"{"a":1,"b":{"c":[2,1],"d":null}}"#, r#"{"a":1}"#] {
            assert_ne!(json, Json::from_trusted(other), "{other}");
        }
    }
}
