//! Serving over TCP: time-outs against slow clients, and an orderly stop.

mod impatient;

use std::{future::Future, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{Router, extract::ConnectInfo};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tower::ServiceExt as _;

use self::impatient::Impatient;

/// A client has so long to send the head of a request, and a connection may be idle so long.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// A client that takes nothing of an answer for so long is given up.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// The head of a request may be so long, in bytes.
const HEAD_LIMIT: usize = 64 * 1024;
/// A request may have so many headers.
const HEADERS_LIMIT: usize = 100;
/// So many connections are served at once; more wait to be accepted.
const CONNECTIONS: usize = 10_000;
/// So many requests at once on one HTTP/2 connection.
const STREAMS: u32 = 200;
/// How long accepting pauses where the system has no more files to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How serving ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stopped {
    /// Every request in hand was answered.
    Clean,
    /// Some were not answered in time.
    TimedOut,
}

/// Serves until `stop` ends, then accepts no more, and waits for the requests in hand for at most `timeout`.
pub async fn serve(listener: TcpListener, app: Router, stop: impl Future<Output = ()>, timeout: Duration) -> Stopped {
    let builder = Arc::new(connection_builder());
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut stop = pin!(stop);
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            () = &mut stop => break,
            accepted = accepted => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                pause_after(&error).await;
                continue;
            }
        };
        let connection = connection(&builder, stream, peer, app.clone());
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "A connection broke.");
            }
            drop(place);
        });
    }
    drop(listener);
    match tokio::time::timeout(timeout, graceful.shutdown()).await {
        Ok(()) => Stopped::Clean,
        Err(_elapsed) => Stopped::TimedOut,
    }
}

fn connection_builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_LIMIT)
        .max_headers(HEADERS_LIMIT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HEAD_TIMEOUT)
        .keep_alive_timeout(HEAD_TIMEOUT)
        .max_header_list_size(u32::try_from(HEAD_LIMIT).unwrap_or(u32::MAX))
        .max_concurrent_streams(STREAMS);
    builder
}

fn connection(
    builder: &Builder<TokioExecutor>,
    stream: TcpStream,
    peer: SocketAddr,
    app: Router,
) -> impl hyper_util::server::graceful::GracefulConnection<Error = Box<dyn std::error::Error + Send + Sync>> + Send + 'static
{
    // Answers are written whole: waiting for more to send only delays them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "A connection keeps its delay.");
    }
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        app.clone().oneshot(request.map(axum::body::Body::new))
    });
    builder.serve_connection_with_upgrades(TokioIo::new(Impatient::new(stream, WRITE_TIMEOUT)), service).into_owned()
}

/// A connection that is gone already is nothing; without files, accepting again at once would only spin.
async fn pause_after(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        tracing::error!(%error, "No connection can be accepted.");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}
