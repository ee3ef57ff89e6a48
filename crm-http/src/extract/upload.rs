use std::time::Duration;

use axum::{
    Extension,
    body::BodyDataStream,
    extract::{FromRequest as _, FromRequestParts as _, Multipart, Request, multipart::Field},
    http::{HeaderMap, StatusCode, header},
};
use bytes::Bytes;
use crm_core::error::FieldErrors;
use futures::StreamExt as _;

use crate::{
    edge::exchange::Exchange,
    problem::{Problem, Result},
    state::AppState,
};

/// The longest text field beside a file, in bytes.
const TEXT_LIMIT: usize = 1024 * 1024;
/// The most fields of a form.
const MOST_FIELDS: usize = 64;
/// A file that is refused is read on and dropped up to so much, so that the client gets to read the answer.
const DRAINED: u64 = 16 * 1024 * 1024;
/// For at most so long.
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// A file that is sent, and the fields beside it, piece by piece in their order: nothing is held whole.
///
/// As `multipart/form-data` with the file in the field `file`, or the file alone as the body.
pub(crate) struct FileUpload {
    source: Source,
    exchange: Exchange,
    patience: Duration,
    limit: u64,
    received: u64,
    fields: usize,
}

enum Source {
    Multipart(Box<Multipart>),
    Alone(Option<BodyDataStream>),
}

/// One part of what is sent.
pub(crate) enum FilePart<'a> {
    /// A field that is no file, with its name.
    Text(String, String),
    /// The file, with its name where it has one.
    File(Option<String>, FileBody<'a>),
}

/// The bytes of a file, as they arrive.
pub(crate) struct FileBody<'a> {
    source: BodySource<'a>,
    exchange: &'a Exchange,
    patience: Duration,
    limit: u64,
    received: &'a mut u64,
}

enum BodySource<'a> {
    Field(Box<Field<'a>>),
    Alone(BodyDataStream),
}

impl FileUpload {
    /// Begins to read a request.
    ///
    /// # Errors
    /// 415 where it is neither a form with a file nor a file.
    pub(crate) async fn of(request: Request, state: &AppState) -> Result<Self> {
        let (mut parts, body) = request.into_parts();
        let Extension(exchange) =
            Extension::<Exchange>::from_request_parts(&mut parts, state).await.map_err(|_| Problem::internal())?;
        let options = state.options();
        let source = match essence(&parts.headers).as_str() {
            "multipart/form-data" => {
                let request = Request::from_parts(parts, body);
                let multipart = Multipart::from_request(request, state).await.map_err(|error| {
                    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", error.body_text())
                })?;
                Source::Multipart(Box::new(multipart))
            }
            "text/csv"
            | "text/plain"
            | "text/tab-separated-values"
            | "application/csv"
            | "application/x-ndjson"
            | "application/ndjson"
            | "application/jsonl"
            | "application/x-jsonlines"
            | "application/octet-stream" => Source::Alone(Some(body.into_data_stream())),
            _ => {
                let message = "Send the file as multipart/form-data in the field file, or alone with the content type \
                               text/csv or application/x-ndjson.";
                return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", message));
            }
        };
        Ok(Self {
            source,
            exchange,
            patience: options.body_timeout,
            limit: options.upload_limit,
            received: 0,
            fields: 0,
        })
    }

    /// The next part; nothing after the last.
    ///
    /// # Errors
    /// 400 where the form is broken or has too many fields, 408 where it does not go on, 413 where it is too large.
    pub(crate) async fn next(&mut self) -> Result<Option<FilePart<'_>>> {
        match &mut self.source {
            Source::Alone(stream) => Ok(stream.take().map(|stream| {
                let body = FileBody {
                    source: BodySource::Alone(stream),
                    exchange: &self.exchange,
                    patience: self.patience,
                    limit: self.limit,
                    received: &mut self.received,
                };
                FilePart::File(None, body)
            })),
            Source::Multipart(multipart) => {
                let field = tokio::time::timeout(self.patience, multipart.next_field());
                let Some(mut field) = field.await.map_err(|_| Problem::slow_body())?.map_err(|error| broken(&error))?
                else {
                    return Ok(None);
                };
                self.fields += 1;
                if self.fields > MOST_FIELDS {
                    let message = format!("has more than {MOST_FIELDS} fields");
                    return Err(FieldErrors::one("body", "TOO_MANY", message).into());
                }
                let name = field.name().unwrap_or_default().to_owned();
                if name == "file" {
                    let file_name = field.file_name().map(str::to_owned);
                    let body = FileBody {
                        source: BodySource::Field(Box::new(field)),
                        exchange: &self.exchange,
                        patience: self.patience,
                        limit: self.limit,
                        received: &mut self.received,
                    };
                    return Ok(Some(FilePart::File(file_name, body)));
                }
                let mut text = Vec::new();
                loop {
                    let chunk = tokio::time::timeout(self.patience, field.chunk());
                    let chunk = chunk.await.map_err(|_| Problem::slow_body())?.map_err(|error| broken(&error))?;
                    let Some(chunk) = chunk else { break };
                    if text.len() + chunk.len() > TEXT_LIMIT {
                        return Err(Problem::too_large(TEXT_LIMIT));
                    }
                    count(&mut self.received, chunk.len(), self.limit)?;
                    text.extend_from_slice(&chunk);
                }
                match String::from_utf8(text) {
                    Ok(text) if !text.contains('\0') => Ok(Some(FilePart::Text(name, text))),
                    _ => {
                        let shown: String = name.chars().take(60).collect();
                        Err(FieldErrors::one(shown, "INVALID_TEXT", "is not UTF-8 without NUL").into())
                    }
                }
            }
        }
    }

    /// Reads on and drops what is left of a request that is refused, so that the client gets to read why.
    pub(crate) async fn drain(mut self) {
        let drained = async {
            let mut dropped = 0;
            while let Ok(Some(part)) = self.next().await {
                if let FilePart::File(_, mut body) = part {
                    while let Ok(Some(chunk)) = body.next().await {
                        dropped += chunk.len() as u64;
                        if dropped > DRAINED {
                            return;
                        }
                    }
                }
            }
        };
        // Past the time the connection is closed with what it still brings.
        let _ = tokio::time::timeout(DRAIN_TIME, drained).await;
    }
}

impl FileBody<'_> {
    /// The next bytes; nothing after the last.
    ///
    /// # Errors
    /// 400 where the file breaks off, 408 where it does not go on, 413 where it is too large.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>> {
        let chunk = match &mut self.source {
            BodySource::Field(field) => {
                let chunk = tokio::time::timeout(self.patience, field.chunk()).await;
                chunk.map_err(|_| Problem::slow_body())?.map_err(|error| broken(&error))?
            }
            BodySource::Alone(stream) => {
                let chunk = tokio::time::timeout(self.patience, stream.next()).await;
                chunk.map_err(|_| Problem::slow_body())?.transpose().map_err(|error| {
                    tracing::debug!(%error, "A file broke off.");
                    Problem::invalid(FieldErrors::one("file", "INCOMPLETE", "broke off before its end"))
                })?
            }
        };
        let Some(chunk) = chunk else { return Ok(None) };
        self.exchange.note_progress();
        count(self.received, chunk.len(), self.limit)?;
        Ok(Some(chunk))
    }
}

/// Counts what arrives.
///
/// # Errors
/// 413 beyond the limit.
fn count(received: &mut u64, length: usize, limit: u64) -> Result<()> {
    *received += length as u64;
    if *received <= limit {
        return Ok(());
    }
    let message = format!("The file is larger than {}, which IMPORT_MAX_BYTES says.", readable(limit));
    Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE", message))
}

/// A number of bytes for people, in the largest unit that says it exactly.
fn readable(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = units.into_iter().find(|(size, _)| bytes >= *size && bytes.is_multiple_of(*size));
    unit.map_or_else(|| format!("{bytes} bytes"), |(size, name)| format!("{} {name}", bytes / size))
}

fn broken(error: &axum::extract::multipart::MultipartError) -> Problem {
    tracing::debug!(%error, "A form broke off.");
    Problem::invalid(FieldErrors::one("body", "INCOMPLETE", "is no whole multipart/form-data"))
}

fn essence(headers: &HeaderMap) -> String {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_readable() {
        for (bytes, text) in [(1 << 30, "1 GiB"), (1536 << 20, "1536 MiB"), (2048, "2 KiB"), (100_000, "100000 bytes")]
        {
            assert_eq!(readable(bytes), text);
        }
    }
}
