//! Deliveries whose process dies, receivers that take long, keys that are rotated.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use serde_json::json;
use tokio::sync::mpsc;

use super::{DeliveryState, NewWebhook, SigningSecret, WebhookDelivery, deliver_due};
use crate::{
    Crm, Error,
    access::Principal,
    account::{AccountSettings, SigningKey, SigningKeys},
    event::{Event, relay},
    id::OrganizationId,
    input::FromInput as _,
    operation::Operation,
    port::{ManualClock, Outbound, OutboundAnswer, OutboundFailure, OutboundRequest, SeededRandom},
    record::Record as _,
    resealing::{Resealed, reseal},
    secret::EncryptionKeys,
    store::{Change, Filter, Query, Scope, SharedStore, Store as _, memory::MemoryStore},
    tenancy::NewOrganization,
    time::Timestamp,
};

const OLD: &str = "an old secret of more than 32 bytes.";
const NEW: &str = "a newer secret of more than 32 bytes";

/// A receiver that answers by the script, with 200 at its end; `None` never answers.
#[derive(Clone)]
struct Double {
    replies: Arc<Mutex<VecDeque<Option<u16>>>>,
    sent: mpsc::UnboundedSender<OutboundRequest>,
}

#[async_trait]
impl Outbound for Double {
    async fn check(&self, _: &str) -> Result<(), OutboundFailure> {
        Ok(())
    }

    async fn post(&self, request: OutboundRequest) -> Result<OutboundAnswer, OutboundFailure> {
        let reply = self.replies.lock().unwrap_or_else(PoisonError::into_inner).pop_front().unwrap_or(Some(200));
        self.sent.send(request).expect("the test goes on");
        match reply {
            Some(status) => Ok(OutboundAnswer { status, retry_after: None, body: b"a\0b".to_vec() }),
            None => std::future::pending().await,
        }
    }
}

struct Shop {
    store: SharedStore,
    clock: Arc<ManualClock>,
    double: Double,
    came: mpsc::UnboundedReceiver<OutboundRequest>,
    by: Principal,
}

impl Shop {
    async fn open(replies: &[Option<u16>]) -> Self {
        let store = Arc::new(MemoryStore::new());
        store.migrate(crate::crm::collections(), &|_, _, _| {}).await.expect("the collections are sound");
        let clock = Arc::new(ManualClock::new(Timestamp::from_milliseconds(1_780_000_000_000).expect("an instant")));
        let (sent, came) = mpsc::unbounded_channel();
        let double = Double { replies: Arc::new(Mutex::new(replies.iter().copied().collect())), sent };
        let crm = Crm::builder(Arc::clone(&store) as SharedStore).clock(Arc::clone(&clock)).build();
        let new = NewOrganization::from_json(&json!({"name": "Shop"})).expect("valid");
        let installation = Principal::system(OrganizationId::INSTALLATION);
        let organization = crm.organizations().create(&installation, new).await.expect("created");
        let told = Change::DeleteWhere { collection: Event::COLLECTION, filter: Filter::ALL };
        crm.store().commit(Scope::Installation, vec![told]).await.expect("only what the test tells");
        let by = Principal::system(organization.id);
        Self { store, clock, double, came, by }
    }

    /// A process with these keys, the newest first.
    fn process(&self, seed: u64, keys: &[&str]) -> Crm {
        let signing = SigningKeys::new(SigningKey::from_secret(OLD.as_bytes()).expect("long enough"), []);
        let keys = EncryptionKeys::from_secrets(keys.iter().copied()).expect("long enough");
        Crm::builder(Arc::clone(&self.store))
            .clock(Arc::clone(&self.clock))
            .random(SeededRandom::new(seed))
            .accounts(AccountSettings::new(signing, keys))
            .outbound(self.double.clone())
            .build()
    }

    async fn webhook(&self, crm: &Crm) -> SigningSecret {
        let new = json!({"url": "https://example.com/", "events": ["team.*"], "headers": {"X-Own": "own"}});
        let new = NewWebhook::from_json(&new).expect("valid");
        let created = crm.webhooks().create(&self.by, new).await.expect("made");
        created.secret.expose().parse().expect("a secret")
    }

    /// Something happens.
    async fn event(&self, crm: &Crm) {
        let mut operation = Operation::new(crm, &self.by);
        operation.emit_named("team.created", "teams", uuid::Uuid::from_u128(7), 1, &json!({"id": 7}));
        operation.commit().await.expect("committed");
    }

    async fn delivery(&self, crm: &Crm) -> WebhookDelivery {
        let all = Query::new(Filter::ALL, 10);
        let found = crm.repo::<WebhookDelivery>().find(Scope::Installation, &all).await.expect("read");
        found.records.into_iter().next().expect("a delivery")
    }
}

fn header<'a>(request: &'a OutboundRequest, name: &str) -> &'a str {
    let found = request.headers.iter().find(|(given, _)| given == name);
    found.map(|(_, value)| value.expose().as_str()).unwrap_or_default()
}

/// A process that dies in the middle of an attempt is followed by another: the attempt counts, the message is the same.
#[tokio::test]
async fn an_attempt_that_is_cut_off_counts() {
    let mut shop = Shop::open(&[None]).await;
    let (first, second) = (shop.process(1, &[OLD]), shop.process(2, &[OLD]));
    shop.webhook(&first).await;
    shop.event(&first).await;
    assert_eq!(relay::publish_pending(&first).await.expect("published"), 1);
    let dying = tokio::spawn(async move { deliver_due(&first).await });
    let cut_off = shop.came.recv().await.expect("an attempt");
    dying.abort();
    assert!(dying.await.is_err());

    deliver_due(&second).await.expect("looked");
    assert!(shop.came.try_recv().is_err(), "it may still be alive");
    shop.clock.advance(Duration::from_secs(61));
    deliver_due(&second).await.expect("delivered");
    let again = shop.came.recv().await.expect("an attempt");
    assert_eq!((header(&again, "webhook-id"), &again.body), (header(&cut_off, "webhook-id"), &cut_off.body));
    let delivery = shop.delivery(&second).await;
    assert_eq!((delivery.state, delivery.attempts, delivery.holder), (DeliveryState::Delivered, 2, None));
    let numbers: Vec<i64> = delivery.log.0.iter().map(|attempt| attempt.number).collect();
    assert_eq!(numbers, [2]);
    assert_eq!(delivery.log.0[0].response.as_deref(), Some("a\u{fffd}b"));
}

/// What was planned before, as when somebody took the event from a queue that there is no more, is not planned again, and
/// keeps nothing else waiting.
#[tokio::test]
async fn what_is_planned_is_planned_once() {
    let shop = Shop::open(&[]).await;
    let crm = shop.process(1, &[OLD]);
    shop.webhook(&crm).await;
    shop.event(&crm).await;
    let all = Query::new(Filter::ALL, 10);
    let events = crm.repo::<Event>().find(Scope::Installation, &all).await.expect("read").records;
    let (count, plan) = super::planned(&crm, &events).await.expect("planned");
    assert_eq!(count, 1);
    crm.store().commit(Scope::Installation, plan.into_iter().collect()).await.expect("committed");
    shop.event(&crm).await;
    assert_eq!(relay::publish_pending(&crm).await.expect("published"), 2);
    assert_eq!(relay::publish_pending(&crm).await.expect("nothing waits"), 0);
    assert_eq!(crm.repo::<WebhookDelivery>().count(Scope::Installation, &Filter::ALL).await.expect("counted"), 2);
}

/// Many events for many webhooks are more than one commit takes.
#[tokio::test]
async fn a_large_batch_is_planned_whole() {
    let shop = Shop::open(&[]).await;
    let crm = shop.process(1, &[OLD]);
    for _ in 0..50 {
        shop.webhook(&crm).await;
    }
    for _ in 0..21 {
        shop.event(&crm).await;
    }
    assert_eq!(relay::publish_pending(&crm).await.expect("published"), 21);
    assert_eq!(relay::publish_pending(&crm).await.expect("published"), 0);
    assert_eq!(crm.repo::<WebhookDelivery>().count(Scope::Installation, &Filter::ALL).await.expect("counted"), 1050);
}

#[tokio::test]
async fn an_event_of_no_declared_type_is_not_committed() {
    let shop = Shop::open(&[]).await;
    let crm = shop.process(1, &[OLD]);
    let mut operation = Operation::new(&crm, &shop.by);
    operation.emit_named("team.exploded", "teams", uuid::Uuid::from_u128(7), 1, &json!({}));
    assert!(matches!(operation.commit().await, Err(Error::Internal(_))));
    assert_eq!(crm.repo::<Event>().count(Scope::Installation, &Filter::ALL).await.expect("counted"), 0);
}

/// Under a new key everything is signed as before, and the old key can go.
#[tokio::test]
async fn the_encryption_key_is_rotated() {
    let mut shop = Shop::open(&[]).await;
    let secret = shop.webhook(&shop.process(1, &[OLD])).await;
    let both = shop.process(2, &[NEW, OLD]);
    assert_eq!(reseal(&both).await.expect("sealed"), Resealed { renewed: 1, ..Resealed::default() });
    assert_eq!(reseal(&both).await.expect("sealed"), Resealed { current: 1, ..Resealed::default() });
    let late = shop.process(3, &[OLD]);
    assert_eq!(reseal(&late).await.expect("looked"), Resealed { unreadable: 1, ..Resealed::default() });

    let after = shop.process(4, &[NEW]);
    shop.event(&after).await;
    relay::publish_pending(&after).await.expect("published");
    deliver_due(&after).await.expect("delivered");
    let sent = shop.came.recv().await.expect("an attempt");
    let timestamp = header(&sent, "webhook-timestamp").parse().expect("seconds");
    let body = std::str::from_utf8(&sent.body).expect("text");
    assert_eq!(header(&sent, "webhook-signature"), secret.sign(header(&sent, "webhook-id"), timestamp, body));
    assert_eq!(header(&sent, "x-own"), "own");
}
