//! What there is of one person: merged, told in order of time, handed out, erased.

use std::time::{Duration, Instant};

use crm_core::{
    access::Principal,
    crm::collections,
    customer::Customer,
    id::{CustomerId, OrganizationId},
    operation::Operation,
    order::{Order, OrderItems, OrderStatus},
    record::{Meta, Record as _},
    store::{Change, Filter, Json, Money, Placement, Query, Scope},
};
use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::support::{App, Client, Entity, on_every_store};

fn customer_id(customer: &Entity) -> CustomerId {
    customer.id().parse().expect("an id")
}

/// Orders of 1.25 each, counted with their customer.
async fn orders(app: &App, organization: OrganizationId, customer: &Entity, count: i64) {
    let by = Principal::system(organization);
    let now = app.crm.now();
    let amount: Money = "1.25".parse().expect("an amount");
    let orders: Vec<Order> = (0..count)
        .map(|number| Order {
            id: app.crm.new_id(),
            customer_id: customer_id(customer),
            external_id: Some(format!("{}-{number}", customer.id()).parse().expect("a line")),
            status: OrderStatus::Paid,
            amount,
            items: OrderItems::default(),
            date: now,
            custom: Json::default().into(),
            metadata: Json::from_trusted(format!("{{\"from\":\"{}\"}}", customer["name"].as_str().unwrap_or_default())),
            owner_id: None,
            team_id: None,
            meta: Meta::new(organization, now),
        })
        .collect();
    let mut operation = Operation::new(&app.crm, &by);
    operation.insert_all(&orders);
    let value = Money::from_ten_thousandths(amount.as_ten_thousandths() * count).expect("an amount");
    operation.change(Change::Update {
        collection: Customer::COLLECTION,
        id: customer_id(customer).0,
        expected_version: None,
        condition: None,
        assignments: vec![
            Customer::total_orders.increment(count),
            Customer::visits.increment(count),
            Customer::total_order_value.increment(value),
            Customer::spend.increment(value),
            Customer::last_order_date.set(now),
        ],
    });
    operation.commit().await.expect("orders");
}

/// Every row of the database that has the text.
async fn rows_with(app: &App, organization: OrganizationId, texts: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for collection in collections() {
        let scope = match collection.placement {
            Placement::Tenant => Scope::Organization(organization),
            Placement::Installation => Scope::Installation,
        };
        let mut rows = app.crm.store().stream(scope, collection, Query::new(Filter::ALL, 0));
        while let Some(row) = rows.next().await {
            let row = format!("{:?}", row.expect("a row")).to_lowercase();
            if texts.iter().any(|text| row.contains(&text.to_lowercase())) {
                found.push(format!("{}: {row}", collection.name));
            }
        }
    }
    found
}

async fn finished(client: &Client, job: &str) -> Value {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let job = client.get(format!("/jobs/{job}")).await.ok();
        if ["succeeded", "failed", "cancelled"].iter().any(|state| job["state"] == *state) {
            assert_eq!(job["state"], "succeeded", "{job}");
            return job;
        }
        assert!(Instant::now() < deadline, "still not done: {job}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

on_every_store! {
    /// Two records of one person become one, with everything that pointed to either, and two again.
    async fn merging(app: App) {
        let shop = app.staffed("Shop").await;
        let organization: OrganizationId = shop.organization.id().await.parse().expect("an id");
        let admin = &shop.admin;
        let new = async |body: Value| admin.post("/customers", body).await.created();
        let group = admin.post("/customers/groups", json!({"name": "Tea"})).await.created();
        let kim = new(json!({
            "name": "Kim Lee", "email": "kim@mail.example", "tags": ["vip"], "spend": 10, "visits": 2,
            "consent": {"email": {"granted": true}},
        })).await;
        let twin = new(json!({
            "name": "LEE, Kim", "email": "k.lee@work.example", "phone": "+919876543210", "tags": ["vip", "new"],
            "group_ids": [group.id()], "spend": 0.5, "visits": 1, "consent": {"email": {"granted": false}},
            "metadata": {"shop": "Pune"},
        })).await;
        orders(&app, organization, &kim, 2).await;
        orders(&app, organization, &twin, 1200).await;
        let complaint = json!({"customer_id": twin.id(), "subject": "Cold tea"});
        let complaint = admin.post("/complaints", complaint).await.created();
        admin.post(format!("{twin}/notes"), json!({"text": "Prefers green tea.\nAlways."})).await.created();

        let found = admin.get("/customers/duplicates?min_score=0.4").await.ok();
        assert_eq!(found["data"][0]["duplicates"][0]["reasons"], json!(["same_name"]), "{found}");
        assert_eq!(admin.get("/customers/duplicates").await.ok()["data"], json!([]));
        admin.get("/customers/duplicates?minScore=2").await.invalid(&["min_score"]);
        admin.get("/customers/duplicates?created_at[gt]=now&sort=name").await.invalid(&["created_at[gt]", "sort"]);

        let path = format!("{kim}/merge");
        let request = json!({"duplicate_id": twin.id(), "fields": {"email": "duplicate"}, "dry_run": true});
        let would = admin.post(&path, request.clone()).await.ok();
        assert_eq!((&would["merge_id"], &would["moved"]["orders"]), (&json!(null), &json!(1200)));
        assert_eq!(admin.get(&kim).await.ok()["email"], "kim@mail.example", "nothing is written");
        let mut request = request;
        request["dry_run"] = json!(false);
        shop.lead.post(&path, request.clone()).await.refused(403, "FORBIDDEN");
        admin.post(&path, json!({"duplicate_id": kim.id()})).await.invalid(&["duplicate_id"]);
        let merged = admin.post(&path, request.clone()).await.ok();
        let mut now = admin.get(&kim).await.ok();
        for (name, value) in [
            ("email", json!("k.lee@work.example")), ("emails", json!(["kim@mail.example"])),
            ("phone", json!("+919876543210")), ("tags", json!(["vip", "new"])), ("group_ids", json!([group.id()])),
            ("spend", json!(1513)), ("visits", json!(1205)), ("total_orders", json!(1202)),
            ("total_order_value", json!(1502.5)), ("total_complaints", json!(1)), ("open_complaints", json!(1)),
        ] {
            assert_eq!(now[name], value, "{name}");
            assert_eq!(would["customer"][name], value, "{name} as it was foretold");
            assert_eq!(merged["customer"][name], value, "{name} as it was answered");
        }
        assert_eq!(now["consent"]["email"]["granted"], json!(false), "the stricter holds");
        assert_eq!(admin.get(&complaint).await.ok()["customer_id"], json!(kim.id()));
        admin.get(&twin).await.refused(404, "NOT_FOUND");
        admin.post(&path, request).await.refused(404, "NOT_FOUND");
        admin.post(format!("{twin}/restore"), json!({})).await.refused(409, "INVALID_STATE");

        let page = admin.get(format!("{kim}/orders?limit=1&count=true")).await.ok();
        assert_eq!((&page["page"]["total"], &page["data"][0]["customer_id"]), (&json!(1202), &json!(kim.id())));
        shop.organization.member("Agent", None).await.get(format!("{kim}/orders")).await.refused(404, "NOT_FOUND");

        // The timeline has it all, page by page as in one.
        let timeline = format!("{kim}/timeline");
        let mut seen = Vec::new();
        let mut next = format!("{timeline}?type=note,complaint,change&limit=3");
        loop {
            let page = admin.get(&next).await.ok();
            seen.extend(page["data"].as_array().expect("entries").clone());
            let Some(cursor) = page["page"]["next_cursor"].as_str() else { break };
            next = format!("{timeline}?type=note,complaint,change&limit=3&cursor={cursor}");
        }
        assert!(seen.is_sorted_by(|one, other| one["at"].as_str() >= other["at"].as_str()), "newest first");
        let of = |kind: &str| seen.iter().filter(|entry| entry["type"] == kind).collect::<Vec<_>>();
        assert_eq!((of("note")[0]["summary"].as_str(), of("complaint").len()), (Some("Prefers green tea."), 1));
        assert!(of("change").iter().any(|entry| entry["summary"] == "customer.merged"), "{seen:?}");
        let page = admin.get(format!("{timeline}?type=order&limit=100")).await.ok();
        assert_eq!((page["data"].as_array().map(Vec::len), &page["page"]["has_more"]), (Some(100), &json!(true)));
        let agent = shop.organization.member("QA", None).await.get(&timeline).await.ok();
        assert!(agent["data"].as_array().expect("entries").iter().all(|entry| entry["type"] != "change"), "{agent}");
        admin.get(format!("{timeline}?type=lost&page=2")).await.invalid(&["type", "page"]);
        admin.get(format!("{timeline}?id={}&version[gt]=0", kim.id())).await.invalid(&["id", "version[gt]"]);

        // What was changed since stays; the rest goes back.
        admin.patch(&kim, json!({"name": "Kim B. Lee", "add_tags": ["later"]})).await.ok();
        admin.post(format!("{kim}/merge/undo?merge_id=x"), json!({})).await.invalid(&["merge_id"]);
        now = admin.post(format!("{kim}/merge/undo"), json!({})).await.ok();
        let again = admin.get(&twin).await.ok();
        for (name, kept, other) in [
            ("name", json!("Kim B. Lee"), json!("LEE, Kim")),
            ("email", json!("kim@mail.example"), json!("k.lee@work.example")),
            ("emails", json!([]), json!([])),
            ("phone", json!(null), json!("+919876543210")),
            ("tags", json!(["vip", "later"]), json!(["vip", "new"])),
            ("group_ids", json!([]), json!([group.id()])),
            ("spend", json!(12.5), json!(1500.5)),
            ("visits", json!(4), json!(1201)),
            ("total_orders", json!(2), json!(1200)),
            ("total_order_value", json!(2.5), json!(1500)),
            ("total_complaints", json!(0), json!(1)),
            ("open_complaints", json!(0), json!(1)),
            ("metadata", json!({}), json!({"shop": "Pune"})),
        ] {
            assert_eq!((&now[name], &again[name]), (&kept, &other), "{name}");
        }
        assert_eq!(admin.get(&complaint).await.ok()["customer_id"], json!(twin.id()));
        admin.post(format!("{kim}/merge/undo"), json!({})).await.refused(404, "NOT_FOUND");
        assert_eq!(admin.get("/audit/verify").await.ok()["intact"], json!(true));
    }

    /// A person has everything that is kept of them, and is forgotten.
    async fn forgetting(app: App) {
        let shop = app.staffed("Shop").await;
        let organization: OrganizationId = shop.organization.id().await.parse().expect("an id");
        let admin = &shop.admin;
        let new = async |body: Value| admin.post("/customers", body).await.created();
        let zoe = new(json!({
            "name": "Zoë Quisling", "email": "zoe@quisling.example", "phone": "+919812345678",
            "emails": ["z.q@quisling.example"], "user_id": shop.customer.id(), "metadata": {"note": "Quisling the younger"},
        })).await;
        let twin = new(json!({"name": "Z. Quisling", "phone": "+919812300000"})).await;
        let other = new(json!({"name": "Ann", "email": "ann@mail.example"})).await;
        orders(&app, organization, &zoe, 3).await;
        let note = admin.post(format!("{zoe}/notes"), json!({"text": "Quisling called."})).await.created();
        admin.delete(&note).await.no_content();
        admin.post(format!("{zoe}/notes"), json!({"text": "Quisling called again."})).await.created();
        admin.post("/complaints", json!({"customer_id": zoe.id(), "subject": "Mrs Quisling waits"})).await.created();
        admin.post(format!("{zoe}/merge"), json!({"duplicate_id": twin.id()})).await.ok();
        admin.patch(&zoe, json!({"name": "Zoe Quisling"})).await.ok();
        let batch = json!({"filter": {"field": "name", "op": "==", "value": "Zoe Quisling"}, "set": {"visits": 3}});
        admin.patch("/customers/batch", batch).await.ok();

        shop.lead.get(format!("{zoe}/personal-data")).await.refused(403, "FORBIDDEN");
        let document = admin.get(format!("{zoe}/personal-data")).await.ok();
        let count = |kind: &str| document[kind].as_array().map_or(0, Vec::len);
        assert_eq!((count("customers"), count("orders"), count("customer_notes"), count("complaints")), (1, 3, 1, 1));
        assert_eq!((count("customer_merges"), count("users")), (1, 1));
        assert!(count("audit_entries") > 3 && count("contact_points") >= 4, "{document}");
        assert_eq!(document["customers"][0]["email"], "zoe@quisling.example");

        let path = format!("{zoe}/erase");
        admin.post(&path, json!({"confirm": false, "reason": "asked"})).await.invalid(&["confirm"]);
        admin.post(&path, json!({"reason": ""})).await.invalid(&["confirm", "reason"]);
        let asked = json!({"confirm": true, "reason": "asked by letter"});
        shop.lead.post(&path, asked.clone()).await.refused(403, "FORBIDDEN");
        let erased = admin.post(&path, asked.clone()).await.ok();
        assert_eq!((&erased["records"]["orders"], &erased["records"]["customers"]), (&json!(3), &json!(2)));
        finished(admin, erased["job_id"].as_str().expect("a job")).await;

        let left = rows_with(&app, organization, &["quisling", "919812345678", "919812300000"]).await;
        assert!(left.is_empty(), "{left:#?}");
        assert!(!rows_with(&app, organization, &["ann@mail.example"]).await.is_empty(), "others stay");
        admin.get(&zoe).await.refused(404, "NOT_FOUND");
        admin.get(&other).await.ok();
        shop.customer.get("/customers/me").await.refused(401, "TOKEN_REVOKED");
        admin.post(&path, asked).await.refused(404, "NOT_FOUND");
        let entries = admin.get(format!("/audit?record_id={}&action=customer.erased", zoe.id())).await.ok();
        assert_eq!(entries["data"][0]["after"]["reason"], "asked by letter");
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let verified = admin.get("/audit/verify").await.ok();
            assert_eq!(verified["intact"], json!(true), "{verified}");
            if verified["unsealed"] == 0 {
                break;
            }
            assert!(Instant::now() < deadline, "{verified}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Duplicates are found wherever they stand, page by page, and nobody learns of customers out of sight.
    async fn likely_duplicates(app: App) {
        let shop = app.staffed("Shop").await;
        let mut items = Vec::new();
        for number in 0..60 {
            items.push(json!({"name": format!("Person {:03}", number * 7), "email": format!("p{number}@x.example")}));
        }
        items.push(json!({"name": "Catherine Jones", "email": "cat.jones@x.example"}));
        items.push(json!({"name": "Katherine Jones", "email": "catjones+shop@x.example"}));
        items.push(json!({"name": "Zed", "phone": "+919812345678"}));
        shop.admin.post("/customers/batch", json!(items)).await.ok();
        let shared = json!({"name": "Abe", "phone": "+919812345678"});
        shop.admin.post("/customers?allow_duplicate_phone=true", shared).await.created();
        let (mut found, mut next) = (Vec::new(), "/customers/duplicates?limit=1".to_owned());
        loop {
            let page = shop.admin.get(&next).await.ok();
            found.extend(page["data"].as_array().expect("a list").clone());
            let Some(cursor) = page["page"]["next_cursor"].as_str() else { break };
            next = format!("/customers/duplicates?limit=1&cursor={cursor}");
        }
        let pairs: Vec<Value> = found
            .iter()
            .flat_map(|one| one["duplicates"].as_array().into_iter().flatten().map(move |other| (one, other)))
            .map(|(one, other)| json!([one["customer"]["name"], other["customer"]["name"], other["reasons"]]))
            .collect();
        let expected = [
            json!(["Abe", "Zed", ["shared_phone"]]),
            json!(["Katherine Jones", "Catherine Jones", ["similar_name", "email_variant"]]),
        ];
        assert_eq!(pairs, expected);
        // The same mailbox written otherwise, in the middle of a page.
        shop.admin.post("/customers", json!({"name": "Katherin Jones", "email": "cat.jones+2@x.example"})).await.created();
        let found = shop.admin.get("/customers/duplicates?min_score=0.7").await.ok();
        assert_eq!(found["data"][0]["duplicates"][0]["reasons"], json!(["similar_name", "email_variant"]), "{found}");
        let agent = shop.organization.member("Agent", None).await;
        assert_eq!(agent.get("/customers/duplicates").await.ok()["data"], json!([]));
    }
}
