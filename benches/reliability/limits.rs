//! A request is counted.

use std::{hint::black_box, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{Request, StatusCode},
};
use criterion::{Criterion, Throughput};
use crm_core::{
    Crm,
    access::RequestContext,
    account::{AccountSettings, Registration, RegistrationMode, SigningKey, SigningKeys},
    crm::collections,
    input::FromInput as _,
    limit::{Bucket, Policy},
    port::RequestLimiter as _,
    secret::EncryptionKeys,
    store::{Store as _, memory::MemoryStore},
};
use crm_http::{RouterOptions, router};
use crm_queue::{RedisLimiter, RedisOptions};
use crm_test_servers::{Durability, Redis};
use futures::stream::{FuturesUnordered, StreamExt as _};
use redis::aio::MultiplexedConnection;
use tokio::runtime::Runtime;
use tower::ServiceExt as _;

/// The script that the limiter runs.
const SCRIPT: &str = include_str!("../../crm-queue/src/redis/limiter/take.lua");
const SECRET: &str = "a-secret-for-benches-of-more-than-32-bytes";
const AT_ONCE: usize = 50;

/// As many as nobody asks in the time.
fn policies() -> [Policy; 2] {
    [
        Policy::new("anonymous", 60_000_000, Duration::from_mins(1)),
        Policy::new("anonymous-2", 3_600_000_000, Duration::from_hours(1)),
    ]
}

async fn bare(connection: &mut MultiplexedConnection, hash: &str, policies: &[Policy; 2]) {
    let mut command = redis::cmd("EVALSHA");
    command.arg(hash).arg(2);
    for policy in policies {
        command.arg(format!("{{bare:limits}}:{}:203.0.113.7", policy.name));
    }
    command.arg("");
    for policy in policies {
        command.arg(policy.emission()).arg(policy.burst());
    }
    let answer: Vec<i64> = command.query_async(connection).await.unwrap();
    assert_eq!(black_box(answer)[0], -1);
}

async fn ours(limiter: &RedisLimiter, policies: &[Policy; 2]) {
    let buckets = policies.each_ref().map(|policy| Bucket { policy, key: "203.0.113.7" });
    assert!(black_box(limiter.take(&buckets).await.unwrap()).is_allowed());
}

fn in_redis(criterion: &mut Criterion, runtime: &Runtime) {
    let server = Redis::start(Durability::None).unwrap();
    let (mut connection, limiter, hash) = runtime.block_on(async {
        let client = redis::Client::open(server.url(0)).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let hash: String = redis::cmd("SCRIPT").arg("LOAD").arg(SCRIPT).query_async(&mut connection).await.unwrap();
        (connection, RedisLimiter::open(&RedisOptions::new(server.url(0))).unwrap(), hash)
    });
    let policies = policies();
    let mut group = criterion.benchmark_group("limits in redis");
    group.throughput(Throughput::Elements(1));
    group.bench_function("floor/one", |bencher| {
        bencher.iter(|| runtime.block_on(bare(&mut connection, &hash, &policies)));
    });
    group.bench_function("ours/one", |bencher| bencher.iter(|| runtime.block_on(ours(&limiter, &policies))));
    group.throughput(Throughput::Elements(AT_ONCE as u64));
    group.bench_function("floor/many", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                let asked: FuturesUnordered<_> = (0..AT_ONCE)
                    .map(|_| {
                        let mut connection = connection.clone();
                        let (hash, policies) = (&hash, &policies);
                        async move { bare(&mut connection, hash, policies).await }
                    })
                    .collect();
                asked.collect::<Vec<()>>().await
            })
        });
    });
    group.bench_function("ours/many", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                let asked: FuturesUnordered<_> = (0..AT_ONCE).map(|_| ours(&limiter, &policies)).collect();
                asked.collect::<Vec<()>>().await
            })
        });
    });
    group.finish();
}

async fn ask(app: Router, token: Option<&str>, expected: StatusCode) {
    let mut request = Request::get("/api/v1/webhooks/event-types").body(Body::empty()).unwrap();
    request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([203, 0, 113, 7], 40_000))));
    if let Some(token) = token {
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    let answer = app.oneshot(request).await.unwrap();
    assert_eq!(answer.status(), expected);
    black_box(answer);
}

/// The whole router, without a network between, with every limit and with none.
fn in_process(criterion: &mut Criterion, runtime: &Runtime) {
    let (crm, token) = runtime.block_on(async {
        let store = Arc::new(MemoryStore::new());
        store.migrate(collections(), &|_, _, _| ()).await.unwrap();
        let keys = SigningKeys::new(SigningKey::from_secret(SECRET.as_bytes()).unwrap(), []);
        let accounts = AccountSettings {
            registration: RegistrationMode::Open,
            access_lifetime: Duration::from_hours(24),
            ..AccountSettings::new(keys, EncryptionKeys::from_secrets([SECRET]).unwrap())
        };
        let crm = Crm::builder(store).accounts(accounts).build();
        let registration = Registration::from_json(&serde_json::json!({
            "name": "Ada", "email": "ada@example.com", "password": "correct horse battery", "organization_name": "Shop",
        }));
        let signed_in = crm.accounts().register(registration.unwrap(), RequestContext::default()).await.unwrap();
        let token = signed_in.access_token.expose().clone();
        (crm, token)
    });
    let limited = RouterOptions {
        anonymous_limits: policies().to_vec(),
        principal_limit: Some(Policy::new("principal", 60_000_000, Duration::from_mins(1))),
        ..RouterOptions::default()
    };
    let free = RouterOptions { anonymous_limits: Vec::new(), principal_limit: None, ..RouterOptions::default() };
    let (limited, free) = runtime.block_on(async { (router(crm.clone(), limited), router(crm.clone(), free)) });
    let mut group = criterion.benchmark_group("limits in process");
    for (name, app) in [("without", &free), ("with", &limited)] {
        group.bench_function(format!("anonymous/{name}"), |bencher| {
            bencher.iter(|| runtime.block_on(ask(app.clone(), None, StatusCode::UNAUTHORIZED)));
        });
        group.bench_function(format!("signed in/{name}"), |bencher| {
            bencher.iter(|| runtime.block_on(ask(app.clone(), Some(&token), StatusCode::OK)));
        });
    }
    group.finish();
}

pub(crate) fn limits(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    in_redis(criterion, &runtime);
    in_process(criterion, &runtime);
}
