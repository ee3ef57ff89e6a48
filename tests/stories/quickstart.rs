//! The page that newcomers begin with, command by command.

use std::process::Stdio;

use tokio::{io::AsyncWriteExt as _, process::Command};

use crate::support::{App, on_every_store};

const PAGE: &str = include_str!("../../docs/quickstart.md");

/// What the page has a shell do, in its order.
fn commands(address: &str) -> String {
    let blocks = PAGE.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let script: String = blocks.map(|block| format!("{block}\necho\n")).collect();
    assert!(script.contains("127.0.0.1:4000"), "the page asks the server");
    format!("set -eu\n{}", script.replace("127.0.0.1:4000", address))
}

on_every_store! {
    /// Every command works as it stands, and the answers are what the page says of them.
    async fn every_command_works(app: App) {
        let mut shell = Command::new("sh")
            .stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn().expect("a shell");
        let mut input = shell.stdin.take().expect("its input");
        input.write_all(commands(&app.address).as_bytes()).await.expect("written");
        drop(input);
        let done = shell.wait_with_output().await.expect("the end");
        let (told, failed) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success(), "{failed}\n{told}");
        for expected in [
            r#""created":3"#, r#""count":2"#, r#""explanation":"spend is more than 5000 and inactive for more than 180 days""#,
            r#""name":"Ravi Kumar""#, r#""seen":300,"result":false"#,
            r#""amount":59.97"#, r#""total_order_value":59.97"#, r#""explanation":"inactive for more than 180 days and spend is more than 5000""#,
            r#""audience":2,"queued":0"#, r#""summary":"The campaign planned 2 messages."#,
        ] {
            assert!(told.contains(expected), "{expected} is not in\n{told}\n{failed}");
        }
    }
}
