//! What customers buy, and what it does to their figures.

use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};

use crate::support::{App, Client, SERVICE_KEY, on_every_store};

/// The figures of a customer that orders move.
async fn figures(client: &Client, customer: &str) -> Value {
    let found = client.get(format!("/customers/{customer}")).await.ok();
    let names = ["spend", "visits", "total_orders", "total_order_value", "last_order_date", "last_active"];
    names.into_iter().map(|name| (name.to_owned(), found[name].clone())).collect::<serde_json::Map<_, _>>().into()
}

on_every_store! {
    /// An order is taken in, sent again, changed and called off; the customer's figures follow each step.
    async fn orders_move_figures(app: App) {
        let shop = app.organization("Shop").await;
        let ann = json!({"name": "Ann", "opening_spend": 100.5, "opening_visits": 3, "last_active": "2025-01-01T00:00:00Z"});
        let ann = shop.admin.post("/customers", ann).await.created();
        let order = json!({
            "customer_id": ann.id(), "externalId": "SHOP-1", "status": "paid", "date": "2025-03-01T10:00:00Z",
            "items": [{"sku": "MUG-1", "name": "Mug", "qty": 3, "price": 19.99}, {"name": "Off", "price": -0.97}],
            "metadata": {"source": "web"},
        });
        let first = shop.admin.post("/orders", order.clone()).await.created();
        assert_eq!((&first["amount"], &first["items"][0]["price"], &first["version"]), (&json!(59), &json!(19.99), &json!(1)));
        assert_eq!(shop.admin.get(&first).await.ok(), first.body);
        let moved = json!({
            "spend": 159.5, "visits": 4, "total_orders": 1, "total_order_value": 59,
            "last_order_date": "2025-03-01T10:00:00.000Z", "last_active": "2025-03-01T10:00:00.000Z",
        });
        assert_eq!(figures(&shop.admin, ann.id()).await, moved);

        let again = shop.admin.post("/orders", order.clone()).await.found(&first);
        assert_eq!(again.body, first.body, "sent again, it is the same order");
        let differs = json!({"customer_id": ann.id(), "external_id": "SHOP-1", "amount": 60});
        let refused = shop.admin.post("/orders", differs).await.refused(409, "CONFLICT");
        assert!(refused["message"].as_str().expect("a message").contains("amount is 59, not 60"));
        let mut unequal = order.clone();
        unequal["amount"] = json!(60);
        let refused = shop.admin.post("/orders", unequal).await.invalid(&["amount"]);
        assert!(refused["errors"][0]["message"].as_str().expect("a message").contains("is 60, but the items come to 59"));
        assert_eq!(figures(&shop.admin, ann.id()).await, moved);

        let second = json!({"customer_id": ann.id(), "amount": 10, "date": "2025-06-01T00:00:00Z"});
        let second = shop.admin.post("/orders", second).await.created();
        let list = shop.admin.get(format!("/orders?customer_id={}&include=customer", ann.id())).await;
        let list = list.lists([&second, &first]);
        assert_eq!(list["data"][0]["customer"]["name"], "Ann");
        shop.admin.get("/orders?search=shop-1").await.lists([&first]);
        shop.admin.get("/orders?status=paid&amount[gte]=59&fields=id").await.lists([&first]);
        shop.admin.post("/orders/search", json!({"sort": "date", "limit": 1})).await.lists([&first]);
        shop.admin.get("/orders?include=cart").await.invalid(&["include"]);

        let cheaper = json!({"items": [{"name": "Mug", "qty": 2, "price": 20}]});
        let changed = shop.admin.patch(&first, cheaper).if_match(&first).await.found(&first);
        assert_eq!((&changed["amount"], &changed["external_id"], &changed["version"]), (&json!(40), &json!("SHOP-1"), &json!(2)));
        shop.admin.patch(&first, json!({"amount": 3})).await.invalid(&["amount"]);
        shop.admin.patch(&first, json!({"status": "paid"})).if_match(&first).await.refused(412, "VERSION_CONFLICT");
        shop.admin.patch(&second, json!({"status": "cancelled"})).await.found(&second);
        let back = json!({
            "spend": 140.5, "visits": 4, "total_orders": 1, "total_order_value": 40,
            "last_order_date": "2025-03-01T10:00:00.000Z", "last_active": "2025-03-01T10:00:00.000Z",
        });
        assert_eq!(figures(&shop.admin, ann.id()).await, back);
        shop.admin.patch(&first, json!({"status": "refunded"})).await.found(&first);
        let none = json!({
            "spend": 100.5, "visits": 3, "total_orders": 0, "total_order_value": 0, "last_order_date": null,
            "last_active": "2025-01-01T00:00:00.000Z",
        });
        assert_eq!(figures(&shop.admin, ann.id()).await, none);
        assert_eq!(shop.admin.get("/audit?action=order.cancelled").await.ids().len(), 1);

        let put = shop.admin.get(format!("/customers/{}", ann.id())).await.ok();
        shop.admin.put(format!("/customers/{}", ann.id()), put).await.expect_status(200);
        shop.admin.delete(format!("/customers/{}", ann.id())).await.no_content();
        shop.admin.patch(&first, json!({"status": "paid"})).await.refused(409, "INVALID_STATE");
        shop.admin.post("/orders", json!({"customer_id": ann.id(), "amount": 1})).await.refused(409, "INVALID_STATE");
        shop.admin.delete(format!("/customers/{}?hard=true", ann.id())).await.no_content();
        shop.admin.get(&first).await.refused(404, "NOT_FOUND");
        shop.admin.get("/orders").await.lists([]);
    }

    /// Fifty orders of one customer at once all count, as do many in a batch, some of them twice.
    async fn many_at_once(app: App) {
        let shop = app.organization("Shop").await;
        let ann = shop.admin.post("/customers", json!({"name": "Ann"})).await.created();
        let one = |number: usize| {
            json!({
                "customer_id": ann.id(), "external_id": format!("S-{}", number % 45), "amount": 1.25,
                "date": format!("2025-01-{:02}T00:00:00Z", 1 + (number % 45) % 28),
            })
        };
        let answers = join_all((0..50).map(|number| shop.admin.post("/orders", one(number)).into_future())).await;
        let created = answers.iter().filter(|answer| answer.status == 201).count();
        for answer in &answers {
            answer.expect(answer.status == 201 || answer.status == 200, "taken in, or there already");
        }
        assert_eq!(created, 45);
        let expected = json!({
            "spend": 56.25, "visits": 45, "total_orders": 45, "total_order_value": 56.25,
            "last_order_date": "2025-01-28T00:00:00.000Z", "last_active": "2025-01-28T00:00:00.000Z",
        });
        assert_eq!(figures(&shop.admin, ann.id()).await, expected);

        let lee = shop.admin.post("/customers", json!({"name": "Lee"})).await.created();
        let mut items: Vec<Value> = (40..150).map(|number| json!({"customer_id": if number < 45 { ann.id() } else { lee.id() },
            "external_id": format!("S-{number}"), "amount": 1.25})).collect();
        items.push(json!({"customer_id": lee.id(), "amount": -1}));
        items.push(json!({"customer_id": app.crm.new_id::<crm_core::id::CustomerId>(), "amount": 1}));
        let report = shop.admin.post("/orders/batch", json!({"items": items})).await.ok();
        let told = ["matched", "created", "unchanged", "failed"].map(|name| report[name].as_u64().expect("a number"));
        assert_eq!(told, [112, 105, 5, 2], "{report}");
        assert_eq!(report["results"][110]["error"]["code"], "VALIDATION_ERROR");
        assert_eq!(report["results"][111]["error"]["code"], "NOT_FOUND");
        assert_eq!(figures(&shop.admin, ann.id()).await, expected);
        assert_eq!(figures(&shop.admin, lee.id()).await["total_orders"], 105);
        shop.admin.post("/orders/batch", json!([])).await.invalid(&["body"]);
    }

    /// Staff see the orders of their customers, a service takes orders in, others see nothing.
    async fn who_sees_orders(app: App) {
        let shop = app.staffed("Shop").await;
        let service = app.anonymous.with("x-api-key", SERVICE_KEY).with("x-organization-id", shop.organization.id().await);
        let ann = shop.agent.post("/customers", json!({"name": "Ann"})).await.created();
        let lee = shop.admin.post("/customers", json!({"name": "Lee"})).await.created();
        let order = json!({"customer_id": ann.id(), "external_id": "A", "amount": 5});
        let order = service.post("/orders", order).await.created();
        let hidden = service.post("/orders", json!({"customer_id": lee.id(), "external_id": "L", "amount": 5})).await.created();
        shop.agent.get("/orders").await.lists([&order]);
        shop.agent.get(&hidden).await.refused(404, "NOT_FOUND");
        shop.agent.patch(&hidden, json!({"status": "paid"})).await.refused(404, "NOT_FOUND");
        shop.agent.post("/orders", json!({"customer_id": lee.id(), "amount": 1})).await.refused(404, "NOT_FOUND");
        shop.agent.post("/orders", json!({"customer_id": ann.id(), "external_id": "L", "amount": 5})).await.refused(409, "DUPLICATE");
        assert_eq!(shop.qa.get("/orders").await.ids().len(), 2);
        shop.qa.patch(&order, json!({"status": "paid"})).await.refused(403, "FORBIDDEN");
        shop.customer.get("/orders").await.refused(403, "FORBIDDEN");

        // Orders follow who looks after their customer.
        shop.admin.patch(format!("/customers/{}", ann.id()), json!({"owner_id": null, "team_id": null})).await.expect_status(200);
        shop.agent.get("/orders").await.lists([]);
        shop.admin.patch(format!("/customers/{}", lee.id()), json!({"owner_id": shop.agent.id()})).await.expect_status(200);
        shop.agent.get("/orders").await.lists([&hidden]);

        let other = app.organization("Other").await;
        other.admin.get(&order).await.refused(404, "NOT_FOUND");
        other.admin.get("/orders").await.lists([]);
        other.admin.patch(&order, json!({"status": "paid"})).await.refused(404, "NOT_FOUND");
        other.admin.post("/orders", json!({"customer_id": ann.id(), "amount": 1})).await.refused(404, "NOT_FOUND");
    }

    /// A job takes an order in that nobody waits for; what is wrong with it is told at once.
    async fn orders_taken_in_later(app: App) {
        let shop = app.organization("Shop").await;
        let ann = shop.admin.post("/customers", json!({"name": "Ann"})).await.created();
        shop.admin.post("/orders?async=true", json!({"customer_id": ann.id()})).await.invalid(&["amount"]);
        let order = json!({"customer_id": ann.id(), "external_id": "A", "amount": 0.0001});
        let mut jobs = Vec::new();
        for _ in 0..2 {
            let answer = shop.admin.post("/orders?async=true", order.clone()).await;
            answer.expect_status(202);
            jobs.push(answer.header("location").to_owned());
        }
        for job in jobs {
            let ended = ended(&shop.admin, &job).await;
            assert_eq!(ended["state"], "succeeded", "{ended}");
            let found = shop.admin.get(format!("/orders/{}", ended["result"]["order_id"].as_str().expect("an id"))).await.ok();
            assert_eq!((&found["external_id"], &found["amount"]), (&json!("A"), &json!(0.0001)));
        }
        assert_eq!(figures(&shop.admin, ann.id()).await["total_orders"], 1);
    }
}

/// The job once it has ended.
async fn ended(client: &Client, job: &str) -> Value {
    let begun = std::time::Instant::now();
    loop {
        let found = client.get(job).await.ok();
        if !["queued", "running"].contains(&found["state"].as_str().expect("a state")) {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "the job goes on and on: {found}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
