use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::{
    error::FieldErrors,
    event::EVENT_TYPES,
    input::{FromInput, Input, Patch, text},
    secret::Secret,
    text::Line,
    time::Timestamp,
};

/// The most entries of `events`.
const MOST_EVENTS: usize = 100;
/// The most headers of its own.
const MOST_HEADERS: usize = 20;
/// The longest name of a header.
const LONGEST_NAME: usize = 100;
/// The longest value of a header.
const LONGEST_VALUE: usize = 1000;
/// The longest address.
const LONGEST_URL: usize = 2048;
/// Headers that belong to the connection, to the message, or to who is asked.
const DENIED: [&str; 20] = [
    "accept-encoding",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "origin",
    "referer",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
];
/// Families of such headers.
const DENIED_FAMILIES: [&str; 4] = ["proxy-", "sec-", "webhook-", "x-forwarded-"];

/// What a new webhook is to be.
#[derive(Clone, Debug, Input)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[input(refuse(
    id,
    secret,
    disabled_reason,
    disabled_at,
    header_names,
    failing_since,
    created_by,
    version,
    created_at,
    updated_at
))]
pub struct NewWebhook {
    /// Where events are posted to: an `https` address of the public internet.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "https://example.com/hooks"))]
    pub url: WebhookUrl,
    /// What it listens to: types of events, such as `customer.created`, `customer.*` for all of a kind, `*` for all.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>, example = json!(["customer.*"])))]
    pub events: EventFilter,
    /// What it is for.
    pub description: Option<Line<500>>,
    /// Whether events are posted; they are where it is not said.
    pub enabled: Option<bool>,
    /// Headers that are sent with each event, such as `X-Environment`. Their values are kept encrypted and not shown.
    #[input(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = std::collections::HashMap<String, String>, required = false))]
    pub headers: CustomHeaders,
}

/// What is to be changed of a webhook; what is not given stays.
#[derive(Clone, Debug, Input)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[input(ignore(
    id,
    secret,
    disabled_reason,
    disabled_at,
    header_names,
    failing_since,
    previous_secret_until,
    created_by,
    version,
    created_at,
    updated_at
))]
pub struct ChangedWebhook {
    /// Where events are posted to.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub url: Option<WebhookUrl>,
    /// What it listens to.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Vec<String>>))]
    pub events: Option<EventFilter>,
    /// What it is for; `null` for nothing.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Line<500>>))]
    pub description: Patch<Line<500>>,
    /// Whether events are posted. `true` gives one that was disabled another chance.
    pub enabled: Option<bool>,
    /// Headers that are sent with each event, in the place of those before.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<std::collections::HashMap<String, String>>))]
    pub headers: Option<CustomHeaders>,
}

/// Which deliveries are sent again.
#[derive(Clone, Debug, Input)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReplayRequest {
    /// Those of events from then on.
    pub since: Timestamp,
    /// Up to then; up to now where it is not said.
    pub until: Option<Timestamp>,
    /// Only those that failed (`failed`), as where it is not said, or also those that were delivered (`all`).
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, example = "failed"))]
    pub state: Option<ReplayedState>,
}

/// See [`ReplayRequest::state`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReplayedState {
    /// Those that failed.
    Failed,
    /// All that have ended.
    All,
}

impl FromInput for ReplayedState {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        match text(json)?.as_str() {
            "failed" => Ok(Self::Failed),
            "all" => Ok(Self::All),
            _ => Err(FieldErrors::one("", "INVALID_VALUE", "must be failed or all")),
        }
    }
}

/// The address of a webhook. Whether it may be reached is looked at by [`Outbound`](crate::port::Outbound).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WebhookUrl(pub(super) String);

impl FromInput for WebhookUrl {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        let url = text(json)?;
        let url = url.trim();
        if url.is_empty() {
            return Err(FieldErrors::one("", "REQUIRED", "must not be empty"));
        }
        if url.len() > LONGEST_URL {
            return Err(FieldErrors::one("", "TOO_LONG", format!("must have at most {LONGEST_URL} bytes")));
        }
        Ok(Self(url.to_owned()))
    }
}

/// What a webhook listens to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EventFilter(pub(super) Vec<String>);

impl EventFilter {
    /// Whether some entry names the type.
    #[must_use]
    pub fn listens(entries: &[String], event_type: &str) -> bool {
        entries.iter().any(|entry| match entry.strip_suffix('*') {
            Some(prefix) => event_type.starts_with(prefix),
            None => entry == event_type,
        })
    }

    /// Whether the entry is `*`, a type, or `kind.*` of which there are types.
    fn is_known(entry: &str) -> bool {
        let names = || EVENT_TYPES.iter().map(|declared| declared.name);
        match entry.strip_suffix(".*") {
            Some(kind) => names().any(|name| name.split_once('.').is_some_and(|(of, _)| of == kind)),
            None => entry == "*" || names().any(|name| name == entry),
        }
    }
}

impl FromInput for EventFilter {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        let entries = Vec::<String>::from_input(json)?;
        if entries.is_empty() {
            return Err(FieldErrors::one("", "REQUIRED", "must name at least one type of event, or *"));
        }
        if entries.len() > MOST_EVENTS {
            return Err(FieldErrors::one("", "TOO_MANY", format!("must have at most {MOST_EVENTS} entries")));
        }
        let mut errors = FieldErrors::new();
        let mut known: Vec<String> = Vec::new();
        for (place, entry) in entries.into_iter().enumerate() {
            let entry = entry.trim().to_owned();
            if !Self::is_known(&entry) {
                let message =
                    "is no type of event: GET /webhooks/event-types lists them; customer.* and * name several";
                errors.add(format!("[{place}]"), "INVALID_VALUE", message);
            } else if !known.contains(&entry) {
                known.push(entry);
            }
        }
        errors.or(Self(known))
    }
}

/// Headers that a webhook sends beside its own, by name in lower case.
#[derive(Clone, Debug, Default)]
pub struct CustomHeaders(pub(super) BTreeMap<String, Secret<String>>);

impl FromInput for CustomHeaders {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        let members: BTreeMap<String, &RawValue> = serde_json::from_str(json.get())
            .map_err(|_| FieldErrors::one("", "INVALID_TYPE", "must be an object of names and values"))?;
        if members.len() > MOST_HEADERS {
            return Err(FieldErrors::one("", "TOO_MANY", format!("must have at most {MOST_HEADERS} headers")));
        }
        let mut errors = FieldErrors::new();
        let mut headers = BTreeMap::new();
        for (given, value) in members {
            let shown: String = given.chars().take(LONGEST_NAME).collect();
            let name = given.to_ascii_lowercase();
            if let Err(message) = check_name(&name) {
                errors.add(shown, "INVALID_VALUE", message);
                continue;
            }
            let Some(value) = errors.take(&shown, text(value).and_then(|value| check_value(&value))) else { continue };
            if headers.insert(name, Secret::new(value)).is_some() {
                errors.add(shown, "DUPLICATE_FIELD", "is given more than once");
            }
        }
        errors.or(Self(headers))
    }
}

fn check_name(name: &str) -> Result<(), &'static str> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(is_token) {
        return Err("is no name of a header");
    }
    if DENIED.contains(&name) || DENIED_FAMILIES.iter().any(|family| name.starts_with(family)) {
        return Err("is set by the sender, or belongs to the connection: choose another name");
    }
    Ok(())
}

fn check_value(value: &str) -> Result<String, FieldErrors> {
    let value = value.trim();
    if value.len() > LONGEST_VALUE {
        return Err(FieldErrors::one("", "TOO_LONG", format!("must have at most {LONGEST_VALUE} characters")));
    }
    if value.is_empty() || !value.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        return Err(FieldErrors::one("", "INVALID_TEXT", "must be visible ASCII characters and spaces"));
    }
    Ok(value.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn fields(errors: &FieldErrors) -> Vec<String> {
        errors.iter().map(|error| error.field.clone()).collect()
    }

    #[test]
    fn filters_name_types_and_kinds() {
        let filter = EventFilter::from_json(&json!(["customer.*", "team.created", "customer.*"])).expect("known");
        assert_eq!(filter.0, ["customer.*", "team.created"]);
        for (event_type, listens) in [
            ("customer.created", true),
            ("customer_group.created", false),
            ("team.created", true),
            ("team.updated", false),
        ] {
            assert_eq!(EventFilter::listens(&filter.0, event_type), listens, "{event_type}");
        }
        assert!(EventFilter::listens(&["*".to_owned()], "team.updated"));
        let wrong = json!(["customer.created", "customer.exploded", "customer*", "custom.*", "", ".*", "**"]);
        assert_eq!(fields(&EventFilter::from_json(&wrong).unwrap_err()), ["[1]", "[2]", "[3]", "[4]", "[5]", "[6]"]);
        assert!(EventFilter::from_json(&json!([])).is_err());
    }

    #[test]
    fn headers_leave_the_senders_own_alone() {
        let headers = CustomHeaders::from_json(&json!({"X-Environment": " test ", "x-key": "a b"})).expect("fine");
        assert_eq!(headers.0.keys().collect::<Vec<_>>(), ["x-environment", "x-key"]);
        assert!(!format!("{headers:?}").contains("test"));
        for name in [
            "Host",
            "Authorization",
            "Content-Length",
            "Transfer-Encoding",
            "Connection",
            "Proxy-Authorization",
            "Webhook-Id",
            "Cookie",
            "X-Forwarded-For",
            "",
            "a b",
            "a:b",
            "ä",
            "a\r\nb",
        ] {
            let mut headers = serde_json::Map::new();
            headers.insert(name.to_owned(), "x".into());
            assert!(CustomHeaders::from_json(&headers.into()).is_err(), "{name}");
        }
        for value in ["", "a\r\nHost: b", "ä", "\u{0}"] {
            assert!(CustomHeaders::from_json(&json!({"x-key": value})).is_err(), "{value}");
        }
        assert!(CustomHeaders::from_json(&json!({"x-key": "1", "X-Key": "2"})).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_headers_never_panic(name in any::<String>(), value in any::<String>()) {
            let mut headers = serde_json::Map::new();
            headers.insert(name, value.into());
            let _ = CustomHeaders::from_json(&headers.into());
        }
    }
}
