//! Orders: what customers have bought.
//!
//! An [`Order`] moves the figures of its customer (`spend`, `visits`, `total_orders` and their like) in the commit that
//! writes it, by adding, so that any number of orders of one customer at once all count. Whatever the door (one order, a
//! batch, a job, a change), a write takes the same way: it is loaded with a handful of reads, decided by plain functions,
//! and committed once.

mod batch;
mod catalog;
mod decide;
mod figures;
mod input;
mod later;
mod list;
mod record;
#[cfg(feature = "openapi")]
mod schema;
mod service;
mod shape;
mod write;

#[cfg(test)]
mod tests;

pub use self::{
    batch::{NewOrders, OrderBatchReport, OrderBatchResult},
    input::{MAX_ITEMS, NewOrder, OrderInput},
    record::{Order, OrderId, OrderItem, OrderItems, OrderStatus, Quantity, UnknownOrderStatus},
    service::Orders,
    shape::{OrderShape, ShapedOrder},
    write::{OrderDeed, WrittenOrder},
};
pub(crate) use self::{
    catalog::declared_catalog,
    figures::{earlier_active, keep_figures},
    later::OrderHandler,
    write::follow_customers,
};
