use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::Server;

/// An import that goes on while other things happen.
pub(crate) struct Importing {
    id: String,
    rows: usize,
}

impl Importing {
    /// Sends a file of so many customers.
    pub(crate) async fn start(server: &Server, token: &str, rows: usize) -> Self {
        let mut file = "name,email,tags\n".to_owned();
        for row in 0..rows {
            writeln!(file, "Meera Nair,row{row}@file.example,imported").expect("a String takes it");
        }
        let request = server.client.post(format!("{}/api/v1/customers/import", server.base)).bearer_auth(token);
        let answer = request.header("content-type", "text/csv").body(file).send().await.expect("answered");
        let (status, body): (_, Value) = (answer.status(), answer.json().await.expect("JSON"));
        assert_eq!(status, StatusCode::ACCEPTED, "{body}");
        Self { id: body["id"].as_str().expect("an id").to_owned(), rows }
    }

    /// Waits until it is done: each row is one customer, however often it was interrupted.
    pub(crate) async fn ends_well(self, server: &Server, token: &str) {
        let deadline = Instant::now() + Duration::from_secs(150);
        let path = format!("/customers/import/{}", self.id);
        let ended = loop {
            let (status, import) = server.get(&path, token).await;
            assert_eq!(status, StatusCode::OK, "{import}");
            if !["queued", "running"].contains(&import["state"].as_str().unwrap_or_default()) {
                break import;
            }
            assert!(Instant::now() < deadline, "the import does not end: {import}\n{}", server.printed());
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        let counts = ["state", "rows_read", "created", "failed"].map(|member| &ended[member]);
        assert_eq!(counts, [&json!("succeeded"), &json!(self.rows), &json!(self.rows), &json!(0)], "{ended}");
        let (_, counted) = server.get("/customers?tags=imported&count=true&limit=1", token).await;
        assert_eq!(counted["page"]["total"], json!(self.rows));
    }
}
