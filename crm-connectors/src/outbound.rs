//! Requests to addresses that an organization names.
//!
//! The name is resolved once for a connection, every address that it has is judged, and the connection goes to one of
//! those: a name that means something else a moment later gains nothing. Proxies of the environment, redirects and
//! cookies play no part.

pub(crate) mod address;
mod connect;
mod resolve;
pub(crate) mod target;

use std::{
    error::Error as _,
    net::IpAddr,
    sync::{Arc, LazyLock},
    time::{Duration, UNIX_EPOCH},
};

use async_trait::async_trait;
use bytes::Bytes;
use crm_core::{
    port::{Outbound, OutboundAnswer, OutboundFailure, OutboundRequest, RetryAfter},
    time::Timestamp,
};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Uri,
    header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT},
};
use hyper_util::{
    client::legacy::{Client, Error},
    rt::{TokioExecutor, TokioTimer},
};
use ipnet::IpNet;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::{Instant, timeout, timeout_at};

pub use self::resolve::{Resolve, SystemResolver};
use self::{
    connect::Connector,
    resolve::{Guard, NotAllowed},
    target::{Refusal, Target},
};

/// How long a connection may take to be made: the name, TCP and TLS, each and together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long everything may take together.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(20);
/// So much of a body is read; what is longer is cut off with its connection.
const READ: usize = 64 * 1024;
/// So much of it is kept.
const KEPT: usize = 1024;
/// A longer head is refused.
const HEAD: usize = 64 * 1024;
/// How long a connection waits for the next request.
const IDLE: Duration = Duration::from_secs(30);
/// Idle connections of one receiver.
const IDLE_EACH: usize = 4;

/// Which addresses may be reached, and for how long an answer is waited for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OutboundRules {
    /// Blocks that may be reached although they are private, on any port.
    pub allowed: Vec<IpNet>,
    /// Whether `http` is allowed beside `https`: for development.
    pub plain_http: bool,
    /// How long everything may take together: 20 seconds.
    pub timeout: Duration,
}

impl Default for OutboundRules {
    fn default() -> Self {
        Self { allowed: Vec::new(), plain_http: false, timeout: TOTAL_TIMEOUT }
    }
}

impl OutboundRules {
    fn allows(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.allowed.iter().any(|block| block.contains(&address))
    }

    /// Whether an address may be reached: on an unusual port only where it is named in so many words.
    fn admits(&self, address: IpAddr, any_port: bool) -> bool {
        self.allows(address) || (!any_port && address::is_public(address))
    }
}

/// TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("outgoing TLS cannot be set up")]
pub struct TlsError(#[source] Box<dyn std::error::Error + Send + Sync>);

/// Connections that go nowhere but where the guard lets them. It knows of no proxy, no redirect and no cookie.
type Connections = Client<Connector, Full<Bytes>>;

/// Sends requests to addresses that an organization names, and lets none of them reach what lies inside.
#[derive(Clone, Debug)]
pub struct GuardedHttp {
    rules: Arc<OutboundRules>,
    resolver: Arc<dyn Resolve>,
    usual_ports: Connections,
    any_port: Connections,
}

impl GuardedHttp {
    /// By the machine's resolver.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn new(rules: OutboundRules) -> Result<Self, TlsError> {
        Self::with_resolver(rules, SystemResolver)
    }

    /// By another resolver.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn with_resolver(rules: OutboundRules, resolver: impl Resolve) -> Result<Self, TlsError> {
        let (rules, resolver): (_, Arc<dyn Resolve>) = (Arc::new(rules), Arc::new(resolver));
        let tls = tls()?;
        let connections = |any_port| {
            let guard = Guard { rules: Arc::clone(&rules), resolver: Arc::clone(&resolver), any_port };
            Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(IDLE)
                .pool_max_idle_per_host(IDLE_EACH)
                .http1_max_buf_size(HEAD)
                .build(Connector::new(guard, tls.clone(), rules.plain_http))
        };
        let (usual_ports, any_port) = (connections(false), connections(true));
        Ok(Self { rules, resolver, usual_ports, any_port })
    }

    /// The address taken apart; one that is written as digits is judged at once.
    fn target(&self, url: &str) -> Result<Target, Refusal> {
        let target = Target::parse(url, self.rules.plain_http)?;
        uri(&target)?;
        // No name can lead to a network that was not named.
        if target.is_unusual_port() && self.rules.allowed.is_empty() {
            return Err(target.not_admitted());
        }
        match target.address() {
            Some(address) if !self.rules.admits(address, target.is_unusual_port()) => Err(target.not_admitted()),
            _ => Ok(target),
        }
    }
}

#[async_trait]
impl Outbound for GuardedHttp {
    async fn check(&self, url: &str) -> Result<(), OutboundFailure> {
        let target = self.target(url).map_err(refused)?;
        let Some(name) = target.name() else { return Ok(()) };
        let Ok(Ok(addresses)) = timeout(CONNECT_TIMEOUT, self.resolver.resolve(name)).await else { return Ok(()) };
        let inside = |address: &IpAddr| !self.rules.admits(*address, target.is_unusual_port());
        if addresses.iter().any(inside) { Err(refused(target.not_admitted())) } else { Ok(()) }
    }

    async fn post(&self, request: OutboundRequest) -> Result<OutboundAnswer, OutboundFailure> {
        let target = self.target(&request.url).map_err(refused)?;
        let mut outgoing = Request::post(uri(&target).map_err(refused)?)
            .body(Full::new(request.body))
            .map_err(|_| refused(Refusal::Malformed))?;
        let headers = outgoing.headers_mut();
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("crm/", env!("CARGO_PKG_VERSION"))));
        for (name, value) in &request.headers {
            let header = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value.expose()).ok());
            let Some((name, mut value)) = header else {
                return Err(OutboundFailure::Refused(format!("The header {name} cannot be sent.")));
            };
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let connections = if target.is_unusual_port() { &self.any_port } else { &self.usual_ports };
        let end = Instant::now() + self.rules.timeout;
        let sent = timeout_at(end, connections.request(outgoing)).await.map_err(|_| OutboundFailure::TimedOut)?;
        let response = sent.map_err(|error| failure(&error))?;
        let (status, retry_after) = (response.status().as_u16(), retry_after(response.headers()));
        let mut incoming = response.into_body();
        let (mut body, mut read) = (Vec::new(), 0);
        // The status counts, whatever becomes of the body.
        while let Ok(Some(Ok(frame))) = timeout_at(end, incoming.frame()).await {
            let chunk = frame.into_data().unwrap_or_default();
            read += chunk.len();
            let room = KEPT.saturating_sub(body.len()).min(chunk.len());
            body.extend_from_slice(chunk.get(..room).unwrap_or_default());
            if read > READ {
                break;
            }
        }
        Ok(OutboundAnswer { status, retry_after, body })
    }
}

fn uri(target: &Target) -> Result<Uri, Refusal> {
    Uri::try_from(target.url().as_str()).map_err(|_| Refusal::Malformed)
}

fn refused(refusal: Refusal) -> OutboundFailure {
    OutboundFailure::Refused(refusal.to_string())
}

/// What `Retry-After` says: seconds, or a date in one of the three forms of HTTP.
fn retry_after(headers: &HeaderMap) -> Option<RetryAfter> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More than a number holds is as long as can be.
        return (!text.is_empty()).then(|| RetryAfter::In(Duration::from_secs(text.parse().unwrap_or(u64::MAX))));
    }
    let since_epoch = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    let milliseconds = i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_milliseconds(milliseconds).map(RetryAfter::At)
}

/// What went wrong, in a sentence without addresses: those of the inside are nobody's business.
fn failure(error: &Error) -> OutboundFailure {
    let mut cause = error.source();
    while let Some(found) = cause {
        if let Some(NotAllowed) = found.downcast_ref() {
            return OutboundFailure::Refused(Refusal::Inside.to_string());
        }
        cause = found.source();
    }
    if error.is_connect() {
        OutboundFailure::Unreachable("No connection can be made there.".to_owned())
    } else {
        OutboundFailure::Broken("The connection broke before the answer had come.".to_owned())
    }
}

/// The authorities that the machine trusts, or those that browsers trust where it names none. Read once by a process.
static AUTHORITIES: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    Arc::new(roots)
});

/// TLS that believes those authorities.
pub(crate) fn tls() -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(builder
        .map_err(|error| TlsError(error.into()))?
        .with_root_certificates(Arc::clone(&AUTHORITIES))
        .with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_asks_for_time_in_seconds_or_by_a_date() {
        let at = Some(RetryAfter::At(Timestamp::from_milliseconds(784_111_777_000).expect("an instant")));
        let seconds = |seconds| Some(RetryAfter::In(Duration::from_secs(seconds)));
        for (text, expected) in [
            ("0", seconds(0)),
            (" 120 ", seconds(120)),
            ("99999999999999999999999", seconds(u64::MAX)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", at),
            ("Sunday, 06-Nov-94 08:49:37 GMT", at),
            ("Sun Nov  6 08:49:37 1994", at),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("Sun, 99 Nov 1994 08:49:37 GMT", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(text).expect("a header"))]);
            assert_eq!(retry_after(&headers), expected, "{text:?}");
        }
    }
}
