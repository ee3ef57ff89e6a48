use rust_decimal::{Decimal, RoundingStrategy};
use serde::Serialize;

use super::rfm::{Cuts, Rfm};
use crate::{
    access::{Principal, permissions},
    crm::Crm,
    customer::Customer,
    error::Result,
    id::CustomerId,
    order::{Order, OrderStatus},
    store::{Money, Query},
    time::Timestamp,
};

/// What customers of an organization come to.
#[derive(Clone, Copy, Debug)]
pub struct Statistics<'a> {
    pub(super) crm: &'a Crm,
}

impl Crm {
    /// What customers come to.
    #[must_use]
    pub const fn statistics(&self) -> Statistics<'_> {
        Statistics { crm: self }
    }
}

/// What a customer comes to.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(example = json!({
    "customer_id": "0198c1de-5f00-7000-8000-000000000001", "total_orders": 4, "total_order_value": 250,
    "average_order_value": 62.5, "first_order_date": "2025-02-01T10:00:00.000Z",
    "last_order_date": "2026-01-30T17:05:00.000Z", "spend": 1249.5, "visits": 12,
    "last_active": "2026-01-30T17:05:00.000Z", "total_complaints": 1, "open_complaints": 0,
    "rfm": {"recency_days": 9, "frequency": 12, "monetary": 1249.5, "recency_score": 5, "frequency_score": 4,
        "monetary_score": 5, "score": "545"}, "as_of": "2026-02-09T08:00:00.000Z"
})))]
pub struct CustomerStatistics {
    /// The customer.
    pub customer_id: CustomerId,
    /// How many orders there are, those left out that were cancelled or refunded.
    pub total_orders: i64,
    /// What the orders come to.
    pub total_order_value: Money,
    /// What one of them comes to, rounded to 4 places; absent without orders.
    pub average_order_value: Option<Money>,
    /// When the first order was that is kept here.
    pub first_order_date: Option<Timestamp>,
    /// When the last order was.
    pub last_order_date: Option<Timestamp>,
    /// What the customer has spent: an opening amount and the orders since.
    pub spend: Money,
    /// How often the customer has been here: an opening number and the orders since.
    pub visits: i64,
    /// When the customer last did something.
    pub last_active: Option<Timestamp>,
    /// How many complaints there have been.
    pub total_complaints: i64,
    /// How many of them are open.
    pub open_complaints: i64,
    /// How recently, how often and for how much the customer buys; absent where nothing is known, and for customers
    /// themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rfm: Option<Rfm>,
    /// When this was so.
    pub as_of: Timestamp,
}

impl Statistics<'_> {
    /// What the customer with the id comes to.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`] where there is none in sight, [`crate::Error::Forbidden`] without `customers:read`.
    pub async fn of(&self, by: &Principal, id: CustomerId) -> Result<CustomerStatistics> {
        let customer = self.crm.customers().get(by, id).await?;
        let cuts = Cuts::of(self.crm, by).await?;
        let mut statistics = self.read(by, &customer).await?;
        statistics.rfm = Rfm::of(&customer, &cuts, statistics.as_of);
        Ok(statistics)
    }

    /// What the person who acts comes to, without scores.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`] where the login has no customer record, [`crate::Error::Forbidden`] without
    /// `self:customer`.
    pub async fn me(&self, by: &Principal) -> Result<CustomerStatistics> {
        by.may(permissions::SELF_CUSTOMER)?;
        let customer = self.crm.customers().me(by).await?;
        self.read(by, &customer).await
    }

    async fn read(&self, by: &Principal, customer: &Customer) -> Result<CustomerStatistics> {
        let counting = OrderStatus::ALL.into_iter().filter(|status| status.counts());
        let filter = Order::customer_id.equals(customer.id).and(Order::status.one_of(counting));
        let first = Query::new(filter, 1).sorted(vec![Order::date.ascending()]);
        let first = self.crm.repo::<Order>().find(by.scope(), &first).await?.records;
        Ok(CustomerStatistics {
            customer_id: customer.id,
            total_orders: customer.total_orders,
            total_order_value: customer.total_order_value,
            average_order_value: average(customer.total_order_value, customer.total_orders),
            first_order_date: first.first().map(|order| order.date),
            last_order_date: customer.last_order_date,
            spend: customer.spend,
            visits: customer.visits,
            last_active: customer.last_active,
            total_complaints: customer.total_complaints,
            open_complaints: customer.open_complaints,
            rfm: None,
            as_of: self.crm.now(),
        })
    }
}

/// What one of so many comes to.
pub(super) fn average(value: Money, number: i64) -> Option<Money> {
    let each = value.to_decimal().checked_div(Decimal::from(number))?;
    each.round_dp_with_strategy(4, RoundingStrategy::MidpointNearestEven).try_into().ok()
}
