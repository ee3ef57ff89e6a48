//! A language model behind the interface of chat completions that many servers share.

mod reply;

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use crm_core::{
    port::{LanguageModel, ModelFailure, ModelRequest},
    secret::Secret,
};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Request, Uri,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout_at};

use crate::{Breaker, TlsError, outbound::tls};

/// How long an answer is waited for, a second try included.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest answer, in bytes.
const LARGEST: usize = 256 * 1024;
/// The pause before a second try.
const PAUSE: Duration = Duration::from_millis(250);
/// How long a connection waits for the next request.
const IDLE: Duration = Duration::from_secs(30);

/// Where a model is, and how it is asked.
#[derive(Clone, Debug)]
pub struct ModelOptions {
    /// The address that `/chat/completions` is under, such as `https://api.example.com/v1`. The operator names it, so it
    /// may be private.
    pub base_url: String,
    /// The key that it wants, sent as a bearer token.
    pub api_key: Option<Secret<String>>,
    /// The model's name.
    pub model: String,
    /// How long an answer is waited for, a second try included: 10 seconds.
    pub timeout: Duration,
}

impl ModelOptions {
    /// A model with the usual times.
    #[must_use]
    pub const fn new(base_url: String, model: String, api_key: Option<Secret<String>>) -> Self {
        Self { base_url, api_key, model, timeout: TIMEOUT }
    }
}

/// Asks a model by HTTP. After an answer 429 or 5xx it is asked once more; after five failures on end it is left alone for
/// a while, and then one request tries whether it is back.
#[derive(Debug)]
pub struct HttpModel {
    options: ModelOptions,
    address: Uri,
    authorization: Option<HeaderValue>,
    connections: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    breaker: Mutex<Breaker>,
}

/// The model's settings cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelOptionsError {
    /// The address is none.
    #[error("the address of the model must be one such as https://api.example.com/v1")]
    Address,
    /// The key cannot be sent in a header.
    #[error("the key of the model has characters that no header can have")]
    Key,
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl HttpModel {
    /// Without asking it yet.
    ///
    /// # Errors
    /// [`ModelOptionsError`].
    pub fn new(options: ModelOptions) -> Result<Self, ModelOptionsError> {
        let address = format!("{}/chat/completions", options.base_url.trim_end_matches('/'));
        let address: Uri = address.parse().map_err(|_| ModelOptionsError::Address)?;
        if !matches!(address.scheme_str(), Some("http" | "https")) || address.host().is_none() {
            return Err(ModelOptionsError::Address);
        }
        let authorization = match &options.api_key {
            Some(key) => {
                let mut value =
                    HeaderValue::try_from(format!("Bearer {}", key.expose())).map_err(|_| ModelOptionsError::Key)?;
                value.set_sensitive(true);
                Some(value)
            }
            None => None,
        };
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls()?).https_or_http().enable_http1().wrap_connector(tcp);
        let connections = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        Ok(Self { options, address, authorization, connections, breaker: Mutex::default() })
    }

    fn breaker<T>(&self, act: impl FnOnce(&mut Breaker) -> T) -> T {
        act(&mut self.breaker.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn body(&self, request: &ModelRequest) -> Bytes {
        let body = json!({
            "model": self.options.model,
            "temperature": 0,
            "max_tokens": request.most_tokens,
            "messages": [
                {"role": "system", "content": request.instructions},
                {"role": "user", "content": request.text},
            ],
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": request.name, "strict": true, "schema": request.schema},
            },
        });
        Bytes::from(body.to_string())
    }

    async fn ask(&self, body: &Bytes, end: Instant) -> Result<Bytes, ModelFailure> {
        let mut request = Request::post(self.address.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("crm/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(body.clone()))
            .map_err(|_| ModelFailure::Unusable("the request cannot be made"))?;
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        let sent = timeout_at(end, self.connections.request(request)).await.map_err(|_| ModelFailure::TimedOut)?;
        let response = sent.map_err(|_| ModelFailure::Unreachable)?;
        let status = response.status();
        if !status.is_success() {
            return Err(ModelFailure::Rejected(status.as_u16()));
        }
        let body = timeout_at(end, Limited::new(response.into_body(), LARGEST).collect()).await;
        match body.map_err(|_| ModelFailure::TimedOut)? {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                Err(ModelFailure::Unusable("it is too large"))
            }
            Err(_) => Err(ModelFailure::Unreachable),
        }
    }
}

#[async_trait]
impl LanguageModel for HttpModel {
    async fn complete(&self, request: ModelRequest) -> Result<String, ModelFailure> {
        if !self.breaker(|breaker| breaker.admits(Instant::now())) {
            return Err(ModelFailure::Resting);
        }
        let mut asking = Asking { model: self, told: false };
        let (body, end) = (self.body(&request), Instant::now() + self.options.timeout);
        let mut answer = self.ask(&body, end).await;
        if let Err(ModelFailure::Rejected(429 | 500..=599)) = answer
            && Instant::now() + PAUSE < end
        {
            sleep(PAUSE).await;
            answer = self.ask(&body, end).await;
        }
        // Whatever it said, it is there.
        let is_there = matches!(answer, Ok(_) | Err(ModelFailure::Unusable(_)));
        asking.told = true;
        self.breaker(|breaker| if is_there { breaker.succeeded() } else { breaker.failed(Instant::now()) });
        reply::content(&answer?)
    }
}

/// A request that may end before its answer, because whoever asked went away.
struct Asking<'a> {
    model: &'a HttpModel,
    told: bool,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if !self.told {
            self.model.breaker(Breaker::gave_up);
        }
    }
}
