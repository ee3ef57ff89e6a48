//! What customers come to, what services tell of it, and whether it is right.

use crm_core::{
    customer::Customer,
    id::CustomerId,
    job::runner,
    record::Record as _,
    store::{Change, Scope},
};
use serde_json::json;

use crate::support::{App, SERVICE_KEY, on_every_store};

on_every_store! {
    /// Staff look at what a customer comes to, customers at what they themselves do.
    async fn what_customers_come_to(app: App) {
        let shop = app.staffed("Shop").await;
        let ann = json!({"name": "Ann", "owner_id": shop.agent.id(), "opening_spend": 50, "opening_visits": 4});
        let ann = shop.admin.post("/customers", ann).await.created();
        let path = format!("{ann}/statistics");
        let fresh = shop.agent.get(&path).await.ok();
        let told = ["average_order_value", "first_order_date", "rfm"].map(|name| fresh[name].clone());
        assert_eq!(told, [json!(null), json!(null), json!(null)]);
        let now = app.crm.now();
        for (amount, days, status) in [(10, 200, "paid"), (5, 100, "paid"), (99, 300, "cancelled"), (5, 1, "placed")] {
            let date = now.minus(std::time::Duration::from_hours(24 * days)).to_string();
            let order = json!({"customer_id": ann.id(), "amount": amount, "date": date, "status": status});
            shop.admin.post("/orders", order).await.created();
        }
        let found = shop.agent.get(&path).await.ok();
        assert_eq!((&found["total_orders"], &found["total_order_value"], &found["average_order_value"]),
            (&json!(3), &json!(20), &json!(6.6667)));
        assert_eq!(found["first_order_date"], json!(now.minus(std::time::Duration::from_hours(4800)).to_string()));
        let rfm = json!({"recency_days": 1, "frequency": 7, "monetary": 70, "recency_score": 5, "frequency_score": 3,
            "monetary_score": 5, "score": "535"});
        assert_eq!(found["rfm"], rfm, "quintiles are those of a moment ago, when less was spent");

        shop.customer.get("/customers/me/statistics").await.refused(404, "NOT_FOUND");
        shop.admin.patch(&ann, json!({"user_id": shop.customer.id()})).await.expect_status(200);
        let own = shop.customer.get("/customers/me/statistics").await.ok();
        assert_eq!((&own["total_orders"], own.get("rfm")), (&json!(3), None));
        shop.customer.get(&path).await.refused(403, "FORBIDDEN");
        shop.agent.get("/customers/me/statistics").await.refused(403, "FORBIDDEN");
        app.organization("Other").await.admin.get(&path).await.refused(404, "NOT_FOUND");
    }

    /// A service tells of who signed up with it, and of the orders that it keeps itself.
    async fn what_services_tell(app: App) {
        let shop = app.organization("Shop").await;
        let service = app.anonymous.with("x-api-key", SERVICE_KEY).with("x-organization-id", shop.id().await);
        let login = app.crm.new_id::<crm_core::id::UserId>().to_string();
        let told = json!({"user_id": login, "full_name": "Ann", "email": "ann@example.com", "contact_number": "+33142685300"});
        shop.admin.post("/customers/internal/create", told.clone()).await.refused(403, "FORBIDDEN");
        service.post("/customers/internal/create", json!({"full_name": "Ann", "age": 3})).await.invalid(&["user_id", "age"]);
        let ann = service.post("/customers/internal/create?profile=retail", told.clone()).await.created();
        assert_eq!((&ann["full_name"], &ann["user_id"]), (&json!("Ann"), &json!(login)));
        let again = service.post("/customers/internal/create", told).await.found(&ann);
        assert_eq!(again.id(), ann.id());
        let same_mail = json!({"user_id": app.crm.new_id::<crm_core::id::UserId>(), "full_name": "Lee", "email": "ann@example.com"});
        service.post("/customers/internal/create", same_mail).await.refused(409, "DUPLICATE");
        let path = format!("/customers/internal/user/{login}");
        assert_eq!(service.get(&path).await.ok()["id"], json!(ann.id()));
        shop.admin.get(&path).await.refused(403, "FORBIDDEN");
        service.get(format!("/customers/internal/user/{}", ann.id())).await.refused(404, "NOT_FOUND");

        shop.admin.post("/orders", json!({"customer_id": ann.id(), "amount": 5, "date": "2025-01-01T00:00:00Z"})).await.created();
        let figures = format!("/customers/internal/{}/statistics", ann.id());
        let change = json!({"increment": {"total_orders": 2, "total_order_value": 20.5, "spend": 20.5},
            "set": {"last_order_date": "2025-02-01T00:00:00Z"}});
        let moved = service.patch(&figures, change).await.ok();
        assert_eq!((&moved["total_orders"], &moved["total_order_value"], &moved["spend"], &moved["visits"]),
            (&json!(3), &json!(25.5), &json!(25.5), &json!(1)));
        assert_eq!((&moved["last_order_date"], &moved["last_active"]),
            (&json!("2025-02-01T00:00:00.000Z"), &json!("2025-02-01T00:00:00.000Z")));
        let one = || service.patch(&figures, json!({"increment": {"visits": 1}})).into_future();
        for answer in futures::future::join_all((0..8).map(|_| one())).await {
            answer.expect_status(200);
        }
        assert_eq!(shop.admin.get(&ann).await.ok()["visits"], 9);
        service.patch(&figures, json!({"spend": 4})).await.invalid(&["spend"]);
        shop.admin.patch(&figures, json!({"spend": 4})).await.refused(403, "FORBIDDEN");
    }

    /// Figures that are wrong are found by a job, and put right where that is asked for.
    async fn figures_are_verified(setup: Setup) {
        let app = App::start(setup.without_background()).await;
        let shop = app.organization("Shop").await;
        let (ann, lee) = (
            shop.admin.post("/customers", json!({"name": "Ann", "opening_spend": 10})).await.created(),
            shop.admin.post("/customers", json!({"name": "Lee"})).await.created(),
        );
        for customer in [&ann, &lee] {
            shop.admin.post("/orders", json!({"customer_id": customer.id(), "amount": 5})).await.created();
        }
        let right = shop.admin.get(&ann).await.ok();
        let spoil = Change::Update {
            collection: Customer::COLLECTION,
            id: ann.id().parse::<CustomerId>().expect("an id").0,
            expected_version: None,
            condition: None,
            assignments: vec![Customer::total_orders.set(7_i64), Customer::last_order_date.set(None)],
        };
        let organization = shop.id().await.parse().expect("an id");
        app.crm.store().commit(Scope::Organization(organization), vec![spoil]).await.expect("committed");

        shop.colleague("Agent").await.post("/customers/statistics/verify", json!({})).await.refused(403, "FORBIDDEN");
        for (path, drifted, repaired) in [("", 1, 0), ("?repair=true", 1, 1), ("?repair=true", 0, 0)] {
            let answer = shop.admin.post(format!("/customers/statistics/verify{path}"), json!({})).await;
            answer.expect_status(202);
            runner::run_due(&app.crm).await.expect("ran");
            let job = shop.admin.get(answer.header("location")).await.ok();
            let result = &job["result"];
            assert_eq!((&result["customers"], &result["drifted"], &result["repaired"]),
                (&json!(2), &json!(drifted), &json!(repaired)), "{job}");
            if drifted > 0 {
                let expected = json!([{"customer_id": ann.id(), "figures": {
                    "total_orders": {"stored": 7, "expected": 1},
                    "last_order_date": {"stored": null, "expected": right["last_order_date"]},
                }}]);
                assert_eq!(result["drift"], expected);
            }
        }
        let after = shop.admin.get(&ann).await.ok();
        assert_eq!((&after["total_orders"], &after["last_order_date"]), (&json!(1), &right["last_order_date"]));
    }
}
