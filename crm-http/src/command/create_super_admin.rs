use std::io::{self, BufRead as _, Read as _, Write as _};

use clap::Args;
use crm_core::{account::NewPassword, contact::Email, error::FieldErrors, text::Line};
use crm_http::settings::Settings;

use super::{Failure, compose, say};

/// Standard input is read up to so many bytes for a password.
const LONGEST_INPUT: u64 = 4096;

/// Who is created.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// The e-mail address to sign in with.
    #[arg(long)]
    email: Option<String>,
    /// The person's name.
    #[arg(long)]
    name: Option<String>,
    /// Read the password from standard input instead of asking for it.
    #[arg(long, requires = "email")]
    password_stdin: bool,
}

/// Creates a super-administrator.
pub(super) fn run(settings: &Settings, options: Options) -> Result<(), Failure> {
    let email = match options.email {
        Some(email) => email,
        None => ask("E-mail address: ")?,
    };
    let email = Email::parse(email.trim()).map_err(|errors| wrong("the e-mail address", &errors))?;
    let name = match options.name {
        Some(name) => name,
        None if options.password_stdin => "Super-administrator".to_owned(),
        None => ask("Name: ")?,
    };
    let name = Line::parse(&name).map_err(|errors| wrong("the name", &errors))?;
    let password = if options.password_stdin { read_password()? } else { ask_password()? };
    let password = NewPassword::parse(&password).map_err(|errors| wrong("the password", &errors))?;
    compose::runtime(settings)?.block_on(async {
        let crm = compose::crm(settings, compose::store(settings).await?)?;
        let created = crm.accounts().create_super_admin(name, email, password).await;
        crm.store().close().await;
        let user = created?;
        say(format_args!("{} can sign in as SuperAdmin.", user.email.as_str()))?;
        Ok(())
    })
}

fn wrong(what: &str, errors: &FieldErrors) -> Failure {
    format!("{what} {errors}").into()
}

fn ask(question: &str) -> io::Result<String> {
    let mut out = io::stderr();
    out.write_all(question.as_bytes())?;
    out.flush()?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn ask_password() -> Result<String, Failure> {
    let password = rpassword::prompt_password("Password (at least 8 characters): ")?;
    let again = rpassword::prompt_password("The same again: ")?;
    if password == again { Ok(password) } else { Err("the two passwords differ".into()) }
}

/// The whole of standard input, without the line's end that `echo` adds.
fn read_password() -> Result<String, Failure> {
    let mut text = String::new();
    io::stdin().lock().take(LONGEST_INPUT).read_to_string(&mut text)?;
    Ok(text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text)).to_owned())
}
