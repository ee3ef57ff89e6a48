use futures::{Stream, stream};
use serde::Serialize;

use super::{
    outcome::{RefusedRow, RowError},
    record::{CustomerImport, ImportPart},
};
use crate::{
    crm::Crm,
    customer::ExportFormat,
    error::{Error, Result},
    import_file::{Delimiter, Format, cells, defuse, undefuse},
    input::Members,
    store::{Query, Scope},
};

/// So many parts are looked at at once. Each holds the refused rows of one part.
const PARTS: usize = 4;

/// The rows of an import that were refused, in the format of its file: what is wrong, then the row as it was. Mended, it
/// can be imported as it is: what stands in front is ignored.
#[derive(Debug)]
pub struct ErrorFile {
    crm: Crm,
    import: CustomerImport,
    delimiter: Delimiter,
    format: Format,
}

/// The columns in front of those of the file.
const FRONT: [&str; 4] = ["line", "field", "code", "message"];
/// The member in front of those of an object.
pub(super) const REPORT: &str = "_import_error";

/// What an error file says of a row that is an object.
#[derive(Serialize)]
struct Report<'a> {
    line: u64,
    errors: &'a [RowError],
    /// The row, where it is no object.
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<&'a str>,
}

/// How many columns of a file are those that an error file has in front.
pub(super) fn front_columns(columns: &[String]) -> usize {
    if columns.len() > FRONT.len() && columns.iter().zip(FRONT).all(|(column, front)| column == front) {
        FRONT.len()
    } else {
        0
    }
}

impl ErrorFile {
    pub(super) fn new(crm: Crm, import: CustomerImport) -> Self {
        let delimiter = import.delimiter.as_deref().and_then(|text| text.parse().ok()).unwrap_or(Delimiter::COMMA);
        let format = if import.format == Format::Ndjson.name() { Format::Ndjson } else { Format::Csv(delimiter) };
        Self { crm, import, delimiter, format }
    }

    /// A name for the file, such as `customers.errors.csv`.
    #[must_use]
    pub fn name(&self) -> String {
        let given = self.import.file_name.as_deref().unwrap_or("import");
        let stem = given.rsplit_once('.').map_or(given, |(stem, _)| stem);
        let plain: String = stem
            .chars()
            .map(|character| {
                if character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.') { character } else { '_' }
            })
            .take(100)
            .collect();
        format!("{plain}.errors.{}", self.format.name())
    }

    /// The type of the content.
    #[must_use]
    pub const fn content_type(&self) -> &'static str {
        match self.format {
            Format::Csv(_) => ExportFormat::Csv.content_type(),
            Format::Ndjson => ExportFormat::Ndjson.content_type(),
        }
    }

    /// The file, piece by piece: constant memory, however many rows there are.
    pub fn pieces(self) -> impl Stream<Item = Result<Vec<u8>>> + Send {
        stream::try_unfold((self, None), |(file, after)| async move {
            match after {
                None => {
                    let header = file.header()?;
                    Ok(Some((header, (file, Some(0)))))
                }
                Some(after) => {
                    let failed = ImportPart::import_id
                        .equals(file.import.id)
                        .and(ImportPart::number.greater_than(after))
                        .and(ImportPart::failed.greater_than(0_i64));
                    let query = Query::new(failed, PARTS).sorted(vec![ImportPart::number.ascending()]);
                    let scope = Scope::Organization(file.import.meta.organization_id);
                    let parts = file.crm.repo::<ImportPart>().find(scope, &query).await?.records;
                    let Some(last) = parts.last().map(|part| part.number) else { return Ok(None) };
                    let mut rows: Vec<RefusedRow> = Vec::new();
                    for part in parts {
                        let refused: Vec<RefusedRow> =
                            serde_json::from_str(part.errors.as_str()).map_err(Error::internal)?;
                        rows.extend(refused);
                    }
                    let piece = match file.format {
                        Format::Csv(delimiter) => file.table(&rows, delimiter)?,
                        Format::Ndjson => lines(&rows)?,
                    };
                    Ok(Some((piece, (file, Some(last)))))
                }
            }
        })
    }

    fn writer(&self) -> csv::Writer<Vec<u8>> {
        csv::WriterBuilder::new()
            .delimiter(self.delimiter.byte())
            .terminator(csv::Terminator::CRLF)
            .flexible(true)
            .from_writer(Vec::new())
    }

    fn header(&self) -> Result<Vec<u8>> {
        if self.format == Format::Ndjson {
            return Ok(Vec::new());
        }
        let mut writer = self.writer();
        let own = self.import.columns.iter().skip(front_columns(&self.import.columns));
        let columns = own.map(|column| defuse(column).into_owned());
        writer.write_record(FRONT.into_iter().map(str::to_owned).chain(columns)).map_err(Error::internal)?;
        written(writer)
    }

    fn table(&self, rows: &[RefusedRow], delimiter: Delimiter) -> Result<Vec<u8>> {
        let mut writer = self.writer();
        let front = front_columns(&self.import.columns);
        for row in rows {
            let joined = |of: fn(&RowError) -> &String| {
                let texts: Vec<&str> = row.errors.iter().map(|error| of(error).as_str()).collect();
                defuse(&texts.join("; ")).into_owned()
            };
            let said = [
                row.line.to_string(),
                joined(|error| &error.field),
                joined(|error| &error.code),
                joined(|error| &error.message),
            ];
            let cells = cells(&row.text, delimiter);
            // What was made harmless already is not made so twice.
            let own = cells.iter().skip(front).map(|cell| defuse(&undefuse(cell)).into_owned());
            writer.write_record(said.into_iter().chain(own)).map_err(Error::internal)?;
        }
        written(writer)
    }
}

/// A line for each row: the object with the report as its first member.
fn lines(rows: &[RefusedRow]) -> Result<Vec<u8>> {
    let mut lines = Vec::new();
    for row in rows {
        // A member that stands twice, for which the row may have been refused, stands twice here too.
        let members = serde_json::from_str::<Members<'_>>(&row.text).ok();
        let report =
            Report { line: row.line, errors: &row.errors, row: members.is_none().then_some(row.text.as_str()) };
        lines.extend_from_slice(format!("{{\"{REPORT}\":").as_bytes());
        serde_json::to_writer(&mut lines, &report).map_err(Error::internal)?;
        for (name, json) in members.map(Members::into_rest).unwrap_or_default() {
            if name != REPORT {
                lines.push(b',');
                serde_json::to_writer(&mut lines, &name).map_err(Error::internal)?;
                lines.push(b':');
                lines.extend_from_slice(json.get().as_bytes());
            }
        }
        lines.extend_from_slice(b"}\n");
    }
    Ok(lines)
}

fn written(writer: csv::Writer<Vec<u8>>) -> Result<Vec<u8>> {
    writer.into_inner().map_err(|error| Error::internal(error.to_string()))
}
