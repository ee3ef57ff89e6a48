//! Imports that are taken back.

use serde_json::json;

use crate::support::{App, Form, on_every_store};

on_every_store! {
    /// Whom an import made goes into the bin, what it changed becomes what it was, and what others did since stays.
    async fn an_import_is_taken_back(app: App) {
        let shop = app.organization("Shop").await;
        shop.admin.post("/customers/fields", json!({"key": "city", "label": "City", "type": "text"})).await.created();
        let old = shop.admin.post("/customers", json!({
            "name": "Old", "email": "old@example.com", "phone": "+919876543210", "tags": ["a"], "spend": 12.5,
            "custom": {"city": "Pune"}, "consent": {"sms": true}, "metadata": {"k": 1},
        })).await.created();
        let mixed = shop.admin.post("/customers", json!({"name": "Mixed", "email": "mixed@example.com"})).await.created();
        let file = "name,email,phone,tags,spend,city,consent.sms\n\
                    New,new@example.com,,,,,\n\
                    Touched,touched@example.com,,,,,\n\
                    Gone,gone@example.com,,,,,\n\
                    Older,old@example.com,+919876500000,b;c,99,Goa,no\n\
                    Mixed up,mixed@example.com,,x,5,,\n";
        let import = shop.admin.import(Form::default().file("a.csv", file).field("upsert_key", "email")).await;
        assert_eq!((&import["created"], &import["updated"]), (&json!(3), &json!(2)));
        let of = async |name: &str| shop.admin.get(format!("/customers?search={name}")).await.ok()["data"][0].clone();
        let (touched, gone) = (of("touched").await, of("gone").await);
        shop.admin.patch(format!("/customers/{}", touched["id"].as_str().expect("an id")), json!({"visits": 3})).await.ok();
        shop.admin.delete(format!("/customers/{}", gone["id"].as_str().expect("an id"))).await.no_content();
        shop.admin.patch(&mixed, json!({"name": "Mixed by hand"})).await.ok();

        let answer = shop.admin.post(format!("{import}/revert"), json!({})).await;
        answer.expect_status(202);
        let reverted = shop.admin.until(&import, |body| body["state"] == "reverted").await;
        assert_eq!(reverted["reverted"], json!({"deleted": 1, "restored": 2, "kept": 2}));
        let now = shop.admin.get(&old).await.ok();
        for field in ["name", "email", "phone", "tags", "spend", "custom", "consent", "metadata"] {
            assert_eq!(now[field], old[field], "{field}");
        }
        let mixed = shop.admin.get(&mixed).await.ok();
        assert_eq!((&mixed["name"], &mixed["tags"], &mixed["spend"]), (&json!("Mixed by hand"), &json!([]), &json!(0)));
        assert_eq!(shop.admin.get("/customers?search=new%40example.com").await.ok()["page"]["fuzzy"], json!(null));
        shop.admin.get("/customers?email=new@example.com").await.lists([]);
        assert_eq!(of("touched").await["visits"], 3);
        assert_eq!(shop.admin.get("/customers?deleted=true&count=true").await.ok()["page"]["total"], 2);
        shop.admin.post("/customers", json!({"name": "Again", "email": "new@example.com", "phone": "+919876500000"})).await.created();
        shop.admin.post(format!("{import}/revert"), json!({})).await.refused(409, "INVALID_STATE");
        assert_eq!(shop.admin.get("/audit?action=customers.import_reverted&count=true").await.ok()["page"]["total"], 1);
    }

    /// With force, whom an import made goes whatever happened since; a customer whom two parts touched comes back whole.
    async fn force_and_parts(app: App) {
        let shop = app.organization("Shop").await;
        let ann = shop.admin.post("/customers", json!({"name": "Ann", "email": "ann@example.com", "visits": 1})).await.created();
        let mut file = "name,email,visits\nAnn 1,ann@example.com,2\n".to_owned();
        for row in 0..600 {
            file.push_str(&format!("User {row},u{row}@example.com,\n"));
        }
        file.push_str("Ann 2,ann@example.com,3\nUser nil,u0@example.com,9\n");
        let import = shop.admin.import(Form::default().file("a.csv", file).field("upsert_key", "email")).await;
        assert_eq!((&import["created"], &import["updated"], &import["failed"]), (&json!(600), &json!(3), &json!(0)));
        let one = shop.admin.get("/customers?email=u5@example.com").await.ok()["data"][0]["id"].clone();
        shop.admin.patch(format!("/customers/{}", one.as_str().expect("an id")), json!({"visits": 1})).await.ok();
        shop.admin.post(format!("{import}/revert?force=true"), json!({})).await.expect_status(202);
        let reverted = shop.admin.until(&import, |body| body["state"] == "reverted").await;
        assert_eq!(reverted["reverted"], json!({"deleted": 600, "restored": 3, "kept": 0}));
        let now = shop.admin.get(&ann).await.ok();
        assert_eq!((&now["name"], &now["visits"]), (&json!("Ann"), &json!(1)));
        assert_eq!(shop.admin.get("/customers?count=true").await.ok()["page"]["total"], 1);
    }

    /// Taking back needs the right to delete.
    async fn who_may_take_back(app: App) {
        let staff = app.staffed("Shop").await;
        let import = staff.admin.import(Form::default().file("a.csv", "name\nAnn\n")).await;
        let key = staff.admin.post("/api-keys", json!({"name": "k", "permissions": ["customers:import", "customers:write", "jobs:manage"]})).await;
        key.expect_status(201);
        let service = app.anonymous.with("x-api-key", key.json()["key"].as_str().expect("a key"));
        service.get(&import).await.ok();
        service.post(format!("{import}/revert"), json!({})).await.refused(403, "FORBIDDEN");
        staff.agent.post(format!("{import}/revert"), json!({})).await.refused(404, "NOT_FOUND");
    }
}
