//! Another service of the operator, asked for records of customers.
//!
//! Its address is the operator's own word, so that it may be a private one. It is given half a second for each try, two
//! more tries where it fails in a way that may pass, and is left alone for a while where it keeps failing. No more than a
//! few requests are with it at once, and no more of an answer is read than a page needs.

mod breaker;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use crm_core::{
    port::{Random, RecordService, RecordsAsked, ServiceFailure},
    secret::Secret,
};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{
    Request, Uri,
    header::{ACCEPT, HeaderValue, USER_AGENT},
};
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, timeout},
};

pub use self::breaker::Breaker;
use crate::outbound::{TlsError, tls};

/// A longer head is refused.
const HEAD: usize = 64 * 1024;
/// How long a connection waits for the next request.
const IDLE: Duration = Duration::from_secs(30);

/// How a service is asked.
#[derive(Clone, Debug)]
pub struct ServiceOptions {
    /// Its address, such as `http://orders.internal:8080`. Where it has `{customer_id}`, that is the whole address;
    /// otherwise `/customers/{customer_id}/` and the name of the records follow.
    pub url: String,
    /// What the records are called: the last part of the address, and the member of an answer that holds them.
    pub name: &'static str,
    /// The key that it is given as `X-API-Key`.
    pub key: Option<Secret<String>>,
    /// How long a try may take: 500 ms.
    pub timeout: Duration,
    /// How often it is asked again: twice.
    pub retries: u32,
    /// So many requests are with it at once: 16.
    pub at_once: usize,
    /// The longest answer that is read, in bytes: 1 MB.
    pub longest: usize,
}

impl ServiceOptions {
    /// Of an address.
    #[must_use]
    pub fn new(url: impl Into<String>, name: &'static str) -> Self {
        Self {
            url: url.into(),
            name,
            key: None,
            timeout: Duration::from_millis(500),
            retries: 2,
            at_once: 16,
            longest: 1024 * 1024,
        }
    }

    /// With a key.
    #[must_use]
    pub fn key(mut self, key: Option<Secret<String>>) -> Self {
        self.key = key;
        self
    }
}

/// Another service, asked over HTTP.
pub struct HttpRecordService {
    options: ServiceOptions,
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    breaker: Mutex<Breaker>,
    places: Semaphore,
    random: Arc<dyn Random>,
}

impl fmt::Debug for HttpRecordService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpRecordService").field("name", &self.options.name).finish_non_exhaustive()
    }
}

impl HttpRecordService {
    /// Of an address. Nothing is sent yet.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn new(options: ServiceOptions, random: Arc<dyn Random>) -> Result<Self, TlsError> {
        let mut plain = HttpConnector::new();
        plain.enforce_http(false);
        plain.set_connect_timeout(Some(options.timeout));
        plain.set_nodelay(true);
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls()?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(plain);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .http1_max_buf_size(HEAD)
            .build(connector);
        let places = Semaphore::new(options.at_once);
        Ok(Self { options, client, breaker: Mutex::default(), places, random })
    }

    fn uri(&self, asked: RecordsAsked<'_>) -> Result<Uri, ServiceFailure> {
        let ServiceOptions { url, name, .. } = &self.options;
        let id = asked.customer.to_string();
        let address = if url.contains("{customer_id}") {
            url.replace("{customer_id}", &id)
        } else {
            format!("{}/customers/{id}/{name}", url.trim_end_matches('/'))
        };
        let joint = if address.contains('?') { '&' } else { '?' };
        format!("{address}{joint}limit={}", asked.limit).parse().map_err(|_| ServiceFailure::Unreachable)
    }

    /// One try.
    async fn ask(&self, asked: RecordsAsked<'_>) -> Result<Vec<Box<RawValue>>, ServiceFailure> {
        let mut request = Request::get(self.uri(asked)?)
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("crm/", env!("CARGO_PKG_VERSION")))
            .header("x-organization-id", asked.organization.to_string());
        if let Some(id) = asked.request_id {
            request = request.header("x-request-id", id);
        }
        if let Some(key) = &self.options.key {
            let mut key = HeaderValue::from_str(key.expose()).map_err(|_| ServiceFailure::Unreachable)?;
            key.set_sensitive(true);
            request = request.header("x-api-key", key);
        }
        let request = request.body(Empty::new()).map_err(|_| ServiceFailure::Unreachable)?;
        let answered = async {
            let answer = self.client.request(request).await.map_err(|_| ServiceFailure::Unreachable)?;
            let status = answer.status().as_u16();
            match status {
                // It does not know the customer: then there is nothing.
                404 => return Ok(Vec::new()),
                200..300 => {}
                _ => return Err(ServiceFailure::Status(status)),
            }
            let body = Limited::new(answer.into_body(), self.options.longest).collect().await;
            let body = body.map_err(|error| {
                let too_long = error.downcast_ref::<http_body_util::LengthLimitError>().is_some();
                if too_long { ServiceFailure::Unintelligible } else { ServiceFailure::Unreachable }
            })?;
            records(&body.to_bytes(), self.options.name).ok_or(ServiceFailure::Unintelligible)
        };
        timeout(self.options.timeout, answered).await.unwrap_or(Err(ServiceFailure::TimedOut))
    }

    fn breaker<T>(&self, act: impl FnOnce(&mut Breaker) -> T) -> T {
        act(&mut self.breaker.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How long until the next try: 20 to 60 ms, then twice that.
    fn pause(&self, tries: u32) -> Duration {
        let mut byte = [0];
        self.random.fill(&mut byte);
        let [byte] = byte;
        Duration::from_millis((20 + u64::from(byte) * 40 / 255) << tries.min(4))
    }
}

/// Whether the same may succeed a moment later.
const fn may_pass(failure: ServiceFailure) -> bool {
    match failure {
        ServiceFailure::TimedOut | ServiceFailure::Unreachable => true,
        ServiceFailure::Status(status) => status >= 500,
        _ => false,
    }
}

/// Whether the failure tells that the service is not well.
const fn is_ill(failure: ServiceFailure) -> bool {
    match failure {
        ServiceFailure::Status(status) => status >= 500 || status == 429,
        ServiceFailure::LeftAlone | ServiceFailure::Busy => false,
        _ => true,
    }
}

/// Tells the breaker of a try that ended before its answer, because whoever asked went away.
struct Asking<'a> {
    service: &'a HttpRecordService,
    told: bool,
}

impl Asking<'_> {
    fn tell(mut self, ill: bool) {
        self.told = true;
        self.service.breaker(|breaker| if ill { breaker.failed(Instant::now()) } else { breaker.succeeded() });
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if !self.told {
            self.service.breaker(Breaker::gave_up);
        }
    }
}

#[async_trait]
impl RecordService for HttpRecordService {
    async fn records_of(&self, asked: RecordsAsked<'_>) -> Result<Vec<Box<RawValue>>, ServiceFailure> {
        let Ok(_place) = self.places.try_acquire() else { return Err(ServiceFailure::Busy) };
        let mut tries = 0;
        loop {
            if !self.breaker(|breaker| breaker.admits(Instant::now())) {
                return Err(ServiceFailure::LeftAlone);
            }
            let asking = Asking { service: self, told: false };
            let answer = self.ask(asked).await;
            asking.tell(answer.as_ref().is_err_and(|failure| is_ill(*failure)));
            match answer {
                Err(failure) if may_pass(failure) && tries < self.options.retries => {
                    sleep(self.pause(tries)).await;
                    tries += 1;
                }
                done => return done,
            }
        }
    }
}

/// The records in an answer: a list, or the list in its member `data`, of the records' own name, `items` or `results`.
fn records(body: &[u8], name: &str) -> Option<Vec<Box<RawValue>>> {
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Members(std::collections::HashMap<String, Box<RawValue>>);

    let list = |json: &[u8]| serde_json::from_slice::<Vec<Box<RawValue>>>(json).ok();
    if let Some(records) = list(body) {
        return Some(records);
    }
    let Members(members) = serde_json::from_slice(body).ok()?;
    ["data", name, "items", "results"].iter().find_map(|name| list(members.get(*name)?.get().as_bytes()))
}

#[cfg(test)]
mod tests;
