//! Another organization's records are as if they were not there, on every route, in the same words.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{App, Client, on_every_store};

/// A method, the path for an id, a body, and the foreign id.
type Route<'a> = (Method, Box<dyn Fn(&str) -> String + 'a>, Option<Value>, &'a str);

/// The answer without what differs from request to request.
async fn told(client: &Client, method: &Method, path: &str, body: &Option<Value>) -> (u16, Value) {
    let mut request = client.request(method.clone(), path);
    if let Some(body) = body {
        request = request.json(body);
    }
    let answer = request.await;
    let mut told = answer.json();
    if let Some(members) = told.as_object_mut() {
        members.remove("request_id");
    }
    (answer.status.as_u16(), told)
}

on_every_store! {
    /// Each route, asked for a foreign record and for one that does not exist, says the same: 404.
    async fn every_route(app: App) {
        let (shop, other) = (app.organization("Shop").await.admin, app.organization("Other").await.admin);
        let group = shop.post("/customers/groups", json!({"name": "Gold"})).await.created();
        let kim = shop.post("/customers", json!({"name": "Kim", "email": "kim@example.com", "tags": ["secret"],
            "group_ids": [group.id()]})).await.created();
        let note = shop.post(format!("{kim}/notes"), json!({"text": "Hush."})).await.created();
        let binned = shop.post("/customers", json!({"name": "Binned"})).await.created();
        shop.delete(&binned).await.no_content();
        let own = other.post("/customers", json!({"name": "Own"})).await.created();
        let nowhere = "0198c1de-5f00-7000-8000-000000000001";

        let customer = |id: &str, rest: &str| format!("/customers/{id}{rest}");
        let routes: Vec<Route<'_>> = vec![
            (Method::GET, Box::new(move |id| customer(id, "")), None, kim.id()),
            (Method::PUT, Box::new(move |id| customer(id, "")), Some(json!({"name": "X"})), kim.id()),
            (Method::PATCH, Box::new(move |id| customer(id, "")), Some(json!({"name": "X"})), kim.id()),
            (Method::DELETE, Box::new(move |id| customer(id, "")), None, kim.id()),
            (Method::DELETE, Box::new(move |id| customer(id, "?hard=true")), None, kim.id()),
            (Method::POST, Box::new(move |id| customer(id, "/restore")), None, binned.id()),
            (Method::GET, Box::new(move |id| customer(id, "/notes")), None, kim.id()),
            (Method::POST, Box::new(move |id| customer(id, "/notes")), Some(json!({"text": "X"})), kim.id()),
            (Method::GET, Box::new(|id| format!("{kim}/notes/{id}")), None, note.id()),
            (Method::PUT, Box::new(|id| format!("{kim}/notes/{id}")), Some(json!({"text": "X"})), note.id()),
            (Method::DELETE, Box::new(|id| format!("{kim}/notes/{id}")), None, note.id()),
            (Method::GET, Box::new(|id| format!("{own}/notes/{id}")), None, note.id()),
            (Method::GET, Box::new(|id| format!("/customers/groups/{id}")), None, group.id()),
            (Method::PUT, Box::new(|id| format!("/customers/groups/{id}")), Some(json!({"name": "X"})), group.id()),
            (Method::DELETE, Box::new(|id| format!("/customers/groups/{id}")), None, group.id()),
            (Method::POST, Box::new(|id| format!("/customers/groups/{id}/members")), Some(json!({"customer_ids": [own.id()]})), group.id()),
            (Method::DELETE, Box::new(|id| format!("/customers/groups/{id}/members")), Some(json!({"customer_ids": [own.id()]})), group.id()),
        ];
        for (method, path, body, foreign) in &routes {
            let (asked_foreign, asked_nowhere) = (path(foreign), path(nowhere));
            let foreign = told(&other, method, &asked_foreign, body).await;
            let missing = told(&other, method, &asked_nowhere, body).await;
            assert_eq!((foreign.0, &foreign), (404, &missing), "{method} {asked_foreign}");
        }
        // Nor does it show in lists, counts, searches and references.
        other.get("/customers?count=true").await.lists([&own]);
        other.get("/customers?search=kim").await.lists([]);
        other.get("/customers?email=kim@example.com").await.lists([]);
        other.get(format!("/customers?group={}", group.id())).await.lists([]);
        other.get("/customers?deleted=true").await.lists([]);
        other.get("/customers/groups").await.lists([]);
        assert_eq!(other.get("/customers/tags").await.ok()["data"], json!([]));
        other.post("/customers/tags/rename", json!({"from": "secret", "to": "known"})).await.refused(404, "NOT_FOUND");
        other.patch(&own, json!({"group_ids": [group.id()]})).await.invalid(&["group_ids[0]"]);
        let report = other.patch("/customers/batch", json!({"items": [{"id": kim.id(), "name": "X"}, {"id": nowhere, "name": "X"}]})).await.ok();
        assert_eq!(report["results"][0]["error"], report["results"][1]["error"]);
        let change = other.patch("/customers/batch", json!({"filter": {"field": "name", "op": "exists"}, "add_tags": ["x"]})).await.ok();
        assert_eq!(change["matched"], 1);
        // The same address belongs to a customer of each.
        other.post("/customers", json!({"name": "Kim", "email": "kim@example.com"})).await.created();
        assert_eq!(shop.get(&kim).await.ok(), kim.body, "nothing was changed");
    }

    /// Ids that are none name nothing.
    async fn malformed_ids(app: App) {
        let admin = app.organization("Shop").await.admin;
        for id in ["x", "1", "%00", "0198c1de-5f00-7000-8000-00000000000", "'%20OR%201=1", "%2e%2e", "%ff"] {
            for path in [format!("/customers/{id}"), format!("/customers/{id}/notes"), format!("/customers/groups/{id}")] {
                let status = admin.get(&path).await.status.as_u16();
                assert!(status == 404 || status == 400, "{path}: {status}");
            }
        }
    }
}
