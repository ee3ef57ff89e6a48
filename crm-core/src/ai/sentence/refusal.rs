use std::fmt;

use serde::{Serialize, Serializer};

/// Why a sentence makes no rule.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Code {
    /// There is no text.
    Empty,
    /// The text is longer than [`super::MAX_SENTENCE`].
    TooLong,
    /// Words that have no place in a rule.
    UnsupportedText,
    /// It is not said what is compared.
    MissingField,
    /// It is not said what it is compared with.
    MissingValue,
    /// One part names two fields.
    AmbiguousField,
    /// It is not plain what "not" denies.
    AmbiguousNegation,
    /// The value is of another kind than the field.
    UnitMismatch,
    /// The amount is in another currency than the organization's.
    CurrencyMismatch,
    /// The number cannot be read.
    BadNumber,
    /// The number is larger or smaller than the field can be.
    ValueOutOfRange,
    /// A parenthesis without its other half.
    UnbalancedParenthesis,
}

impl Code {
    /// Every code.
    pub const ALL: [Self; 12] = [
        Self::Empty,
        Self::TooLong,
        Self::UnsupportedText,
        Self::MissingField,
        Self::MissingValue,
        Self::AmbiguousField,
        Self::AmbiguousNegation,
        Self::UnitMismatch,
        Self::CurrencyMismatch,
        Self::BadNumber,
        Self::ValueOutOfRange,
        Self::UnbalancedParenthesis,
    ];

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::TooLong => "too_long",
            Self::UnsupportedText => "unsupported_text",
            Self::MissingField => "missing_field",
            Self::MissingValue => "missing_value",
            Self::AmbiguousField => "ambiguous_field",
            Self::AmbiguousNegation => "ambiguous_negation",
            Self::UnitMismatch => "unit_mismatch",
            Self::CurrencyMismatch => "currency_mismatch",
            Self::BadNumber => "bad_number",
            Self::ValueOutOfRange => "value_out_of_range",
            Self::UnbalancedParenthesis => "unbalanced_parenthesis",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// What of a sentence could not be placed, and what could be said instead.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What is wrong, for a program.
    pub code: Code,
    /// What is wrong, for a person.
    pub message: String,
    /// The words that it is about, as they were written.
    pub near: String,
    /// What can be asked about.
    pub supported: Vec<String>,
    /// Sentences that are understood.
    pub examples: Vec<String>,
}

/// A part of a sentence that is refused, before it is told with the words around it.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) code: Code,
    pub(super) message: String,
    /// The pieces that it is about, the last one excluded.
    pub(super) first: usize,
    pub(super) last: usize,
}

impl Fault {
    pub(super) fn new(code: Code, first: usize, last: usize, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), first, last }
    }
}
