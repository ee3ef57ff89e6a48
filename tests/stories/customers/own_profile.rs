//! What customers see and change of their own record.

use crm_core::{
    access::Principal,
    id::OrganizationId,
    input::FromInput,
    operation::Operation,
    tenancy::{ChangedOrganization, NewOrganization, Organization},
};
use serde_json::{Value, json};

use crate::support::{App, Client, PASSWORD, Person, SERVICE_KEY, Setup, on_every_store};

fn organization() -> OrganizationId {
    OrganizationId("0198c1de-5f00-7000-8000-0000000000aa".parse().expect("an id"))
}

fn read<T: FromInput>(json: &Value) -> T {
    T::from_input(&serde_json::value::to_raw_value(json).expect("JSON")).expect("an input")
}

/// A shop where anybody may register as a customer: the server, a service of the shop's, and Kim, who did.
async fn shop(setup: Setup) -> (App, Client, Person) {
    let id = organization();
    let app = setup.accounts(|accounts| accounts.default_organization = Some(id)).start().await;
    let system = Principal::system(id);
    let mut operation = Operation::new(&app.crm, &system);
    let named = NewOrganization::named("Shop".parse().expect("a name"));
    operation.insert(&Organization::new(id, named, operation.now()));
    operation.commit().await.expect("an organization");
    let service = app.anonymous.with("x-api-key", SERVICE_KEY).with("x-organization-id", id.to_string());
    let kim = json!({"name": "Kim", "email": "kim@example.com", "password": PASSWORD});
    let answer = app.anonymous.post("/auth/register", kim).await;
    answer.expect_status(201);
    let kim = Person::new(&app.anonymous, &answer.json());
    (app, service, kim)
}

on_every_store! {
    /// A customer who registered finds the own record, and changes what is theirs to change.
    async fn me(setup: Setup) {
        let (_app, staff, kim) = shop(setup).await;
        let record = kim.get("/customers/me").await.found("/customers/me");
        assert_eq!((&record["name"], &record["email"], &record["user_id"]), (&json!("Kim"), &json!("kim@example.com"), &json!(kim.id())));
        staff.get(format!("/customers?user_id={}", kim.id())).await.lists([&record]);
        let path = format!("/customers/{}", record.id());
        staff.patch(&path, json!({"tags": ["difficult"], "metadata": {"note": "x"}})).await.ok();
        let me = kim.get("/customers/me").await.found("/customers/me");
        for hidden in ["tags", "group_ids", "metadata", "owner_id", "team_id"] {
            assert!(me.body.get(hidden).is_none(), "{hidden} is for staff");
        }
        let changed = kim.patch("/customers/me", json!({"full_name": "Kim Lee", "phone": "+919876543210", "consent": {"email": true}}))
            .if_match(&me).await.found("/customers/me");
        assert_eq!((&changed["name"], &changed["version"]), (&json!("Kim Lee"), &json!(3)));
        kim.patch("/customers/me", json!({"name": "X"})).if_match(&me).await.refused(412, "VERSION_CONFLICT");
        kim.patch("/customers/me", json!({"email": "x@example.com", "spend": 5, "tags": []})).await.invalid(&["email", "spend", "tags"]);
        let ids = json!({"id": me["id"], "version": 1, "created_at": me["created_at"], "total_orders": 9, "name": "Kim Lee"});
        assert_eq!(kim.patch("/customers/me", ids).await.ok(), changed.body, "what only the CRM sets is left alone");
        assert_eq!(kim.get("/customers/me?profile=retail&fields=full_name,contact_number").await.ok(),
            json!({"full_name": "Kim Lee", "contact_number": "+919876543210"}));

        // Somebody else's number is taken, and not said whose it is.
        staff.post("/customers", json!({"name": "Lee", "phone": "+919999999999"})).await.created();
        let refused = kim.patch("/customers/me", json!({"phone": "+919999999999"})).await.refused(409, "DUPLICATE");
        assert!(refused.get("matches").is_none_or(|matches| matches == &json!([])));
        // Staff's routes are not theirs.
        for path in ["/customers", "/customers/tags", "/customers/groups", path.as_str()] {
            kim.get(path).await.refused(403, "FORBIDDEN");
        }
        // A login belongs to one customer.
        let twice = staff.post("/customers", json!({"name": "Twin", "user_id": kim.id()})).await.refused(409, "DUPLICATE");
        assert_eq!(twice["matches"], json!([record.id()]));
        let nobody = "0198c1de-5f00-7000-8000-000000000001";
        staff.post("/customers", json!({"name": "X", "user_id": nobody})).await.invalid(&["user_id"]);
        staff.delete(&path).await.no_content();
        kim.get("/customers/me").await.refused(404, "NOT_FOUND");
        // Freed by the deletion, the login may be linked again.
        let again = staff.post("/customers", json!({"name": "Kim", "user_id": kim.id()})).await.created();
        assert_eq!(kim.get("/customers/me").await.ok()["id"], json!(again.id()));
    }

    /// Which custom fields are theirs to change, the organization says.
    async fn own_custom_fields(setup: Setup) {
        let (app, _staff, kim) = shop(setup).await;
        for key in ["city", "credit_limit"] {
            let field = read(&json!({"key": key, "label": key, "type": "text", "applies_to": "customer"}));
            app.crm.fields().create(&Principal::system(organization()), field).await.expect("a field");
        }
        kim.patch("/customers/me", json!({"custom": {"city": "Pune"}})).await.invalid(&["custom.city"]);
        let settings: ChangedOrganization = read(&json!({"settings": {"self_service_fields": ["city"]}}));
        app.crm.organizations().update(&Principal::system(organization()), settings, None).await.expect("new settings");
        assert_eq!(kim.patch("/customers/me", json!({"custom": {"city": "Pune"}})).await.ok()["custom"], json!({"city": "Pune"}));
        kim.patch("/customers/me", json!({"custom": {"credit_limit": "1000000"}})).await.invalid(&["custom.credit_limit"]);
        kim.patch("/customers/me", json!({"custom": null})).await.invalid(&["custom"]);
    }
}
