//! What is no customer is refused with its field named, and nothing is written.

use serde_json::{Value, json};

use crate::support::{App, on_every_store};

fn table() -> Vec<(Value, Vec<&'static str>)> {
    let long = "x".repeat(201);
    vec![
        (json!({}), vec!["name"]),
        (json!({"name": null}), vec!["name"]),
        (json!({"name": ""}), vec!["name"]),
        (json!({"name": "   "}), vec!["name"]),
        (json!({"name": long}), vec!["name"]),
        (json!({"name": 5}), vec!["name"]),
        (json!({"name": ["a"]}), vec!["name"]),
        (json!({"name": {"$gt": ""}}), vec!["name"]),
        (json!({"name": "a\u{7}b"}), vec!["name"]),
        (json!({"name": "A", "email": "not an address"}), vec!["email"]),
        (json!({"name": "A", "email": {"$ne": null}}), vec!["email"]),
        (json!({"name": "A", "email": ["a@example.com"]}), vec!["email"]),
        (json!({"name": "A", "emails": "a@example.com"}), vec!["emails"]),
        (json!({"name": "A", "emails": ["a@example.com", "b"]}), vec!["emails[1]"]),
        (json!({"name": "A", "emails": vec!["a@example.com"; 51]}), vec!["emails"]),
        (json!({"name": "A", "phone": "12"}), vec!["phone"]),
        (json!({"name": "A", "phone": 919876543210_i64}), vec!["phone"]),
        (json!({"name": "A", "phones": vec!["+919876543210"; 51]}), vec!["phones"]),
        (json!({"name": "A", "tags": vec!["t"; 10_000]}), vec!["tags"]),
        (json!({"name": "A", "tags": (0..101).map(|n| n.to_string()).collect::<Vec<_>>()}), vec!["tags"]),
        (json!({"name": "A", "tags": "vip"}), vec!["tags"]),
        (json!({"name": "A", "tags": [""]}), vec!["tags[0]"]),
        (json!({"name": "A", "tags": ["x".repeat(65)]}), vec!["tags[0]"]),
        (json!({"name": "A", "status": "gone"}), vec!["status"]),
        (json!({"name": "A", "type": "gold"}), vec!["type"]),
        (json!({"name": "A", "spend": "5"}), vec!["spend"]),
        (json!({"name": "A", "spend": -0.01}), vec!["spend"]),
        (json!({"name": "A", "spend": 0.00001}), vec!["spend"]),
        (json!({"name": "A", "spend": 1e15}), vec!["spend"]),
        (json!({"name": "A", "visits": 1.5}), vec!["visits"]),
        (json!({"name": "A", "visits": 9223372036854775808_u64}), vec!["visits"]),
        (json!({"name": "A", "last_active": "yesterday"}), vec!["last_active"]),
        (json!({"name": "A", "last_active": 5}), vec!["last_active"]),
        (json!({"name": "A", "group_ids": ["x"]}), vec!["group_ids[0]"]),
        (json!({"name": "A", "user_id": "x"}), vec!["user_id"]),
        (json!({"name": "A", "owner_id": "0198c1de-5f00-7000-8000-000000000001"}), vec!["owner_id"]),
        (json!({"name": "A", "consent": {"email": "yes"}}), vec!["consent.email"]),
        (json!({"name": "A", "consent": {"": true}}), vec!["consent"]),
        (json!({"name": "A", "consent": [true]}), vec!["consent"]),
        (json!({"name": "A", "custom": {"nothing": 1}}), vec!["custom.nothing"]),
        (json!({"name": "A", "custom": 5}), vec!["custom"]),
        (json!({"name": "A", "metadata": []}), vec!["metadata"]),
        (json!({"name": "A", "metadata": {"a": "x".repeat(17_000)}}), vec!["metadata"]),
        (json!({"name": "A", "colour": "red"}), vec!["colour"]),
        (json!({"name": "A", "id": "0198c1de-5f00-7000-8000-000000000001"}), vec!["id"]),
        (
            json!({"name": "A", "version": 1, "created_at": "2026-01-01T00:00:00Z", "organization_id": 1, "total_orders": 5}),
            vec!["version", "created_at", "organization_id", "total_orders"],
        ),
        (
            json!({"name": 1, "email": 2, "phone": 3, "status": 4, "tags": 5, "colour": 6}),
            vec!["name", "email", "phone", "status", "tags", "colour"],
        ),
    ]
}

on_every_store! {
    /// Every wrong field is named, all of them at once, whatever the door; nothing is written.
    async fn fields(app: App) {
        let admin = app.organization("Shop").await.admin;
        let kim = admin.post("/customers", json!({"name": "Kim"})).await.created();
        for (body, fields) in table() {
            admin.post("/customers", body.clone()).await.invalid(&fields);
            // A number beyond 64 bits is refused before anybody looks at customers.
            if body["visits"].as_u64().is_none_or(|visits| visits <= i64::MAX.unsigned_abs()) {
                let report = admin.post("/customers/batch", json!({"items": [body.clone()]})).await.ok();
                assert_eq!(report["failed"], 1, "{body}");
            }
            let read_only = ["id", "version", "created_at", "organization_id", "total_orders"];
            if !fields.iter().any(|field| read_only.contains(field)) {
                admin.put(&kim, body).await.invalid(&fields);
            }
        }
        for body in ["[]", "\"x\"", "5", "null"] {
            admin.request(reqwest::Method::POST, "/customers").raw("application/json", body).await.invalid(&["body"]);
        }
        let raw = |body: &'static [u8]| admin.request(reqwest::Method::POST, "/customers").raw("application/json", body);
        for body in [
            br#"{"name":"A","name":"B"}"#.as_slice(),
            br#"{"name":"A\u0000"}"#,
            br#"{"name":"\ud800"}"#,
            br#"{"name":"A","metadata":{"n":1e999}}"#,
            br#"{"name":"A","visits":99999999999999999999999}"#,
            b"{\"name\":\"\xff\"}",
            b"{\"name\":",
            b"",
        ] {
            raw(body).await.refused(400, "VALIDATION_ERROR");
        }
        let deep = format!(r#"{{"name":"A","metadata":{{"a":{}{}}}}}"#, "[".repeat(50), "]".repeat(50));
        admin.request(reqwest::Method::POST, "/customers").raw("application/json", deep).await.refused(400, "VALIDATION_ERROR");
        let camel_twice = json!({"name": "A", "full_name": "B", "lastActive": null, "last_active": null});
        admin.post("/customers", camel_twice).await.expect_status(400);
        assert_eq!(admin.get(&kim).await.ok(), kim.body, "nothing was written");
        assert_eq!(admin.get("/customers?count=true").await.ok()["page"]["total"], 1);
        assert_eq!(admin.get("/audit?action=customer.updated&count=true").await.ok()["page"]["total"], 0);
    }

    /// Signs that mean something to a database are letters like others.
    async fn signs(app: App) {
        let admin = app.organization("Shop").await.admin;
        for name in ["Robert'); DROP TABLE customers;--", "100% _under_ \\back\\", "\" OR 1=1", "$where: 1", "{{7*7}}", "<b>x</b>"] {
            let body = json!({"name": name, "tags": [name], "metadata": {name: name}});
            let customer = admin.post("/customers", body).await.created();
            assert_eq!((&customer["name"], &customer["metadata"][name]), (&json!(name), &json!(name)));
            let body = json!({"filter": {"and": [{"field": "name", "op": "==", "value": name}, {"field": "tags", "op": "contains", "value": name}]}});
            admin.post("/customers/search", body).await.lists([&customer]);
            admin.post("/customers/search", json!({"filter": {"field": "name", "op": "contains", "value": name}})).await.lists([&customer]);
        }
        assert_eq!(admin.get("/customers?count=true").await.ok()["page"]["total"], 6);
    }
}
