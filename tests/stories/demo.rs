//! The sample that the demo loads.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crm_core::access::Role;
use crm_http::demo;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::{App, on_every_store};

on_every_store! {
    /// The sample has somebody of each role, thousands of customers, and everything to look around with; loading it again
    /// changes nothing, and what somebody changed stays.
    async fn a_sample_to_look_around_in(app: App) {
        // Cut off a few times before, as by somebody who is impatient.
        for milliseconds in [30, 300, 1500] {
            let _ = timeout(Duration::from_millis(milliseconds), demo::load(&app.crm, &|_, _, _| {})).await;
        }
        let last = AtomicU64::new(0);
        demo::load(&app.crm, &|_, done, all| last.store(done * 100 / all, Ordering::Relaxed)).await.expect("loaded");
        assert_eq!(last.load(Ordering::Relaxed), 100, "the progress reaches the end");

        let password = demo::password(&app.crm);
        let logins = demo::logins();
        for role in [Role::Admin, Role::TL, Role::QA, Role::Agent] {
            assert!(logins.iter().filter(|login| login.role == role).count() >= 2, "{role}");
        }
        let admins: Vec<_> = logins.iter().filter(|login| login.role == Role::Admin).collect();
        assert_eq!(admins.len(), 2, "one of each organization");
        for admin in admins {
            let admin = app.sign_in(&admin.email, &password).await;
            let counted = admin.get("/customers?count=true&limit=1").await.ok();
            assert_eq!(counted["page"]["total"], 1500);
            let fields = admin.get("/customers/fields").await.ok();
            assert_eq!(fields["data"].as_array().map(Vec::len), Some(6));
            let groups = admin.get("/customers/groups").await.ok();
            let members = |group: &Value| group["member_count"].as_u64().unwrap_or_default();
            assert!(groups["data"].as_array().is_some_and(|groups| groups.len() == 4 && groups.iter().all(|group| members(group) > 0)), "{groups}");
            let orders = admin.get("/orders?count=true&limit=1&include=customer").await.ok();
            assert!(orders["page"]["total"].as_u64().is_some_and(|total| total > 100), "{orders}");
            let bought = orders["data"][0]["customer"]["total_orders"].as_i64();
            assert!(bought.is_some_and(|bought| bought > 0) || orders["data"][0]["status"] == "cancelled", "{orders}");
            let segments = admin.get("/segments").await.ok();
            assert_eq!(segments["data"].as_array().map(Vec::len), Some(4));
            for segment in segments["data"].as_array().expect("segments").iter().filter(|one| one["rules_json"]["orders"].is_null()) {
                let preview = admin.get(format!("/segments/{}/preview", segment["id"].as_str().expect("an id"))).await.ok();
                assert!(preview["count"].as_u64().is_some_and(|count| (1..1500).contains(&count)), "{preview}");
            }
            let campaigns = admin.get("/campaigns?count=true").await.ok();
            assert_eq!((&campaigns["page"]["total"], &campaigns["data"][0]["status"]), (&json!(1), &json!("sent")), "{campaigns}");
            let id = &campaigns["data"][0]["id"];
            let detail = admin.get(format!("/campaigns/{}", id.as_str().expect("an id"))).await.ok();
            let figures = &detail["statistics"];
            let figure = |name: &str| figures[name].as_u64().expect("a figure");
            for some in ["sent", "delivered", "read", "failed", "suppressed"] {
                assert!(figure(some) > 0, "{some}: {figures}");
            }
            assert_eq!((figure("queued"), figure("unknown"), figure("delivered")), (0, 0, figure("sent")), "{figures}");
            let opted_out = admin.get(format!("/campaigns/{}/communications?reason=no_consent&limit=1", id.as_str().expect("an id"))).await.ok();
            assert_eq!(opted_out["data"][0]["status"], "SUPPRESSED", "{opted_out}");
            let told = admin.post("/ai/summary", json!({"campaign_id": id})).await.ok();
            let summary = told["summary"].as_str().expect("a paragraph");
            assert!(summary.starts_with(&format!("The campaign planned {} messages.", figure("audience"))), "{summary}");
            assert!(!admin.get("/customers/tags").await.ok()["data"].as_array().expect("tags").is_empty());
        }

        let agent = logins.iter().find(|login| login.role == Role::Agent).expect("an agent");
        let agent = app.sign_in(&agent.email, &password).await;
        let seen = agent.get("/customers?count=true&limit=1").await.ok();
        let total = seen["page"]["total"].as_u64().expect("a total");
        assert!(total > 0 && total < 1500, "an agent sees the own team's: {total}");
        let one = format!("/customers/{}", seen["data"][0]["id"].as_str().expect("an id"));
        agent.patch(&one, serde_json::json!({"name": "Somebody Else"})).await.ok();

        let admin = logins.iter().find(|login| login.role == Role::Admin).expect("an Admin");
        let admin = app.sign_in(&admin.email, &password).await;
        let sent = admin.get("/campaigns?count=true").await.ok();
        demo::load(&app.crm, &|_, _, _| {}).await.expect("loaded again");
        assert_eq!(admin.get("/campaigns?count=true").await.ok(), sent, "nothing is sent again");
        assert_eq!(agent.get(&one).await.ok()["name"], "Somebody Else");
        assert_eq!(agent.get("/customers?count=true&limit=1").await.ok()["page"]["total"], total);
    }
}
