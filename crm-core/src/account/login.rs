use unicode_normalization::UnicodeNormalization as _;

use crate::{
    contact::Email,
    id::UserId,
    record::{Meta, Record},
    secret::Secret,
    time::Timestamp,
};

/// How a person signs in: the password's hash and the second factor. One per person, found by e-mail address over
/// the whole installation.
#[derive(Clone, Debug, Record)]
#[record(collection = "logins", installation, unique(email))]
pub struct LoginRecord {
    /// The person's own id.
    pub id: UserId,
    /// The e-mail address in the form in which look-alikes are equal: lower case, and NFKC.
    pub email: String,
    /// Argon2id, or bcrypt from an older system until the person signs in.
    pub password_hash: Option<Secret<String>>,
    /// When the password was last changed.
    pub password_changed_at: Timestamp,
    /// The secret of the second factor, sealed.
    pub totp_secret: Option<Secret<String>>,
    /// The secret of a second factor that was not confirmed yet, sealed.
    pub totp_pending: Option<Secret<String>>,
    /// The step of the last code used: earlier ones and this one are used up.
    pub totp_step: Option<i64>,
    /// SHA-256 of each recovery code that was not used yet.
    pub recovery_codes: Secret<Vec<String>>,
    /// Its organization, version and times.
    pub meta: Meta,
}

impl LoginRecord {
    /// Of a new person.
    pub(crate) fn new(id: UserId, email: &Email, password_hash: Option<String>, meta: Meta) -> Self {
        Self {
            id,
            email: login_key(email),
            password_hash: password_hash.map(Secret::new),
            password_changed_at: meta.created_at,
            totp_secret: None,
            totp_pending: None,
            totp_step: None,
            recovery_codes: Secret::new(Vec::new()),
            meta,
        }
    }
}

impl LoginRecord {
    /// Takes the second factor and its recovery codes away.
    pub(crate) fn forget_second_factor(&mut self) {
        self.totp_secret = None;
        self.totp_pending = None;
        self.totp_step = None;
        self.recovery_codes = Secret::new(Vec::new());
    }
}

/// The form of an address in which letters that only look different (full-width, ligatures, case) are equal, so that
/// nobody registers a look-alike of somebody else's address.
pub(crate) fn login_key(email: &Email) -> String {
    let compatible: String = email.as_str().nfkc().collect();
    caseless::default_case_fold_str(&compatible).nfkc().collect()
}

#[cfg(test)]
mod tests {
    use super::login_key;
    use crate::contact::Email;

    #[test]
    fn look_alikes_are_one() {
        let key = |text: &str| Email::parse(text).map(|email| login_key(&email)).ok();
        assert_eq!(key("Amelie@Example.com"), key("amelie@example.com"));
        assert_eq!(key("ame\u{301}lie@example.com"), key("amélie@example.com"));
        assert_ne!(key("amelie@example.com"), key("amélie@example.com"));
    }
}
