use super::{Order, OrderStatus};
use crate::{
    contact::Country,
    field::FieldSet,
    record::Record as _,
    rule::{Catalog, CatalogField},
};

/// What filters and lists may name of an organization's orders.
pub(super) fn order_catalog(fields: &FieldSet, country: Option<Country>) -> Catalog {
    declared_catalog().with_all(fields.catalog_fields(country))
}

/// The same without custom fields.
pub(crate) fn declared_catalog() -> Catalog {
    Catalog::new(Order::COLLECTION)
        .with(CatalogField::column(Order::customer_id))
        .with(CatalogField::column(Order::external_id))
        .with(CatalogField::column(Order::status).options(OrderStatus::ALL.map(OrderStatus::name)))
        .with(CatalogField::column(Order::amount))
        .with(CatalogField::column(Order::date))
        .with(CatalogField::column(Order::metadata))
}
