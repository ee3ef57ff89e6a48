use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::Server;

/// How often each customer is changed.
const CHANGES: i64 = 3;
/// The pause of a writer between two requests, so that the load is bounded.
const PAUSE: Duration = Duration::from_millis(40);

/// Customers' ids and versions: each tells an event.
pub(crate) type Versions = BTreeSet<(String, i64)>;

/// Clients that create customers and change each some times, one request after the other, and note what was
/// acknowledged.
pub(crate) struct Changes {
    tasks: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    acknowledged: Mutex<Versions>,
    stopped: AtomicBool,
}

struct Writer {
    client: Client,
    base: String,
    token: String,
    shared: Arc<Shared>,
}

/// The server was killed.
struct Broken;

impl Changes {
    /// Starts so many.
    pub(crate) fn start(server: &Server, token: &str, count: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let tasks = (0..count)
            .map(|_| {
                let (client, base) = (server.client.clone(), format!("{}/api/v1", server.base));
                let writer = Writer { client, base, token: token.to_owned(), shared: Arc::clone(&shared) };
                tokio::spawn(async move {
                    while !writer.shared.stopped.load(Ordering::SeqCst) {
                        if writer.customer().await.is_err() {
                            return;
                        }
                    }
                })
            })
            .collect();
        Self { tasks, shared }
    }

    /// How much was acknowledged.
    pub(crate) fn len(&self) -> usize {
        self.shared.acknowledged.lock().expect("unpoisoned").len()
    }

    /// Waits until so much more was acknowledged.
    pub(crate) async fn acknowledge(&self, more: usize, server: &Server) {
        let wanted = self.len() + more;
        let deadline = Instant::now() + Duration::from_secs(90);
        while self.len() < wanted {
            assert!(!self.tasks.iter().any(JoinHandle::is_finished), "a writer ended:\n{}", server.printed());
            assert!(Instant::now() < deadline, "nothing goes on:\n{}", server.printed());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Lets each finish the request in hand; gives what was acknowledged.
    pub(crate) async fn stop(self) -> Versions {
        self.shared.stopped.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await.expect("nothing was answered that should not be");
        }
        std::mem::take(&mut self.shared.acknowledged.lock().expect("unpoisoned"))
    }
}

impl Writer {
    async fn customer(&self) -> Result<(), Broken> {
        let new = json!({"name": "Meera Nair"});
        let Some(created) = self.send(Method::POST, "/customers", &new).await? else { return Ok(()) };
        let path = format!("/customers/{}", created["id"].as_str().expect("an id"));
        for number in 0..CHANGES {
            if self.shared.stopped.load(Ordering::SeqCst) {
                break;
            }
            self.send(Method::PATCH, &path, &json!({"name": format!("Meera Nair {number}")})).await?;
        }
        Ok(())
    }

    /// What was acknowledged; nothing where it was refused because the database is away.
    async fn send(&self, method: Method, path: &str, body: &Value) -> Result<Option<Value>, Broken> {
        tokio::time::sleep(PAUSE).await;
        let request = self.client.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token).json(body);
        let answer = request.send().await.map_err(|_| Broken)?;
        let status = answer.status();
        let body: Value = answer.json().await.map_err(|_| Broken)?;
        if status == StatusCode::SERVICE_UNAVAILABLE {
            assert_eq!(body["code"], "UNAVAILABLE", "{body}");
            return Ok(None);
        }
        assert!(status.is_success(), "{status}: {body}");
        let version = (body["id"].as_str().expect("an id").to_owned(), body["version"].as_i64().expect("a version"));
        self.shared.acknowledged.lock().expect("unpoisoned").insert(version);
        Ok(Some(body))
    }
}
