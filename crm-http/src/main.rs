//! The CRM's server, and what its administrators do on the command line.

mod command;

use std::process::ExitCode;

fn main() -> ExitCode {
    command::run()
}
