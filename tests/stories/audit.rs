//! The audit trail over HTTP.

use crm_core::audit::sealer;
use serde_json::{Value, json};

use crate::support::{App, on_every_store};

on_every_store! {
    /// An Admin finds out who changed a customer, from what to what, and by which request; the chain holds.
    async fn the_trail_tells_who_did_what(app: App) {
        let shop = app.organization("Shop").await;
        let customer = shop.admin.post("/customers", json!({"name": "Ravi Kumar", "tags": ["new"]})).await.created();
        let renamed = shop.admin.patch(&customer, json!({"name": "Ravi K."})).header("x-request-id", "rename-1").await;
        renamed.expect_status(200);
        shop.admin.delete(&customer).await.expect_status(204);

        let entries = shop.admin.get(format!("/audit?record_id={}", customer.id())).await.ok();
        let actions: Vec<&str> = entries["data"].as_array().expect("a list").iter().filter_map(|entry| entry["action"].as_str()).collect();
        assert_eq!(actions, ["customer.deleted", "customer.updated", "customer.created"], "newest first: {entries}");
        let update = &entries["data"][1];
        assert_eq!((&update["before"]["name"], &update["after"]["name"]), (&json!("Ravi Kumar"), &json!("Ravi K.")));
        assert_eq!((&update["request_id"], &update["actor_type"]), (&json!("rename-1"), &json!("user")));
        assert!(update["ip"].as_str().is_some_and(|ip| ip.starts_with("127.")), "{update}");
        shop.admin.get(format!("/audit/{}", update["id"].as_str().expect("an id"))).await.ok();

        let of_request = shop.admin.get("/audit?request_id=rename-1&fields=action,actor_id").await.ok();
        assert_eq!(of_request["data"].as_array().map(Vec::len), Some(1), "{of_request}");
        assert_eq!(of_request["data"][0].as_object().map(serde_json::Map::len), Some(2), "{of_request}");

        sealer::seal_all(&app.crm, &mut sealer::Heads::default()).await.expect("sealed");
        let sealed = shop.admin.get("/audit/verify").await.ok();
        assert_eq!((&sealed["intact"], &sealed["unsealed"]), (&json!(true), &json!(0)));
        assert!(sealed["sealed_up_to"].as_i64() >= Some(3), "{sealed}");
        let last = shop.admin.get("/audit?sort=-sequence&limit=1").await.ok();
        assert_eq!(last["data"][0]["hash"], sealed["head_hash"], "the chain's end is the last entry's");
    }

    /// Only those who may read the trail do, and each organization has its own.
    async fn the_trail_is_private(app: App) {
        let (shop, bank) = (app.staffed("Shop").await, app.organization("Bank").await);
        let customer = shop.admin.post("/customers", json!({"name": "Ravi Kumar"})).await.created();
        for somebody in [&shop.agent, &shop.customer] {
            somebody.get("/audit").await.refused(403, "FORBIDDEN");
            somebody.get("/audit/verify").await.refused(403, "FORBIDDEN");
        }
        app.anonymous.get("/audit").await.refused(401, "UNAUTHENTICATED");
        let foreign = bank.admin.get(format!("/audit?record_id={}", customer.id())).await.ok();
        assert_eq!(foreign["data"], json!([]));
        let entry = shop.admin.get("/audit?action=customer.created").await.ids().remove(0);
        bank.admin.get(format!("/audit/{entry}")).await.refused(404, "NOT_FOUND");
        shop.admin.get("/audit/not-an-id").await.refused(404, "NOT_FOUND");
    }

    /// What is secret is not in the trail.
    async fn secrets_stay_out_of_the_trail(app: App) {
        let shop = app.organization("Shop").await;
        let agent = json!({"name": "Nila", "email": "nila@shop.example", "password": "an unusual secret 1", "role": "Agent"});
        shop.admin.post("/admin/agents", agent).await.created();
        let entries = shop.admin.get("/audit?limit=100").await.ok().to_string();
        assert!(entries.contains("nila@shop.example"), "{entries}");
        for secret in ["an unusual secret 1", "$argon2", "password_hash"] {
            assert!(!entries.contains(secret), "{secret} is in the trail");
        }
    }

    /// A wrong question names what is wrong with it.
    async fn a_wrong_question_is_answered_with_what_is_allowed(app: App) {
        let shop = app.organization("Shop").await;
        for (query, field) in [
            ("colour=red", "colour"),
            ("actor_type=robot", "actor_type"),
            ("created_at[gte]=yesterday", "created_at[gte]"),
            ("sort=ip", "sort"),
            ("limit=0", "limit"),
            ("cursor=abc", "cursor"),
        ] {
            let body = shop.admin.get(format!("/audit?{query}")).await.refused(400, "VALIDATION_ERROR");
            let named: Vec<&str> = body["errors"].as_array().into_iter().flatten().filter_map(|error: &Value| error["field"].as_str()).collect();
            assert_eq!(named, [field], "{query}: {body}");
        }
    }
}
