//! Who sees which customers: the same everywhere.

use reqwest::Method;
use serde_json::json;

use crate::support::{App, on_every_store};

on_every_store! {
    /// Admins and QA see everybody, team leads and agents their team and their own; what is hidden is not there.
    async fn roles(app: App) {
        let shop = app.organization("Shop").await;
        let (north, south) = (shop.team("North").await, shop.team("South").await);
        let lead = shop.member("TL", Some(&north)).await;
        let ann = shop.member("Agent", Some(&north)).await;
        let bob = shop.member("Agent", Some(&south)).await;
        let qa = shop.colleague("QA").await;

        let of_admin = shop.admin.post("/customers", json!({"name": "Kimber of nobody", "tags": ["a"]})).await.created();
        let of_ann = ann.post("/customers", json!({"name": "Kimber of Ann", "email": "kim@example.com", "tags": ["a"]})).await.created();
        let of_bob = bob.post("/customers", json!({"name": "Kimber of Bob", "tags": ["a", "b"]})).await.created();
        assert_eq!((&of_ann["owner_id"], &of_ann["team_id"]), (&json!(ann.id()), &json!(north)));
        assert_eq!((&of_admin["owner_id"], &of_admin["team_id"]), (&json!(null), &json!(null)));

        for everything in [&shop.admin, &qa] {
            everything.get("/customers?sort=created_at").await.lists([&of_admin, &of_ann, &of_bob]);
        }
        for (person, visible, hidden) in [(&ann, &of_ann, &of_bob), (&lead, &of_ann, &of_bob), (&bob, &of_bob, &of_ann)] {
            let list = person.get("/customers?count=true").await.lists([visible]);
            assert_eq!(list["page"]["total"], 1);
            person.get("/customers?search=kim&count=true").await.lists([visible]);
            person.get("/customers?search=kymber").await.lists([visible]);
            person.post("/customers/search", json!({"search": "kim", "filter": {"field": "name", "op": "exists"}})).await.lists([visible]);
            person.get(format!("/customers?filter={{\"field\":\"id\",\"op\":\"in\",\"value\":[\"{}\",\"{}\"]}}", visible.id(), hidden.id()))
                .await.lists([visible]);
            person.get(visible).await.ok();
            let gone = person.get(hidden).await.refused(404, "NOT_FOUND");
            let nowhere = person.get("/customers/0198c1de-5f00-7000-8000-000000000001").await.refused(404, "NOT_FOUND");
            assert_eq!(gone["message"], nowhere["message"]);
            person.put(hidden, json!({"name": "X"})).await.refused(404, "NOT_FOUND");
            person.patch(hidden, json!({"name": "X"})).await.refused(404, "NOT_FOUND");
            person.delete(hidden).await.refused(404, "NOT_FOUND");
            person.get(format!("{hidden}/notes")).await.refused(404, "NOT_FOUND");
            let items = json!({"items": [{"id": hidden.id(), "name": "X"}, {"id": visible.id(), "visits": 1}]});
            let report = person.patch("/customers/batch", items).await.ok();
            assert_eq!(report["results"][0]["error"]["code"], "NOT_FOUND");
            let all = json!({"filter": {"field": "name", "op": "contains", "value": "kim"}, "add_tags": ["seen"]});
            assert_eq!(person.patch("/customers/batch", all).await.ok()["matched"], 1);
        }
        let tags = ann.get("/customers/tags").await.ok();
        assert_eq!(tags["data"], json!([{"tag": "a", "count": 1}, {"tag": "seen", "count": 1}]));

        // An address that somebody hidden has is taken, but not who has it.
        let refused = bob.post("/customers", json!({"name": "X", "email": "kim@example.com"})).await.refused(409, "DUPLICATE");
        assert!(refused.get("matches").is_none_or(|matches| matches == &json!([])), "{refused}");
        let refused = bob.post("/customers?mode=upsert", json!({"name": "X", "email": "kim@example.com"})).await;
        assert_eq!(refused.refused(409, "DUPLICATE")["errors"].as_array().map(Vec::len), Some(1), "the field that was given");

        // Nobody moves a customer out of their own sight; an Admin hands it over.
        ann.patch(&of_ann, json!({"owner_id": null, "team_id": null})).await.refused(403, "FORBIDDEN");
        ann.patch(&of_ann, json!({"owner_id": bob.id(), "team_id": south})).await.refused(403, "FORBIDDEN");
        ann.patch(&of_ann, json!({"owner_id": bob.id()})).await.ok();
        bob.get(&of_ann).await.ok();
        shop.admin.patch(&of_ann, json!({"team_id": south})).await.ok();
        ann.get(&of_ann).await.refused(404, "NOT_FOUND");
        ann.get("/customers").await.lists([]);
        shop.admin.patch(&of_ann, json!({"owner_id": "0198c1de-5f00-7000-8000-000000000001"})).await.invalid(&["owner_id"]);
        shop.admin.patch(&of_ann, json!({"team_id": "0198c1de-5f00-7000-8000-000000000001"})).await.invalid(&["team_id"]);

        // The bin is seen alike.
        bob.delete(&of_bob).await.no_content();
        bob.get("/customers?deleted=true").await.lists([&of_bob]);
        ann.get("/customers?deleted=true").await.lists([]);
        ann.request(Method::POST, format!("{of_bob}/restore")).await.refused(404, "NOT_FOUND");
    }

    /// Reading, writing, deleting and purging are permissions of their own.
    async fn permissions(app: App) {
        let shop = app.organization("Shop").await;
        let (qa, agent) = (shop.colleague("QA").await, shop.colleague("Agent").await);
        let kim = shop.admin.post("/customers", json!({"name": "Kim", "tags": ["a"]})).await.created();
        qa.get(&kim).await.ok();
        for answer in [
            qa.post("/customers", json!({"name": "X"})).await,
            qa.put(&kim, json!({"name": "X"})).await,
            qa.patch(&kim, json!({"name": "X"})).await,
            qa.delete(&kim).await,
            qa.post("/customers/batch", json!({"items": [{"name": "X"}]})).await,
            qa.patch("/customers/batch", json!({"items": [{"id": kim.id()}]})).await,
            qa.post("/customers/groups", json!({"name": "X"})).await,
            qa.post(format!("{kim}/notes"), json!({"text": "X"})).await,
            qa.post("/customers/tags/rename", json!({"from": "a", "to": "b"})).await,
            agent.post("/customers/tags/merge", json!({"from": ["a"], "to": "b"})).await,
            agent.delete(format!("{kim}?hard=true")).await,
            shop.colleague("TL").await.delete(format!("{kim}?hard=true")).await,
        ] {
            answer.refused(403, "FORBIDDEN");
        }
        for path in ["/customers", "/customers/groups", "/customers/tags", "/customers/me"] {
            app.anonymous.get(path).await.refused(401, "UNAUTHENTICATED");
        }
        app.anonymous.get(&kim).await.refused(401, "UNAUTHENTICATED");
        assert_eq!(shop.admin.get(&kim).await.ok(), kim.body);
    }
}
