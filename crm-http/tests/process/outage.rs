//! The database killed under load, and started again: our process goes on by itself.

use std::time::{Duration, Instant};

use crm_test_servers::{Durability, Mongo, Postgres};
use reqwest::{Method, StatusCode, header::RETRY_AFTER};
use serde_json::{Value, json};

use crate::support::{Importing, Killable, Place, Server, Writers, nothing_is_lost};

/// How many times the database is killed.
const ROUNDS: usize = 2;
/// How many writers there are at once.
const WRITERS: usize = 6;
/// How many customers are acknowledged before the kill, and after it.
const ACKNOWLEDGED: usize = 80;
/// How many customers the file has that is imported meanwhile.
const ROWS: usize = 2000;

/// Meanwhile requests are 503 with the time to try again, soon, and the process is not ready; afterwards it is, nothing
/// that was acknowledged is lost, nothing is doubled, and the work beside requests goes on: every entry is sealed, and
/// an import gets to its end.
async fn outage(mut database: impl Killable, url: String) {
    let place = Place::at(Some(url));
    let mut server = Server::start(&place).await;
    server.register().await;
    let token = server.log_in().await;
    let importing = Importing::start(&server, &token, ROWS).await;
    let writers = Writers::start(&server, &token, "w", WRITERS);
    for _ in 0..ROUNDS {
        writers.acknowledge(ACKNOWLEDGED, &server).await;
        database.kill().expect("killed");
        writers.refuse(WRITERS, &server).await;
        server.wait_until_readiness_is(false).await;
        everybody_is_told_to_wait(&server, &token).await;
        database.start_again().expect("started again");
        server.wait_until_ready().await;
    }
    writers.acknowledge(ACKNOWLEDGED, &server).await;
    let acknowledged = writers.stop().await;
    let token = server.log_in().await;
    // At most one request of each writer was in hand at each kill.
    nothing_is_lost(&server, &token, &acknowledged, ROUNDS * WRITERS).await;
    importing.ends_well(&server, &token).await;
    assert!(!server.printed().contains("panicked"), "{}", server.printed());
}

/// While the database is away every route that needs it says so, and those that do not go on.
async fn everybody_is_told_to_wait(server: &Server, token: &str) {
    let credentials = json!({"email": "asha@shop.example", "password": "a long enough secret"});
    let customer = json!({"name": "Nobody"});
    for (method, path, body) in [
        (Method::GET, "/api/v1/customers", Value::Null),
        (Method::GET, "/api/v1/customers?search=ravi&count=true", Value::Null),
        (Method::GET, "/api/v1/audit/verify", Value::Null),
        (Method::POST, "/api/v1/customers", customer),
        (Method::POST, "/api/v1/auth/login", credentials),
    ] {
        let began = Instant::now();
        let request = server.client.request(method, format!("{}{path}", server.base)).bearer_auth(token);
        let request = if body.is_null() { request } else { request.json(&body) };
        let answer = request.send().await.expect("answered");
        let (status, retry_after) = (answer.status(), answer.headers().get(RETRY_AFTER).cloned());
        let body: Value = answer.json().await.expect("JSON");
        assert_eq!((status, &body["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("UNAVAILABLE")), "{path}: {body}");
        let seconds = retry_after.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        assert!(seconds.is_some_and(|seconds| (1..=60).contains(&seconds)), "{path}: Retry-After {seconds:?}");
        assert!(began.elapsed() < Duration::from_secs(15), "{path} took {:?}", began.elapsed());
        assert!(!body["message"].as_str().unwrap_or_default().contains("127.0.0.1"), "nothing of the inside: {body}");
    }
    let live = server.client.get(format!("{}/health/live", server.base)).send().await.expect("answered");
    assert_eq!(live.status(), StatusCode::OK);
    let health = server.client.get(format!("{}/health", server.base)).send().await.expect("answered");
    assert_eq!(health.status(), StatusCode::SERVICE_UNAVAILABLE);
    let health: Value = health.json().await.expect("JSON");
    assert_eq!((&health["status"], &health["store"]["status"]), (&json!("down"), &json!("down")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_postgres() {
    let database = Postgres::start(Durability::Full, &[]).unwrap_or_else(|error| panic!("{error}"));
    database.create_database("crm").expect("a new database");
    let url = database.url("crm");
    outage(database, url).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_mongo() {
    let database = Mongo::start_own(Durability::Full).unwrap_or_else(|error| panic!("{error}"));
    let url = database.url("crm");
    outage(database, url).await;
}
