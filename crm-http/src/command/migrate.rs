use crm_http::settings::Settings;

use super::{Failure, compose, say};

/// Brings the database to this version.
pub(super) fn run(settings: &Settings) -> Result<(), Failure> {
    compose::runtime(settings)?.block_on(async {
        let store = compose::store(settings).await?;
        store.close().await;
        say(format_args!("The database {} is at this version.", settings.database))?;
        Ok(())
    })
}
