//! Whom messages reach: receipts of vendors, suppressed addresses, consent, caps, and links by which people unsubscribe.

use std::{sync::Arc, time::Duration};

use axum::{Router, extract::State, http::HeaderMap, routing::post};
use crm_core::{
    access::Principal,
    background,
    campaign::{CampaignChannel, CampaignId, Communication, CommunicationId, CommunicationStatus},
    customer::Customer,
    delivery::{Candidate, DeliverySettings, MockMessage, Unsubscribe, VendorMessageId, deliver_mock_receipts},
    id::{CustomerId, OrganizationId},
    port::{ManualClock, OutgoingMessage},
    record::{Meta, Record as _},
    store::{Change, Filter, Scope},
    webhook::SigningSecret,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::support::{Answer, App, Client, Entity, Organization, RECEIPT_SECRET, on_every_store};

/// A message of a campaign as it is once it was handed to a channel.
async fn sent(app: &App, shop: &Organization, customer: &Entity, vendor_message_id: Option<&str>) -> Communication {
    let organization = organization_id(shop).await;
    let now = app.crm.now();
    let message = Communication {
        id: app.crm.new_id::<CommunicationId>(),
        campaign_id: app.crm.new_id::<CampaignId>(),
        customer_id: customer_id(customer),
        channel: CampaignChannel::Email,
        variant: None,
        sequence: 1,
        address: "Kim@Example.com".to_owned(),
        subject: None,
        message: "Hi".to_owned(),
        status: CommunicationStatus::Sent,
        stage: None,
        due_at: None,
        holder: None,
        attempts: 1,
        vendor_message_id: vendor_message_id.map(str::to_owned),
        reason: None,
        sent_at: Some(now),
        confirmed_at: None,
        delivered_at: None,
        read_at: None,
        failed_at: None,
        meta: Meta::new(organization, now),
    };
    keep(app, &message).await;
    message
}

async fn keep(app: &App, message: &Communication) {
    let insert = Change::Insert { collection: Communication::COLLECTION, rows: vec![message.to_row()] };
    app.crm.store().commit(Scope::Organization(message.meta.organization_id), vec![insert]).await.expect("written");
}

async fn stored(app: &App, message: &Communication) -> Communication {
    let scope = Scope::Organization(message.meta.organization_id);
    app.crm.repo::<Communication>().get(scope, message.id).await.expect("read").expect("there")
}

async fn organization_id(shop: &Organization) -> OrganizationId {
    OrganizationId(shop.id().await.parse().expect("an id"))
}

fn customer_id(customer: &Entity) -> CustomerId {
    CustomerId(customer.id().parse().expect("an id"))
}

fn name_of(message: &Communication) -> String {
    let organization = message.meta.organization_id;
    VendorMessageId { channel: "email", organization, reference: message.id.0 }.to_string()
}

/// What the installation's vendors sign with.
fn installation_secret() -> SigningSecret {
    DeliverySettings::receipt_secret_of(RECEIPT_SECRET).expect("a secret")
}

/// A vendor brings receipts, signed at an instant so many seconds from now.
async fn bring(app: &App, query: &str, secret: &SigningSecret, seconds: i64, body: &Value) -> Answer {
    let timestamp = app.crm.now().as_milliseconds() / 1000 + seconds;
    let body = body.to_string();
    let signature = format!("v1,bm90aGluZw== {}", secret.sign("msg_1", timestamp, &body));
    vendor(&app.anonymous, &timestamp.to_string(), &signature)
        .post(format!("/delivery-receipt{query}"), raw(&body))
        .await
}

fn vendor(client: &Client, timestamp: &str, signature: &str) -> Client {
    client.with("webhook-id", "msg_1").with("webhook-timestamp", timestamp).with("webhook-signature", signature)
}

fn raw(body: &str) -> Value {
    serde_json::from_str(body).expect("JSON")
}

on_every_store! {
    /// Receipts count only where they are signed, however they come, and never beyond their organization.
    async fn receipts(app: App) {
        let (shop, other) = (app.organization("Shop").await, app.organization("Other").await);
        let kim = shop.admin.post("/customers", json!({"name": "Kim", "email": "kim@example.com"})).await.created();
        let secret = installation_secret();
        let message = sent(&app, &shop, &kim, None).await;
        let receipt = |status: &str, at: &str| json!({"vendor_message_id": name_of(&message), "status": status, "at": at});
        let read = receipt("READ", "2026-01-01T00:00:03Z");

        app.anonymous.post("/delivery-receipt", read.clone()).await.refused(401, "UNAUTHENTICATED");
        bring(&app, "", &SigningSecret::new(app.crm.random()), 0, &read).await.refused(401, "UNAUTHENTICATED");
        for seconds in [-301, 302] {
            bring(&app, "", &secret, seconds, &read).await.refused(401, "UNAUTHENTICATED");
        }
        bring(&app, "", &secret, 0, &json!([read, {"status": "LOST"}])).await.invalid(&["[1].vendor_message_id", "[1].status"]);
        assert_eq!(stored(&app, &message).await, message, "nothing happened");

        let sent_at = receipt("SENT", "2026-01-01T00:00:01Z");
        let failed = receipt("FAILED", "2026-01-01T00:00:02Z");
        let all = json!([read, sent_at, failed, read]);
        let answer = bring(&app, "", &secret, -200, &all).await.ok();
        assert_eq!(answer, json!({"received": 4, "applied": 1, "parked": 0, "unknown": 0}));
        let after = stored(&app, &message).await;
        assert_eq!((after.status, after.meta.version), (CommunicationStatus::Read, 2));
        assert_eq!(after.vendor_message_id, Some(name_of(&message)));
        let again = bring(&app, "", &secret, 0, &all).await.ok();
        assert_eq!((&again["applied"], stored(&app, &message).await), (&json!(0), after.clone()), "said again it changes nothing");

        // The other organization's own vendor cannot reach it, whatever it names.
        let channels = other.admin.get("/messaging/channels").await.ok();
        let webhook = channels["data"].as_array().expect("channels").iter().find(|channel| channel["name"] == "webhook");
        let theirs: SigningSecret = webhook.expect("there")["secret"].as_str().expect("a secret").parse().expect("a secret");
        let query = format!("?organization_id={}", other.id().await);
        bring(&app, "", &theirs, 0, &failed).await.refused(401, "UNAUTHENTICATED");
        bring(&app, &format!("?organization_id={}", shop.id().await), &theirs, 0, &failed).await.refused(401, "UNAUTHENTICATED");
        let answer = bring(&app, &query, &theirs, 0, &failed).await.ok();
        assert_eq!((&answer["unknown"], &answer["applied"]), (&json!(1), &json!(0)));
        assert_eq!(stored(&app, &message).await, after);
        let agent = shop.member("Agent", None).await;
        let shown = agent.get("/messaging/channels").await.ok();
        assert!(!shown.to_string().contains("whsec_"), "not for everybody");

        // A message that hard bounces is the last to its address.
        let second = sent(&app, &shop, &kim, None).await;
        let bounced = json!({"vendor_message_id": name_of(&second), "status": "BOUNCED", "reason": "550 nobody here"});
        bring(&app, "", &secret, 0, &json!([bounced, bounced])).await.ok();
        let second = stored(&app, &second).await;
        assert_eq!((second.status, second.reason.as_deref()), (CommunicationStatus::Failed, Some("550 nobody here")));
        let list = shop.admin.get("/suppressions?reason=hard_bounce").await.ok();
        assert_eq!((&list["data"][0]["address"], list["data"].as_array().map(Vec::len)), (&json!("kim@example.com"), Some(1)));
        other.admin.get("/suppressions").await.lists([]);
    }

    /// Receipts that come together, each with its own instant and word, each reach their message.
    async fn many_receipts(app: App) {
        let shop = app.organization("Shop").await;
        let kim = shop.admin.post("/customers", json!({"name": "Kim"})).await.created();
        let mut messages = Vec::new();
        for _ in 0..15 {
            messages.push(sent(&app, &shop, &kim, None).await);
        }
        let words = ["DELIVERED", "READ", "FAILED"];
        let now = app.crm.now();
        let receipt = |(place, message): (usize, &Communication)| {
            let at = now.plus(Duration::from_millis(place.try_into().expect("a few")));
            let (word, at) = (words[place % 3], at.to_string());
            let reason = (word == "FAILED").then(|| format!("full {place}"));
            json!({"vendor_message_id": name_of(message), "status": word, "at": at, "reason": reason})
        };
        let all: Vec<Value> = messages.iter().enumerate().map(receipt).collect();
        for (applied, version) in [(15, 2), (0, 2)] {
            let answer = bring(&app, "", &installation_secret(), 0, &json!(all)).await.ok();
            assert_eq!(answer, json!({"received": 15, "applied": applied, "parked": 0, "unknown": 0}));
            for (place, message) in messages.iter().enumerate() {
                let after = json!(stored(&app, message).await);
                let at = &all[place]["at"];
                let field = ["delivered_at", "read_at", "failed_at"][place % 3];
                assert_eq!((&after["status"], &after[field], &after["reason"]), (&all[place]["status"], at, &all[place]["reason"]));
                assert_eq!((&after["version"], &after["address"]), (&json!(version), &json!("Kim@Example.com")));
            }
        }
    }

    /// A receipt that is faster than the commit that it is about waits for it.
    async fn early_receipts(app: App) {
        let shop = app.organization("Shop").await;
        let kim = shop.admin.post("/customers", json!({"name": "Kim"})).await.created();
        let channels = shop.admin.get("/messaging/channels").await.ok();
        let secret = channels["data"].as_array().expect("channels").iter().find_map(|channel| channel["secret"].as_str());
        let secret: SigningSecret = secret.expect("of the webhook").parse().expect("a secret");
        let query = format!("?organization_id={}", shop.id().await);
        let early = json!([
            {"vendor_message_id": "their-1", "status": "DELIVERED"}, {"vendor_message_id": "never", "status": "SENT"},
        ]);
        let answer = bring(&app, &query, &secret, 0, &early).await.ok();
        assert_eq!((&answer["parked"], &answer["applied"]), (&json!(2), &json!(0)));
        let message = sent(&app, &shop, &kim, Some("their-1")).await;
        background::clean_now(&app.crm).await.expect("cleaned");
        let after = stored(&app, &message).await;
        assert_eq!(after.status, CommunicationStatus::Delivered);
        background::clean_now(&app.crm).await.expect("cleaned");
        assert_eq!(stored(&app, &message).await, after, "once");
        // What their vendor names is looked up by its name from now on.
        let read = json!({"vendor_message_id": "their-1", "status": "READ"});
        assert_eq!(bring(&app, &query, &secret, 0, &read).await.ok()["applied"], 1);
        assert_eq!(stored(&app, &message).await.status, CommunicationStatus::Read);
    }

    /// The built-in vendor takes each message once, and says what became of it.
    async fn built_in_vendor(setup: Setup) {
        let clock = Arc::new(ManualClock::new("2026-03-20T09:00:00Z".parse().expect("an instant")));
        let app = setup.clock(&clock).without_background().start().await;
        let shop = app.organization("Shop").await;
        let kim = shop.admin.post("/customers", json!({"name": "Kim"})).await.created();
        let body = json!({"campaign_id": kim.id(), "customer_id": kim.id(), "message": "Hi", "vendor_ref": "a-1"});
        app.anonymous.post("/mock-send", body.clone()).await.refused(401, "UNAUTHENTICATED");
        shop.admin.post("/mock-send", json!({"campaign_id": "x", "text": 1})).await
            .invalid(&["campaign_id", "customer_id", "message", "text"]);
        let (one, two) = tokio::join!(shop.admin.post("/mock-send", body.clone()), shop.admin.post("/mock-send", body.clone()));
        for answer in [&one, &two] {
            answer.expect_status(202);
        }
        let name = one.json()["vendor_message_id"].as_str().expect("a name").to_owned();
        assert_eq!(two.json()["vendor_message_id"], json!(name), "the same message");
        let scope = Scope::Organization(organization_id(&shop).await);
        assert_eq!(app.crm.repo::<MockMessage>().count(scope, &Filter::ALL).await.expect("counted"), 1);

        let id = VendorMessageId::read(&name).expect("one of ours").communication();
        let campaign_id = app.crm.new_id::<CampaignId>();
        let message = Communication { id, campaign_id, ..sent(&app, &shop, &kim, None).await };
        keep(&app, &message).await;
        deliver_mock_receipts(&app.crm).await.expect("told");
        assert_eq!(stored(&app, &message).await.status, CommunicationStatus::Sent, "not yet");
        clock.advance(Duration::from_secs(60));
        deliver_mock_receipts(&app.crm).await.expect("told");
        let after = stored(&app, &message).await;
        assert!(after.confirmed_at.is_some() || after.failed_at.is_some(), "{after:?}");
    }

    /// Who opens the link changes nothing; who presses the button, or lets the mail program do so, gets no more.
    async fn unsubscribing(app: App) {
        let shop = app.organization("Shop").await;
        let kim = shop.admin
            .post("/customers", json!({"name": "Kim", "email": "kim@example.com", "consent": {"email": true}})).await.created();
        let link = Unsubscribe {
            organization: organization_id(&shop).await,
            customer: customer_id(&kim),
            channel: "email".to_owned(),
            topic: Some("offers".to_owned()),
        };
        let url = app.crm.deliveries().unsubscribe_url(&link).expect("the server knows its address");
        let path = url.strip_prefix("https://crm.example.com/api/v1").expect("a path").to_owned();

        let page = app.anonymous.get(&path).await;
        page.expect_status(200);
        page.expect(page.header("content-type").starts_with("text/html") && page.text().contains("offers"), "a page");
        page.expect(page.header("content-security-policy").contains("form-action 'self'"), "a form that may be sent");
        assert_eq!(shop.admin.get(&kim).await.ok(), kim.body, "looking changes nothing");
        let one_click = || {
            app.anonymous.request(reqwest::Method::POST, &path)
                .raw("application/x-www-form-urlencoded", "List-Unsubscribe=One-Click")
        };
        for _ in 0..2 {
            one_click().await.expect_status(200);
        }
        let after = shop.admin.get(&kim).await.ok();
        assert_eq!((&after["version"], &after["consent"]["email:offers"]["granted"]), (&json!(2), &json!(false)));
        assert_eq!(after["consent"]["email"]["granted"], true);
        app.anonymous.request(reqwest::Method::POST, &path)
            .raw("application/x-www-form-urlencoded", "everything=yes").await.expect_status(200);
        assert_eq!(shop.admin.get(&kim).await.ok()["consent"]["email"]["granted"], false);

        let ledger = shop.admin.get(format!("{kim}/consent-ledger")).await.ok();
        let said: Vec<(&Value, &Value, &Value)> = ledger["data"].as_array().expect("entries").iter()
            .map(|entry| (&entry["topic"], &entry["granted"], &entry["author_type"])).collect();
        let (system, user) = (json!("system"), json!("user"));
        assert_eq!(said, [
            (&Value::Null, &json!(false), &system), (&json!("offers"), &json!(false), &system), (&Value::Null, &json!(true), &user),
        ]);
        assert_eq!(ledger["data"][0]["source"], "unsubscribe link");
        app.organization("Other").await.admin.get(format!("{kim}/consent-ledger")).await.refused(404, "NOT_FOUND");

        let (head, tail) = path.split_at(path.len() - 9);
        let forged = format!("{head}{}{}", if tail.starts_with('x') { 'y' } else { 'x' }, &tail[1..]);
        for path in [forged.as_str(), "/unsubscribe/x", "/unsubscribe/%00"] {
            app.anonymous.get(path).await.refused(404, "NOT_FOUND");
            app.anonymous.request(reqwest::Method::POST, path).await.refused(404, "NOT_FOUND");
        }
        let page = app.anonymous.get(&forged).header("accept", "text/html,*/*").await;
        page.expect_status(404);
        page.expect(page.text().starts_with("<!doctype html>"), "a page for people");
        // A customer who is gone wants nothing more.
        shop.admin.delete(format!("{kim}?hard=true")).await.no_content();
        one_click().await.expect_status(200);
    }

    /// Consent, suppressed addresses and caps hold at the moment of sending, also where campaigns race.
    async fn gate(app: App) {
        let shop = app.organization("Shop").await;
        let by = Principal::system(organization_id(&shop).await);
        let kim = shop.admin
            .post("/customers", json!({"name": "Kim", "consent": {"email": true, "email:news": false}})).await.created();
        let lee = shop.admin.post("/customers", json!({"name": "Lee", "status": "blocked", "consent": {"email": true}})).await.created();
        let pat = shop.admin.post("/customers", json!({"name": "Pat"})).await.created();
        let customers: Vec<Customer> = {
            let ids: Vec<CustomerId> = [&kim, &lee, &pat].map(customer_id).to_vec();
            app.crm.repo::<Customer>().get_many(by.scope(), &ids).await.expect("read")
        };
        let ask = async |channel: CampaignChannel, topic: Option<&str>, customers: &[Customer], reference: u128| {
            let candidates: Vec<Candidate<'_>> = customers
                .iter()
                .map(|customer| Candidate { customer, reference: Uuid::from_u128(reference), address: "Kim@Example.com" })
                .collect();
            app.crm.deliveries().may_send(&by, channel, topic, &candidates).await.expect("decided")
        };
        let (email, mock) = (CampaignChannel::Email, CampaignChannel::Mock);
        assert_eq!(ask(email, None, &customers, 1).await, [None, Some("blocked"), Some("no_consent")]);
        assert_eq!(ask(email, Some("news"), &customers[..1], 1).await, [Some("no_consent")]);
        assert_eq!(ask(mock, Some("news"), &customers, 1).await, [None, Some("blocked"), None]);

        let address = json!({"channel": "email", "address": "KIM@example.com"});
        let suppression = shop.admin.post("/suppressions", address.clone()).await.created();
        assert_eq!((&suppression["address"], &suppression["reason"]), (&json!("kim@example.com"), &json!("manual")));
        shop.admin.post("/suppressions", address.clone()).await.refused(409, "DUPLICATE");
        shop.admin.post("/suppressions", json!({"channel": "pigeon", "address": "", "reason": "x"})).await
            .invalid(&["channel", "address", "reason"]);
        shop.admin.post("/suppressions", json!({"channel": "email", "address": "kim"})).await.invalid(&["address"]);
        shop.admin.post("/suppressions", json!({"channel": "sms", "address": "kim"})).await.invalid(&["address"]);
        let phone = shop.admin.post("/suppressions", json!({"channel": "sms", "address": "+33 1 42 68 53 00"})).await.created();
        assert_eq!(phone["address"], "+33142685300", "as customers have it");
        let wanted = json!({"filter": {"field": "channel", "op": "==", "value": "sms"}, "count": true});
        let found = shop.admin.post("/suppressions/search", wanted).await.ok();
        assert_eq!((&found["page"]["total"], &found["data"][0]["id"]), (&json!(1), &phone["id"]));
        let ledger = format!("/customers/{}/consent-ledger/search", customers[0].id);
        let said = shop.admin.post(&ledger, json!({"fields": "channel,granted", "limit": 1})).await.ok();
        assert_eq!(said["data"][0].as_object().map(serde_json::Map::len), Some(2), "{said}");
        assert_eq!(ask(email, None, &customers[..1], 1).await, [Some("suppressed")]);
        assert_eq!(ask(mock, None, &customers[..1], 1).await, [None], "on that channel only");
        app.organization("Other").await.admin.delete(&suppression).await.refused(404, "NOT_FOUND");
        shop.admin.delete(&suppression).if_match(&suppression).await.no_content();

        let messaging = json!({"messaging": {"consent": {"email": "opt_out"}, "frequency_caps": {"email": {"count": 2, "days": 7}}}});
        let organization = shop.admin.put("/admin/organization", messaging.clone()).await.ok();
        assert_eq!(organization["messaging"]["frequency_caps"], messaging["messaging"]["frequency_caps"]);
        shop.admin.put("/admin/organization", json!({"messaging": {"consent": {"email": "maybe"}}})).await
            .invalid(&["messaging.consent.email"]);
        let kim_and_pat = [customers[0].clone(), customers[2].clone()];
        // Six campaigns at once, of which two reach each customer.
        let asked = futures::future::join_all((1..=6).map(|reference| ask(email, None, &kim_and_pat, reference))).await;
        for place in 0..2 {
            let let_through = asked.iter().filter(|answer| answer[place].is_none()).count();
            assert_eq!(let_through, 2, "{asked:?}");
        }
        let first = asked.iter().position(|answer| answer[0].is_none()).expect("one") as u128 + 1;
        assert_eq!(ask(email, None, &kim_and_pat[..1], first).await, [None], "sent again it is the same message");
        assert_eq!(ask(email, None, &kim_and_pat[..1], 99).await, [Some("frequency_cap")]);
        assert_eq!(ask(mock, None, &kim_and_pat[..1], 99).await, [None], "no cap there");
    }

    /// Messages of the channel `webhook` are posted to the organization's own address, signed.
    async fn own_vendor(app: App) {
        let (sender, mut came) = mpsc::unbounded_channel();
        let receive = async |State(sender): State<mpsc::UnboundedSender<(HeaderMap, String)>>, headers: HeaderMap, body: String| {
            sender.send((headers, body)).expect("the story goes on");
            "{\"vendor_message_id\":\"their-7\"}"
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/messages", listener.local_addr().expect("an address"));
        let receiver = Router::new().route("/messages", post(receive)).with_state(sender);
        tokio::spawn(async move { axum::serve(listener, receiver).await });

        let shop = app.organization("Shop").await;
        let webhook = async || {
            let channels = shop.admin.get("/messaging/channels").await.ok();
            channels["data"].as_array().expect("channels").iter().find(|channel| channel["name"] == "webhook").cloned().expect("there")
        };
        let before = webhook().await;
        assert_eq!((&before["ready"], before["reason"].as_str().is_some_and(|text| text.contains("webhook_url"))), (&json!(false), true));
        shop.admin.put("/admin/organization", json!({"messaging": {"webhook_url": url}})).await.ok();
        let after = webhook().await;
        assert_eq!((&after["ready"], &after["reason"]), (&json!(true), &Value::Null));

        let message = OutgoingMessage {
            reference: Uuid::from_u128(7),
            organization: organization_id(&shop).await,
            campaign: None,
            customer: CustomerId(Uuid::from_u128(8)),
            address: "kim".to_owned(),
            subject: None,
            text: "Hi Kim".to_owned(),
            html: false,
            template: None,
            topic: None,
            unsubscribe_url: None,
        };
        let channel = app.crm.channel("webhook").expect("built in");
        let accepted = channel.send(&app.crm, message).await.expect("taken");
        assert_eq!(accepted.vendor_message_id, "their-7");
        let (headers, body) = came.recv().await.expect("a request");
        let header = |name: &str| headers[name].to_str().expect("text").to_owned();
        let secret: SigningSecret = after["secret"].as_str().expect("a secret").parse().expect("a secret");
        let timestamp = header("webhook-timestamp").parse().expect("seconds");
        assert!(secret.verifies(&header("webhook-id"), timestamp, &body, &header("webhook-signature")));
        let body = raw(&body);
        assert_eq!((&body["data"]["message"], &body["data"]["reference"]), (&json!("Hi Kim"), &json!(Uuid::from_u128(7))));
    }
}
