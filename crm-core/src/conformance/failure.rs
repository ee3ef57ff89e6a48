use std::fmt;

use crate::store::StoreError;

/// What a check answers.
pub type CheckResult = Result<(), Failure>;

/// How a store differs from what is promised, in words for its author.
#[derive(Clone, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct Failure(String);

impl Failure {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// The same, told where it happened.
    #[must_use]
    pub(super) fn within(self, place: &str) -> Self {
        Self(format!("{place}: {}", self.0))
    }
}

/// As the message, since that is what a test runner prints.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self(format!("the store failed where it should not: {error} ({error:?})"))
    }
}

/// Answers a [`Failure`] with the message where the condition does not hold.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::conformance::Failure::new(format!($($message)+)));
        }
    };
}

/// Answers a [`Failure`] where the store's answer is not the expected one.
macro_rules! ensure_equal {
    ($answer:expr, $expected:expr, $($message:tt)+) => {{
        let (answer, expected) = (&$answer, &$expected);
        if answer != expected {
            return Err($crate::conformance::Failure::new(format!(
                "{}\n  the store:     {answer:?}\n  the reference: {expected:?}",
                format_args!($($message)+),
            )));
        }
    }};
}

/// Answers a [`Failure`] where the result is not an error of this shape.
macro_rules! ensure_error {
    ($answer:expr, $shape:pat $(if $guard:expr)?, $($message:tt)+) => {
        match $answer {
            Err($shape) $(if $guard)? => {}
            other => {
                return Err($crate::conformance::Failure::new(format!(
                    "{}\n  the store:     {other:?}\n  expected:      {}",
                    format_args!($($message)+),
                    stringify!($shape $(if $guard)?),
                )));
            }
        }
    };
}

pub(super) use {ensure, ensure_equal, ensure_error};
