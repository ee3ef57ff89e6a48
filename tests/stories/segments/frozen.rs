//! Static segments: whoever matched when they were made.

use std::time::Duration;

use crm_core::{
    record::Record as _,
    segment::{SegmentId, SegmentMember},
    store::Filter,
};
use serde_json::{Value, json};

use crate::support::{App, Entity, Person, on_every_store};

/// The segment, once its members are taken.
async fn ready(admin: &Person, segment: &Entity) -> Value {
    let look = async {
        loop {
            let shown = admin.get(segment).await.ok();
            if shown["state"] != "building" {
                return shown;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), look).await.expect("its members are taken")
}

on_every_store! {
    /// The members of a static segment stay who they were, more than one commit of them, seen by each as far as they see.
    async fn members_stay(app: App) {
        let shop = app.organization("Shop").await;
        let team = shop.team("North").await;
        let agent = shop.member("Agent", Some(&team)).await;
        let items: Vec<Value> = (0..620).map(|number| json!({"name": format!("Customer {number}"), "visits": number % 2})).collect();
        shop.admin.post("/customers/batch", json!({"items": items})).await.ok();
        let own = agent.post("/customers", json!({"name": "Own", "visits": 1})).await.created();
        let rules = json!({"field": "visits", "op": "==", "value": 1});
        let quiet = json!({"field": "visits", "op": ">", "value": 50});
        let made = agent.post("/segments", json!({"name": "Then", "rules_json": rules, "dynamic": false})).await.created();
        assert_eq!(made["dynamic"], false);
        let all = shop.admin.post("/segments", json!({"name": "All", "rules_json": {"field": "visits", "op": "<", "value": 9}, "dynamic": false})).await.created();
        let shown = ready(&shop.admin, &made).await;
        assert_eq!((&shown["state"], &shown["member_count"]), (&json!("ready"), &json!(311)), "{shown}");
        assert_eq!(ready(&shop.admin, &all).await["member_count"], 621);
        let job = shop.admin.get(format!("/jobs/{}", shown["job_id"].as_str().expect("a job"))).await.ok();
        assert_eq!((&job["state"], &job["result"]["members"], &job["record_id"]), (&json!("succeeded"), &json!(311), &made["id"]));

        // Nobody comes in or leaves, but for the bin and for good.
        shop.admin.patch(&own, json!({"visits": 7})).await.ok();
        shop.admin.post("/customers", json!({"name": "Later", "visits": 1})).await.created();
        let preview = shop.admin.get(format!("{made}/preview")).await.ok();
        assert_eq!((&preview["count"], &preview["sample"][0]["id"]), (&json!(311), &own["id"]), "{preview}");
        agent.get(format!("{made}/customers")).await.lists([&own]);
        shop.admin.get(format!("{made}/customers?visits=7&count=true")).await.lists([&own]);
        let page = shop.admin.get(format!("{made}/customers?limit=100&count=true&sort=name")).await.ok();
        assert_eq!((&page["page"]["total"], page["data"].as_array().map(Vec::len)), (&json!(311), Some(100)));
        let why = agent.get(format!("{made}/explain/{}", own.id())).await.ok();
        assert_eq!((&why["member"], &why["result"], &why["seen"]), (&json!(true), &json!(false), &json!(7)));

        let shown = shop.admin.get(&made).await.ok();
        assert_eq!(shop.admin.put(&made, shown.clone()).await.ok()["version"], shown["version"]);
        shop.admin.patch(&made, json!({"rules_json": quiet})).await.refused(409, "INVALID_STATE");
        shop.admin.patch(&made, json!({"dynamic": true})).await.refused(409, "INVALID_STATE");
        shop.admin.patch(&made, json!({"name": "Once", "dynamic": false})).await.ok();

        shop.admin.delete(format!("{own}?hard=true")).await.no_content();
        assert_eq!(shop.admin.get(format!("{made}/preview")).await.ok()["count"], 310);
        let scope = crm_core::store::Scope::Organization(shop.id().await.parse().expect("an id"));
        let members = |filter: Filter| { let crm = app.crm.clone(); async move { crm.repo::<SegmentMember>().count(scope, &filter).await.expect("counted") } };
        let of = |segment: &Entity| SegmentMember::segment_id.equals(segment.id().parse::<SegmentId>().expect("an id"));
        assert_eq!(members(of(&made)).await, 310, "what is gone for good leaves nothing behind");

        shop.admin.delete(&made).await.no_content();
        let emptied = async {
            while members(of(&made)).await > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), emptied).await.expect("its members are let go");
        assert_eq!(members(of(&all)).await, 620, "those of others stay");
        assert_eq!(SegmentMember::COLLECTION.name, "segment_members");
    }
}
