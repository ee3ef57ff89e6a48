use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    error::FieldErrors,
    input::{FromInput, Input},
    job::{Job, JobError, JobId},
    record::{Meta, Record},
    store::Json,
    text::Line,
    time::Timestamp,
};

crate::record_ids! {
    /// An import of customers.
    CustomerImportId,
    /// A part of an imported file.
    ImportPartId,
    /// A saved mapping.
    ImportMappingId,
}

/// An import of customers from a file.
#[derive(Clone, Debug, PartialEq, Record, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[record(
    collection = "customer_imports",
    index(-created_at),
    index(created_by_id, -created_at),
    index(state, updated_at)
)]
pub struct CustomerImport {
    /// The import's id.
    pub id: CustomerImportId,
    /// How far it is.
    pub state: ImportState,
    /// Whether nothing is written, to see what would come of it.
    pub dry_run: bool,
    /// The file's name, as it was given.
    pub file_name: Option<String>,
    /// The file's size in bytes.
    pub file_size: i64,
    /// `csv` or `ndjson`.
    pub format: String,
    /// What stands between the cells of CSV.
    pub delimiter: Option<String>,
    /// How the file's characters are written, such as `utf-8` or `windows-1252`.
    pub encoding: String,
    /// The names of the file's columns, in order.
    pub columns: Vec<String>,
    /// The field that each column is read into; empty for a column that is ignored.
    #[serde(skip)]
    pub fields: Vec<String>,
    /// What is done with a row whose customer is there already, and with one whose is not.
    pub mode: ImportMode,
    /// The field by which a row finds its customer: `email`, `phone`, `id` or a unique custom field. The e-mail, else
    /// the phone, where it is not given.
    pub upsert_key: Option<String>,
    /// How the rest is read.
    #[serde(skip)]
    pub settings: Json,
    /// How many rows the file has.
    pub rows_total: i64,
    /// How many of them were read so far.
    pub rows_read: i64,
    /// How many made a new customer.
    pub created: i64,
    /// How many changed one.
    pub updated: i64,
    /// How many found one that was so already.
    pub unchanged: i64,
    /// How many were left out because their customer was there already.
    pub skipped: i64,
    /// How many were refused: the error file says why.
    pub failed: i64,
    /// How many parts the file was cut into.
    #[serde(skip)]
    pub parts: i64,
    /// How many of them are done.
    #[serde(skip)]
    pub parts_done: i64,
    /// The job that reads it.
    pub job_id: Option<JobId>,
    /// The job that takes it back.
    pub revert_job_id: Option<JobId>,
    /// What taking it back came to so far.
    pub reverted: Option<RevertReport>,
    /// Why it failed as a whole.
    pub error: Option<JobError>,
    /// Until when it can be taken back; what is needed for that is removed then.
    pub revertible_until: Option<Timestamp>,
    /// Who began it: `user`, `api_key`, `service` or `system`.
    pub created_by_type: String,
    /// The person or key who began it.
    pub created_by_id: Option<Uuid>,
    /// When its first part was begun.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Its organization, version and times.
    #[serde(flatten)]
    pub meta: Meta,
}

/// How far an import is.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ImportState {
    /// The file arrives.
    #[default]
    Uploading,
    /// It waits for its turn.
    Queued,
    /// Its rows are being read.
    Running,
    /// Every row was read; some may have been refused.
    Succeeded,
    /// It ended before every row was read, for the reason in `error`.
    Failed,
    /// Somebody ended it before every row was read.
    Cancelled,
    /// What it wrote is being taken back.
    Reverting,
    /// What it wrote was taken back.
    Reverted,
}

impl ImportState {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::Uploading,
        Self::Queued,
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
        Self::Reverting,
        Self::Reverted,
    ];

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uploading => "uploading",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Reverting => "reverting",
            Self::Reverted => "reverted",
        }
    }

    /// Whether it can be taken back.
    #[must_use]
    pub const fn is_revertible(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// What becomes of a row.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ImportMode {
    /// A new customer; it is refused where there is one with the same e-mail, phone or unique field.
    #[default]
    Create,
    /// A change of the customer that it finds; it is refused where it finds none.
    Update,
    /// A change of the customer that it finds, or a new one.
    Upsert,
}

impl ImportMode {
    /// Every mode.
    pub const ALL: [Self; 3] = [Self::Create, Self::Update, Self::Upsert];

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Upsert => "upsert",
        }
    }
}

/// There is no state of that name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be one of uploading, queued, running, succeeded, failed, cancelled, reverting, reverted")]
pub struct UnknownImportState;

/// There is no mode of that name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be one of create, update, upsert")]
pub struct UnknownImportMode;

crate::record::named_types! {
    ImportState, UnknownImportState;
    ImportMode, UnknownImportMode;
}

/// What taking an import back came to.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RevertReport {
    /// Customers that the import had made, and that are in the bin now.
    pub deleted: u64,
    /// Customers that are as they were before the import changed them.
    pub restored: u64,
    /// Customers that were changed by others since and are kept, or of which only the fields that nobody changed since
    /// were taken back.
    pub kept: u64,
}

crate::json_field_type!(RevertReport);

/// A part of an imported file: some rows, and what came of them.
#[derive(Clone, Debug, PartialEq, Record)]
#[record(collection = "customer_import_parts", unique(import_id, number), index(import_id, number))]
pub struct ImportPart {
    /// The part's id.
    pub id: ImportPartId,
    /// The import.
    pub import_id: CustomerImportId,
    /// Its place in the file, from 1.
    pub number: i64,
    /// The line of the file in which it begins.
    pub first_line: i64,
    /// How many rows it has.
    pub rows: i64,
    /// Its text; empty once it is done.
    pub text: String,
    /// Whether its rows were written.
    pub done: bool,
    /// The rows that were refused, and why.
    pub errors: Json,
    /// How many there are.
    pub failed: i64,
    /// What is needed to take it back.
    pub undo: Json,
    /// Whether it was taken back.
    pub reverted: bool,
    /// What could not be taken back, and why.
    pub kept: Json,
    /// Its organization, version and times.
    pub meta: Meta,
}

/// A mapping of columns to fields that is kept under a name.
#[derive(Clone, Debug, PartialEq, Record, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[record(collection = "customer_import_mappings", unique(name_key), search(name), index(name), index(-created_at))]
pub struct ImportMapping {
    /// The mapping's id.
    pub id: ImportMappingId,
    /// Its name, unique in the organization whatever its case and accents.
    #[record(folded)]
    pub name: Line<100>,
    /// The name as it is compared.
    #[serde(skip)]
    pub name_key: String,
    /// The field that each column is read into; `null` for a column that is ignored.
    pub mapping: ColumnFields,
    /// Its organization, version and times.
    #[serde(flatten)]
    pub meta: Meta,
}

/// What a new mapping is made of.
#[derive(Clone, Debug, Input)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[input(refuse(id, version, created_at, updated_at))]
pub struct NewImportMapping {
    /// Its name. One that has the same name is replaced.
    pub name: Line<100>,
    /// The field that each column is read into; `null` for a column that is ignored.
    pub mapping: ColumnFields,
}

/// The field that each column is read into, by the column's name; nothing for a column that is ignored.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct ColumnFields(pub BTreeMap<String, Option<String>>);

crate::json_field_type!(ColumnFields);

/// The most columns that a mapping names.
const MAX_COLUMNS: usize = 1000;
/// The longest name of a column or field in a mapping, in bytes.
const MAX_NAME: usize = 1000;

impl FromInput for ColumnFields {
    fn from_input(json: &serde_json::value::RawValue) -> Result<Self, FieldErrors> {
        let form = || {
            let message = "must be an object of columns and the fields they go into, such as {\"E-mail\": \"email\", \"Notes\": null}";
            FieldErrors::one("", "INVALID_TYPE", message)
        };
        let members = crate::input::Members::parse(json)?.into_rest();
        if members.len() > MAX_COLUMNS {
            return Err(FieldErrors::one("", "TOO_MANY", format!("must name at most {MAX_COLUMNS} columns")));
        }
        let mut columns = BTreeMap::new();
        for (column, field) in members {
            let field: Option<String> = serde_json::from_str(field.get()).map_err(|_| form())?;
            if column.len() > MAX_NAME || field.as_ref().is_some_and(|field| field.len() > MAX_NAME) {
                return Err(FieldErrors::one("", "TOO_LONG", format!("names must have at most {MAX_NAME} bytes")));
            }
            if column.contains('\0') || field.as_ref().is_some_and(|field| field.contains('\0')) {
                return Err(FieldErrors::one("", "INVALID_TEXT", "must not contain the character NUL"));
            }
            columns.insert(column.into_owned(), field.filter(|field| !field.is_empty()));
        }
        Ok(Self(columns))
    }
}

/// An import as it is shown: with its mapping and its job.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ImportView {
    /// The import.
    #[serde(flatten)]
    pub import: CustomerImport,
    /// The field that each column is read into; `null` for a column that is ignored.
    pub mapping: ColumnFields,
    /// The columns that are ignored.
    pub ignored_columns: Vec<String>,
    /// How many rows are read in a second.
    pub rows_per_second: Option<f64>,
    /// How many seconds the rest takes at that rate.
    pub seconds_left: Option<u64>,
    /// The job that is at it: the one that takes the import back, where there is one.
    pub job: Option<Job>,
}

impl ImportView {
    /// Of an import and its job.
    #[must_use]
    pub fn new(import: CustomerImport, job: Option<Job>) -> Self {
        let paired = import.columns.iter().zip(&import.fields);
        let mapping = paired
            .clone()
            .map(|(column, field)| (column.clone(), Some(field.clone()).filter(|field| !field.is_empty())))
            .collect();
        let ignored = paired.filter(|(_, field)| field.is_empty()).map(|(column, _)| column.clone()).collect();
        let running = job.as_ref().filter(|job| !job.state.has_ended());
        Self {
            mapping: ColumnFields(mapping),
            ignored_columns: ignored,
            rows_per_second: running.and_then(|job| job.progress.per_second),
            seconds_left: running.and_then(|job| job.progress.seconds_left),
            import,
            job,
        }
    }
}
