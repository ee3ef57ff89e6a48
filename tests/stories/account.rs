//! Signing in and out.

use serde_json::json;

use crate::support::{App, PASSWORD, Person, on_every_store};

on_every_store! {
    /// Somebody registers an organization, signs in again, looks at themselves, and signs out.
    async fn sign_in_and_out(app: App) {
        let shop = app.organization("Shop").await;
        assert_eq!((&shop.admin.user["role"], &shop.admin.user["active"]), (&json!("Admin"), &json!(true)));
        let answer = app.anonymous.post("/auth/login", json!({"email": "ADMIN@shop.example", "password": PASSWORD})).await;
        let body = answer.ok();
        assert_eq!((&body["token_type"], &body["expires_in"]), (&json!("Bearer"), &json!(900)));
        answer.expect(!answer.text().contains("argon2"), "no hash in the answer");
        let amelie = Person::new(&app.anonymous, &body);
        assert_eq!(amelie.get("/auth/me").await.ok()["id"], shop.admin.user["id"]);
        amelie.post("/auth/logout", json!(null)).await.no_content();
        amelie.get("/auth/me").await.refused(401, "TOKEN_REVOKED");
        shop.admin.get("/auth/me").await.ok();
        app.anonymous.get("/auth/me").await.refused(401, "UNAUTHENTICATED");
    }
}
