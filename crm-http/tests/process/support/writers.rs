use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::{StatusCode, header::RETRY_AFTER};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::Server;

/// How long any answer may take, also one that was in hand when the database was killed: a store needs its time to find
/// out whether a commit was made, and a busy machine some more.
const LONGEST: Duration = Duration::from_secs(25);

/// Customers by address and id.
pub(crate) type Customers = BTreeSet<(String, String)>;

/// Clients that create customers, one after the other each, and note what was acknowledged.
pub(crate) struct Writers {
    tasks: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    acknowledged: Mutex<Customers>,
    created: AtomicUsize,
    refused: AtomicUsize,
    stopped: AtomicBool,
}

impl Writers {
    /// Starts so many, whose addresses begin with `name`.
    pub(crate) fn start(server: &Server, token: &str, name: &str, count: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let tasks = (0..count)
            .map(|writer| {
                let request = server.client.post(format!("{}/api/v1/customers", server.base)).bearer_auth(token);
                tokio::spawn(write(request, Arc::clone(&shared), format!("{name}w{writer}")))
            })
            .collect();
        Self { tasks, shared }
    }

    /// Waits until so many more customers were acknowledged.
    pub(crate) async fn acknowledge(&self, more: usize, server: &Server) {
        self.wait(&self.shared.created, more, server).await;
    }

    /// Waits until so many more requests were refused because the database is away.
    pub(crate) async fn refuse(&self, more: usize, server: &Server) {
        self.wait(&self.shared.refused, more, server).await;
    }

    async fn wait(&self, counter: &AtomicUsize, more: usize, server: &Server) {
        let wanted = counter.load(Ordering::SeqCst) + more;
        let deadline = Instant::now() + Duration::from_secs(60);
        while counter.load(Ordering::SeqCst) < wanted {
            assert!(!self.tasks.iter().all(JoinHandle::is_finished), "nobody writes:\n{}", server.printed());
            assert!(Instant::now() < deadline, "nothing goes on:\n{}", server.printed());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Lets each finish the request in hand; gives what was acknowledged.
    pub(crate) async fn stop(self) -> Customers {
        self.shared.stopped.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await.expect("nothing was answered that should not be");
        }
        std::mem::take(&mut self.shared.acknowledged.lock().expect("unpoisoned"))
    }
}

async fn write(request: reqwest::RequestBuilder, shared: Arc<Shared>, name: String) {
    for number in 0.. {
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let email = format!("{name}n{number}@mail.example");
        let body = json!({"name": "Ravi Kumar", "email": email, "tags": ["vip"]});
        let began = Instant::now();
        // A connection that broke tells nothing: the server was killed.
        let Ok(answer) = request.try_clone().expect("no stream").json(&body).send().await else { return };
        assert!(began.elapsed() < LONGEST, "an answer took {:?}", began.elapsed());
        let (status, retry_after) = (answer.status(), answer.headers().contains_key(RETRY_AFTER));
        let Ok(body) = answer.json::<Value>().await else { return };
        if status == StatusCode::SERVICE_UNAVAILABLE {
            assert!(retry_after && body["code"] == "UNAVAILABLE", "{body}");
            shared.refused.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        }
        assert_eq!(status, StatusCode::CREATED, "{body}");
        let id = body["id"].as_str().expect("an id").to_owned();
        shared.acknowledged.lock().expect("unpoisoned").insert((email, id));
        shared.created.fetch_add(1, Ordering::SeqCst);
    }
}

/// Every page of a list, by cursor.
pub(crate) async fn everything(server: &Server, path: &str, token: &str) -> Vec<Value> {
    let mut all = Vec::new();
    let mut cursor = String::new();
    loop {
        let (status, page) = server.get(&format!("{path}limit=100{cursor}"), token).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        all.extend(page["data"].as_array().expect("a list").iter().cloned());
        match page["page"]["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

/// What was acknowledged is there, whole: the record, its address's uniqueness, one audit entry, an unbroken chain that
/// is sealed to its end. What was not is there whole or not at all, and of that at most `unknown`.
pub(crate) async fn nothing_is_lost(server: &Server, token: &str, acknowledged: &Customers, unknown: usize) {
    let customers = everything(server, "/customers?tags=vip&", token).await;
    let text = |customer: &Value, member: &str| customer[member].as_str().unwrap_or_default().to_owned();
    let found: Customers = customers.iter().map(|customer| (text(customer, "email"), text(customer, "id"))).collect();
    assert_eq!(found.len(), customers.len(), "nothing is doubled");
    let lost: Vec<_> = acknowledged.difference(&found).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    assert!(found.len() <= acknowledged.len() + unknown, "{} of {}", found.len(), acknowledged.len());

    let entries = everything(server, "/audit?action=customer.created&", token).await;
    let audited: BTreeSet<&str> = entries.iter().filter_map(|entry| entry["record_id"].as_str()).collect();
    assert_eq!(entries.len(), found.len(), "one entry for each customer");
    assert!(found.iter().all(|(_, id)| audited.contains(id.as_str())));

    let (email, _) = found.first().expect("there are customers");
    let again = json!({"name": "Again", "email": email});
    let (status, answer) = server.post("/customers", token, &again).await.expect("answered");
    assert_eq!((status, &answer["code"]), (StatusCode::CONFLICT, &json!("DUPLICATE")));

    // A transaction of a process that was killed can hold its records for a minute, where the engine has no other way
    // to learn of that.
    for attempt in 0.. {
        let (status, verification) = server.get("/audit/verify", token).await;
        assert_eq!((status, &verification["intact"]), (StatusCode::OK, &json!(true)), "{verification}");
        if verification["unsealed"] == 0 {
            assert!(verification["sealed_up_to"].as_u64() >= Some(found.len() as u64), "{verification}");
            break;
        }
        assert!(attempt < 1200, "the trail is not sealed: {verification}\n{}", server.printed());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
