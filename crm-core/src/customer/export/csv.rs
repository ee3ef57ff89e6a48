use std::borrow::Cow;

use uuid::Uuid;

use super::{
    columns::{Columns, CustomCells, Source},
    instant::LocalTime,
    pump::LineWriter,
};
use crate::{
    field::CustomFieldType,
    import_file::{Delimiter, defuse, join_list},
    store::{Money, Row, Value},
    time::Timestamp,
};

/// Writes customers as RFC 4180 has it: a header, lines that end with CR and LF, quotes where they are needed.
#[derive(Debug)]
pub(super) struct CsvTable {
    columns: Columns,
    time: LocalTime,
    cells: Cells,
    custom: CustomCells,
    list: String,
    bom: bool,
}

impl CsvTable {
    pub(super) fn new(columns: Columns, time: LocalTime, delimiter: Delimiter, bom: bool) -> Self {
        let (cells, custom) = (Cells::new(delimiter), CustomCells::default());
        Self { columns, time, cells, custom, list: String::new(), bom }
    }
}

impl LineWriter for CsvTable {
    fn begin(&self, out: &mut Vec<u8>) {
        if self.bom {
            out.extend_from_slice("\u{feff}".as_bytes());
        }
        for (position, name) in self.columns.headers().enumerate() {
            self.cells.between(position, out);
            self.cells.text(name, out);
        }
        out.extend_from_slice(b"\r\n");
    }

    fn row(&mut self, row: &Row, out: &mut Vec<u8>) {
        let Self { columns, time, cells, custom, list, .. } = self;
        let json = columns.find_custom(row, custom);
        let start = out.len();
        for (position, column) in columns.columns.iter().enumerate() {
            cells.between(position, out);
            match column.source {
                Source::Field { place, harmless } => {
                    if let Some(value) = row.0.get(place) {
                        field(cells, time, list, value, harmless, out);
                    }
                }
                Source::Custom { slot, kind } => {
                    let json = custom.get(json, slot);
                    if !json.is_empty() {
                        custom_value(cells, time, list, kind, json, out);
                    }
                }
            }
        }
        if out.len() == start {
            // An empty line would be no record.
            out.extend_from_slice(b"\"\"");
        }
        out.extend_from_slice(b"\r\n");
    }
}

fn field(cells: &Cells, time: &mut LocalTime, list: &mut String, value: &Value, harmless: bool, out: &mut Vec<u8>) {
    match value {
        Value::Null => {}
        Value::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Value::Integer(value) => cells.typed(out, |out| write_integer(*value, out)),
        Value::Number(value) => cells.typed(out, |out| write_number(*value, out)),
        Value::Money(value) => cells.typed(out, |out| write_money(*value, out)),
        Value::Text(text) if harmless => cells.plain(text, out),
        Value::Text(text) => cells.text(text, out),
        Value::Timestamp(value) => cells.typed(out, |out| time.write(*value, out)),
        Value::Date(value) => cells.typed(out, |out| write_display(value, out)),
        Value::Id(value) => cells.typed(out, |out| write_id(*value, out)),
        Value::TextList(elements) => {
            if !elements.is_empty() {
                list.clear();
                join_list(elements.iter().map(String::as_str), list);
                if harmless { cells.plain(list, out) } else { cells.text(list, out) }
            }
        }
        Value::Json(json) if json.as_str() == "{}" => {}
        Value::Json(json) => cells.text(json.as_str(), out),
    }
}

/// A stored value that is not of the field's type, because the type is just being changed, is written as it is.
fn custom_value(
    cells: &Cells,
    time: &mut LocalTime,
    list: &mut String,
    kind: CustomFieldType,
    json: &str,
    out: &mut Vec<u8>,
) {
    match (kind, json.as_bytes().first()) {
        (CustomFieldType::Datetime, Some(b'-' | b'0'..=b'9')) => {
            match json.parse().ok().and_then(Timestamp::from_milliseconds) {
                Some(instant) => cells.typed(out, |out| time.write(instant, out)),
                None => cells.text(json, out),
            }
        }
        (CustomFieldType::Phone | CustomFieldType::Date, Some(b'"')) => cells.plain(&string(json), out),
        (_, Some(b'"')) => cells.text(&string(json), out),
        (_, Some(b'-' | b'0'..=b'9' | b't' | b'f')) => cells.typed(out, |out| out.extend_from_slice(json.as_bytes())),
        (CustomFieldType::MultiList, Some(b'[')) => {
            let elements: Vec<Cow<'_, str>> = serde_json::from_str(json).unwrap_or_default();
            list.clear();
            join_list(elements.iter().map(AsRef::as_ref), list);
            cells.text(list, out);
        }
        _ => cells.text(json, out),
    }
}

/// The text of a JSON string.
pub(super) fn string(json: &str) -> Cow<'_, str> {
    match json.get(1..json.len().saturating_sub(1)) {
        Some(text) if !text.contains('\\') => Cow::Borrowed(text),
        _ => Cow::Owned(serde_json::from_str(json).unwrap_or_default()),
    }
}

/// How single cells are written.
#[derive(Debug)]
struct Cells {
    delimiter: u8,
    /// Bytes for which a text must be looked at more closely, wherever they stand.
    special: [bool; 256],
    /// Whether numbers and times can have the delimiter in them.
    clashes: bool,
}

impl Cells {
    fn new(delimiter: Delimiter) -> Self {
        let delimiter = delimiter.byte();
        let special = |byte: u8| byte == delimiter || b",;|\t\r\n\"".contains(&byte);
        let mut table = [false; 256];
        for (byte, is_special) in (0..=u8::MAX).zip(&mut table) {
            *is_special = special(byte);
        }
        Self { delimiter, special: table, clashes: b"+-.:".contains(&delimiter) }
    }

    fn between(&self, position: usize, out: &mut Vec<u8>) {
        if position > 0 {
            out.push(self.delimiter);
        }
    }

    /// A text of anybody's, defused.
    fn text(&self, text: &str, out: &mut Vec<u8>) {
        // What begins so may act as a formula, or hides what does; 0xef begins the full-width forms.
        let is_suspect = matches!(text.as_bytes().first(), Some(b'=' | b'+' | b'-' | b'@' | b'\'' | b' ' | 0xef));
        if is_suspect || self.is_special(text) {
            self.quoted(&defuse(text), out);
        } else {
            out.extend_from_slice(text.as_bytes());
        }
    }

    /// A text that is only digits.
    fn plain(&self, text: &str, out: &mut Vec<u8>) {
        if self.is_special(text) { self.quoted(text, out) } else { out.extend_from_slice(text.as_bytes()) }
    }

    fn is_special(&self, text: &str) -> bool {
        text.bytes().any(|byte| self.special.get(usize::from(byte)).copied().unwrap_or(true))
    }

    fn quoted(&self, text: &str, out: &mut Vec<u8>) {
        if !text.bytes().any(|byte| byte == self.delimiter || matches!(byte, b'"' | b'\r' | b'\n')) {
            out.extend_from_slice(text.as_bytes());
            return;
        }
        out.push(b'"');
        for (position, piece) in text.split('"').enumerate() {
            if position > 0 {
                out.extend_from_slice(b"\"\"");
            }
            out.extend_from_slice(piece.as_bytes());
        }
        out.push(b'"');
    }

    /// A number, a time or an id.
    fn typed(&self, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        let start = out.len();
        write(out);
        if self.clashes && out.get(start..).is_some_and(|cell| cell.contains(&self.delimiter)) {
            out.insert(start, b'"');
            out.push(b'"');
        }
    }
}

pub(super) fn write_integer(number: i64, out: &mut Vec<u8>) {
    if number < 0 {
        out.push(b'-');
    }
    write_digits(number.unsigned_abs(), 1, out);
}

fn write_digits(mut number: u64, places: usize, out: &mut Vec<u8>) {
    let mut digits = [b'0'; 20];
    let mut begin = digits.len();
    while number > 0 || digits.len() - begin < places {
        begin -= 1;
        if let Some(digit) = digits.get_mut(begin) {
            *digit = b'0' + u8::try_from(number % 10).unwrap_or_default();
        }
        number /= 10;
    }
    out.extend_from_slice(digits.get(begin..).unwrap_or_default());
}

/// The same digits as [`Money`] shows.
pub(super) fn write_money(amount: Money, out: &mut Vec<u8>) {
    let amount = amount.as_ten_thousandths();
    if amount < 0 {
        out.push(b'-');
    }
    let (whole, mut part) = (amount.unsigned_abs() / 10_000, amount.unsigned_abs() % 10_000);
    write_digits(whole, 1, out);
    if part > 0 {
        let mut places = 4;
        while part.is_multiple_of(10) {
            part /= 10;
            places -= 1;
        }
        out.push(b'.');
        write_digits(part, places, out);
    }
}

pub(super) fn write_number(number: f64, out: &mut Vec<u8>) {
    // Writing a finite number to memory cannot fail.
    let _ = serde_json::to_writer(out, &number);
}

pub(super) fn write_id(id: Uuid, out: &mut Vec<u8>) {
    out.extend_from_slice(id.as_hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes());
}

pub(super) fn write_display(value: &impl std::fmt::Display, out: &mut Vec<u8>) {
    use std::io::Write as _;
    // Writing to memory cannot fail.
    let _ = write!(out, "{value}");
}
