//! Many customers at once.

use serde_json::{Value, json};

use crate::support::{App, on_every_store};

fn statuses(report: &Value) -> Vec<&str> {
    report["results"].as_array().expect("results").iter().filter_map(|result| result["status"].as_str()).collect()
}

on_every_store! {
    /// Each customer of a batch has its own answer; an atomic one is written whole or not at all.
    async fn create(app: App) {
        let admin = app.organization("Shop").await.admin;
        let items = json!([
            {"name": "Ann", "email": "ann@example.com"},
            {"name": "Ann again", "email": "ANN@example.com"},
            {"name": "", "email": "no address", "colour": 1},
            "Ann",
            {"name": "Bob", "phone": "+919876543210"},
        ]);
        let report = admin.post("/customers/batch", json!({"items": items})).await.ok();
        assert_eq!(statuses(&report), ["created", "failed", "failed", "failed", "created"]);
        assert_eq!((&report["created"], &report["failed"], &report["matched"]), (&json!(2), &json!(3), &json!(5)));
        assert_eq!(report["results"][1]["error"]["matches"], json!([report["results"][0]["id"]]));
        let wrong: Vec<&Value> = report["results"][2]["error"]["errors"].as_array().expect("errors").iter()
            .map(|error| &error["field"]).collect();
        assert_eq!(wrong, ["name", "email", "colour"]);

        let atomic = json!([{"name": "Cem"}, {"name": ""}, {"name": "Dan", "email": "x"}]);
        admin.post("/customers/batch?atomic=true", json!({"items": atomic})).await.invalid(&["items[1].name", "items[2].email"]);
        let atomic = json!([{"name": "Cem"}, {"name": "Ann", "email": "ann@example.com"}]);
        admin.post("/customers/batch?atomic=true", json!({"items": atomic})).await.refused(409, "DUPLICATE");
        assert_eq!(admin.get("/customers?count=true").await.ok()["page"]["total"], 2);
        admin.post("/customers/batch?atomic=true", json!({"items": [{"name": "Cem"}, {"name": "Dan"}]})).await.ok();

        let upsert = json!([{"name": "Ann B", "email": "ann@example.com"}, {"name": "Eve", "email": "eve@example.com"},
            {"name": "Eve", "email": "eve@example.com", "tags": ["twice"]}, {"name": "Nobody"}]);
        let report = admin.post("/customers/batch?mode=upsert", json!({"items": upsert})).await.ok();
        assert_eq!(statuses(&report), ["updated", "created", "updated", "failed"]);
        assert_eq!(report["results"][1]["id"], report["results"][2]["id"]);

        let thousand: Vec<Value> = (0..1000).map(|number| json!({"name": format!("C{number}"), "email": format!("c{number}@example.com")})).collect();
        let report = admin.post("/customers/batch", json!({"items": thousand})).await.ok();
        assert_eq!((&report["created"], &report["failed"]), (&json!(1000), &json!(0)));
        let report = admin.post("/customers/batch", json!({"items": thousand})).await.ok();
        assert_eq!((&report["created"], &report["failed"]), (&json!(0), &json!(1000)));
        let too_many: Vec<Value> = (0..1001).map(|_| json!({"name": "X"})).collect();
        admin.post("/customers/batch", json!({"items": too_many})).await.invalid(&["items"]);
        admin.post("/customers/batch", json!({"items": []})).await.invalid(&["items"]);
        admin.post("/customers/batch", json!({"itms": []})).await.invalid(&["items", "itms"]);
    }

    /// Customers named, or every one that matches, are changed; each change is noted in the audit trail.
    async fn patch(app: App) {
        let admin = app.organization("Shop").await.admin;
        let items: Vec<Value> = (0..230).map(|number| json!({"name": format!("C{number}"), "visits": number, "tags": ["old"]})).collect();
        let report = admin.post("/customers/batch", json!({"items": items})).await.ok();
        let id = |place: usize| report["results"][place]["id"].as_str().expect("an id").to_owned();
        let items = json!([
            {"id": id(0), "email": "first@example.com", "add_tags": ["a"]},
            {"id": id(1), "email": "first@example.com"},
            {"id": id(2), "visits": -1},
            {"id": "0198c1de-5f00-7000-8000-000000000001", "visits": 1},
            {"id": id(3), "visits": 3},
            {"visits": 3},
        ]);
        let patched = admin.patch("/customers/batch", json!({"items": items})).await.ok();
        assert_eq!(statuses(&patched), ["updated", "failed", "failed", "failed", "unchanged", "failed"]);
        let atomic = json!([{"id": id(5), "name": "Changed"}, {"id": id(6), "name": ""}]);
        admin.patch("/customers/batch?atomic=true", json!({"items": atomic})).await.invalid(&["items[1].name"]);
        assert_eq!(admin.get(format!("/customers/{}", id(5))).await.ok()["name"], "C5");

        let by_filter = json!({"filter": {"field": "visits", "op": ">=", "value": 20}, "set": {"visits": 1, "status": "inactive"},
            "add_tags": ["new"], "remove_tags": ["old"]});
        let changed = admin.patch("/customers/batch", by_filter.clone()).await.ok();
        assert_eq!((&changed["matched"], &changed["updated"], &changed["failed"]), (&json!(210), &json!(210), &json!(0)));
        assert_eq!(admin.patch("/customers/batch", by_filter).await.ok()["matched"], 0);
        let tags = admin.get("/customers/tags?sort=-count").await.ok();
        assert_eq!(tags["data"], json!([{"tag": "new", "count": 210}, {"tag": "old", "count": 20}, {"tag": "a", "count": 1}]));
        let entries = admin.get("/audit?action=customer.batch_updated&count=true").await.ok();
        assert_eq!(entries["page"]["total"], 3, "one entry for each commit of 100");

        let atomic = json!({"filter": {"field": "status", "op": "==", "value": "inactive"}, "set": {"email": "all@example.com"}});
        admin.patch("/customers/batch?atomic=true", atomic.clone()).await.refused(409, "DUPLICATE");
        admin.get("/customers?email=all@example.com").await.lists([]);
        let one_by_one = admin.patch("/customers/batch", atomic).await.ok();
        assert_eq!((&one_by_one["updated"], &one_by_one["failed"]), (&json!(1), &json!(209)));

        for (body, fields) in [
            (json!({}), vec!["items"]),
            (json!({"items": [], "filter": {}}), vec!["filter"]),
            (json!({"items": [{"id": id(0)}], "set": {}}), vec!["set"]),
            (json!({"filter": {"field": "spend", "op": ">", "value": 1}}), vec!["set"]),
            (json!({"filter": {"field": "colour", "op": ">", "value": 1}, "add_tags": ["x"]}), vec!["filter.field"]),
            (json!({"filter": {"field": "spend", "op": ">", "value": 1}, "set": {"colour": 1, "visits": "x"}}), vec!["set.colour", "set.visits"]),
        ] {
            admin.patch("/customers/batch", body).await.invalid(&fields);
        }
    }
}
