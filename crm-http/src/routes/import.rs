//! Customers from files.

use axum::{
    body::Body as ResponseBody,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use crm_core::{
    Crm,
    access::Principal,
    customer::import::{
        CustomerImport, CustomerImportId, ImportMapping, ImportMappingId, ImportOptions, ImportView, Imports,
        NewImportMapping, Upload,
    },
    error::FieldErrors,
    list::{List, ListBody},
};
use futures::TryStreamExt as _;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    extract::{Body, FilePart, FileUpload, Pairs, Path},
    listed::{ListParameters, listed},
    problem::{Problem, Result},
    respond::{Accepted, Created, NoContent, Record},
    state::AppState,
};

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(search))
        .routes(routes!(mappings, save_mapping))
        .routes(routes!(search_mappings))
        .routes(routes!(delete_mapping))
        .routes(routes!(get))
        .routes(routes!(errors))
        .routes(routes!(cancel))
        .routes(routes!(revert))
        // A file has a limit of its own, and so has every other body.
        .layer(DefaultBodyLimit::disable())
}

/// A file and what is said of it.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "describes the form")]
struct ImportForm {
    /// The file: CSV with a header in any delimiter, or NDJSON; in UTF-8, UTF-16 or Windows-1252. Both are found out.
    #[schema(format = Binary, content_media_type = "application/octet-stream")]
    file: String,
    /// Which column goes into which field, as JSON: `{"E-mail": "email", "Plan": "custom.plan", "Notes": null}`. A column
    /// is named by its header, or by `#` and its number. `null` ignores a column; one that is not named goes into what its
    /// header suggests, or is ignored. Fields are those of a customer, `first_name` and `last_name`, `custom.<key>`,
    /// `consent.<channel>`, and `id`.
    mapping: Option<String>,
    /// With `mapping`: saves it under this name. Without: takes the mapping that was saved so.
    mapping_name: Option<String>,
    /// Tells what would come of it, and writes nothing.
    dry_run: Option<bool>,
    /// `create` refuses rows whose customer is there already, `update` those whose customer is not, `upsert` does either.
    /// `create`, unless there is an `upsert_key`.
    mode: Option<String>,
    /// How a row finds its customer: `email`, `phone`, `id` or a unique `custom.<key>`. The e-mail, else the phone.
    upsert_key: Option<String>,
    /// What new customers get where the file says nothing, as JSON: `{"status": "inactive", "tags": ["imported"]}`.
    defaults: Option<String>,
    /// The order of dates, such as `dd/mm/yyyy`. Dates as `2026-01-31` and instants as RFC 3339 are always read.
    date_format: Option<String>,
    /// `.` or `,`.
    decimal_separator: Option<String>,
    /// What stands between cells; found out where it is not given.
    delimiter: Option<String>,
    /// `utf-8`, `utf-16le`, `utf-16be` or `windows-1252`; found out where it is not given.
    encoding: Option<String>,
    /// `csv` or `ndjson`; found out where it is not given.
    format: Option<String>,
    /// Whether an empty cell empties the field. Without, it says nothing.
    clear_empty: Option<bool>,
    /// Whether a row whose customer is there already is left out (`skipped`) instead of refused.
    skip_duplicates: Option<bool>,
    /// Lets phones be shared.
    allow_duplicate_phone: Option<bool>,
}

/// Import customers from a file
///
/// Sent as a form with the field `file`, or alone as the body with the content type `text/csv` or
/// `application/x-ndjson`. Everything beside the file may stand in the query too, and anywhere in the form, except that
/// `delimiter`, `encoding` and `format` come before the file. The answer comes once the file is kept; its rows are then
/// read by a job, which GET `/customers/import/{id}` shows. Each row is checked as POST `/customers` checks it; one that
/// is refused does not spoil the others, and stands with the reason in the error file. Cells are read as people write
/// them: several tags, groups, e-mails or phones with `;` or `|` between, groups and teams by name, staff by e-mail,
/// `yes` and `no`, amounts with a currency. What an export wrote is taken back as it was.
#[utoipa::path(
    post, path = "/customers/import", tag = "Imports",
    request_body(content(
        (ImportForm = "multipart/form-data"),
        (String = "text/csv", example = json!("name,email\nAmélie Poulain,amelie@example.com\n")),
        (String = "application/x-ndjson", example = json!("{\"name\":\"Amélie Poulain\",\"email\":\"amelie@example.com\"}\n"))
    )),
    params(
        ("mapping" = Option<String>, Query, description = "See the form. So for every parameter here."),
        ("mapping_name" = Option<String>, Query, description = "The name of a saved mapping."),
        ("dry_run" = Option<bool>, Query, description = "Writes nothing."),
        ("mode" = Option<String>, Query, description = "`create`, `update` or `upsert`."),
        ("upsert_key" = Option<String>, Query, description = "`email`, `phone`, `id` or `custom.<key>`."),
        ("defaults" = Option<String>, Query, description = "Values for new customers, as JSON."),
        ("date_format" = Option<String>, Query, description = "Such as `dd/mm/yyyy`."),
        ("decimal_separator" = Option<String>, Query, description = "`.` or `,`."),
        ("delimiter" = Option<String>, Query, description = "Such as `;` or `tab`."),
        ("encoding" = Option<String>, Query, description = "Such as `windows-1252`."),
        ("format" = Option<String>, Query, description = "`csv` or `ndjson`."),
        ("clear_empty" = Option<bool>, Query, description = "Empty cells empty fields."),
        ("skip_duplicates" = Option<bool>, Query, description = "Leaves out whom there is already."),
        ("allow_duplicate_phone" = Option<bool>, Query, description = "Lets phones be shared."),
        ("file_name" = Option<String>, Query, description = "The file's name, where it is the body.")
    ),
    responses(
        (status = 202, description = "The import, queued, with the mapping and the ignored columns.", body = ImportView,
            headers(("Location" = String, description = "Where it can be watched."))),
        (status = 413, description = "The file is too large."),
        (status = 415, description = "Neither a form nor a file.")
    ),
    extensions(("x-permission" = json!("customers:import")))
)]
async fn create(
    State(state): State<AppState>,
    by: Principal,
    pairs: Pairs,
    request: Request,
) -> Result<Accepted<ImportView>> {
    let mut options = ImportOptions::default();
    let mut errors = FieldErrors::new();
    for (name, value) in pairs.into_pairs() {
        errors.take("", options.set(&name, &value));
    }
    errors.or(())?;
    let imports = state.crm().imports();
    imports.admit(&by)?;
    let mut upload = FileUpload::of(request, &state).await?;
    match receive(&imports, &by, &mut upload, options).await {
        Ok(import) => Ok(Accepted::new("customers/import", import.import.id, import)),
        Err(problem) => {
            upload.drain().await;
            Err(problem)
        }
    }
}

/// Takes the parts of a form, and begins the import once all of it is there.
async fn receive(
    imports: &Imports<'_>,
    by: &Principal,
    upload: &mut FileUpload,
    mut options: ImportOptions,
) -> Result<ImportView> {
    let mut file: Option<Upload> = None;
    let mut errors = FieldErrors::new();
    loop {
        let part = match upload.next().await {
            Ok(Some(part)) => part,
            Ok(None) => break,
            Err(problem) => return Err(abandoned(file, problem).await),
        };
        match part {
            FilePart::Text(name, value) => {
                if file.is_some() && matches!(name.as_str(), "delimiter" | "encoding" | "format") {
                    errors.add(name, "NOT_ALLOWED", "must stand before the file, or in the query");
                } else {
                    errors.take("", options.set(&name, &value));
                }
            }
            FilePart::File(_, _) if file.is_some() => {
                errors.add("file", "DUPLICATE_FIELD", "is given more than once: import one file at a time");
                break;
            }
            FilePart::File(name, mut body) => {
                if let Some(name) = name {
                    options.name_file(&name);
                }
                // What is wrong already is not worth sending the file for.
                if !errors.is_empty() {
                    break;
                }
                let mut taken = imports.begin(by, &options).await?;
                loop {
                    match body.next().await {
                        Ok(Some(bytes)) => taken.push(&bytes).await?,
                        Ok(None) => break,
                        Err(problem) => return Err(abandoned(Some(taken), problem).await),
                    }
                }
                file = Some(taken);
            }
        }
    }
    if !errors.is_empty() {
        return Err(abandoned(file, errors.into()).await);
    }
    let Some(file) = file else {
        return Err(FieldErrors::one("file", "REQUIRED", "is required: the field with the file is called file").into());
    };
    Ok(file.finish(options).await?)
}

async fn abandoned(file: Option<Upload>, problem: Problem) -> Problem {
    if let Some(mut file) = file {
        file.abandon().await;
    }
    problem
}

/// List imports
///
/// Those that the caller began, newest first; everybody's for those who have `jobs:manage`, as Admins do. Filter by
/// `state`, `mode`, `dry_run`, `format`, `rows_total`, `failed`, `created_by_id` and the times. Imports are kept for 30
/// days after their end.
#[utoipa::path(
    get, path = "/customers/import", tag = "Imports", params(ListParameters),
    responses((status = 200, description = "A page of imports.", body = List<ImportView>)),
    extensions(("x-permission" = json!("customers:import")))
)]
async fn list(State(crm): State<Crm>, by: Principal, pairs: Pairs) -> Result<Response> {
    let request = Imports::listing().from_pairs(&pairs.into_pairs())?;
    let found = crm.imports().list(&by, &request).await?;
    listed(found, &request)
}

/// Search imports
///
/// The list with its parameters in a JSON body, for long rules.
#[utoipa::path(
    post, path = "/customers/import/search", tag = "Imports", request_body = ListBody,
    responses((status = 200, description = "A page of imports.", body = List<ImportView>)),
    extensions(("x-permission" = json!("customers:import")))
)]
async fn search(State(crm): State<Crm>, by: Principal, pairs: Pairs, Body(body): Body<ListBody>) -> Result<Response> {
    pairs.only(&[])?;
    let request = Imports::listing().from_json(body.as_json())?;
    let found = crm.imports().list(&by, &request).await?;
    listed(found, &request)
}

/// Get an import
///
/// With how many rows were read, made a customer, changed one, found one that was so already, were skipped or refused;
/// while it runs also at which rate, and how many seconds the rest takes.
#[utoipa::path(
    get, path = "/customers/import/{id}", tag = "Imports", params(("id" = CustomerImportId, Path)),
    responses((status = 200, description = "The import.", body = ImportView)),
    extensions(("x-permission" = json!("customers:import")))
)]
async fn get(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<CustomerImportId>,
    pairs: Pairs,
) -> Result<Record<ImportView>> {
    pairs.only(&[])?;
    Ok(shown(crm.imports().get(&by, id).await?))
}

/// Download the refused rows
///
/// One line for each row that was refused, in the format of the file. CSV has the columns `line`, `field`, `code` and
/// `message` before those of the file; cells that a spreadsheet would take for formulas are defused, and an import takes
/// that back. NDJSON has the member `_import_error` before those of the object, with `line` and `errors`. Mended, either
/// can be imported as it is. While the import runs it has what was refused so far.
#[utoipa::path(
    get, path = "/customers/import/{id}/errors", tag = "Imports", params(("id" = CustomerImportId, Path)),
    responses((status = 200, description = "The rows and the reasons.", content(
        (String = "text/csv", example = "line,field,code,message,name,email\r\n3,email,INVALID_FORMAT,is no e-mail address,Bob,bob@\r\n"),
        (String = "application/x-ndjson"),
    ))),
    extensions(("x-permission" = json!("customers:import")))
)]
async fn errors(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<CustomerImportId>,
    pairs: Pairs,
) -> Result<Response> {
    pairs.only(&[])?;
    let file = crm.imports().errors(&by, id).await?;
    let disposition = format!("attachment; filename=\"{}\"", file.name());
    let content_type = HeaderValue::from_static(file.content_type());
    let pieces = file.pieces().inspect_err(|error| {
        tracing::error!(error = error as &dyn std::error::Error, "An error file broke off.");
    });
    let mut response = ResponseBody::from_stream(pieces).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    if let Ok(disposition) = HeaderValue::try_from(disposition) {
        headers.insert(header::CONTENT_DISPOSITION, disposition);
    }
    Ok(response)
}

/// Cancel an import
///
/// It ends after the rows in hand. What it wrote stays, and can be taken back.
#[utoipa::path(
    post, path = "/customers/import/{id}/cancel", tag = "Imports", params(("id" = CustomerImportId, Path)),
    responses((status = 200, description = "The import as it is now.", body = ImportView), (status = 409)),
    extensions(("x-permission" = json!("customers:import")))
)]
async fn cancel(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<CustomerImportId>,
    pairs: Pairs,
) -> Result<Record<ImportView>> {
    pairs.only(&[])?;
    Ok(shown(crm.imports().cancel(&by, id).await?))
}

/// Take an import back
///
/// By a job. Customers that it made go into the bin, and what it changed becomes what it was before. Customers that were
/// changed since are kept, and of a change the fields that somebody changed since; `force=true` puts whom it made into the
/// bin whatever happened since. Possible for 30 days. Needs `customers:delete` too.
#[utoipa::path(
    post, path = "/customers/import/{id}/revert", tag = "Imports",
    params(("id" = CustomerImportId, Path),
        ("force" = Option<bool>, Query, description = "Whom it made goes whatever happened since.")),
    responses(
        (status = 202, description = "The import as it is now, with the job.", body = ImportView),
        (status = 409)
    ),
    extensions(("x-permission" = json!("customers:import")))
)]
async fn revert(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<CustomerImportId>,
    mut pairs: Pairs,
) -> Result<Accepted<ImportView>> {
    pairs.only(&["force"])?;
    let force = pairs.take_flag("force")?;
    let view = crm.imports().revert(&by, id, force).await?;
    Ok(Accepted::new("customers/import", id, view))
}

/// List saved mappings
#[utoipa::path(
    get, path = "/customers/import/mappings", tag = "Imports", params(ListParameters),
    responses((status = 200, description = "A page of mappings.", body = List<ImportMapping>)),
    extensions(("x-permission" = json!("customers:import")))
)]
async fn mappings(State(crm): State<Crm>, by: Principal, pairs: Pairs) -> Result<Response> {
    let request = Imports::mapping_listing().from_pairs(&pairs.into_pairs())?;
    let found = crm.imports().mappings(&by, &request).await?;
    listed(found, &request)
}

/// Search saved mappings
///
/// The list with its parameters in a JSON body, for long rules.
#[utoipa::path(
    post, path = "/customers/import/mappings/search", tag = "Imports", request_body = ListBody,
    responses((status = 200, description = "A page of mappings.", body = List<ImportMapping>)),
    extensions(("x-permission" = json!("customers:import")))
)]
async fn search_mappings(
    State(crm): State<Crm>,
    by: Principal,
    pairs: Pairs,
    Body(body): Body<ListBody>,
) -> Result<Response> {
    pairs.only(&[])?;
    let request = Imports::mapping_listing().from_json(body.as_json())?;
    let found = crm.imports().mappings(&by, &request).await?;
    listed(found, &request)
}

/// Save a mapping
///
/// In the place of one that has the same name, whatever its case. An import saves one too where it is given a `mapping`
/// with a `mapping_name`.
#[utoipa::path(
    post, path = "/customers/import/mappings", tag = "Imports", request_body = NewImportMapping,
    responses((status = 201, description = "The mapping.", body = ImportMapping)),
    extensions(("x-permission" = json!("customers:import")))
)]
async fn save_mapping(
    State(crm): State<Crm>,
    by: Principal,
    pairs: Pairs,
    Body(new): Body<NewImportMapping>,
) -> Result<Created<ImportMapping>> {
    pairs.only(&[])?;
    let saved = crm.imports().save_mapping(&by, new).await?;
    Ok(Created::new("customers/import/mappings", saved.id, saved.meta.version, saved))
}

/// Remove a saved mapping
#[utoipa::path(
    delete, path = "/customers/import/mappings/{id}", tag = "Imports", params(("id" = ImportMappingId, Path)),
    responses((status = 204, description = "The mapping is gone.")),
    extensions(("x-permission" = json!("customers:import")))
)]
async fn delete_mapping(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<ImportMappingId>,
    pairs: Pairs,
) -> Result<NoContent> {
    pairs.only(&[])?;
    crm.imports().delete_mapping(&by, id).await?;
    Ok(NoContent)
}

fn shown(view: ImportView) -> Record<ImportView> {
    let CustomerImport { meta, .. } = &view.import;
    Record::new(meta.version, view)
}
