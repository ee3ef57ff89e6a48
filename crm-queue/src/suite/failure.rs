use std::fmt;

use crm_core::port::queue::QueueError;

/// What a check answers.
pub type CheckResult = Result<(), Failure>;

/// How a queue differs from what is promised, in words for its author.
#[derive(Clone, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct Failure(String);

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// As the message, since that is what a test runner prints.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<QueueError> for Failure {
    fn from(error: QueueError) -> Self {
        Self(format!("the queue failed where it should not: {error} ({error:?})"))
    }
}

/// Answers a [`Failure`] with the message where the condition does not hold.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::suite::Failure::new(format!($($message)+)));
        }
    };
}

/// Answers a [`Failure`] where the queue's answer is not the expected one.
macro_rules! ensure_equal {
    ($answer:expr, $expected:expr, $($message:tt)+) => {{
        let (answer, expected) = (&$answer, &$expected);
        if answer != expected {
            return Err($crate::suite::Failure::new(format!(
                "{}\n  the queue: {answer:?}\n  expected:  {expected:?}",
                format_args!($($message)+),
            )));
        }
    }};
}

/// Answers a [`Failure`] where the result is not an error of this shape.
macro_rules! ensure_error {
    ($answer:expr, $shape:pat, $($message:tt)+) => {
        match $answer {
            Err($shape) => {}
            other => {
                return Err($crate::suite::Failure::new(format!(
                    "{}\n  the queue: {other:?}\n  expected:  {}",
                    format_args!($($message)+),
                    stringify!($shape),
                )));
            }
        }
    };
}

pub(super) use {ensure, ensure_equal, ensure_error};
