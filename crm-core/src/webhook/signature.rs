use std::str::FromStr;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use subtle::ConstantTimeEq as _;

use crate::{
    port::Random,
    secret::{Secret, hmac_sha256},
};

/// What every secret begins with.
const PREFIX: &str = "whsec_";
/// How long a new secret is, in bytes.
const LENGTH: usize = 32;

/// The secret of a webhook: `whsec_` and base64 of 24 to 64 bytes.
#[derive(Clone, Debug)]
pub struct SigningSecret(Secret<Vec<u8>>);

/// The text is no secret of a webhook.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be {PREFIX} and base64 of 24 to 64 bytes")]
pub struct InvalidSecret;

impl SigningSecret {
    /// A new one.
    #[must_use]
    pub fn new(random: &dyn Random) -> Self {
        let mut bytes = vec![0; LENGTH];
        random.fill(&mut bytes);
        Self(Secret::new(bytes))
    }

    /// The text, to be shown once.
    #[must_use]
    pub fn text(&self) -> Secret<String> {
        Secret::new(format!("{PREFIX}{}", STANDARD.encode(self.0.expose())))
    }

    /// The signature of a message as it stands in `webhook-signature`: `v1,` and base64 of the HMAC-SHA-256 of id,
    /// instant (in seconds) and body.
    #[must_use]
    pub fn sign(&self, id: &str, timestamp: i64, body: &str) -> String {
        let signed = format!("{id}.{timestamp}.{body}");
        format!("v1,{}", STANDARD.encode(hmac_sha256(self.0.expose(), signed.as_bytes())))
    }

    /// Whether one of the signatures in a header `webhook-signature` is that of the message.
    #[must_use]
    pub fn verifies(&self, id: &str, timestamp: i64, body: &str, signatures: &str) -> bool {
        let own = self.sign(id, timestamp, body);
        // Every one is looked at, so that the time says nothing.
        signatures.split(' ').fold(false, |found, given| found | bool::from(given.as_bytes().ct_eq(own.as_bytes())))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.0.expose()
    }

    pub(crate) const fn of_bytes(bytes: Vec<u8>) -> Self {
        Self(Secret::new(bytes))
    }
}

impl FromStr for SigningSecret {
    type Err = InvalidSecret;

    fn from_str(text: &str) -> Result<Self, InvalidSecret> {
        let bytes = STANDARD.decode(text.strip_prefix(PREFIX).ok_or(InvalidSecret)?).map_err(|_| InvalidSecret)?;
        if (24..=64).contains(&bytes.len()) { Ok(Self::of_bytes(bytes)) } else { Err(InvalidSecret) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::SeededRandom;

    /// The vector of the Standard Webhooks specification.
    #[test]
    fn signatures_are_standard() {
        let secret: SigningSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().expect("a secret");
        let signature = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, "{\"test\": 2432232314}");
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let verifies = |at, body: &str, given: &str| secret.verifies("msg_p5jXN8AQM9LWM0D4loKWxJek", at, body, given);
        let (at, body) = (1_614_265_330, "{\"test\": 2432232314}");
        assert!(verifies(at, body, &signature));
        assert!(verifies(at, body, &format!("v1,AAAA {signature} v1a,x")), "one of several");
        for (at, body, given) in [
            (at + 1, body, signature.as_str()),
            (at, "{}", signature.as_str()),
            (at, body, ""),
            (at, body, "v1,"),
            (at, body, signature.trim_start_matches("v1,")),
        ] {
            assert!(!verifies(at, body, given), "{at} {body} {given}");
        }
    }

    #[test]
    fn a_secret_is_read_back_and_not_shown() {
        let secret = SigningSecret::new(&SeededRandom::new(1));
        let text = secret.text();
        let again: SigningSecret = text.expose().parse().expect("a secret");
        assert_eq!(again.bytes(), secret.bytes());
        assert!(!format!("{secret:?}").contains(text.expose().trim_start_matches(PREFIX)));
        for text in ["", "whsec_", "whsec_AAAA", "whsec_!", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] {
            assert_eq!(text.parse::<SigningSecret>().err(), Some(InvalidSecret), "{text}");
        }
    }
}
