use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{
    Delimiter, Format, Part,
    scan::{Lines, Scanner, Step, byte_for},
};

/// One record of a file.
#[derive(Debug)]
pub struct Record<'a> {
    /// The line of the file in which it begins.
    pub line: u64,
    /// As it stands in the file, without its line end.
    pub text: &'a str,
    /// What is in it.
    pub content: Result<Content<'a>, RecordError>,
}

/// What is in a record.
#[derive(Debug)]
pub enum Content<'a> {
    /// Cells of CSV, as many as there are columns, neither trimmed nor freed of what [`super::defuse`] added.
    Cells(Vec<Cow<'a, str>>),
    /// A JSON object.
    Object(&'a RawValue),
}

/// Why a record cannot be read. The other records can.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RecordError {
    /// It has more or fewer cells than the header.
    #[error("has {found} cells where the header has {expected} columns")]
    Ragged {
        /// Cells of the record.
        found: usize,
        /// Columns of the header.
        expected: usize,
    },
    /// It is no JSON.
    #[error("is no JSON: {0}")]
    NotJson(String),
    /// It is JSON, but no object.
    #[error("must be a JSON object")]
    NotAnObject,
}

impl RecordError {
    /// What is wrong, for a program.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Ragged { .. } => "WRONG_CELL_COUNT",
            Self::NotJson(_) => "INVALID_JSON",
            Self::NotAnObject => "INVALID_TYPE",
        }
    }
}

/// The records of a part, in order. Empty lines, and lines of empty cells only, are left out.
///
/// `columns` is how many the header has; NDJSON pays no heed to it. Empty cells beyond it are dropped.
#[must_use]
pub const fn records(part: &Part, format: Format, columns: usize) -> Records<'_> {
    Records {
        text: part.text.as_str(),
        format,
        columns,
        scanner: Scanner::of(format),
        lines: Lines::from(part.first_line),
        offset: 0,
    }
}

/// The cells of one record of CSV as it stands in a file.
#[must_use]
pub fn cells(record: &str, delimiter: Delimiter) -> Vec<Cow<'_, str>> {
    let mut scanner = Scanner::new(delimiter.byte());
    let mut cells = Cells::new(record, 0);
    for (offset, byte) in record.bytes().enumerate() {
        let step = scanner.step(byte);
        if step == Step::RecordEnd {
            break;
        }
        cells.take(step, offset);
    }
    cells.finish()
}

/// See [`records`].
#[derive(Debug)]
pub struct Records<'a> {
    text: &'a str,
    format: Format,
    columns: usize,
    scanner: Scanner,
    lines: Lines,
    offset: usize,
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        loop {
            let (line, text, cells) = self.record()?;
            if text.trim().is_empty() {
                continue;
            }
            let content = match self.format {
                Format::Ndjson => object(text).map(Content::Object),
                Format::Csv(_) if cells.iter().all(|cell| cell.trim_matches([' ', '\t']).is_empty()) => continue,
                Format::Csv(_) => fitted(cells, self.columns).map(Content::Cells),
            };
            return Some(Record { line, text, content });
        }
    }
}

impl<'a> Records<'a> {
    fn record(&mut self) -> Option<(u64, &'a str, Vec<Cow<'a, str>>)> {
        let bytes = self.text.as_bytes();
        while matches!(bytes.get(self.offset), Some(b'\r' | b'\n')) {
            self.pass();
        }
        if self.offset >= bytes.len() {
            return None;
        }
        let (line, start) = (self.lines.current(), self.offset);
        let mut cells = Cells::new(self.text, start);
        let mut end = bytes.len();
        while self.offset < bytes.len() {
            let offset = self.offset;
            let step = self.pass();
            if step == Step::RecordEnd {
                end = offset;
                break;
            }
            if self.format != Format::Ndjson {
                cells.take(step, offset);
            }
        }
        Some((line, self.text.get(start..end).unwrap_or_default(), cells.finish()))
    }

    fn pass(&mut self) -> Step {
        let byte = self.text.as_bytes().get(self.offset).copied().unwrap_or_default();
        self.offset += 1;
        self.lines.pass_byte(byte);
        self.scanner.step(byte_for(self.format, byte))
    }
}

/// Cells being read: a cell whose text stands in one piece is borrowed.
struct Cells<'a> {
    text: &'a str,
    done: Vec<Cow<'a, str>>,
    /// What came before the piece.
    owned: Option<String>,
    piece: std::ops::Range<usize>,
}

impl<'a> Cells<'a> {
    const fn new(text: &'a str, start: usize) -> Self {
        Self { text, done: Vec::new(), owned: None, piece: start..start }
    }

    fn take(&mut self, step: Step, offset: usize) {
        match step {
            Step::Text if self.piece.end == offset => self.piece.end = offset + 1,
            Step::Text => {
                self.keep_piece();
                self.piece = offset..offset + 1;
            }
            Step::CellEnd => self.end_cell(offset + 1),
            Step::Syntax | Step::RecordEnd | Step::Between => {}
        }
    }

    fn piece(&self) -> &'a str {
        self.text.get(self.piece.clone()).unwrap_or_default()
    }

    fn keep_piece(&mut self) {
        let piece = self.piece();
        if !piece.is_empty() {
            self.owned.get_or_insert_default().push_str(piece);
        }
    }

    fn end_cell(&mut self, next: usize) {
        let cell = if self.owned.is_some() {
            self.keep_piece();
            Cow::Owned(self.owned.take().unwrap_or_default())
        } else {
            Cow::Borrowed(self.piece())
        };
        self.done.push(cell);
        self.piece = next..next;
    }

    fn finish(mut self) -> Vec<Cow<'a, str>> {
        self.end_cell(0);
        self.done
    }
}

fn fitted(mut cells: Vec<Cow<'_, str>>, columns: usize) -> Result<Vec<Cow<'_, str>>, RecordError> {
    let found = cells.len();
    while cells.len() > columns && cells.last().is_some_and(|cell| cell.trim().is_empty()) {
        cells.pop();
    }
    if cells.len() == columns { Ok(cells) } else { Err(RecordError::Ragged { found, expected: columns }) }
}

fn object(line: &str) -> Result<&RawValue, RecordError> {
    let json: &RawValue = serde_json::from_str(line).map_err(|error| {
        // The line that serde_json counts is always the first.
        RecordError::NotJson(error.to_string().replace(" at line 1 column ", " at character "))
    })?;
    if json.get().starts_with('{') { Ok(json) } else { Err(RecordError::NotAnObject) }
}
