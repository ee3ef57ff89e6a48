//! Long work that is watched, that failed, and that is done again.

use crm_core::{
    job::{Job, runner},
    record::Record as _,
    store::{Change, Filter, Scope},
};
use serde_json::json;

use crate::support::{App, Form, on_every_store};

fn users(rows: usize) -> String {
    let rows: String = (0..rows).map(|row| format!("User {row},u{row}@example.com\n")).collect();
    format!("name,email\n{rows}")
}

/// Has the jobs given up, as if the processes that ran them had died each time.
async fn wear_out(app: &App, which: Filter) {
    let attempts = Change::UpdateWhere {
        collection: Job::COLLECTION,
        filter: which.and(Job::attempts.equals(0_i64)),
        assignments: vec![Job::attempts.set(5_i64)],
    };
    app.crm.store().commit(Scope::Installation, vec![attempts]).await.expect("committed");
    runner::run_due(&app.crm).await.expect("ran");
}

on_every_store! {
    /// An import that failed is done again once its cause is mended: every row is there once.
    async fn what_failed_is_replayed(setup: Setup) {
        let app = App::start(setup.without_background()).await;
        let shop = app.organization("Shop").await;
        let agent = shop.colleague("Agent").await;
        let begun = agent.begin_import(Form::default().file("u.csv", users(700))).await;
        let job = begun["job_id"].as_str().expect("a job").to_owned();
        let colleague = format!("/admin/agents/{}", agent.id());
        shop.admin.put(&colleague, json!({"active": false})).await.expect_status(200);
        runner::run_due(&app.crm).await.expect("ran");

        let letters = shop.admin.get("/jobs/dead-letters").await.ok();
        assert_eq!(letters["data"][0]["id"], json!(job));
        assert_eq!(letters["data"][0]["error"]["code"], "FORBIDDEN");
        assert_eq!(letters["data"][0]["dead_at"], letters["data"][0]["finished_at"]);
        assert_eq!(app.organization("Other").await.admin.get("/jobs/dead-letters").await.ids().len(), 0);
        shop.colleague("Agent").await.get("/jobs/dead-letters").await.refused(403, "FORBIDDEN");

        shop.admin.put(&colleague, json!({"active": true})).await.expect_status(200);
        let again = shop.admin.post(format!("/jobs/dead-letters/{job}/replay"), json!({})).await.ok();
        assert_eq!((&again["state"], &again["dead_at"]), (&json!("queued"), &json!(null)));
        assert_eq!(shop.admin.get(&begun).await.ok()["state"], "queued");
        runner::run_due(&app.crm).await.expect("ran");
        let ended = shop.admin.ended(&begun).await;
        assert_eq!((&ended["state"], &ended["created"], &ended["error"]), (&json!("succeeded"), &json!(700), &json!(null)));
        assert_eq!(shop.admin.get("/customers?count=true").await.ok()["page"]["total"], 700);
        shop.admin.post(format!("/jobs/dead-letters/{job}/replay"), json!({})).await.refused(409, "INVALID_STATE");
        assert_eq!(shop.admin.get("/jobs/dead-letters").await.ids().len(), 0);
        assert_eq!(shop.admin.get("/audit?action=job.replayed").await.ids().len(), 1);
    }

    /// What is dropped is history; what was taken back meanwhile is not done again.
    async fn what_failed_is_dropped(setup: Setup) {
        let app = App::start(setup.without_background()).await;
        let shop = app.organization("Shop").await;
        let agent = shop.colleague("Agent").await;
        let mut begun = Vec::new();
        for _ in 0..4 {
            begun.push(agent.begin_import(Form::default().file("u.csv", users(3))).await);
        }
        shop.admin.delete(format!("/admin/agents/{}", agent.id())).await.no_content();
        runner::run_due(&app.crm).await.expect("ran");
        let of = |number: usize| format!("/jobs/dead-letters/{}", begun[number]["job_id"].as_str().expect("a job"));
        let dropped = shop.admin.delete(of(0)).await.ok();
        assert_eq!((&dropped["state"], &dropped["dead_at"]), (&json!("failed"), &json!(null)));
        shop.admin.delete(of(0)).await.refused(409, "INVALID_STATE");
        shop.admin.post(format!("{}/replay", of(0)), json!({})).await.refused(409, "INVALID_STATE");

        shop.admin.post(format!("{}/revert", begun[1]), json!({})).await.expect_status(202);
        shop.admin.post(format!("{}/replay", of(1)), json!({})).await.refused(409, "INVALID_STATE");
        let replayed = shop.admin.post("/jobs/dead-letters/replay?kind=customer_import", json!({})).await.ok();
        assert_eq!(replayed, json!({"replayed": 2, "refused": 1, "has_more": false}));
        runner::run_due(&app.crm).await.expect("ran");
        assert_eq!(shop.admin.get("/jobs/dead-letters").await.ids().len(), 3, "who began them may still not act");
        assert_eq!(shop.admin.delete("/jobs/dead-letters?kind=nothing").await.ok()["dropped"], 0);
        assert_eq!(shop.admin.delete("/jobs/dead-letters").await.ok(), json!({"dropped": 3, "has_more": false}));
        shop.admin.delete("/jobs/dead-letters?state=failed").await.invalid(&["state"]);
        assert_eq!(shop.admin.get("/jobs?kind=customer_import&state=failed").await.ids().len(), 4);
    }

    /// A change of many whose processes died again and again is replayed with what it was given, and can be undone then; one
    /// that is undone cannot be replayed.
    async fn changes_of_many_are_replayed(setup: Setup) {
        let app = App::start(setup.without_background()).await;
        let shop = app.organization("Shop").await;
        shop.admin.post("/customers", json!({"name": "Amélie"})).await.created();
        let mut jobs = Vec::new();
        for city in ["Lyon", "Nice"] {
            let change = json!({"filter": {"field": "name", "op": "==", "value": "Amélie"}, "set": {"name": city}});
            let answer = shop.admin.patch("/customers/batch?async=true", change).await;
            answer.expect_status(202);
            jobs.push(answer.json()["id"].as_str().expect("a job").to_owned());
            wear_out(&app, Job::kind.equals("customer_bulk_change".to_owned())).await;
        }
        shop.admin.post("/customers?async=true", json!({"name": "Zoé"})).await.expect_status(202);
        wear_out(&app, Job::kind.equals("customer_create".to_owned())).await;
        let letters = shop.admin.get("/jobs/dead-letters").await.ok();
        let codes: Vec<_> = letters["data"].as_array().expect("jobs").iter().map(|job| &job["error"]["code"]).collect();
        assert_eq!(codes, ["INTERRUPTED"; 3]);
        assert_eq!(shop.admin.get("/customers").await.ok()["data"][0]["name"], "Amélie");

        shop.admin.post(format!("/jobs/{}/undo", jobs[1]), json!({})).await.expect_status(202);
        let replayed = shop.admin.post("/jobs/dead-letters/replay", json!({})).await.ok();
        assert_eq!(replayed, json!({"replayed": 2, "refused": 1, "has_more": false}));
        runner::run_due(&app.crm).await.expect("ran");
        let names = shop.admin.get("/customers?sort=name").await.ok();
        assert_eq!((&names["data"][0]["name"], &names["data"][1]["name"]), (&json!("Lyon"), &json!("Zoé")));
        shop.admin.post(format!("/jobs/{}/undo", jobs[0]), json!({})).await.expect_status(202);
        runner::run_due(&app.crm).await.expect("ran");
        assert_eq!(shop.admin.get("/customers?sort=name").await.ok()["data"][0]["name"], "Amélie");
        assert_eq!(shop.admin.delete("/jobs/dead-letters").await.ok()["dropped"], 1);
    }

    /// Who watches is told of what changes until the end, and who comes back hears what is newer.
    async fn a_job_is_watched(setup: Setup) {
        let app = App::start(setup.without_background()).await;
        let staff = app.staffed("Shop").await;
        let begun = staff.agent.begin_import(Form::default().file("u.csv", users(2000))).await;
        let path = format!("/jobs/{}/events", begun["job_id"].as_str().expect("a job"));
        staff.lead.get(&path).await.refused(404, "NOT_FOUND");
        app.anonymous.get(&path).await.refused(401, "UNAUTHENTICATED");
        staff.agent.get(format!("{path}?since=1")).await.invalid(&["since"]);

        let watching = tokio::spawn({
            let (agent, path) = (staff.agent.clone(), path.clone());
            async move { agent.get(&path).header("accept-encoding", "gzip").await }
        });
        runner::run_due(&app.crm).await.expect("ran");
        let answer = watching.await.expect("told to the end");
        answer.expect_status(200);
        assert!(answer.header("content-type").starts_with("text/event-stream"));
        let told = answer.events();
        let version = |id: &str| id.parse::<i64>().expect("a version");
        assert!(told.is_sorted_by(|(_, one, _), (_, next, _)| version(one) < version(next)), "{told:?}");
        let (name, id, last) = told.last().expect("the end");
        assert_eq!((name.as_str(), &last["state"], &last["progress"]["done"]), ("ended", &json!("succeeded"), &json!(2000)));
        assert!(told.iter().rev().skip(1).all(|(name, _, _)| name == "progress"));

        let since = |version: i64| staff.agent.get(&path).header("last-event-id", &version.to_string());
        since(version(id)).await.no_content();
        assert_eq!(since(version(id) - 1).await.events().len(), 1);
        assert_eq!(staff.agent.get(&path).header("last-event-id", "yesterday").await.events().len(), 1);
    }
}
