use std::{
    borrow::Cow,
    io::{self, Write},
    path::PathBuf,
};

use jiff::civil::{Date, DateTime, date};
use rust_xlsxwriter::{Format, Workbook, Worksheet, XlsxError};
use tokio::{runtime::Handle, sync::mpsc};

use super::{
    blocks::{BLOCK, Gone, Sender},
    columns::{Columns, CustomCells, Source},
    csv::{string, write_money},
    instant::LocalTime,
    pump::Stop,
};
use crate::{
    error::Error,
    field::CustomFieldType,
    import_file::join_list,
    input::parse_date,
    store::{Money, Row, Value},
    time::Timestamp,
};

/// The longest text of a cell, in UTF-16 units.
const MAX_TEXT: usize = 32_767;
/// A number of more digits would lose some.
const MAX_DIGITS: usize = 15;

/// Writes customers as a workbook of one sheet. The sheet grows in a nameless file; the workbook is made of it when every
/// row is there, and handed on as it is made.
#[derive(Debug)]
pub(super) struct WorkbookTable {
    columns: Columns,
    time: LocalTime,
    folder: PathBuf,
}

/// What the thread that writes is given.
#[derive(Debug)]
pub(super) enum Batch {
    Rows(Vec<Row>),
    /// Every row was given.
    End,
}

impl From<XlsxError> for Stop {
    fn from(error: XlsxError) -> Self {
        Self::Failed(Error::internal(error))
    }
}

impl WorkbookTable {
    pub(super) const fn new(columns: Columns, time: LocalTime, folder: PathBuf) -> Self {
        Self { columns, time, folder }
    }

    /// Writes the rows that come, until their end. Blocks its thread.
    pub(super) fn write(
        self,
        mut batches: mpsc::Receiver<Batch>,
        sender: &Sender,
        runtime: &Handle,
    ) -> Result<(), Stop> {
        let Self { columns, time, folder } = self;
        let mut workbook = Workbook::new();
        workbook.set_tempdir(folder)?;
        let sheet = workbook.add_worksheet_with_constant_memory()?;
        sheet.set_name("Customers")?.set_freeze_panes(1, 0)?;
        let bold = Format::new().set_bold();
        for (column, name) in (0..).zip(columns.headers()) {
            sheet.write_string_with_format(0, column, name, &bold)?;
        }
        let mut cells = Cells {
            sheet,
            time,
            money: Format::new().set_num_format("0.00##"),
            instant: Format::new().set_num_format("yyyy-mm-dd hh:mm:ss.000"),
            day: Format::new().set_num_format("yyyy-mm-dd"),
            row: 0,
        };
        let mut custom = CustomCells::default();
        loop {
            match batches.blocking_recv() {
                Some(Batch::Rows(rows)) => {
                    for row in &rows {
                        cells.row += 1;
                        cells.write_row(&columns, row, &mut custom)?;
                        sender.add_rows(1);
                    }
                }
                Some(Batch::End) => break,
                // Whoever gave the rows knows why there are no more.
                None => return Ok(()),
            }
        }
        let mut file = BlockWriter { sender, runtime, block: Vec::with_capacity(BLOCK * 2), gone: None };
        let saved = workbook.save_to_writer(&mut file).and_then(|()| Ok(file.flush()?));
        match (file.gone, saved) {
            (Some(gone), _) => Err(gone.into()),
            (None, saved) => Ok(saved?),
        }
    }
}

struct Cells<'w> {
    sheet: &'w mut Worksheet,
    time: LocalTime,
    money: Format,
    instant: Format,
    day: Format,
    row: u32,
}

impl Cells<'_> {
    fn write_row(&mut self, columns: &Columns, row: &Row, custom: &mut CustomCells) -> Result<(), XlsxError> {
        let json = columns.find_custom(row, custom);
        for (place, column) in (0..).zip(&columns.columns) {
            match column.source {
                Source::Field { place: field, .. } => self.field(place, row.0.get(field).unwrap_or(&Value::Null))?,
                Source::Custom { slot, kind } => self.custom(place, kind, custom.get(json, slot))?,
            }
        }
        Ok(())
    }

    fn field(&mut self, column: u16, value: &Value) -> Result<(), XlsxError> {
        match value {
            Value::Null => Ok(()),
            Value::Bool(value) => self.sheet.write_boolean(self.row, column, *value).map(|_| ()),
            Value::Integer(value) => self.integer(column, *value),
            Value::Number(value) => self.sheet.write_number(self.row, column, *value).map(|_| ()),
            Value::Money(amount) => self.money(column, *amount),
            Value::Text(text) => self.text(column, text),
            Value::Timestamp(instant) => self.instant(column, *instant),
            Value::Date(day) => self.day(column, *day),
            Value::Id(id) => self.text(column, &id.to_string()),
            Value::TextList(elements) => self.list(column, elements.iter().map(String::as_str)),
            Value::Json(json) if json.as_str() == "{}" => Ok(()),
            Value::Json(json) => self.text(column, json.as_str()),
        }
    }

    /// A stored value that is not of the field's type, because the type is just being changed, is written as it is.
    fn custom(&mut self, column: u16, kind: CustomFieldType, json: &str) -> Result<(), XlsxError> {
        let is_number = json.starts_with(|first: char| first == '-' || first.is_ascii_digit());
        match (kind, json) {
            (_, "") => Ok(()),
            (CustomFieldType::Boolean, "true" | "false") => {
                self.sheet.write_boolean(self.row, column, json == "true").map(|_| ())
            }
            (CustomFieldType::Number, _) if is_number => match json.parse::<f64>() {
                Ok(number) => self.sheet.write_number(self.row, column, number).map(|_| ()),
                Err(_) => self.text(column, json),
            },
            (CustomFieldType::Money, _) if is_number => match json.parse() {
                Ok(amount) => self.money(column, amount),
                Err(_) => self.text(column, json),
            },
            (CustomFieldType::Datetime, _) if is_number => {
                match json.parse().ok().and_then(Timestamp::from_milliseconds) {
                    Some(instant) => self.instant(column, instant),
                    None => self.text(column, json),
                }
            }
            (CustomFieldType::Date, _) if json.starts_with('"') => {
                let text = string(json);
                match parse_date(&text) {
                    Some(day) => self.day(column, day),
                    None => self.text(column, &text),
                }
            }
            (CustomFieldType::MultiList, _) if json.starts_with('[') => {
                let elements: Vec<Cow<'_, str>> = serde_json::from_str(json).unwrap_or_default();
                self.list(column, elements.iter().map(AsRef::as_ref))
            }
            _ if json.starts_with('"') => self.text(column, &string(json)),
            _ => self.text(column, json),
        }
    }

    /// A text is never taken for a formula.
    fn text(&mut self, column: u16, text: &str) -> Result<(), XlsxError> {
        if text.len() > MAX_TEXT && text.encode_utf16().count() > MAX_TEXT {
            let length = text.chars().count();
            let told = format!("#TOO LONG: {length} characters are more than a cell holds; take csv or ndjson");
            return self.sheet.write_string(self.row, column, told).map(|_| ());
        }
        self.sheet.write_string(self.row, column, text).map(|_| ())
    }

    fn list<'e>(&mut self, column: u16, elements: impl Iterator<Item = &'e str>) -> Result<(), XlsxError> {
        let mut list = String::new();
        join_list(elements, &mut list);
        self.text(column, &list)
    }

    fn integer(&mut self, column: u16, number: i64) -> Result<(), XlsxError> {
        let text = number.to_string();
        if text.trim_start_matches('-').len() > MAX_DIGITS {
            return self.text(column, &text);
        }
        #[expect(clippy::cast_precision_loss, reason = "fewer digits than a double has")]
        self.sheet.write_number(self.row, column, number as f64).map(|_| ())
    }

    fn money(&mut self, column: u16, amount: Money) -> Result<(), XlsxError> {
        let mut text = Vec::new();
        write_money(amount, &mut text);
        let text = String::from_utf8(text).unwrap_or_default();
        let digits = text.bytes().filter(u8::is_ascii_digit).count();
        match text.parse::<f64>() {
            Ok(number) if digits <= MAX_DIGITS => {
                self.sheet.write_number_with_format(self.row, column, number, &self.money).map(|_| ())
            }
            _ => self.text(column, &text),
        }
    }

    /// In the time zone; before March 1900, where Excel counts a day that never was, as text.
    fn instant(&mut self, column: u16, instant: Timestamp) -> Result<(), XlsxError> {
        match serial(self.time.local(instant)) {
            Some(number) => self.sheet.write_number_with_format(self.row, column, number, &self.instant).map(|_| ()),
            None => self.text(column, &instant.to_string()),
        }
    }

    fn day(&mut self, column: u16, day: Date) -> Result<(), XlsxError> {
        match serial(day.to_datetime(jiff::civil::Time::midnight())) {
            Some(number) => self.sheet.write_number_with_format(self.row, column, number, &self.day).map(|_| ()),
            None => self.text(column, &day.to_string()),
        }
    }
}

/// Days since the end of 1899, as Excel counts them.
fn serial(local: DateTime) -> Option<f64> {
    let day = local.date();
    if day < date(1900, 3, 1) {
        return None;
    }
    let days = date(1899, 12, 30).until(day).ok()?.get_days();
    let time = local.time();
    let seconds = f64::from(time.hour()) * 3600.0 + f64::from(time.minute()) * 60.0 + f64::from(time.second());
    Some(f64::from(days) + (seconds + f64::from(time.millisecond()) / 1000.0) / 86_400.0)
}

/// Hands on what is written, block by block.
struct BlockWriter<'a> {
    sender: &'a Sender,
    runtime: &'a Handle,
    block: Vec<u8>,
    gone: Option<Gone>,
}

impl BlockWriter<'_> {
    fn send(&mut self) -> io::Result<()> {
        let block = std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK * 2));
        self.runtime.block_on(self.sender.block(block)).map_err(|gone| {
            self.gone = Some(gone);
            io::Error::from(io::ErrorKind::BrokenPipe)
        })
    }
}

impl Write for BlockWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.block.extend_from_slice(bytes);
        if self.block.len() >= BLOCK {
            self.send()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.block.is_empty() { Ok(()) } else { self.send() }
    }
}
