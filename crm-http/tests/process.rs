//! The binary as a process: started on an empty folder, killed in the middle of writes, stopped in the middle of requests.

#![expect(clippy::expect_used, clippy::panic, reason = "a story that cannot be told fails")]

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

/// How many times the story kills the server.
const ROUNDS: usize = 3;
/// How many writers there are at once.
const WRITERS: usize = 8;
/// How many customers each round waits for before the kill.
const ACKNOWLEDGED: usize = 150;

struct Server {
    process: Child,
    base: String,
    client: Client,
    output: Arc<Mutex<String>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crm-http"));
    command.env_clear().current_dir(folder).stdin(Stdio::null());
    command
}

impl Server {
    async fn start(folder: &Path) -> Self {
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
        let mut process = command(folder)
            .env("PORT", port.to_string())
            .env("RATE_LIMIT_IP", "off")
            .env("RATE_LIMIT_MAX_REQUESTS", "off")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let output = Arc::new(Mutex::new(String::new()));
        let pipes: [Box<dyn std::io::Read + Send>; 2] =
            [Box::new(process.stdout.take().expect("piped")), Box::new(process.stderr.take().expect("piped"))];
        for pipe in pipes {
            let output = Arc::clone(&output);
            std::thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    output.lock().expect("unpoisoned").push_str(&format!("{line}\n"));
                }
            });
        }
        let client = Client::builder().timeout(Duration::from_secs(30)).build().expect("a client");
        let mut server = Self { process, base: format!("http://127.0.0.1:{port}"), client, output };
        server.wait_until_ready().await;
        server
    }

    async fn wait_until_ready(&mut self) {
        for _ in 0..600 {
            if let Ok(Some(status)) = self.process.try_wait() {
                panic!("the server ended with {status}:\n{}", self.printed());
            }
            let answer = self.client.get(format!("{}/health/ready", self.base)).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the server is not ready:\n{}", self.printed());
    }

    fn printed(&self) -> String {
        self.output.lock().expect("unpoisoned").clone()
    }

    async fn post(&self, path: &str, token: &str, body: &Value) -> reqwest::Result<(StatusCode, Value)> {
        let mut request = self.client.post(format!("{}/api/v1{path}", self.base)).json(body);
        if !token.is_empty() {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await?;
        Ok((answer.status(), answer.json().await?))
    }

    async fn get(&self, path: &str, token: &str) -> (StatusCode, Value) {
        let answer =
            self.client.get(format!("{}/api/v1{path}", self.base)).bearer_auth(token).send().await.expect("answered");
        (answer.status(), answer.json().await.expect("JSON"))
    }

    async fn log_in(&self) -> String {
        let body = json!({"email": "asha@shop.example", "password": "a long enough secret"});
        let (status, answer) = self.post("/auth/login", "", &body).await.expect("answered");
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer["access_token"].as_str().expect("a token").to_owned()
    }

    /// Waits for the end of the process after a signal.
    async fn ended(&mut self) -> std::process::ExitStatus {
        for _ in 0..600 {
            if let Some(status) = self.process.try_wait().expect("asked") {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the server does not end:\n{}", self.printed());
    }
}

async fn register(server: &Server) {
    let body = json!({"name": "Asha Rao", "email": "asha@shop.example", "password": "a long enough secret", "organization_name": "Shop"});
    let (status, answer) = server.post("/auth/register", "", &body).await.expect("answered");
    assert_eq!(status, StatusCode::CREATED, "{answer}");
}

/// Every page of a list, by cursor.
async fn everything(server: &Server, path: &str, token: &str) -> Vec<Value> {
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

/// Writers create customers until the server is killed under them. What was acknowledged is there after a restart,
/// whole: the record, its address's uniqueness, one audit entry, an unbroken chain. What was not is there whole or not at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_the_middle_of_writes() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut acknowledged: BTreeSet<(String, String)> = BTreeSet::new();
    let mut server = Server::start(folder.path()).await;
    register(&server).await;
    for round in 0..ROUNDS {
        let token = server.log_in().await;
        let told = Arc::new(Mutex::new(BTreeSet::new()));
        let (count, killed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (base, client, token) = (server.base.clone(), server.client.clone(), token.clone());
                let (told, count, killed) = (Arc::clone(&told), Arc::clone(&count), Arc::clone(&killed));
                tokio::spawn(async move {
                    for number in 0.. {
                        if killed.load(Ordering::SeqCst) {
                            return;
                        }
                        let email = format!("r{round}w{writer}n{number}@mail.example");
                        let body = json!({"name": "Ravi Kumar", "email": email, "tags": ["vip"]});
                        let answer = client
                            .post(format!("{base}/api/v1/customers"))
                            .bearer_auth(&token)
                            .json(&body)
                            .send()
                            .await;
                        // A connection that broke tells nothing.
                        let Ok(answer) = answer else { return };
                        assert_eq!(answer.status(), StatusCode::CREATED);
                        let Ok(body) = answer.json::<Value>().await else { return };
                        let id = body["id"].as_str().expect("an id").to_owned();
                        told.lock().expect("unpoisoned").insert((email, id));
                        count.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        while count.load(Ordering::SeqCst) < ACKNOWLEDGED {
            assert!(!writers.iter().all(tokio::task::JoinHandle::is_finished), "{}", server.printed());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        server.process.kill().expect("killed");
        server.process.wait().expect("ended");
        killed.store(true, Ordering::SeqCst);
        for writer in writers {
            writer.await.expect("no writer was refused");
        }
        acknowledged.append(&mut told.lock().expect("unpoisoned"));
        server = Server::start(folder.path()).await;
    }

    let token = server.log_in().await;
    let customers = everything(&server, "/customers?", &token).await;
    let found: BTreeSet<(String, String)> = customers
        .iter()
        .map(|customer| {
            (
                customer["email"].as_str().unwrap_or_default().to_owned(),
                customer["id"].as_str().unwrap_or_default().to_owned(),
            )
        })
        .collect();
    assert_eq!(found.len(), customers.len(), "nothing is doubled");
    let lost: Vec<_> = acknowledged.difference(&found).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    assert!(
        found.len() <= acknowledged.len() + ROUNDS * WRITERS,
        "at most one request of each writer was in hand at each kill"
    );

    let entries = everything(&server, "/audit?action=customer.created&", &token).await;
    let audited: BTreeSet<&str> = entries.iter().filter_map(|entry| entry["record_id"].as_str()).collect();
    assert_eq!(entries.len(), found.len(), "one entry for each customer");
    assert!(found.iter().all(|(_, id)| audited.contains(id.as_str())));

    let (email, _) = found.first().expect("there are customers");
    let (status, answer) =
        server.post("/customers", &token, &json!({"name": "Again", "email": email})).await.expect("answered");
    assert_eq!((status, &answer["code"]), (StatusCode::CONFLICT, &json!("DUPLICATE")));

    for attempt in 0.. {
        let (status, verification) = server.get("/audit/verify", &token).await;
        assert_eq!((status, &verification["intact"]), (StatusCode::OK, &json!(true)), "{verification}");
        if verification["unsealed"] == 0 {
            assert!(verification["sealed_up_to"].as_u64() >= Some(found.len() as u64), "{verification}");
            break;
        }
        assert!(attempt < 100, "the trail is not sealed: {verification}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A stop lets requests in hand finish, says so in `/health/ready`, and ends with 0; what was written is there afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_in_the_middle_of_requests() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = Server::start(folder.path()).await;
    register(&server).await;
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
    let killed = Command::new("kill").arg("-TERM").arg(server.process.id().to_string()).status().expect("kill runs");
    assert!(killed.success());
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

    let server = Server::start(folder.path()).await;
    let token = server.log_in().await;
    let customers = everything(&server, "/customers?", &token).await;
    assert!(customers.len() >= created, "{} of {created}", customers.len());
}

/// With no settings, everything is in `./crm-data`, and nobody else can read the secrets.
#[cfg(unix)]
#[tokio::test]
async fn secrets_are_generated_once_and_kept_private() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().expect("a folder");
    let read = || {
        let data = folder.path().join("crm-data");
        let mut files: Vec<(String, u32, Vec<u8>)> = std::fs::read_dir(&data)
            .expect("the folder is there")
            .filter_map(|entry| {
                let entry = entry.expect("readable");
                let name = entry.file_name().to_string_lossy().into_owned();
                let secret = name.contains("secret");
                secret.then(|| {
                    let mode = entry.metadata().expect("metadata").permissions().mode() & 0o777;
                    (name, mode, std::fs::read(entry.path()).expect("readable by us"))
                })
            })
            .collect();
        files.sort();
        files
    };
    drop(Server::start(folder.path()).await);
    let first = read();
    assert!(!first.is_empty(), "the secrets are in a file of their own");
    assert!(first.iter().all(|(_, mode, _)| *mode == 0o600), "{first:?}");
    let server = Server::start(folder.path()).await;
    assert_eq!(read(), first, "the same after a restart");
    for (_, _, content) in &first {
        let text = String::from_utf8_lossy(content);
        let secrets =
            text.split(|c: char| !c.is_ascii_alphanumeric() && !"+/=_-".contains(c)).filter(|word| word.len() >= 32);
        for secret in secrets {
            assert!(!server.printed().contains(secret), "a secret was printed");
        }
    }
}

/// What cannot be started says why, in a sentence, and changes nothing.
#[tokio::test]
async fn what_cannot_start_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let refused = |settings: &[(&str, &str)], said: &[&str]| {
        let output = command(folder.path()).envs(settings.iter().copied()).output().expect("the binary runs");
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(!output.status.success(), "{settings:?} was accepted:\n{text}");
        for part in said {
            assert!(text.contains(part), "{settings:?}: {part:?} is not in\n{text}");
        }
        assert!(!text.contains("panicked"), "{text}");
    };
    refused(&[("DATABASE_URL", "mysql://localhost/crm")], &["DATABASE_URL", "sqlite"]);
    refused(&[("PORT", "many")], &["PORT"]);
    refused(&[("JWT_SECRET", "short")], &["JWT_SECRET", "32"]);
    refused(&[("PORT", "many"), ("JWT_EXPIRES_IN", "soon")], &["PORT", "JWT_EXPIRES_IN"]);
    refused(&[("NODE_ENV", "production"), ("JWT_SECRET", "your-jwt-secret-your-jwt-secret-1")], &["JWT_SECRET"]);

    let garbage = folder.path().join("garbage.db");
    std::fs::write(&garbage, b"this is no database, but somebody's letter to a friend, long enough to be read")
        .expect("written");
    let url = format!("sqlite:{}", garbage.display());
    refused(&[("DATABASE_URL", &url)], &["garbage.db"]);
    let kept = std::fs::read(&garbage).expect("still there");
    assert!(kept.starts_with(b"this is no database"), "the file was left as it was");
}
