use crm_core::Crm;
use crm_http::{demo, logging, settings::Settings};

use super::{Failure, compose, progress, say, serve};

/// Loads the sample, says who can sign in, and serves.
pub(super) fn run(settings: &Settings) -> Result<(), Failure> {
    if settings.is_production() {
        return Err("the sample is not loaded in production: anybody who reads the output could sign in".into());
    }
    logging::start(&settings.log_level, settings.log_format)?;
    compose::runtime(settings)?.block_on(async {
        let crm = compose::crm(settings, compose::store(settings).await?)?;
        let bar = progress::Bar::new();
        let loaded = demo::load(&crm, &|step, done, all| bar.show(step, done, all)).await;
        bar.finish();
        loaded?;
        introduce(settings, &crm)?;
        serve::serve(settings, crm).await
    })
}

fn introduce(settings: &Settings, crm: &Crm) -> Result<(), Failure> {
    let base = format!("http://{}:{}", settings.host, settings.port);
    say(format_args!(
        "\nThe sample is loaded. Sign in with POST {base}/api/v1/auth/login, or try it at {base}/docs:\n"
    ))?;
    say(format_args!("  {:<18} {:<8} {:<20} E-mail address", "Organization", "Role", "Name"))?;
    for login in demo::logins() {
        let demo::DemoLogin { organization, role, name, email } = login;
        say(format_args!("  {organization:<18} {:<8} {name:<20} {email}", role.name()))?;
    }
    say(format_args!("\n  The password of each is {}\n", demo::password(crm)))?;
    Ok(())
}
