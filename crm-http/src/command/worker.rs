use crm_core::background;
use crm_http::{logging, settings::Settings};
use tokio_util::sync::CancellationToken;

use super::{Failure, compose, serve};

/// Does the background work until a signal comes.
pub(super) fn run(settings: &Settings) -> Result<(), Failure> {
    logging::start(&settings.log_level, settings.log_format)?;
    compose::runtime(settings)?.block_on(async {
        let crm = compose::crm(settings, compose::store(settings).await?)?;
        let closing = CancellationToken::new();
        let background = tokio::spawn(background::run(crm.clone(), closing.clone().cancelled_owned()));
        tracing::info!("The worker runs jobs and hands on events. It listens on no port.");
        serve::signalled().await;
        tracing::info!("Stopping: jobs in hand finish their step and go back. A second signal ends at once.");
        closing.cancel();
        tokio::select! {
            () = serve::close(crm, background, settings.shutdown_timeout) => {
                tracing::info!("Stopped.");
                Ok(())
            }
            () = serve::signalled() => Err("ended at once by a second signal".into()),
        }
    })
}
