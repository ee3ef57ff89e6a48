use std::sync::Arc;

use serde::{Serialize, Serializer, ser::SerializeMap as _};
use serde_json::value::RawValue;

use super::Customer;
use crate::{
    error::{Error, FieldErrors, Result},
    field::FieldSet,
    input::Members,
    list::pick,
};

/// The fields of a customer that an answer can be picked from; retail names count as the fields' own.
pub(crate) const FIELDS: [&str; 33] = [
    "id",
    "name",
    "email",
    "emails",
    "phone",
    "phones",
    "status",
    "type",
    "tags",
    "group_ids",
    "spend",
    "visits",
    "last_active",
    "total_orders",
    "total_order_value",
    "last_order_date",
    "total_complaints",
    "open_complaints",
    "user_id",
    "consent",
    "custom",
    "metadata",
    "owner_id",
    "team_id",
    "deleted_at",
    "organization_id",
    "version",
    "created_at",
    "updated_at",
    "full_name",
    "contact_number",
    "customer_status",
    "customer_type",
];

/// What staff notes about customers, and does not show them.
const STAFF_ONLY: [&str; 5] = ["tags", "group_ids", "metadata", "owner_id", "team_id"];

/// A field's name, and what the retail profile calls it.
pub(crate) const RETAIL: [(&str, &str); 4] =
    [("name", "full_name"), ("phone", "contact_number"), ("status", "customer_status"), ("type", "customer_type")];

/// Which fields of customers are answered, and under which names.
#[derive(Clone, Debug)]
pub struct CustomerShape {
    retail: bool,
    fields: Vec<String>,
    custom: Arc<FieldSet>,
}

impl CustomerShape {
    /// Of a profile (`retail`, or none) and fields (all where there are none).
    ///
    /// # Errors
    /// On `profile` for one that is not there.
    pub(crate) fn new(profile: Option<&str>, fields: Vec<String>, custom: Arc<FieldSet>) -> Result<Self, FieldErrors> {
        let retail = Self::is_retail(profile)?;
        let own = |name: String| {
            let named = RETAIL.iter().find(|(_, retail)| *retail == name);
            named.map_or(name, |(own, _)| (*own).to_owned())
        };
        Ok(Self { retail, fields: fields.into_iter().map(own).collect(), custom })
    }

    /// Whether the profile is the retail one.
    pub(crate) fn is_retail(profile: Option<&str>) -> Result<bool, FieldErrors> {
        match profile {
            None => Ok(false),
            Some("retail") => Ok(true),
            Some(_) => Err(FieldErrors::one("profile", "INVALID_CHOICE", "must be retail, or left out")),
        }
    }

    /// The same for customers themselves: what staff keeps to itself is left out.
    #[must_use]
    pub fn for_themselves(mut self) -> Self {
        let shown = |name: &str| !STAFF_ONLY.contains(&name) && !RETAIL.iter().any(|(_, retail)| *retail == name);
        if self.fields.is_empty() {
            self.fields = FIELDS.into_iter().filter(|name| shown(name)).map(str::to_owned).collect();
        } else {
            self.fields.retain(|name| shown(name));
            if self.fields.is_empty() {
                self.fields.push("id".to_owned());
            }
        }
        self
    }

    /// The customer in this shape.
    ///
    /// # Errors
    /// [`Error::Internal`] where the customer cannot be written.
    pub fn of(&self, mut customer: Customer) -> Result<ShapedCustomer> {
        customer.custom = self.custom.present(&customer.custom);
        if !self.retail && self.fields.is_empty() {
            return Ok(ShapedCustomer::Whole(Box::new(customer)));
        }
        let mut json = if self.fields.is_empty() {
            serde_json::value::to_raw_value(&customer).map_err(Error::internal)?
        } else {
            serde_json::value::to_raw_value(&pick(&customer, &self.fields)?).map_err(Error::internal)?
        };
        if self.retail {
            json = serde_json::value::to_raw_value(&Renamed(&json)).map_err(Error::internal)?;
        }
        Ok(ShapedCustomer::Part(json))
    }
}

/// A customer as it is answered.
#[derive(Clone, Debug)]
pub enum ShapedCustomer {
    /// As it is.
    Whole(Box<Customer>),
    /// Some of its fields, or under other names.
    Part(Box<RawValue>),
}

impl Serialize for ShapedCustomer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Whole(customer) => customer.serialize(serializer),
            Self::Part(json) => json.serialize(serializer),
        }
    }
}

/// An object whose members have their retail names.
struct Renamed<'a>(&'a RawValue);

impl Serialize for Renamed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let members = Members::parse(self.0).map_err(serde::ser::Error::custom)?.into_rest();
        let mut map = serializer.serialize_map(Some(members.len()))?;
        for (name, value) in members {
            let retail = RETAIL.iter().find(|(own, _)| *own == name).map_or(name.as_ref(), |(_, retail)| retail);
            map.serialize_entry(retail, value)?;
        }
        map.end()
    }
}
