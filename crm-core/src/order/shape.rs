use std::{collections::HashMap, sync::Arc};

use serde::Serialize;

use super::Order;
use crate::{
    customer::{Customer, CustomerShape, ShapedCustomer},
    error::Result,
    field::FieldSet,
    id::CustomerId,
    list::{Picked, pick},
};

/// The fields of an order that an answer can be picked from.
pub(super) const FIELDS: [&str; 13] = [
    "id",
    "customer_id",
    "external_id",
    "status",
    "amount",
    "items",
    "date",
    "custom",
    "metadata",
    "organization_id",
    "version",
    "created_at",
    "updated_at",
];

/// What may be joined.
pub(super) const INCLUDE: [&str; 1] = [CUSTOMER];
const CUSTOMER: &str = "customer";

/// Which fields of orders are answered, and what is joined.
#[derive(Clone, Debug)]
pub struct OrderShape {
    fields: Vec<String>,
    custom: Arc<FieldSet>,
    customer: Option<CustomerShape>,
}

impl OrderShape {
    pub(super) fn new(mut fields: Vec<String>, custom: Arc<FieldSet>, customer: Option<CustomerShape>) -> Self {
        if !fields.is_empty() && customer.is_some() {
            fields.push(CUSTOMER.to_owned());
        }
        Self { fields, custom, customer }
    }

    /// Whether customers are joined.
    pub(super) const fn joins(&self) -> bool {
        self.customer.is_some()
    }

    /// The order in this shape. `customers` are those to be joined.
    pub(super) fn of(&self, mut order: Order, customers: &HashMap<CustomerId, Customer>) -> Result<ShapedOrder> {
        order.custom = self.custom.present(&order.custom);
        let customer = match &self.customer {
            None => None,
            Some(shape) => {
                let customer = customers.get(&order.customer_id).cloned();
                Some(customer.map(|customer| shape.of(customer)).transpose()?)
            }
        };
        let whole = WithCustomer { order, customer };
        if self.fields.is_empty() {
            return Ok(ShapedOrder(Shape::Whole(Box::new(whole))));
        }
        Ok(ShapedOrder(Shape::Part(pick(&whole, &self.fields)?)))
    }
}

/// An order as it is answered.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct ShapedOrder(Shape);

#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
enum Shape {
    Whole(Box<WithCustomer>),
    Part(Picked),
}

#[derive(Clone, Debug, Serialize)]
struct WithCustomer {
    #[serde(flatten)]
    order: Order,
    /// `null` where the customer is in the bin.
    #[serde(skip_serializing_if = "Option::is_none")]
    customer: Option<Option<ShapedCustomer>>,
}
