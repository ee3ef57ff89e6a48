use std::{fmt, str::FromStr, time::Duration};

use super::token::{SigningKey, SigningKeys};
use crate::{
    id::OrganizationId,
    limit::Policy,
    port::Random,
    secret::{EncryptionKeys, Secret},
};

/// Who may register.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum RegistrationMode {
    /// Anybody may create an organization and become its Admin, or become a Customer of the default organization.
    Open,
    /// Anybody may become a Customer of the default organization.
    Customer,
    /// Nobody: Admins add people.
    #[default]
    Off,
}

impl fmt::Display for RegistrationMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Customer => "customer",
            Self::Off => "off",
        })
    }
}

/// There is no registration mode of that name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be one of open, customer, off")]
pub struct UnknownRegistrationMode;

impl FromStr for RegistrationMode {
    type Err = UnknownRegistrationMode;

    fn from_str(text: &str) -> Result<Self, UnknownRegistrationMode> {
        [Self::Open, Self::Customer, Self::Off]
            .into_iter()
            .find(|mode| mode.to_string() == text)
            .ok_or(UnknownRegistrationMode)
    }
}

/// How people and services sign in. Change the fields that you want otherwise.
#[derive(Clone, Debug)]
pub struct AccountSettings {
    /// The keys that sign access tokens.
    pub signing_keys: SigningKeys,
    /// The keys for secrets at rest.
    pub encryption_keys: EncryptionKeys,
    /// The `iss` of access tokens.
    pub issuer: String,
    /// The `aud` of access tokens.
    pub audience: String,
    /// How long an access token lives: 15 minutes.
    pub access_lifetime: Duration,
    /// How long a refresh token lives, each anew: 7 days.
    pub refresh_lifetime: Duration,
    /// How long a session lives, however often it is refreshed: 30 days.
    pub session_lifetime: Duration,
    /// Who may register: nobody.
    pub registration: RegistrationMode,
    /// The organization of those who register without one, and of the service key.
    pub default_organization: Option<OrganizationId>,
    /// The installation's own key for services (`SERVICE_API_KEY`).
    pub service_key: Option<Secret<String>>,
    /// Attempts to sign in per account and address, and to give a password or code again per user: 10 in 15 minutes.
    pub login_limit: Option<Policy>,
    /// Attempts to sign in per account from all addresses together, forgotten once one succeeds or the account gets a
    /// new password: 100 in an hour.
    pub account_limit: Option<Policy>,
    /// Whether tokens are given out without a password, for development only: no.
    pub development_tokens: bool,
    /// The name that an authenticator shows for the second factor: `CRM`.
    pub totp_issuer: String,
    /// How many passwords are hashed at once: as many as the machine has cores.
    pub hashes_at_once: usize,
}

impl AccountSettings {
    /// The usual settings with these keys.
    #[must_use]
    pub fn new(signing_keys: SigningKeys, encryption_keys: EncryptionKeys) -> Self {
        Self {
            signing_keys,
            encryption_keys,
            issuer: "crm".to_owned(),
            audience: "crm".to_owned(),
            access_lifetime: Duration::from_mins(15),
            refresh_lifetime: Duration::from_hours(7 * 24),
            session_lifetime: Duration::from_hours(30 * 24),
            registration: RegistrationMode::Off,
            default_organization: None,
            service_key: None,
            login_limit: Some(Policy::new("login", 10, Duration::from_mins(15))),
            account_limit: Some(Policy::new("login-account", 100, Duration::from_hours(1))),
            development_tokens: false,
            totp_issuer: "CRM".to_owned(),
            hashes_at_once: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    /// The usual settings with random keys that end with this process: access tokens and second factors made under
    /// them are worth nothing afterwards. This is what a CRM has that was given no settings.
    #[must_use]
    pub fn ephemeral(random: &dyn Random) -> Self {
        let mut secret = [0; 32];
        random.fill(&mut secret);
        Self::new(SigningKeys::new(SigningKey::of_this_process(&secret), []), EncryptionKeys::ephemeral(random))
    }
}
