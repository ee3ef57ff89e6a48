use std::{sync::Arc, time::Duration};

use crm_core::limit::Policy;
use ipnet::IpNet;
use tokio_util::sync::CancellationToken;

/// How the router meets the world. The defaults are safe ones.
#[derive(Clone, Debug)]
pub struct RouterOptions {
    /// Origins whose pages may call the API from a browser, such as `https://app.example.com`; exact matches only.
    pub allowed_origins: Origins,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Arc<[IpNet]>,
    /// Whether clients come by HTTPS: tells browsers to stay with it, and makes cookies `Secure`.
    pub https: bool,
    /// How many requests an address may make without signing in: all of these at once. None lifts it.
    pub anonymous_limits: Vec<Policy>,
    /// How many requests one user or key may make. Nothing lifts it.
    pub principal_limit: Option<Policy>,
    /// The longest body of a request, in bytes.
    pub body_limit: usize,
    /// The largest file that is taken, with the fields beside it, in bytes (`IMPORT_MAX_BYTES`).
    pub upload_limit: u64,
    /// How long a body may take to arrive; of a file, each piece.
    pub body_timeout: Duration,
    /// The longest address of a request, in bytes.
    pub uri_limit: usize,
    /// How long an answer may take before it is 503.
    pub request_timeout: Duration,
    /// How old the last look at the store may be when readiness is asked for.
    pub health_interval: Duration,
    /// How long the store may take to answer that look.
    pub health_timeout: Duration,
    /// The public address of the API, such as `https://crm.example.com`, for the OpenAPI document.
    pub base_url: Option<String>,
    /// Cancelled when the process begins to stop: readiness turns false at once.
    pub stopping: CancellationToken,
}

impl Default for RouterOptions {
    fn default() -> Self {
        Self {
            allowed_origins: Origins::none(),
            trusted_proxies: Arc::new([]),
            https: false,
            anonymous_limits: vec![
                Policy::new("anonymous", 100, Duration::from_mins(1)),
                Policy::new("anonymous-2", 1000, Duration::from_hours(1)),
            ],
            principal_limit: Some(Policy::new("principal", 6000, Duration::from_mins(15))),
            body_limit: 1024 * 1024,
            upload_limit: 1024 * 1024 * 1024,
            body_timeout: Duration::from_secs(30),
            uri_limit: 16 * 1024,
            request_timeout: Duration::from_secs(60),
            health_interval: Duration::from_secs(30),
            health_timeout: Duration::from_secs(5),
            base_url: None,
            stopping: CancellationToken::new(),
        }
    }
}

/// Which origins may call from a browser.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Origins {
    /// These, with credentials. Never reflected: an origin is one of the list or none.
    List(Arc<[String]>),
    /// Any, but without credentials.
    Any,
}

impl Origins {
    /// None but the API's own.
    #[must_use]
    pub fn none() -> Self {
        Self::List(Arc::new([]))
    }
}
