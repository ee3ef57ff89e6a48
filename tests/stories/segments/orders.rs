//! Orders for stories about segments.

use crm_core::{
    access::Principal,
    field::CustomValues,
    operation::Operation,
    order::{Order, OrderItems, OrderStatus},
    record::Meta,
    store::{Json, Money},
    time::Timestamp,
};

use crate::support::{App, Organization};

/// An order of so many ten-thousandths.
pub(super) struct Bought<'a> {
    pub(super) customer: &'a str,
    pub(super) amount: i64,
    pub(super) status: OrderStatus,
    pub(super) date: Timestamp,
    pub(super) external_id: Option<String>,
}

/// Keeps orders as they are, without touching the figures of their customers.
pub(super) async fn keep(app: &App, shop: &Organization, bought: impl IntoIterator<Item = Bought<'_>>) {
    let by = Principal::system(shop.id().await.parse().expect("an id"));
    let now = app.crm.now();
    let orders: Vec<Order> = bought
        .into_iter()
        .map(|bought| Order {
            id: app.crm.new_id(),
            customer_id: bought.customer.parse().expect("an id"),
            external_id: bought.external_id.map(|id| id.parse().expect("a line")),
            status: bought.status,
            amount: Money::from_ten_thousandths(bought.amount).expect("an amount"),
            items: OrderItems::default(),
            date: bought.date,
            custom: CustomValues::default(),
            metadata: Json::default(),
            owner_id: None,
            team_id: None,
            meta: Meta::new(by.organization, now),
        })
        .collect();
    let mut operation = Operation::at(&app.crm, &by, now);
    operation.insert_all(&orders);
    operation.commit().await.expect("new orders");
}
