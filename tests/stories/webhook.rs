//! Events reach receivers outside: signed, again and again until they are taken, and nowhere they must not.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, Response, StatusCode, header},
};
use crm_core::{
    event::relay,
    port::ManualClock,
    record::Record as _,
    store::{Change, Filter, Query, Scope},
    time::Timestamp,
    webhook::{SigningSecret, WebhookDelivery, WebhookDeliveryId, deliver_due},
};
use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::support::{App, Entity, Organization, Person, on_every_store};

/// What a receiver does with one request.
#[derive(Clone, Copy, Debug)]
enum Reply {
    Status(u16),
    RetryAfter(u16, u64),
    RetryAt(u16, &'static str),
    Moved,
    Large,
    Hangs,
    Breaks,
}

/// A request that came.
struct Received {
    headers: HeaderMap,
    body: String,
}

impl Received {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }

    /// Whether one of the signatures is by this secret, as a receiver finds out.
    fn is_signed(&self, secret: &str) -> bool {
        let secret: SigningSecret = secret.parse().expect("a secret");
        let timestamp = self.header("webhook-timestamp").parse().expect("seconds");
        let signature = secret.sign(self.header("webhook-id"), timestamp, &self.body);
        self.header("webhook-signature").split(' ').any(|given| given == signature)
    }
}

#[derive(Clone)]
struct Script {
    replies: Arc<Mutex<VecDeque<Reply>>>,
    came: mpsc::UnboundedSender<Received>,
}

/// Somebody who receives events, and answers each by the script; 200 where it is at its end.
struct Receiver {
    url: String,
    came: mpsc::UnboundedReceiver<Received>,
}

impl Receiver {
    async fn start(replies: &[Reply]) -> Self {
        let (sender, came) = mpsc::unbounded_channel();
        let script = Script { replies: Arc::new(Mutex::new(replies.iter().copied().collect())), came: sender };
        let app = Router::new().fallback(receive).with_state(script);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/hooks", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, came }
    }

    /// The next request.
    async fn next(&mut self) -> Received {
        tokio::time::timeout(Duration::from_secs(20), self.came.recv()).await.expect("a request").expect("a receiver")
    }

    /// Nothing came beside what was taken.
    fn is_quiet(&mut self) -> bool {
        self.came.try_recv().is_err()
    }
}

async fn receive(State(script): State<Script>, headers: HeaderMap, body: String) -> Response<Body> {
    let reply = script.replies.lock().unwrap_or_else(PoisonError::into_inner).pop_front().unwrap_or(Reply::Status(200));
    script.came.send(Received { headers, body }).expect("the story goes on");
    let answer = |status: u16| Response::builder().status(status);
    match reply {
        Reply::Status(status) => answer(status).body(Body::from(format!("status {status}"))),
        Reply::RetryAfter(status, seconds) => answer(status).header(header::RETRY_AFTER, seconds).body(Body::empty()),
        Reply::RetryAt(status, date) => answer(status).header(header::RETRY_AFTER, date).body(Body::empty()),
        Reply::Moved => answer(StatusCode::FOUND.as_u16()).header(header::LOCATION, "/elsewhere").body(Body::empty()),
        Reply::Large => answer(200).body(Body::from("x".repeat(10 * 1024 * 1024))),
        Reply::Hangs => {
            std::future::pending::<()>().await;
            answer(200).body(Body::empty())
        }
        Reply::Breaks => {
            let broken = futures::stream::iter([Ok(Bytes::from("a")), Err(std::io::Error::other("broken"))]);
            answer(500).body(Body::from_stream(broken.chain(futures::stream::pending())))
        }
    }
    .expect("a response")
}

/// A webhook with its secret.
async fn webhook(admin: &Person, url: &str, events: &[&str]) -> (Entity, String) {
    let made = admin.post("/webhooks", json!({"url": url, "events": events})).await.created();
    let secret = made["secret"].as_str().expect("a secret").to_owned();
    (made, secret)
}

fn path(webhook: &Entity) -> String {
    format!("/webhooks/{}", webhook.id())
}

async fn customer(shop: &Organization, name: &str) -> Entity {
    shop.admin.post("/customers", json!({"name": name})).await.created()
}

/// Plans and sends what is due, whether the background work is at it too or not.
async fn settle(app: &App) {
    relay::publish_pending(&app.crm).await.ok();
    deliver_due(&app.crm).await.expect("the store is there");
}

/// The one delivery of a webhook, once it is in the state.
async fn delivery_in(app: &App, admin: &Person, webhook: &Entity, reached: impl Fn(&Value) -> bool) -> Value {
    let look = async {
        loop {
            settle(app).await;
            let page = admin.get(format!("{}/deliveries", path(webhook))).await.ok();
            if let Some(found) = page["data"].as_array().and_then(|data| data.iter().find(|one| reached(one))) {
                return found.clone();
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), look).await.expect("the delivery gets there")
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Timestamp::from_milliseconds(1_780_000_000_000).expect("an instant")))
}

on_every_store! {
    /// What happens is told to who listens, signed so that they can be sure of it, and to nobody else.
    async fn delivery(app: App) {
        let shop = app.organization("Shop").await;
        let (mut all, mut teams) = (Receiver::start(&[]).await, Receiver::start(&[]).await);
        let made = shop.admin.post("/webhooks", json!({
            "url": all.url, "events": ["customer.*", "customer_group.created"], "description": "Ours",
            "headers": {"X-Environment": "swordfish"},
        })).await.created();
        let secret = made["secret"].as_str().expect("a secret");
        webhook(&shop.admin, &teams.url, &["team.created"]).await;
        let other = app.organization("Other").await;
        other.admin.post("/customers", json!({"name": "Eve"})).await.created();
        let ada = customer(&shop, "Ada").await;
        let received = all.next().await;
        assert!(received.is_signed(secret));
        assert_eq!(received.header("content-type"), "application/json");
        assert_eq!(received.header("x-environment"), "swordfish");
        let event = received.json();
        assert_eq!((&event["type"], &event["data"]["id"], &event["id"]), (&json!("customer.created"), &ada["id"], &json!(received.header("webhook-id"))));
        assert!(event["timestamp"].as_str().is_some_and(|text| text.parse::<Timestamp>().is_ok()));
        shop.admin.post("/teams", json!({"name": "Sales"})).await.created();
        assert_eq!(teams.next().await.json()["type"], "team.created");
        assert!(all.is_quiet() && teams.is_quiet());

        let delivery = delivery_in(&app, &shop.admin, &made, |delivery| delivery["state"] == "delivered").await;
        assert_eq!((&delivery["attempts"], &delivery["log"][0]["status"], &delivery["log"][0]["response"]), (&json!(1), &json!(200), &json!("status 200")));
        assert_eq!(delivery["payload"], event);
        let filtered = format!("{}/deliveries?state=delivered&event_type=customer.created&count=true", path(&made));
        assert_eq!(shop.admin.get(filtered).await.ok()["page"]["total"], 1);
        shop.admin.get(format!("{}/deliveries?state=failed", path(&made))).await.lists([]);
        shop.admin.get(format!("{}/deliveries?state=lost", path(&made))).await.invalid(&["state"]);

        for text in [
            shop.admin.get(path(&made)).await.text(), shop.admin.get("/webhooks").await.text(),
            shop.admin.get("/audit").await.text(), shop.admin.get(format!("{}/deliveries", path(&made))).await.text(),
        ] {
            assert!(!text.contains(secret) && !text.contains("whsec_") && !text.contains("swordfish"), "{text}");
        }
        assert_eq!(shop.admin.get(path(&made)).await.ok()["header_names"], json!(["x-environment"]));
    }

    /// A receiver that fails gets the event again, under the same id, until it takes it or a day is over.
    async fn retries(setup: Setup) {
        let clock = clock();
        let app = setup.clock(&clock).accounts(|accounts| accounts.access_lifetime = Duration::from_hours(48)).start().await;
        let shop = app.organization("Shop").await;
        // Eleven minutes and ten seconds after the clock's beginning.
        let date = "Thu, 28 May 2026 20:37:50 GMT";
        let replies = [Reply::Status(500), Reply::RetryAt(429, date), Reply::Moved, Reply::Breaks, Reply::Large];
        let mut receiver = Receiver::start(&replies).await;
        let (made, secret) = webhook(&shop.admin, &receiver.url, &["customer.created"]).await;
        customer(&shop, "Ada").await;
        let first = receiver.next().await;
        let wait = async |attempts: i64| {
            delivery_in(&app, &shop.admin, &made, |delivery| {
                delivery["attempts"] == attempts && delivery["log"].as_array().map(Vec::len) == usize::try_from(attempts).ok()
            }).await
        };
        let delivery = wait(1).await;
        assert_eq!((&delivery["state"], &delivery["last_status"]), (&json!("pending"), &json!(500)));
        for (attempts, minutes) in [(2, 1), (3, 11), (4, 35), (5, 180)] {
            assert!(receiver.is_quiet(), "not before its time");
            clock.advance(Duration::from_mins(minutes));
            settle(&app).await;
            let again = receiver.next().await;
            assert_eq!((again.header("webhook-id"), &again.body), (first.header("webhook-id"), &first.body));
            assert!(again.header("webhook-timestamp") > first.header("webhook-timestamp") && again.is_signed(&secret));
            let delivery = wait(attempts).await;
            if attempts == 2 {
                let due = delivery["due_at"].as_str().and_then(|text| text.parse::<Timestamp>().ok()).expect("an instant");
                assert!(due >= "2026-05-28T20:37:50Z".parse().expect("an instant"), "{due}");
            }
        }
        let delivery = wait(5).await;
        assert_eq!((&delivery["state"], &delivery["due_at"], &delivery["error"]), (&json!("delivered"), &Value::Null, &Value::Null));
        let statuses: Vec<&Value> = delivery["log"].as_array().expect("a log").iter().map(|attempt| &attempt["status"]).collect();
        assert_eq!(statuses, [&json!(500), &json!(429), &json!(302), &Value::Null, &json!(200)]);
        assert_eq!(delivery["log"][4]["response"].as_str().map(str::len), Some(1024), "the first KB of 10 MB");
        assert!(receiver.is_quiet(), "nobody went elsewhere");
        let webhook = shop.admin.get(path(&made)).await.ok();
        assert_eq!(webhook["failing_since"], Value::Null, "a success ends it");
    }

    /// A receiver that hangs is left after a while.
    async fn hanging(setup: Setup) {
        let app = setup.outbound(|rules| rules.timeout = Duration::from_millis(300)).start().await;
        let shop = app.organization("Shop").await;
        // However late somebody looks, it has hung each time.
        let mut receiver = Receiver::start(&[Reply::Hangs; 10]).await;
        let (made, _) = webhook(&shop.admin, &receiver.url, &["customer.created"]).await;
        customer(&shop, "Ada").await;
        receiver.next().await;
        let delivery = delivery_in(&app, &shop.admin, &made, |delivery| delivery["log"][0]["error"].is_string()).await;
        assert_eq!((&delivery["error"], &delivery["log"][0]["status"]), (&json!("The answer did not come in time."), &Value::Null));
    }

    /// Nobody wants it any more: the webhook is disabled, and that is told and noted. Mended, it gets what it missed.
    async fn gone(app: App) {
        let shop = app.organization("Shop").await;
        let (mut receiver, mut watcher) = (Receiver::start(&[Reply::Status(410)]).await, Receiver::start(&[]).await);
        let (made, _) = webhook(&shop.admin, &receiver.url, &["customer.created"]).await;
        webhook(&shop.admin, &watcher.url, &["webhook.*"]).await;
        let since = app.crm.now();
        customer(&shop, "Ada").await;
        receiver.next().await;
        let told = watcher.next().await.json();
        assert_eq!((&told["type"], &told["data"]["id"], &told["data"]["reason"]), (&json!("webhook.disabled"), &made["id"], &json!("gone")));
        let disabled = shop.admin.get(path(&made)).await.ok();
        assert_eq!((&disabled["enabled"], &disabled["disabled_reason"]), (&json!(false), &json!("gone")));
        let entries = shop.admin.get("/audit?action=webhook.disabled").await.ok();
        assert_eq!(entries["data"][0]["record_id"], made["id"]);

        customer(&shop, "Ben").await;
        let missed = delivery_in(&app, &shop.admin, &made, |delivery| delivery["attempts"] == 0).await;
        assert_eq!((&missed["state"], &missed["error"]), (&json!("failed"), &json!("The webhook is disabled.")));
        assert!(receiver.is_quiet());
        shop.admin.patch(path(&made), json!({"enabled": true})).await.ok();
        let replayed = shop.admin.post(format!("{}/replay", path(&made)), json!({"since": since})).await.ok();
        assert_eq!(replayed["replayed"], 2);
        let mut names = vec![receiver.next().await.body, receiver.next().await.body];
        names.dedup();
        assert_eq!(names.len(), 2, "both events");
        delivery_in(&app, &shop.admin, &made, |delivery| delivery["event_id"] == missed["event_id"] && delivery["state"] == "delivered").await;
        let again = shop.admin.post(format!("{}/replay", path(&made)), json!({"since": since, "state": "all", "until": since})).await;
        assert_eq!(again.ok()["replayed"], 0);
    }

    /// A receiver that asks for time in seconds gets it, as one does that names a date.
    async fn patience(setup: Setup) {
        let clock = clock();
        let app = setup.clock(&clock).start().await;
        let shop = app.organization("Shop").await;
        let mut receiver = Receiver::start(&[Reply::RetryAfter(503, 120)]).await;
        let (made, _) = webhook(&shop.admin, &receiver.url, &["customer.created"]).await;
        customer(&shop, "Ada").await;
        receiver.next().await;
        delivery_in(&app, &shop.admin, &made, |delivery| delivery["log"][0]["status"] == 503).await;
        clock.advance(Duration::from_secs(100));
        settle(&app).await;
        assert!(receiver.is_quiet());
        clock.advance(Duration::from_secs(30));
        delivery_in(&app, &shop.admin, &made, |delivery| delivery["state"] == "delivered").await;
        receiver.next().await;
    }

    /// A receiver that is away holds nobody up, and gets what it missed once it is back.
    async fn away(setup: Setup) {
        let clock = clock();
        let app = setup.clock(&clock).start().await;
        let shop = app.organization("Shop").await;
        let (mut dead, mut well) = (Receiver::start(&[Reply::Status(500); 10]).await, Receiver::start(&[]).await);
        let (made, _) = webhook(&shop.admin, &dead.url, &["customer.created"]).await;
        webhook(&shop.admin, &well.url, &["customer.created"]).await;
        for number in 0..15 {
            customer(&shop, &format!("Customer {number}")).await;
        }
        for _ in 0..15 {
            well.next().await;
        }
        for _ in 0..10 {
            dead.next().await;
        }
        settle(&app).await;
        assert!(dead.is_quiet(), "it rests after ten failures");
        let arrived = async || {
            settle(&app).await;
            shop.admin.get(format!("{}/deliveries?state=delivered&count=true", path(&made))).await.ok()["page"]["total"] == 15
        };
        let look = async {
            while !arrived().await {
                clock.advance(Duration::from_secs(31));
            }
        };
        tokio::time::timeout(Duration::from_secs(60), look).await.expect("everything comes");
    }

    /// What is left of a removed webhook goes too, in the background.
    async fn removed(app: App) {
        let shop = app.organization("Shop").await;
        let mut receiver = Receiver::start(&[]).await;
        let (made, _) = webhook(&shop.admin, &receiver.url, &["customer.created"]).await;
        customer(&shop, "Ada").await;
        receiver.next().await;
        shop.admin.delete(path(&made)).await.no_content();
        shop.admin.get(format!("{}/deliveries", path(&made))).await.refused(404, "NOT_FOUND");
        let look = async {
            while app.crm.repo::<WebhookDelivery>().count(Scope::Installation, &Filter::ALL).await.expect("counted") > 0 {
                settle(&app).await;
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), look).await.expect("removed in time");
        customer(&shop, "Ben").await;
        settle(&app).await;
        assert!(receiver.is_quiet());
    }

    /// More events are sent again than are made due together.
    async fn many_again(app: App) {
        let shop = app.organization("Shop").await;
        let mut receiver = Receiver::start(&[]).await;
        let (made, _) = webhook(&shop.admin, &receiver.url, &["team.created"]).await;
        shop.admin.patch(path(&made), json!({"enabled": false})).await.ok();
        let since = app.crm.now();
        shop.admin.post("/teams", json!({"name": "Sales"})).await.created();
        let first = delivery_in(&app, &shop.admin, &made, |delivery| delivery["state"] == "failed").await;
        // As if there had been many.
        let all = Query::new(Filter::ALL, 1);
        let kept = app.crm.repo::<WebhookDelivery>().find(Scope::Installation, &all).await.expect("read").records;
        let rows = (0..520).map(|_| {
            let mut delivery = kept[0].clone();
            (delivery.id, delivery.event_id) = (app.crm.new_id(), app.crm.new_id::<WebhookDeliveryId>().into());
            delivery.to_row()
        });
        let insert = Change::Insert { collection: WebhookDelivery::COLLECTION, rows: rows.collect() };
        app.crm.store().commit(Scope::Installation, vec![insert]).await.expect("written");
        shop.admin.patch(path(&made), json!({"enabled": true})).await.ok();
        let replayed = shop.admin.post(format!("{}/replay", path(&made)), json!({"since": since})).await.ok();
        assert_eq!((&replayed["replayed"], &first["attempts"]), (&json!(521), &json!(0)));
        let mut ids = std::collections::HashSet::new();
        for _ in 0..521 {
            ids.insert(receiver.next().await.header("webhook-id").to_owned());
        }
        assert_eq!(ids.len(), 521);
        settle(&app).await;
        assert!(receiver.is_quiet(), "each once");
    }

    /// Five days of nothing but failures disable a webhook.
    async fn failing(setup: Setup) {
        let clock = clock();
        let app = setup.clock(&clock).accounts(|accounts| accounts.access_lifetime = Duration::from_hours(24 * 30)).start().await;
        let shop = app.organization("Shop").await;
        let mut receiver = Receiver::start(&[Reply::Status(500); 10]).await;
        let (made, _) = webhook(&shop.admin, &receiver.url, &["customer.created"]).await;
        for (day, enabled) in [(0, true), (4, true), (2, false)] {
            clock.advance(Duration::from_hours(24 * day));
            customer(&shop, &format!("Day {day}")).await;
            receiver.next().await;
            let failed = |delivery: &Value| delivery["payload"]["data"]["id"].is_string() && delivery["last_status"] == 500;
            delivery_in(&app, &shop.admin, &made, failed).await;
            let look = async {
                while shop.admin.get(path(&made)).await.ok()["enabled"] != enabled {
                    settle(&app).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(20), look).await.expect("disabled in time");
            // What was due meanwhile.
            while !receiver.is_quiet() {}
        }
        assert_eq!(shop.admin.get(path(&made)).await.ok()["disabled_reason"], "failing");
    }

    /// After a rotation both secrets hold for a day.
    async fn rotation(setup: Setup) {
        let clock = clock();
        let app = setup.clock(&clock).accounts(|accounts| accounts.access_lifetime = Duration::from_hours(48)).start().await;
        let shop = app.organization("Shop").await;
        let mut receiver = Receiver::start(&[]).await;
        let (made, old) = webhook(&shop.admin, &receiver.url, &["customer.created"]).await;
        let rotated = shop.admin.post(format!("{}/rotate-secret", path(&made)), Value::Null).await.ok();
        let new = rotated["secret"].as_str().expect("a secret").to_owned();
        assert_ne!(old, new);
        customer(&shop, "Ada").await;
        let received = receiver.next().await;
        assert!(received.is_signed(&old) && received.is_signed(&new));
        clock.advance(Duration::from_hours(25));
        customer(&shop, "Ben").await;
        settle(&app).await;
        let received = receiver.next().await;
        assert!(!received.is_signed(&old) && received.is_signed(&new));
    }

    /// A webhook is tried, and an event is sent again, whenever somebody wants it.
    async fn again(app: App) {
        let shop = app.organization("Shop").await;
        let mut receiver = Receiver::start(&[]).await;
        let (made, secret) = webhook(&shop.admin, &receiver.url, &["team.created"]).await;
        shop.admin.patch(path(&made), json!({"enabled": false})).await.ok();
        let tried = shop.admin.post(format!("{}/test", path(&made)), Value::Null).await.created();
        let received = receiver.next().await;
        assert!(received.is_signed(&secret));
        assert_eq!((&received.json()["type"], &received.json()["data"]["webhook_id"]), (&json!("webhook.test"), &made["id"]));
        delivery_in(&app, &shop.admin, &made, |delivery| delivery["state"] == "delivered").await;
        let place = format!("{}/deliveries/{}", path(&made), tried.id());
        shop.admin.post(format!("{place}/replay"), Value::Null).await.ok();
        let again = receiver.next().await;
        assert_eq!(again.header("webhook-id"), received.header("webhook-id"));
        delivery_in(&app, &shop.admin, &made, |delivery| delivery["attempts"] == 2 && delivery["state"] == "delivered").await;
        assert_eq!(shop.admin.get(&place).await.ok()["log"].as_array().map(Vec::len), Some(2));
    }

    /// A relay that dies between handing on and marking plans nothing twice.
    async fn planned_once(app: App) {
        let shop = app.organization("Shop").await;
        let mut receiver = Receiver::start(&[]).await;
        let (made, _) = webhook(&shop.admin, &receiver.url, &["customer.created"]).await;
        let customers: Vec<Entity> = futures::future::join_all((0..20).map(|number| {
            let shop = &shop;
            async move { customer(shop, &format!("Customer {number}")).await }
        })).await;
        // Beside the one in the background: whoever comes second plans nothing.
        futures::future::join_all((0..4).map(|_| relay::publish_pending(&app.crm))).await;
        let mut ids: Vec<Value> = Vec::new();
        for _ in &customers {
            ids.push(receiver.next().await.json()["data"]["id"].clone());
        }
        let mut wanted: Vec<String> = customers.iter().map(|customer| customer.id().to_owned()).collect();
        let mut found: Vec<String> = ids.iter().filter_map(|id| id.as_str().map(str::to_owned)).collect();
        wanted.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, wanted);
        let page = shop.admin.get(format!("{}/deliveries?count=true&limit=1", path(&made))).await.ok();
        assert_eq!(page["page"]["total"], 20);
    }

    /// Webhooks and what they send are their organization's, and their Admin's.
    async fn foreign(app: App) {
        let (shop, other) = (app.staffed("Shop").await, app.organization("Other").await);
        let mut receiver = Receiver::start(&[]).await;
        let (made, _) = webhook(&shop.admin, &receiver.url, &["customer.created"]).await;
        let tried = shop.admin.post(format!("{}/test", path(&made)), Value::Null).await.created();
        receiver.next().await;
        let (delivery, body) = (format!("{}/deliveries/{}", path(&made), tried.id()), json!({"since": "2026-01-01T00:00:00Z"}));
        other.admin.get("/webhooks").await.lists([]);
        for place in [path(&made), format!("{}/deliveries", path(&made)), delivery.clone()] {
            other.admin.get(&place).await.refused(404, "NOT_FOUND");
            shop.lead.get(&place).await.refused(403, "FORBIDDEN");
        }
        let (mine, _) = webhook(&other.admin, &receiver.url, &["customer.created"]).await;
        let through_mine = format!("{}/deliveries/{}", path(&mine), tried.id());
        other.admin.get(&through_mine).await.refused(404, "NOT_FOUND");
        other.admin.post(format!("{through_mine}/replay"), Value::Null).await.refused(404, "NOT_FOUND");
        for action in ["rotate-secret", "test"] {
            other.admin.post(format!("{}/{action}", path(&made)), Value::Null).await.refused(404, "NOT_FOUND");
            shop.agent.post(format!("{}/{action}", path(&made)), Value::Null).await.refused(403, "FORBIDDEN");
        }
        other.admin.post(format!("{}/replay", path(&made)), body).await.refused(404, "NOT_FOUND");
        other.admin.post(format!("{delivery}/replay"), Value::Null).await.refused(404, "NOT_FOUND");
        other.admin.patch(path(&made), json!({"enabled": false})).await.refused(404, "NOT_FOUND");
        other.admin.delete(path(&made)).await.refused(404, "NOT_FOUND");
        shop.admin.delete(path(&made)).await.no_content();
        shop.admin.get(&delivery).await.refused(404, "NOT_FOUND");
    }

    /// What makes no webhook is refused with every reason; what is changed is changed by version.
    async fn bad_input(app: App) {
        let shop = app.organization("Shop").await;
        let refused = shop.admin.post("/webhooks", json!({
            "url": "", "events": ["customer.exploded"], "headers": {"Host": "evil"}, "secret": "whsec_x", "colour": 1,
        })).await;
        refused.invalid(&["url", "events[0]", "headers.Host", "secret", "colour"]);
        shop.admin.post("/webhooks", json!({})).await.invalid(&["url", "events"]);
        let receiver = Receiver::start(&[]).await;
        let (made, _) = webhook(&shop.admin, &receiver.url, &["*"]).await;
        let changed = shop.admin.patch(path(&made), json!({"description": "x"})).header("if-match", "\"1\"").await;
        assert_eq!(changed.ok()["version"], 2);
        shop.admin.patch(path(&made), json!({"description": "y"})).header("if-match", "\"1\"").await.refused(412, "VERSION_CONFLICT");
        let as_read = shop.admin.get(path(&made)).await.ok();
        assert_eq!(shop.admin.put(path(&made), as_read.clone()).await.ok(), as_read, "what was read can be put back");
        let backwards = json!({"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"});
        shop.admin.post(format!("{}/replay", path(&made)), backwards).await.invalid(&["until"]);
        let types = shop.admin.get("/webhooks/event-types").await.ok();
        assert!(types["data"].as_array().is_some_and(|types| types.len() > 20));
        for number in 1..50 {
            let url = format!("{}/{number}", receiver.url);
            shop.admin.post("/webhooks", json!({"url": url, "events": ["*"]})).await.created();
        }
        let url = &receiver.url;
        shop.admin.post("/webhooks", json!({"url": url, "events": ["*"]})).await.refused(409, "CONFLICT");
    }

    /// Nothing inside is reached, however it is written.
    async fn inside(setup: Setup) {
        let app = setup.outbound(|rules| rules.allowed.clear()).start().await;
        let shop = app.organization("Shop").await;
        let mut receiver = Receiver::start(&[]).await;
        let port = receiver.url.rsplit(':').next().and_then(|rest| rest.split('/').next()).expect("a port").to_owned();
        for host in ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "0177.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "10.1.2.3", "169.254.169.254"] {
            for port in [port.as_str(), "8443"] {
                let body = json!({"url": format!("http://{host}:{port}/hooks"), "events": ["*"]});
                shop.admin.post("/webhooks", body).await.invalid(&["url"]);
            }
        }
        for url in ["ftp://example.com/", "https://user:secret@example.com/", "https://example.com/#a", "/hooks", "https://example.com:22/", "javascript:alert(1)"] {
            shop.admin.post("/webhooks", json!({"url": url, "events": ["*"]})).await.invalid(&["url"]);
        }
        assert!(receiver.is_quiet());
    }
}
