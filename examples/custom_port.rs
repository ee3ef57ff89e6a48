//! Ports of your own: a clock that you move, and a place where events go.
//!
//! Run it with `cargo run --example custom_port`.

#![expect(clippy::print_stdout, reason = "an example shows what it did")]

use std::{error::Error, sync::Arc, time::Duration};

use crm_core::{
    Crm, Result as CrmResult,
    access::Principal,
    async_trait,
    crm::collections,
    customer::{NewCustomer, WriteOptions},
    event::{Event, relay},
    id::OrganizationId,
    input::FromInput as _,
    port::{EventSink, ManualClock},
    store::{Store as _, memory::MemoryStore},
};
use serde_json::json;

/// Prints events. A real sink hands them to a queue, and remembers their ids, because a batch can come again.
struct Printer;

#[async_trait]
impl EventSink for Printer {
    async fn publish(&self, events: &[Event]) -> CrmResult<()> {
        for event in events {
            println!("{}  {}  {}", event.meta.created_at, event.event_type, event.record_id);
        }
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let store = MemoryStore::new();
    store.migrate(collections(), &|_, _, _| {}).await?;
    let clock = Arc::new(ManualClock::new("2026-01-31T09:30:00Z".parse()?));
    let crm = Crm::builder(Arc::new(store)).clock(Arc::clone(&clock)).event_sink(Printer).build();

    let me = Principal::system(OrganizationId(uuid::Uuid::from_u128(1)));
    let ravi = NewCustomer::from_json(&json!({"name": "Ravi Kumar", "email": "ravi@mail.example"}))?;
    let ravi = crm.customers().create(&me, ravi, WriteOptions::default()).await?;
    clock.advance(Duration::from_secs(3600));
    crm.customers().delete(&me, ravi.id, None).await?;

    // A server leaves this to `crm_core::background::run`, which also seals the audit trail.
    println!("{} events", relay::publish_pending(&crm).await?);
    Ok(())
}
