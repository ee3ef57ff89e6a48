//! The process killed in the middle of an import.

use std::time::Duration;

use reqwest::{
    StatusCode,
    multipart::{Form, Part},
};
use serde_json::{Value, json};

use crate::support::{Engine, Place, Server, on_every_engine};

/// The rows of the file.
const ROWS: usize = 20_000;
/// So many rows are read before each kill.
const READ: u64 = 2000;
/// So many rows are one part.
const PART: usize = 500;

on_every_engine! {
    /// Started again, the server goes on where it was: in the end every row is there once, with one audit entry for each
    /// part.
    async fn killed_in_the_middle(place: &Place) {
        let mut server = Server::start(place).await;
        server.register().await;
        let mut token = server.log_in().await;
        let rows: String = (0..ROWS).map(|row| format!("Ravi Kumar {row},r{row}@mail.example,vip\n")).collect();
        let file = Part::text(format!("name,email,tags\n{rows}")).file_name("ravi.csv");
        let url = format!("{}/api/v1/customers/import", server.base);
        let request = server.client.post(url).bearer_auth(&token).multipart(Form::new().part("file", file));
        let answer = request.send().await.expect("answered");
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
        let import: Value = answer.json().await.expect("JSON");
        let path = format!("/customers/import/{}", import["id"].as_str().expect("an id"));

        let mut read = 0;
        for kills in 0..2 {
            let wanted = read + READ;
            while read < wanted {
                tokio::time::sleep(Duration::from_millis(5)).await;
                read = server.get(&path, &token).await.1["rows_read"].as_u64().expect("a count");
            }
            if read >= ROWS as u64 {
                assert!(kills > 0, "the import was too fast to be killed");
                break;
            }
            server.process.kill().expect("killed");
            server.process.wait().expect("ended");
            server = Server::start(place).await;
            token = server.log_in().await;
            let (_, seen) = server.get(&path, &token).await;
            assert!(seen["rows_read"].as_u64() >= Some(read), "{read} rows were told, and now it is {seen}");
        }
        let ended = loop {
            let (status, seen) = server.get(&path, &token).await;
            assert_eq!(status, StatusCode::OK, "{seen}");
            if !matches!(seen["state"].as_str(), Some("queued" | "running")) {
                break seen;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        assert_eq!((&ended["state"], &ended["created"], &ended["failed"]), (&json!("succeeded"), &json!(ROWS), &json!(0)));
        for (list, count) in [
            ("/customers", ROWS),
            ("/customers?tags=vip", ROWS),
            ("/audit?action=customers.imported", ROWS / PART),
        ] {
            let mark = if list.contains('?') { '&' } else { '?' };
            let (_, page) = server.get(&format!("{list}{mark}count=true&limit=1"), &token).await;
            assert_eq!(page["page"]["total"], count, "{list}");
        }
    }
}

/// The largest file that is taken is the one that the settings name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn larger_than_the_settings_allow() {
    let place = Place::new(Engine::Sqlite);
    let mut server = Server::begin_with(&place, &[("IMPORT_MAX_BYTES", "64kb")]);
    server.wait_until_ready().await;
    server.register().await;
    let token = server.log_in().await;
    let url = format!("{}/api/v1/customers/import", server.base);
    for (rows, wanted) in [(1000, StatusCode::ACCEPTED), (3000, StatusCode::PAYLOAD_TOO_LARGE)] {
        let rows: String = (0..rows).map(|row| format!("Ravi Kumar {row},r{row}@mail.example\n")).collect();
        let file = Part::text(format!("name,email\n{rows}")).file_name("ravi.csv");
        let request = server.client.post(&url).bearer_auth(&token).multipart(Form::new().part("file", file));
        let answer = request.send().await.expect("answered");
        assert_eq!(answer.status(), wanted);
        let body: Value = answer.json().await.expect("JSON");
        if wanted == StatusCode::PAYLOAD_TOO_LARGE {
            assert_eq!(body["code"], "PAYLOAD_TOO_LARGE", "{body}");
            assert!(body.to_string().contains("64000 bytes"), "{body}");
        }
    }
    let (_, imports) = server.get("/customers/import", &token).await;
    assert_eq!(imports["data"].as_array().map(Vec::len), Some(1), "nothing is left of the other: {imports}");
}
