//! Protection of cookies against requests that other sites make a browser send.
//!
//! Only requests that change something and are let in by a cookie are checked: where they come from, by
//! `Sec-Fetch-Site` or else `Origin` or `Referer`, and then that they carry a token bound to the session.

use axum::http::{HeaderMap, Method, StatusCode, header};
use crm_core::Crm;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::{
    options::{Origins, RouterOptions},
    problem::Problem,
};

/// The header that carries the token.
const HEADER: &str = "x-csrf-token";
/// What the key is derived for.
const PURPOSE: &str = "tokens against forged requests";

/// Whether a method only reads.
pub(crate) fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
}

/// A new token for a session.
pub(crate) fn token(crm: &Crm, session: &str) -> String {
    let mut random = [0; 16];
    crm.fill_random(&mut random);
    let random: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    sign(&crm.derived_key(PURPOSE), session, &random)
}

/// Goes on only if a request let in by a cookie is one of our own pages' or an allowed origin's.
///
/// # Errors
/// 403 `CSRF`.
pub(crate) fn check(crm: &Crm, options: &RouterOptions, headers: &HeaderMap, session: &str) -> Result<(), Problem> {
    if !comes_from_friends(options, headers) {
        return Err(refused("The request comes from a page that may not use the cookie."));
    }
    let given = headers.get(HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if verifies(&crm.derived_key(PURPOSE), session, given) {
        Ok(())
    } else {
        Err(refused("A request by cookie needs the header X-CSRF-Token with the value of the cookie crm_csrf."))
    }
}

/// Goes on only if a request that signs somebody in is not a stranger's page, which would have its visitor act under
/// another account.
///
/// # Errors
/// 403 `CSRF`.
pub(crate) fn check_sign_in(options: &RouterOptions, headers: &HeaderMap) -> Result<(), Problem> {
    let site = headers.get("sec-fetch-site").map(|site| site.to_str().unwrap_or_default());
    // Where any origin may call, none gets its cookies kept.
    let stranger = site.is_some_and(|site| site != "none") && options.allowed_origins != Origins::Any;
    if stranger && !comes_from_friends(options, headers) {
        return Err(refused("Pages of this origin may not sign anybody in."));
    }
    Ok(())
}

fn refused(message: &'static str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "CSRF", message)
}

fn comes_from_friends(options: &RouterOptions, headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let origin = text("origin").map(ToOwned::to_owned).or_else(|| {
        let referer = url::Url::parse(text("referer")?).ok()?;
        Some(referer.origin().ascii_serialization())
    });
    let is_listed = |origin: &str| matches!(&options.allowed_origins, Origins::List(list) if list.iter().any(|allowed| allowed == origin));
    match text("sec-fetch-site") {
        Some("same-origin") => true,
        // A page of a sibling domain or of a stranger, or a person's own navigation, which sends no JSON.
        Some(_) => origin.is_some_and(|origin| is_listed(&origin)),
        None => origin.is_some_and(|origin| is_listed(&origin) || is_own(options, headers, &origin)),
    }
}

/// Whether the page was served by this server itself.
fn is_own(options: &RouterOptions, headers: &HeaderMap, origin: &str) -> bool {
    if let Some(base_url) = &options.base_url {
        return url::Url::parse(base_url).is_ok_and(|url| url.origin().ascii_serialization() == origin);
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let scheme = if options.https { "https" } else { "http" };
    !host.is_empty() && origin == format!("{scheme}://{host}")
}

fn mac(key: &[u8], session: &str, random: &str) -> [u8; 32] {
    let message = format!("{}!{session}!{}!{random}", session.len(), random.len());
    // HMAC takes a key of any length, so the other arm is never taken.
    Hmac::<Sha256>::new_from_slice(key).map_or([0; 32], |mac| mac.chain_update(message).finalize().into_bytes().into())
}

fn sign(key: &[u8], session: &str, random: &str) -> String {
    let mac: String = mac(key, session, random).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{mac}.{random}")
}

fn verifies(key: &[u8], session: &str, token: &str) -> bool {
    let Some((_, random)) = token.split_once('.').filter(|_| token.len() <= 200) else { return false };
    sign(key, session, random).as_bytes().ct_eq(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_bound_to_its_session() {
        let token = sign(b"csrf-secret", "sess_1", "a1b2c3d4e5f60718293a4b5c6d7e8f90");
        assert_eq!(
            token,
            "891dfdd7da49273854b1125882e8e95877707b8871a7ee9af01ec36eeca0d256.a1b2c3d4e5f60718293a4b5c6d7e8f90"
        );
        assert!(verifies(b"csrf-secret", "sess_1", &token));
        assert!(!verifies(b"csrf-secret", "sess_2", &token));
        assert!(!verifies(b"other", "sess_1", &token));
        for rubbish in ["", ".", "a.b", &token[1..], &format!("{token}0")] {
            assert!(!verifies(b"csrf-secret", "sess_1", rubbish), "{rubbish}");
        }
    }

    #[test]
    fn no_stranger_signs_anybody_in() {
        let list = std::sync::Arc::from(["https://app.example.com".to_owned()]);
        let options = RouterOptions { allowed_origins: Origins::List(list), ..RouterOptions::default() };
        for (site, origin, expected) in [
            (None, None, true),
            (Some("none"), None, true),
            (Some("same-origin"), None, true),
            (Some("cross-site"), Some("https://app.example.com"), true),
            (Some("cross-site"), Some("https://evil.example"), false),
            (Some("same-site"), None, false),
        ] {
            let mut headers = HeaderMap::new();
            site.map(|site| headers.insert("sec-fetch-site", axum::http::HeaderValue::from_static(site)));
            origin.map(|origin| headers.insert("origin", axum::http::HeaderValue::from_static(origin)));
            assert_eq!(check_sign_in(&options, &headers).is_ok(), expected, "{site:?} {origin:?}");
        }
    }

    #[test]
    fn only_friends_are_let_in() {
        let list = std::sync::Arc::from(["https://app.example.com".to_owned()]);
        let options = RouterOptions { allowed_origins: Origins::List(list), ..RouterOptions::default() };
        for (headers, expected) in [
            (vec![("sec-fetch-site", "same-origin")], true),
            (vec![("sec-fetch-site", "none")], false),
            (vec![("sec-fetch-site", "cross-site"), ("origin", "https://evil.example.com")], false),
            (vec![("sec-fetch-site", "same-site"), ("origin", "https://app.example.com")], true),
            (vec![("origin", "https://app.example.com")], true),
            (vec![("referer", "https://app.example.com/page")], true),
            (vec![("origin", "null")], false),
            (vec![("origin", "http://crm.local:4000"), ("host", "crm.local:4000")], true),
            (vec![("origin", "http://evil.local"), ("host", "crm.local:4000")], false),
            (vec![("host", "crm.local:4000")], false),
            (vec![], false),
        ] {
            let map: HeaderMap = headers
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse::<axum::http::HeaderValue>().unwrap()))
                .map(|(name, value): (axum::http::HeaderName, _)| (name, value))
                .collect();
            assert_eq!(comes_from_friends(&options, &map), expected, "{headers:?}");
        }
    }
}
