//! The commands beside `serve`, on every engine.

use std::{
    io::Write as _,
    process::{Output, Stdio},
};

use crm_core::{
    event::{Event, EventId, partition_of},
    id::OrganizationId,
    record::{Meta, Record as _},
    store::{Change, Json, Scope, Store as _},
    time::Timestamp,
};
use crm_store_sqlite::SqliteStore;
use reqwest::StatusCode;
use serde_json::json;
use uuid::Uuid;

use crate::support::{Engine, Place, Server, command, on_every_engine};

/// Runs a command to its end.
fn run(place: &Place, arguments: &[&str], input: &str) -> Output {
    let mut process = command(place.folder())
        .envs(place.settings())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    process.stdin.take().expect("piped").write_all(input.as_bytes()).expect("read");
    process.wait_with_output().expect("ended")
}

fn succeeds(place: &Place, arguments: &[&str], input: &str, said: &str) {
    let output = run(place, arguments, input);
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains(said), "{arguments:?}:\n{text}");
    assert!(!text.contains("a long enough secret"), "{text}");
}

/// Events that were set aside are shown with their cause, handed on again, and given up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_nobody_takes() {
    let place = Place::new(Engine::Sqlite);
    succeeds(&place, &["events"], "", "Events set aside: 0");
    let store = SqliteStore::open(place.folder().join("crm-data/crm.db")).await.expect("the database");
    let now = Timestamp::from_milliseconds(1_780_000_000_000).expect("an instant");
    let events = [1, 2, 3].map(|number| {
        let id = Uuid::from_u128(number);
        Event {
            id: EventId(id),
            event_type: "customer.created".to_owned(),
            event_version: 1,
            record_type: "customers".to_owned(),
            record_id: id,
            record_version: 1,
            actor_type: "system".to_owned(),
            actor_id: None,
            request_id: None,
            data: Json::default(),
            partition: Some(partition_of(id)),
            published_at: None,
            failures: Some(5),
            held_by: Some(id),
            cause: Some(format!("poison {number}")),
            meta: Meta::new(OrganizationId::INSTALLATION, now),
        }
    });
    let insert = Change::Insert { collection: Event::COLLECTION, rows: events.iter().map(Event::to_row).collect() };
    store.commit(Scope::Installation, vec![insert]).await.expect("inserted");
    store.close().await;

    succeeds(&place, &["events"], "", &format!("{}  customer.created  of {}: poison 2", events[1].id, events[1].id));
    succeeds(&place, &["events"], "", "Events set aside: 3");
    let first = events[0].id.to_string();
    succeeds(&place, &["events", "--replay", &first], "", "Events to be handed on again: 1");
    assert!(!run(&place, &["events", "--replay", &first], "").status.success(), "it is not there any more");
    succeeds(&place, &["events", "--drop", "all"], "", "Events dropped: 2");
    succeeds(&place, &["events"], "", "Events set aside: 0");
    assert_eq!(run(&place, &["events", "--drop", "some"], "").status.code(), Some(2));
}

on_every_engine! {
    /// A database is prepared, twice without harm; the first person is created without a server, and signs in to one.
    async fn before_the_first_start(place: &Place) {
        succeeds(place, &["migrate"], "", "at this version");
        succeeds(place, &["migrate"], "", "at this version");
        let create = ["create-super-admin", "--email", "root@shop.example", "--password-stdin"];
        succeeds(place, &create, "a long enough secret\n", "root@shop.example can sign in");
        let again = run(place, &create, "another long secret\n");
        assert!(!again.status.success() && !again.stderr.is_empty(), "an address is one person's");

        let server = Server::start(place).await;
        let credentials = json!({"email": "root@shop.example", "password": "a long enough secret"});
        let (status, answer) = server.post("/auth/login", "", &credentials).await.expect("answered");
        assert_eq!((status, &answer["user"]["role"]), (StatusCode::OK, &json!("SuperAdmin")), "{answer}");
        let token = answer["access_token"].as_str().expect("a token");
        let (status, me) = server.get("/auth/me", token).await;
        assert_eq!((status, &me["email"]), (StatusCode::OK, &json!("root@shop.example")));
    }
}
