use std::{collections::HashMap, fmt, str::FromStr};

use serde_json::value::RawValue;

use super::{
    FileError,
    scan::{Scanner, Step},
};

/// So many records are looked at to find out the delimiter.
const SAMPLE_RECORDS: usize = 50;

/// What stands between the cells of a CSV file: one character of ASCII.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Delimiter(u8);

/// The text is no delimiter.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "must be one of , ; | tab, or another single character of ASCII that is no letter, digit, quote, backslash or space"
)]
pub struct UnknownDelimiter;

impl Delimiter {
    /// The comma of RFC 4180.
    pub const COMMA: Self = Self(b',');
    /// The semicolon of countries that write decimals with a comma.
    pub const SEMICOLON: Self = Self(b';');
    /// The tabulator.
    pub const TAB: Self = Self(b'\t');
    /// The vertical line.
    pub const PIPE: Self = Self(b'|');
    /// Those that are looked for.
    const COMMON: [Self; 4] = [Self::COMMA, Self::SEMICOLON, Self::TAB, Self::PIPE];

    /// The character.
    #[must_use]
    pub const fn byte(self) -> u8 {
        self.0
    }

    const fn of_byte(byte: u8) -> Option<Self> {
        let is_free = byte == b'\t' || byte.is_ascii_punctuation() && !matches!(byte, b'"' | b'\'' | b'\\');
        if is_free { Some(Self(byte)) } else { None }
    }
}

impl FromStr for Delimiter {
    type Err = UnknownDelimiter;

    /// Reads the character itself, or `comma`, `semicolon`, `tab`, `pipe`.
    fn from_str(text: &str) -> Result<Self, UnknownDelimiter> {
        match (text, text.as_bytes()) {
            ("comma", _) => Ok(Self::COMMA),
            ("semicolon", _) => Ok(Self::SEMICOLON),
            ("tab" | "\\t", _) => Ok(Self::TAB),
            ("pipe", _) => Ok(Self::PIPE),
            (_, [byte]) => Self::of_byte(*byte).ok_or(UnknownDelimiter),
            _ => Err(UnknownDelimiter),
        }
    }
}

impl fmt::Display for Delimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == b'\t' { f.write_str("tab") } else { write!(f, "{}", char::from(self.0)) }
    }
}

/// How records are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// A header and one record a line, cells between delimiters (RFC 4180).
    Csv(Delimiter),
    /// One JSON object a line.
    Ndjson,
}

impl Format {
    /// Finds out the format of a file from its beginning; `whole` says that nothing follows.
    ///
    /// A file whose first line is a JSON object is NDJSON, every other one is CSV. Its delimiter is what Excel's line
    /// `sep=;` says, else the one of `,` `;` tab `|` that gives the most records as many cells as the header has.
    ///
    /// # Errors
    /// [`FileError::JsonArray`].
    pub fn detect(sample: &str, whole: bool) -> Result<Self, FileError> {
        let text = sample.trim_start();
        if text.starts_with('{') {
            let line = text.lines().next().unwrap_or_default();
            let is_cut = line.len() == text.len() && !whole;
            if (is_cut && text.starts_with("{\"")) || serde_json::from_str::<&RawValue>(line).is_ok() {
                return Ok(Self::Ndjson);
            }
        }
        if text.strip_prefix('[').is_some_and(|rest| rest.trim_start().starts_with('{')) {
            return Err(FileError::JsonArray);
        }
        if let Some((delimiter, _)) = separator_line(sample) {
            return Ok(Self::Csv(delimiter));
        }
        let mut best = (Delimiter::COMMA, 0);
        for delimiter in Delimiter::COMMON {
            let found = consistency(sample, delimiter, whole);
            if found > best.1 {
                best = (delimiter, found);
            }
        }
        Ok(Self::Csv(best.0))
    }

    /// `csv` or `ndjson`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Csv(_) => "csv",
            Self::Ndjson => "ndjson",
        }
    }
}

/// The delimiter that a first line `sep=;` names, and the length of that line without its end.
pub(super) fn separator_line(text: &str) -> Option<(Delimiter, usize)> {
    let rest = text.get(..4).filter(|start| start.eq_ignore_ascii_case("sep="))?.len();
    let (byte, end) = (*text.as_bytes().get(rest)?, *text.as_bytes().get(rest + 1)?);
    matches!(end, b'\r' | b'\n').then(|| Delimiter::of_byte(byte).map(|delimiter| (delimiter, rest + 1))).flatten()
}

/// How far a delimiter explains the sample: thousandths of records that are as wide as the header, then the width; 0
/// where it splits nothing.
fn consistency(sample: &str, delimiter: Delimiter, whole: bool) -> usize {
    let mut scanner = Scanner::new(delimiter.byte());
    let mut widths = Vec::new();
    let mut width = 1;
    for byte in sample.bytes() {
        match scanner.step(byte) {
            Step::CellEnd => width += 1,
            Step::RecordEnd => {
                widths.push(width);
                width = 1;
                if widths.len() == SAMPLE_RECORDS {
                    break;
                }
            }
            Step::Text | Step::Syntax | Step::Between => {}
        }
    }
    // A record that the sample cut is not counted, unless it is all there is.
    if (whole && !scanner.is_between_records()) || widths.is_empty() {
        widths.push(width);
    }
    let header = widths.first().copied().unwrap_or(1);
    let mut counts: HashMap<usize, usize> = HashMap::new();
    widths.iter().for_each(|width| *counts.entry(*width).or_default() += 1);
    if header < 2 {
        return 0;
    }
    let alike = counts.get(&header).copied().unwrap_or_default();
    (alike * 1000 / widths.len()) * 10_000 + header.min(9_999)
}
