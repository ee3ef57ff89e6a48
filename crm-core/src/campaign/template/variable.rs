//! What a message can name, and what it stands for.

use std::{collections::HashMap, str::FromStr as _};

use serde_json::value::RawValue;

use super::{RenderContext, filter, scan::Tag};
use crate::{
    customer::Customer,
    error::FieldErrors,
    field::{CustomFieldType, FieldSet},
    store::Money,
    time::Timestamp,
};

/// How many custom fields a refusal names.
const MOST_NAMED: usize = 20;
/// Names that are less alike than this are not proposed.
const ALIKE: f64 = 0.8;

/// What a variable stands for, before it is looked up.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Variable {
    Declared(Declared),
    Custom { key: String, r#type: CustomFieldType },
}

/// A variable that every organization has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Declared {
    Id,
    Name,
    FirstName,
    Email,
    Phone,
    Status,
    Type,
    Spend,
    Visits,
    LastActive,
    TotalOrders,
    TotalOrderValue,
    LastOrderDate,
    CreatedAt,
    Organization,
    UnsubscribeUrl,
}

/// Every declared variable, in the order in which they are proposed.
const DECLARED: [(&str, Declared); 16] = [
    ("name", Declared::Name),
    ("first_name", Declared::FirstName),
    ("email", Declared::Email),
    ("phone", Declared::Phone),
    ("status", Declared::Status),
    ("type", Declared::Type),
    ("spend", Declared::Spend),
    ("visits", Declared::Visits),
    ("last_active", Declared::LastActive),
    ("total_orders", Declared::TotalOrders),
    ("total_order_value", Declared::TotalOrderValue),
    ("last_order_date", Declared::LastOrderDate),
    ("created_at", Declared::CreatedAt),
    ("id", Declared::Id),
    ("organization", Declared::Organization),
    ("unsubscribe_url", Declared::UnsubscribeUrl),
];

/// Other names of the same, as rules know them.
const ALIASES: [(&str, Declared); 6] = [
    ("full_name", Declared::Name),
    ("contact_number", Declared::Phone),
    ("customer_status", Declared::Status),
    ("customer_type", Declared::Type),
    ("order_count", Declared::TotalOrders),
    ("order_total", Declared::TotalOrderValue),
];

/// What kind of value a variable has, for the filters that do not take every one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Text,
    Number,
    Date,
    Instant,
}

/// What the messages of an organization can name.
#[derive(Clone, Debug, Default)]
pub struct Vocabulary {
    custom: Vec<(String, CustomFieldType)>,
}

impl Vocabulary {
    /// With the custom fields of customers that can be written now.
    #[must_use]
    pub fn of(fields: &FieldSet) -> Self {
        Self { custom: fields.live().map(|field| (field.key.clone(), field.r#type)).collect() }
    }

    /// With these custom fields.
    #[cfg(test)]
    pub(super) fn with(custom: &[(&str, CustomFieldType)]) -> Self {
        Self { custom: custom.iter().map(|(key, r#type)| ((*key).to_owned(), *r#type)).collect() }
    }

    /// The names of everything that can be named.
    pub fn names(&self) -> impl Iterator<Item = String> {
        let declared = DECLARED.iter().map(|(name, _)| (*name).to_owned());
        declared.chain(self.custom.iter().map(|(key, _)| format!("custom.{key}")))
    }

    pub(super) fn find(&self, tag: &Tag) -> Result<Variable, FieldErrors> {
        let name = tag.name.strip_prefix("customer.").unwrap_or(&tag.name);
        if let Some(key) = name.strip_prefix("custom.")
            && let Some((key, r#type)) = self.custom.iter().find(|(known, _)| known == key)
        {
            return Ok(Variable::Custom { key: key.clone(), r#type: *r#type });
        }
        let declared = DECLARED.iter().chain(&ALIASES).find(|(known, _)| *known == name);
        declared.map(|(_, declared)| Variable::Declared(*declared)).ok_or_else(|| self.unknown(name, tag.position))
    }

    fn unknown(&self, name: &str, position: usize) -> FieldErrors {
        let shown: String = name.chars().take(64).collect();
        let likeness = |known: &String| strsim::jaro_winkler(known, &shown);
        let nearest = self
            .names()
            // `{{city}}` means `custom.city` more often than not.
            .max_by(|one, other| likeness(one).total_cmp(&likeness(other)))
            .filter(|known| likeness(known) >= ALIKE);
        let bare = self.custom.iter().find(|(key, _)| *key == shown).map(|(key, _)| format!("custom.{key}"));
        let hint = bare.or(nearest).map(|known| format!(" did you mean {{{{{known}}}}}?")).unwrap_or_default();
        let mut known: Vec<String> = self.names().take(DECLARED.len() + MOST_NAMED).collect();
        if self.custom.len() > MOST_NAMED {
            known.push(format!("{} more custom fields", self.custom.len() - MOST_NAMED));
        }
        let message = format!(
            "{{{{{shown}}}}} at character {position} is nothing that a message can name:{hint} Known are {}.",
            known.join(", ")
        );
        FieldErrors::one("", "UNKNOWN_VARIABLE", message)
    }
}

/// The custom values of one customer, each as JSON.
pub(super) type CustomMembers<'a> = HashMap<String, &'a RawValue>;

/// None where the column was changed from outside into something else.
pub(super) fn members(customer: &Customer) -> CustomMembers<'_> {
    serde_json::from_str(customer.custom.as_json().as_str()).unwrap_or_default()
}

/// A value on its way into a message.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shown {
    Nothing,
    Text(String),
    Amount(Money),
    Date(jiff::civil::Date),
    Instant(Timestamp),
}

impl From<Option<String>> for Shown {
    fn from(text: Option<String>) -> Self {
        text.filter(|text| !text.trim().is_empty()).map_or(Self::Nothing, Self::Text)
    }
}

impl Shown {
    /// As it is written where no filter says otherwise: an instant as the day that it is in the organization's time zone.
    pub(super) fn into_text(self, context: &RenderContext<'_>) -> String {
        match self {
            Self::Nothing => String::new(),
            Self::Text(text) => text,
            Self::Amount(amount) => amount.to_string(),
            Self::Date(date) => date.to_string(),
            Self::Instant(instant) => filter::zoned(instant, context).date().to_string(),
        }
    }
}

impl Variable {
    pub(super) const fn is_custom(&self) -> bool {
        matches!(self, Self::Custom { .. })
    }

    pub(super) const fn kind(&self) -> Kind {
        match self {
            Self::Declared(Declared::Spend | Declared::Visits | Declared::TotalOrders | Declared::TotalOrderValue)
            | Self::Custom { r#type: CustomFieldType::Number | CustomFieldType::Money, .. } => Kind::Number,
            Self::Declared(Declared::LastActive | Declared::LastOrderDate | Declared::CreatedAt)
            | Self::Custom { r#type: CustomFieldType::Datetime, .. } => Kind::Instant,
            Self::Custom { r#type: CustomFieldType::Date, .. } => Kind::Date,
            _ => Kind::Text,
        }
    }

    pub(super) fn of(&self, customer: &Customer, custom: &CustomMembers<'_>, context: &RenderContext<'_>) -> Shown {
        let text = |text: &str| Shown::from(Some(text.to_owned()));
        let instant = |instant: Option<Timestamp>| instant.map_or(Shown::Nothing, Shown::Instant);
        match self {
            Self::Custom { key, r#type } => custom.get(key).map_or(Shown::Nothing, |json| stored(json, *r#type)),
            Self::Declared(declared) => match declared {
                Declared::Id => text(&customer.id.to_string()),
                Declared::Name => text(&customer.name),
                Declared::FirstName => Shown::from(customer.name.split_whitespace().next().map(str::to_owned)),
                Declared::Email => Shown::from(customer.email.as_ref().map(|email| email.as_str().to_owned())),
                Declared::Phone => Shown::from(customer.phone.as_ref().map(|phone| phone.as_str().to_owned())),
                Declared::Status => text(customer.status.name()),
                Declared::Type => text(&customer.r#type),
                Declared::Spend => Shown::Amount(customer.spend),
                Declared::Visits => text(&customer.visits.to_string()),
                Declared::LastActive => instant(customer.last_active),
                Declared::TotalOrders => text(&customer.total_orders.to_string()),
                Declared::TotalOrderValue => Shown::Amount(customer.total_order_value),
                Declared::LastOrderDate => instant(customer.last_order_date),
                Declared::CreatedAt => instant(Some(customer.meta.created_at)),
                Declared::Organization => text(&context.organization.name),
                Declared::UnsubscribeUrl => Shown::from(context.unsubscribe_url.map(str::to_owned)),
            },
        }
    }
}

/// A custom value as it is stored. What no longer fits its type is written as it is, or not at all.
fn stored(json: &RawValue, r#type: CustomFieldType) -> Shown {
    let Ok(value) = serde_json::from_str::<serde_json::Value>(json.get()) else { return Shown::Nothing };
    let text = match value {
        serde_json::Value::Null | serde_json::Value::Object(_) => return Shown::Nothing,
        serde_json::Value::Array(items) => {
            let items: Vec<String> = items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect();
            return Shown::from(Some(items.join(", ")));
        }
        serde_json::Value::String(text) => text,
        serde_json::Value::Bool(value) => value.to_string(),
        // Every digit as it was given.
        serde_json::Value::Number(_) => json.get().to_owned(),
    };
    match r#type {
        CustomFieldType::Date => text.parse().map_or(Shown::Nothing, Shown::Date),
        CustomFieldType::Datetime => {
            let instant = text.parse().ok().and_then(Timestamp::from_milliseconds);
            instant.map_or(Shown::Nothing, Shown::Instant)
        }
        CustomFieldType::Money | CustomFieldType::Number => {
            Money::from_str(&text).map_or_else(|_| Shown::from(Some(text)), Shown::Amount)
        }
        _ => Shown::from(Some(text)),
    }
}
