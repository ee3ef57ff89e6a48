//! How fast a customer is answered over loopback: the whole server (request id, limits, token, session, permission,
//! visibility, headers, log filter, metrics) beside the least that could do it, an axum handler that checks a JWT and
//! runs one hand-written statement on a bare sqlx pool over the same file.
//!
//! One element is one request. `one` sends them one after the other on one connection, `many` keeps 32 in flight.

#![expect(clippy::expect_used, reason = "a bench that cannot be set up has nothing to measure")]

use std::{future::IntoFuture as _, hint::black_box, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    routing::get,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use crm_core::{
    Crm,
    access::RequestContext,
    account::{AccountSettings, Registration, RegistrationMode, SigningKey, SigningKeys},
    crm::collections,
    input::FromInput as _,
    secret::EncryptionKeys,
    store::Store as _,
};
use crm_http::{RouterOptions, router, server};
use crm_store_sqlite::SqliteStore;
use futures::stream::{FuturesUnordered, StreamExt as _};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde_json::{Value, json};
use sqlx::{Row as _, SqlitePool};
use tokio::{net::TcpListener, runtime::Runtime};

const SECRET: &str = "a-secret-for-benches-of-more-than-32-bytes";
const IN_FLIGHT: usize = 32;

struct Bare {
    pool: SqlitePool,
    key: DecodingKey,
    validation: Validation,
}

/// The floor: one token check, one statement, one answer.
async fn bare(
    State(bare): State<Arc<Bare>>,
    headers: HeaderMap,
    Path(id): Path<uuid::Uuid>,
) -> Result<Json<Value>, StatusCode> {
    let token = headers.get("authorization").and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let token = token.ok_or(StatusCode::UNAUTHORIZED)?;
    let claims = decode::<Value>(token, &bare.key, &bare.validation).map_err(|_| StatusCode::UNAUTHORIZED)?.claims;
    let organization: uuid::Uuid =
        claims["org"].as_str().and_then(|org| org.parse().ok()).ok_or(StatusCode::UNAUTHORIZED)?;
    let row = sqlx::query("SELECT * FROM customers WHERE organization_id = ?1 AND id = ?2")
        .bind(organization.as_bytes().as_slice())
        .bind(id.as_bytes().as_slice())
        .fetch_optional(&bare.pool)
        .await
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?
        .ok_or(StatusCode::NOT_FOUND)?;
    let text = |name: &str| row.try_get::<Option<String>, _>(name).ok().flatten();
    let number = |name: &str| row.try_get::<Option<i64>, _>(name).ok().flatten();
    Ok(Json(json!({
        "id": id, "name": text("name"), "email": text("email"), "phone": text("phone"), "status": text("status"),
        "type": text("type"), "tags": text("tags"), "spend": number("spend"), "visits": number("visits"),
        "version": number("version"), "created_at": number("created_at"), "updated_at": number("updated_at"),
    })))
}

/// Both servers over one file: their addresses, a token, and the customers' ids.
struct Servers {
    ours: String,
    floor: String,
    token: String,
    ids: Vec<String>,
    _folder: tempfile::TempDir,
}

async fn start() -> Servers {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("crm.db");
    let store = Arc::new(SqliteStore::open(&path).await.expect("a database"));
    store.migrate(collections(), &|_, _, _| ()).await.expect("tables");
    let keys = SigningKeys::new(SigningKey::from_secret(SECRET.as_bytes()).expect("a key"), []);
    let accounts = AccountSettings {
        registration: RegistrationMode::Open,
        access_lifetime: Duration::from_hours(24),
        ..AccountSettings::new(keys, EncryptionKeys::from_secrets([SECRET]).expect("a key"))
    };
    let crm = Crm::builder(store).accounts(accounts).build();
    let registration = json!({
        "name": "Ada", "email": "ada@example.com", "password": "correct horse battery", "organization_name": "Shop",
    });
    let registration = serde_json::value::to_raw_value(&registration).expect("JSON");
    let registration = Registration::from_input(&registration).expect("a registration");
    let signed_in = crm.accounts().register(registration, RequestContext::default()).await.expect("an organization");
    let token = signed_in.access_token.expose().clone();

    let options = RouterOptions { principal_limit: None, anonymous_limits: Vec::new(), ..RouterOptions::default() };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let ours = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(server::serve(listener, router(crm, options), std::future::pending(), Duration::ZERO));

    let client = reqwest::Client::new();
    let mut ids = Vec::new();
    for number in 0..1000 {
        let customer = json!({
            "name": format!("Customer {number}"), "email": format!("customer-{number}@example.com"), "tags": ["vip"],
        });
        let request = client.post(format!("{ours}/api/v1/customers")).bearer_auth(&token);
        let request = request.header("content-type", "application/json").body(customer.to_string());
        let answer = request.send().await.expect("an answer").bytes().await.expect("a body");
        let answer: Value = serde_json::from_slice(&answer).expect("JSON");
        ids.push(answer["id"].as_str().expect("an id").to_owned());
    }

    let pool = SqlitePool::connect(&format!("sqlite:{}", path.display())).await.expect("a pool");
    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_audience(&["crm"]);
    validation.set_issuer(&["crm"]);
    let floor = Arc::new(Bare { pool, key: DecodingKey::from_secret(SECRET.as_bytes()), validation });
    let app = Router::new().route("/customers/{id}", get(bare)).with_state(floor);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let floor = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(axum::serve(listener, app).into_future());
    Servers { ours: format!("{ours}/api/v1"), floor, token, ids, _folder: folder }
}

async fn ask(client: &reqwest::Client, base: &str, token: &str, id: &str) {
    let answer = client.get(format!("{base}/customers/{id}")).bearer_auth(token).send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    black_box(answer.bytes().await.expect("a body"));
}

fn get_by_id(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let servers = runtime.block_on(start());
    let client = reqwest::Client::new();
    let mut group = criterion.benchmark_group("get customer over http");
    for (name, base) in [("floor", &servers.floor), ("crm", &servers.ours)] {
        let mut next = servers.ids.iter().cycle();
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("{name}/one"), |bencher| {
            bencher.iter(|| {
                let id = next.next().expect("ids go round");
                runtime.block_on(ask(&client, base, &servers.token, id));
            });
        });
        group.throughput(Throughput::Elements(IN_FLIGHT as u64));
        group.bench_function(format!("{name}/many"), |bencher| {
            bencher.iter(|| {
                let asked: FuturesUnordered<_> =
                    next.by_ref().take(IN_FLIGHT).map(|id| ask(&client, base, &servers.token, id)).collect();
                runtime.block_on(asked.collect::<Vec<()>>());
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30).measurement_time(Duration::from_secs(4));
    targets = get_by_id
}
criterion_main!(benches);
