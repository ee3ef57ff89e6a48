//! Complaints, and the figures of the customers who make them.

use std::future::IntoFuture as _;

use serde_json::json;

use crate::support::{App, on_every_store};

on_every_store! {
    /// A complaint is taken down, seen to and closed; the customer's figures follow at each step.
    async fn complaints(app: App) {
        let shop = app.staffed("Shop").await;
        let kim = shop.agent.post("/customers", json!({"name": "Kim"})).await.created();
        let body = json!({"customerId": kim.id(), "subject": "Broken cup", "description": "Two of six.", "priority": "high"});
        let first = shop.agent.post("/complaints", body).await.created();
        assert_eq!((&first["status"], &first["resolved_at"]), (&json!("open"), &json!(null)));
        let figures = async || {
            let kim = shop.admin.get(&kim).await.ok();
            (kim["total_complaints"].clone(), kim["open_complaints"].clone())
        };
        assert_eq!(figures().await, (json!(1), json!(1)));

        // Many at once: none is lost.
        let more = (0..20).map(|number| {
            let body = json!({"customer_id": kim.id(), "subject": format!("No. {number}")});
            shop.agent.post("/complaints", body).into_future()
        });
        for answer in futures::future::join_all(more).await {
            answer.created();
        }
        assert_eq!(figures().await, (json!(21), json!(21)));

        let started = shop.agent.patch(&first, json!({"status": "in_progress", "assigned_to": shop.lead.id()}));
        let started = started.if_match(&first).await.found(&first);
        assert_eq!((&started["assigned_to"], &started["version"]), (&json!(shop.lead.id()), &json!(2)));
        shop.agent.put(&first, json!({"status": "resolved"})).if_match(&first).await.refused(412, "VERSION_CONFLICT");
        let resolved = shop.agent.put(&first, json!({"status": "resolved", "resolution": "New cups."})).await.found(&first);
        assert!(resolved["resolved_at"].is_string() && resolved["subject"] == "Broken cup", "{}", resolved.body);
        assert_eq!(figures().await, (json!(21), json!(20)));
        shop.agent.patch(&first, json!({"status": "open"})).await.ok();
        assert_eq!(figures().await, (json!(21), json!(21)));
        shop.agent.patch(&first, json!({"status": "closed"})).await.ok();
        shop.agent.patch(&first, json!({"status": "open"})).await.refused(409, "INVALID_STATE");
        assert_eq!(figures().await, (json!(21), json!(20)));

        shop.agent.get(format!("{kim}/complaints?status=closed")).await.lists([&first]);
        shop.agent.get("/complaints?search=cup&fields=id,subject").await.lists([&first]);
        let rule = json!({"filter": {"field": "priority", "op": "==", "value": "high"}});
        shop.qa.post("/complaints/search", rule.clone()).await.lists([&first]);
        shop.qa.post(format!("{kim}/complaints/search"), rule).await.lists([&first]);

        let wrong = json!({"subject": "", "status": "lost", "assignedTo": "x", "resolved_at": "now", "y": 1});
        shop.agent.post("/complaints", wrong)
            .await.invalid(&["customer_id", "subject", "status", "assigned_to", "resolved_at", "y"]);
        let body = json!({"customer_id": kim.id(), "subject": "x", "assigned_to": shop.customer.id()});
        shop.agent.post("/complaints", body).await.invalid(&["assigned_to"]);
        shop.qa.post("/complaints", json!({"customer_id": kim.id(), "subject": "x"})).await.refused(403, "FORBIDDEN");
        shop.customer.get("/complaints").await.refused(403, "FORBIDDEN");

        // Somebody of another team and another organization see nothing of it.
        let stranger = shop.organization.member("Agent", None).await;
        stranger.get(&first).await.refused(404, "NOT_FOUND");
        stranger.get("/complaints").await.lists([]);
        stranger.get(format!("{kim}/complaints")).await.refused(404, "NOT_FOUND");
        let other = app.organization("Other").await;
        other.admin.get(&first).await.refused(404, "NOT_FOUND");
        other.admin.post("/complaints", json!({"customer_id": kim.id(), "subject": "x"})).await.refused(404, "NOT_FOUND");

        // Whoever looks after the customer now sees its complaints, and nobody else does.
        let team = shop.organization.team("South").await;
        let south = shop.organization.member("Agent", Some(&team)).await;
        shop.admin.patch(&kim, json!({"owner_id": null, "team_id": team})).await.ok();
        let all = shop.admin.get("/complaints?count=true").await.ok()["page"]["total"].clone();
        assert_eq!(south.get("/complaints?count=true").await.ok()["page"]["total"], all);
        shop.agent.get("/complaints").await.lists([]);
        let another = south.post("/complaints", json!({"customer_id": kim.id(), "subject": "Late"})).await.created();
        south.get("/complaints?search=late").await.lists([&another]);
        shop.agent.get(&first).await.refused(404, "NOT_FOUND");
        shop.admin.patch(&kim, json!({"owner_id": shop.agent.id()})).await.ok();

        // They stay while the customer is in the bin, and go with it for good.
        shop.admin.delete(&kim).await.no_content();
        shop.admin.post("/complaints", json!({"customer_id": kim.id(), "subject": "x"})).await.refused(404, "NOT_FOUND");
        shop.agent.get(&first).await.ok();
        shop.admin.delete(format!("{kim}?hard=true")).await.no_content();
        shop.admin.get(&first).await.refused(404, "NOT_FOUND");
        shop.admin.get("/complaints").await.lists([]);
    }
}
