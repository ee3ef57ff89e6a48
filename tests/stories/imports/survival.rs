//! Imports whose process dies.

use std::{sync::Arc, time::Duration};

use crm_core::{background, job::runner, port::ManualClock, time::Timestamp};
use serde_json::json;

use crate::support::{App, Form, on_every_store};

on_every_store! {
    /// The runner dies in the middle, again and again; another goes on where it was, and nothing is there twice.
    async fn another_goes_on(setup: Setup) {
        let clock = Arc::new(ManualClock::new(Timestamp::from_milliseconds(1_767_225_600_000).expect("an instant")));
        let app = App::start(setup.clock(&clock).without_background()).await;
        let shop = app.organization("Shop").await;
        let rows: String = (0..4000).map(|row| format!("User {row},u{row}@example.com\n")).collect();
        let begun = shop.admin.begin_import(Form::default().file("u.csv", format!("name,email\n{rows}"))).await;
        let mut read = 0;
        for _ in 0..3 {
            let run = tokio::spawn(runner::run(app.crm.clone(), std::future::pending()));
            let seen = shop.admin.until(&begun, |body| body["rows_read"].as_i64() > Some(read)).await;
            run.abort();
            let _ = run.await;
            read = seen["rows_read"].as_i64().expect("a count");
            clock.advance(Duration::from_secs(11));
        }
        assert!(read < 4000, "{read}");
        let stop = std::future::pending();
        let run = tokio::spawn(background::run(app.crm.clone(), stop));
        let ended = shop.admin.until(&begun, |body| {
            // A run that found the database too busy waits for its next attempt.
            clock.advance(Duration::from_millis(100));
            !matches!(body["state"].as_str(), Some("queued" | "running"))
        });
        let ended = ended.await;
        run.abort();
        assert_eq!((&ended["state"], &ended["created"], &ended["failed"]), (&json!("succeeded"), &json!(4000), &json!(0)));
        assert_eq!(shop.admin.get("/customers?count=true").await.ok()["page"]["total"], 4000);
        assert_eq!(shop.admin.get("/audit?action=customers.imported&count=true").await.ok()["page"]["total"], 8);
        let told = crm_core::event::Event::event_type.equals("customers.imported");
        let events = app.crm.repo::<crm_core::event::Event>();
        assert_eq!(events.count(crm_core::store::Scope::Installation, &told).await.expect("counted"), 8);
    }
}
