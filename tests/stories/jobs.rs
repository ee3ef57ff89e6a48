//! Long work that is watched, that failed, and that is done again.

use crm_core::job::runner;
use serde_json::{Value, json};

use crate::support::{App, Form, on_every_store};

fn users(rows: usize) -> String {
    let rows: String = (0..rows).map(|row| format!("User {row},u{row}@example.com\n")).collect();
    format!("name,email\n{rows}")
}

/// The events of a body: their names, ids and data.
fn events(body: &[u8]) -> Vec<(String, i64, Value)> {
    let text = std::str::from_utf8(body).expect("text");
    let fields = |event: &str, name: &str| {
        let line = event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.map(str::to_owned)
    };
    text.split("\n\n")
        .filter_map(|event| {
            let data = serde_json::from_str(&fields(event, "data")?).expect("JSON");
            Some((fields(event, "event")?, fields(event, "id")?.parse().expect("a version"), data))
        })
        .collect()
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
        let told = events(&answer.body);
        assert!(told.is_sorted_by(|(_, one, _), (_, next, _)| one < next), "{told:?}");
        let (name, version, last) = told.last().expect("the end");
        assert_eq!((name.as_str(), &last["state"], &last["progress"]["done"]), ("ended", &json!("succeeded"), &json!(2000)));
        assert!(told.iter().rev().skip(1).all(|(name, _, _)| name == "progress"));

        let since = |version: i64| staff.agent.get(&path).header("last-event-id", &version.to_string());
        since(*version).await.no_content();
        assert_eq!(events(&since(version - 1).await.body).len(), 1);
        assert_eq!(events(&staff.agent.get(&path).header("last-event-id", "yesterday").await.body).len(), 1);
    }
}
