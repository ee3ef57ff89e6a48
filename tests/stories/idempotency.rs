//! Requests that are sent again take effect once and are answered as the first time.

use std::{sync::Arc, time::Duration};

use crm_core::{
    access::{Principal, Role},
    customer::{CustomerInput, NewCustomer, WriteOptions},
    id::UserId,
    idempotency::{Begun, KeyedRequest},
    input::FromInput as _,
    port::ManualClock,
    time::Timestamp,
};
use serde_json::{Value, json};

use crate::support::{Answer, App, Organization, on_every_store};

const KEY: &str = "idempotency-key";

fn is_replayed(answer: &Answer) -> bool {
    answer.header("idempotent-replayed") == "true"
}

#[track_caller]
fn is_the_same(first: &Answer, again: &Answer) {
    again.expect(is_replayed(again) && !is_replayed(first), "only the second to be a replay");
    again.expect_status(first.status.as_u16());
    for header in ["location", "etag", "content-type"] {
        again.expect(again.header(header) == first.header(header), header);
    }
    let (mut one, mut other) = (first.text(), again.text());
    if first.status.as_u16() >= 400 {
        one = one.replace(first.header("x-request-id"), "-");
        other = other.replace(again.header("x-request-id"), "-");
    }
    again.expect(one == other, "the body of the first answer");
}

async fn total(shop: &Organization, path: &str) -> Value {
    shop.admin.get(format!("{path}?count=true")).await.ok()["page"]["total"].clone()
}

/// The Admin as the server sees them.
async fn principal(shop: &Organization) -> Principal {
    let user: UserId = shop.admin.id().parse().expect("an id");
    Principal::user(shop.id().await.parse().expect("an id"), user, Role::Admin, None)
}

on_every_store! {
    /// A customer is created once however often it is asked for, and the answer is the first one, bare or quoted.
    async fn replay(app: App) {
        let shop = app.organization("Shop").await;
        let ada = json!({"name": "Ada", "email": "ada@example.com"});
        let first = shop.admin.post("/customers", ada.clone()).header(KEY, "\"k-1\"").await;
        first.created();
        for path in ["/customers", "/api/customers"] {
            let again = shop.admin.post(path, ada.clone()).header(KEY, "k-1").await;
            is_the_same(&first, &again);
            again.expect(again.header("x-request-id") != first.header("x-request-id"), "a request id of its own");
        }
        let other_order = json!({"email": "ada@example.com", "name": "Ada"});
        is_the_same(&first, &shop.admin.post("/customers", other_order).header(KEY, "k-1").await);
        assert_eq!(total(&shop, "/customers").await, 1);

        let changed = json!({"name": "Ada Lovelace"});
        let path = format!("/customers/{}", first.json()["id"].as_str().expect("an id"));
        let patched = shop.admin.patch(&path, changed.clone()).header(KEY, "k-1").await;
        assert_eq!(patched.ok()["version"], 2);
        shop.admin.patch(&path, json!({"name": "A. Lovelace"})).await.ok();
        is_the_same(&patched, &shop.admin.patch(&path, changed).header(KEY, "k-1").await);
        assert_eq!(shop.admin.get(&path).await.ok()["name"], "A. Lovelace", "nothing was done again");
        let deleted = shop.admin.delete(&path).header(KEY, "k-1").await;
        deleted.no_content();
        shop.admin.delete(&path).header(KEY, "k-1").await.refused(404, "NOT_FOUND");
    }

    /// A refusal that comes of what is there is given again; one of the request itself, or of who asks, is not.
    async fn refusals(app: App) {
        let shop = app.staffed("Shop").await;
        let ada = json!({"name": "Ada", "email": "ada@example.com"});
        let record = shop.admin.post("/customers", ada.clone()).await.created();
        let taken = shop.admin.post("/customers", ada.clone()).header(KEY, "k-2").await;
        taken.refused(409, "DUPLICATE");
        shop.admin.delete(&record).await.no_content();
        let again = shop.admin.post("/customers", ada.clone()).header(KEY, "k-2").await;
        again.refused(409, "DUPLICATE");
        is_the_same(&taken, &again);
        let problem = "application/problem+json";
        let missing = "/customers/0199f3a2-6b1c-7c3e-9d4f-1a2b3c4d5e6f";
        let first = shop.admin.patch(missing, json!({"name": "x"})).header(KEY, "k-2").header("accept", problem).await;
        first.expect_status(404);
        let again = shop.admin.patch(missing, json!({"name": "x"})).header(KEY, "k-2").header("accept", problem).await;
        is_the_same(&first, &again);
        again.expect(again.header("content-type").starts_with(problem), "the form of the first answer");

        for _ in 0..2 {
            let answer = shop.admin.post("/customers", json!({"nam": "Ada"})).header(KEY, "k-3").await;
            answer.invalid(&["nam", "name"]);
            answer.expect(!is_replayed(&answer), "a malformed request to be looked at anew");
            let answer = shop.qa.post("/customers", ada.clone()).header(KEY, "k-3").await;
            answer.refused(403, "FORBIDDEN");
            answer.expect(!is_replayed(&answer), "permissions to be looked at anew");
        }
        shop.admin.post("/customers", ada.clone()).header(KEY, "k-3").await.created();
        app.anonymous.post("/customers", ada).header(KEY, "k-3").await.refused(401, "UNAUTHENTICATED");
    }

    /// A key names one request: another body or query under it is refused, another route or principal is not concerned.
    async fn keys(app: App) {
        let shop = app.staffed("Shop").await;
        let body = |name: &str| json!({"name": name});
        shop.admin.post("/customers", body("Ada")).header(KEY, "k").await.created();
        for (path, name) in [("/customers", "Ben"), ("/customers?mode=upsert", "Ada")] {
            shop.admin.post(path, body(name)).header(KEY, "k").await.refused(422, "IDEMPOTENCY_MISMATCH");
        }
        shop.lead.post("/customers", body("Cleo")).header(KEY, "k").await.created();
        shop.admin.post("/teams", body("Sales")).header(KEY, "k").await.created();
        let key = json!({"name": "Service", "permissions": ["customers:read", "customers:write"]});
        let made = shop.admin.post("/api-keys", key.clone()).header(KEY, "k").await;
        made.created();
        let again = shop.admin.post("/api-keys", key).header(KEY, "k").await;
        is_the_same(&made, &again);
        let service = app.anonymous.with("x-api-key", made.json()["key"].as_str().expect("a key"));
        service.post("/customers", body("Dora")).header(KEY, "k").await.created();
        let other = app.organization("Other").await;
        let answer = other.admin.post("/customers", body("Ada")).header(KEY, "k").await;
        answer.created();
        answer.expect(!is_replayed(&answer), "nothing of another organization");
        assert_eq!(total(&shop.organization, "/customers").await, 3);

        let longest = "k".repeat(255);
        shop.admin.post("/customers", body("Ed")).header(KEY, &longest).await.created();
        for malformed in ["", "\"", "\"\"", "a b", "\"a\";q=1", &format!("{longest}k")] {
            shop.admin.post("/customers", body("Eve")).header(KEY, malformed).await.invalid(&["Idempotency-Key"]);
        }
        let twice = shop.admin.post("/customers", body("Eve")).header(KEY, "a").header(KEY, "a").await;
        twice.invalid(&["Idempotency-Key"]);
        shop.admin.get("/customers").header(KEY, "not a key at all").await.ok();
        assert_eq!(total(&shop.organization, "/customers").await, 4);
    }

    /// Of many at once one is carried out; the others are told to wait, and then get its answer.
    async fn at_once(app: App) {
        let shop = app.organization("Shop").await;
        let ask = || shop.admin.post("/customers", json!({"name": "Ada"})).header(KEY, "k");
        let answers = futures::future::join_all((0..12).map(|_| async { ask().await })).await;
        let mut carried_out = 0;
        for answer in &answers {
            if answer.status.as_u16() == 409 {
                answer.refused(409, "CONFLICT");
                answer.expect(answer.header("retry-after") == "1", "when to ask again");
            } else {
                answer.created();
                carried_out += usize::from(!is_replayed(answer));
            }
        }
        assert_eq!(carried_out, 1);
        let again = ask().await;
        again.created();
        again.expect(is_replayed(&again), "the first answer");
        assert_eq!(total(&shop, "/customers").await, 1);
    }

    /// A server that dies before the effect leaves the request to the next try; one that dies between the effect and the
    /// answer leaves the answer to it.
    async fn crash(setup: Setup) {
        let clock = Arc::new(ManualClock::new(Timestamp::from_milliseconds(1_780_000_000_000).expect("an instant")));
        let app = setup.clock(&clock).start().await;
        let shop = app.organization("Shop").await;
        let by = principal(&shop).await;
        let hold = Duration::from_secs(90);
        let begin = async |key: &str, method: &str, path: &str| {
            let key = key.parse().expect("a key");
            let request = KeyedRequest { key: &key, method, path, fingerprint: None };
            match app.crm.idempotency().begin(&by, &request, hold).await.expect("the store is there") {
                Begun::First(claim) => {
                    let mut carrying = by.clone();
                    carrying.context.claim = Some(claim);
                    carrying
                }
                other => panic!("not the first: {other:?}"),
            }
        };
        let ask = |key: &str| shop.admin.post("/customers", json!({"name": "Ada"})).header(KEY, key);
        let new = || NewCustomer::from_json(&json!({"name": "Ada"})).expect("valid");

        let died_before = begin("before", "POST", "/customers").await;
        ask("before").await.refused(409, "CONFLICT");
        clock.advance(hold);
        ask("before").await.created();
        let late = app.crm.customers().create(&died_before, new(), WriteOptions::default()).await;
        assert!(late.is_err(), "the first attempt was not dead, and comes too late");
        assert_eq!(total(&shop, "/customers").await, 1);

        let died_after = begin("after", "POST", "/customers").await;
        let made = app.crm.customers().create(&died_after, new(), WriteOptions::default()).await.expect("created");
        ask("after").await.refused(409, "CONFLICT");
        clock.advance(hold);
        let told = ask("after").await;
        told.expect(is_replayed(&told), "nothing to be done again");
        let record = told.created();
        assert_eq!((record.id(), record.path.as_str(), record.etag.as_str()), (made.id.to_string().as_str(), format!("/api/v1/customers/{}", made.id).as_str(), "\"1\""));
        shop.admin.patch(&record, json!({"name": "Ada Lovelace"})).await.ok();
        let again = ask("after").await;
        again.expect(again.text() == told.text() && is_replayed(&again), "the same answer from now on");
        assert_eq!(total(&shop, "/customers").await, 2);

        let path = format!("/customers/{}", made.id);
        let died_after = begin("patch", "PATCH", &path).await;
        let change = CustomerInput::from_json(&json!({"name": "A. Lovelace"})).expect("valid");
        app.crm.customers().patch(&died_after, made.id, change, WriteOptions::default()).await.expect("changed");
        clock.advance(hold);
        let told = shop.admin.patch(&path, json!({"name": "A. Lovelace"})).header(KEY, "patch").await;
        told.expect(is_replayed(&told) && told.header("etag") == "\"3\"", "the record as it is");
        assert_eq!(told.ok()["version"], 3);

        let died_after = begin("gone", "POST", "/customers").await;
        let made = app.crm.customers().create(&died_after, new(), WriteOptions::default()).await.expect("created");
        app.crm.customers().delete(&by, made.id, None).await.expect("deleted");
        clock.advance(hold);
        let told = ask("gone").await;
        let problem = told.refused(409, "CONFLICT");
        told.expect(problem["message"].as_str().is_some_and(|message| message.contains(&made.id.to_string())), "what was made");
        assert_eq!(total(&shop, "/customers").await, 2);
    }

    /// An answer is kept for 24 hours.
    async fn expiry(setup: Setup) {
        let clock = Arc::new(ManualClock::new(Timestamp::from_milliseconds(1_780_000_000_000).expect("an instant")));
        let app = setup.clock(&clock).accounts(|accounts| accounts.access_lifetime = Duration::from_hours(48)).start().await;
        let shop = app.organization("Shop").await;
        let ask = |name: &str| shop.admin.post("/customers", json!({"name": name})).header(KEY, "k");
        ask("Ada").await.created();
        clock.advance(Duration::from_hours(24) - Duration::from_secs(1));
        assert!(is_replayed(&ask("Ada").await));
        clock.advance(Duration::from_secs(1));
        let anew = ask("Ben").await;
        anew.created();
        anew.expect(!is_replayed(&anew), "a day later the key is free");
        assert_eq!(total(&shop, "/customers").await, 2);
    }

    /// What would be shown only once is shown again to who asked, and to nobody who reads the store.
    async fn secrets(app: App) {
        let shop = app.organization("Shop").await;
        let made = shop.admin.post("/api-keys", json!({"name": "S", "permissions": ["customers:read"]})).header(KEY, "k").await;
        let key = made.json()["key"].as_str().expect("a key").to_owned();
        let filter = crm_core::store::Filter::ALL;
        let kept = app.crm.repo::<crm_core::idempotency::ClaimRecord>().first(crm_core::store::Scope::Installation, filter).await;
        let kept = kept.expect("read").expect("a claim");
        assert!(kept.body.is_some() && !format!("{kept:?}").contains(&key));
    }

    /// The document tells of the key wherever it counts.
    async fn document(app: App) {
        let document = app.anonymous.get("//openapi.json").await.ok();
        for (path, item) in document["paths"].as_object().expect("paths") {
            for (method, operation) in item.as_object().expect("operations") {
                let named = operation["parameters"].as_array().is_some_and(|parameters| {
                    parameters.iter().any(|parameter| parameter["name"] == "Idempotency-Key")
                });
                let counts = ["post", "patch"].contains(&method.as_str()) && operation["x-permission"] != "public";
                assert_eq!(named, counts, "{method} {path}");
            }
        }
    }
}
