use std::{fmt, str::FromStr, sync::Arc};

use serde_json::json;
use uuid::Uuid;

use super::{
    ExportBlocks, blocks,
    columns::Columns,
    csv::CsvTable,
    instant::LocalTime,
    json::JsonLines,
    pump::{self, Task, Writer},
    workbook::WorkbookTable,
};
use crate::{
    access::{Principal, permissions},
    crm::Crm,
    customer::{Customer, CustomerShape, Customers, shape::FIELDS},
    error::{Error, FieldErrors, Result},
    field::FieldSet,
    id::new_uuid,
    import_file::Delimiter,
    list::{ListBody, ListRequest, Listing},
    operation::Operation,
    record::Record as _,
    repo::Visible as _,
    store::{Filter, Query, Sort},
    tenancy::TimeZone,
};

/// A workbook has at most so many customers: Excel's sheets end there, with a header.
pub const MAX_WORKBOOK_ROWS: u64 = 1_048_575;

/// Parameters that an export has besides those that choose customers.
const EXTRA: [&str; 6] = ["deleted", "profile", "format", "time_zone", "delimiter", "bom"];

/// What kind of file an export is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ExportFormat {
    /// A table as text (RFC 4180).
    #[default]
    Csv,
    /// A workbook of Excel.
    Xlsx,
    /// One JSON object a line.
    Ndjson,
}

impl ExportFormat {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Csv, Self::Xlsx, Self::Ndjson];

    /// The name, also the ending of a file's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Xlsx => "xlsx",
            Self::Ndjson => "ndjson",
        }
    }

    /// The type of the content.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Xlsx => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            Self::Ndjson => "application/x-ndjson; charset=utf-8",
        }
    }

    /// The first format that an `Accept` header names.
    #[must_use]
    pub fn of_accept(accept: &str) -> Option<Self> {
        accept.split(',').find_map(|part| {
            let media_type = part.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
            match media_type.as_str() {
                "text/csv" | "application/csv" => Some(Self::Csv),
                "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines" => {
                    Some(Self::Ndjson)
                }
                "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" => Some(Self::Xlsx),
                _ => None,
            }
        })
    }
}

impl fmt::Display for ExportFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// There is no format of that name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be csv, xlsx or ndjson")]
pub struct UnknownExportFormat;

impl FromStr for ExportFormat {
    type Err = UnknownExportFormat;

    fn from_str(name: &str) -> Result<Self, UnknownExportFormat> {
        Self::ALL.into_iter().find(|format| format.name() == name).ok_or(UnknownExportFormat)
    }
}

/// An export that is checked and allowed, and has not begun.
#[derive(Debug)]
pub struct CustomerExport {
    crm: Crm,
    by: Principal,
    id: Uuid,
    format: ExportFormat,
    file_name: String,
    query: Query,
    writer: Writer,
    /// What leaves, for the audit trail.
    summary: serde_json::Value,
}

impl Customers<'_> {
    /// Plans the export of the customers in sight that a query string asks for, in the format that it names, else in
    /// the preferred one. The parameters that choose customers are those of [`Customers::list`]; there are no pages.
    ///
    /// # Errors
    /// [`Error::Invalid`] with every wrong parameter, and on `format` where a workbook cannot hold so many customers;
    /// [`Error::Forbidden`] without `customers:read` and `customers:export`.
    pub async fn export(
        &self,
        by: &Principal,
        pairs: &[(String, String)],
        preferred: ExportFormat,
    ) -> Result<CustomerExport> {
        self.planned(by, preferred, |listing| listing.from_pairs(pairs)).await
    }

    /// The same, as a JSON body asks for them.
    ///
    /// # Errors
    /// Those of [`Customers::export`].
    pub async fn export_matching(
        &self,
        by: &Principal,
        body: &ListBody,
        preferred: ExportFormat,
    ) -> Result<CustomerExport> {
        self.planned(by, preferred, |listing| listing.from_json(body.as_json())).await
    }

    async fn planned(
        &self,
        by: &Principal,
        preferred: ExportFormat,
        read: impl FnOnce(Listing<'_>) -> Result<ListRequest, FieldErrors> + Send,
    ) -> Result<CustomerExport> {
        by.may(permissions::CUSTOMERS_READ)?;
        by.may(permissions::CUSTOMERS_EXPORT)?;
        let context = self.context(by).await?;
        let catalog = self.catalog_in(by, &context).await?;
        let request = read(Listing::new(&catalog).fields(&FIELDS).extra(&EXTRA).without_pages())?;
        let (options, deleted) = Options::read(&request, preferred)?;
        let zone = match &options.zone {
            Some(zone) => zone.clone(),
            None => self.own_zone(by).await?,
        };
        let query = self.export_query(by, &request, deleted).await?;
        if options.format == ExportFormat::Xlsx {
            let count = self.crm.store().count(by.scope(), Customer::COLLECTION, &query.filter).await?;
            if count > MAX_WORKBOOK_ROWS {
                let message = format!(
                    "cannot be xlsx for {count} customers, a workbook holds {MAX_WORKBOOK_ROWS}: take csv or ndjson, or filter"
                );
                return Err(Error::invalid("format", "TOO_MANY", message));
            }
        }
        let now = self.crm.now();
        let id = new_uuid(now, self.crm.random());
        let (writer, columns) = writer(self.crm, &request, &options, &zone, deleted, &context.fields);
        let sort: Vec<String> = request.sort.iter().filter(|_| request.sorted).map(sort_name).collect();
        let rule = request.rule.as_ref().map(|rule| rule.to_json().to_value());
        let summary = json!({
            "export_id": id,
            "format": options.format.name(),
            "columns": columns,
            "filter": rule,
            "search": request.search.join(" "),
            "sort": sort.join(","),
            "deleted": deleted,
            "time_zone": zone.name(),
        });
        let day = now.to_jiff().to_zoned(zone.to_jiff().clone()).date();
        let file_name = format!("customers-{day}.{}", options.format);
        let (crm, mut by) = (self.crm.clone(), by.clone());
        // What only reads may be sent again; what left twice is noted twice.
        by.context.claim = None;
        Ok(CustomerExport { crm, by, id, format: options.format, file_name, query, writer, summary })
    }

    async fn export_query(&self, by: &Principal, request: &ListRequest, deleted: bool) -> Result<Query> {
        let mut filter = if deleted {
            Customer::reach_of(by).and(Customer::deleted_at.exists())
        } else {
            Customer::visible_to(by).and(self.narrowed(by, request).await?)
        };
        if let Some(rule) = &request.rule {
            filter = filter.and(rule.filter(self.crm.now()));
        }
        if !request.search.is_empty() {
            filter = filter.and(Filter::Search { terms: request.search.clone() });
        }
        // In the order in which they were made no engine has to sort, and a row stays where it is.
        let sort = if request.sorted { request.sort.clone() } else { Vec::new() };
        Ok(Query::new(filter, 0).sorted(sort))
    }

    /// The organization's time zone.
    async fn own_zone(&self, by: &Principal) -> Result<TimeZone> {
        match self.crm.organizations().settings(by).await {
            Ok(organization) => Ok(organization.time_zone.clone()),
            // An embedder may keep customers without any account.
            Err(Error::NotFound(_)) => Ok(TimeZone::UTC),
            Err(error) => Err(error),
        }
    }
}

/// How the file is written, and the names of its columns.
fn writer(
    crm: &Crm,
    request: &ListRequest,
    options: &Options,
    zone: &TimeZone,
    deleted: bool,
    custom: &Arc<FieldSet>,
) -> (Writer, Vec<String>) {
    if options.format == ExportFormat::Ndjson {
        let lines = JsonLines::new(&request.fields, options.retail, Arc::clone(custom));
        let columns = lines.names().map(str::to_owned).collect();
        return (Writer::Ndjson(Box::new(lines)), columns);
    }
    let time = LocalTime::new(zone.to_jiff().clone());
    let table = Columns::new(&request.fields, options.retail, deleted, custom);
    let columns = table.headers().map(str::to_owned).collect();
    let writer = if options.format == ExportFormat::Xlsx {
        Writer::Workbook(Box::new(WorkbookTable::new(table, time, crm.temporary_folder().to_owned())))
    } else {
        Writer::Csv(Box::new(CsvTable::new(table, time, options.delimiter, options.bom)))
    };
    (writer, columns)
}

impl CustomerExport {
    /// What kind of file it is.
    #[must_use]
    pub const fn format(&self) -> ExportFormat {
        self.format
    }

    /// A name for the file, such as `customers-2026-01-31.csv`.
    #[must_use]
    pub fn file_name(&self) -> &str {
        &self.file_name
    }

    /// How many customers there are to be written, as of now.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn count(&self) -> Result<u64> {
        Ok(self.crm.store().count(self.by.scope(), Customer::COLLECTION, &self.query.filter).await?)
    }

    /// Notes in the audit trail what leaves (`customers.exported`, and `customers.export_ended` with the number of rows
    /// when it is over), and begins to read, in a task of its own. Needs a Tokio runtime.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where too many exports run already, in the process or of the organization; those of the
    /// store.
    pub async fn start(self) -> Result<ExportBlocks> {
        let place = self.crm.export_places().take(self.by.organization)?;
        let mut operation = Operation::new(&self.crm, &self.by);
        operation.audit_named("customers.exported", pump::RECORD_TYPE, Some(self.id), None, Some(self.summary.clone()));
        operation.emit_named("customers.exported", pump::RECORD_TYPE, self.id, 1, &self.summary);
        operation.commit().await?;
        let (sender, blocks) = blocks::channel();
        let Self { crm, by, id, query, writer, .. } = self;
        tokio::spawn(async move {
            Task { crm, by, id, query }.run(writer, sender).await;
            drop(place);
        });
        Ok(blocks)
    }
}

/// How a file is written.
#[derive(Debug)]
struct Options {
    format: ExportFormat,
    zone: Option<TimeZone>,
    delimiter: Delimiter,
    bom: bool,
    retail: bool,
}

impl Options {
    /// With whether the bin is meant.
    fn read(request: &ListRequest, preferred: ExportFormat) -> Result<(Self, bool), FieldErrors> {
        let mut errors = FieldErrors::new();
        let format = match request.extra("format").map(str::parse) {
            None => preferred,
            Some(Ok(format)) => format,
            Some(Err(UnknownExportFormat)) => {
                errors.add("format", "INVALID_CHOICE", UnknownExportFormat.to_string());
                preferred
            }
        };
        let mut only_for = |name: &str, holds: bool, what: &str| {
            if request.extra(name).is_some() && !holds {
                errors.add(name, "NOT_ALLOWED", format!("is for {what} only"));
            }
        };
        only_for("delimiter", format == ExportFormat::Csv, "csv");
        only_for("bom", format == ExportFormat::Csv, "csv");
        only_for("time_zone", format != ExportFormat::Ndjson, "csv and xlsx, ndjson has its times in UTC as GET,");
        let zone = request.extra("time_zone").map(TimeZone::parse);
        let zone = zone.and_then(|zone| errors.take("time_zone", zone));
        let delimiter = match request.extra("delimiter").map(str::parse::<Delimiter>) {
            None => Delimiter::COMMA,
            Some(Ok(delimiter)) => delimiter,
            Some(Err(unknown)) => {
                errors.add("delimiter", "INVALID_FORMAT", unknown.to_string());
                Delimiter::COMMA
            }
        };
        let retail = errors.take("", CustomerShape::is_retail(request.extra("profile"))).unwrap_or_default();
        let bom = errors.take("", request.flag("bom")).unwrap_or_default();
        let deleted = errors.take("", request.flag("deleted")).unwrap_or_default();
        errors.or((Self { format, zone, delimiter, bom, retail }, deleted))
    }
}

fn sort_name(sort: &Sort) -> String {
    let direction = if sort.descending { "-" } else { "" };
    match &sort.field.key {
        Some(key) => format!("{direction}custom.{key}"),
        None => format!("{direction}{}", sort.field.name),
    }
}
