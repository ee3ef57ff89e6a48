//! Keeps the server's log lines by request, so that a failing story can show those that matter.

use std::{
    collections::HashMap,
    fmt::Write as _,
    sync::{Mutex, Once, PoisonError},
};

use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id},
};
use tracing_subscriber::{Layer, filter::LevelFilter, layer::Context, layer::SubscriberExt as _, registry::LookupSpan};

static LINES: Mutex<Option<HashMap<String, Vec<String>>>> = Mutex::new(None);
static STARTED: Once = Once::new();

/// Begins to keep lines; once for the whole test program.
pub(crate) fn keep() {
    STARTED.call_once(|| {
        let subscriber = tracing_subscriber::registry().with(Keeper.with_filter(LevelFilter::DEBUG));
        tracing::subscriber::set_global_default(subscriber).expect("no other subscriber");
    });
}

/// The lines of a request.
pub(crate) fn of_request(request_id: &str) -> Vec<String> {
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    lines.as_ref().and_then(|lines| lines.get(request_id)).cloned().unwrap_or_default()
}

struct Keeper;

struct RequestId(String);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Keeper {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let (Some(request_id), Some(span)) = (fields.request_id, context.span(id)) {
            span.extensions_mut().insert(RequestId(request_id));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let Some(scope) = context.event_scope(event) else { return };
        let mut spans = scope.into_iter();
        let Some(request_id) = spans.find_map(|span| span.extensions().get::<RequestId>().map(|id| id.0.clone()))
        else {
            return;
        };
        let mut fields = Fields::default();
        event.record(&mut fields);
        let line = format!("[{}] {}{}", event.metadata().level(), fields.message, fields.rest);
        let mut lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
        lines.get_or_insert_default().entry(request_id).or_default().push(line);
    }
}

#[derive(Default)]
struct Fields {
    request_id: Option<String>,
    message: String,
    rest: String,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        match field.name() {
            "request_id" => self.request_id = Some(format!("{value:?}")),
            "message" => self.message = format!("{value:?}"),
            name => write!(self.rest, " {name}={value:?}").expect("a String takes it"),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "request_id" => self.request_id = Some(value.to_owned()),
            "message" => self.message = value.to_owned(),
            name => write!(self.rest, " {name}={value}").expect("a String takes it"),
        }
    }
}
