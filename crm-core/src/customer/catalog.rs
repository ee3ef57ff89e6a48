use super::{Customer, CustomerStatus, Customers, service::Context};
use crate::{
    access::Principal,
    contact::{Country, Email, Phone},
    error::{FieldErrors, Result},
    field::AppliesTo,
    order::{self, Order},
    record::Record as _,
    rule::{Catalog, CatalogField, Relation},
};

impl Customers<'_> {
    /// What rules, filters and orders may name of an organization's customers.
    pub(crate) async fn catalog_in(&self, by: &Principal, context: &Context) -> Result<Catalog> {
        let orders = self.crm.fields().set(by.organization, AppliesTo::Order).await?;
        let orders = order::declared_catalog().with_all(orders.catalog_fields(context.country));
        Ok(declared(context.country, Some(&context.types))
            .with_all(context.fields.catalog_fields(context.country))
            .related(orders_of(orders)))
    }
}

/// A customer's orders: how many, or what they come to.
fn orders_of(orders: Catalog) -> Relation {
    Relation::new("orders", Order::customer_id.name(), orders).when(Order::date).total(Order::amount)
}

/// The same without custom fields and related records, and without knowing the organization: what one record alone
/// answers.
pub(crate) fn declared_catalog() -> Catalog {
    declared(None, None)
}

fn declared(country: Option<Country>, types: Option<&[String]>) -> Catalog {
    let first = |errors: FieldErrors| errors.iter().next().map(|error| error.message.clone()).unwrap_or_default();
    Catalog::new(Customer::COLLECTION)
        .with(CatalogField::column(Customer::name))
        .with(
            CatalogField::column(Customer::email)
                .normalised(move |text| Email::parse(text).map(|email| email.as_str().to_owned()).map_err(first)),
        )
        .with(
            CatalogField::column(Customer::emails)
                .normalised(move |text| Email::parse(text).map(|email| email.as_str().to_owned()).map_err(first)),
        )
        .with(
            CatalogField::column(Customer::phone).normalised(move |text| {
                Phone::parse(text, country).map(|phone| phone.as_str().to_owned()).map_err(first)
            }),
        )
        .with(
            CatalogField::column(Customer::phones).normalised(move |text| {
                Phone::parse(text, country).map(|phone| phone.as_str().to_owned()).map_err(first)
            }),
        )
        .with(CatalogField::column(Customer::status).options(CustomerStatus::ALL.map(CustomerStatus::name)))
        .with(match types {
            Some(types) => CatalogField::column(Customer::r#type).options(types.iter().cloned()),
            None => CatalogField::column(Customer::r#type),
        })
        .with(CatalogField::column(Customer::tags))
        .with(CatalogField::column(Customer::group_ids).of_ids())
        .with(CatalogField::column(Customer::group_ids).of_ids().element().named("group"))
        .with(CatalogField::column(Customer::spend))
        .with(CatalogField::column(Customer::visits))
        .with(CatalogField::column(Customer::last_active))
        .with(CatalogField::days_since("inactive_days", Customer::active_at, "inactive for"))
        .with(CatalogField::column(Customer::deleted_at))
        .with(CatalogField::column(Customer::total_orders))
        .with(CatalogField::column(Customer::total_orders).named("order_count"))
        .with(CatalogField::column(Customer::total_order_value))
        .with(CatalogField::column(Customer::total_order_value).named("order_total"))
        .with(CatalogField::column(Customer::last_order_date))
        .with(CatalogField::column(Customer::total_complaints))
        .with(CatalogField::column(Customer::open_complaints))
        .with(CatalogField::column(Customer::user_id))
        .with(CatalogField::column(Customer::owner_id))
        .with(CatalogField::column(Customer::team_id))
        .with(CatalogField::column(Customer::consent))
        .with(CatalogField::column(Customer::metadata))
        .alias("full_name", "name")
        .alias("contact_number", "phone")
        .alias("customer_status", "status")
        .alias("customer_type", "type")
}
