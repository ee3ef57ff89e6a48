//! Fields that an organization adds to its customers.

use serde_json::{Value, json};

use crate::support::{App, Organization, on_every_store};

async fn declare(shop: &Organization, field: Value) -> crate::support::Entity {
    shop.admin.post("/customers/fields", field).await.created()
}

async fn customer(shop: &Organization, name: &str, custom: Value) -> crate::support::Entity {
    shop.admin.post("/customers", json!({"name": name, "custom": custom})).await.created()
}

/// A query string of these parameters.
fn query(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// Waits for the background work, which builds indexes.
async fn indexes_are_ready(shop: &Organization) {
    let built = async {
        loop {
            let fields = shop.admin.get("/customers/fields?limit=100").await.ok();
            let fields = fields["data"].as_array().cloned().unwrap_or_default();
            if fields.iter().all(|field| field["indexed"] == false || field["index_state"] == "ready") {
                return;
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), built).await.expect("the indexes are built");
}

on_every_store! {
    /// A field of each type is declared, and at once given, changed, filtered and ordered by, and named in a rule.
    async fn every_type(app: App) {
        let shop = app.organization("Shop").await;
        for field in [
            json!({"key": "city", "type": "text", "rules": {"max_length": 20}}),
            json!({"key": "score", "type": "number", "rules": {"min": 0, "max": 100, "integer": true}}),
            json!({"key": "birthday", "type": "date", "rules": {"before": "now"}}),
            json!({"key": "member", "type": "boolean", "default": false}),
            json!({"key": "tier", "type": "list", "options": ["gold", "silver"], "default": "silver"}),
            json!({"key": "seen", "type": "datetime"}),
            json!({"key": "workEmail", "type": "email"}),
            json!({"key": "work_email", "type": "email"}),
            json!({"key": "work_phone", "type": "phone"}),
            json!({"key": "site", "type": "url"}),
            json!({"key": "likes", "type": "multi_list", "options": ["tea", "coffee", "water"], "rules": {"maxItems": 2}}),
            json!({"key": "budget", "type": "money", "rules": {"min": 0}}),
        ] {
            let camel = field["key"] == "workEmail";
            let answer = shop.admin.post("/customers/fields", field).await;
            if camel {
                answer.invalid(&["key"]);
            } else {
                answer.created();
            }
        }
        let amelie = customer(&shop, "Amélie", json!({
            "city": " Pune ", "score": 42.0, "birthday": "1990-05-17", "member": true, "tier": "gold",
            "seen": "2026-01-31T10:00:00+01:00", "work_email": "A@Example.com", "work_phone": "+91 98765 43210",
            "site": "https://EXAMPLE.com", "likes": ["tea", "water"], "budget": 12.50
        })).await;
        let stored = json!({
            "city": "Pune", "score": 42, "birthday": "1990-05-17", "member": true, "tier": "gold",
            "seen": "2026-01-31T09:00:00.000Z", "work_email": "a@example.com", "work_phone": "+919876543210",
            "site": "https://example.com/", "likes": ["tea", "water"], "budget": 12.5
        });
        assert_eq!(amelie["custom"], stored);
        let ben = customer(&shop, "Ben", json!({"city": "Zürich", "score": 7})).await;
        assert_eq!(ben["custom"], json!({"city": "Zürich", "score": 7, "member": false, "tier": "silver"}));

        for (name, value) in [
            ("custom.city", "Pune"),
            ("custom.city[contains]", "PUN"),
            ("custom.score[gte]", "42"),
            ("custom.birthday[lt]", "1990-05-18"),
            ("custom.member", "true"),
            ("custom.tier[in]", "gold,silver"),
            ("custom.seen", "2026-01-31T09:00:00Z"),
            ("custom.work_email", "a@EXAMPLE.com"),
            ("custom.work_phone", "+91 98765 43210"),
            ("custom.site[exists]", "true"),
            ("custom.likes[contains]", "tea"),
            ("custom.budget[lte]", "12.5"),
        ] {
            let found = shop.admin.get(format!("/customers?{}", query(&[(name, value)]))).await;
            let ids = found.ids();
            found.expect(ids.contains(&amelie.id().to_owned()), "Amélie");
            found.expect(name == "custom.tier[in]" || ids.len() == 1, "nobody else");
        }
        shop.admin.get("/customers?sort=custom.score").await.lists([&ben, &amelie]);
        shop.admin.get("/customers?sort=-custom.city").await.lists([&ben, &amelie]);
        shop.admin.get("/customers?sort=custom.seen").await.lists([&ben, &amelie]);
        let rule = json!({"filter": {"and": [
            {"field": "custom.likes", "op": "contains", "value": "water"},
            {"not": {"field": "custom.budget", "op": ">", "value": 12.5}}
        ]}});
        shop.admin.post("/customers/search", rule).await.lists([&amelie]);

        let patched = shop.admin.patch(&amelie, json!({"custom": {"city": null, "score": 43}})).await.found(&amelie);
        assert_eq!((&patched["custom"]["city"], &patched["custom"]["score"]), (&Value::Null, &json!(43)));
        assert_eq!(patched["custom"]["tier"], "gold");
        let put = shop.admin.put(&amelie, patched.body.clone()).await.found(&amelie);
        assert_eq!(put["custom"], patched["custom"], "what GET gave can be put back");
        let put = shop.admin.put(&amelie, json!({"name": "Amélie", "custom": {"city": "Oslo"}})).await.found(&amelie);
        assert_eq!(put["custom"], json!({"city": "Oslo", "member": false, "tier": "silver"}));
    }

    /// Every wrong value is named, and so is every wrong declaration.
    async fn bad_input(app: App) {
        let shop = app.organization("Shop").await;
        declare(&shop, json!({"key": "city", "type": "text", "required": true, "rules": {"pattern": "^[A-Z]"}})).await;
        declare(&shop, json!({"key": "score", "type": "number", "rules": {"min": 0}})).await;
        declare(&shop, json!({"key": "likes", "type": "multi_list", "options": ["tea"]})).await;
        let wrong = json!({"name": "Ann", "custom": {"city": "pune", "score": -1, "likes": ["tea", "gin"], "size": 1}});
        shop.admin.post("/customers", wrong).await
            .invalid(&["custom.city", "custom.score", "custom.likes[1]", "custom.size"]);
        shop.admin.post("/customers", json!({"name": "Ann"})).await.invalid(&["custom.city"]);
        for (custom, field) in [
            (json!([]), "custom"),
            (json!("x"), "custom"),
            (json!({"city": {"$gt": ""}}), "custom.city"),
            (json!({"city": ["Pune"]}), "custom.city"),
            (json!({"city": "Pune", "score": "1"}), "custom.score"),
            (json!({"city": "Pune\u{0}"}), "custom.city"),
        ] {
            shop.admin.post("/customers", json!({"name": "Ann", "custom": custom})).await.invalid(&[field]);
        }
        let body = r#"{"name":"Ann","custom":{"city":"Pune","score":1e999}}"#;
        let answer = shop.admin.request(reqwest::Method::POST, "/customers").raw("application/json", body).await;
        answer.refused(400, "VALIDATION_ERROR");

        for (field, names) in [
            (json!({}), vec!["key", "type"]),
            (json!({"key": "City", "type": "text"}), vec!["key"]),
            (json!({"key": "a", "type": "colour"}), vec!["type"]),
            (json!({"key": "a", "type": "list"}), vec!["options"]),
            (json!({"key": "a", "type": "list", "options": ["x", "x"]}), vec!["options[1]"]),
            (json!({"key": "a", "type": "text", "options": ["x"], "rules": {"min": 1}}), vec!["options", "rules.min"]),
            (json!({"key": "a", "type": "text", "rules": {"pattern": "(?=x)"}}), vec!["rules.pattern"]),
            (json!({"key": "a", "type": "text", "rules": {"pattern": "x".repeat(1001)}}), vec!["rules.pattern"]),
            (json!({"key": "a", "type": "date", "rules": {"before": "soon"}}), vec!["rules.before"]),
            (json!({"key": "a", "type": "number", "default": 5, "rules": {"max": 4}}), vec!["default"]),
            (json!({"key": "a", "type": "boolean", "unique": true}), vec!["unique"]),
            (json!({"key": "a", "type": "text", "id": "x", "colour": 1}), vec!["id", "colour"]),
            (
                json!({"key": "a", "type": "text", "rules": {"required_if": {"and": [{"field": "spend", "op": ">", "value": "x"}]}}}),
                vec!["rules.required_if.and[0].value"],
            ),
        ] {
            shop.admin.post("/customers/fields", field).await.invalid(&names);
        }
        let taken = shop.admin.post("/customers/fields", json!({"key": "city", "type": "text"})).await;
        taken.refused(409, "DUPLICATE");
        shop.admin.get("/customers/fields?colour=red").await.invalid(&["colour"]);
        shop.admin.get("/customers/fields/nothing").await.refused(404, "NOT_FOUND");
        assert_eq!(shop.admin.get("/customers/fields").await.ids().len(), 3, "nothing wrong was written");
    }

    /// A type changes only where every value converts, and a dry run tells which do not.
    async fn another_type(app: App) {
        let shop = app.organization("Shop").await;
        let field = declare(&shop, json!({"key": "size", "type": "text"})).await;
        let five = customer(&shop, "Five", json!({"size": "5.50"})).await;
        let large = customer(&shop, "Large", json!({"size": "large"})).await;
        let number = json!({"type": "number", "rules": {"min": 0}});
        let trial = shop.admin.put(format!("{field}?dry_run=true"), number.clone()).await.ok();
        assert_eq!((&trial["records"], &trial["failing"]), (&json!(2), &json!(1)));
        assert_eq!(trial["failures"][0]["record_id"], large.id());
        assert_eq!(trial["failures"][0]["value"], "large");
        assert_eq!(trial["field"]["type"], "number");
        shop.admin.put(&field, number.clone()).await.refused(409, "CONFLICT");
        assert_eq!(shop.admin.get(&field).await.ok()["type"], "text");
        shop.admin.patch(&large, json!({"custom": {"size": "52"}})).await.found(&large);
        let changed = shop.admin.put(&field, number).if_match(&field).await.found(&field);
        assert_eq!((&changed["type"], &changed["version"]), (&json!("number"), &changed["version"]));
        shop.admin.put(&field, json!({"type": "text"})).if_match(&field).await.refused(412, "VERSION_CONFLICT");
        assert_eq!(shop.admin.get(&five).await.ok()["custom"]["size"], 5.5);
        let found = shop.admin.get(format!("/customers?{}", query(&[("custom.size[gt]", "5"), ("sort", "custom.size")]))).await;
        found.lists([&five, &large]);
        shop.admin.patch(&five, json!({"custom": {"size": "x"}})).await.invalid(&["custom.size"]);
        let jobs = shop.admin.get(format!("/jobs?record_id={}", field.id())).await.ok();
        let job = &jobs["data"][0];
        assert_eq!((&job["kind"], &job["state"]), (&json!("custom_field_work"), &json!("succeeded")), "{jobs}");
        assert_eq!((&job["progress"]["done"], &job["created_by_type"]), (&json!(2), &json!("system")));
    }

    /// An archived field is out of sight with its values, comes back with them, and is gone for good once purged.
    async fn archive_and_purge(app: App) {
        let shop = app.organization("Shop").await;
        let size = declare(&shop, json!({"key": "size", "type": "text"})).await;
        let city = declare(&shop, json!({"key": "city", "type": "text"})).await;
        let ann = customer(&shop, "Ann", json!({"size": "xl", "city": "Pune"})).await;
        shop.admin.delete(&size).await.no_content();
        assert_eq!(shop.admin.get(&ann).await.ok()["custom"], json!({"city": "Pune"}));
        shop.admin.get("/customers/fields").await.lists([&city]);
        shop.admin.get("/customers/fields?archived=true").await.lists([&size]);
        shop.admin.patch(&ann, json!({"custom": {"size": "s"}})).await.invalid(&["custom.size"]);
        shop.admin.get("/customers?custom.size=xl").await.invalid(&["custom.size"]);
        shop.admin.post("/customers/fields", json!({"key": "size", "type": "date"})).await.refused(409, "DUPLICATE");
        shop.admin.put(&ann, json!({"name": "Ann", "custom": {"city": "Oslo"}})).await.found(&ann);

        let archived = shop.admin.get(&size).await.found(&size);
        let mut back = archived.body.clone();
        back["archived"] = json!(false);
        shop.admin.put(&size, back).if_match(&archived).await.found(&size);
        assert_eq!(shop.admin.get(&ann).await.ok()["custom"], json!({"city": "Oslo", "size": "xl"}));

        shop.admin.delete(format!("{size}?purge=true")).await.no_content();
        shop.admin.get(&size).await.refused(404, "NOT_FOUND");
        assert_eq!(shop.admin.get(&ann).await.ok()["custom"], json!({"city": "Oslo"}));
        declare(&shop, json!({"key": "size", "type": "date"})).await;
        assert_eq!(shop.admin.get(&ann).await.ok()["custom"], json!({"city": "Oslo"}), "nothing is left of the old values");
    }

    /// Of two who want the same membership number at the same moment, one gets it.
    async fn unique(app: App) {
        let shop = app.organization("Shop").await;
        declare(&shop, json!({"key": "card", "type": "text", "unique": true})).await;
        let tries = (0..10).map(|number| {
            let body = json!({"name": format!("Customer {number}"), "custom": {"card": "A1"}});
            shop.admin.post("/customers", body).into_future()
        });
        let answers = futures::future::join_all(tries).await;
        let created: Vec<_> = answers.iter().filter(|answer| answer.status == 201).collect();
        assert_eq!(created.len(), 1);
        let winner = created[0].created();
        for answer in answers.iter().filter(|answer| answer.status != 201) {
            let body = answer.refused(409, "DUPLICATE");
            answer.expect(body["errors"][0]["field"].as_str().is_none_or(|field| field.contains("card")), "the field");
        }
        let other = customer(&shop, "Other", json!({"card": "A2"})).await;
        shop.admin.patch(&other, json!({"custom": {"card": "A1"}})).await.refused(409, "DUPLICATE");
        shop.admin.delete(&winner).await.no_content();
        shop.admin.patch(&other, json!({"custom": {"card": "A1"}})).await.found(&other);
        shop.admin.post(format!("{winner}/restore"), json!({})).await.refused(409, "DUPLICATE");
        // Another organization has numbers of its own.
        let elsewhere = app.organization("Elsewhere").await;
        declare(&elsewhere, json!({"key": "card", "type": "text", "unique": true})).await;
        customer(&elsewhere, "Same number", json!({"card": "A1"})).await;
    }

    /// A value is required only where a rule over the customer says so.
    async fn required_if(app: App) {
        let shop = app.organization("Shop").await;
        let rule = json!({"and": [
            {"field": "type", "op": "==", "value": "wholesale"}, {"field": "spend", "op": ">", "value": 100}
        ]});
        let old = shop.admin.post("/customers", json!({"name": "Old", "type": "wholesale", "spend": 500})).await.created();
        declare(&shop, json!({"key": "tax_number", "type": "text", "rules": {"required_if": rule}})).await;
        let new = |spend: i64, custom: Value| json!({"name": "New", "type": "wholesale", "spend": spend, "custom": custom});
        shop.admin.post("/customers", new(100, json!({}))).await.created();
        shop.admin.post("/customers", new(101, json!({}))).await.invalid(&["custom.tax_number"]);
        let ann = shop.admin.post("/customers", new(101, json!({"tax_number": "T1"}))).await.created();
        shop.admin.patch(&ann, json!({"custom": {"tax_number": null}})).await.invalid(&["custom.tax_number"]);
        shop.admin.patch(&ann, json!({"type": "regular", "custom": {"tax_number": null}})).await.found(&ann);
        shop.admin.patch(&ann, json!({"type": "wholesale"})).await.invalid(&["custom.tax_number"]);
        shop.admin.patch(&old, json!({"name": "Older"})).await.found(&old);
    }

    /// Staff read fields, Admins change them, and nobody sees those of another organization.
    async fn who(app: App) {
        let shop = app.organization("Shop").await;
        let field = declare(&shop, json!({"key": "size", "type": "text", "unique": true})).await;
        let agent = shop.colleague("Agent").await;
        agent.get("/customers/fields").await.lists([&field]);
        agent.get(&field).await.found(&field);
        agent.post("/customers/fields", json!({"key": "b", "type": "text"})).await.refused(403, "FORBIDDEN");
        agent.put(&field, json!({"type": "text"})).await.refused(403, "FORBIDDEN");
        agent.delete(&field).await.refused(403, "FORBIDDEN");
        app.anonymous.get("/customers/fields").await.refused(401, "UNAUTHENTICATED");
        let elsewhere = app.organization("Elsewhere").await;
        assert_eq!(elsewhere.admin.get("/customers/fields").await.ids(), [""; 0]);
        elsewhere.admin.get(&field).await.refused(404, "NOT_FOUND");
        elsewhere.admin.put(&field, json!({"type": "text"})).await.refused(404, "NOT_FOUND");
        elsewhere.admin.delete(format!("{field}?purge=true")).await.refused(404, "NOT_FOUND");
        shop.admin.get(&field).await.found(&field);
    }

    /// An index is built beside running work, and its state is told.
    async fn index(app: App) {
        let shop = app.organization("Shop").await;
        let field = declare(&shop, json!({"key": "city", "type": "text", "indexed": true})).await;
        let ann = customer(&shop, "Ann", json!({"city": "Pune"})).await;
        shop.admin.get("/customers?custom.city=Pune").await.lists([&ann]);
        indexes_are_ready(&shop).await;
        assert_eq!(shop.admin.get(&field).await.ok()["index_state"], "ready");
        customer(&shop, "Ben", json!({"city": "Oslo"})).await;
        shop.admin.get("/customers?custom.city=Pune&sort=custom.city").await.lists([&ann]);
        let dropped = shop.admin.put(&field, json!({"type": "text", "indexed": false})).await.ok();
        assert_eq!(dropped["index_state"], "none");
        shop.admin.get("/customers?custom.city=Pune").await.lists([&ann]);
    }

    /// National telephone numbers are read with the organization's country.
    async fn national_numbers(app: App) {
        let shop = app.organization("Shop").await;
        let field = declare(&shop, json!({"key": "home", "type": "text"})).await;
        let ann = customer(&shop, "Ann", json!({"home": "098765 43210"})).await;
        shop.admin.put(&field, json!({"type": "phone"})).await.refused(409, "CONFLICT");
        shop.admin.put("/admin/organization", json!({"country": "IN"})).await.ok();
        shop.admin.put(&field, json!({"type": "phone"})).await.found(&field);
        assert_eq!(shop.admin.get(&ann).await.ok()["custom"]["home"], "+919876543210");
        let found = shop.admin.get(format!("/customers?{}", query(&[("custom.home", "98765-43210")]))).await;
        found.lists([&ann]);
    }

    /// Fields of every type can have an index, and are found by it.
    async fn index_of_every_type(app: App) {
        let shop = app.organization("Shop").await;
        let values = [
            ("text", json!("Pune")),
            ("number", json!(4.5)),
            ("date", json!("1990-05-17")),
            ("boolean", json!(true)),
            ("list", json!("gold")),
            ("datetime", json!("2026-01-31T09:00:00.000Z")),
            ("email", json!("a@example.com")),
            ("phone", json!("+919876543210")),
            ("url", json!("https://example.com/")),
            ("multi_list", json!(["gold"])),
            ("money", json!(12.5)),
        ];
        let mut custom = json!({});
        for (kind, value) in &values {
            let mut field = json!({"key": format!("a_{kind}"), "type": kind, "indexed": true});
            if kind.ends_with("list") {
                field["options"] = json!(["gold", "silver"]);
            }
            declare(&shop, field).await;
            custom[format!("a_{kind}")] = value.clone();
        }
        customer(&shop, "Nobody", json!({})).await;
        let ann = customer(&shop, "Ann", custom.clone()).await;
        indexes_are_ready(&shop).await;
        for (kind, value) in &values {
            let name = if *kind == "multi_list" { "custom.a_multi_list[contains]".to_owned() } else { format!("custom.a_{kind}") };
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let value = value.trim_matches(['[', ']', '"']);
            shop.admin.get(format!("/customers?{}", query(&[(&name, value)]))).await.lists([&ann]);
        }
        assert_eq!(shop.admin.get(&ann).await.ok()["custom"], custom);
    }
}
