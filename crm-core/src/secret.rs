//! Values that must not be seen, and the keys that keep them at rest.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::{
    port::Random,
    record::{DecodeError, FieldType},
    store::{FieldKind, Value},
};

/// A value that is never shown: its `Debug` is masked, and it has no `Display` and no `Serialize`.
#[derive(Clone, Default)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Keeps a value from view.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself. Every place that calls this is a place to look at twice.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> From<T> for Secret<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl<T: FieldType> FieldType for Secret<T> {
    const KIND: FieldKind = T::KIND;
    const OPTIONAL: bool = T::OPTIONAL;

    fn to_value(&self) -> Value {
        self.0.to_value()
    }

    fn from_value(value: Value) -> Result<Self, DecodeError> {
        T::from_value(value).map(Self)
    }
}

/// The SHA-256 of a secret, as lower-case hexadecimal: what is stored in place of a random token.
pub(crate) fn fingerprint(secret: &[u8]) -> String {
    hexadecimal(&Sha256::digest(secret))
}

/// Bytes as lower-case hexadecimal.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The HMAC-SHA-256 of a message.
pub(crate) fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    // HMAC takes a key of any length, so the other arm is never taken.
    Hmac::<Sha256>::new_from_slice(key).map_or([0; 32], |mac| mac.chain_update(message).finalize().into_bytes().into())
}

/// A random token of 256 bits, as 43 characters of base64url.
pub(crate) fn random_token(random: &dyn Random) -> String {
    let mut bytes = [0; 32];
    random.fill(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The shortest text that a key is derived from, in bytes.
pub const SHORTEST_SECRET: usize = 32;

/// A secret is too short to be one.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must have at least {SHORTEST_SECRET} bytes")]
pub struct WeakSecret;

/// What was sealed cannot be opened: it was changed, or its key is not among the keys.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a stored secret cannot be opened: it was changed, or its encryption key is missing")]
pub struct OpenError;

#[derive(Clone)]
struct EncryptionKey {
    id: String,
    key: Secret<[u8; 32]>,
}

/// Keys for secrets at rest (XChaCha20-Poly1305). The first one seals; every one opens what it sealed, so that keys
/// can be rotated. A sealed text names its key.
#[derive(Clone)]
pub struct EncryptionKeys(Vec<EncryptionKey>);

impl fmt::Debug for EncryptionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| &key.id)).finish()
    }
}

impl EncryptionKeys {
    /// Keys derived from a secret text each, the newest first.
    ///
    /// # Errors
    /// [`WeakSecret`] where there is none, or one is shorter than [`SHORTEST_SECRET`].
    pub fn from_secrets<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Result<Self, WeakSecret> {
        let keys = secrets
            .into_iter()
            .map(|secret| {
                if secret.len() < SHORTEST_SECRET {
                    return Err(WeakSecret);
                }
                let key = hmac_sha256(secret.as_bytes(), b"crm encryption key v1");
                let id = hexadecimal(&hmac_sha256(&key, b"key id")[..4]);
                Ok(EncryptionKey { id, key: Secret::new(key) })
            })
            .collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() { Err(WeakSecret) } else { Ok(Self(keys)) }
    }

    /// A key of this process alone: what it seals is lost with it.
    #[must_use]
    pub fn ephemeral(random: &dyn Random) -> Self {
        let mut key = [0; 32];
        random.fill(&mut key);
        Self(vec![EncryptionKey { id: "ephemeral".to_owned(), key: Secret::new(key) }])
    }

    /// Seals a secret for one purpose and record, which opening must name again.
    pub(crate) fn seal(&self, random: &dyn Random, bound_to: &str, secret: &[u8]) -> Option<String> {
        let EncryptionKey { id, key } = self.0.first()?;
        let mut nonce = [0; 24];
        random.fill(&mut nonce);
        let payload = Payload { msg: secret, aad: bound_to.as_bytes() };
        let cipher = XChaCha20Poly1305::new(key.expose().into());
        let sealed = cipher.encrypt(&XNonce::from(nonce), payload).ok()?;
        Some(format!("v1.{id}.{}.{}", URL_SAFE_NO_PAD.encode(nonce), URL_SAFE_NO_PAD.encode(sealed)))
    }

    /// Whether the newest key sealed it.
    pub(crate) fn is_newest(&self, sealed: &str) -> bool {
        self.0.first().is_some_and(|newest| sealed.split('.').nth(1) == Some(newest.id.as_str()))
    }

    /// Opens what was sealed for this purpose and record.
    pub(crate) fn open(&self, bound_to: &str, sealed: &str) -> Result<Vec<u8>, OpenError> {
        let mut parts = sealed.split('.');
        let (Some("v1"), Some(id), Some(nonce), Some(text), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(OpenError);
        };
        let EncryptionKey { key, .. } = self.0.iter().find(|key| key.id == id).ok_or(OpenError)?;
        let nonce: [u8; 24] =
            URL_SAFE_NO_PAD.decode(nonce).ok().and_then(|nonce| nonce.try_into().ok()).ok_or(OpenError)?;
        let text = URL_SAFE_NO_PAD.decode(text).map_err(|_| OpenError)?;
        let payload = Payload { msg: text.as_slice(), aad: bound_to.as_bytes() };
        XChaCha20Poly1305::new(key.expose().into()).decrypt(&XNonce::from(nonce), payload).map_err(|_| OpenError)
    }

    /// Keys for another purpose, made of every key, that of the newest first: what an older one signed is still verified.
    pub(crate) fn derive_all(&self, purpose: &str) -> Vec<[u8; 32]> {
        let derived = |one: &EncryptionKey| hmac_sha256(one.key.expose(), format!("derive {purpose}").as_bytes());
        self.0.iter().map(derived).collect()
    }

    /// A key for another purpose, such as signing cursors: the same as long as the first key is.
    pub(crate) fn derive(&self, purpose: &str) -> [u8; 32] {
        self.0.first().map_or([0; 32], |first| hmac_sha256(first.key.expose(), format!("derive {purpose}").as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::{EncryptionKeys, OpenError, Secret, WeakSecret};
    use crate::port::SeededRandom;

    const OLD: &str = "an old secret of more than 32 bytes.";
    const NEW: &str = "a newer secret of more than 32 bytes";

    #[test]
    fn a_secret_is_not_shown() {
        assert!(!format!("{:?}", Secret::new("hunter2")).contains("hunter2"));
        let keys = EncryptionKeys::from_secrets([OLD]).expect("long enough");
        assert!(!format!("{keys:?}").contains("old secret"));
    }

    #[test]
    fn what_is_sealed_opens_with_its_key_for_its_purpose_only() {
        let random = SeededRandom::new(1);
        let old = EncryptionKeys::from_secrets([OLD]).expect("long enough");
        let both = EncryptionKeys::from_secrets([NEW, OLD]).expect("long enough");
        let sealed = old.seal(&random, "totp:1", b"secret").expect("seals");
        assert_eq!(
            both.open("totp:1", &sealed).as_deref(),
            Ok(b"secret".as_slice()),
            "rotation keeps the old readable"
        );
        assert_eq!(old.open("totp:2", &sealed), Err(OpenError), "bound to its record");
        let renewed = both.seal(&random, "totp:1", b"secret").expect("seals");
        assert_eq!(old.open("totp:1", &renewed), Err(OpenError), "another key");
        let mut changed = sealed.clone();
        changed.pop();
        for text in ["", "v1", "v1.x.y.z", "v2.a.b.c", changed.as_str()] {
            assert_eq!(old.open("totp:1", text), Err(OpenError), "{text}");
        }
        assert_ne!(sealed, old.seal(&random, "totp:1", b"secret").expect("seals"), "a nonce is used once");
    }

    #[test]
    fn short_secrets_are_refused() {
        assert_eq!(EncryptionKeys::from_secrets(["short"]).err(), Some(WeakSecret));
        assert_eq!(EncryptionKeys::from_secrets([]).err(), Some(WeakSecret));
    }
}
