//! Sign-in by cookies, for browsers.
//!
//! The access and refresh tokens go into cookies that no script can read. A third cookie holds the token against
//! forged requests, which the page's own script reads and sends back as `X-CSRF-Token`: see [`crate::csrf`].

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};
use axum_extra::extract::cookie::{Cookie, SameSite};
use crm_core::{Crm, account::SignedIn};

use crate::csrf;

const ACCESS: Names = Names { https: "__Host-crm_access", http: "crm_access" };
const REFRESH: Names = Names { https: "__Secure-crm_refresh", http: "crm_refresh" };
const CSRF: Names = Names { https: "__Host-crm_csrf", http: "crm_csrf" };
/// The refresh token is only sent where it is of use.
const REFRESH_PATH: &str = "/api";

/// A cookie's name. The prefixes make browsers insist on what we promise, and need HTTPS.
struct Names {
    https: &'static str,
    http: &'static str,
}

impl Names {
    const fn name(&self, https: bool) -> &'static str {
        if https { self.https } else { self.http }
    }
}

/// The access token of the request's cookies.
pub(crate) fn access_token(headers: &HeaderMap, https: bool) -> Option<&str> {
    read(headers, ACCESS.name(https))
}

/// The refresh token of the request's cookies.
pub(crate) fn refresh_token(headers: &HeaderMap, https: bool) -> Option<&str> {
    read(headers, REFRESH.name(https))
}

fn read<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(given, _)| *given == name).map(|(_, value)| value).filter(|value| !value.is_empty())
}

/// `Set-Cookie` headers for somebody who has just signed in or refreshed.
pub(crate) fn signed_in(crm: &Crm, signed_in: &SignedIn, https: bool) -> Vec<HeaderValue> {
    let session = uuid::Uuid::from(signed_in.session).to_string();
    let token = csrf::token(crm, &session);
    vec![
        write(ACCESS.name(https), signed_in.access_token.expose(), "/", signed_in.expires_in, true, https),
        write(
            REFRESH.name(https),
            signed_in.refresh_token.expose(),
            REFRESH_PATH,
            signed_in.refresh_expires_in,
            true,
            https,
        ),
        write(CSRF.name(https), &token, "/", signed_in.refresh_expires_in, false, https),
    ]
}

/// `Set-Cookie` headers for somebody who has just signed out.
pub(crate) fn signed_out(https: bool) -> Vec<HeaderValue> {
    [(ACCESS, "/", true), (REFRESH, REFRESH_PATH, true), (CSRF, "/", false)]
        .iter()
        .map(|(names, path, hidden)| write(names.name(https), "", path, Duration::ZERO, *hidden, https))
        .collect()
}

fn write(name: &str, value: &str, path: &str, life: Duration, hidden: bool, https: bool) -> HeaderValue {
    let mut cookie = Cookie::new(name, value);
    cookie.set_path(path);
    cookie.set_http_only(hidden);
    cookie.set_secure(https);
    cookie.set_same_site(SameSite::Strict);
    let text = format!("{cookie}; Max-Age={}", life.as_secs());
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_shut_tight() {
        let set = write(ACCESS.name(true), "a.b.c", "/", Duration::from_secs(900), true, true);
        assert_eq!(set, "__Host-crm_access=a.b.c; HttpOnly; SameSite=Strict; Secure; Path=/; Max-Age=900");
        for set in signed_out(false) {
            assert!(set.to_str().unwrap().ends_with("Max-Age=0"), "{set:?}");
        }
    }

    #[test]
    fn the_right_cookie_is_read() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("xcrm_access=no; crm_access=yes; crm_refresh=later"));
        assert_eq!(access_token(&headers, false), Some("yes"));
        assert_eq!(refresh_token(&headers, false), Some("later"));
        assert_eq!(access_token(&headers, true), None);
    }
}
