//! Deliveries whose process dies, receivers that take long, backlogs, a store that goes away, keys that are rotated.

mod watched;

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use serde_json::json;
use tokio::sync::mpsc;

use self::watched::Watched;
use super::{
    DeliveryState, NewWebhook, ReplayRequest, SigningSecret, WebhookDelivery, WebhookId, WebhookLane, deliver_due,
};
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
    store::{Change, Filter, Query, Scope, SharedStore, Store as _, StoreError, double},
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
    /// Requests in hand, and the most there were.
    in_hand: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

#[async_trait]
impl Outbound for Double {
    async fn check(&self, _: &str) -> Result<(), OutboundFailure> {
        Ok(())
    }

    async fn post(&self, request: OutboundRequest) -> Result<OutboundAnswer, OutboundFailure> {
        let reply = self.replies.lock().unwrap_or_else(PoisonError::into_inner).pop_front().unwrap_or(Some(200));
        self.most.fetch_max(self.in_hand.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        self.sent.send(request).expect("the test goes on");
        self.in_hand.fetch_sub(1, Ordering::SeqCst);
        match reply {
            Some(status) => Ok(OutboundAnswer { status, retry_after: None, body: b"a\0b".to_vec() }),
            None => std::future::pending().await,
        }
    }
}

struct Shop {
    store: Arc<double::Double<Watched>>,
    clock: Arc<ManualClock>,
    double: Double,
    came: mpsc::UnboundedReceiver<OutboundRequest>,
    by: Principal,
}

impl Shop {
    async fn open(replies: &[Option<u16>]) -> Self {
        let store = Arc::new(double::Double::<Watched>::default());
        store.migrate(crate::crm::collections(), &|_, _, _| {}).await.expect("the collections are sound");
        let clock = Arc::new(ManualClock::new(Timestamp::from_milliseconds(1_780_000_000_000).expect("an instant")));
        let (sent, came) = mpsc::unbounded_channel();
        let double = Double {
            replies: Arc::new(Mutex::new(replies.iter().copied().collect())),
            sent,
            in_hand: Arc::default(),
            most: Arc::default(),
        };
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
        Crm::builder(Arc::clone(&self.store) as SharedStore)
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

impl Shop {
    /// How many requests came since it was asked last.
    fn arrived(&mut self) -> usize {
        std::iter::from_fn(|| self.came.try_recv().ok()).count()
    }

    async fn deliveries(&self, crm: &Crm) -> u64 {
        crm.repo::<WebhookDelivery>().count(Scope::Installation, &Filter::ALL).await.expect("counted")
    }

    async fn in_state(&self, crm: &Crm, state: DeliveryState) -> u64 {
        let filter = WebhookDelivery::state.equals(state);
        crm.repo::<WebhookDelivery>().count(Scope::Installation, &filter).await.expect("counted")
    }

    /// So many deliveries that have failed for the webhook.
    async fn backlog(&self, crm: &Crm, count: u128) -> WebhookId {
        let lane = crm.repo::<WebhookLane>().first(Scope::Installation, Filter::ALL).await.expect("read");
        let (now, id) = (crm.now(), lane.expect("a webhook").id);
        let rows = (0..count).map(|number| {
            let event = uuid::Uuid::from_u128(number);
            let mut delivery =
                super::plan::new(crm, (self.by.organization, id), event, "team.created", "{}".to_owned(), now);
            (delivery.state, delivery.due_at) = (DeliveryState::Failed, None);
            delivery.to_row()
        });
        let insert = Change::Insert { collection: WebhookDelivery::COLLECTION, rows: rows.collect() };
        crm.store().commit(Scope::Installation, vec![insert]).await.expect("written");
        id
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
    let numbers: Vec<(i64, Option<u16>)> =
        delivery.log.0.iter().map(|attempt| (attempt.number, attempt.status)).collect();
    assert_eq!(numbers, [(1, None), (2, Some(200))], "also of the one that was cut off");
    assert_eq!(delivery.log.0[1].response.as_deref(), Some("a\u{fffd}b"));
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
    crm.store().commit(Scope::Installation, plan).await.expect("committed");
    shop.event(&crm).await;
    assert_eq!(relay::publish_pending(&crm).await.expect("published"), 2);
    assert_eq!(relay::publish_pending(&crm).await.expect("nothing waits"), 0);
    assert_eq!(crm.repo::<WebhookDelivery>().count(Scope::Installation, &Filter::ALL).await.expect("counted"), 2);
}

/// A webhook whose receiver is away costs the others nothing: after ten failures it rests, whatever waits for it.
#[tokio::test]
async fn a_dead_receiver_is_left_alone() {
    let mut shop = Shop::open(&[Some(500); 10]).await;
    let crm = shop.process(1, &[OLD]);
    shop.webhook(&crm).await;
    for _ in 0..40 {
        shop.event(&crm).await;
    }
    relay::publish_pending(&crm).await.expect("published");
    deliver_due(&crm).await.expect("delivered");
    assert_eq!(shop.arrived(), 10);
    shop.webhook(&crm).await;
    shop.event(&crm).await;
    relay::publish_pending(&crm).await.expect("published");
    let before = shop.store.rows_read();
    deliver_due(&shop.process(2, &[OLD])).await.expect("delivered");
    assert_eq!(shop.arrived(), 1, "only what is for the other, whoever delivers");
    assert!(shop.store.rows_read() - before < 10, "nothing of the backlog was looked at");

    shop.clock.advance(Duration::from_secs(31));
    deliver_due(&crm).await.expect("delivered");
    assert_eq!(shop.arrived(), 41, "it is back");
    assert_eq!(shop.in_state(&crm, DeliveryState::Delivered).await, 42);
}

/// However many processes deliver, a webhook has four requests at once, and each event comes once.
#[tokio::test]
async fn processes_share_a_webhook() {
    let mut shop = Shop::open(&[]).await;
    let processes = [shop.process(1, &[OLD]), shop.process(2, &[OLD]), shop.process(3, &[OLD])];
    shop.webhook(&processes[0]).await;
    let (stopper, stopped) = tokio::sync::watch::channel(false);
    let couriers = processes.clone().map(|crm| {
        let mut stopped = stopped.clone();
        tokio::spawn(super::run(crm, async move {
            let _ = stopped.wait_for(|stopped| *stopped).await;
        }))
    });
    for number in 0..60 {
        let crm = &processes[number % 3];
        shop.event(crm).await;
        relay::publish_pending(crm).await.expect("published");
    }
    for _ in 0..60 {
        let came = tokio::time::timeout(Duration::from_secs(60), shop.came.recv()).await;
        came.expect("none is forgotten").expect("a request");
    }
    stopper.send(true).expect("they run");
    for courier in couriers {
        courier.await.expect("stopped");
    }
    assert_eq!(shop.arrived(), 0, "none comes twice");
    assert!(shop.double.most.load(Ordering::SeqCst) <= 4);
    assert_eq!(shop.in_state(&processes[0], DeliveryState::Delivered).await, 60);
}

/// A store that is away for a moment after something was sent keeps what became of it, and nothing is sent twice.
#[tokio::test]
async fn an_outcome_is_written_once_the_store_is_back() {
    let mut shop = Shop::open(&[]).await;
    let crm = shop.process(1, &[OLD]);
    shop.webhook(&crm).await;
    shop.event(&crm).await;
    relay::publish_pending(&crm).await.expect("published");
    shop.store.refuse(1, |scope, _| *scope != Scope::Installation, watched::away);
    deliver_due(&crm).await.expect("delivered");
    assert_eq!(shop.arrived(), 1);
    let delivery = shop.delivery(&crm).await;
    assert_eq!((delivery.state, delivery.attempts, delivery.log.0.len()), (DeliveryState::Delivered, 1, 1));
}

/// What can never be written is not sent for ever, and the attempts are in the log.
#[tokio::test]
async fn what_cannot_be_written_keeps_the_schedule() {
    let mut shop = Shop::open(&[]).await;
    let crm = shop.process(1, &[OLD]);
    shop.webhook(&crm).await;
    shop.event(&crm).await;
    relay::publish_pending(&crm).await.expect("published");
    let broken = || StoreError::Unusable("It takes no such thing.".to_owned());
    shop.store.refuse(usize::MAX, |scope, _| *scope != Scope::Installation, broken);
    let mut came = Vec::new();
    for _ in 0..130 {
        deliver_due(&crm).await.expect("looked");
        came.push(shop.arrived());
        shop.clock.advance(Duration::from_secs(900));
    }
    assert!(came.iter().sum::<usize>() <= 11, "{came:?}");
    assert!(came.iter().all(|times| *times <= 1), "{came:?}");
    let delivery = shop.delivery(&crm).await;
    assert_eq!(delivery.state, DeliveryState::Failed);
    assert!(delivery.error.is_some_and(|error| error.contains("not known")));
    assert_eq!(delivery.log.0.len(), came.iter().sum::<usize>());
}

/// An answer that a store refuses is not kept; that it came is.
#[tokio::test]
async fn an_answer_that_cannot_be_kept_is_left_out() {
    let mut shop = Shop::open(&[]).await;
    let crm = shop.process(1, &[OLD]);
    shop.webhook(&crm).await;
    shop.event(&crm).await;
    relay::publish_pending(&crm).await.expect("published");
    let broken = || StoreError::TooLarge("It takes no such thing.".to_owned());
    shop.store.refuse(1, |scope, _| *scope != Scope::Installation, broken);
    deliver_due(&crm).await.expect("delivered");
    assert_eq!(shop.arrived(), 1);
    let delivery = shop.delivery(&crm).await;
    assert_eq!((delivery.state, delivery.last_status), (DeliveryState::Delivered, Some(200)));
    assert_eq!(delivery.log.0[0].response, None);
}

/// A webhook is removed at once, and its deliveries one piece after the other, by whoever is there.
#[tokio::test]
async fn a_removed_webhook_goes_piece_by_piece() {
    let mut shop = Shop::open(&[]).await;
    let crm = shop.process(1, &[OLD]);
    shop.webhook(&crm).await;
    let id = shop.backlog(&crm, 1200).await;
    crm.webhooks().remove(&shop.by, id, None).await.expect("removed");
    let pieces = |_: &Scope, changes: &[Change]| {
        changes.iter().any(|change| matches!(change, Change::DeleteWhere { collection, .. } if collection.name == "webhook_deliveries"))
    };
    // The process gets no further than the first piece.
    shop.store.spare(1);
    shop.store.refuse(usize::MAX, pieces, || StoreError::Unusable("It ends here.".to_owned()));
    let dying = tokio::spawn({
        let crm = crm.clone();
        async move { deliver_due(&crm).await }
    });
    while shop.store.refused() == 0 {
        tokio::task::yield_now().await;
    }
    dying.abort();
    assert!(dying.await.is_err());
    assert_eq!(shop.deliveries(&crm).await, 700);
    shop.store.refuse(0, |_, _| false, watched::away);
    let other = shop.process(2, &[OLD]);
    assert!(matches!(other.webhooks().get(&shop.by, id).await, Err(Error::NotFound(_))));
    shop.clock.advance(Duration::from_secs(61));
    deliver_due(&other).await.expect("removed");
    assert_eq!(shop.deliveries(&other).await, 0);
    assert_eq!(other.repo::<WebhookLane>().count(Scope::Installation, &Filter::ALL).await.expect("counted"), 0);
    assert_eq!(shop.arrived(), 0, "nothing was sent");
}

/// Many deliveries are sent again piece by piece: what the request does not reach is done in the background.
#[tokio::test]
async fn many_are_sent_again() {
    let mut shop = Shop::open(&[]).await;
    let crm = shop.process(1, &[OLD]);
    shop.webhook(&crm).await;
    let id = shop.backlog(&crm, 5_600).await;
    let request = ReplayRequest::from_json(&json!({"since": "2026-01-01T00:00:00Z"})).expect("valid");
    assert_eq!(crm.webhooks().replay_since(&shop.by, id, &request).await.expect("replayed"), 5_600);
    assert_eq!(shop.in_state(&crm, DeliveryState::Pending).await, 5_000);
    let again = crm.webhooks().replay_since(&shop.by, id, &request).await;
    assert!(matches!(again, Err(Error::Conflict(_))), "{again:?}");
    // So that the background has nothing to send meanwhile.
    let sent = Change::UpdateWhere {
        collection: WebhookDelivery::COLLECTION,
        filter: WebhookDelivery::state.equals(DeliveryState::Pending),
        assignments: vec![WebhookDelivery::state.set(DeliveryState::Delivered), WebhookDelivery::due_at.set(None)],
    };
    crm.store().commit(Scope::Installation, vec![sent]).await.expect("written");
    deliver_due(&crm).await.expect("delivered");
    assert_eq!(shop.arrived(), 600, "each once");
    assert_eq!(shop.in_state(&crm, DeliveryState::Delivered).await, 5_600);
    assert_eq!(crm.webhooks().replay_since(&shop.by, id, &request).await.expect("looked"), 0);
}

/// Who listens is looked up once, however many organizations tell something.
#[tokio::test]
async fn a_batch_looks_up_webhooks_once() {
    let shop = Shop::open(&[]).await;
    let crm = shop.process(1, &[OLD]);
    shop.webhook(&crm).await;
    shop.event(&crm).await;
    for number in 0..20 {
        let by = Principal::system(OrganizationId(uuid::Uuid::from_u128(number)));
        let mut operation = Operation::new(&crm, &by);
        operation.emit_named("team.created", "teams", uuid::Uuid::from_u128(7), 1, &json!({"id": 7}));
        operation.commit().await.expect("committed");
    }
    let before = shop.store.reads();
    assert_eq!(relay::publish_pending(&crm).await.expect("published"), 21);
    assert!(shop.store.reads() - before < 10, "not once for each of them");
    assert_eq!(shop.deliveries(&crm).await, 1);
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
