//! The process told to stop in the middle of requests.

use std::{process::Command, time::Duration};

use reqwest::StatusCode;
use serde_json::json;

use crate::support::{Engine, Place, Server, everything, on_every_engine};

on_every_engine! {
    /// A stop lets requests in hand finish and ends with 0; what was written is there afterwards.
    async fn in_the_middle_of_requests(place: &Place) {
        let mut server = Server::start(place).await;
        server.register().await;
        let token = server.log_in().await;
        let requests: Vec<_> = (0..40)
            .map(|number| {
                let request = server
                    .client
                    .post(format!("{}/api/v1/customers", server.base))
                    .bearer_auth(&token)
                    .json(&json!({"name": format!("Customer {number}")}));
                tokio::spawn(request.send())
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(5)).await;
        let killed = Command::new("kill").arg("-TERM").arg(server.process.id().to_string()).status();
        assert!(killed.expect("kill runs").success());
        let mut created = 0;
        for request in requests {
            // One that came too late for the listener found no server; one that was taken was answered in full.
            if let Ok(answer) = request.await.expect("joined") {
                assert!(
                    [StatusCode::CREATED, StatusCode::SERVICE_UNAVAILABLE].contains(&answer.status()),
                    "{}",
                    answer.status()
                );
                created += usize::from(answer.status() == StatusCode::CREATED);
            }
        }
        let status = server.ended().await;
        assert!(status.success(), "{status}:\n{}", server.printed());

        let server = Server::start(place).await;
        let token = server.log_in().await;
        let customers = everything(&server, "/customers?", &token).await;
        assert!(customers.len() >= created, "{} of {created}", customers.len());
    }
}
