//! What customers see and change of their own record.

use serde_json::json;

use crate::support::{App, on_every_store};

on_every_store! {
    /// A customer who can sign in finds the own record once staff has linked it, and changes what is theirs to change.
    async fn me(app: App) {
        let shop = app.organization("Shop").await;
        let kim = shop.customer(&app, "kim@example.com").await;
        kim.get("/customers/me").await.refused(404, "NOT_FOUND");
        let record = shop.admin.post("/customers", json!({"name": "Kim", "user_id": kim.id(), "tags": ["difficult"],
            "metadata": {"note": "x"}})).await.created();
        let me = kim.get("/customers/me").await.found("/customers/me");
        assert_eq!((&me["id"], &me["name"]), (&record["id"], &json!("Kim")));
        for hidden in ["tags", "group_ids", "metadata", "owner_id", "team_id"] {
            assert!(me.body.get(hidden).is_none(), "{hidden} is for staff");
        }
        let changed = kim.patch("/customers/me", json!({"full_name": "Kim Lee", "phone": "+919876543210", "consent": {"email": true}}))
            .if_match(&me).await.found("/customers/me");
        assert_eq!((&changed["name"], &changed["version"]), (&json!("Kim Lee"), &json!(2)));
        kim.patch("/customers/me", json!({"name": "X"})).if_match(&me).await.refused(412, "VERSION_CONFLICT");
        kim.patch("/customers/me", json!({"email": "x@example.com", "spend": 5, "tags": []})).await.invalid(&["email", "spend", "tags"]);
        assert_eq!(kim.get("/customers/me?profile=retail&fields=full_name,contact_number").await.ok(),
            json!({"full_name": "Kim Lee", "contact_number": "+919876543210"}));

        // Somebody else's number is taken, and not said whose it is.
        shop.admin.post("/customers", json!({"name": "Lee", "phone": "+919999999999"})).await.created();
        let refused = kim.patch("/customers/me", json!({"phone": "+919999999999"})).await.refused(409, "DUPLICATE");
        assert!(refused.get("matches").is_none_or(|matches| matches == &json!([])));
        // Staff's routes are not theirs.
        for path in ["/customers", "/customers/tags", "/customers/groups", &record.path] {
            kim.get(path).await.refused(403, "FORBIDDEN");
        }
        // A login belongs to one customer.
        let twice = shop.admin.post("/customers", json!({"name": "Twin", "user_id": kim.id()})).await.refused(409, "DUPLICATE");
        assert_eq!(twice["matches"], json!([record.id()]));
        shop.admin.post("/customers", json!({"name": "X", "user_id": shop.admin.id()})).await.invalid(&["user_id"]);
        shop.admin.delete(&record).await.no_content();
        kim.get("/customers/me").await.refused(404, "NOT_FOUND");
        shop.admin.get("/customers/me").await.refused(404, "NOT_FOUND");
    }

    /// Which custom fields are theirs to change, the organization says.
    async fn own_custom_fields(app: App) {
        let shop = app.organization("Shop").await;
        for key in ["city", "credit_limit"] {
            let field = json!({"key": key, "label": key, "type": "text", "applies_to": "customer"});
            shop.admin.post("/customers/fields", field).await.created();
        }
        let kim = shop.customer(&app, "kim@example.com").await;
        shop.admin.post("/customers", json!({"name": "Kim", "user_id": kim.id()})).await.created();
        kim.patch("/customers/me", json!({"custom": {"city": "Pune"}})).await.invalid(&["custom.city"]);
        let mut organization = shop.admin.get("/admin/organization").await.ok();
        organization["settings"] = json!({"self_service_fields": ["city"]});
        shop.admin.put("/admin/organization", organization).await.ok();
        assert_eq!(kim.patch("/customers/me", json!({"custom": {"city": "Pune"}})).await.ok()["custom"], json!({"city": "Pune"}));
        kim.patch("/customers/me", json!({"custom": {"credit_limit": "1000000"}})).await.invalid(&["custom.credit_limit"]);
        kim.patch("/customers/me", json!({"custom": null})).await.invalid(&["custom"]);
    }
}
