use std::{
    fmt,
    future::{Future, IntoFuture},
    pin::Pin,
};

use reqwest::Method;
use serde_json::Value;

use super::{answer::Answer, answer::Entity};

/// Somebody who sends requests: nobody, or somebody who is signed in.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    headers: Vec<(&'static str, String)>,
}

impl Client {
    pub(crate) fn new(base: String) -> Self {
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build();
        Self { http: http.expect("a client"), base, headers: Vec::new() }
    }

    /// The same with one more header on every request.
    pub(crate) fn with(&self, name: &'static str, value: impl Into<String>) -> Self {
        let mut client = self.clone();
        client.headers.push((name, value.into()));
        client
    }

    /// The same with an access token.
    pub(crate) fn with_token(&self, token: &str) -> Self {
        self.with("authorization", format!("Bearer {token}"))
    }

    pub(crate) fn get(&self, path: impl fmt::Display) -> Request {
        self.request(Method::GET, path)
    }

    pub(crate) fn post(&self, path: impl fmt::Display, body: impl Into<Value>) -> Request {
        self.request(Method::POST, path).json(&body.into())
    }

    pub(crate) fn put(&self, path: impl fmt::Display, body: impl Into<Value>) -> Request {
        self.request(Method::PUT, path).json(&body.into())
    }

    pub(crate) fn patch(&self, path: impl fmt::Display, body: impl Into<Value>) -> Request {
        self.request(Method::PATCH, path).json(&body.into())
    }

    pub(crate) fn delete(&self, path: impl fmt::Display) -> Request {
        self.request(Method::DELETE, path)
    }

    /// Any request. A path such as `/customers` is below `/api/v1`; one that begins with `/api/` or `//` is taken as it
    /// is, without one of the two slashes.
    pub(crate) fn request(&self, method: Method, path: impl fmt::Display) -> Request {
        let path = path.to_string();
        let path = match path.strip_prefix("//") {
            Some(rest) => format!("/{rest}"),
            None if path.starts_with("/api/") => path,
            None => format!("/api/v1{path}"),
        };
        let asked = format!("{method} {path}");
        let mut builder = self.http.request(method, format!("{}{path}", self.base));
        for (name, value) in &self.headers {
            builder = builder.header(*name, value);
        }
        Request { builder, asked }
    }
}

/// A request that is sent when it is awaited.
pub(crate) struct Request {
    builder: reqwest::RequestBuilder,
    asked: String,
}

impl Request {
    /// With one more header.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.asked = format!("{}\n  {name}: {value}", self.asked);
        self.builder = self.builder.header(name, value);
        self
    }

    /// Only if the record is still as it was read.
    pub(crate) fn if_match(self, entity: &Entity) -> Self {
        self.header("if-match", &entity.etag)
    }

    /// With a JSON body.
    pub(crate) fn json(self, body: &Value) -> Self {
        self.raw("application/json", body.to_string())
    }

    /// With any body.
    pub(crate) fn raw(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        let shown: String = String::from_utf8_lossy(&body).chars().take(2000).collect();
        self.asked = format!("{}\n  {shown}", self.asked);
        self.builder = self.builder.header("content-type", content_type).body(body);
        self
    }
}

impl IntoFuture for Request {
    type Output = Answer;
    type IntoFuture = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { builder, asked } = self;
            let response = builder.send().await.unwrap_or_else(|error| panic!("no answer to {asked}: {error:?}"));
            let (status, headers) = (response.status(), response.headers().clone());
            let body = response.bytes().await.unwrap_or_else(|error| panic!("no body of {asked}: {error:?}"));
            Answer { asked, status, headers, body: body.to_vec() }
        })
    }
}
