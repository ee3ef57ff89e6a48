use std::{
    error::Error,
    fmt,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    vec,
};

use async_trait::async_trait;
use hyper_util::client::legacy::connect::dns::Name;
use tower::Service;

use super::OutboundRules;

/// Finds the addresses of a name.
#[async_trait]
pub trait Resolve: fmt::Debug + Send + Sync + 'static {
    /// Every address of the name.
    ///
    /// # Errors
    /// Where there is none, or nobody to ask.
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The machine's resolver.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// Some address of the name lies inside.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("an address of the name may not be reached")]
pub(super) struct NotAllowed;

/// Resolves a name for a connection that is being made, and lets it go nowhere but to an address that was judged.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    pub(super) rules: Arc<OutboundRules>,
    pub(super) resolver: Arc<dyn Resolve>,
    pub(super) any_port: bool,
}

impl Service<Name> for Guard {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let Self { rules, resolver, any_port } = self.clone();
        Box::pin(async move {
            let addresses = resolver.resolve(name.as_str()).await?;
            // One that lies inside is enough: which of them is tried is not ours to say.
            if !addresses.iter().all(|address| rules.admits(*address, any_port)) {
                tracing::warn!(name = name.as_str(), "An outgoing request to a private address was refused.");
                return Err(NotAllowed.into());
            }
            // The port is put in by who connects.
            let addresses: Vec<SocketAddr> = addresses.into_iter().map(|address| (address, 0).into()).collect();
            Ok(addresses.into_iter())
        })
    }
}
