//! Imports as jobs: watched, cancelled, several at once.

use crm_core::job::runner;
use serde_json::json;

use crate::support::{App, Form, on_every_store};

fn users(prefix: &str, rows: usize) -> String {
    let rows: String = (0..rows).map(|row| format!("{prefix} {row},{prefix}{row}@example.com\n")).collect();
    format!("name,email\n{rows}")
}

on_every_store! {
    /// A cancelled import keeps what it wrote, and can be taken back.
    async fn an_import_is_cancelled(app: App) {
        let shop = app.organization("Shop").await;
        let begun = shop.admin.begin_import(Form::default().file("u.csv", users("a", 20_000))).await;
        shop.admin.until(&begun, |body| body["rows_read"].as_i64() > Some(0)).await;
        let answer = shop.admin.post(format!("{begun}/cancel"), json!({})).await;
        answer.expect_status(200);
        assert_eq!(answer.json()["job"]["cancel_requested"], true);
        let ended = shop.admin.ended(&begun).await;
        assert_eq!((&ended["state"], &ended["job"]["state"]), (&json!("cancelled"), &json!("cancelled")));
        let read = ended["rows_read"].as_i64().expect("a count");
        assert!(read > 0 && read < 20_000, "{read}");
        assert_eq!(shop.admin.get("/customers?count=true").await.ok()["page"]["total"], ended["created"]);
        shop.admin.post(format!("{begun}/cancel"), json!({})).await.ok();
        shop.admin.post(format!("{begun}/revert"), json!({})).await.expect_status(202);
        let reverted = shop.admin.until(&begun, |body| body["state"] == "reverted").await;
        assert_eq!(reverted["reverted"]["deleted"], ended["created"]);
        assert_eq!(shop.admin.get("/customers?count=true").await.ok()["page"]["total"], 0);
    }

    /// Cancelling needs what importing needs, and nothing of other jobs.
    async fn who_imports_may_cancel(setup: Setup) {
        let app = App::start(setup.without_background()).await;
        let shop = app.organization("Shop").await;
        let permissions = ["customers:import", "customers:write"];
        let key = shop.admin.post("/api-keys", json!({"name": "k", "permissions": permissions})).await;
        key.expect_status(201);
        let service = app.anonymous.with("x-api-key", key.json()["key"].as_str().expect("a key"));
        let begun = service.begin_import(Form::default().file("u.csv", users("a", 3))).await;
        let job = begun["job_id"].as_str().expect("a job").to_owned();
        service.post(format!("/jobs/{job}/cancel"), json!({})).await.refused(403, "FORBIDDEN");
        let other = app.organization("Other").await;
        other.admin.post(format!("{begun}/cancel"), json!({})).await.refused(404, "NOT_FOUND");
        assert_eq!(service.post(format!("{begun}/cancel"), json!({})).await.ok()["state"], "cancelled");
        runner::run_due(&app.crm).await.expect("ran");
        assert_eq!(shop.admin.get("/customers?count=true").await.ok()["page"]["total"], 0);
    }

    /// An organization has twenty imports on the way; one more is refused until one has ended, and others have room.
    async fn so_many_and_no_more(setup: Setup) {
        let app = App::start(setup.without_background()).await;
        let (shop, other) = (app.organization("Shop").await, app.organization("Other").await);
        for number in 0..20 {
            shop.admin.begin_import(Form::default().file("u.csv", users(&format!("u{number}-"), 2))).await;
        }
        let form = || Form::default().file("u.csv", users("last", 2));
        shop.admin.post_form("/customers/import", form()).await.refused(409, "INVALID_STATE");
        other.admin.begin_import(form()).await;
        runner::run_due(&app.crm).await.expect("ran");
        shop.admin.begin_import(form()).await;
        assert_eq!(shop.admin.get("/customers?count=true").await.ok()["page"]["total"], 40);
    }

    /// Two imports of the same people at once: each is there once, whoever was first.
    async fn two_at_once(app: App) {
        let shop = app.organization("Shop").await;
        let (first, second) = tokio::join!(
            shop.admin.begin_import(Form::default().file("1.csv", users("a", 3000))),
            shop.admin.begin_import(Form::default().file("2.csv", users("a", 3000)).field("skip_duplicates", "true")),
        );
        let (first, second) = tokio::join!(shop.admin.ended(&first), shop.admin.ended(&second));
        let count = |import: &crate::support::Entity, name: &str| import[name].as_i64().expect("a count");
        assert_eq!((&first["state"], &second["state"]), (&json!("succeeded"), &json!("succeeded")));
        assert_eq!(count(&first, "created") + count(&second, "created"), 3000);
        assert_eq!(count(&first, "failed"), count(&second, "created"));
        assert_eq!(count(&second, "skipped"), count(&first, "created"));
        assert_eq!(shop.admin.get("/customers?count=true").await.ok()["page"]["total"], 3000);
    }

    /// Jobs are seen by who began them and by the Admin, and tell how far they are.
    async fn jobs_are_watched(app: App) {
        let staff = app.staffed("Shop").await;
        let import = staff.agent.import(Form::default().file("u.csv", users("a", 10))).await;
        let job = format!("/jobs/{}", import["job_id"].as_str().expect("a job"));
        let seen = staff.agent.get(&job).await.ok();
        assert_eq!((&seen["state"], &seen["kind"]), (&json!("succeeded"), &json!("customer_import")));
        assert_eq!((&seen["progress"]["done"], &seen["progress"]["total"], &seen["progress"]["unit"]), (&json!(10), &json!(10), &json!("rows")));
        assert_eq!((&seen["result"]["created"], &seen["record_id"]), (&json!(10), &import["id"]));
        assert_eq!(seen["created_by_id"], json!(staff.agent.id()));
        staff.admin.get(&job).await.ok();
        staff.lead.get(&job).await.refused(404, "NOT_FOUND");
        staff.customer.get(&job).await.refused(403, "FORBIDDEN");
        app.organization("Other").await.admin.get(&job).await.refused(404, "NOT_FOUND");
        assert_eq!(staff.agent.get("/jobs?state=succeeded&kind=customer_import").await.ids().len(), 1);
        assert_eq!(staff.lead.get("/jobs").await.ids().len(), 0);
        assert_eq!(staff.admin.post("/jobs/search", json!({"limit": 5})).await.ids().len(), 1);
        staff.agent.post(format!("{job}/cancel"), json!({})).await.refused(409, "INVALID_STATE");
        staff.agent.get("/jobs?state=sleeping").await.refused(400, "VALIDATION_ERROR");
    }

    /// Who may no longer write when a job runs has it fail with a sentence.
    async fn rights_are_those_of_the_moment(setup: Setup) {
        let app = App::start(setup.without_background()).await;
        let shop = app.organization("Shop").await;
        let agent = shop.colleague("Agent").await;
        let begun = agent.begin_import(Form::default().file("u.csv", users("a", 10))).await;
        shop.admin.delete(format!("/admin/agents/{}", agent.id())).await.no_content();
        runner::run_due(&app.crm).await.expect("ran");
        let ended = shop.admin.ended(&begun).await;
        assert_eq!((&ended["state"], &ended["error"]["code"]), (&json!("failed"), &json!("FORBIDDEN")));
        assert_eq!(shop.admin.get("/customers?count=true").await.ok()["page"]["total"], 0);
    }
}
