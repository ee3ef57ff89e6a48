use std::str::FromStr;

use serde_json::value::RawValue;
use unicode_normalization::UnicodeNormalization as _;

use super::contact_text;
use crate::{
    error::FieldErrors,
    input::{self, FromInput},
};

/// The longest address that mail systems carry (RFC 5321, erratum 1690), in bytes.
const LONGEST: usize = 254;
/// The longest part before the `@` (RFC 5321, 4.5.3.1.1), in bytes.
const LONGEST_LOCAL: usize = 64;
/// A domain in its own letters can be longer than its ASCII form, but not by so much.
const LONGEST_INPUT: usize = 1024;

/// An e-mail address in the one form in which two spellings of it are equal: lower case, the domain in ASCII (IDNA).
///
/// Quoted local parts, comments, address literals and domains without a dot are refused: no person has such an
/// address, and every form of attack on mail does.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Email(Box<str>);

impl Email {
    /// Reads an address.
    ///
    /// # Errors
    /// `INVALID_FORMAT` saying what is wrong, `TOO_LONG`.
    pub fn parse(text: &str) -> Result<Self, FieldErrors> {
        let text = text.trim();
        if text.len() > LONGEST_INPUT {
            return Err(too_long());
        }
        let Some((local, domain)) = text.split_once('@') else {
            return Err(malformed("must be an e-mail address such as amelie@example.com"));
        };
        let local: String = local.to_lowercase().nfc().collect();
        check_local(&local)?;
        let domain = ascii_domain(domain).ok_or_else(|| {
            malformed("must have a domain such as example.com after one @ (letters, digits, hyphens and dots)")
        })?;
        if local.len() > LONGEST_LOCAL || local.len() + 1 + domain.len() > LONGEST {
            return Err(too_long());
        }
        Ok(Self(format!("{local}@{domain}").into_boxed_str()))
    }

    fn from_stored(text: String) -> Option<Self> {
        text.contains('@').then(|| Self(text.into_boxed_str()))
    }

    /// The normalised address.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands after the `@`, in ASCII.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.0.split_once('@').map_or("", |(_, domain)| domain)
    }
}

fn malformed(message: &str) -> FieldErrors {
    FieldErrors::one("", "INVALID_FORMAT", message)
}

fn too_long() -> FieldErrors {
    FieldErrors::one("", "TOO_LONG", "must be an e-mail address of at most 254 bytes, 64 of them before the @")
}

/// A dot-atom of RFC 5322, with letters and digits of every script (RFC 6531).
fn check_local(local: &str) -> Result<(), FieldErrors> {
    let allowed = |character: char| {
        character.is_ascii_alphanumeric()
            || "!#$%&'*+-/=?^_`{|}~.".contains(character)
            || !character.is_ascii()
                && (character.is_alphanumeric() || unicode_normalization::char::is_combining_mark(character))
    };
    if local.is_empty() || local.starts_with('.') || local.ends_with('.') || local.contains("..") {
        return Err(malformed(
            "must have a name before the @ that neither begins nor ends with a dot, nor has two in a row",
        ));
    }
    match local.chars().find(|character| !allowed(*character)) {
        Some(character) => Err(malformed(&format!("must not have the character {character:?} before the @"))),
        None => Ok(()),
    }
}

/// The domain in ASCII, if it is one that mail can be sent to.
fn ascii_domain(domain: &str) -> Option<String> {
    // The parser of URLs would decode percent signs and read numbers as addresses.
    if domain.is_empty() || domain.contains(|character: char| character.is_ascii() && !is_domain_byte(character)) {
        return None;
    }
    let Ok(url::Host::Domain(domain)) = url::Host::parse(domain) else {
        return None;
    };
    let labels: Vec<&str> = domain.split('.').collect();
    let sound = |label: &&str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    let top_is_a_name =
        labels.last().is_some_and(|top| top.len() > 1 && !top.bytes().all(|byte| byte.is_ascii_digit()));
    (labels.len() > 1 && top_is_a_name && labels.iter().all(sound)).then_some(domain)
}

const fn is_domain_byte(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '-' | '.')
}

impl FromStr for Email {
    type Err = FieldErrors;

    fn from_str(text: &str) -> Result<Self, FieldErrors> {
        Self::parse(text)
    }
}

impl FromInput for Email {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        Self::parse(&input::text(json)?)
    }
}

contact_text!(
    Email,
    "An e-mail address, kept in lower case with its domain in ASCII.",
    Some(utoipa::openapi::SchemaFormat::KnownFormat(utoipa::openapi::KnownFormat::Email)),
    "amelie@example.com"
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Email;

    #[test]
    fn spellings_of_one_address_are_equal() {
        for (text, normal) in [
            ("Amelie@Example.COM", "amelie@example.com"),
            ("  a.b+tag@sub.example.co.in ", "a.b+tag@sub.example.co.in"),
            ("info@bücher.de", "info@xn--bcher-kva.de"),
            ("info@XN--BCHER-KVA.de", "info@xn--bcher-kva.de"),
            ("Ame\u{301}lie@example.com", "am\u{e9}lie@example.com"),
            ("राम@उदाहरण.भारत", "राम@xn--p1b6ci4b4b3a.xn--h2brj9c"),
            ("o'brien@example.ie", "o'brien@example.ie"),
        ] {
            assert_eq!(Email::parse(text).as_ref().map(Email::as_str), Ok(normal), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let long_local = format!("{}@example.com", "a".repeat(65));
        let long = format!("a@{}.com", ["b".repeat(60).as_str(); 5].join("."));
        for text in [
            "",
            "@",
            "a",
            "a@",
            "@b.com",
            "a@b",
            "a@b@c.com",
            "a b@c.com",
            "a@b c.com",
            "a@.com",
            "a@com.",
            "a@b..com",
            ".a@b.com",
            "a.@b.com",
            "a..b@c.com",
            "\"a\"@b.com",
            "a@[1.2.3.4]",
            "a@1.2.3.4",
            "a@0x7f.1",
            "a@b.c",
            "a@b.1",
            "a@-b.com",
            "a@b-.com",
            "a@b_c.com",
            "a@ex%61mple.com",
            "a\n@b.com",
            "a@b.com\r\nBcc: c@d.com",
            "a,b@c.com",
            "a;b@c.com",
            "<a@b.com>",
            "a(b)@c.com",
            "a\0@b.com",
            "a@b.com\u{202e}",
            &long_local,
            &long,
        ] {
            assert!(Email::parse(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".*") {
            if let Ok(email) = Email::parse(&text) {
                prop_assert_eq!(Email::parse(email.as_str()), Ok(email));
            }
        }

        #[test]
        fn what_looks_like_an_address_reads_back_as_itself(local in "[\\w.+%-]{1,70}", domain in "[\\w.。-]{1,80}") {
            if let Ok(email) = Email::parse(&format!("{local}@{domain}")) {
                prop_assert!(email.as_str().len() <= 254);
                prop_assert_eq!(Email::parse(email.as_str()), Ok(email));
            }
        }
    }
}
