use std::time::Duration;

use crm_core::{Crm, background};
use crm_http::{
    logging, router,
    server::{self, Stopped},
    settings::{Settings, Shown},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Failure, compose};

/// Serves until a signal comes.
pub(super) fn run(settings: &Settings) -> Result<(), Failure> {
    logging::start(&settings.log_level, settings.log_format)?;
    compose::runtime(settings)?.block_on(async {
        warn_of_later(settings);
        let crm = compose::crm(settings, compose::store(settings).await?)?;
        serve(settings, crm).await
    })
}

/// Serves a CRM until a signal comes, then closes it.
pub(super) async fn serve(settings: &Settings, crm: Crm) -> Result<(), Failure> {
    let listener = listen(settings).await?;
    let address = listener.local_addr()?;
    if settings.development_tokens && !address.ip().is_loopback() {
        tracing::warn!(
            "POST /auth/dev-token signs anybody in without a password, and {address} is not only for this machine: set \
             APP_ENV=production."
        );
    }
    let (stopping, closing) = (CancellationToken::new(), CancellationToken::new());
    let app = router(crm.clone(), compose::options(settings, stopping.clone()));
    let background = tokio::spawn(background::run(crm.clone(), closing.clone().cancelled_owned()));
    tracing::info!("The CRM listens on http://{address}: API at /api/v1, documents at /docs and /redoc.");

    let stop = {
        let (stopping, delay) = (stopping.clone(), settings.shutdown_delay);
        async move {
            signalled().await;
            tracing::info!("Stopping: requests in hand are answered. A second signal ends at once.");
            stopping.cancel();
            tokio::time::sleep(delay).await;
        }
    };
    let finish = async {
        let stopped = server::serve(listener, app, stop, settings.shutdown_timeout).await;
        closing.cancel();
        close(crm, background, settings.shutdown_timeout).await;
        stopped
    };
    let impatient = async {
        stopping.cancelled().await;
        signalled().await;
    };
    tokio::select! {
        stopped = finish => match stopped {
            Stopped::Clean => {
                tracing::info!("Stopped.");
                Ok(())
            }
            Stopped::TimedOut => Err("some requests were not answered within SHUTDOWN_TIMEOUT".into()),
        },
        () = impatient => Err("ended at once by a second signal".into()),
    }
}

/// Ends the background work, then the store.
pub(super) async fn close(crm: Crm, background: tokio::task::JoinHandle<()>, timeout: Duration) {
    let closed = async {
        if let Err(error) = background.await {
            tracing::error!(%error, "The background work broke.");
        }
        if let Some(queue) = crm.queue() {
            queue.close().await;
        }
        crm.store().close().await;
    };
    if tokio::time::timeout(timeout, closed).await.is_err() {
        tracing::error!("The background work and the store did not end in time.");
    }
}

async fn listen(settings: &Settings) -> Result<TcpListener, Failure> {
    let (host, port) = (settings.host.as_str(), settings.port);
    TcpListener::bind((host, port)).await.map_err(|error| {
        let sentence = match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                format!("port {port} of {host} is taken: stop the other program, or set PORT")
            }
            std::io::ErrorKind::PermissionDenied => {
                format!("port {port} of {host} may not be opened by this user: set PORT to one above 1023")
            }
            _ => format!("{host}:{port} cannot be listened on: {error}"),
        };
        sentence.into()
    })
}

fn warn_of_later(settings: &Settings) {
    for Shown { name, .. } in settings.shown.iter().filter(|shown| shown.later) {
        tracing::warn!("{name} is set, and has no effect in this version.");
    }
}

/// Ends when the process is told to stop, by SIGTERM or Ctrl-C.
pub(super) async fn signalled() {
    let interrupted = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminated = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminated = std::future::pending::<()>();
    tokio::select! {
        () = interrupted => {}
        () = terminated => {}
    }
}
