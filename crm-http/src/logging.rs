//! Log lines: for people as text, for machines as JSON, each with the id of the request it belongs to.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    io::{self, Write as _},
    str::FromStr as _,
};

use crm_core::port::{Clock as _, SystemClock};
use serde_json::{Map, Value};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id},
};
use tracing_subscriber::{
    Layer,
    filter::Targets,
    layer::{Context, SubscriberExt as _},
    registry::LookupSpan,
};

use crate::settings::LogFormat;

/// Writes the program's log lines to standard output from now on, panics among them.
///
/// # Errors
/// Where the level is none, or lines are written already.
pub fn start(level: &str, format: LogFormat) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let filter = Targets::from_str(level)?;
    let subscriber = tracing_subscriber::registry().with(Lines { format }.with_filter(filter));
    tracing::subscriber::set_global_default(subscriber)?;
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let cause = panic.payload_as_str().unwrap_or("unknown");
        tracing::error!(place, "Something panicked: {cause}");
    }));
    Ok(())
}

struct Lines {
    format: LogFormat,
}

/// The id of the request that a span is of.
struct RequestId(String);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let (Some(Value::String(request_id)), Some(span)) = (fields.0.remove("request_id"), context.span(id)) {
            span.extensions_mut().insert(RequestId(request_id));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let request_id = context.event_scope(event).and_then(|spans| {
            spans.into_iter().find_map(|span| span.extensions().get::<RequestId>().map(|id| id.0.clone()))
        });
        let now = SystemClock.now();
        let mut line = match self.format {
            LogFormat::Text => text_line(&now.to_string(), *event.metadata().level(), fields.0, request_id),
            LogFormat::Json => {
                json_line(&now.to_string(), *event.metadata().level(), event.metadata().target(), fields.0, request_id)
            }
        };
        line.push('\n');
        // Nobody is left to tell where standard output is gone.
        let _ = io::stdout().lock().write_all(line.as_bytes());
    }
}

/// `2026-01-31 09:30:00:123 [INFO]: Message name=value`.
fn text_line(now: &str, level: Level, mut fields: Map<String, Value>, request_id: Option<String>) -> String {
    let (date, time) = now.split_once('T').unwrap_or((now, ""));
    let mut line = format!("{date} {} [{level}]: ", time.trim_end_matches('Z').replace('.', ":"));
    if let Some(Value::String(message)) = fields.remove("message") {
        escape_into(&mut line, &message);
    }
    // Written by name: the order of a JSON object depends on how the library was built.
    let mut fields: BTreeMap<String, Value> = fields.into_iter().collect();
    fields.extend(request_id.map(|id| ("request_id".to_owned(), Value::String(id))));
    for (name, value) in fields {
        // Writing to a String cannot fail.
        let _ = write!(line, " {name}=");
        match value {
            Value::String(text) => escape_into(&mut line, &text),
            value => {
                let _ = write!(line, "{value}");
            }
        }
    }
    line
}

/// Control characters are written as escapes: what a client sends must not begin a line of its own.
fn escape_into(line: &mut String, text: &str) {
    for character in text.chars() {
        if character.is_control() || matches!(character, '\u{2028}' | '\u{2029}') {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
}

fn json_line(
    now: &str,
    level: Level,
    target: &str,
    mut fields: Map<String, Value>,
    request_id: Option<String>,
) -> String {
    let message = fields.remove("message").unwrap_or_default();
    let mut line = Map::new();
    line.insert("timestamp".to_owned(), Value::String(now.to_owned()));
    line.insert("level".to_owned(), Value::String(level.to_string()));
    line.insert("message".to_owned(), message);
    line.insert("target".to_owned(), Value::String(target.to_owned()));
    if let Some(request_id) = request_id {
        line.insert("request_id".to_owned(), Value::String(request_id));
    }
    line.extend(fields);
    Value::Object(line).to_string()
}

/// The fields of one event.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn insert(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields() -> Map<String, Value> {
        let fields = json!({"message": "Hello\nthere", "status": 200, "route": "/a"});
        fields.as_object().cloned().unwrap()
    }

    #[test]
    fn a_text_line_is_one_line() {
        assert_eq!(
            text_line("2026-01-31T09:30:00.123Z", Level::INFO, fields(), Some("r-1".to_owned())),
            "2026-01-31 09:30:00:123 [INFO]: Hello\\nthere request_id=r-1 route=/a status=200"
        );
    }

    #[test]
    fn a_json_line_is_an_object() {
        let line = json_line("2026-01-31T09:30:00.123Z", Level::WARN, "crm_http", fields(), None);
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            (&line["level"], &line["message"], &line["status"]),
            (&json!("WARN"), &json!("Hello\nthere"), &json!(200))
        );
    }
}
