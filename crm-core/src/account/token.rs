//! Access tokens: signed JWTs (RFC 9068 in form), each key pinned to its algorithm (RFC 8725).

use std::{fmt, time::Duration};

use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation,
    jwk::{Jwk, KeyAlgorithm, PublicKeyUse, ThumbprintHash},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    error::{Error, Result},
    id::{OrganizationId, UserId},
    secret::{SHORTEST_SECRET, hexadecimal, hmac_sha256},
    time::Timestamp,
};

/// A token longer than this is not looked at, in bytes.
const LONGEST: usize = 4096;
/// How far another machine's clock may be ahead.
const SKEW: Duration = Duration::from_mins(1);
/// What an access token says of its kind; tokens for other purposes say something else.
const ACCESS_TOKEN: &str = "at+jwt";

/// A key cannot sign tokens.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SigningKeyError {
    /// The secret is too short.
    #[error("the signing secret must have at least {SHORTEST_SECRET} bytes")]
    Short,
    /// The file holds something else.
    #[error("the signing key must be an Ed25519 private key as PKCS#8 PEM")]
    NotEd25519,
}

/// A key that signs and checks access tokens, with the one algorithm that it is for.
#[derive(Clone)]
pub struct SigningKey {
    id: String,
    algorithm: Algorithm,
    signs: EncodingKey,
    checks: DecodingKey,
    public: Option<Jwk>,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("id", &self.id).field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// HMAC with SHA-256 (`HS256`) by a secret.
    ///
    /// # Errors
    /// [`SigningKeyError::Short`] under [`SHORTEST_SECRET`] bytes.
    pub fn from_secret(secret: &[u8]) -> Result<Self, SigningKeyError> {
        if secret.len() < SHORTEST_SECRET {
            return Err(SigningKeyError::Short);
        }
        Ok(Self::hs256(secret))
    }

    fn hs256(secret: &[u8]) -> Self {
        Self {
            id: hexadecimal(&hmac_sha256(secret, b"crm signing key id")[..8]),
            algorithm: Algorithm::HS256,
            signs: EncodingKey::from_secret(secret),
            checks: DecodingKey::from_secret(secret),
            public: None,
        }
    }

    /// `HS256` by 32 random bytes of this process.
    pub(crate) fn of_this_process(secret: &[u8; 32]) -> Self {
        Self::hs256(secret)
    }

    /// Ed25519 (`EdDSA`) by a private key, as PKCS#8 PEM. Others can check its tokens by [`SigningKeys::jwks`].
    ///
    /// # Errors
    /// [`SigningKeyError::NotEd25519`] for anything else.
    pub fn from_ed25519_pem(pem: &str) -> Result<Self, SigningKeyError> {
        let no_key = |_| SigningKeyError::NotEd25519;
        let signs = EncodingKey::from_ed_pem(pem.as_bytes()).map_err(no_key)?;
        let mut public = Jwk::from_encoding_key(&signs, Algorithm::EdDSA).map_err(no_key)?;
        let id = public.thumbprint(ThumbprintHash::SHA256).map_err(no_key)?;
        let checks = DecodingKey::from_jwk(&public).map_err(no_key)?;
        public.common.key_id = Some(id.clone());
        public.common.key_algorithm = Some(KeyAlgorithm::EdDSA);
        public.common.public_key_use = Some(PublicKeyUse::Signature);
        Ok(Self { id, algorithm: Algorithm::EdDSA, signs, checks, public: Some(public) })
    }
}

/// The keys of an installation: the first one signs, every one checks, so that keys can be rotated.
#[derive(Clone, Debug)]
pub struct SigningKeys(Vec<SigningKey>);

impl SigningKeys {
    /// The key that signs, and those that were in use before it.
    #[must_use]
    pub fn new(current: SigningKey, earlier: impl IntoIterator<Item = SigningKey>) -> Self {
        let mut keys = vec![current];
        keys.extend(earlier);
        Self(keys)
    }

    /// The public keys as a JWK set (RFC 7517); empty where only secrets sign.
    #[must_use]
    pub fn jwks(&self) -> serde_json::Value {
        let keys: Vec<&Jwk> = self.0.iter().filter_map(|key| key.public.as_ref()).collect();
        serde_json::json!({ "keys": keys })
    }

    pub(crate) fn sign(&self, claims: &Claims) -> Result<String> {
        let Some(key) = self.0.first() else { return Err(Error::internal("there is no signing key")) };
        let header =
            Header { typ: Some(ACCESS_TOKEN.to_owned()), kid: Some(key.id.clone()), ..Header::new(key.algorithm) };
        jsonwebtoken::encode(&header, claims, &key.signs).map_err(Error::internal)
    }

    /// The claims of a token that one of the keys signed for this issuer and audience, and whose time it is.
    pub(crate) fn check(&self, token: &str, issuer: &str, audience: &str, now: Timestamp) -> Result<Claims> {
        const INVALID: Error = Error::Unauthenticated("The access token is not valid.");
        if token.len() > LONGEST {
            return Err(INVALID);
        }
        // Keys named by the header itself (jku, x5u, jwk) are never looked at: the key is one of ours, or none.
        let header = jsonwebtoken::decode_header(token).map_err(|_| INVALID)?;
        if !header.typ.as_deref().is_some_and(|kind| kind.eq_ignore_ascii_case(ACCESS_TOKEN)) {
            return Err(INVALID);
        }
        let key = header.kid.as_deref().and_then(|id| self.0.iter().find(|key| key.id == id)).ok_or(INVALID)?;
        if header.alg != key.algorithm {
            return Err(INVALID);
        }
        let claims = jsonwebtoken::decode::<Claims>(token, &key.checks, &validation(key.algorithm, issuer, audience))
            .map_err(|_| INVALID)?
            .claims;
        let now_in_seconds = now.as_milliseconds().div_euclid(1000);
        let latest = now.plus(SKEW).as_milliseconds().div_euclid(1000);
        if claims.nbf > latest || claims.iat > latest || claims.exp <= claims.iat {
            return Err(INVALID);
        }
        if claims.exp <= now_in_seconds {
            return Err(Error::TokenExpired);
        }
        Ok(claims)
    }
}

fn validation(algorithm: Algorithm, issuer: &str, audience: &str) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.set_issuer(&[issuer]);
    validation.set_audience(&[audience]);
    validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
    // Times are checked against the injected clock.
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation
}

/// What an access token says.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Claims {
    pub(crate) iss: String,
    pub(crate) aud: String,
    /// The user.
    pub(crate) sub: UserId,
    /// The organization.
    pub(crate) org: OrganizationId,
    /// The session.
    pub(crate) sid: Uuid,
    /// The token: a `UUIDv7`, so that later ones are greater.
    pub(crate) jti: Uuid,
    /// The user's epoch, which ends all earlier tokens when it moves on.
    pub(crate) epoch: i64,
    pub(crate) iat: i64,
    pub(crate) nbf: i64,
    pub(crate) exp: i64,
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use jsonwebtoken::{Algorithm, EncodingKey, Header};
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::{Claims, SigningKey, SigningKeyError, SigningKeys};
    use crate::{
        error::Error,
        id::{OrganizationId, UserId},
        secret::hmac_sha256,
        time::Timestamp,
    };

    const SECRET: &[u8] = b"a signing secret of more than 32 bytes";
    /// The private key of RFC 8410, section 10.3.
    const PEM: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
        -----END PRIVATE KEY-----\n";
    const NOW: i64 = 1_780_000_000;

    fn now() -> Timestamp {
        Timestamp::from_milliseconds(NOW * 1000).expect("in range")
    }

    fn claims() -> Claims {
        Claims {
            iss: "crm".to_owned(),
            aud: "crm-api".to_owned(),
            sub: UserId(Uuid::from_u128(1)),
            org: OrganizationId(Uuid::from_u128(2)),
            sid: Uuid::from_u128(3),
            jti: Uuid::from_u128(4),
            epoch: 0,
            iat: NOW,
            nbf: NOW,
            exp: NOW + 900,
        }
    }

    fn hs256() -> SigningKeys {
        SigningKeys::new(SigningKey::from_secret(SECRET).expect("long enough"), [])
    }

    fn check(keys: &SigningKeys, token: &str) -> Result<Claims, &'static str> {
        keys.check(token, "crm", "crm-api", now()).map_err(|error| error.code())
    }

    fn forged(header: &serde_json::Value, key: Option<&[u8]>) -> String {
        let message = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(serde_json::to_string(&claims()).expect("serialises"))
        );
        let signature =
            key.map_or_else(String::new, |key| URL_SAFE_NO_PAD.encode(hmac_sha256(key, message.as_bytes())));
        format!("{message}.{signature}")
    }

    #[test]
    fn a_token_is_read_back() {
        for key in
            [SigningKey::from_secret(SECRET).expect("long enough"), SigningKey::from_ed25519_pem(PEM).expect("a key")]
        {
            let keys = SigningKeys::new(key, []);
            let token = keys.sign(&claims()).expect("signs");
            assert_eq!(check(&keys, &token), Ok(claims()));
            let header = jsonwebtoken::decode_header(&token).expect("a header");
            assert_eq!(header.typ.as_deref(), Some("at+jwt"));
        }
    }

    #[test]
    fn a_forged_token_is_refused() {
        let keys = hs256();
        let id = keys.0[0].id.clone();
        let header = |alg: &str, typ: &str, kid: &str| serde_json::json!({ "alg": alg, "typ": typ, "kid": kid });
        assert_eq!(check(&keys, &forged(&header("HS256", "at+jwt", &id), Some(SECRET))), Ok(claims()), "the control");
        for (what, token) in [
            ("alg none", forged(&header("none", "at+jwt", &id), None)),
            ("alg None with a signature", forged(&header("None", "at+jwt", &id), Some(SECRET))),
            ("no signature", forged(&header("HS256", "at+jwt", &id), None)),
            ("another secret", forged(&header("HS256", "at+jwt", &id), Some(b"another secret of more than 32 bytes"))),
            ("another algorithm", forged(&header("HS512", "at+jwt", &id), Some(SECRET))),
            ("another kind", forged(&header("HS256", "JWT", &id), Some(SECRET))),
            ("a path as key id", forged(&header("HS256", "at+jwt", "../../etc/passwd"), Some(SECRET))),
            ("an empty key id", forged(&header("HS256", "at+jwt", ""), Some(SECRET))),
            ("100 KB", format!("{}.{}.x", "a".repeat(50_000), "b".repeat(50_000))),
            ("nothing", String::new()),
            ("dots", "..".to_owned()),
        ] {
            assert_eq!(check(&keys, &token), Err("UNAUTHENTICATED"), "{what}");
        }
        let own_key = serde_json::json!({ "alg": "HS256", "typ": "at+jwt", "kid": "mine", "jku": "https://evil.example/jwks",
            "jwk": { "kty": "oct", "k": "AAAA" } });
        assert_eq!(check(&keys, &forged(&own_key, Some(b"AAAA"))), Err("UNAUTHENTICATED"), "a key in the header");
    }

    #[test]
    fn a_public_key_is_no_secret() {
        let keys = SigningKeys::new(SigningKey::from_ed25519_pem(PEM).expect("a key"), []);
        let jwks = keys.jwks();
        let (id, public) =
            (jwks["keys"][0]["kid"].as_str().expect("an id"), jwks["keys"][0]["x"].as_str().expect("a key"));
        let header = serde_json::json!({ "alg": "HS256", "typ": "at+jwt", "kid": id });
        for key in [public.as_bytes().to_vec(), URL_SAFE_NO_PAD.decode(public).expect("base64url")] {
            assert_eq!(check(&keys, &forged(&header, Some(&key))), Err("UNAUTHENTICATED"));
        }
    }

    #[test]
    fn claims_of_another_place_or_time_are_refused() {
        let keys = hs256();
        for (what, claims, expected) in [
            ("another issuer", Claims { iss: "other".to_owned(), ..claims() }, Err("UNAUTHENTICATED")),
            ("another audience", Claims { aud: "other".to_owned(), ..claims() }, Err("UNAUTHENTICATED")),
            ("expired now", Claims { iat: NOW - 900, nbf: NOW - 900, exp: NOW, ..claims() }, Err("TOKEN_EXPIRED")),
            (
                "expired by 61 s",
                Claims { iat: NOW - 961, nbf: NOW - 961, exp: NOW - 61, ..claims() },
                Err("TOKEN_EXPIRED"),
            ),
            ("a clock ahead by 60 s", Claims { iat: NOW + 60, nbf: NOW + 60, ..claims() }, Ok(())),
            ("issued 61 s ahead", Claims { iat: NOW + 61, ..claims() }, Err("UNAUTHENTICATED")),
            ("not before 61 s ahead", Claims { nbf: NOW + 61, ..claims() }, Err("UNAUTHENTICATED")),
        ] {
            let token = keys.sign(&claims).expect("signs");
            assert_eq!(check(&keys, &token).map(|_| ()), expected, "{what}");
        }
        let mut missing = serde_json::to_value(claims()).expect("serialises");
        missing.as_object_mut().expect("an object").remove("exp");
        let header =
            Header { typ: Some("at+jwt".to_owned()), kid: Some(keys.0[0].id.clone()), ..Header::new(Algorithm::HS256) };
        let token = jsonwebtoken::encode(&header, &missing, &EncodingKey::from_secret(SECRET)).expect("signs");
        assert_eq!(check(&keys, &token), Err("UNAUTHENTICATED"), "a missing claim");
    }

    #[test]
    fn keys_rotate() {
        let old = hs256();
        let token = old.sign(&claims()).expect("signs");
        let new = SigningKey::from_secret(b"a newer secret of more than 32 bytes").expect("long enough");
        let both = SigningKeys::new(new.clone(), old.0.clone());
        assert_eq!(check(&both, &token), Ok(claims()));
        assert_eq!(check(&SigningKeys::new(new, []), &token), Err("UNAUTHENTICATED"));
    }

    #[test]
    fn only_public_keys_are_published() {
        assert_eq!(hs256().jwks(), serde_json::json!({ "keys": [] }));
        let keys = SigningKeys::new(SigningKey::from_ed25519_pem(PEM).expect("a key"), hs256().0);
        let key = &keys.jwks()["keys"][0];
        assert_eq!(keys.jwks()["keys"].as_array().map(Vec::len), Some(1));
        // The public key that RFC 8410, section 10.1, shows for it.
        assert_eq!(key["x"], "Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE");
        assert_eq!(
            (&key["kty"], &key["crv"], &key["alg"], &key["use"]),
            (&"OKP".into(), &"Ed25519".into(), &"EdDSA".into(), &"sig".into())
        );
        assert!(key.get("d").is_none());
    }

    #[test]
    fn weak_and_foreign_keys_are_refused() {
        assert_eq!(SigningKey::from_secret(b"your-jwt-secret").err(), Some(SigningKeyError::Short));
        for pem in ["", "no key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"] {
            assert_eq!(SigningKey::from_ed25519_pem(pem).err(), Some(SigningKeyError::NotEd25519), "{pem}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused(token in any::<String>()) {
            prop_assert!(matches!(hs256().check(&token, "crm", "crm-api", now()), Err(Error::Unauthenticated(_))));
        }
    }
}
