use std::{
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use super::Place;

/// The binary, running.
pub(crate) struct Server {
    pub(crate) process: Child,
    pub(crate) base: String,
    pub(crate) client: Client,
    output: Arc<Mutex<String>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The binary in a folder, with no settings.
pub(crate) fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crm-http"));
    command.env_clear().current_dir(folder).stdin(Stdio::null());
    command
}

impl Server {
    /// Starts the binary, and waits until it is ready.
    pub(crate) async fn start(place: &Place) -> Self {
        let mut server = Self::begin(place);
        server.wait_until_ready().await;
        server
    }

    /// Starts the binary.
    pub(crate) fn begin(place: &Place) -> Self {
        Self::begin_with(place, &[])
    }

    /// Starts the binary with more settings.
    pub(crate) fn begin_with(place: &Place, settings: &[(&str, &str)]) -> Self {
        Self::run(place, "serve", settings)
    }

    /// Starts a worker.
    pub(crate) fn work(place: &Place) -> Self {
        Self::run(place, "worker", &[])
    }

    fn run(place: &Place, what: &str, settings: &[(&str, &str)]) -> Self {
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
        let mut process = command(place.folder())
            .arg(what)
            .envs(place.settings())
            .env("PORT", port.to_string())
            .env("RATE_LIMIT_IP", "off")
            .env("RATE_LIMIT_MAX_REQUESTS", "off")
            .env("HEALTH_CHECK_INTERVAL", "200ms")
            .envs(settings.iter().copied())
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
        Self { process, base: format!("http://127.0.0.1:{port}"), client, output }
    }

    pub(crate) async fn wait_until_ready(&mut self) {
        self.wait_until_readiness_is(true).await;
    }

    /// Waits until `/health/ready` says so.
    pub(crate) async fn wait_until_readiness_is(&mut self, ready: bool) {
        for _ in 0..1200 {
            if let Ok(Some(status)) = self.process.try_wait() {
                panic!("the server ended with {status}:\n{}", self.printed());
            }
            let answer = self.client.get(format!("{}/health/ready", self.base)).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success() == ready) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the server does not become ready={ready}:\n{}", self.printed());
    }

    /// What it has printed so far.
    pub(crate) fn printed(&self) -> String {
        self.output.lock().expect("unpoisoned").clone()
    }

    pub(crate) async fn post(&self, path: &str, token: &str, body: &Value) -> reqwest::Result<(StatusCode, Value)> {
        let mut request = self.client.post(format!("{}/api/v1{path}", self.base)).json(body);
        if !token.is_empty() {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await?;
        Ok((answer.status(), answer.json().await?))
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> (StatusCode, Value) {
        let answer =
            self.client.get(format!("{}/api/v1{path}", self.base)).bearer_auth(token).send().await.expect("answered");
        (answer.status(), answer.json().await.expect("JSON"))
    }

    /// Registers the organization of the stories.
    pub(crate) async fn register(&self) {
        let body = json!({"name": "Asha Rao", "email": "asha@shop.example", "password": "a long enough secret", "organization_name": "Shop"});
        let (status, answer) = self.post("/auth/register", "", &body).await.expect("answered");
        assert_eq!(status, StatusCode::CREATED, "{answer}\n{}", self.printed());
    }

    /// Signs its Admin in; gives the access token.
    pub(crate) async fn log_in(&self) -> String {
        let body = json!({"email": "asha@shop.example", "password": "a long enough secret"});
        let (status, answer) = self.post("/auth/login", "", &body).await.expect("answered");
        assert_eq!(status, StatusCode::OK, "{answer}\n{}", self.printed());
        answer["access_token"].as_str().expect("a token").to_owned()
    }

    /// Waits for the end of the process after a signal.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        for _ in 0..600 {
            if let Some(status) = self.process.try_wait().expect("asked") {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the server does not end:\n{}", self.printed());
    }
}
