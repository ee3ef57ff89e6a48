use futures::{Stream, stream};

use super::{
    outcome::RefusedRow,
    record::{CustomerImport, ImportPart},
};
use crate::{
    crm::Crm,
    error::{Error, Result},
    import_file::{Delimiter, Format, cells, defuse, undefuse},
    store::{Query, Scope},
};

/// So many parts are looked at at once. Each holds the refused rows of one part.
const PARTS: usize = 4;

/// The rows of an import that were refused, as CSV: what is wrong, then the row as it was. Mended, it can be imported as
/// it is: the columns in front are ignored.
#[derive(Debug)]
pub struct ErrorFile {
    crm: Crm,
    import: CustomerImport,
    delimiter: Delimiter,
    format: Format,
}

/// The columns in front of those of the file.
const FRONT: [&str; 4] = ["line", "field", "code", "message"];

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
        format!("{plain}.errors.csv")
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
                    let mut writer = file.writer();
                    for part in parts {
                        let rows: Vec<RefusedRow> =
                            serde_json::from_str(part.errors.as_str()).map_err(Error::internal)?;
                        for row in &rows {
                            file.write(&mut writer, row)?;
                        }
                    }
                    Ok(Some((written(writer)?, (file, Some(last)))))
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
        let mut writer = self.writer();
        let front = FRONT.into_iter().map(str::to_owned);
        let columns: Vec<String> = match self.format {
            Format::Ndjson => vec!["row".to_owned()],
            Format::Csv(_) => self.import.columns.iter().map(|column| defuse(column).into_owned()).collect(),
        };
        writer.write_record(front.chain(columns)).map_err(Error::internal)?;
        written(writer)
    }

    fn write(&self, writer: &mut csv::Writer<Vec<u8>>, row: &RefusedRow) -> Result<()> {
        let joined = |of: fn(&super::outcome::RowError) -> &String| {
            let texts: Vec<&str> = row.errors.iter().map(|error| of(error).as_str()).collect();
            defuse(&texts.join("; ")).into_owned()
        };
        let front = [
            row.line.to_string(),
            joined(|error| &error.field),
            joined(|error| &error.code),
            joined(|error| &error.message),
        ];
        let columns: Vec<String> = match self.format {
            Format::Ndjson => vec![defuse(&row.text).into_owned()],
            // What was made harmless already is not made so twice.
            Format::Csv(delimiter) => {
                cells(&row.text, delimiter).iter().map(|cell| defuse(&undefuse(cell)).into_owned()).collect()
            }
        };
        writer.write_record(front.into_iter().chain(columns)).map_err(Error::internal)
    }
}

fn written(writer: csv::Writer<Vec<u8>>) -> Result<Vec<u8>> {
    writer.into_inner().map_err(|error| Error::internal(error.to_string()))
}
