//! Static groups and tags.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{App, on_every_store};

on_every_store! {
    /// Customers are put into a group and taken out, and stay when the group goes.
    async fn groups(app: App) {
        let admin = app.organization("Shop").await.admin;
        let gold = admin.post("/customers/groups", json!({"name": "Gold", "description": "Spend most"})).await.created();
        assert_eq!((&gold["member_count"], &gold["version"]), (&json!(0), &json!(1)));
        let refused = admin.post("/customers/groups", json!({"name": " gold"})).await.refused(409, "DUPLICATE");
        assert_eq!(refused["matches"], json!([gold.id()]));
        admin.post("/customers/groups", json!({"name": "", "id": 1, "x": 2})).await.invalid(&["name", "id", "x"]);
        let ann = admin.post("/customers", json!({"name": "Ann", "group_ids": [gold.id()]})).await.created();
        let bob = admin.post("/customers", json!({"name": "Bob"})).await.created();
        let members = format!("{gold}/members");
        let nobody = "0198c1de-5f00-7000-8000-000000000001";
        let change = admin.post(&members, json!({"customer_ids": [ann.id(), bob.id(), nobody]})).await.ok();
        assert_eq!(change, json!({"changed": 1, "unchanged": 1, "not_found": [nobody], "refused": []}));
        assert_eq!(admin.get(&gold).await.ok()["member_count"], 2);
        admin.get(format!("/customers?group={}&sort=name", gold.id())).await.lists([&ann, &bob]);
        let list = admin.get("/customers/groups?search=GOL&fields=name,member_count").await.ok();
        assert_eq!(list["data"], json!([{"name": "Gold", "member_count": 2}]));

        let change = admin.request(Method::DELETE, &members).json(&json!({"customer_ids": [bob.id()]})).await.ok();
        assert_eq!(change["changed"], 1);
        admin.get(format!("/customers?group={}", gold.id())).await.lists([&ann]);
        for (ids, status) in [(json!([]), 400), (json!(vec![nobody; 1001]), 400), (json!(["x"]), 400), (json!({"$gt": ""}), 400)] {
            admin.post(&members, json!({"customer_ids": ids})).await.expect_status(status);
        }

        let found = admin.get(&gold).await.found(&gold);
        let renamed = admin.put(&gold, json!({"name": "Silver"})).if_match(&found).await.found(&gold);
        assert_eq!((&renamed["name"], &renamed["description"]), (&json!("Silver"), &json!(null)));
        admin.put(&gold, json!({"name": "Bronze"})).if_match(&found).await.refused(412, "VERSION_CONFLICT");
        admin.delete(&gold).if_match(&found).await.refused(412, "VERSION_CONFLICT");
        admin.delete(&gold).await.no_content();
        admin.get(&gold).await.refused(404, "NOT_FOUND");
        admin.delete(&gold).await.refused(404, "NOT_FOUND");
        admin.post(&members, json!({"customer_ids": [ann.id()]})).await.refused(404, "NOT_FOUND");
        assert_eq!(admin.get(&ann).await.ok()["group_ids"], json!([]));
        admin.patch(&ann, json!({"group_ids": [gold.id()]})).await.invalid(&["group_ids[0]"]);
        admin.post("/customers/groups", json!({"name": "Silver"})).await.created();
    }

    /// Tags are counted, renamed and merged at every customer at once.
    async fn tags(app: App) {
        let admin = app.organization("Shop").await.admin;
        let items: Vec<Value> = (0..150).map(|number| json!({"name": format!("C{number}"),
            "tags": if number % 3 == 0 { json!(["VIP", "a"]) } else { json!(["vip"]) }})).collect();
        admin.post("/customers/batch", json!({"items": items})).await.ok();
        let tags = admin.get("/customers/tags").await.ok();
        assert_eq!(tags["data"], json!([{"tag": "a", "count": 50}, {"tag": "VIP", "count": 50}, {"tag": "vip", "count": 100}]));
        assert_eq!(tags["page"]["total"], 3);
        let first = admin.get("/customers/tags?limit=2&sort=-count").await.ok();
        let cursor = first["page"]["next_cursor"].as_str().expect("a cursor").to_owned();
        let second = admin.get(format!("/customers/tags?limit=2&sort=-count&cursor={cursor}")).await.ok();
        assert_eq!((&second["data"], &second["page"]["has_more"]), (&json!([{"tag": "VIP", "count": 50}]), &json!(false)));
        admin.get(format!("/customers/tags?limit=2&cursor={cursor}")).await.invalid(&["cursor"]);
        admin.get("/customers/tags?limit=x&sort=y&z=1").await.invalid(&["limit", "sort", "z"]);

        let merged = admin.post("/customers/tags/merge", json!({"from": ["VIP", "vip"], "to": "important"})).await.ok();
        assert_eq!(merged, json!({"updated": 150, "failed": 0}));
        let renamed = admin.post("/customers/tags/rename", json!({"from": "a", "to": "important"})).await.ok();
        assert_eq!(renamed["updated"], 50);
        assert_eq!(admin.get("/customers/tags").await.ok()["data"], json!([{"tag": "important", "count": 150}]));
        admin.post("/customers/tags/rename", json!({"from": "a", "to": "b"})).await.refused(404, "NOT_FOUND");
        admin.post("/customers/tags/rename", json!({"from": "important", "to": "important"})).await.invalid(&["to"]);
        admin.post("/customers/tags/rename", json!({"from": "", "to": "x".repeat(65)})).await.invalid(&["from", "to"]);
        admin.post("/customers/tags/merge", json!({"from": [], "to": "x"})).await.invalid(&["from"]);
    }
}
