//! Several processes on one database.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use crm_core::{Result, async_trait, event::Event, port::EventSink};
use serde_json::json;
use tokio::sync::Notify;

use crate::support::on_every_store;

/// Keeps what events are handed to either process.
#[derive(Clone, Default)]
struct Received {
    ids: Arc<Mutex<Vec<String>>>,
    hint: Arc<Notify>,
}

#[async_trait]
impl EventSink for Received {
    async fn publish(&self, events: &[Event]) -> Result<()> {
        let created = events.iter().filter(|event| event.event_type == "customer.created");
        self.ids.lock().expect("unpoisoned").extend(created.map(|event| event.id.to_string()));
        self.hint.notify_one();
        Ok(())
    }
}

on_every_store! {
    /// What both wrote is handed on once, sealed in one chain, and seen by both.
    async fn two_processes(setup: Setup) {
        let received = Received::default();
        let right = setup.another().event_sink(received.clone()).start().await;
        let left = setup.event_sink(received.clone()).start().await;
        let here = left.organization("Shop").await.admin;
        let there = right.anonymous.with_token(&here.access_token);
        let mut writes = Vec::new();
        for number in 0..20 {
            writes.push(here.post("/customers", json!({"name": format!("Left {number}")})));
            writes.push(there.post("/customers", json!({"name": format!("Right {number}")})));
        }
        for written in futures::future::join_all(writes.into_iter().map(IntoFuture::into_future)).await {
            written.created();
        }
        loop {
            let hint = received.hint.notified();
            let ids = received.ids.lock().expect("unpoisoned").clone();
            assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "an event was handed on twice");
            if ids.len() == 40 {
                break;
            }
            hint.await;
        }
        loop {
            let verification = there.get("/audit/verify").await.ok();
            assert_eq!(verification["intact"], true, "{verification}");
            if verification["unsealed"] == 0 {
                break;
            }
        }
        for client in [&*here, &there] {
            assert_eq!(client.get("/customers?count=true&limit=1").await.ok()["page"]["total"], 40);
        }
    }
}
