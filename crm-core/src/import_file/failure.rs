use super::Encoding;

/// Why a file cannot be read. Lines count from 1.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FileError {
    /// There is no record in it, and no header.
    #[error("The file is empty.")]
    Empty,
    /// It is of a kind that is no text.
    #[error("The file is not a text but {0}: save it as CSV (UTF-8) and send that.")]
    NotText(&'static str),
    /// A JSON array instead of one object on each line.
    #[error("The file is one JSON array: write one object on each line (NDJSON) instead.")]
    JsonArray,
    /// Bytes that the encoding does not have.
    #[error("Line {line} has bytes that are no {encoding}: save the file as UTF-8, or say which encoding it has.")]
    Encoding {
        /// The line.
        line: u64,
        /// The encoding that the file has otherwise.
        encoding: Encoding,
    },
    /// A NUL character.
    #[error("Line {line} has a NUL character: the file is damaged, or is no text.")]
    Nul {
        /// The line.
        line: u64,
    },
    /// A record longer than is taken.
    #[error(
        "The record that begins in line {line} is longer than {most} bytes{}.",
        if *.quoted { ": probably a quote in it is not closed" } else { "" }
    )]
    RecordTooLong {
        /// The line.
        line: u64,
        /// The most bytes.
        most: usize,
        /// Whether it ends inside quotes.
        quoted: bool,
    },
    /// A record of more columns than are taken.
    #[error("The record that begins in line {line} has more than {most} columns.")]
    TooManyColumns {
        /// The line.
        line: u64,
        /// The most columns.
        most: usize,
    },
    /// The file ends inside quotes.
    #[error("The file ends inside a quoted cell of the record that begins in line {line}: the quote is not closed.")]
    UnclosedQuote {
        /// The line.
        line: u64,
    },
}

impl FileError {
    /// What is wrong, for a program.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Empty => "EMPTY_FILE",
            Self::NotText(_) => "NOT_TEXT",
            Self::JsonArray => "INVALID_FORMAT",
            Self::Encoding { .. } => "INVALID_ENCODING",
            Self::Nul { .. } => "INVALID_TEXT",
            Self::RecordTooLong { .. } => "TOO_LONG",
            Self::TooManyColumns { .. } => "TOO_MANY",
            Self::UnclosedQuote { .. } => "UNCLOSED_QUOTE",
        }
    }

    /// The line, where it is one line that is wrong.
    #[must_use]
    pub const fn line(&self) -> Option<u64> {
        match self {
            Self::Empty | Self::NotText(_) | Self::JsonArray => None,
            Self::Encoding { line, .. }
            | Self::Nul { line }
            | Self::RecordTooLong { line, .. }
            | Self::TooManyColumns { line, .. }
            | Self::UnclosedQuote { line } => Some(*line),
        }
    }
}
