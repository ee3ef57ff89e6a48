use std::{
    error::Error,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use hyper::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};
use rustls::ClientConfig;
use tokio::{net::TcpStream, time::timeout};
use tower::Service;

use super::{CONNECT_TIMEOUT, resolve::Guard};

/// Makes connections in bounded time. A connection that nobody waits for any more is made to its end in the background,
/// so that a receiver who never ends its handshake would otherwise hold each for ever.
#[derive(Clone, Debug)]
pub(super) struct Connector(HttpsConnector<HttpConnector<Guard>>);

impl Connector {
    pub(super) fn new(guard: Guard, tls: ClientConfig, plain_http: bool) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(guard);
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let builder = HttpsConnectorBuilder::new().with_tls_config(tls);
        let builder = if plain_http { builder.https_or_http() } else { builder.https_only() };
        Self(builder.enable_http1().wrap_connector(tcp))
    }
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.0.call(uri);
        Box::pin(async move { timeout(CONNECT_TIMEOUT, connecting).await? })
    }
}
