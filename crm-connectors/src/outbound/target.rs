use std::net::IpAddr;

use url::{Host, Url};

/// The longest address, in bytes.
const LONGEST: usize = 2048;
/// The ports that are reached everywhere.
const USUAL: [u16; 2] = [443, 8443];
/// The same for plain HTTP.
const USUAL_PLAIN: [u16; 2] = [80, 8080];

/// Where a request goes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target(Url);

/// Why an address is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It is no URL.
    #[error("must be an absolute URL of at most {LONGEST} bytes, such as https://example.com/hooks")]
    Malformed,
    /// It is not encrypted.
    #[error("must begin with https://")]
    Scheme,
    /// It carries a name or a password.
    #[error("must not carry a user name or a password")]
    Credentials,
    /// It has a part that is never sent.
    #[error("must not have a fragment (#…)")]
    Fragment,
    /// Its port is none of the usual ones.
    #[error("must have the port 443 or 8443")]
    Port,
    /// It leads inside.
    #[error("must be an address of the public internet")]
    Inside,
}

impl Target {
    /// Takes an address apart. Digits of an IP address count in whatever notation they come; a name is turned into ASCII.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn parse(text: &str, plain_http: bool) -> Result<Self, Refusal> {
        // The parser forgives these, and others read them otherwise.
        let is_odd = |character: char| character.is_whitespace() || character.is_control() || character == '\\';
        if text.len() > LONGEST || text.chars().any(is_odd) {
            return Err(Refusal::Malformed);
        }
        let (scheme, rest) = text.split_once("://").ok_or(Refusal::Malformed)?;
        if !(scheme.eq_ignore_ascii_case("https") || plain_http && scheme.eq_ignore_ascii_case("http")) {
            return Err(Refusal::Scheme);
        }
        if rest.starts_with('/') {
            return Err(Refusal::Malformed);
        }
        let url = Url::parse(text).map_err(|_| Refusal::Malformed)?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err(Refusal::Credentials);
        }
        if url.fragment().is_some() {
            return Err(Refusal::Fragment);
        }
        if url.host_str().is_none_or(str::is_empty) || url.port_or_known_default().is_none_or(|port| port == 0) {
            return Err(Refusal::Malformed);
        }
        Ok(Self(url))
    }

    /// The address in its normal form.
    #[must_use]
    pub const fn url(&self) -> &Url {
        &self.0
    }

    /// The host, where it is an IP address.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        match self.0.host()? {
            Host::Ipv4(address) => Some(address.into()),
            Host::Ipv6(address) => Some(address.into()),
            Host::Domain(_) => None,
        }
    }

    /// The host, where it is a name.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.0.domain()
    }

    /// Whether its port is reached only where the address is named by the operator.
    #[must_use]
    pub fn is_unusual_port(&self) -> bool {
        let port = self.0.port_or_known_default().unwrap_or_default();
        !(USUAL.contains(&port) || self.0.scheme() == "http" && USUAL_PLAIN.contains(&port))
    }

    /// Why an address of it may not be reached.
    pub(super) fn not_admitted(&self) -> Refusal {
        if self.is_unusual_port() && self.address().is_none_or(super::address::is_public) {
            Refusal::Port
        } else {
            Refusal::Inside
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Result<String, Refusal> {
        Target::parse(text, false).map(|target| target.url().host_str().unwrap_or_default().to_owned())
    }

    #[test]
    fn hosts_are_put_in_normal_form() {
        for (text, host) in [
            ("https://example.com", "example.com"),
            ("HTTPS://EXAMPLE.com:8443/a?b=c", "example.com"),
            ("https://bücher.example/", "xn--bcher-kva.example"),
            ("https://ｅｘａｍｐｌｅ.com/", "example.com"),
            ("https://2130706433/", "127.0.0.1"),
            ("https://0x7f000001/", "127.0.0.1"),
            ("https://0177.0.0.1/", "127.0.0.1"),
            ("https://127.1/", "127.0.0.1"),
            ("https://①②⑦.0.0.1/", "127.0.0.1"),
            ("https://127.0.0.1./", "127.0.0.1"),
            ("https://[0:0:0:0:0:ffff:7f00:1]/", "[::ffff:7f00:1]"),
            ("https://example.com?url=http://a@b#", "example.com"),
        ] {
            let text = text.trim_end_matches('#');
            assert_eq!(parsed(text).as_deref(), Ok(host), "{text}");
        }
    }

    #[test]
    fn what_is_odd_is_refused() {
        let long = format!("https://example.com/{}", "a".repeat(LONGEST));
        for (text, refusal) in [
            ("", Refusal::Malformed),
            ("example.com", Refusal::Malformed),
            ("https:example.com", Refusal::Malformed),
            ("https:///example.com", Refusal::Malformed),
            ("https://", Refusal::Malformed),
            ("https://exa mple.com", Refusal::Malformed),
            ("https://exa\tmple.com", Refusal::Malformed),
            ("https://example.com\\@10.0.0.1/", Refusal::Malformed),
            (" https://example.com", Refusal::Malformed),
            ("https://example.com:0/", Refusal::Malformed),
            ("https://example.com:99999/", Refusal::Malformed),
            ("https://[fe80::1%25eth0]/", Refusal::Malformed),
            ("https://[::1/", Refusal::Malformed),
            ("https://256.256.256.256/", Refusal::Malformed),
            (long.as_str(), Refusal::Malformed),
            ("http://example.com", Refusal::Scheme),
            ("ftp://example.com", Refusal::Scheme),
            ("file:///etc/passwd", Refusal::Scheme),
            ("gopher://example.com", Refusal::Scheme),
            ("https://user@example.com", Refusal::Credentials),
            ("https://user:password@example.com", Refusal::Credentials),
            ("https://@example.com", Refusal::Credentials),
            ("https://example.com/#a", Refusal::Fragment),
        ] {
            assert_eq!(parsed(text), Err(refusal), "{text}");
        }
        assert!(Target::parse("http://example.com", true).is_ok());
    }

    #[test]
    fn ports_are_usual_or_not() {
        for (text, unusual) in [
            ("https://example.com", false),
            ("https://example.com:8443", false),
            ("https://example.com:80", true),
            ("https://example.com:22", true),
            ("http://example.com", false),
            ("http://example.com:8080", false),
            ("http://example.com:25", true),
        ] {
            assert_eq!(Target::parse(text, true).map(|target| target.is_unusual_port()), Ok(unusual), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_an_answer(text in any::<String>()) {
            let _ = Target::parse(&text, true);
            let _ = Target::parse(&format!("https://{text}"), false);
        }
    }
}
