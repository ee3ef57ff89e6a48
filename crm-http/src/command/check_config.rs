use crm_http::settings::{Settings, Shown};

use super::{Failure, compose, say};

/// Prints the settings as they hold; secrets are not shown.
pub(super) fn run(settings: &Settings) -> Result<(), Failure> {
    let width = settings.shown.iter().map(|shown| shown.name.len()).max().unwrap_or(0);
    for Shown { name, value, source, later } in &settings.shown {
        let place = source.as_ref().map_or_else(|| "default".to_owned(), ToString::to_string);
        let note = if *later { "; no effect in this version" } else { "" };
        say(format_args!("{name:width$}  {value}  ({place}{note})"))?;
    }
    compose::check_database(settings)?;
    say("The settings are fine.")?;
    Ok(())
}
