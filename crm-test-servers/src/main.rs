//! A private database server for somebody who wants to try something: `cargo run -p crm-test-servers -- postgres`.
//! It prints the URL of a database and the folder of the data, and ends with this program: on Ctrl-C, or however else.

use std::{
    io::{self, Read as _, Write as _},
    path::Path,
    process::ExitCode,
};

use crm_test_servers::{Durability, Mongo, NoServer, Postgres, RabbitMq, Redis};

fn main() -> ExitCode {
    let engine = std::env::args().nth(1).unwrap_or_default();
    let ran = match engine.as_str() {
        "postgres" => Postgres::start(Durability::Full, &[]).and_then(|server| {
            server.create_database("crm")?;
            hold(&server.url("crm"), Some(server.folder()))
        }),
        "mongo" => Mongo::start_own(Durability::Full).and_then(|server| hold(&server.url("crm"), server.folder())),
        "redis" => Redis::start(Durability::Full).and_then(|server| hold(&server.url(0), Some(server.folder()))),
        "rabbitmq" => RabbitMq::start().and_then(|server| hold(&server.url(), Some(server.folder()))),
        _ => {
            let _ = writeln!(io::stderr(), "name one of: postgres, mongo, redis, rabbitmq");
            return ExitCode::from(2);
        }
    };
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

/// Says where the server is, and waits for the end of the input: the server ends when it is dropped.
fn hold(url: &str, folder: Option<&Path>) -> Result<(), NoServer> {
    let mut out = io::stdout();
    writeln!(out, "{url}\n{}", folder.unwrap_or_else(|| Path::new("")).display())?;
    out.flush()?;
    let _ = io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
