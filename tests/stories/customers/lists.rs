//! Lists of customers: filters, search, order, pages.

use serde_json::{Value, json};

use crate::support::{App, Client, Entity, on_every_store};

async fn customers(admin: &Client) -> Vec<Entity> {
    let mut created = Vec::new();
    for body in [
        json!({"name": "Zoë Ångström", "email": "zoe@example.com", "spend": 500, "visits": 5, "tags": ["vip", "north"],
            "last_active": "2026-01-01T00:00:00Z"}),
        json!({"name": "amélie poulain", "emails": ["home@poulain.example"], "spend": 99.9999, "tags": ["vip"], "type": "vip"}),
        json!({"name": "Bob Müller", "phone": "+4930123456", "spend": 99999999999999.5, "status": "blocked",
            "last_active": "2020-01-01T00:00:00Z"}),
        json!({"name": "राम Пётр", "visits": 1, "type": "wholesale", "status": "inactive"}),
    ] {
        created.push(admin.post("/customers", body).await.created());
    }
    created
}

on_every_store! {
    /// Every field filters, with every operator, and every wrong parameter is named.
    async fn filters(app: App) {
        let admin = app.organization("Shop").await.admin;
        let all = customers(&admin).await;
        let [zoe, ann, bob, ram] = all.as_slice() else { panic!("four customers") };
        for (query, expected) in [
            ("status=active", vec![ann, zoe]),
            ("status[ne]=active", vec![ram, bob]),
            ("status[in]=blocked,inactive", vec![ram, bob]),
            ("type[nin]=regular,vip", vec![ram]),
            ("tags=vip", vec![ann, zoe]),
            ("tags=north&tags[in]=vip,x", vec![zoe]),
            ("tags[exists]=false", vec![ram, bob]),
            ("spend[gt]=99.9999", vec![bob, zoe]),
            ("spend[gte]=99.9999&spend[lt]=501", vec![ann, zoe]),
            ("spend=99999999999999.5", vec![bob]),
            ("visits[lte]=1", vec![ram, bob, ann]),
            ("name[contains]=MULLER", vec![bob]),
            ("email=ZOE@example.com", vec![zoe]),
            ("emails=home@poulain.example", vec![ann]),
            ("phone=%2B4930123456", vec![bob]),
            ("email[exists]=true", vec![zoe]),
            ("last_active[exists]=false", vec![ram, ann]),
            ("last_active[gte]=2026-01-01T00:00:00Z", vec![zoe]),
            ("inactive_days[gt]=1000", vec![bob]),
            ("order_count=0&order_total=0&status=blocked", vec![bob]),
            ("email=nobody@example.com", vec![]),
            (r#"filter={"or":[{"field":"spend","op":">","value":1000},{"not":{"field":"visits","op":"<","value":5}}]}"#, vec![bob, zoe]),
        ] {
            admin.get(format!("/customers?{query}")).await.lists(expected);
        }
        for (query, field) in [
            ("colour=red", "colour"),
            ("spend[like]=5", "spend[like]"),
            ("spend=lots", "spend"),
            ("status=gone", "status"),
            ("sort=colour", "sort"),
            ("limit=0", "limit"),
            ("limit=101", "limit"),
            ("page=0", "page"),
            ("cursor=abc", "cursor"),
            ("count=maybe", "count"),
            ("fields=password", "fields"),
            ("deleted=perhaps", "deleted"),
            ("profile=x", "profile"),
            ("spend[$gt]=5", "spend[$gt]"),
        ] {
            admin.get(format!("/customers?{query}")).await.invalid(&[field]);
        }
        admin.get("/customers?filter={\"field\":\"spend\",\"op\":\">\",\"value\":\"x\"}").await.invalid(&["filter.value"]);
    }

    /// Search ignores case and accents, finds parts of words in every way of reaching somebody, and then near misses.
    async fn search(app: App) {
        let admin = app.organization("Shop").await.admin;
        let all = customers(&admin).await;
        let [zoe, ann, bob, ram] = all.as_slice() else { panic!("four customers") };
        for (words, expected) in [
            ("angstrom", zoe), ("AMELIE", ann), ("poulain.ex", ann), ("mull bob", bob), ("30123", bob), ("петр", ram), ("राम", ram),
        ] {
            let list = admin.get(format!("/customers?search={words}")).await.lists([expected]);
            assert!(list["page"].get("fuzzy").is_none(), "{words}");
        }
        for (words, expected) in [("angstrum", zoe), ("amelei", ann), ("poulian", ann), ("mueller", bob)] {
            let list = admin.get(format!("/customers?search={words}")).await.lists([expected]);
            assert_eq!(list["page"]["fuzzy"], true, "{words}");
        }
        admin.get("/customers?search=xylophone").await.lists([]);
        admin.get("/customers?search=%25_'\"%3B--").await.lists([]);
        let body = json!({"search": "o", "filter": {"field": "spend", "op": ">=", "value": 500}, "sort": ["-spend"], "fields": ["id", "name"],
            "limit": 1, "count": true});
        let page = admin.post("/customers/search", body.clone()).await.lists([bob]);
        assert_eq!(page["data"][0].as_object().map(serde_json::Map::len), Some(2));
        assert_eq!((&page["page"]["total"], &page["page"]["has_more"]), (&json!(2), &json!(true)));
        let mut next = body;
        next["cursor"] = page["page"]["next_cursor"].clone();
        admin.post("/customers/search", next).await.lists([zoe]);
        admin.post("/customers/search", json!({"serch": "x", "limit": "many"})).await.invalid(&["serch", "limit"]);
    }

    /// Whatever the order, pages hold every customer once, and stay so when others come.
    async fn pages(app: App) {
        let admin = app.organization("Shop").await.admin;
        let items: Vec<Value> = (0..25).map(|number| json!({
            "name": format!("Customer {:02}", number * 7 % 25), "spend": number % 4,
            "last_active": if number % 3 == 0 { json!(null) } else { json!(format!("2026-01-{:02}T00:00:00Z", 1 + number % 9)) },
        })).collect();
        admin.post("/customers/batch", json!({"items": items})).await.ok();
        for sort in ["name", "-name", "spend", "-spend,name", "last_active", "-last_active", "-created_at", "owner_id", "email", "inactive_days"] {
            let whole = admin.get(format!("/customers?limit=100&sort={sort}")).await.ids();
            assert_eq!(whole.len(), 25, "{sort}");
            let (mut walked, mut path) = (Vec::new(), format!("/customers?limit=7&sort={sort}"));
            loop {
                let answer = admin.get(&path).await;
                walked.extend(answer.ids());
                let page = &answer.json()["page"];
                let Some(cursor) = page["next_cursor"].as_str() else {
                    assert_eq!(page["has_more"], false);
                    break;
                };
                path = format!("/customers?limit=7&sort={sort}&cursor={cursor}");
            }
            assert_eq!(walked, whole, "{sort}");
            let third = admin.get(format!("/customers?limit=10&page=3&sort={sort}")).await;
            assert_eq!(third.ids(), whole[20..], "{sort}");
            assert_eq!(third.json()["page"]["total"], 25);
        }
        let first = admin.get("/customers?limit=5&sort=name").await.ok();
        let cursor = first["page"]["next_cursor"].as_str().expect("a cursor").to_owned();
        admin.post("/customers", json!({"name": "Customer 00 b"})).await.created();
        let next = admin.get(format!("/customers?limit=5&sort=name&cursor={cursor}")).await.ok();
        assert_eq!(next["data"][0]["name"], "Customer 05", "what comes before the cursor moves nothing");
        admin.get(format!("/customers?limit=5&sort=-name&cursor={cursor}")).await.invalid(&["cursor"]);
        admin.get(format!("/customers?limit=5&sort=name&status=active&cursor={cursor}")).await.invalid(&["cursor"]);
        let other = app.organization("Other").await.admin;
        other.get(format!("/customers?limit=5&sort=name&cursor={cursor}")).await.invalid(&["cursor"]);
    }

    /// The lists that people live in have an index; what has none says so.
    async fn indexes(app: App) {
        let admin = app.organization("Shop").await.admin;
        let group = admin.post("/customers/groups", json!({"name": "Gold"})).await.created();
        customers(&admin).await;
        let owner = admin.id();
        for query in [
            String::new(),
            "sort=created_at".to_owned(),
            "sort=name".to_owned(),
            "sort=-name".to_owned(),
            "sort=-spend".to_owned(),
            "sort=-last_active".to_owned(),
            "sort=last_active".to_owned(),
            "status=active".to_owned(),
            format!("owner_id={owner}"),
            format!("team_id={owner}"),
            "sort=inactive_days".to_owned(),
            "inactive_days[gt]=30&sort=-inactive_days".to_owned(),
            "created_at[gte]=2020-01-01T00:00:00Z".to_owned(),
            "tags=vip".to_owned(),
            format!("group={}", group.id()),
            "email=zoe@example.com".to_owned(),
            "phone=%2B4930123456".to_owned(),
            "deleted=true".to_owned(),
        ] {
            let page = admin.get(format!("/customers?{query}")).await.ok();
            assert!(page["page"].get("slow").is_none(), "{query}: {page}");
        }
    }
}
