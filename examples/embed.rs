//! A program that links the CRM: an organization, customers, a rule, and why somebody matches it.
//!
//! Run it with `cargo run --example embed`.

#![expect(clippy::print_stdout, reason = "an example shows what it did")]

use std::{error::Error, sync::Arc};

use crm_core::{
    Crm,
    access::Principal,
    crm::collections,
    customer::{NewCustomer, WriteOptions},
    id::OrganizationId,
    input::FromInput as _,
    store::Store as _,
    tenancy::NewOrganization,
};
use crm_store_sqlite::SqliteStore;
use serde_json::json;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // One file; a program of yours would keep it somewhere lasting.
    let folder = tempfile::tempdir()?;
    let store = SqliteStore::open(folder.path().join("crm.db")).await?;
    store.migrate(collections(), &|_, _, _| {}).await?;
    let crm = Crm::builder(Arc::new(store)).build();

    let shop = NewOrganization::from_json(&json!({"name": "Corner shop", "currency": "INR", "country": "IN"}))?;
    let shop = crm.organizations().create(&Principal::system(OrganizationId::INSTALLATION), shop).await?;

    // Whoever acts is named in every call; here it is the program itself.
    let me = Principal::system(shop.id);
    for customer in [
        json!({"name": "Asha Rao", "email": "asha@mail.example", "opening_spend": 7200, "last_active": "2025-01-15T00:00:00Z"}),
        json!({"name": "Ravi Kumar", "phone": "98765 43210", "opening_spend": 900, "tags": ["vip"]}),
        json!({"name": "Meera Nair", "opening_spend": 5400.5, "opening_visits": 12}),
    ] {
        let customer = crm.customers().create(&me, NewCustomer::from_json(&customer)?, WriteOptions::default()).await?;
        println!("created {} ({})", customer.name, customer.phone.as_ref().map_or("no phone", AsRef::as_ref));
    }

    // The language of segments, list filters and access rules is one and the same.
    let rules = json!({"and": [
        {"field": "spend", "op": ">", "value": 5000},
        {"field": "inactive_days", "op": ">", "value": 180},
    ]});
    let rule = crm.customers().rule(&me, &rules).await?;
    println!("\nrule: {rule}");
    println!("{} customer(s) match", crm.customers().count(&me, &rule).await?);

    for customer in crm.customers().matching(&me, &rule, 10).await? {
        let explanation = crm.customers().explain(&me, customer.id, &rule).await?;
        println!("\n{} matches:\n{}", customer.name, serde_json::to_string_pretty(&explanation)?);
    }
    crm.store().close().await;
    Ok(())
}
