//! A message as mail servers take it.

use crm_core::port::OutgoingMessage;
use lettre::{
    Address, Message,
    message::{
        Mailbox, MultiPart,
        header::{ContentType, Header, HeaderName, HeaderValue},
    },
};

/// The subject of a message that has none.
const NO_SUBJECT: &str = "(no subject)";

/// Where mail programs let people unsubscribe (RFC 2369).
#[derive(Clone)]
struct ListUnsubscribe(String);

/// That one click is enough (RFC 8058).
#[derive(Clone)]
struct ListUnsubscribePost;

impl Header for ListUnsubscribe {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("List-Unsubscribe")
    }

    fn parse(text: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self(text.trim_matches(['<', '>']).to_owned()))
    }

    fn display(&self) -> HeaderValue {
        // An address is not to be folded or encoded.
        let value = format!("<{}>", self.0);
        HeaderValue::dangerous_new_pre_encoded(Self::name(), value.clone(), value)
    }
}

impl Header for ListUnsubscribePost {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("List-Unsubscribe-Post")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "List-Unsubscribe=One-Click".to_owned())
    }
}

/// A message with its headers.
///
/// # Errors
/// Why there is none, for a person.
pub(super) fn message(from: &Mailbox, to: &Address, id: &str, message: &OutgoingMessage) -> Result<Vec<u8>, String> {
    let subject = message.subject.as_deref().filter(|subject| !subject.is_empty()).unwrap_or(NO_SUBJECT);
    // No line of a header ends in what was given.
    let subject: String =
        subject.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
    let mut builder = Message::builder()
        .from(from.clone())
        .to(Mailbox::new(None, to.clone()))
        .subject(subject)
        .message_id(Some(format!("<{id}@{}>", from.email.domain())));
    if let Some(url) = message.unsubscribe_url.as_ref().filter(|url| url.bytes().all(|byte| byte.is_ascii_graphic())) {
        builder = builder.header(ListUnsubscribe(url.clone())).header(ListUnsubscribePost);
    }
    let built = if message.html {
        builder.multipart(MultiPart::alternative_plain_html(text_of(&message.text), message.text.clone()))
    } else {
        builder.header(ContentType::TEXT_PLAIN).body(message.text.clone())
    };
    built.map(|mail| mail.formatted()).map_err(|error| error.to_string())
}

/// What HTML says, for programs that show none: without tags, scripts and styles.
fn text_of(html: &str) -> String {
    let mut text = String::with_capacity(html.len() / 2);
    let mut rest = html;
    while let Some(begin) = rest.find('<') {
        push_text(&mut text, &rest[..begin]);
        let tag = &rest[begin..];
        let name: String = tag[1..].trim_start_matches('/').chars().take_while(char::is_ascii_alphanumeric).collect();
        let name = name.to_ascii_lowercase();
        if tag.starts_with("<!--") {
            rest = tag.find("-->").map_or("", |end| &tag[end + 3..]);
            continue;
        }
        if matches!(name.as_str(), "p" | "br" | "div" | "tr" | "li" | "h1" | "h2" | "h3" | "ul" | "ol" | "table") {
            text.push('\n');
        }
        rest = tag.find('>').map_or("", |end| &tag[end + 1..]);
        let closes = tag.starts_with("</");
        if matches!(name.as_str(), "script" | "style" | "head" | "title") && !closes {
            let end = format!("</{name}");
            // Lengths stay the same, since only ASCII changes.
            rest = rest.to_ascii_lowercase().find(&end).map_or("", |place| &rest[place..]);
        }
    }
    push_text(&mut text, rest);
    let lines: Vec<String> = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let mut out = String::with_capacity(text.len());
    for line in lines {
        if !line.is_empty() || !(out.is_empty() || out.ends_with("\n\n")) {
            out.push_str(&line);
            out.push('\n');
        }
    }
    out.trim_end().to_owned()
}

fn push_text(text: &mut String, piece: &str) {
    let mut rest = piece;
    while let Some(begin) = rest.find('&') {
        text.push_str(&rest[..begin]);
        rest = &rest[begin..];
        let known = [
            ("&amp;", "&"),
            ("&lt;", "<"),
            ("&gt;", ">"),
            ("&quot;", "\""),
            ("&#39;", "'"),
            ("&apos;", "'"),
            ("&nbsp;", " "),
        ];
        let (length, shown) = known
            .iter()
            .find(|(entity, _)| rest.starts_with(entity))
            .map_or((1, "&"), |(entity, shown)| (entity.len(), shown));
        text.push_str(shown);
        rest = &rest[length..];
    }
    text.push_str(rest);
}

#[cfg(test)]
mod tests {
    use crm_core::id::{CustomerId, OrganizationId};
    use proptest::prelude::*;

    use super::*;

    fn outgoing(subject: Option<&str>, text: &str, html: bool) -> OutgoingMessage {
        OutgoingMessage {
            reference: Default::default(),
            organization: OrganizationId::INSTALLATION,
            campaign: None,
            customer: CustomerId(Default::default()),
            address: "kim@example.com".to_owned(),
            subject: subject.map(str::to_owned),
            text: text.to_owned(),
            html,
            template: None,
            topic: None,
            unsubscribe_url: Some(format!("https://crm.example.com/api/v1/unsubscribe/{}", "x".repeat(120))),
        }
    }

    fn composed(message: &OutgoingMessage) -> String {
        let from: Mailbox = "Shop <news@shop.example>".parse().expect("a mailbox");
        let to: Address = "kim@example.com".parse().expect("an address");
        String::from_utf8(super::message(&from, &to, "email_abc", message).expect("mail")).expect("ASCII")
    }

    #[test]
    fn mail_has_the_headers_of_bulk_mail() {
        let mail = composed(&outgoing(Some("Hi"), "Hello there.", false));
        for line in [
            "From: Shop <news@shop.example>",
            "To: kim@example.com",
            "Subject: Hi",
            "Message-ID: <email_abc@shop.example>",
            "List-Unsubscribe-Post: List-Unsubscribe=One-Click",
            &format!("List-Unsubscribe: <https://crm.example.com/api/v1/unsubscribe/{}>", "x".repeat(120)),
        ] {
            assert!(mail.contains(&format!("{line}\r\n")), "{line}\n{mail}");
        }
        assert!(mail.contains("\r\n\r\nHello there."), "{mail}");
        let html = composed(&outgoing(None, "<p>Hello &amp; <b>you</b></p>", true));
        assert!(html.contains("multipart/alternative") && html.contains("Hello & you") && html.contains("<b>you</b>"));
    }

    #[test]
    fn html_becomes_text() {
        for (html, text) in [
            ("<p>Hi <b>you</b>,</p><p>bye</p>", "Hi you,\n\nbye"),
            ("<style>p{color:red}</style><p>a &lt; b</p>", "a < b"),
            ("<SCRIPT>x</SCRIPT>y<!-- z -->", "y"),
            ("a<br>b & c &copy;", "a\nb & c &copy;"),
            ("no tags", "no tags"),
            ("<", ""),
            ("<p", ""),
            ("<style>never closed", ""),
            ("é<İ>x", "éx"),
        ] {
            assert_eq!(text_of(html), text, "{html}");
        }
    }

    proptest! {
        #[test]
        fn no_header_is_added(subject in "\\PC{0,20}[\r\n]{0,2}(Bcc: x@y.example)?", text in "\\PC{0,40}") {
            let mail = composed(&outgoing(Some(&subject), &text, false));
            let head = mail.split("\r\n\r\n").next().expect("a head");
            prop_assert!(!head.lines().any(|line| line.to_lowercase().starts_with("bcc:")));
            prop_assert!(mail.is_ascii());
        }

        #[test]
        fn any_html_is_read(html in "(<|>|/|p|style|!--|-->|&|amp;|\\PC){0,30}") {
            let _ = text_of(&html);
        }
    }
}
