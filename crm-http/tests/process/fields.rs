//! The process killed in the middle of a change of a custom field.

use std::time::Duration;

use crm_core::port::{OperatingSystemRandom, Random as _};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::{
    relay::rounds,
    support::{Engine, Place, Server, on_every_engine},
};

/// So many customers have a value, a thousand a request.
const CUSTOMERS: usize = 2000;

on_every_engine! {
    /// The type of a field with many values is changed again and again, and the process killed meanwhile. Whoever comes next
    /// finishes what was begun: every value is of the field's type, and nobody's is lost.
    async fn whose_type_is_changed(place: &Place) {
        let mut server = Server::start(place).await;
        server.register().await;
        let token = server.log_in().await;
        let (status, field) =
            server.post("/customers/fields", &token, &json!({"key": "size", "type": "text"})).await.expect("answered");
        assert_eq!(status, StatusCode::CREATED, "{field}");
        let path = format!("/customers/fields/{}", field["id"].as_str().expect("an id"));
        for first in (0..CUSTOMERS).step_by(1000) {
            let people: Vec<Value> = (first..first + 1000)
                .map(|number| json!({"name": "Ravi Kumar", "custom": {"size": number.to_string()}}))
                .collect();
            let (status, answer) = server.post("/customers/batch", &token, &json!({"items": people})).await.expect("answered");
            assert_eq!((status, &answer["created"]), (StatusCode::OK, &json!(1000)), "{answer}");
        }
        // What a killed process held is another's after ten seconds: fewer rounds than elsewhere.
        for _ in 0..rounds().div_ceil(3) {
            let token = server.log_in().await;
            let (_, before) = server.get(&path, &token).await;
            let other = if before["type"] == "text" { "number" } else { "text" };
            let url = format!("{}/api/v1{path}", server.base);
            let changing = server.client.put(url).bearer_auth(&token).json(&json!({"type": other})).send();
            let mut random = [0];
            OperatingSystemRandom.fill(&mut random);
            // It may be done by then, or not be begun.
            let _ = tokio::time::timeout(Duration::from_millis(20 + 2 * u64::from(random[0])), changing).await;
            server.process.kill().expect("killed");
            server.process.wait().expect("ended");
            server = Server::start(place).await;
            let token = server.log_in().await;
            let after = finished(&server, &path, &token).await;
            let (_, counted) = server.get("/customers?custom.size[exists]=true&count=true&limit=1", &token).await;
            assert_eq!(counted["page"]["total"], CUSTOMERS, "{after}");
            for sort in ["created_at", "-created_at"] {
                let (_, page) = server.get(&format!("/customers?limit=100&sort={sort}"), &token).await;
                let sizes = page["data"].as_array().expect("customers").iter().map(|customer| &customer["custom"]["size"]);
                let is_text = after["type"] == "text";
                assert!(sizes.into_iter().all(|size| size.is_string() == is_text), "{after}\n{page}");
            }
        }
        let (_, jobs) = server.get("/jobs?kind=custom_field_work&limit=100", &server.log_in().await).await;
        let jobs = jobs["data"].as_array().expect("jobs");
        assert!(jobs.iter().all(|job| job["state"] == "succeeded"), "{jobs:?}");
    }
}

/// The field once nothing is pending any more: what the killed process had begun is another's when its hold is over.
async fn finished(server: &Server, path: &str, token: &str) -> Value {
    let finished = async {
        loop {
            let (status, field) = server.get(path, token).await;
            assert_eq!(status, StatusCode::OK, "{field}");
            if field.get("pending").is_none() {
                return field;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let finished = tokio::time::timeout(Duration::from_secs(120), finished).await;
    finished.unwrap_or_else(|_| panic!("the field is not finished:\n{}", server.printed()))
}
