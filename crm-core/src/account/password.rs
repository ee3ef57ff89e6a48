//! Passwords: what is accepted, how it is kept, how it is checked.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use argon2::{
    Algorithm, Argon2, Params, PasswordHash, PasswordHasher as _, PasswordVerifier as _, Version,
    password_hash::{Salt, SaltString},
};
use serde_json::value::RawValue;
use tokio::sync::Semaphore;

use crate::{
    error::{Error, FieldErrors, Result},
    input::{self, FromInput},
    port::Random,
    secret::Secret,
};

/// The shortest new password, in characters.
pub(super) const SHORTEST: usize = 8;
/// The longest password, in characters.
pub(super) const LONGEST: usize = 128;
/// bcrypt looks at so many bytes; what follows would not be checked.
const BCRYPT_LONGEST: usize = 72;
/// The Argon2id parameters of OWASP: 19 MiB, two passes, one lane.
const PARAMETERS: (u32, u32, u32) = (19_456, 2, 1);

/// A password as somebody typed it. Its `Debug` is masked.
#[derive(Clone, Debug)]
pub struct Password(Secret<String>);

impl Password {
    /// Takes a password of at most 128 characters. Nothing is trimmed or normalised.
    ///
    /// # Errors
    /// `TOO_LONG`, `REQUIRED` for the empty one.
    pub fn parse(text: &str) -> Result<Self, FieldErrors> {
        if text.is_empty() {
            return Err(FieldErrors::one("", "REQUIRED", "must not be empty"));
        }
        if text.len() > LONGEST * 4 || text.chars().count() > LONGEST {
            return Err(FieldErrors::one("", "TOO_LONG", format!("must have at most {LONGEST} characters")));
        }
        Ok(Self(Secret::new(text.to_owned())))
    }

    fn as_bytes(&self) -> &[u8] {
        self.0.expose().as_bytes()
    }
}

impl FromInput for Password {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        Self::parse(&input::text(json)?)
    }
}

/// A new password of at least 8 and at most 128 characters. Whether it is too common is told when
/// it is hashed.
#[derive(Clone, Debug)]
pub struct NewPassword(Password);

impl NewPassword {
    /// Takes a new password.
    ///
    /// # Errors
    /// `TOO_SHORT`, `TOO_LONG`.
    pub fn parse(text: &str) -> Result<Self, FieldErrors> {
        let password = Password::parse(text)?;
        if text.chars().count() < SHORTEST {
            return Err(FieldErrors::one("", "TOO_SHORT", format!("must have at least {SHORTEST} characters")));
        }
        Ok(Self(password))
    }

    /// The password.
    #[must_use]
    pub const fn as_password(&self) -> &Password {
        &self.0
    }
}

impl FromInput for NewPassword {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        Self::parse(&input::text(json)?)
    }
}

#[cfg(feature = "openapi")]
mod schema {
    use utoipa::openapi::{KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat, schema::Type};

    fn password(shortest: usize) -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Password)))
            .min_length(Some(shortest))
            .max_length(Some(super::LONGEST))
            .build()
            .into()
    }

    impl utoipa::PartialSchema for super::Password {
        fn schema() -> RefOr<Schema> {
            password(1)
        }
    }

    impl utoipa::ToSchema for super::Password {}

    impl utoipa::PartialSchema for super::NewPassword {
        fn schema() -> RefOr<Schema> {
            password(super::SHORTEST)
        }
    }

    impl utoipa::ToSchema for super::NewPassword {}
}

/// How a password compared with what is stored.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verified {
    /// It is another one.
    Wrong,
    /// It is the one.
    Right,
    /// It is the one, and its hash is of an older kind: keep it anew.
    RightButOld,
}

/// Hashes and checks passwords beside the running work, so many at once as there are cores and a bounded number waiting.
pub(crate) struct PasswordHasher {
    permits: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    longest_queue: usize,
    /// What an unknown user's password is compared with, so that both take as long.
    nobody: Arc<str>,
}

impl fmt::Debug for PasswordHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordHasher").field("longest_queue", &self.longest_queue).finish_non_exhaustive()
    }
}

impl PasswordHasher {
    /// With so many at once, and so many waiting for each of them.
    pub(crate) fn new(at_once: usize, random: &dyn Random) -> Self {
        let at_once = at_once.max(1);
        let mut salt = [0; 16];
        random.fill(&mut salt);
        // Only its form matters: its salt and its cost are those of a real one, and no password gives 32 zero bytes.
        let salt =
            SaltString::encode_b64(&salt).map_or_else(|_| "AAAAAAAAAAAAAAAAAAAAAA".to_owned(), |s| s.to_string());
        let (memory, passes, lanes) = PARAMETERS;
        let nothing = "A".repeat(43);
        Self {
            permits: Arc::new(Semaphore::new(at_once)),
            waiting: Arc::new(AtomicUsize::new(0)),
            longest_queue: at_once * 100,
            nobody: format!("$argon2id$v=19$m={memory},t={passes},p={lanes}${salt}${nothing}").into(),
        }
    }

    /// The hash to keep of a new password.
    ///
    /// # Errors
    /// `TOO_COMMON` where it is among the commonest, [`Error::Unavailable`] where too many wait.
    pub(crate) async fn hash(
        &self,
        password: &NewPassword,
        field: &'static str,
        random: &dyn Random,
    ) -> Result<String> {
        let mut salt = [0; 16];
        random.fill(&mut salt);
        let password = password.clone();
        self.run(move || {
            if is_common(&password) {
                let message = "is among the commonest passwords, which are tried first: choose another";
                return Err(Error::invalid(field, "TOO_COMMON", message));
            }
            hash(password.as_password(), &salt)
        })
        .await?
    }

    /// The hash to keep of a password that is in use already.
    pub(crate) async fn rehash(&self, password: &Password, random: &dyn Random) -> Result<String> {
        let mut salt = [0; 16];
        random.fill(&mut salt);
        let password = password.clone();
        self.run(move || hash(&password, &salt)).await?
    }

    /// Compares a password with a stored hash; with nobody's where there is none, which takes as long.
    pub(crate) async fn verify(&self, password: &Password, stored: Option<&str>) -> Result<Verified> {
        let password = password.clone();
        let stored: Arc<str> = stored.map_or_else(|| Arc::clone(&self.nobody), Into::into);
        self.run(move || verify(&password, &stored)).await
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let _place = Place::take(&self.waiting, self.longest_queue)?;
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(Error::internal)?;
        tokio::task::spawn_blocking(move || {
            // Held by the work itself, so that a caller who goes away frees nothing that is still in use.
            let _permit = permit;
            work()
        })
        .await
        .map_err(Error::internal)
    }
}

/// A place in the queue, given back when dropped.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(waiting: &Arc<AtomicUsize>, longest: usize) -> Result<Self> {
        let place = Self(Arc::clone(waiting));
        if waiting.fetch_add(1, Ordering::Relaxed) >= longest {
            return Err(Error::Unavailable {
                message: "Too many people are signing in at this moment: try again.".to_owned(),
                retry_after: Duration::from_secs(2),
            });
        }
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn argon2() -> Result<Argon2<'static>> {
    let (memory, passes, lanes) = PARAMETERS;
    let parameters = Params::new(memory, passes, lanes, None).map_err(|error| Error::internal(error.to_string()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters))
}

fn hash(password: &Password, salt: &[u8; 16]) -> Result<String> {
    let salt = SaltString::encode_b64(salt).map_err(|error| Error::internal(error.to_string()))?;
    let salt: Salt<'_> = salt.as_salt();
    let hash = argon2()?.hash_password(password.as_bytes(), salt);
    Ok(hash.map_err(|error| Error::internal(error.to_string()))?.to_string())
}

fn verify(password: &Password, stored: &str) -> Verified {
    if ["$2a$", "$2b$", "$2y$"].iter().any(|prefix| stored.starts_with(prefix)) {
        // Longer ones are cut off by the algorithm, so that many passwords would be the right one.
        if password.as_bytes().len() > BCRYPT_LONGEST {
            return Verified::Wrong;
        }
        return match bcrypt::verify(password.as_bytes(), stored) {
            Ok(true) => Verified::RightButOld,
            _ => Verified::Wrong,
        };
    }
    let Ok(parsed) = PasswordHash::new(stored) else { return Verified::Wrong };
    if Argon2::default().verify_password(password.as_bytes(), &parsed).is_err() {
        return Verified::Wrong;
    }
    let current = parsed.algorithm == Algorithm::Argon2id.ident()
        && Params::try_from(&parsed).is_ok_and(|found| (found.m_cost(), found.t_cost(), found.p_cost()) == PARAMETERS);
    if current { Verified::Right } else { Verified::RightButOld }
}

/// Whether guessing finds the password among the first ten thousand guesses: the commonest passwords, and what
/// guessers derive from them by repeating and running along the keyboard. Case makes no difference.
fn is_common(password: &NewPassword) -> bool {
    const GUESSES: u64 = 10_001;
    let lower = password.as_password().0.expose().to_lowercase();
    zxcvbn::zxcvbn(&lower, &[]).guesses() <= GUESSES
}

#[cfg(test)]
mod tests {
    use super::{NewPassword, Password, PasswordHasher, Verified, is_common};
    use crate::{error::Error, port::SeededRandom};

    fn password(text: &str) -> Password {
        Password::parse(text).expect(text)
    }

    #[test]
    fn the_commonest_are_known_in_any_case() {
        for text in [
            "password",
            "12345678",
            "Password",
            "QWERTYUIOP",
            "iloveyou",
            "sunshine",
            "password1",
            "11111111",
            "letmein1",
            "football",
            "aaaaaaaaaaaa",
            "princess",
            "trustno1",
            "qwerty123",
        ] {
            assert!(is_common(&NewPassword::parse(text).expect(text)), "{text}");
        }
        for text in ["correct horse battery staple", "amelie-liest-7", "Sup3r-secret!", "пароль-для-теста"]
        {
            assert!(!is_common(&NewPassword::parse(text).expect(text)), "{text}");
        }
    }

    #[test]
    fn lengths_are_characters() {
        assert!(NewPassword::parse("ééééééé").is_err());
        assert!(NewPassword::parse(&"é".repeat(128)).is_ok());
        assert!(NewPassword::parse(&"é".repeat(129)).is_err());
        assert!(!format!("{:?}", password("hunter22")).contains("hunter22"));
    }

    #[tokio::test]
    async fn what_was_hashed_verifies() {
        let random = SeededRandom::new(7);
        let hasher = PasswordHasher::new(2, &random);
        let new = NewPassword::parse("amelie-liest-7").expect("long enough");
        let hash = hasher.hash(&new, "password", &random).await.expect("hashes");
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_eq!(hasher.verify(&password("amelie-liest-7"), Some(&hash)).await.ok(), Some(Verified::Right));
        assert_eq!(hasher.verify(&password("amelie-liest-8"), Some(&hash)).await.ok(), Some(Verified::Wrong));
        assert_eq!(hasher.verify(&password("amelie-liest-7"), None).await.ok(), Some(Verified::Wrong));
        assert_eq!(hasher.verify(&password("x"), Some("no hash")).await.ok(), Some(Verified::Wrong));
        let common = NewPassword::parse("password").expect("long enough");
        assert!(matches!(hasher.hash(&common, "password", &random).await, Err(Error::Invalid(_))));
    }

    #[tokio::test]
    async fn older_hashes_verify_and_are_to_be_renewed() {
        let random = SeededRandom::new(7);
        let hasher = PasswordHasher::new(2, &random);
        // The published test vector of OpenBSD's bcrypt for "U*U", cost 5.
        let rest = "05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
        for prefix in ["$2a$", "$2b$", "$2y$"] {
            let stored = format!("{prefix}{rest}");
            assert_eq!(hasher.verify(&password("U*U"), Some(&stored)).await.ok(), Some(Verified::RightButOld));
            assert_eq!(hasher.verify(&password("U*V"), Some(&stored)).await.ok(), Some(Verified::Wrong));
        }
        let long = "x".repeat(73);
        let stored = bcrypt::hash_with_salt(&long.as_bytes()[..72], 4, [1; 16]).expect("hashes").to_string();
        assert_eq!(hasher.verify(&password(&long), Some(&stored)).await.ok(), Some(Verified::Wrong), "cut off");
        assert_eq!(hasher.verify(&password(&long[..72]), Some(&stored)).await.ok(), Some(Verified::RightButOld));
    }

    #[tokio::test]
    async fn a_long_queue_is_refused() {
        let random = SeededRandom::new(7);
        let hasher = PasswordHasher { longest_queue: 0, ..PasswordHasher::new(1, &random) };
        assert!(matches!(hasher.verify(&password("x"), None).await, Err(Error::Unavailable { .. })));
    }
}
