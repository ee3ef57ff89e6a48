//! Accounts: people who sign in, their sessions and tokens, and the keys of services.
//!
//! [`Accounts`] registers, signs in and out, and makes of a token the [`Principal`](crate::access::Principal) that
//! every service takes. What an access token says is believed only as far as its session and its user still stand:
//! both are looked up, and kept for at most five seconds (and not at all once this process has ended them).

mod accounts;
mod agent;
mod agents;
mod api_key;
mod api_keys;
mod authentication;
mod cleaning;
mod development;
mod login;
mod password;
mod profile;
mod registration;
mod second_factor;
mod session;
mod settings;
mod sign_in;
mod state;
mod token;
mod totp;
mod user;

#[cfg(test)]
mod tests;

pub(crate) use self::state::AccountState;
pub use self::{
    accounts::Accounts,
    agent::{ChangedAgent, NewAgent},
    agents::{Agents, CreatedAgent},
    api_key::{ApiKey, ApiKeyId, NewApiKey},
    api_keys::{ApiKeys, CreatedApiKey},
    authentication::Credentials,
    development::DevelopmentToken,
    login::LoginRecord,
    password::{NewPassword, Password},
    profile::{ChangedProfile, ListedSession},
    registration::Registration,
    second_factor::{Enrolment, PasswordAgain, TotpCode},
    session::{RefreshToken, RefreshTokenId, Session, SessionId},
    settings::{AccountSettings, RegistrationMode, UnknownRegistrationMode},
    sign_in::{Location, SignIn, SignedIn},
    token::{SigningKey, SigningKeyError, SigningKeys},
    user::User,
};
