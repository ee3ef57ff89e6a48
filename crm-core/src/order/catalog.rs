use super::{Order, OrderStatus};
use crate::{
    record::Record as _,
    rule::{Catalog, CatalogField},
};

/// What rules, filters and orders may name of orders, besides custom fields.
pub(crate) fn declared_catalog() -> Catalog {
    Catalog::new(Order::COLLECTION)
        .with(CatalogField::column(Order::customer_id))
        .with(CatalogField::column(Order::external_id))
        .with(CatalogField::column(Order::status).options(OrderStatus::ALL.map(OrderStatus::name)))
        .with(CatalogField::column(Order::amount))
        .with(CatalogField::column(Order::date))
}
