//! Signed deliveries to a receiver on loopback, from SQLite.

use std::{
    future::IntoFuture as _,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Router, body::Bytes, http::StatusCode, routing::post};
use criterion::{Criterion, Throughput};
use crm_connectors::{GuardedHttp, OutboundRules};
use crm_core::{
    Crm,
    access::Principal,
    account::{AccountSettings, SigningKey, SigningKeys},
    crm::collections,
    event::relay,
    id::{OrganizationId, new_uuid},
    input::FromInput as _,
    operation::Operation,
    port::{Clock as _, OperatingSystemRandom, SystemClock},
    record::Record as _,
    secret::EncryptionKeys,
    store::{Change, Filter, Query, Scope, Store as _},
    tenancy::NewOrganization,
    webhook::{DeliveryAttempt, DeliveryAttempts, NewWebhook, SigningSecret, WebhookDelivery, deliver_due},
};
use crm_store_sqlite::SqliteStore;
use futures::stream::StreamExt as _;
use tokio::{
    net::TcpListener,
    runtime::Runtime,
    sync::{mpsc, oneshot},
};
use uuid::Uuid;

use super::writer::{self, Write};

const SECRET: &str = "a-secret-for-benches-of-more-than-32-bytes";
const ORGANIZATIONS: u64 = 4;
const WEBHOOKS: u64 = 4;
const AT_ONCE: usize = 50;
/// Fewer are not delivered at a time: else the beginning and the end would be measured.
const LEAST: u64 = 800;
/// Events that are told together.
const TOLD: u64 = 50;

/// A CRM with sixteen webhooks of four organizations.
struct Stage {
    crm: Crm,
    organizations: Vec<OrganizationId>,
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Stage {
    async fn new(url: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("crm.db");
        let store = Arc::new(SqliteStore::open(&path).await.unwrap());
        store.migrate(collections(), &|_, _, _| ()).await.unwrap();
        let keys = SigningKeys::new(SigningKey::from_secret(SECRET.as_bytes()).unwrap(), []);
        let accounts = AccountSettings::new(keys, EncryptionKeys::from_secrets([SECRET]).unwrap());
        let rules = OutboundRules {
            allowed: vec!["127.0.0.0/8".parse().unwrap()],
            plain_http: true,
            ..OutboundRules::default()
        };
        let crm = Crm::builder(store).accounts(accounts).outbound(GuardedHttp::new(rules).unwrap()).build();
        let installation = Principal::system(OrganizationId::INSTALLATION);
        let mut organizations = Vec::new();
        for number in 0..ORGANIZATIONS {
            let new = NewOrganization::from_json(&serde_json::json!({"name": format!("Shop {number}")})).unwrap();
            let organization = crm.organizations().create(&installation, new).await.unwrap();
            let by = Principal::system(organization.id);
            for _ in 0..WEBHOOKS {
                let new = serde_json::json!({"url": url, "events": ["team.created"]});
                crm.webhooks().create(&by, NewWebhook::from_json(&new).unwrap()).await.unwrap();
            }
            organizations.push(organization.id);
        }
        while relay::publish_pending(&crm).await.unwrap() > 0 {}
        Self { crm, organizations, path, _folder: folder }
    }

    /// Plans so many deliveries, at least.
    async fn plan(&self, deliveries: u64) {
        let old = Change::DeleteWhere { collection: WebhookDelivery::COLLECTION, filter: Filter::ALL };
        self.crm.store().commit(Scope::Installation, vec![old]).await.unwrap();
        let events = deliveries.max(LEAST).div_ceil(WEBHOOKS);
        for batch in 0..events.div_ceil(TOLD) {
            let by = Principal::system(self.organizations[(batch % ORGANIZATIONS) as usize]);
            let mut operation = Operation::new(&self.crm, &by);
            for number in batch * TOLD..events.min((batch + 1) * TOLD) {
                let data = serde_json::json!({"id": number, "name": "Sales", "description": "Those who sell."});
                let id = new_uuid(operation.now(), &OperatingSystemRandom);
                operation.emit_named("team.created", "teams", id, 1, &data);
            }
            operation.commit().await.unwrap();
        }
        while relay::publish_pending(&self.crm).await.unwrap() > 0 {}
    }

    async fn waiting(&self) -> Vec<WebhookDelivery> {
        let waiting = Query::new(WebhookDelivery::due_at.exists(), 1_000_000);
        self.crm.repo::<WebhookDelivery>().find(Scope::Installation, &waiting).await.unwrap().records
    }
}

/// Signs, posts and writes the row, 50 at once.
async fn floor(client: &reqwest::Client, url: &str, writer: &mpsc::Sender<Write>, waiting: Vec<WebhookDelivery>) {
    let secret = &SigningSecret::new(&OperatingSystemRandom);
    futures::stream::iter(waiting)
        .for_each_concurrent(AT_ONCE, |delivery| async move {
            let (now, begun) = (SystemClock.now(), Instant::now());
            let (id, timestamp) = (delivery.event_id.to_string(), now.as_milliseconds() / 1000);
            let signature = secret.sign(&id, timestamp, &delivery.payload);
            let request = client
                .post(url)
                .header("content-type", "application/json")
                .header("webhook-id", id)
                .header("webhook-timestamp", timestamp)
                .header("webhook-signature", signature)
                .body(delivery.payload);
            let answer = request.send().await.unwrap();
            let status = answer.status().as_u16();
            let body = answer.bytes().await.unwrap();
            let log = DeliveryAttempts(vec![DeliveryAttempt {
                number: 1,
                at: now,
                status: Some(status),
                milliseconds: begun.elapsed().as_millis() as u64,
                response: Some(String::from_utf8_lossy(&body).into_owned()),
                error: None,
            }]);
            let (reply, written) = oneshot::channel();
            let write = Write::Log {
                id: Uuid::from(delivery.id),
                now: SystemClock.now().as_milliseconds(),
                log: serde_json::to_string(&log).unwrap(),
                reply,
            };
            writer.send(write).await.unwrap();
            written.await.unwrap();
        })
        .await;
}

/// What becomes of one delivery, where so many were made.
fn each(elapsed: Duration, made: usize, wanted: u64) -> Duration {
    elapsed.mul_f64(wanted as f64 / made as f64)
}

pub(crate) fn webhooks(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let url = runtime.block_on(async {
        let app = Router::new().route("/hooks", post(|_: Bytes| async { (StatusCode::OK, "taken") }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hooks", listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, app).into_future());
        url
    });
    let (stage, bare) = runtime.block_on(async { (Stage::new(&url).await, Stage::new(&url).await) });
    let writer = runtime.block_on(writer::open(&bare.path));
    let client = reqwest::Client::new();
    let mut group = criterion.benchmark_group("webhooks");
    group.throughput(Throughput::Elements(1));
    group.bench_function("floor", |bencher| {
        bencher.iter_custom(|deliveries| {
            runtime.block_on(async {
                bare.plan(deliveries).await;
                let waiting = bare.waiting().await;
                let made = waiting.len();
                let begun = Instant::now();
                floor(&client, &url, &writer, waiting).await;
                each(begun.elapsed(), made, deliveries)
            })
        });
    });
    group.bench_function("ours", |bencher| {
        bencher.iter_custom(|deliveries| {
            runtime.block_on(async {
                stage.plan(deliveries).await;
                let made = stage.waiting().await.len();
                let begun = Instant::now();
                deliver_due(&stage.crm).await.unwrap();
                let elapsed = begun.elapsed();
                assert!(stage.waiting().await.is_empty());
                each(elapsed, made, deliveries)
            })
        });
    });
    group.finish();
}
