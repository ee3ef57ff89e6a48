use crm_core::resealing;
use crm_http::settings::Settings;

use super::{Failure, compose, say};

/// Seals every secret at rest under the newest key of `ENCRYPTION_KEY`.
pub(super) fn run(settings: &Settings) -> Result<(), Failure> {
    compose::runtime(settings)?.block_on(async {
        let crm = compose::crm(settings, compose::store(settings).await?)?;
        let done = resealing::reseal(&crm).await;
        crm.store().close().await;
        let done = done?;
        say(format_args!(
            "{} records were sealed under the newest key; {} needed nothing.",
            done.renewed, done.current
        ))?;
        if done.unreadable > 0 {
            let message = format!(
                "no key opens the secrets of {} records: add the missing key to ENCRYPTION_KEY",
                done.unreadable
            );
            return Err(message.into());
        }
        say("The old key is needed for one more day, for answers kept under an Idempotency-Key; then leave it out.")?;
        Ok(())
    })
}
