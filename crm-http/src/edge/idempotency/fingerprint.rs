use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use axum::{
    body::{Body, BodyDataStream},
    http::{HeaderMap, header},
};
use bytes::Bytes;
use futures::Stream;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use crate::{
    extract::{Pairs, is_json},
    json,
};

/// Whether a body is read whole before the request is carried out, as a JSON body is in any case.
pub(super) fn is_held(headers: &HeaderMap) -> bool {
    !headers.contains_key(header::CONTENT_TYPE) || is_json(headers)
}

/// What tells a request from another with the same key: the query in any order, and the body. A JSON body counts
/// without its spaces and the order of its members, a multipart body without its boundary, which clients draw anew.
#[derive(Clone)]
pub(super) struct Payload(Sha256);

impl Payload {
    /// A request with this query.
    pub(super) fn new(query: &str) -> Self {
        let mut pairs = Pairs::parse(query).unwrap_or_default().into_pairs();
        pairs.sort_unstable();
        let mut hash = Sha256::new();
        for (name, value) in &pairs {
            add_text(&mut hash, b'q', name);
            add_text(&mut hash, b'v', value);
        }
        Self(hash)
    }

    /// With a JSON body. What is none counts as it is.
    pub(super) fn add_json(&mut self, body: &[u8]) {
        let canonical = json::check(body).ok().and_then(|text| {
            let raw: &RawValue = serde_json::from_str(text.trim_matches([' ', '\t', '\n', '\r'])).ok()?;
            let mut hash = self.0.clone();
            add_value(&mut hash, raw.get())?;
            Some(hash)
        });
        match canonical {
            Some(hash) => self.0 = hash,
            None => self.0.update(body),
        }
    }

    /// With a body that arrives while the request is carried out: the body to be read, and what tells the fingerprint
    /// once it was.
    pub(super) fn add_arriving(self, headers: &HeaderMap, body: Body) -> (Body, Arriving) {
        let counting = Counting { hash: self.0, boundary: boundary(headers), held: Vec::new(), complete: false };
        let arriving = Arriving(Arc::new(Mutex::new(counting)));
        let counted = Counted { stream: body.into_data_stream(), arriving: Arriving(Arc::clone(&arriving.0)) };
        (Body::from_stream(counted), arriving)
    }

    /// In hexadecimal digits.
    pub(super) fn fingerprint(self) -> String {
        hexadecimal(self.0)
    }
}

fn hexadecimal(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn add_text(hash: &mut Sha256, kind: u8, text: &str) {
    hash.update([kind]);
    hash.update(text.len().to_be_bytes());
    hash.update(text.as_bytes());
}

/// Adds a value in a form that does not depend on how it is written; numbers count digit by digit, so that no two
/// amounts are taken for one. How deep it nests is bounded by the check before.
fn add_value(hash: &mut Sha256, text: &str) -> Option<()> {
    match text.as_bytes().first()? {
        b'{' => {
            let members: BTreeMap<String, &RawValue> = serde_json::from_str(text).ok()?;
            hash.update(b"{");
            for (name, value) in members {
                add_text(hash, b'n', &name);
                add_value(hash, value.get())?;
            }
            hash.update(b"}");
        }
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            hash.update(b"[");
            for item in items {
                add_value(hash, item.get())?;
            }
            hash.update(b"]");
        }
        b'"' => add_text(hash, b's', &serde_json::from_str::<String>(text).ok()?),
        _ => add_text(hash, b'l', text),
    }
    Some(())
}

/// The boundary of a multipart body.
fn boundary(headers: &HeaderMap) -> Vec<u8> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut parts = content_type.split(';').map(str::trim);
    if !parts.next().is_some_and(|essence| essence.to_ascii_lowercase().starts_with("multipart/")) {
        return Vec::new();
    }
    let named = parts.filter_map(|part| part.split_once('=')).find(|(name, _)| name.eq_ignore_ascii_case("boundary"));
    named.map(|(_, value)| value.trim_matches('"').as_bytes().to_vec()).unwrap_or_default()
}

/// Tells the fingerprint of a body that arrives.
pub(super) struct Arriving(Arc<Mutex<Counting>>);

struct Counting {
    hash: Sha256,
    boundary: Vec<u8>,
    /// The last bytes, which may be the beginning of a boundary.
    held: Vec<u8>,
    complete: bool,
}

impl Arriving {
    /// The fingerprint; nothing where the body was not read to its end.
    pub(super) fn fingerprint(&self) -> Option<String> {
        let counting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counting.complete.then(|| hexadecimal(counting.hash.clone()))
    }
}

impl Counting {
    fn add(&mut self, chunk: &[u8]) {
        if self.boundary.is_empty() {
            self.hash.update(chunk);
            return;
        }
        self.held.extend_from_slice(chunk);
        let length = self.boundary.len();
        let mut begin = 0;
        while let Some(found) = find(self.held.get(begin..).unwrap_or_default(), &self.boundary) {
            self.hash.update(self.held.get(begin..begin + found).unwrap_or_default());
            begin += found + length;
        }
        let end = self.held.len().saturating_sub(length - 1).max(begin);
        self.hash.update(self.held.get(begin..end).unwrap_or_default());
        self.held.drain(..end);
    }

    fn end(&mut self) {
        let rest = std::mem::take(&mut self.held);
        self.hash.update(&rest);
        self.complete = true;
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    let first = *wanted.first()?;
    let mut from = 0;
    loop {
        let place = from + text.get(from..)?.iter().position(|byte| *byte == first)?;
        if text.get(place..)?.starts_with(wanted) {
            return Some(place);
        }
        from = place + 1;
    }
}

/// A body that is counted as it is read.
struct Counted {
    stream: BodyDataStream,
    arriving: Arriving,
}

impl Stream for Counted {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = Pin::new(&mut self.stream).poll_next(context);
        if let Poll::Ready(read) = &next {
            let mut counting = self.arriving.0.lock().unwrap_or_else(PoisonError::into_inner);
            match read {
                Some(Ok(chunk)) => counting.add(chunk),
                Some(Err(_)) => {}
                None => counting.end(),
            }
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use proptest::prelude::*;

    use super::*;

    fn of(query: &str, body: &str) -> String {
        let mut payload = Payload::new(query);
        payload.add_json(body.as_bytes());
        payload.fingerprint()
    }

    #[test]
    fn how_it_is_written_makes_no_difference() {
        let one = of("a=1&b=x%20y", r#"{"name":"Ada","spend":12.50,"tags":["a","b"]}"#);
        assert_eq!(one, of("b=x+y&a=1", " {\"tags\" : [\"a\", \"b\"],\n\"spend\":12.50,\"n\\u0061me\":\"Ada\"} "));
    }

    #[test]
    fn what_it_says_makes_one() {
        let bodies = [
            "",
            "{}",
            "[]",
            "null",
            "\"\"",
            "{\"a\":1}",
            "{\"a\":\"1\"}",
            "{\"a\":[1]}",
            "{\"a\":[[1]]}",
            "[1,2]",
            "[2,1]",
            "[12]",
            "{\"a\":99999999999999.9999}",
            "{\"a\":99999999999999.9998}",
            "{\"a\":{\"b\":1}}",
            "{\"a\":{},\"b\":1}",
            "not json",
        ];
        for (place, one) in bodies.iter().enumerate() {
            for other in bodies.iter().skip(place + 1) {
                assert_ne!(of("", one), of("", other), "{one} {other}");
            }
            assert_ne!(of("a=1", one), of("a=2", one));
        }
        assert_ne!(of("ab=c", ""), of("a=bc", ""));
    }

    async fn arriving(content_type: &str, chunks: Vec<Vec<u8>>) -> (Vec<u8>, Option<String>) {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, content_type.parse().expect("a header"));
        let stream = futures::stream::iter(chunks.into_iter().map(|chunk| Ok::<_, axum::Error>(Bytes::from(chunk))));
        let (body, arriving) = Payload::new("").add_arriving(&headers, Body::from_stream(stream));
        let mut read = Vec::new();
        let mut stream = body.into_data_stream();
        while let Some(chunk) = stream.next().await {
            read.extend_from_slice(&chunk.expect("a chunk"));
        }
        (read, arriving.fingerprint())
    }

    proptest! {
        #[test]
        fn a_boundary_makes_no_difference_nor_do_chunks(
            parts in proptest::collection::vec("[a-d\\-\r\n]{0,12}", 1..5), one in "[a-d]{3,8}x", other in "[a-d]{3,8}y", cut in 1_usize..9,
        ) {
            let body = |boundary: &str| -> Vec<u8> {
                let parts: String = parts.iter().map(|part| format!("--{boundary}\r\n\r\n{part}\r\n")).collect();
                format!("{parts}--{boundary}--\r\n").into_bytes()
            };
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            let (first, second) = runtime.block_on(async {
                let chunks = body(&one).chunks(cut).map(<[u8]>::to_vec).collect();
                let first = arriving(&format!("multipart/form-data; boundary={one}"), chunks).await;
                (first, arriving(&format!("Multipart/Form-Data; charset=utf-8; boundary=\"{other}\""), vec![body(&other)]).await)
            });
            prop_assert_eq!(&first.0, &body(&one), "what is counted passes unchanged");
            prop_assert!(first.1.is_some());
            prop_assert_eq!(first.1, second.1);
        }
    }

    #[tokio::test]
    async fn a_body_that_was_not_read_has_no_fingerprint() {
        let (body, arriving) = Payload::new("").add_arriving(&HeaderMap::new(), Body::from("text"));
        drop(body);
        assert_eq!(arriving.fingerprint(), None);
    }
}
