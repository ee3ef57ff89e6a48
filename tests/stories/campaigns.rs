//! Campaigns: one message to many customers, each of whom gets it once.

use std::{sync::Arc, time::Duration};

use crm_core::{
    background,
    campaign::{Campaign, send_due},
    delivery::MockMessage,
    job::runner,
    port::ManualClock,
    record::Record as _,
    store::{Query, Scope},
    time::Timestamp,
};
use serde_json::{Value, json};

use crate::support::{App, Entity, Organization, on_every_store};

/// So many customers, of whom each third is from Paris.
async fn customers(shop: &Organization, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    let all: Vec<Value> = (0..count)
        .map(|number| {
            let city = if number % 3 == 0 { "Paris" } else { "Lyon" };
            json!({"name": format!("Customer {number}"), "spend": number, "tags": [city.to_lowercase()]})
        })
        .collect();
    for part in all.chunks(500) {
        let made = shop.admin.post("/customers/batch", json!({"items": part})).await.ok();
        let results = made["results"].as_array().expect("results").clone();
        ids.extend(results.iter().map(|result| result["id"].as_str().expect("an id").to_owned()));
    }
    ids
}

/// The messages that the built-in vendor took for a campaign, by customer.
async fn taken(app: &App, campaign: &Entity) -> Vec<String> {
    let id: uuid::Uuid = campaign.id().parse().expect("an id");
    let organization = campaign["organization_id"].as_str().expect("an organization").parse().expect("an id");
    let scope = Scope::Organization(crm_core::id::OrganizationId(organization));
    let filter = MockMessage::campaign_id.equals(Some(id));
    let query = Query::new(filter, 10_000);
    let found = app.crm.store().find(scope, MockMessage::COLLECTION, &query).await.expect("found");
    let messages = found.rows.into_iter().map(|row| MockMessage::from_row(row).expect("a message"));
    let mut customers: Vec<String> = messages.map(|message| message.customer_id.to_string()).collect();
    customers.sort_unstable();
    customers
}

/// The figures, which add up.
fn figures(detail: &Value) -> [u64; 5] {
    let count = |name: &str| detail["statistics"][name].as_u64().expect("a count");
    let figures = ["queued", "sent", "failed", "suppressed", "unknown"].map(count);
    assert_eq!(figures.iter().sum::<u64>(), count("audience"), "{detail}");
    figures
}

/// Plans and sends what is due.
async fn settle(app: &App) {
    runner::run_due(&app.crm).await.expect("the store is there");
    send_due(&app.crm).await.expect("the store is there");
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Timestamp::from_milliseconds(1_780_000_000_000).expect("an instant")))
}

on_every_store! {
    /// A draft is written, launched and sent; everybody gets it once, and the figures add up.
    async fn from_draft_to_sent(app: App) {
        let shop = app.staffed("Shop").await;
        let (admin, organization) = (&shop.admin, &shop.organization);
        let mut everybody = customers(organization, 60).await;
        let own = shop.agent.post("/customers", json!({"name": "Ravi", "tags": ["paris"]})).await.created();
        everybody.push(own.id().to_owned());
        let wrong = json!({
            "name": "Sale", "channel": "mock", "message": "Hi {{nickname}}", "segment_id": own.id(),
            "variants": [{"name": "A", "message": "{{"}],
        });
        admin.post("/campaigns", wrong).await.invalid(&["message", "segment_id", "variants[0].message"]);
        let wrong = json!({
            "name": "Sale", "chanel": "mock", "message": "Hi {{nickname}}", "rulesJson": {"field": "spent", "op": ">", "value": 1},
            "variants": [{"name": "A", "message": "{{"}], "holdout_percent": 99,
        });
        let fields = ["channel", "holdout_percent", "chanel", "rules_json.field", "message", "variants[0].message"];
        admin.post("/campaigns", wrong).await.invalid(&fields);
        let both = json!({"name": "Sale", "channel": "mock", "message": "Hi", "segment_id": own.id(), "rules_json": {"field": "spent", "op": ">", "value": 1}});
        admin.post("/campaigns", both).await.invalid(&["rules_json"]);
        let rules = json!({"field": "tags", "op": "contains", "value": "paris"});
        let new = json!({"name": "Sale", "channel": "mock", "message": "Hi {{name}}", "rules_json": {"field": "spent", "op": ">", "value": 1}});
        admin.post("/campaigns", new).await.invalid(&["rules_json.field"]);
        let new = json!({"name": "Sale", "channel": "mock", "message": "Hi {{name | upper}} of {{x | default: \"us\"}}", "rules_json": rules});
        admin.post("/campaigns", new).await.invalid(&["message"]);
        let new = json!({"name": "Sale", "channel": "mock", "message": "Hi {{name | upper}}", "rules_json": rules});
        shop.agent.post("/campaigns", new.clone()).await.refused(403, "FORBIDDEN");
        let draft = admin.post("/campaigns", new).await.created();
        assert_eq!((&draft["status"], &draft["rules_json"]["op"]), (&json!("draft"), &json!("contains")));
        admin.post(format!("{draft}/pause"), json!({})).await.refused(409, "INVALID_STATE");
        admin.patch(&draft, json!({"topic": "offers", "holdout_percent": 10, "subject": "A\nB"})).await.invalid(&["subject"]);
        let wrong = json!({"topics": "offers", "subject": "{{nickname}}", "rules_json": {"field": "name"}});
        admin.patch(&draft, wrong.clone()).await.invalid(&["topics", "rules_json.op", "subject"]);
        admin.put(&draft, wrong).await.invalid(&["name", "channel", "message", "topics", "rules_json.op", "subject"]);
        let changed = admin.patch(&draft, json!({"topic": "offers", "variants": [{"name": "A"}, {"name": "B", "message": "Dear {{name}}"}]})).await.ok();
        assert_eq!((&changed["version"], &changed["topic"]), (&json!(2), &json!("offers")));
        admin.patch(&draft, json!({"name": "X"})).if_match(&draft).await.refused(412, "VERSION_CONFLICT");
        let mut back = changed.clone();
        back["name"] = json!("Spring sale");
        assert_eq!(admin.put(&draft, back).await.ok()["variants"][1]["name"], "B");
        app.organization("Other").await.admin.get(&draft).await.refused(404, "NOT_FOUND");

        let trial = admin.post(format!("{draft}/test"), json!({"to": ["me"], "customer_id": own.id()})).await.ok();
        assert_eq!((&trial["results"][0]["message"], &trial["results"][1]["message"]), (&json!("Hi RAVI"), &json!("Dear Ravi")));
        assert_eq!(trial["results"][0]["status"], "SENT");

        shop.agent.post(format!("{draft}/launch"), json!({})).await.refused(403, "FORBIDDEN");
        let launched = admin.post(format!("{draft}/launch"), json!({})).await.ok();
        assert!(launched["status"] == "sending" && launched["as_of"].is_string() && launched["plan_job_id"].is_string());
        admin.delete(&draft).await.refused(409, "INVALID_STATE");
        admin.put(&draft, json!({"name": "X", "channel": "mock", "message": "Y", "rules_json": rules})).await.refused(409, "INVALID_STATE");
        let ended = admin.until(&draft, |detail| detail["status"] == "sent").await;
        let [queued, sent, failed, suppressed, unknown] = figures(&ended.body);
        assert_eq!((queued, suppressed, unknown, sent + failed, &ended["audience"]), (0, 0, 0, 21, &json!(21)));
        let mut wanted: Vec<String> = everybody.iter().enumerate().filter(|(place, _)| place % 3 == 0).map(|(_, id)| id.clone()).collect();
        wanted.sort_unstable();
        assert_eq!(taken(&app, &draft).await, wanted, "each of them once, and nobody else");
        let variants = ["A", "B"].map(|name| ended["statistics"]["variants"][name]["audience"].as_u64().expect("a count"));
        assert_eq!(variants.iter().sum::<u64>(), 21);
        assert_eq!(ended["communications"].as_array().map(Vec::len), Some(20));
        let more = admin.get(format!("{draft}/communications?cursor={}", ended["next_cursor"].as_str().expect("a cursor"))).await.ok();
        assert_eq!(more["data"].as_array().map(Vec::len), Some(1));
        assert!(more["data"][0]["message"].as_str().is_some_and(|text| text.starts_with("Hi CUSTOMER") || text.contains("Ravi") || text.starts_with("Dear") || text.starts_with("Hi RAVI")));
        let of_b = admin.get(format!("{draft}/communications?variant=B&count=true&limit=1")).await.ok();
        assert_eq!(of_b["page"]["total"], variants[1]);
        admin.get(format!("{draft}/communications?status=LOST")).await.invalid(&["status"]);
        let mine = admin.get(format!("{draft}/communications?customer_id={}", own.id())).await.ok();
        assert_eq!(mine["data"].as_array().map(Vec::len), Some(1));
        // Who sees a team's customers sees only theirs.
        let seen = shop.agent.get(format!("{draft}/communications?limit=100")).await.ok();
        assert_eq!(seen["data"].as_array().expect("data").iter().map(|one| &one["customer_id"]).collect::<Vec<_>>(), [&own["id"]]);
        let listed = admin.get("/campaigns?status=sent&search=spring").await.ids();
        assert_eq!(listed, [draft.id()]);
        let gone = admin.post("/campaigns", json!({"name": "Gone", "channel": "mock", "message": "Hi", "rules_json": rules})).await.created();
        admin.delete(&gone).await.no_content();
        admin.get(&gone).await.refused(404, "NOT_FOUND");
        let sms = json!({"name": "S", "channel": "sms", "message": "Hi", "rules_json": rules, "launch": true});
        admin.post("/campaigns", sms).await.refused(409, "INVALID_STATE");
        let audited = admin.get("/audit?action=campaign.finished&count=true").await.ok();
        assert_eq!(audited["page"]["total"], 1);
    }

    /// Two launch it at once: one does. What changes afterwards changes nothing.
    async fn what_is_launched_is_frozen(setup: Setup) {
        let app = App::start(setup.without_background()).await;
        let shop = app.organization("Shop").await;
        customers(&shop, 30).await;
        let rules = json!({"field": "spend", "op": "<", "value": 10});
        let draft = shop.admin.post("/campaigns", json!({"name": "Sale", "channel": "mock", "message": "Hi", "rules_json": rules})).await.created();
        let path = format!("{draft}/launch");
        let twice = tokio::join!(shop.admin.post(&path, json!({})), shop.admin.post(&path, json!({})));
        let (one, other) = (twice.0.json(), twice.1.json());
        let refused = if one["code"] == "INVALID_STATE" { &one } else { &other };
        assert_eq!(refused["code"], "INVALID_STATE", "{one} {other}");
        assert!(one["status"] == "sending" || other["status"] == "sending");
        shop.admin.patch(&draft, json!({"rules_json": {"field": "spend", "op": ">=", "value": 0}})).await.refused(409, "INVALID_STATE");
        settle(&app).await;
        let detail = shop.admin.get(&draft).await.ok();
        let [queued, sent, failed, ..] = figures(&detail);
        assert_eq!((&detail["status"], queued, sent + failed), (&json!("sent"), 0, 10));
        // Planned, it goes to those who were there then.
        customers(&shop, 5).await;
        settle(&app).await;
        assert_eq!(taken(&app, &draft).await.len(), 10);
    }

    /// Paused, resumed, cancelled, at its pace and at its time.
    async fn at_its_pace_and_at_its_time(setup: Setup) {
        let clock = clock();
        let app = App::start(setup.clock(&clock).without_background()).await;
        let shop = app.organization("Shop").await;
        customers(&shop, 10).await;
        let everybody = json!({"field": "spend", "op": ">=", "value": 0});
        let new = json!({"name": "Slow", "channel": "mock", "message": "Hi", "rules_json": everybody, "throttle_per_minute": 60, "launch": true});
        let slow = shop.admin.post("/campaigns", new).await.created();
        settle(&app).await;
        assert_eq!(taken(&app, &slow).await.len(), 1);
        clock.advance(Duration::from_secs(1));
        settle(&app).await;
        assert_eq!(taken(&app, &slow).await.len(), 2);
        assert!(shop.admin.post(format!("{slow}/pause"), json!({})).await.ok()["paused_at"].is_string());
        shop.admin.post(format!("{slow}/pause"), json!({})).await.refused(409, "INVALID_STATE");
        clock.advance(Duration::from_secs(60));
        settle(&app).await;
        assert_eq!(taken(&app, &slow).await.len(), 2, "nothing while it is paused");
        assert_eq!(shop.admin.post(format!("{slow}/resume"), json!({})).await.ok()["paused_at"], Value::Null);
        settle(&app).await;
        assert_eq!(taken(&app, &slow).await.len(), 3, "a minute is not made up for");
        let watching = tokio::spawn({
            let (admin, path) = (shop.admin.clone(), format!("{slow}/events"));
            async move { admin.get(&path).await.events() }
        });
        assert_eq!(shop.admin.post(format!("{slow}/cancel"), json!({})).await.ok()["status"], "cancelled");
        settle(&app).await;
        while !watching.is_finished() {
            clock.advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let told = watching.await.expect("told to the end");
        let (name, id, last) = told.last().expect("the end");
        assert_eq!((name.as_str(), &last["status"], figures(last)), ("ended", &json!("cancelled"), [0, 3, 0, 7, 0]));
        assert!(told.iter().rev().skip(1).all(|(name, _, _)| name == "progress"), "{told:?}");
        shop.admin.get(format!("{slow}/events")).header("last-event-id", id).await.no_content();
        let detail = shop.admin.get(&slow).await.ok();
        let [queued, sent, failed, suppressed, unknown] = figures(&detail);
        assert_eq!((queued, sent + failed, suppressed, unknown), (0, 3, 7, 0));
        let cancelled = shop.admin.get(format!("{slow}/communications?reason=cancelled&count=true")).await.ok();
        assert_eq!(cancelled["page"]["total"], 7);

        let at = app.crm.now().plus(Duration::from_secs(120));
        let new = json!({"name": "Later", "channel": "mock", "message": "Hi", "rules_json": everybody, "schedule_at": at, "launch": true});
        let later = shop.admin.post("/campaigns", new.clone()).await.created();
        let never = shop.admin.post("/campaigns", new).await.created();
        assert_eq!(later["status"], "scheduled");
        assert_eq!(shop.admin.post(format!("{never}/cancel"), json!({})).await.ok()["status"], "cancelled");
        settle(&app).await;
        assert_eq!(taken(&app, &later).await.len(), 0);
        clock.advance(Duration::from_secs(120));
        send_due(&app.crm).await.expect("begun");
        settle(&app).await;
        assert_eq!(taken(&app, &later).await.len(), 10);
        assert_eq!(taken(&app, &never).await.len(), 0);
        assert_eq!(shop.admin.get(&later).await.ok()["status"], "sent");
    }

    /// The process dies in the middle, again and again; in the end everybody has it once.
    async fn another_goes_on(setup: Setup) {
        let clock = clock();
        let app = App::start(setup.clock(&clock).without_background()).await;
        let shop = app.organization("Shop").await;
        let mut everybody = customers(&shop, 1200).await;
        everybody.sort_unstable();
        let rules = json!({"field": "spend", "op": ">=", "value": 0});
        // As long as this is, they are planned in several chunks.
        let message = format!("Hi {{{{name}}}}, {}", "come and see what is new. ".repeat(160));
        let new = json!({"name": "Sale", "channel": "mock", "message": message, "rules_json": rules, "launch": true});
        let campaign = shop.admin.post("/campaigns", new).await.created();
        for reached in [1, 300, 700] {
            let run = tokio::spawn(background::run(app.crm.clone(), std::future::pending()));
            shop.admin.until(&campaign, |detail| {
                clock.advance(Duration::from_millis(20));
                detail["status"] == "sent" || detail["statistics"]["audience"].as_u64() >= Some(reached) && figures(detail)[1] + figures(detail)[2] >= reached
            }).await;
            run.abort();
            let _ = run.await;
            clock.advance(Duration::from_secs(11));
        }
        let run = tokio::spawn(background::run(app.crm.clone(), std::future::pending()));
        let ended = shop.admin.until(&campaign, |detail| {
            clock.advance(Duration::from_millis(100));
            detail["status"] == "sent"
        }).await;
        run.abort();
        let _ = run.await;
        let [queued, sent, failed, suppressed, unknown] = figures(&ended.body);
        assert_eq!((queued, suppressed, unknown, sent + failed), (0, 0, 0, 1200));
        assert_eq!(taken(&app, &campaign).await, everybody, "each once");
        let campaigns = app.crm.repo::<Campaign>();
        let organization = ended["organization_id"].as_str().expect("an id").parse().expect("an id");
        let scope = Scope::Organization(crm_core::id::OrganizationId(organization));
        let id = campaign.id().parse().expect("an id");
        assert_eq!(campaigns.get(scope, id).await.expect("found").expect("there").audience, Some(1200));
    }
}
