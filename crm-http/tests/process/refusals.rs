//! What cannot be started says why, in a sentence, and changes nothing.

use std::{net::TcpListener, path::Path};

use crm_test_servers::Postgres;

use crate::support::command;

/// What the binary says, which does not start with these settings.
fn refused(folder: &Path, settings: &[(&str, &str)], said: &[&str]) {
    let output = command(folder).envs(settings.iter().copied()).output().expect("the binary runs");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!output.status.success(), "{settings:?} was accepted:\n{text}");
    for part in said {
        assert!(text.contains(part), "{settings:?}: {part:?} is not in\n{text}");
    }
    for secret in ["hunter2", "panicked"] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[test]
fn wrong_settings() {
    let folder = tempfile::tempdir().expect("a folder");
    let refused = |settings: &[(&str, &str)], said: &[&str]| refused(folder.path(), settings, said);
    refused(
        &[("DATABASE_URL", "mysql://u:hunter2@localhost/crm")],
        &["DATABASE_URL", "sqlite:", "postgres:", "mongodb:"],
    );
    refused(&[("MONGODB_URI", "postgres://u:hunter2@localhost/crm")], &["MONGODB_URI", "mongodb:"]);
    refused(&[("PORT", "many")], &["PORT"]);
    refused(&[("JWT_SECRET", "short")], &["JWT_SECRET", "32"]);
    refused(&[("PORT", "many"), ("JWT_EXPIRES_IN", "soon")], &["PORT", "JWT_EXPIRES_IN"]);
    refused(&[("NODE_ENV", "production"), ("JWT_SECRET", "your-jwt-secret-your-jwt-secret-1")], &["JWT_SECRET"]);
}

#[test]
fn a_file_that_is_no_database() {
    let folder = tempfile::tempdir().expect("a folder");
    let garbage = folder.path().join("garbage.db");
    std::fs::write(&garbage, b"this is no database, but somebody's letter to a friend, long enough to be read")
        .expect("written");
    let url = format!("sqlite:{}", garbage.display());
    refused(folder.path(), &[("DATABASE_URL", &url)], &["garbage.db"]);
    let kept = std::fs::read(&garbage).expect("still there");
    assert!(kept.starts_with(b"this is no database"), "the file was left as it was");
}

#[test]
fn a_server_that_is_not_there() {
    let folder = tempfile::tempdir().expect("a folder");
    // Nobody listens on a port that was just given back.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let place = listener.local_addr().expect("an address").to_string();
    drop(listener);
    for scheme in ["postgres", "mongodb"] {
        let url = format!("{scheme}://crm:hunter2@{place}/crm");
        for command in ["serve", "migrate"] {
            let output = crate::support::command(folder.path()).arg(command).env("DATABASE_URL", &url).output();
            let output = output.expect("the binary runs");
            let text = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{text}");
            assert!(text.contains(&place) && !text.contains("hunter2") && !text.contains("panicked"), "{text}");
        }
        refused(folder.path(), &[("DATABASE_URL", &url)], &[&place, "/crm"]);
    }
}

#[test]
fn a_database_that_is_not_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Postgres::shared().unwrap_or_else(|error| panic!("{error}"));
    refused(folder.path(), &[("DATABASE_URL", &server.url("nowhere"))], &["nowhere", "createdb"]);
}

/// `check-config` says which database holds, and nothing of its password.
#[test]
fn what_holds_is_shown_without_its_password() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = "postgres://crm:hunter2@db.example:5433/crm?sslmode=require";
    let output = command(folder.path()).arg("check-config").env("DATABASE_URL", url).output().expect("the binary runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("postgres://db.example:5433/crm") && !text.contains("hunter2"), "{text}");
}
