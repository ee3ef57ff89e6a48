//! One customer: created, read, replaced, changed, deleted, restored.

use serde_json::json;

use crate::support::{App, on_every_store};

on_every_store! {
    /// An Admin writes a customer down, corrects it, deletes it and takes it back.
    async fn a_customer(app: App) {
        let admin = app.organization("Shop").await.admin;
        let ann = admin.post("/customers", json!({
            "name": "  Amélie Poulain ", "email": "Amelie@Example.com", "phone": "+33 1 42 68 53 00",
            "tags": ["vip", "vip", "paris"], "spend": 1249.5, "visits": 12,
            "consent": {"email": true, "sms": {"granted": false, "source": "call"}}, "metadata": {"a.b": {"$x": 1}},
        })).await.created();
        assert_eq!(ann["name"], "Amélie Poulain");
        assert_eq!((&ann["email"], &ann["phone"]), (&json!("amelie@example.com"), &json!("+33142685300")));
        assert_eq!((&ann["status"], &ann["type"]), (&json!("active"), &json!("regular")));
        assert_eq!(ann["tags"], json!(["vip", "paris"]));
        assert_eq!((&ann["spend"], &ann["visits"], &ann["total_orders"]), (&json!(1249.5), &json!(12), &json!(0)));
        assert_eq!(ann["consent"]["email"]["granted"], true);
        assert_eq!(ann["metadata"], json!({"a.b": {"$x": 1}}));
        assert_eq!((&ann["version"], ann.etag.as_str()), (&json!(1), "\"1\""));
        assert_eq!(ann.path, format!("/api/v1/customers/{}", ann.id()));
        assert!(ann.body.get("deleted_at").is_none() && ann["organization_id"].is_string());

        let read = admin.get(&ann).await.found(&ann);
        assert_eq!((&read.body, &read.etag), (&ann.body, &ann.etag));
        assert_eq!(admin.get(format!("/api/customers/{}", ann.id())).await.ok(), ann.body, "also under /api");
        assert_eq!(admin.get(format!("{ann}?fields=name,tags")).await.ok(), json!({"name": ann["name"], "tags": ann["tags"]}));
        admin.get(format!("{ann}?fields=password")).await.invalid(&["fields"]);
        admin.get(format!("{ann}?colour=red")).await.invalid(&["colour"]);

        let patched = admin.patch(&ann, json!({"status": "inactive", "phone": null, "add_tags": ["new"],
            "remove_tags": ["vip"], "consent": {"sms": null}, "metadata": {"c": 2}})).await.found(&ann);
        assert_eq!((&patched["status"], &patched["phone"], &patched["version"]), (&json!("inactive"), &json!(null), &json!(2)));
        assert_eq!(patched["tags"], json!(["paris", "new"]));
        assert_eq!(patched["consent"].as_object().map(serde_json::Map::len), Some(1));
        assert_eq!(patched["metadata"], json!({"a.b": {"$x": 1}, "c": 2}));

        admin.delete(&ann).await.no_content();
        admin.get(&ann).await.refused(404, "NOT_FOUND");
        admin.patch(&ann, json!({"name": "X"})).await.refused(404, "NOT_FOUND");
        admin.delete(&ann).await.refused(404, "NOT_FOUND");
        admin.get("/customers").await.lists([]);
        let bin = admin.get("/customers?deleted=true").await.lists([&ann]);
        assert!(bin["data"][0]["deleted_at"].is_string());
        let restored = admin.request(reqwest::Method::POST, format!("{ann}/restore")).await.found(&ann);
        assert_eq!(restored["tags"], patched["tags"]);
        admin.request(reqwest::Method::POST, format!("{ann}/restore")).await.refused(404, "NOT_FOUND");
        admin.get("/customers?deleted=true").await.lists([]);

        // The last deleted comes first, unless another order is asked for.
        let bea = admin.post("/customers", json!({"name": "Bea"})).await.created();
        admin.delete(&bea).await.no_content();
        admin.delete(&ann).await.no_content();
        admin.get("/customers?deleted=true&sort=-created_at").await.lists([&bea, &ann]);
        admin.get("/customers?deleted=true&sort=created_at").await.lists([&ann, &bea]);
        for customer in [&ann, &bea] {
            admin.request(reqwest::Method::POST, format!("{customer}/restore")).await.found(customer);
        }
        admin.delete(format!("{bea}?hard=true")).await.no_content();

        admin.delete(format!("{ann}?hard=true")).await.no_content();
        admin.get("/customers?deleted=true").await.lists([]);
        admin.request(reqwest::Method::POST, format!("{ann}/restore")).await.refused(404, "NOT_FOUND");
    }

    /// PUT gives what is left out its default, PATCH leaves it; what GET gave can be put back.
    async fn put_and_patch(app: App) {
        let admin = app.organization("Shop").await.admin;
        let ann = admin.post("/customers", json!({"name": "Ann", "email": "ann@example.com", "spend": 50, "tags": ["a"],
            "last_active": "2026-01-01T00:00:00+05:30", "metadata": {"k": 1}})).await.created();
        assert_eq!(ann["last_active"], "2025-12-31T18:30:00.000Z");
        let back = admin.put(&ann, ann.body.clone()).await.found(&ann);
        assert_eq!(back.body, ann.body, "nothing changes, not even the version");
        let same = admin.patch(&ann, json!({})).await.found(&ann);
        assert_eq!(same.body, ann.body);
        let replaced = admin.put(&ann, json!({"name": "Ann B"})).await.found(&ann);
        for (field, value) in [("email", json!(null)), ("spend", json!(0)), ("tags", json!([])), ("metadata", json!({})),
            ("last_active", json!(null)), ("version", json!(2))] {
            assert_eq!(replaced[field], value, "{field}");
        }
        admin.put(&ann, json!({"email": "ann@example.com"})).await.invalid(&["name"]);
        admin.patch(&ann, json!({"name": null})).await.invalid(&["name"]);
    }

    /// Whoever read an older version than the one stored writes nothing.
    async fn versions(app: App) {
        let admin = app.organization("Shop").await.admin;
        let first = admin.post("/customers", json!({"name": "Ann"})).await.created();
        let second = admin.patch(&first, json!({"name": "Bea"})).if_match(&first).await.found(&first);
        admin.patch(&first, json!({"name": "Cem"})).if_match(&first).await.refused(412, "VERSION_CONFLICT");
        admin.put(&first, json!({"name": "Cem"})).if_match(&first).await.refused(412, "VERSION_CONFLICT");
        admin.delete(&first).if_match(&first).await.refused(412, "VERSION_CONFLICT");
        admin.delete(format!("{first}?hard=true")).if_match(&first).await.refused(412, "VERSION_CONFLICT");
        admin.patch(&first, json!({"name": "Cem"})).header("if-match", "\"not-ours\"").await.refused(412, "VERSION_CONFLICT");
        admin.patch(&first, json!({"name": "Cem"})).header("if-match", "rubbish").await.invalid(&["If-Match"]);
        assert_eq!(admin.get(&first).await.ok(), second.body, "nothing was written");
        admin.delete(&first).if_match(&second).await.no_content();
    }

    /// Changes that name no version are all made, however many come at once.
    async fn changes_at_once(app: App) {
        let admin = app.organization("Shop").await.admin;
        let ann = admin.post("/customers", json!({"name": "Ann"})).await.created();
        let tagging = (0..40).map(|number| admin.patch(&ann, json!({"add_tags": [format!("t{number}")]})));
        for answer in futures::future::join_all(tagging.map(IntoFuture::into_future)).await {
            answer.ok();
        }
        let tagged = admin.get(&ann).await.ok();
        assert_eq!((tagged["tags"].as_array().map(Vec::len), &tagged["version"]), (Some(40), &json!(41)));
    }

    /// An upsert finds the customer by e-mail, else by phone.
    async fn upsert(app: App) {
        let admin = app.organization("Shop").await.admin;
        let body = json!({"name": "Ann", "email": "ann@example.com", "spend": 10});
        let ann = admin.post("/customers?mode=upsert", body).await.created();
        let body = json!({"name": "Ann B", "email": "ANN@example.com", "phone": "+919876543210"});
        let again = admin.post("/customers?mode=upsert", body).await.found(&ann);
        assert_eq!((again.id(), &again["name"], &again["spend"]), (ann.id(), &json!("Ann B"), &json!(10)));
        let by_phone = admin.post("/customers?mode=upsert", json!({"name": "Ann C", "phone": "+919876543210"})).await;
        assert_eq!(by_phone.found(&ann)["name"], "Ann C");
        admin.post("/customers?mode=upsert", json!({"name": "Nobody"})).await.invalid(&["email"]);
        admin.post("/customers?mode=replace", json!({"name": "X"})).await.invalid(&["mode"]);
        let bea = json!({"name": "Bea", "email": "bea@example.com"});
        admin.post("/customers", bea).await.created();
        // The e-mail means Bea, and Ann has the phone.
        let clash = json!({"name": "Bea", "email": "bea@example.com", "phone": "+919876543210"});
        let refused = admin.post("/customers?mode=upsert", clash).await.refused(409, "DUPLICATE");
        assert_eq!(refused["matches"], json!([ann.id()]));
    }

    /// A retail client finds its own names in and out.
    async fn retail_profile(app: App) {
        let admin = app.organization("Shop").await.admin;
        let ann = admin.post("/customers?profile=retail", json!({"full_name": "Ann", "contact_number": "+919876543210",
            "customer_status": "inactive", "customer_type": "vip"})).await.created();
        assert_eq!((&ann["full_name"], &ann["contact_number"]), (&json!("Ann"), &json!("+919876543210")));
        assert_eq!((&ann["customer_status"], &ann["customer_type"]), (&json!("inactive"), &json!("vip")));
        for name in ["name", "phone", "status", "type"] {
            assert!(ann.body.get(name).is_none(), "{name}");
        }
        let plain = admin.get(&ann).await.found(&ann);
        assert_eq!((&plain["name"], &plain["type"]), (&json!("Ann"), &json!("vip")));
        let back = admin.put(format!("{ann}?profile=retail"), ann.body.clone()).await.found(&ann);
        assert_eq!(back.body, ann.body);
        let list = admin.get("/customers?profile=retail&customer_status=inactive&fields=full_name,id").await.ok();
        assert_eq!(list["data"], json!([{"id": ann.id(), "full_name": "Ann"}]));
        let camel = admin.post("/customers", json!({"fullName": "Bea", "customerType": "wholesale", "lastActive": null})).await;
        assert_eq!(camel.created()["type"], "wholesale");
        admin.post("/customers", json!({"name": "X", "full_name": "Y"})).await.invalid(&["name"]);
        admin.get(format!("{ann}?profile=wholesale")).await.invalid(&["profile"]);
    }

    /// The organization's country reads national numbers; its settings may name its own customer types.
    async fn the_organizations_own_ways(app: App) {
        let admin = app.organization("Shop").await.admin;
        admin.post("/customers", json!({"name": "Ann", "phone": "098765 43210"})).await.invalid(&["phone"]);
        let settings = json!({"country": "IN", "settings": {"customer_types": ["member", "guest"]}});
        let mut organization = admin.get("/admin/organization").await.ok();
        for (name, value) in settings.as_object().expect("settings") {
            organization[name] = value.clone();
        }
        admin.put("/admin/organization", organization).await.ok();
        let ann = admin.post("/customers", json!({"name": "Ann", "phone": "098765 43210"})).await.created();
        assert_eq!((&ann["phone"], &ann["type"]), (&json!("+919876543210"), &json!("member")));
        admin.post("/customers", json!({"name": "Bea", "type": "vip"})).await.invalid(&["type"]);
        admin.get("/customers?phone=09876543210").await.lists([&ann]);
    }
}
