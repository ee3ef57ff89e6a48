//! Changes of many customers that nobody waits for, and how they are undone.

use std::{sync::Arc, time::Duration};

use crm_core::{
    background,
    customer::{BulkChange, BulkNote},
    job::{JobPayload, runner},
    port::ManualClock,
    record::Record,
    store::{Filter, Scope},
    time::Timestamp,
};
use serde_json::{Value, json};

use crate::support::{Answer, App, Client, Entity, Organization, on_every_store};

/// The job that an answer of 202 names.
#[track_caller]
fn accepted(answer: &Answer) -> Entity {
    answer.expect_status(202);
    let body = answer.json();
    let path = answer.header("location").to_owned();
    assert_eq!(path, format!("/api/v1/jobs/{}", body["id"].as_str().expect("an id")));
    Entity { path, etag: String::new(), body }
}

/// So many new customers with a number as `visits` and the tag `old`; their ids.
async fn people(admin: &Client, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for from in (0..count).step_by(1000) {
        let new = |number: usize| json!({"name": format!("C{number}"), "visits": number, "tags": ["old"]});
        let items: Vec<Value> = (from..count.min(from + 1000)).map(new).collect();
        let report = admin.post("/customers/batch", json!({"items": items})).await.ok();
        let results = report["results"].as_array().expect("results");
        ids.extend(results.iter().map(|result| result["id"].as_str().expect("an id").to_owned()));
    }
    ids
}

async fn total(client: &Client, query: &str) -> Value {
    client.get(format!("/customers?count=true&{query}")).await.ok()["page"]["total"].clone()
}

async fn left<T: Record>(app: &App, of: &Organization) -> u64 {
    let scope = Scope::Organization(of.id().await.parse().expect("an id"));
    app.crm.repo::<T>().count(scope, &Filter::ALL).await.expect("counted")
}

/// Asks to undo a job, and answers the job that does so as it is in the end.
async fn undone(client: &Client, job: &Entity) -> Entity {
    let undo = accepted(&client.post(format!("{job}/undo"), json!({})).await);
    client.ended(&undo).await
}

fn standing_clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Timestamp::from_milliseconds(1_767_225_600_000).expect("an instant")))
}

on_every_store! {
    /// A job changes all who match, tells what came of it, and is undone once.
    async fn everyday(app: App) {
        let shop = app.organization("Shop").await;
        let admin = shop.admin.clone();
        people(&admin, 230).await;
        let change = json!({"filter": {"field": "visits", "op": ">=", "value": 20},
            "set": {"status": "inactive", "custom": {}}, "add_tags": ["new"], "remove_tags": ["old"]});
        let begun = accepted(&admin.patch("/customers/batch?async=true", change.clone()).await);
        assert_eq!((&begun["kind"], &begun["progress"]["unit"]), (&json!("customer_bulk_change"), &json!("customers")));
        let job = admin.ended(&begun).await;
        let report = json!({"matched": 210, "created": 0, "updated": 210, "unchanged": 0, "failed": 0, "results": [],
            "results_truncated": false});
        assert_eq!((&job["state"], &job["result"]), (&json!("succeeded"), &report), "{}", job.body);
        assert_eq!((&job["progress"]["done"], &job["progress"]["total"]), (&json!(210), &json!(210)));
        assert_eq!((total(&admin, "tags=new").await, total(&admin, "status=inactive").await), (json!(210), json!(210)));
        assert_eq!(admin.get("/audit?action=customer.batch_updated&count=true").await.ok()["page"]["total"], 3);
        assert_eq!(left::<JobPayload>(&app, &shop).await, 0, "what was asked goes with the job's end");

        let undo = undone(&admin, &job).await;
        let report = json!({"job_id": job.id(), "restored": 210, "skipped": 0, "skipped_customers": [], "skipped_truncated": false});
        assert_eq!((&undo["state"], &undo["result"]), (&json!("succeeded"), &report), "{}", undo.body);
        assert_eq!((&undo["kind"], &undo["record_id"]), (&json!("customer_bulk_undo"), &json!(job.id())));
        assert_eq!((total(&admin, "tags=old").await, total(&admin, "status=inactive").await), (json!(230), json!(0)));
        assert_eq!(admin.get("/audit?action=customer.batch_undone&count=true").await.ok()["page"]["total"], 3);
        assert_eq!(left::<BulkNote>(&app, &shop).await, 0);
        admin.post(format!("{job}/undo"), json!({})).await.refused(409, "INVALID_STATE");
        admin.post(format!("{undo}/undo"), json!({})).await.refused(409, "INVALID_STATE");

        for (path, body, fields) in [
            ("?async=true", json!({"filter": {"field": "colour", "op": ">", "value": 1}, "add_tags": ["x"]}), vec!["filter.field"]),
            ("?async=true", json!({"filter": {"field": "visits", "op": ">", "value": 1}, "set": {"visits": "x"}}), vec!["set.visits"]),
            ("?async=true&atomic=true", change.clone(), vec!["atomic"]),
            ("?async=perhaps", change, vec!["async"]),
        ] {
            admin.patch(format!("/customers/batch{path}"), body).await.invalid(&fields);
        }
    }

    /// Customers named are changed one by one; those refused are listed with their place in the request.
    async fn named(app: App) {
        let admin = app.organization("Shop").await.admin;
        let ids = people(&admin, 150).await;
        let mut items: Vec<Value> = ids.iter().map(|id| json!({"id": id, "status": "inactive"})).collect();
        items[3] = json!({"id": ids[3], "visits": -1});
        items[120] = json!({"id": "0198c1de-5f00-7000-8000-000000000001", "visits": 1});
        items[121] = json!({"id": ids[121], "visits": 121});
        items.push(json!({"id": ids[0], "status": "blocked", "name": "Last"}));
        let job = admin.ended(&accepted(&admin.patch("/customers/batch?async=true", json!({"items": items})).await)).await;
        let result = &job["result"];
        assert_eq!((&result["matched"], &result["updated"], &result["unchanged"], &result["failed"]),
            (&json!(151), &json!(148), &json!(1), &json!(2)), "{}", job.body);
        let refused: Vec<(&Value, &Value)> = result["results"].as_array().expect("a list").iter()
            .map(|refused| (&refused["index"], &refused["error"]["code"])).collect();
        assert_eq!(refused, [(&json!(3), &json!("VALIDATION_ERROR")), (&json!(120), &json!("NOT_FOUND"))]);
        // Somebody whom two of the commits changed comes back whole.
        let undo = undone(&admin, &job).await;
        assert_eq!((&undo["result"]["restored"], &undo["result"]["skipped"]), (&json!(148), &json!(0)), "{}", undo.body);
        let first = admin.get(format!("/customers/{}", ids[0])).await.ok();
        assert_eq!((&first["name"], &first["status"]), (&json!("C0"), &json!("active")));
        assert_eq!(total(&admin, "status=inactive").await, 0);
    }

    /// A change that a request waited for is undone too; what somebody changed since stays.
    async fn changed_in_between(app: App) {
        let shop = app.organization("Shop").await;
        let admin = shop.admin.clone();
        let ids = people(&admin, 6).await;
        let path = |place: usize| format!("/customers/{}", ids[place]);
        let items: Vec<Value> = (0..6).map(|number| json!({
            "id": ids[number], "visits": 50 + number, "status": "inactive", "email": format!("c{number}@example.com"),
        })).collect();
        let report = admin.patch("/customers/batch", json!({"items": items})).await.ok();
        assert_eq!(report["updated"], 6);
        let job = admin.get(format!("/jobs/{}", report["job_id"].as_str().expect("a job"))).await;
        let job = job.found(format!("/jobs/{}", report["job_id"].as_str().expect("a job")));
        assert_eq!((&job["state"], &job["result"]), (&json!("succeeded"), &report));
        let same = admin.patch("/customers/batch", json!({"items": items})).await.ok();
        assert_eq!((&same["unchanged"], &same["job_id"]), (&json!(6), &Value::Null), "nothing to undo");

        admin.patch(path(1), json!({"visits": 7})).await.ok();
        admin.patch(path(2), json!({"name": "Not of the change"})).await.ok();
        admin.delete(path(3)).await.no_content();
        admin.delete(format!("{}?hard=true", path(4))).await.no_content();
        assert_eq!(left::<BulkNote>(&app, &shop).await, 5, "what is removed for good is not kept for an undoing");
        let undo = undone(&admin, &job).await;
        assert_eq!((&undo["result"]["restored"], &undo["result"]["skipped"]), (&json!(4), &json!(2)), "{}", undo.body);
        let mut skipped = undo["result"]["skipped_customers"].as_array().expect("a list").clone();
        skipped.sort_by_key(|skipped| skipped["fields"].as_array().map(Vec::len));
        assert_eq!((&skipped[0]["id"], &skipped[0]["reason"]), (&json!(ids[3]), &json!("is in the bin")));
        assert_eq!((&skipped[1]["id"], &skipped[1]["reason"]), (&json!(ids[1]), &json!("was changed since")));
        let of = async |place: usize| {
            let now = admin.get(path(place)).await.ok();
            (now["name"].clone(), now["visits"].clone(), now["status"].clone(), now["email"].clone())
        };
        assert_eq!(of(0).await, (json!("C0"), json!(0), json!("active"), Value::Null));
        assert_eq!(of(1).await, (json!("C1"), json!(7), json!("active"), Value::Null));
        assert_eq!(of(2).await, (json!("Not of the change"), json!(2), json!("active"), Value::Null));
        admin.post("/customers", json!({"name": "Free again", "email": "c0@example.com"})).await.created();
    }

    /// Whoever began a change undoes it, and those who manage jobs; nobody else knows of it.
    async fn who_may_undo(setup: Setup) {
        let app = App::start(setup.without_background()).await;
        let staff = app.staffed("Shop").await;
        let other = app.organization("Other").await.admin;
        let own = staff.agent.post("/customers", json!({"name": "Own"})).await.created();
        people(&staff.admin, 2).await;
        let all = json!({"filter": {"field": "visits", "op": ">=", "value": 0}, "add_tags": ["x"]});
        let by_agent = accepted(&staff.agent.patch("/customers/batch?async=true", all.clone()).await);
        let by_admin = accepted(&staff.admin.patch("/customers/batch?async=true", all.clone()).await);
        staff.customer.patch("/customers/batch?async=true", all.clone()).await.refused(403, "FORBIDDEN");
        staff.agent.post(format!("{by_agent}/undo"), json!({})).await.refused(409, "INVALID_STATE");
        runner::run_due(&app.crm).await.expect("ran");
        let job = staff.agent.ended(&by_agent).await;
        assert_eq!(job["result"]["matched"], 1, "only those in sight: {}", job.body);
        assert_eq!(total(&staff.admin, "tags=x").await, 3);
        for somebody in [&staff.lead, &staff.agent, &other] {
            somebody.post(format!("{by_admin}/undo"), json!({})).await.refused(404, "NOT_FOUND");
        }
        let key = staff.admin.post("/api-keys", json!({"name": "k", "permissions": ["jobs:read", "jobs:write", "jobs:manage"]})).await;
        key.expect_status(201);
        let service = app.anonymous.with("x-api-key", key.json()["key"].as_str().expect("a key"));
        service.post(format!("{by_admin}/undo"), json!({})).await.refused(403, "FORBIDDEN");

        let undo = accepted(&staff.admin.post(format!("{by_agent}/undo"), json!({})).await);
        // An undoing that was cancelled can be asked for again.
        staff.admin.post(format!("{by_agent}/undo"), json!({})).await.refused(409, "INVALID_STATE");
        staff.admin.post(format!("{undo}/cancel"), json!({})).await.ok();
        accepted(&staff.agent.post(format!("{by_agent}/undo"), json!({})).await);
        let cancelled = accepted(&staff.admin.patch("/customers/batch?async=true", all).await);
        staff.admin.post(format!("{cancelled}/cancel"), json!({})).await.ok();
        assert_eq!(left::<JobPayload>(&app, &staff.organization).await, 0, "what was asked goes with the job's end");
        let nothing = accepted(&staff.admin.post(format!("{cancelled}/undo"), json!({})).await);
        runner::run_due(&app.crm).await.expect("ran");
        assert_eq!(staff.admin.ended(&nothing).await["result"]["restored"], 0);
        assert_eq!(staff.agent.get(&own).await.ok()["tags"], json!([]), "undone");
        staff.admin.post("/jobs/0198c1de-5f00-7000-8000-000000000001/undo", json!({})).await.refused(404, "NOT_FOUND");
    }

    /// After a day nothing is left that could be undone.
    async fn for_a_day(setup: Setup) {
        let clock = standing_clock();
        let app = App::start(setup.clock(&clock).without_background()).await;
        let shop = app.organization("Shop").await;
        people(&shop.admin, 120).await;
        let all = |tag: &str| json!({"filter": {"field": "visits", "op": ">=", "value": 0}, "add_tags": [tag]});
        let now = shop.admin.patch("/customers/batch", all("x")).await.ok();
        let later = accepted(&shop.admin.patch("/customers/batch?async=true", all("y")).await);
        runner::run_due(&app.crm).await.expect("ran");
        assert_eq!((left::<BulkChange>(&app, &shop).await, left::<BulkNote>(&app, &shop).await), (2, 240));
        clock.advance(Duration::from_hours(23));
        background::clean_now(&app.crm).await.expect("cleaned");
        assert_eq!(left::<BulkNote>(&app, &shop).await, 240);
        clock.advance(Duration::from_hours(1));
        let admin = app.sign_in(shop.admin.email(), crate::support::PASSWORD).await;
        for _ in 0..2 {
            admin.post(format!("{later}/undo"), json!({})).await.refused(409, "INVALID_STATE");
            let path = format!("/jobs/{}/undo", now["job_id"].as_str().expect("a job"));
            let refused = admin.post(path, json!({})).await.refused(409, "INVALID_STATE");
            assert!(refused["message"].as_str().is_some_and(|message| message.contains("24 hours")), "{refused}");
            background::clean_now(&app.crm).await.expect("cleaned");
            assert_eq!((left::<BulkChange>(&app, &shop).await, left::<BulkNote>(&app, &shop).await), (0, 0));
        }
    }

    /// The runner dies in the middle, of the change and of its undoing; another goes on where it was, and each customer
    /// is changed once.
    async fn another_goes_on(setup: Setup) {
        let clock = standing_clock();
        let app = App::start(setup.clock(&clock).without_background()).await;
        let shop = app.organization("Shop").await;
        let admin = shop.admin.clone();
        people(&admin, 600).await;
        let kill_until_done = async |job: &Entity| {
            let mut done = 0;
            loop {
                let run = tokio::spawn(runner::run(app.crm.clone(), std::future::pending()));
                let seen = admin.until(job, |body| {
                    // A run that found the database too busy waits for its next attempt.
                    clock.advance(Duration::from_millis(30));
                    body["progress"]["done"].as_i64() > Some(done) || body["finished_at"].is_string()
                }).await;
                if seen["finished_at"].is_string() {
                    run.abort();
                    return seen;
                }
                if done < 400 {
                    run.abort();
                    let _ = run.await;
                    clock.advance(Duration::from_secs(11));
                }
                done = (done + 150).max(seen["progress"]["done"].as_i64().expect("a count"));
            }
        };
        let change = json!({"filter": {"field": "visits", "op": ">=", "value": 0}, "set": {"visits": 5000}, "remove_tags": ["old"]});
        let job = accepted(&admin.patch("/customers/batch?async=true", change).await);
        let job = kill_until_done(&job).await;
        assert_eq!((&job["state"], &job["result"]["matched"], &job["result"]["updated"]), (&json!("succeeded"), &json!(600), &json!(600)), "{}", job.body);
        assert_eq!((total(&admin, "version=2").await, total(&admin, "visits=5000").await), (json!(600), json!(600)));
        let undo = accepted(&admin.post(format!("{job}/undo"), json!({})).await);
        let undo = kill_until_done(&undo).await;
        assert_eq!((&undo["state"], &undo["result"]["restored"], &undo["result"]["skipped"]), (&json!("succeeded"), &json!(600), &json!(0)), "{}", undo.body);
        assert_eq!((total(&admin, "version=3").await, total(&admin, "tags=old").await), (json!(600), json!(600)));
        assert_eq!(left::<BulkNote>(&app, &shop).await, 0);
    }

    /// A customer whom nobody waits for: what is wrong is told at once, what only the store knows by the job.
    async fn created_later(setup: Setup) {
        let app = App::start(setup.without_background()).await;
        let staff = app.staffed("Shop").await;
        let ann = json!({"name": "Ann", "email": "ann@example.com"});
        let begun = accepted(&staff.agent.post("/customers?async=true", ann.clone()).header("idempotency-key", "ann").await);
        let same = accepted(&staff.agent.post("/customers?async=true", ann.clone()).header("idempotency-key", "ann").await);
        assert_eq!(same.id(), begun.id());
        assert_eq!((&begun["kind"], &begun["priority"], &begun["result"]), (&json!("customer_create"), &json!("high"), &Value::Null));
        let twice = accepted(&staff.agent.post("/customers?async=true", ann.clone()).await);
        staff.agent.post("/customers?async=true", json!({"name": "", "email": "x", "custom": {"colour": 1}})).await
            .invalid(&["name", "email", "custom.colour"]);
        staff.customer.post("/customers?async=true", ann.clone()).await.refused(403, "FORBIDDEN");
        assert_eq!((total(&staff.admin, "").await, left::<JobPayload>(&app, &staff.organization).await), (json!(0), 2));
        runner::run_due(&app.crm).await.expect("ran");
        let made = staff.agent.ended(&begun).await;
        let id = made["result"]["customer_id"].as_str().expect("a customer").to_owned();
        let ann = staff.agent.get(format!("/customers/{id}")).await.ok();
        assert_eq!((&ann["name"], &ann["owner_id"], &ann["version"]), (&json!("Ann"), &json!(staff.agent.id()), &json!(1)));
        let twice = staff.agent.ended(&twice).await;
        assert_eq!((&twice["state"], &twice["error"]["code"], &twice["attempts"]), (&json!("failed"), &json!("DUPLICATE"), &json!(1)));
        assert_eq!(twice["dead_at"], Value::Null, "it has ended: a replay would find the same");
        assert!(staff.admin.get("/jobs/dead-letters").await.ids().is_empty());

        let upsert = json!({"email": "ann@example.com", "name": "Ann B"});
        let upsert = accepted(&staff.agent.post("/customers?async=true&mode=upsert", upsert).await);
        let removed = accepted(&staff.lead.post("/customers?async=true", json!({"name": "Never"})).await);
        staff.admin.delete(format!("/admin/agents/{}", staff.lead.id())).await.no_content();
        runner::run_due(&app.crm).await.expect("ran");
        assert_eq!(staff.agent.ended(&upsert).await["result"], json!({"customer_id": id}));
        assert_eq!(staff.agent.get(format!("/customers/{id}")).await.ok()["name"], "Ann B");
        assert_eq!(staff.admin.ended(&removed).await["error"]["code"], "FORBIDDEN");
        assert_eq!((total(&staff.admin, "").await, left::<JobPayload>(&app, &staff.organization).await), (json!(1), 0));
    }
}
