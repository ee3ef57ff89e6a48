use super::{
    NewOrder, Order, OrderId, OrderInput, OrderShape, ShapedOrder, WrittenOrder,
    write::{Ask, ORDER},
};
use crate::{
    access::{Principal, permissions},
    crm::Crm,
    error::Result,
};

/// The orders of an organization.
#[derive(Clone, Copy, Debug)]
pub struct Orders<'a> {
    pub(crate) crm: &'a Crm,
}

impl Crm {
    /// The orders.
    #[must_use]
    pub const fn orders(&self) -> Orders<'_> {
        Orders { crm: self }
    }
}

impl Orders<'_> {
    /// Takes an order in, and adds it to its customer's figures. One with an `external_id` that is there already is
    /// answered as it is, so that it can be sent again.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] with every wrong field; [`crate::Error::Conflict`] where the order with the
    /// `external_id` is of another customer or amount; [`crate::Error::NotFound`] for a customer not in sight,
    /// [`crate::Error::InvalidState`] for one in the bin; [`crate::Error::Forbidden`] without `orders:write`.
    pub async fn create(&self, by: &Principal, new: NewOrder) -> Result<WrittenOrder> {
        by.may(permissions::ORDERS_WRITE)?;
        self.write_one(by, Ask::Ingest(new.0)).await
    }

    /// The order with the id.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`] where there is none in sight, [`crate::Error::Forbidden`] without `orders:read`.
    pub async fn get(&self, by: &Principal, id: OrderId) -> Result<Order> {
        by.may(permissions::ORDERS_READ)?;
        self.crm.repo::<Order>().visible(by, id, ORDER).await
    }

    /// The order with the id in a shape.
    ///
    /// # Errors
    /// Those of [`Orders::get`].
    pub async fn get_in_shape(&self, by: &Principal, shape: &OrderShape, id: OrderId) -> Result<(i64, ShapedOrder)> {
        let order = self.get(by, id).await?;
        Ok((order.meta.version, self.in_shape(by, shape, order).await?))
    }

    /// Changes the fields that are named, and moves the customer's figures by the difference: an order that is cancelled
    /// or refunded takes back what it added. Lists are replaced, `custom` and `metadata` merged by member.
    ///
    /// # Errors
    /// Those of [`Orders::create`], [`crate::Error::NotFound`], [`crate::Error::VersionConflict`] where another version
    /// was expected.
    pub async fn patch(
        &self,
        by: &Principal,
        id: OrderId,
        input: OrderInput,
        expected_version: Option<i64>,
    ) -> Result<Order> {
        by.may(permissions::ORDERS_WRITE)?;
        Ok(self.write_one(by, Ask::Merge(id, input, expected_version)).await?.order)
    }
}
