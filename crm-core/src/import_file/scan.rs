//! The grammar of CSV as one state machine, for what cuts a file and for what reads its cells, so that the two agree.

use super::Format;

/// Where in a record the next byte stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    /// Before a record.
    Record,
    /// The same, after a carriage return, with which a line feed makes one line end.
    RecordAfterReturn,
    /// Before a cell.
    Cell,
    /// In a cell without quotes, or after the quotes of one.
    Plain,
    /// In a quoted cell.
    Quoted,
    /// After a quote in a quoted cell, which ends it or is the first of two.
    Quote,
}

/// What a byte is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// A part of the cell's text.
    Text,
    /// A quote that is no text.
    Syntax,
    /// The delimiter, after a cell.
    CellEnd,
    /// The line end after a record.
    RecordEnd,
    /// The second byte of a line end, or an empty line.
    Between,
}

/// RFC 4180 with any delimiter, read the way spreadsheets do: a quote is special only where a cell begins, two quotes in
/// a quoted cell are one, a line ends with CR, LF or both, and empty lines are no records.
#[derive(Clone, Debug)]
pub(super) struct Scanner {
    delimiter: u8,
    place: Place,
}

impl Scanner {
    pub(super) const fn new(delimiter: u8) -> Self {
        Self { delimiter, place: Place::Record }
    }

    /// For a file of the format. JSON is cut at line ends only, of which none can be inside an object.
    pub(super) const fn of(format: Format) -> Self {
        match format {
            Format::Csv(delimiter) => Self::new(delimiter.byte()),
            Format::Ndjson => Self::new(b'\n'),
        }
    }

    /// Whether the next byte begins a record, or is an empty line.
    pub(super) const fn is_between_records(&self) -> bool {
        matches!(self.place, Place::Record | Place::RecordAfterReturn)
    }

    pub(super) const fn is_after_return(&self) -> bool {
        matches!(self.place, Place::RecordAfterReturn)
    }

    pub(super) const fn is_quoted(&self) -> bool {
        matches!(self.place, Place::Quoted)
    }

    pub(super) const fn step(&mut self, byte: u8) -> Step {
        let (place, step) = match (self.place, byte) {
            (Place::Quoted, b'"') => (Place::Quote, Step::Syntax),
            (Place::Quote, b'"') | (Place::Quoted, _) => (Place::Quoted, Step::Text),
            (Place::Record | Place::RecordAfterReturn, b'\n') => (Place::Record, Step::Between),
            (Place::Record | Place::RecordAfterReturn, b'\r') => (Place::RecordAfterReturn, Step::Between),
            (_, b'\n') => (Place::Record, Step::RecordEnd),
            (_, b'\r') => (Place::RecordAfterReturn, Step::RecordEnd),
            (_, byte) if byte == self.delimiter => (Place::Cell, Step::CellEnd),
            (Place::Record | Place::RecordAfterReturn | Place::Cell, b'"') => (Place::Quoted, Step::Syntax),
            _ => (Place::Plain, Step::Text),
        };
        self.place = place;
        step
    }
}

/// The byte as a scanner of the format is to see it: a quote of JSON has no meaning for where lines end.
pub(super) const fn byte_for(format: Format, byte: u8) -> u8 {
    if matches!(format, Format::Ndjson) && byte == b'"' { b'x' } else { byte }
}

/// Counts lines; each ends with CR, LF or both.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    line: u64,
    after_return: bool,
}

impl Lines {
    pub(super) const fn new() -> Self {
        Self::from(1)
    }

    pub(super) const fn from(line: u64) -> Self {
        Self { line, after_return: false }
    }

    /// The line in which the next byte stands.
    pub(super) const fn current(&self) -> u64 {
        self.line
    }

    pub(super) const fn pass_byte(&mut self, byte: u8) {
        if byte == b'\r' || (byte == b'\n' && !self.after_return) {
            self.line += 1;
        }
        self.after_return = byte == b'\r';
    }

    pub(super) fn pass(&mut self, text: &str) {
        text.bytes().for_each(|byte| self.pass_byte(byte));
    }
}
