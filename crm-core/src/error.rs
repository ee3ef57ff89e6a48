//! What a caller of the CRM can be told, and act on.

use std::{fmt, time::Duration};

use serde::Serialize;

use crate::{ai::sentence::Refusal, store::StoreError};

/// The result of every service method.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// One wrong field of an input.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct FieldError {
    /// Path of the field as the caller wrote it, such as `email` or `rules_json.and[1].value`.
    pub field: String,
    /// What is wrong and what is allowed, for a person.
    pub message: String,
    /// What is wrong, for a program, such as `REQUIRED` or `TOO_LONG`.
    pub code: &'static str,
}

/// Every wrong field of one input, collected before anything is refused.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct FieldErrors(Vec<FieldError>);

impl FieldErrors {
    /// No wrong field yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// One wrong field.
    #[must_use]
    pub fn one(field: impl Into<String>, code: &'static str, message: impl Into<String>) -> Self {
        let mut errors = Self::new();
        errors.add(field, code, message);
        errors
    }

    /// Notes a wrong field.
    pub fn add(&mut self, field: impl Into<String>, code: &'static str, message: impl Into<String>) {
        self.0.push(FieldError { field: field.into(), message: message.into(), code });
    }

    /// Takes in the errors of a part, each below `prefix`.
    pub fn extend_under(&mut self, prefix: &str, part: Self) {
        self.0.extend(part.0.into_iter().map(|mut error| {
            error.field = match (prefix.is_empty(), error.field.is_empty()) {
                (true, _) => error.field,
                (_, true) => prefix.to_owned(),
                _ if error.field.starts_with('[') => format!("{prefix}{}", error.field),
                _ => format!("{prefix}.{}", error.field),
            };
            error
        }));
    }

    /// Keeps the value of a part, or its errors below `field` and nothing.
    pub fn take<T>(&mut self, field: &str, part: Result<T, Self>) -> Option<T> {
        match part {
            Ok(value) => Some(value),
            Err(errors) => {
                self.extend_under(field, errors);
                None
            }
        }
    }

    /// As those of a request's body: what is wrong with the value itself is told of `body`.
    #[must_use]
    pub fn of_body(mut self) -> Self {
        for error in self.0.iter_mut().filter(|error| error.field.is_empty()) {
            "body".clone_into(&mut error.field);
        }
        self
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The wrong fields in the order found.
    pub fn iter(&self) -> impl Iterator<Item = &FieldError> {
        self.0.iter()
    }

    /// `Ok(value)` where nothing is wrong.
    ///
    /// # Errors
    /// These errors, where there are any.
    pub fn or<T>(self, value: T) -> Result<T, Self> {
        if self.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl fmt::Display for FieldErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, error) in self.0.iter().enumerate() {
            let separator = if position == 0 { "" } else { "; " };
            if error.field.is_empty() {
                write!(f, "{separator}{}", error.message)?;
            } else {
                write!(f, "{separator}{}: {}", error.field, error.message)?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for FieldErrors {}

/// Why an operation was refused or failed. Each variant is something a caller can act on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Fields of the input are wrong: every one of them is listed.
    #[error("Some fields are not valid: {0}")]
    Invalid(FieldErrors),
    /// A sentence makes no rule.
    #[error("{0}")]
    Sentence(#[from] Box<Refusal>),
    /// Nobody is signed in, or the credentials are wrong.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// The password is right, and a code of the second factor is needed beside it.
    #[error("A code of the second factor is needed: send it as totp.")]
    TotpRequired,
    /// The access token is past its time: refresh it.
    #[error("The access token has expired: refresh it or sign in again.")]
    TokenExpired,
    /// The session of the token was ended: sign in again.
    #[error("The session has ended: sign in again.")]
    TokenRevoked,
    /// The principal may not do this.
    #[error("{0}")]
    Forbidden(String),
    /// There is no such record, or none that the principal may see.
    #[error("There is no such {0}.")]
    NotFound(&'static str),
    /// The operation does not fit what is there.
    #[error("{0}")]
    Conflict(String),
    /// A record with the same key is there already.
    #[error("{message}")]
    Duplicate {
        /// What is taken.
        message: String,
        /// The fields of the key.
        fields: Vec<String>,
        /// Ids of the records that have it, as far as the principal may see them.
        matches: Vec<uuid::Uuid>,
    },
    /// The record's state does not allow the step.
    #[error("{0}")]
    InvalidState(String),
    /// The record was changed since it was read: read it again.
    #[error("The record was changed by somebody else (its version is now {found}): read it again.")]
    VersionConflict {
        /// The version now stored.
        found: i64,
    },
    /// More than is taken at once.
    #[error("{0}")]
    TooLarge(String),
    /// Too many tries.
    #[error("Too many requests: try again in {} s.", retry_after.as_secs().max(1))]
    RateLimited {
        /// When the next try can succeed.
        retry_after: Duration,
    },
    /// An outside service failed.
    #[error("{0}")]
    Upstream(String),
    /// Something this needs is not there for now: try again.
    #[error("{message}")]
    Unavailable {
        /// What is not there.
        message: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// A fault of ours. The cause is for the log, never for the caller.
    #[error("Something went wrong on our side.")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// One wrong field.
    #[must_use]
    pub fn invalid(field: impl Into<String>, code: &'static str, message: impl Into<String>) -> Self {
        Self::Invalid(FieldErrors::one(field, code, message))
    }

    /// A fault of ours, with its cause for the log.
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(cause.into())
    }

    /// The code that programs read, as in the API's error envelope.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Sentence(refusal) => refusal.code.name(),
            Self::Invalid(_) => "VALIDATION_ERROR",
            Self::Unauthenticated(_) => "UNAUTHENTICATED",
            Self::TotpRequired => "TOTP_REQUIRED",
            Self::TokenExpired => "TOKEN_EXPIRED",
            Self::TokenRevoked => "TOKEN_REVOKED",
            Self::Forbidden(_) => "FORBIDDEN",
            Self::NotFound(_) => "NOT_FOUND",
            Self::Conflict(_) => "CONFLICT",
            Self::Duplicate { .. } => "DUPLICATE",
            Self::InvalidState(_) => "INVALID_STATE",
            Self::VersionConflict { .. } => "VERSION_CONFLICT",
            Self::TooLarge(_) => "PAYLOAD_TOO_LARGE",
            Self::RateLimited { .. } => "RATE_LIMITED",
            Self::Upstream(_) => "UPSTREAM_ERROR",
            Self::Unavailable { .. } => "UNAVAILABLE",
            Self::Internal(_) => "INTERNAL",
        }
    }
}

impl From<FieldErrors> for Error {
    fn from(errors: FieldErrors) -> Self {
        Self::Invalid(errors)
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Duplicate { key, fields, .. } => Self::Duplicate {
                message: format!("There is a record with the same {} already.", fields_for_people(&fields, &key)),
                fields,
                matches: Vec::new(),
            },
            StoreError::VersionConflict { found, .. } => Self::VersionConflict { found },
            StoreError::NotFound { .. } => Self::NotFound("record"),
            StoreError::Unmet { .. } => {
                Self::Conflict("What this needs was changed by somebody else meanwhile: read it again.".to_owned())
            }
            StoreError::OutOfRange { field, .. } => {
                Self::invalid(field, "OUT_OF_RANGE", "would leave the range of what can be kept")
            }
            StoreError::TooLarge(message) => Self::TooLarge(message),
            StoreError::Unavailable { message, retry_after } => Self::Unavailable { message, retry_after },
            other => Self::internal(other),
        }
    }
}

fn fields_for_people(fields: &[String], key: &str) -> String {
    if fields.is_empty() { key.to_owned() } else { fields.join(" and ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_store_refuses_is_something_to_act_on() {
        for (error, code) in [
            (StoreError::Unmet { change: 1 }, "CONFLICT"),
            (StoreError::OutOfRange { collection: "customers", field: "visits" }, "VALIDATION_ERROR"),
            (StoreError::TooLarge("Too much.".to_owned()), "PAYLOAD_TOO_LARGE"),
            (StoreError::Misuse("a fault of ours".to_owned()), "INTERNAL"),
            (StoreError::Unusable("the database is from a newer program".to_owned()), "INTERNAL"),
        ] {
            assert_eq!(Error::from(error).code(), code);
        }
    }
}
