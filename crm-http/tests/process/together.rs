//! Two processes on one database at once.

use std::collections::BTreeSet;

use reqwest::StatusCode;
use serde_json::json;

use crate::support::{Engine, Place, Server, Writers, nothing_is_lost, on_every_engine};

/// How many addresses both processes are asked to take at the same moment.
const RACES: usize = 30;

on_every_engine! {
    /// Two that start on an empty database at the same moment both become ready, take each other's tokens, and hold the
    /// unique keys together; the audit trail that both seal is one chain.
    async fn two_processes_are_one_installation(place: &Place) {
        let (mut left, mut right) = (Server::begin(place), Server::begin(place));
        left.wait_until_ready().await;
        right.wait_until_ready().await;
        left.register().await;
        let token = right.log_in().await;

        let mut acknowledged = BTreeSet::new();
        for number in 0..RACES {
            let email = format!("race{number}@mail.example");
            let body = json!({"name": "Ravi Kumar", "email": email, "tags": ["vip"]});
            let answers = tokio::join!(left.post("/customers", &token, &body), right.post("/customers", &token, &body));
            let answers = [answers.0.expect("answered"), answers.1.expect("answered")];
            let mut statuses: Vec<StatusCode> = answers.iter().map(|(status, _)| *status).collect();
            statuses.sort_unstable();
            assert_eq!(statuses, [StatusCode::CREATED, StatusCode::CONFLICT], "{answers:?}");
            let created = answers.iter().find(|(status, _)| *status == StatusCode::CREATED);
            let id = created.and_then(|(_, body)| body["id"].as_str()).expect("an id");
            acknowledged.insert((email, id.to_owned()));
        }

        let writers = [Writers::start(&left, &token, "left", 3), Writers::start(&right, &token, "right", 3)];
        writers[0].acknowledge(60, &left).await;
        writers[1].acknowledge(60, &right).await;
        for writers in writers {
            acknowledged.append(&mut writers.stop().await);
        }
        nothing_is_lost(&right, &token, &acknowledged, 0).await;

        // A change of one is seen by the other at once.
        let (email, id) = acknowledged.first().expect("there are customers").clone();
        let path = format!("{}/api/v1/customers/{id}", left.base);
        let changed = left.client.patch(path).bearer_auth(&token).json(&json!({"name": "Asha"})).send().await;
        assert_eq!(changed.expect("answered").status(), StatusCode::OK);
        let (_, seen) = right.get(&format!("/customers/{id}"), &token).await;
        assert_eq!((&seen["name"], &seen["email"]), (&json!("Asha"), &json!(email)));
    }
}
