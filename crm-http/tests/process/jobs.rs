//! Jobs while processes come and go.

use std::process::Command;

use reqwest::{
    StatusCode,
    multipart::{Form, Part},
};
use serde_json::{Value, json};

use crate::support::{Engine, Place, Server, on_every_engine};

/// So many organizations import.
const ORGANIZATIONS: usize = 5;
/// So many files each.
const FILES: usize = 20;
/// So many rows a file.
const ROWS: usize = 150;

on_every_engine! {
    /// A hundred imports are on the way when the server is told to stop. It ends with 0 and with no step half done; a worker
    /// does the rest, and every row is there once.
    async fn told_to_stop_in_the_middle_of_a_hundred(place: &Place) {
        let mut server = Server::start(place).await;
        let mut tokens = Vec::new();
        for shop in 0..ORGANIZATIONS {
            let body = json!({"name": "Asha Rao", "email": format!("asha@shop{shop}.example"), "password": "a long enough secret", "organization_name": format!("Shop {shop}")});
            let (status, answer) = server.post("/auth/register", "", &body).await.expect("answered");
            assert_eq!(status, StatusCode::CREATED, "{answer}");
            tokens.push(answer["access_token"].as_str().expect("a token").to_owned());
        }
        let url = format!("{}/api/v1/customers/import", server.base);
        for file in 0..FILES {
            for token in &tokens {
                let rows: String = (0..ROWS).map(|row| format!("Ravi Kumar,r{file}-{row}@mail.example\n")).collect();
                let part = Part::text(format!("name,email\n{rows}")).file_name("ravi.csv");
                let request = server.client.post(&url).bearer_auth(token).multipart(Form::new().part("file", part));
                assert_eq!(request.send().await.expect("answered").status(), StatusCode::ACCEPTED);
            }
        }
        let left = unfinished(&server, &tokens).await;
        assert!(left > 0, "the imports were too fast");
        let killed = Command::new("kill").arg("-TERM").arg(server.process.id().to_string()).status();
        assert!(killed.expect("kill runs").success());
        let status = server.ended().await;
        assert!(status.success(), "{status}:\n{}", server.printed());
        assert!(!server.printed().contains("did not end in time"), "{}", server.printed());

        let worker = Server::work(place);
        let server = Server::start(place).await;
        while unfinished(&server, &tokens).await > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
        for token in &tokens {
            for (list, count) in [("/customers?", FILES * ROWS), ("/jobs?state=succeeded&", FILES)] {
                let (_, page) = server.get(&format!("{list}count=true&limit=1"), token).await;
                assert_eq!(page["page"]["total"], count, "{list}");
            }
            let (_, jobs) = server.get("/jobs?limit=100", token).await;
            let attempts = |job: &Value| job["attempts"].as_i64();
            assert!(jobs["data"].as_array().expect("jobs").iter().all(|job| attempts(job) == Some(1)), "{jobs}");
        }
        assert!(worker.printed().contains("the job has ended"), "the worker did some of them: {}", worker.printed());
    }
}

/// How many jobs have not ended.
async fn unfinished(server: &Server, tokens: &[String]) -> u64 {
    let mut left = 0;
    for token in tokens {
        let (status, page) = server.get("/jobs?state[in]=queued,running&count=true&limit=1", token).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        left += page["page"]["total"].as_u64().expect("a count");
    }
    left
}
