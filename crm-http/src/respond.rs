//! The successful answers of handlers.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::problem::Problem;

/// 200 (or another success) with a JSON body.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        json(StatusCode::OK, &self.0)
    }
}

/// 200 with one record, its version as `ETag`.
#[derive(Debug)]
pub(crate) struct Record<T> {
    pub(crate) version: i64,
    pub(crate) body: T,
}

impl<T> Record<T> {
    /// The record as answered, which has this version.
    pub(crate) const fn new(version: i64, body: T) -> Self {
        Self { version, body }
    }
}

impl<T: Serialize> IntoResponse for Record<T> {
    fn into_response(self) -> Response {
        let mut response = json(StatusCode::OK, &self.body);
        response.headers_mut().insert(header::ETAG, etag(self.version));
        response
    }
}

/// 201 with the new record, its version as `ETag` and its address as `Location`.
#[derive(Debug)]
pub(crate) struct Created<T> {
    location: String,
    version: Option<i64>,
    body: T,
}

impl<T> Created<T> {
    /// A record that is now found under `/{path}/{id}`, such as `customers` and its id.
    pub(crate) fn new(path: &str, id: impl std::fmt::Display, version: i64, body: T) -> Self {
        Self { location: format!("/api/v1/{path}/{id}"), version: Some(version), body }
    }

    /// Something new without a version, found at `/{path}`.
    pub(crate) fn unversioned(path: &str, body: T) -> Self {
        Self { location: format!("/api/v1/{path}"), version: None, body }
    }
}

impl<T: Serialize> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        let mut response = json(StatusCode::CREATED, &self.body);
        let headers = response.headers_mut();
        if let Ok(location) = HeaderValue::try_from(self.location) {
            headers.insert(header::LOCATION, location);
        }
        if let Some(version) = self.version {
            headers.insert(header::ETAG, etag(version));
        }
        response
    }
}

/// 202 with work that goes on, and the address where it can be watched.
#[derive(Debug)]
pub(crate) struct Accepted<T> {
    location: String,
    body: T,
}

impl<T> Accepted<T> {
    /// Work that is found under `/{path}/{id}`.
    pub(crate) fn new(path: &str, id: impl std::fmt::Display, body: T) -> Self {
        Self { location: format!("/api/v1/{path}/{id}"), body }
    }
}

impl<T: Serialize> IntoResponse for Accepted<T> {
    fn into_response(self) -> Response {
        let mut response = json(StatusCode::ACCEPTED, &self.body);
        if let Ok(location) = HeaderValue::try_from(self.location) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        response
    }
}

/// 204.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoContent;

impl IntoResponse for NoContent {
    fn into_response(self) -> Response {
        StatusCode::NO_CONTENT.into_response()
    }
}

/// The version of a record as an entity tag.
pub(crate) fn etag(version: i64) -> HeaderValue {
    HeaderValue::try_from(format!("\"{version}\"")).unwrap_or(HeaderValue::from_static("\"0\""))
}

/// A JSON body.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => {
            let mut response = Response::new(Body::from(bytes));
            *response.status_mut() = status;
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
            response
        }
        Err(error) => {
            tracing::error!(%error, "An answer could not be written as JSON.");
            Problem::internal().into_response()
        }
    }
}

/// The content type of every JSON answer.
pub(crate) const JSON: &str = "application/json; charset=utf-8";
