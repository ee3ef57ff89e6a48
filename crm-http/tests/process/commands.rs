//! The commands beside `serve`, on every engine.

use std::{
    io::Write as _,
    process::{Output, Stdio},
};

use reqwest::StatusCode;
use serde_json::json;

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
