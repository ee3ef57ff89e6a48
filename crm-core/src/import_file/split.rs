use super::{
    FileError, Format,
    format::separator_line,
    record::cells,
    scan::{Lines, Scanner, Step, byte_for},
};

/// How much of a file is one part, and how large a record may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SplitLimits {
    /// The most records of a part.
    pub records: usize,
    /// The most bytes of a part of more than one record; a record's line end, and what is no record, may come on top.
    pub bytes: usize,
    /// The most bytes of one record, its line end included.
    pub record_bytes: usize,
    /// The most columns of a record.
    pub columns: usize,
}

impl Default for SplitLimits {
    /// 500 records, 512 KiB; 1 MiB and 1,000 columns a record.
    fn default() -> Self {
        Self { records: 500, bytes: 512 * 1024, record_bytes: 1024 * 1024, columns: 1_000 }
    }
}

/// Some records of a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Part {
    /// Its place among the parts, from 1.
    pub number: u32,
    /// The line of the file in which its text begins.
    pub first_line: u64,
    /// How many records it has. Empty lines, and lines of empty cells only, are none.
    pub records: usize,
    /// The text: that of the file, character for character. What is no record may be left out at its ends.
    pub text: String,
}

/// The first record of a CSV file: what its columns are called.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Header {
    /// The line in which it begins.
    pub line: u64,
    /// The columns' names, trimmed; a column may have none.
    pub columns: Vec<String>,
}

/// Cuts the text of a file at record boundaries, however it arrives. Holds one part and one record.
#[derive(Debug)]
pub struct Splitter {
    format: Format,
    limits: SplitLimits,
    scanner: Scanner,
    lines: Lines,
    header: Option<Header>,
    /// The text of the part being made.
    text: String,
    /// So many bytes of it are scanned.
    scanned: usize,
    /// Where it begins.
    first_line: u64,
    /// How many whole records it has.
    records: usize,
    /// How many parts there were.
    parts: u32,
    record: CurrentRecord,
}

/// The record being scanned.
#[derive(Debug, Default)]
struct CurrentRecord {
    start: usize,
    line: u64,
    columns: usize,
    /// Whether some cell has more than space in it.
    has_content: bool,
    /// Whether its line end has begun.
    has_ended: bool,
}

impl Splitter {
    /// For a file of the format.
    #[must_use]
    pub fn new(format: Format, limits: SplitLimits) -> Self {
        Self {
            format,
            limits,
            scanner: Scanner::of(format),
            lines: Lines::new(),
            header: None,
            text: String::new(),
            scanned: 0,
            first_line: 1,
            records: 0,
            parts: 0,
            record: CurrentRecord::default(),
        }
    }

    /// The header of a CSV file, once it is read. NDJSON has none.
    #[must_use]
    pub const fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// Takes the next text, and adds the parts that it completes to `parts`.
    ///
    /// # Errors
    /// [`FileError::RecordTooLong`] and [`FileError::TooManyColumns`]. Nothing more can be split then; `parts` has what
    /// was complete before.
    pub fn push(&mut self, text: &str, parts: &mut Vec<Part>) -> Result<(), FileError> {
        self.text.push_str(text);
        let bytes = std::mem::take(&mut self.text);
        let mut cut = 0;
        let result = self.scan(&bytes, &mut cut, parts);
        self.text = bytes;
        self.text.drain(..cut);
        self.scanned -= cut;
        self.record.start = self.record.start.saturating_sub(cut);
        result
    }

    /// Says that there is no more text, and adds the last part to `parts`.
    ///
    /// # Errors
    /// [`FileError::UnclosedQuote`], and [`FileError::Empty`] where there was no record, nor a header.
    pub fn finish(&mut self, parts: &mut Vec<Part>) -> Result<(), FileError> {
        if self.scanner.is_quoted() && self.format != Format::Ndjson {
            return Err(FileError::UnclosedQuote { line: self.record.line });
        }
        let text = std::mem::take(&mut self.text);
        let mut cut = 0;
        if self.record.has_ended || !self.is_between_records() {
            self.end_record(&text, text.len(), &mut cut, parts)?;
        }
        self.emit(&text, &mut cut, text.len(), parts);
        if self.header.is_none() && self.parts == 0 { Err(FileError::Empty) } else { Ok(()) }
    }

    const fn is_between_records(&self) -> bool {
        self.scanner.is_between_records()
    }

    fn scan(&mut self, text: &str, cut: &mut usize, parts: &mut Vec<Part>) -> Result<(), FileError> {
        let bytes = text.as_bytes();
        while let Some(byte) = bytes.get(self.scanned).copied() {
            let offset = self.scanned;
            if self.record.has_ended && !(byte == b'\n' && self.scanner.is_after_return()) {
                self.end_record(text, offset, cut, parts)?;
            }
            let begins = self.is_between_records() && !matches!(byte, b'\n' | b'\r');
            if begins {
                self.record = CurrentRecord {
                    start: offset,
                    line: self.lines.current(),
                    columns: 1,
                    has_content: false,
                    has_ended: false,
                };
            }
            let step = self.step(byte);
            match step {
                Step::Text => self.record.has_content |= !matches!(byte, b' ' | b'\t'),
                Step::CellEnd => self.record.columns += 1,
                Step::RecordEnd => self.record.has_ended = true,
                Step::Syntax | Step::Between => {}
            }
            self.lines.pass_byte(byte);
            self.scanned += 1;
            if step == Step::Between && !self.record.has_ended {
                self.leave_out(text, self.scanned, cut, parts);
            }
            if !self.is_between_records() || self.record.has_ended {
                self.check_record()?;
            }
        }
        Ok(())
    }

    const fn step(&mut self, byte: u8) -> Step {
        self.scanner.step(byte_for(self.format, byte))
    }

    const fn check_record(&self) -> Result<(), FileError> {
        let line = self.record.line;
        if self.scanned - self.record.start > self.limits.record_bytes {
            let quoted = self.scanner.is_quoted();
            return Err(FileError::RecordTooLong { line, most: self.limits.record_bytes, quoted });
        }
        if self.record.columns > self.limits.columns {
            return Err(FileError::TooManyColumns { line, most: self.limits.columns });
        }
        Ok(())
    }

    /// Takes in the record that ends before `end`, line end included.
    fn end_record(&mut self, text: &str, end: usize, cut: &mut usize, parts: &mut Vec<Part>) -> Result<(), FileError> {
        self.record.has_ended = false;
        if let Format::Csv(delimiter) = self.format
            && self.header.is_none()
        {
            if self.record.has_content && !self.is_separator_line(text) {
                let record = text.get(self.record.start..end).unwrap_or_default();
                let columns = cells(record, delimiter).iter().map(|cell| cell.trim().to_owned()).collect();
                self.header = Some(Header { line: self.record.line, columns });
            }
            *cut = end;
            self.first_line = self.lines.current();
            return Ok(());
        }
        if !self.record.has_content {
            self.leave_out(text, end, cut, parts);
            return Ok(());
        }
        if end - *cut > self.limits.bytes && self.records > 0 {
            let (start, line) = (self.record.start, self.record.line);
            self.emit(text, cut, start, parts);
            self.first_line = line;
        }
        self.records += 1;
        if self.records >= self.limits.records {
            self.emit(text, cut, end, parts);
            self.first_line = self.lines.current();
        }
        Ok(())
    }

    /// Passes what is no record and ends before `end`: a part has it only between its records, and not without end.
    fn leave_out(&mut self, text: &str, end: usize, cut: &mut usize, parts: &mut Vec<Part>) {
        if self.records == 0 || end - *cut > self.limits.bytes {
            self.emit(text, cut, end, parts);
            self.first_line = self.lines.current();
        }
    }

    /// Excel's `sep=;` in the first line is no header.
    fn is_separator_line(&self, text: &str) -> bool {
        self.record.line == 1 && separator_line(text.get(self.record.start..).unwrap_or_default()).is_some()
    }

    /// Makes a part of what is before `end`, where there is a record in it.
    fn emit(&mut self, text: &str, cut: &mut usize, end: usize, parts: &mut Vec<Part>) {
        if self.records > 0 {
            self.parts += 1;
            let text = text.get(*cut..end).unwrap_or_default().to_owned();
            parts.push(Part { number: self.parts, first_line: self.first_line, records: self.records, text });
        }
        self.records = 0;
        *cut = end;
    }
}
