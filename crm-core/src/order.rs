//! Orders: what customers have bought.
//!
//! An [`Order`] moves the figures of its customer (`spend`, `visits`, `total_orders` and their like) in the commit that
//! writes it, by adding, so that any number of orders of one customer at once all count.

mod catalog;
mod record;

pub(crate) use self::catalog::declared_catalog;
pub use self::record::{Order, OrderId, OrderItem, OrderItems, OrderStatus, Quantity, UnknownOrderStatus};
