//! However the process ends that started a server, nothing of it stays: no process, no folder.

#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot look fails")]

use std::{
    io::{BufRead as _, BufReader},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

struct Holder {
    process: Child,
    address: String,
    folder: PathBuf,
}

/// A process that has started a server.
fn holder(engine: &str) -> Holder {
    let mut process = Command::new(env!("CARGO_BIN_EXE_crm-test-servers"))
        .arg(engine)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut lines = BufReader::new(process.stdout.take().expect("piped")).lines().map_while(Result::ok);
    let (Some(url), Some(folder)) = (lines.next(), lines.next()) else {
        panic!("no server of {engine}: see what the program printed above");
    };
    let (_, rest) = url.split_once("://").expect("a URL");
    let rest = rest.split_once('@').map_or(rest, |(_, rest)| rest);
    let address = rest.split('/').next().expect("a host").to_owned();
    Holder { process, address, folder: Path::new(&folder).to_owned() }
}

fn nothing_stays(mut holder: Holder, how: &str) {
    holder.process.wait().expect("ended");
    let deadline = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect(&holder.address).is_ok() || holder.folder.exists() {
        assert!(Instant::now() < deadline, "{} or {} is left after {how}", holder.address, holder.folder.display());
        thread::sleep(Duration::from_millis(20));
    }
}

fn ends_with_its_process(engine: &str) {
    for signal in ["KILL", "INT", "TERM"] {
        let holder = holder(engine);
        assert!(TcpStream::connect(&holder.address).is_ok() && holder.folder.is_dir());
        let sent = Command::new("kill").arg(format!("-{signal}")).arg(holder.process.id().to_string()).status();
        assert!(sent.expect("kill runs").success());
        nothing_stays(holder, signal);
    }
    let mut holder = holder(engine);
    drop(holder.process.stdin.take());
    nothing_stays(holder, "its own end");
}

#[test]
fn postgres_ends_with_its_process() {
    ends_with_its_process("postgres");
}

#[test]
fn mongo_ends_with_its_process() {
    ends_with_its_process("mongo");
}

#[test]
fn redis_ends_with_its_process() {
    ends_with_its_process("redis");
}

#[test]
fn rabbitmq_ends_with_its_process() {
    ends_with_its_process("rabbitmq");
}
