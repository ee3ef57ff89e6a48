use std::time::Duration;

use crm_core::{
    access::Principal,
    campaign::{Campaign, CampaignId, CampaignStatus},
    order::OrderStatus,
    record::{ID, Record as _},
    store::{Change, FieldKind, Json, Row, Value as Stored},
};
use serde_json::{Value, json};

use super::orders::{Bought, keep};
use crate::support::{App, on_every_store};

fn spends(more_than: i64) -> Value {
    json!({"field": "spend", "op": ">", "value": more_than})
}

fn path(segment: &crate::support::Entity, rest: &str) -> String {
    format!("/segments/{}{rest}", segment.id())
}

on_every_store! {
    /// A segment is tried, made, counted, listed page by page, explained, changed and removed.
    async fn from_a_try_to_the_end(app: App) {
        let shop = app.organization("Shop").await;
        let admin = &shop.admin;
        let group = admin.post("/customers/groups", json!({"name": "Club"})).await.created();
        let mut people = Vec::new();
        for number in 0..13_i64 {
            people.push(admin.post("/customers", json!({
                "name": format!("Customer {number}"), "spend": 1000 * number, "last_active": "2020-01-01T00:00:00Z",
                "tags": [if number % 2 == 0 { "even" } else { "odd" }],
                "group_ids": if number < 6 { json!([group.id()]) } else { json!([]) },
            })).await.created());
        }
        let rules = json!({"and": [spends(1500), {"field": "inactive_days", "op": ">", "value": 180}]});
        let tried = admin.post("/segments/preview", json!({"rules_json": rules})).await.ok();
        let newest: Vec<&Value> = people.iter().rev().map(|person| &person["id"]).collect();
        let sample: Vec<&Value> = tried["sample"].as_array().expect("a sample").iter().map(|one| &one["id"]).collect();
        assert_eq!((&tried["count"], &sample[..], &tried["sample_size"]), (&json!(11), &newest[..10], &json!(10)), "{tried}");
        assert_eq!((&tried["rules_json"], &tried["explanation"]), (&rules, &json!("spend is more than 1500 and inactive for more than 180 days")));
        assert!(tried["took_ms"].is_u64() && tried["as_of"].is_string());

        let made = admin.post("/segments", json!({"name": " Quiet spenders ", "description": "Spring", "rulesJson": rules})).await.created();
        assert_eq!((&made["name"], &made["dynamic"], &made["state"], &made["member_count"]), (&json!("Quiet spenders"), &json!(true), &json!("ready"), &Value::Null));
        assert_eq!((&made["rules_json"], &made["rules_version"], &made["created_by"]), (&rules, &json!(1), &json!(admin.id())));
        let taken = admin.post("/segments", json!({"name": "QUIET SPENDERS", "rules_json": spends(1)})).await.refused(409, "DUPLICATE");
        assert_eq!((&taken["errors"][0]["field"], &taken["matches"][0]), (&json!("name"), &made["id"]), "{taken}");
        assert_eq!(admin.get(path(&made, "/preview")).await.ok()["count"], 11);
        let counted = admin.get(path(&made, "")).await.ok();
        assert_eq!((&counted["member_count"], &counted["version"]), (&json!(11), &json!(1)), "counting is no change");
        admin.get("/segments?search=quiet&dynamic=true&fields=id,explanation").await.lists([&made]);
        admin.post("/segments/search", json!({"filter": {"field": "name", "op": "starts_with", "value": "quiet"}})).await.lists([&made]);

        let mut listed = Vec::new();
        let mut next = path(&made, "/customers?limit=4&sort=spend&count=true");
        loop {
            let page = admin.get(&next).await.ok();
            assert_eq!(page["page"]["total"], 11);
            listed.extend(page["data"].as_array().expect("customers").iter().map(|one| one["id"].clone()));
            let Some(cursor) = page["page"]["next_cursor"].as_str() else { break };
            next = path(&made, &format!("/customers?limit=4&sort=spend&count=true&cursor={cursor}"));
        }
        assert_eq!(listed, people[2..].iter().map(|person| person["id"].clone()).collect::<Vec<_>>());
        let both = json!({"filter": {"and": [{"field": "tags", "op": "contains", "value": "odd"}, {"field": "group", "op": "==", "value": group.id()}]}});
        admin.post(path(&made, "/customers/search"), both).await.lists([&people[5], &people[3]]);
        admin.get(path(&made, "/customers?deleted=true")).await.invalid(&["deleted"]);

        let why = admin.get(path(&made, &format!("/explain/{}", people[1].id()))).await.ok();
        assert_eq!((&why["result"], &why["member"], &why["and"][0]["result"], &why["and"][0]["seen"]), (&json!(false), &json!(false), &json!(false), &json!(1000)), "{why}");
        assert_eq!(why["and"][1]["result"], true);
        assert!(why["and"][1]["seen"].as_i64().is_some_and(|days| days > 2000), "{why}");

        // The rules before stay in the history, and a count of theirs is no count of the new ones.
        let changed = admin.patch(&made, json!({"rules_json": spends(7000)})).if_match(&made).await.ok();
        assert_eq!((&changed["rules_version"], &changed["version"], &changed["member_count"]), (&json!(2), &json!(2), &Value::Null));
        admin.patch(&made, json!({"name": "Late"})).if_match(&made).await.refused(412, "VERSION_CONFLICT");
        let back = admin.put(&made, changed.clone()).await.ok();
        assert_eq!((&back["version"], &back["rules_version"]), (&json!(2), &json!(2)), "what was read is put back");
        let history = admin.get(path(&made, "/history")).await.ok();
        let numbers: Vec<&Value> = history["data"].as_array().expect("rules").iter().map(|one| &one["number"]).collect();
        assert_eq!((numbers, &history["data"][1]["rules_json"], &history["data"][0]["changed_by"]), (vec![&json!(2), &json!(1)], &rules, &json!(admin.id())));
        admin.get(path(&made, "/customers?sort=-spend")).await.lists(people[8..].iter().rev());
        admin.patch(&made, json!({"dynamic": false})).await.refused(409, "INVALID_STATE");

        // Who is in the bin is in no segment.
        admin.delete(&people[12]).await.no_content();
        assert_eq!(admin.get(path(&made, "/preview")).await.ok()["count"], 4);

        let other = app.organization("Other").await;
        for rest in ["", "/preview", "/customers", "/history"] {
            other.admin.get(path(&made, rest)).await.refused(404, "NOT_FOUND");
        }
        other.admin.post("/segments", json!({"name": "Quiet spenders", "rules_json": spends(1)})).await.created();
        admin.delete(&made).await.no_content();
        admin.get(path(&made, "/customers")).await.refused(404, "NOT_FOUND");
        let trail = admin.get("/audit?record_type=segments&sort=created_at").await.ok();
        let actions: Vec<&Value> = trail["data"].as_array().expect("entries").iter().map(|entry| &entry["action"]).collect();
        assert_eq!(actions, ["segment.created", "segment.updated", "segment.deleted"]);
    }

    /// Everything wrong is told at once, the rules by their path.
    async fn wrong_rules(app: App) {
        let shop = app.organization("Shop").await;
        let wrong = json!({"and": [
            {"field": "spnd", "op": ">", "value": 1}, {"field": "spend", "op": ">", "value": "5000"},
            {"field": "status", "op": "contains", "value": "x"},
            {"orders": {"where": {"field": "amonut", "op": ">", "value": 1}, "within_last": 90, "count": {"op": "in", "value": 2}}},
        ]});
        let paths = [
            "rules_json.and[0].field", "rules_json.and[1].value", "rules_json.and[2].op", "rules_json.and[3].orders.where.field",
            "rules_json.and[3].orders.within_last", "rules_json.and[3].orders.count.op",
        ];
        let with_name: Vec<&str> = paths.into_iter().chain(["name", "colour"]).collect();
        shop.admin.post("/segments", json!({"name": "", "colour": "red", "rules_json": wrong})).await.invalid(&with_name);
        shop.admin.post("/segments/preview", json!({"rules_json": wrong})).await.invalid(&paths);
        shop.admin.post("/segments", json!({"name": "None"})).await.invalid(&["rules_json"]);
        shop.admin.post("/segments", json!({"name": "Null", "rules_json": null})).await.invalid(&["rules_json"]);
        shop.admin.post("/segments", json!({"name": "Empty", "rules_json": {"and": []}, "version": 3})).await.invalid(&["rules_json.and", "version"]);
        let made = shop.admin.post("/segments", json!({"name": "Right", "rules_json": spends(1)})).await.created();
        shop.admin.patch(&made, json!({"rules_json": {"or": [spends(1), {"field": "visits", "op": "~", "value": 1}]}})).await
            .invalid(&["rules_json.or[1].op"]);
    }

    /// Of a segment everybody sees the customers that they see anyway, and nobody learns how many others there are.
    async fn sight(app: App) {
        let shop = app.organization("Shop").await;
        let (north, south) = (shop.team("North").await, shop.team("South").await);
        let (ann, bob) = (shop.member("Agent", Some(&north)).await, shop.member("Agent", Some(&south)).await);
        let qa = shop.colleague("QA").await;
        let of_ann = ann.post("/customers", json!({"name": "Of Ann", "spend": 10})).await.created();
        let of_bob = bob.post("/customers", json!({"name": "Of Bob", "spend": 10})).await.created();
        let made = ann.post("/segments", json!({"name": "Anybody", "rules_json": spends(1)})).await.created();
        assert_eq!(qa.get(path(&made, "/preview")).await.ok()["count"], 2);
        qa.get(path(&made, "/customers")).await.lists([&of_bob, &of_ann]);
        qa.patch(&made, json!({"name": "Mine"})).await.refused(403, "FORBIDDEN");
        assert_eq!(qa.get(path(&made, "")).await.ok()["member_count"], 2);
        for (agent, own, others) in [(&ann, &of_ann, &of_bob), (&bob, &of_bob, &of_ann)] {
            let preview = agent.get(path(&made, "/preview")).await.ok();
            assert_eq!((&preview["count"], &preview["sample"][0]["id"]), (&json!(1), &own["id"]));
            assert_eq!(agent.post("/segments/preview", json!({"rules_json": spends(1)})).await.ok()["count"], 1);
            agent.get(path(&made, "/customers?count=true")).await.lists([own]);
            assert_eq!(agent.get(path(&made, "")).await.ok()["member_count"], Value::Null);
            agent.get(path(&made, &format!("/explain/{}", own.id()))).await.ok();
            agent.get(path(&made, &format!("/explain/{}", others.id()))).await.refused(404, "NOT_FOUND");
        }
        assert_eq!(shop.admin.get(path(&made, "")).await.ok()["member_count"], 2, "what an agent counted changes nothing");
        let customer = shop.member("Customer", None).await;
        customer.get("/segments").await.refused(403, "FORBIDDEN");
    }

    /// A field that is archived breaks the segments that name it: they say so, and never mean other people.
    async fn broken(app: App) {
        let shop = app.organization("Shop").await;
        let field = shop.admin.post("/customers/fields", json!({"key": "size", "label": "Size", "type": "number"})).await.created();
        let tall = shop.admin.post("/customers", json!({"name": "Tall", "custom": {"size": 190}})).await.created();
        shop.admin.post("/customers", json!({"name": "Small", "custom": {"size": 150}})).await.created();
        let rules = json!({"or": [{"field": "custom.size", "op": ">", "value": 180.5}, {"field": "spend", "op": ">", "value": 5}]});
        let made = shop.admin.post("/segments", json!({"name": "Tall", "rules_json": rules})).await.created();
        shop.admin.get(path(&made, "/customers")).await.lists([&tall]);
        shop.admin.delete(&field).await;
        let shown = shop.admin.get(path(&made, "")).await.ok();
        assert!(shown["broken"].as_str().is_some_and(|why| why.contains("rules_json.or[0].field") && why.contains("custom.size")), "{shown}");
        assert_eq!((&shown["rules_json"], &shown["explanation"], &shown["version"]), (&rules, &Value::Null, &json!(1)));
        for rest in ["/preview", "/customers"] {
            let refused = shop.admin.get(path(&made, rest)).await.refused(409, "INVALID_STATE");
            assert!(refused["message"].as_str().is_some_and(|message| message.contains("custom.size")), "{refused}");
        }
        shop.admin.get(path(&made, &format!("/explain/{}", tall.id()))).await.refused(409, "INVALID_STATE");
        // A change of the name leaves the rules alone; a change of the rules mends.
        assert!(shop.admin.patch(&made, json!({"name": "Large"})).await.ok()["broken"].is_string());
        let mended = shop.admin.patch(&made, json!({"rules_json": {"field": "name", "op": "==", "value": "Tall"}})).await.ok();
        assert_eq!(mended["broken"], Value::Null);
        shop.admin.get(path(&made, "/customers")).await.lists([&tall]);
    }

    /// Orders make a segment, are seen in its explanation, and choose customers for a change of many.
    async fn by_orders(app: App) {
        let shop = app.organization("Shop").await;
        let mut people = Vec::new();
        for name in ["Often", "Once", "Long ago", "Never"] {
            people.push(shop.admin.post("/customers", json!({"name": name})).await.created());
        }
        let now = app.crm.now();
        let order = |person: usize, amount: i64, days: u64, status: OrderStatus| Bought {
            customer: people[person].id(), amount: amount * 10_000, status, external_id: None,
            date: now.minus(Duration::from_hours(24 * days)),
        };
        keep(&app, &shop, [
            order(0, 100, 1, OrderStatus::Paid), order(0, 50, 40, OrderStatus::Delivered), order(0, 7, 2, OrderStatus::Cancelled),
            order(1, 500, 3, OrderStatus::Paid), order(2, 900, 400, OrderStatus::Paid), order(2, 1, 401, OrderStatus::Paid),
        ]).await;
        let lately = |op: &str, count: i64| json!({"orders": {"within_last": "90d", "where": {"field": "status", "op": "!=", "value": "cancelled"}, "count": {"op": op, "value": count}}});
        for (rules, members) in [
            (lately(">=", 2), vec![0]), (lately("==", 1), vec![1]), (lately("==", 0), vec![3, 2]), (lately("<", 2), vec![3, 2, 1]),
            (json!({"not": lately("==", 0)}), vec![1, 0]), (json!({"orders": {}}), vec![2, 1, 0]),
            (json!({"orders": {"total": {"op": ">", "value": 157}}}), vec![2, 1]),
            (json!({"orders": {"total": {"op": "==", "value": 157}}}), vec![0]),
            (json!({"orders": {"where": {"field": "amount", "op": "between", "value": [400, 900]}}}), vec![2, 1]),
            (json!({"and": [{"orders": {"count": {"op": "!=", "value": 2}}}, {"field": "name", "op": "starts_with", "value": "o"}]}), vec![1, 0]),
        ] {
            let tried = shop.admin.post("/segments/preview", json!({"rules_json": rules})).await.ok();
            let found: Vec<&Value> = tried["sample"].as_array().expect("a sample").iter().map(|one| &one["id"]).collect();
            let wanted: Vec<&Value> = members.iter().map(|member| &people[*member]["id"]).collect();
            assert_eq!((&tried["count"], found), (&json!(members.len()), wanted), "{rules}");
        }
        let made = shop.admin.post("/segments", json!({"name": "Often", "rules_json": lately(">=", 2)})).await.created();
        assert_eq!(made["explanation"], "number of orders in the last 90 days where (status is not \"cancelled\") is at least 2");
        for (person, seen, member) in [(0, 2, true), (1, 1, false), (3, 0, false)] {
            let why = shop.admin.get(path(&made, &format!("/explain/{}", people[person].id()))).await.ok();
            assert_eq!((&why["seen"], &why["result"], &why["member"]), (&json!(seen), &json!(member), &json!(member)), "{why}");
        }
        let total = json!({"name": "Much", "rules_json": {"orders": {"total": {"op": ">=", "value": 500}}}});
        let much = shop.admin.post("/segments", total).await.created();
        let why = shop.admin.get(path(&much, &format!("/explain/{}", people[2].id()))).await.ok();
        assert_eq!((&why["seen"], &why["orders"]["total"]["value"]), (&json!(901), &json!(500)), "{why}");
        // The same condition in every place where customers are filtered.
        shop.admin.post("/customers/search", json!({"filter": lately(">=", 2)})).await.lists([&people[0]]);
        let change = shop.admin.patch("/customers/batch", json!({"filter": lately("<", 2), "add_tags": ["rare"]})).await.ok();
        assert_eq!((&change["matched"], &change["updated"]), (&json!(3), &json!(3)), "{change}");
        shop.admin.get("/customers?tags=rare").await.lists([&people[3], &people[2], &people[1]]);
    }

    /// A segment that a launched campaign is still to go to stays; one that knows whom it goes to needs it no more.
    async fn in_use(app: App) {
        let shop = app.organization("Shop").await;
        let made = shop.admin.post("/segments", json!({"name": "Anybody", "rules_json": spends(-1)})).await.created();
        let by = Principal::system(shop.id().await.parse().expect("an id"));
        let campaign: uuid::Uuid = app.crm.new_id::<CampaignId>().into();
        let now = Stored::Timestamp(app.crm.now());
        let row = Campaign::COLLECTION.fields.iter().map(|field| match (field.name, field.kind) {
            ("id", _) => Stored::Id(campaign),
            ("organization_id", _) => Stored::Id(by.organization.into()),
            ("segment_id", _) => Stored::Id(made.id().parse().expect("an id")),
            ("name", _) => Stored::Text("Spring sale".to_owned()),
            ("channel", _) => Stored::Text("mock".to_owned()),
            ("status", _) => Stored::Text("draft".to_owned()),
            _ if field.optional => Stored::Null,
            (_, FieldKind::Integer) => Stored::Integer(1),
            (_, FieldKind::Bool) => Stored::Bool(false),
            (_, FieldKind::Timestamp) => now.clone(),
            (_, FieldKind::Json) => Stored::Json(Json::from_trusted("[]")),
            (_, FieldKind::TextList) => Stored::TextList(Vec::new()),
            (name, FieldKind::Text) => Stored::Text(name.to_owned()),
            (name, kind) => panic!("no value for {name} of {kind:?}"),
        });
        let rows = vec![Row(row.collect())];
        app.crm.store().commit(by.scope(), vec![Change::Insert { collection: Campaign::COLLECTION, rows }]).await.expect("a campaign");
        let set = |assignments| Change::UpdateWhere { collection: Campaign::COLLECTION, filter: ID.equals(campaign), assignments };
        for (status, refused) in [(CampaignStatus::Scheduled, true), (CampaignStatus::Paused, true), (CampaignStatus::Draft, false), (CampaignStatus::Cancelled, false)] {
            app.crm.store().commit(by.scope(), vec![set(vec![Campaign::status.set(status)])]).await.expect("written");
            if refused {
                let refused = shop.admin.delete(&made).await.refused(409, "CONFLICT");
                assert!(refused["message"].as_str().is_some_and(|message| message.contains("Spring sale")), "{refused}");
            }
        }
        app.crm.store().commit(by.scope(), vec![set(vec![Campaign::status.set(CampaignStatus::Sending), Campaign::planned_at.set(Some(app.crm.now()))])]).await.expect("written");
        shop.admin.delete(&made).await.no_content();
    }
}
