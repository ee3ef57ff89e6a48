//! The one duplicate rule, behind every door and under races.

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{App, on_every_store};

on_every_store! {
    /// Nobody gets an address or a number that another has, whichever way they try.
    async fn every_door(app: App) {
        let admin = app.organization("Shop").await.admin;
        let ann = json!({"name": "Ann", "email": "ann@example.com", "phones": ["+5511987654321"]});
        let ann = admin.post("/customers", ann).await.created();
        let bob = admin.post("/customers", json!({"name": "Bob", "email": "bob@example.com"})).await.created();

        for body in [
            json!({"name": "X", "email": "ANN@EXAMPLE.COM"}),
            json!({"name": "X", "emails": ["x@example.com", "ann@example.com"]}),
            // Brazil, without the ninth digit.
            json!({"name": "X", "phone": "+55 11 8765-4321"}),
        ] {
            let refused = admin.post("/customers", body.clone()).await.refused(409, "DUPLICATE");
            assert_eq!(refused["matches"], json!([ann.id()]), "{body}");
            let mut change = body.clone();
            change["name"] = json!("Bob");
            for answer in [admin.put(&bob, change.clone()).await, admin.patch(&bob, change.clone()).await] {
                assert_eq!(answer.refused(409, "DUPLICATE")["matches"], json!([ann.id()]), "{body}");
            }
            let report = admin.post("/customers/batch", json!({"items": [body]})).await.ok();
            assert_eq!(report["results"][0]["error"]["code"], "DUPLICATE");
            assert_eq!(report["results"][0]["error"]["matches"], json!([ann.id()]));
            change["id"] = json!(bob.id());
            let report = admin.patch("/customers/batch", json!({"items": [change]})).await.ok();
            assert_eq!(report["results"][0]["error"]["code"], "DUPLICATE");
        }
        assert_eq!(admin.get(&bob).await.ok(), bob.body, "nothing was written");
        assert_eq!(admin.get("/customers?count=true").await.ok()["page"]["total"], 2);

        // Deleting frees them; restoring may come too late.
        admin.delete(&ann).await.no_content();
        admin.patch(&bob, json!({"emails": ["ann@example.com"]})).await.ok();
        let restore = format!("{ann}/restore");
        let refused = admin.request(Method::POST, &restore).await.refused(409, "DUPLICATE");
        assert_eq!((&refused["matches"], &refused["errors"][0]["field"]), (&json!([bob.id()]), &json!("email")));
        admin.patch(&bob, json!({"emails": []})).await.ok();
        admin.request(Method::POST, &restore).await.ok();
    }

    /// A phone is shared where the caller says so; an e-mail never.
    async fn a_shared_phone(app: App) {
        let admin = app.organization("Shop").await.admin;
        let family = |name: &str| json!({"name": name, "phone": "+919876543210"});
        let mother = admin.post("/customers", family("Mother")).await.created();
        admin.post("/customers", family("Son")).await.refused(409, "DUPLICATE");
        let son = admin.post("/customers?allow_duplicate_phone=true", family("Son")).await.created();
        let refused = admin.post("/customers", family("Stranger")).await.refused(409, "DUPLICATE");
        assert_eq!(refused["matches"], json!([mother.id(), son.id()]));
        admin.delete(&mother).await.no_content();
        admin.post("/customers", family("Stranger")).await.refused(409, "DUPLICATE");
        admin.request(Method::POST, format!("{mother}/restore")).await.refused(409, "DUPLICATE");
        admin.request(Method::POST, format!("{mother}/restore?allow_duplicate_phone=true")).await.ok();
        let email = json!({"name": "X", "email": "x@example.com"});
        admin.post("/customers", email.clone()).await.created();
        admin.post("/customers?allow_duplicate_phone=true", email).await.refused(409, "DUPLICATE");
        admin.post("/customers?allow_duplicate_phone=yes", json!({"name": "Y"})).await.invalid(&["allow_duplicate_phone"]);
    }

    /// Of many requests at once exactly one gets the address; the others learn who has it.
    async fn at_once(app: App) {
        let admin = app.organization("Shop").await.admin;
        let create = (0..16).map(|number| {
            let body = json!({"name": format!("Racer {number}"), "email": "race@example.com", "phone": "+919876543210"});
            async { admin.post("/customers", body).await }
        });
        let answers = join_all(create).await;
        let (won, lost): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 201);
        assert_eq!(won.len(), 1);
        let winner = won[0].created();
        for answer in lost {
            assert_eq!(answer.refused(409, "DUPLICATE")["matches"], json!([winner.id()]));
        }
        admin.get("/customers?email=race@example.com&count=true").await.lists([&winner]);

        // The same at the doors of those who are there already.
        let names: Vec<Value> = (0..8).map(|number| json!({"name": format!("C{number}")})).collect();
        let report = admin.post("/customers/batch", json!({"items": names})).await.ok();
        let ids: Vec<&str> = report["results"].as_array().expect("results").iter().filter_map(|result| result["id"].as_str()).collect();
        let patches = ids.iter().map(|id| {
            let admin = &admin;
            async move { admin.patch(format!("/customers/{id}"), json!({"email": "late@example.com"})).await }
        });
        let statuses: Vec<u16> = join_all(patches).await.iter().map(|answer| answer.status.as_u16()).collect();
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
        assert_eq!(statuses.iter().filter(|status| **status == 409).count(), 7, "{statuses:?}");
        // A phone shared on purpose by everybody at once is shared by everybody.
        let shared = ids.iter().map(|id| {
            let admin = &admin;
            let path = format!("/customers/{id}?allow_duplicate_phone=true");
            async move { admin.patch(path, json!({"phone": "+919999999999"})).await }
        });
        let statuses: Vec<u16> = join_all(shared).await.iter().map(|answer| answer.status.as_u16()).collect();
        assert_eq!(statuses, [200; 8]);
    }
}
