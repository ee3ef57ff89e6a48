use std::fmt;

use reqwest::{StatusCode, header::HeaderMap};
use serde_json::Value;

use super::log;

/// What the server answered, with what was asked.
pub(crate) struct Answer {
    pub(crate) asked: String,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// A record as the server answered it, with where it is.
#[derive(Clone, Debug)]
pub(crate) struct Entity {
    pub(crate) path: String,
    pub(crate) etag: String,
    pub(crate) body: Value,
}

impl Entity {
    /// The record's id.
    pub(crate) fn id(&self) -> &str {
        self.body["id"].as_str().expect("a record has an id")
    }
}

impl fmt::Display for Entity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)
    }
}

impl std::ops::Index<&str> for Entity {
    type Output = Value;

    fn index(&self, member: &str) -> &Value {
        &self.body[member]
    }
}

impl Answer {
    /// The server-sent events: their names, ids and data.
    pub(crate) fn events(&self) -> Vec<(String, String, Value)> {
        let text = std::str::from_utf8(&self.body).expect("text");
        let fields = |event: &str, name: &str| {
            let line = event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            line.map(str::to_owned)
        };
        text.split("\n\n")
            .filter_map(|event| {
                let data = serde_json::from_str(&fields(event, "data")?).expect("JSON");
                Some((fields(event, "event")?, fields(event, "id")?, data))
            })
            .collect()
    }

    /// 200, and its body.
    #[track_caller]
    pub(crate) fn ok(&self) -> Value {
        self.expect_status(200);
        self.json()
    }

    /// 201, and the record with where it is.
    #[track_caller]
    pub(crate) fn created(&self) -> Entity {
        self.expect_status(201);
        self.entity(self.header("location").to_owned())
    }

    /// 200 with a record that is at `path`.
    #[track_caller]
    pub(crate) fn found(&self, path: impl fmt::Display) -> Entity {
        self.expect_status(200);
        self.entity(path.to_string())
    }

    /// 204.
    #[track_caller]
    pub(crate) fn no_content(&self) {
        self.expect_status(204);
        self.expect(self.body.is_empty(), "no body");
    }

    /// Refused with this status and code, in the envelope, with nothing of the inside told. Gives the body.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str) -> Value {
        self.expect_status(status);
        let body = self.json();
        self.expect(body["status"] == "error", "status error in the envelope");
        self.expect(body["code"] == code, &format!("code {code}"));
        self.expect(body["message"].is_string() && body["errors"].is_array(), "a message and a list of errors");
        self.expect(body["request_id"] == self.header("x-request-id"), "the id of the request");
        body
    }

    /// 400 that names exactly these fields, in any order.
    #[track_caller]
    pub(crate) fn invalid(&self, fields: &[&str]) -> Value {
        let body = self.refused(400, "VALIDATION_ERROR");
        let errors = body["errors"].as_array().cloned().unwrap_or_default();
        let mut named: Vec<&str> = errors.iter().filter_map(|error| error["field"].as_str()).collect();
        let mut wanted = fields.to_vec();
        named.sort_unstable();
        named.dedup();
        wanted.sort_unstable();
        self.expect(named == wanted, &format!("errors of exactly {wanted:?}"));
        body
    }

    /// 200 with a list of exactly these records, in this order.
    #[track_caller]
    pub(crate) fn lists<'a>(&self, records: impl IntoIterator<Item = &'a Entity>) -> Value {
        let body = self.ok();
        let wanted: Vec<&str> = records.into_iter().map(Entity::id).collect();
        let found = self.ids();
        self.expect(found == wanted, &format!("a list of exactly {wanted:?}"));
        body
    }

    /// The ids of the records of a list.
    #[track_caller]
    pub(crate) fn ids(&self) -> Vec<String> {
        let body = self.ok();
        let data = body["data"].as_array().cloned();
        self.expect(data.is_some(), "a list under data");
        data.unwrap_or_default().iter().map(|item| item["id"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let parsed = serde_json::from_slice(&self.body);
        self.expect(parsed.is_ok(), "a JSON body");
        parsed.unwrap_or_default()
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header, empty where it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Fails the story where the status is another.
    #[track_caller]
    pub(crate) fn expect_status(&self, status: u16) {
        self.expect(self.status.as_u16() == status, &format!("status {status}"));
    }

    /// Fails the story with all there is to see, where the expectation does not hold.
    #[track_caller]
    pub(crate) fn expect(&self, holds: bool, what: &str) {
        assert!(holds, "expected {what}\n{self}");
    }

    #[track_caller]
    fn entity(&self, path: String) -> Entity {
        Entity { path, etag: self.header("etag").to_owned(), body: self.json() }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "asked: {}", self.asked)?;
        writeln!(f, "answered: {}", self.status)?;
        for (name, value) in &self.headers {
            writeln!(f, "  {name}: {}", value.to_str().unwrap_or("?"))?;
        }
        writeln!(f, "{}", self.text())?;
        for line in log::of_request(self.header("x-request-id")) {
            writeln!(f, "log: {line}")?;
        }
        Ok(())
    }
}
