//! The commands of the binary.

mod check_config;
mod compose;
mod create_super_admin;
mod demo;
mod events;
mod export;
mod import;
mod migrate;
mod openapi;
mod organization;
mod progress;
mod rotate_encryption_key;
mod serve;
mod worker;

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use crm_core::port::OperatingSystemRandom;
use crm_http::settings::Settings;

/// What a command ends with where it fails: a sentence for a person.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The exit code where the settings or the arguments are wrong.
const WRONG_SETTINGS: u8 = 2;

/// The CRM: customers, orders, segments and campaigns, accounts and access, in one server.
///
/// Without a command it serves. With no settings at all it listens on 127.0.0.1:4000 and keeps everything in ./crm-data.
#[derive(Debug, Parser)]
#[command(
    name = "crm-http",
    version,
    after_help = "\
Examples:
  crm-http                                   Serve with the settings there are
  PORT=8080 LOG_LEVEL=debug crm-http         Serve with two settings from the environment
  crm-http --config /etc/crm.toml serve      Serve with the settings of a file
  crm-http check-config                      Say which settings hold, and which are wrong
  crm-http create-super-admin --email root@example.com

Settings come from crm.toml or config.local.json, from .env (outside production), and from the environment, which wins.
Exit codes: 0 done, 1 failed, 2 wrong settings or arguments."
)]
struct Arguments {
    /// Read settings from this file, TOML or JSON, instead of crm.toml or config.local.json.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the API (what happens without a command)
    #[command(after_help = "\
Examples:
  crm-http serve
  APP_ENV=production JWT_SECRET=$(openssl rand -base64 32) DATA_DIR=/var/lib/crm crm-http serve

Stop it with SIGTERM or Ctrl-C: requests in hand are answered first. A second signal ends it at once.")]
    Serve,
    /// Run jobs and hand on events, without a port
    ///
    /// Every serving process does the same beside its requests; workers are added where there is more to do. It takes the
    /// settings of the server.
    #[command(after_help = "\
Examples:
  crm-http worker
  MAX_WORKERS=8 DATABASE_URL=postgres://crm@db/crm crm-http worker

Stop it with SIGTERM or Ctrl-C: jobs in hand finish their step and go back to the queue. A second signal ends it at once.")]
    Worker,
    /// Load a sample, print who can sign in, and serve
    ///
    /// Two organizations with staff, customers, groups, tags and custom fields. It is safe to run again: what is there
    /// stays. Everything can be tried in the browser at /docs.
    #[command(after_help = "\
Examples:
  crm-http demo
  DATA_DIR=/tmp/crm-demo PORT=8080 crm-http demo")]
    Demo,
    /// Bring the database to this version, and stop
    ///
    /// Serving does the same at its start; this is for those who want it done before.
    #[command(after_help = "Example:\n  DATABASE_URL=sqlite:/var/lib/crm/crm.db crm-http migrate")]
    Migrate,
    /// Create somebody who runs the installation, over all organizations
    #[command(after_help = "\
Examples:
  crm-http create-super-admin
  crm-http create-super-admin --email root@example.com --name 'Ada Root'
  printf %s \"$PASSWORD\" | crm-http create-super-admin --email root@example.com --password-stdin

What is not given is asked for; the password is never an argument, where others could see it.")]
    CreateSuperAdmin(create_super_admin::Options),
    /// Export customers to a file
    ///
    /// Without a server, straight from the database; also while a server runs. What leaves is noted in the audit trail.
    #[command(after_help = "\
Examples:
  crm-http export --output customers.xlsx
  crm-http export --organization 'Corner shop' --fields name,email,spend > customers.csv
  crm-http export --filter '{\"field\":\"spend\",\"op\":\">\",\"value\":5000}' --format ndjson -o rich.ndjson")]
    Export(Box<export::Options>),
    /// Import customers from a file
    ///
    /// What POST /customers/import does, from the terminal. Rows that are refused are written to FILE.errors.csv; mended,
    /// that file can be imported as it is. Ctrl-C ends it after the rows in hand.
    #[command(after_help = "\
Examples:
  crm-http import customers.csv
  crm-http import --dry-run customers.csv
  crm-http import --upsert-key email --date-format dd/mm/yyyy --decimal-separator , kunden.csv
  crm-http import --mapping '{\"Mail\":\"email\",\"Notes\":null}' --as asha@shop.example people.csv
  crm-http import --resume customers.csv

The exit code is 1 where a row was refused.")]
    Import(Box<import::Options>),
    /// Show the events that nobody takes, hand them on again, or give them up
    ///
    /// An event that is refused several times is set aside, and holds back what follows of its record. Without a server,
    /// straight from the database and the broker; also while a server runs.
    #[command(after_help = "\
Examples:
  crm-http events
  crm-http events --replay all
  crm-http events --drop 01980c5e-6f0a-7cc3-98c4-dc0c0c07398f")]
    Events(events::Options),
    /// Encrypt every secret at rest anew, under the newest encryption key
    #[command(after_help = "\
Example:
  ENCRYPTION_KEY=\"$NEW,$OLD\" crm-http rotate-encryption-key

First let every process serve with both keys, the new one first. Then run this; it may be interrupted and run again,
while the server serves. A day later leave the old key out.")]
    RotateEncryptionKey,
    /// Print the OpenAPI 3.1 document of the API
    #[command(after_help = "Example:\n  crm-http openapi > openapi.json")]
    Openapi,
    /// Check the settings, and print what holds
    #[command(after_help = "Example:\n  APP_ENV=production crm-http check-config && echo fine")]
    CheckConfig,
}

/// Runs the command of the command line.
pub(crate) fn run() -> ExitCode {
    let Arguments { config, command } = Arguments::parse();
    let command = command.unwrap_or(Command::Serve);
    if matches!(command, Command::Openapi) {
        return ended(openapi::run());
    }
    let settings = match Settings::load(config.as_deref(), &OperatingSystemRandom) {
        Ok(settings) => settings,
        Err(error) => {
            complain(&error);
            return ExitCode::from(WRONG_SETTINGS);
        }
    };
    ended(match command {
        Command::Serve => serve::run(&settings),
        Command::Worker => worker::run(&settings),
        Command::Demo => demo::run(&settings),
        Command::Migrate => migrate::run(&settings),
        Command::CreateSuperAdmin(options) => create_super_admin::run(&settings, options),
        Command::Events(options) => events::run(&settings, &options),
        Command::Export(options) => export::run(&settings, &options),
        Command::Import(options) => import::run(&settings, &options),
        Command::RotateEncryptionKey => rotate_encryption_key::run(&settings),
        Command::CheckConfig => check_config::run(&settings),
        Command::Openapi => openapi::run(),
    })
}

fn ended(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(error.as_ref());
            ExitCode::FAILURE
        }
    }
}

fn complain(error: &(dyn std::error::Error + 'static)) {
    // Nobody is left to tell where standard error is gone.
    let _ = writeln!(io::stderr(), "crm-http: {error}");
}

/// Prints a line for a person.
fn say(line: impl std::fmt::Display) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")
}
