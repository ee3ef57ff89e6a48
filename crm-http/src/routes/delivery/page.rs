//! The pages that customers see who unsubscribe: plain HTML, nothing from elsewhere, nothing that runs.

use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::Response,
};
use crm_core::{campaign::template::escaped, delivery::Unsubscribe};

/// Beside what every answer carries: the form may be sent, to us.
const POLICY: HeaderValue =
    HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'");

fn page(title: &str, body: &str) -> Response {
    let html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"robots\" content=\"noindex\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title></head><body><h1>{title}</h1>\
         {body}</body></html>\n"
    );
    let mut response = Response::new(Body::from(html));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    response
}

/// What a link is about, for people.
fn about(link: &Unsubscribe, everything: bool) -> String {
    let channel = escaped(&link.channel);
    match &link.topic {
        Some(topic) if !everything => format!("messages about “{}” by {channel}", escaped(topic)),
        _ => format!("messages by {channel}"),
    }
}

/// Asks. Without an address the form is sent to where the page is.
pub(super) fn question(link: &Unsubscribe) -> Response {
    let mut form = format!(
        "<p>Do you want to get no more {}?</p><form method=\"post\"><button type=\"submit\">Unsubscribe</button>",
        about(link, false)
    );
    if link.topic.is_some() {
        form.push_str(
            " <button type=\"submit\" name=\"everything\" value=\"yes\">Unsubscribe from everything</button>",
        );
    }
    form.push_str("</form>");
    page("Unsubscribe", &form)
}

/// Says that it is done.
pub(super) fn done(link: &Unsubscribe, everything: bool) -> Response {
    page("Unsubscribed", &format!("<p>You will get no more {}.</p>", about(link, everything)))
}

/// Says that the link is none.
pub(super) fn unknown() -> Response {
    page("Unknown link", "<p>This link is not complete, or none of ours. Copy all of it from the message.</p>")
}
