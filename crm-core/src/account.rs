//! Accounts: people who sign in, their sessions and tokens, and the keys of services.
//!
//! [`Accounts`] registers, signs in and out, and makes of a token the [`Principal`](crate::access::Principal) that
//! every service takes. What an access token says is believed only as far as its session and its user still stand:
//! both are looked up, and kept for at most five seconds (and not at all once this process has ended them).

mod accounts;
mod api_key;
mod api_keys;
mod authentication;
mod login;
mod password;
mod registration;
mod session;
mod settings;
mod sign_in;
mod state;
mod token;
mod totp;
mod user;

pub(crate) use self::state::AccountState;
pub use self::{
    accounts::Accounts,
    api_key::{ApiKey, ApiKeyId, NewApiKey},
    api_keys::{ApiKeys, CreatedApiKey},
    authentication::Credentials,
    login::LoginRecord,
    password::{NewPassword, Password},
    registration::Registration,
    session::{RefreshToken, RefreshTokenId, Session, SessionId},
    settings::{AccountSettings, RegistrationMode},
    sign_in::{Location, SignIn, SignedIn},
    token::{SigningKey, SigningKeyError, SigningKeys},
    user::User,
};
