use std::collections::HashMap;

use super::{
    Order, Orders,
    catalog::order_catalog,
    shape::{FIELDS, INCLUDE, OrderShape, ShapedOrder},
};
use crate::{
    access::{Principal, permissions},
    customer::Customer,
    error::{FieldErrors, Result},
    id::CustomerId,
    list::{self, List, ListBody, ListRequest, Listing},
    store::Filter,
};

impl Orders<'_> {
    /// A page of the orders in sight, as a query string asks for them, the last first where no order is asked for.
    /// `include=customer` joins who has bought.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] with every wrong parameter, [`crate::Error::Forbidden`] without `orders:read`.
    pub async fn list(&self, by: &Principal, pairs: &[(String, String)]) -> Result<List<ShapedOrder>> {
        self.asked(by, |listing| listing.from_pairs(pairs)).await
    }

    /// The same, as a JSON body asks for them.
    ///
    /// # Errors
    /// Those of [`Orders::list`].
    pub async fn search(&self, by: &Principal, body: &ListBody) -> Result<List<ShapedOrder>> {
        self.asked(by, |listing| listing.from_json(body.as_json())).await
    }

    async fn asked(
        &self,
        by: &Principal,
        read: impl FnOnce(Listing<'_>) -> Result<ListRequest, FieldErrors> + Send,
    ) -> Result<List<ShapedOrder>> {
        by.may(permissions::ORDERS_READ)?;
        let (fields, country) = self.context(by).await?;
        let catalog = order_catalog(&fields, country);
        let mut request = read(Listing::new(&catalog).fields(&FIELDS).include(&INCLUDE))?;
        if !request.sorted {
            request.sort = vec![Order::date.descending()];
        }
        let shape = self.shape_of(by, &request).await?;
        let List { data, page } = list::visible::<Order>(self.crm, by, &request, Filter::ALL).await?;
        Ok(List { data: self.shaped(by, &shape, data).await?, page })
    }

    /// How single orders are to be answered.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] for a field or a join that is not there.
    pub async fn shape(&self, by: &Principal, fields: Option<&str>, include: Option<&str>) -> Result<OrderShape> {
        let (custom, country) = self.context(by).await?;
        let catalog = order_catalog(&custom, country);
        let pair = |name: &str, value: Option<&str>| value.map(|value| (name.to_owned(), value.to_owned()));
        let pairs: Vec<_> = pair("fields", fields).into_iter().chain(pair("include", include)).collect();
        let request = Listing::new(&catalog).fields(&FIELDS).include(&INCLUDE).from_pairs(&pairs)?;
        self.shape_of(by, &request).await
    }

    async fn shape_of(&self, by: &Principal, request: &ListRequest) -> Result<OrderShape> {
        let (custom, _) = self.context(by).await?;
        let customer = if request.include.is_empty() {
            None
        } else {
            by.may(permissions::CUSTOMERS_READ)?;
            Some(self.crm.customers().shape(by, None, None).await?)
        };
        Ok(OrderShape::new(request.fields.clone(), custom, customer))
    }

    /// An order in a shape.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn in_shape(&self, by: &Principal, shape: &OrderShape, order: Order) -> Result<ShapedOrder> {
        let mut shaped = self.shaped(by, shape, vec![order]).await?;
        shaped.pop().ok_or_else(|| crate::Error::internal("an order was lost"))
    }

    async fn shaped(&self, by: &Principal, shape: &OrderShape, orders: Vec<Order>) -> Result<Vec<ShapedOrder>> {
        let mut customers: HashMap<CustomerId, Customer> = HashMap::new();
        if shape.joins() && !orders.is_empty() {
            let mut ids: Vec<CustomerId> = orders.iter().map(|order| order.customer_id).collect();
            ids.sort_unstable();
            ids.dedup();
            let found = self.crm.repo::<Customer>().get_many(by.scope(), &ids).await?;
            let seen = found.into_iter().filter(|customer| customer.deleted_at.is_none() && customer.is_reached_by(by));
            customers.extend(seen.map(|customer| (customer.id, customer)));
        }
        orders.into_iter().map(|order| shape.of(order, &customers)).collect()
    }
}
