use axum::{
    body::Body as Content,
    extract::State,
    http::{HeaderMap, HeaderValue, Method, header},
    response::Response,
};
use crm_core::{
    Crm,
    access::Principal,
    customer::{CustomerExport, ExportFormat},
    list::ListBody,
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    extract::{Body, Pairs},
    problem::Result,
    routes::parameters::{ExportParameters, ProfileParameter},
    state::AppState,
};

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(export, export_matching))
}

/// Export customers
///
/// Those in the caller's sight that the filters choose (every field is one, as in the list), all of them, as a file that
/// is streamed as it is read. CSV has a header of field names and is made to be imported again: instants are RFC 3339,
/// lists stand in one cell with `;` between, and texts that a spreadsheet would take for a formula begin with `'`.
/// An XLSX workbook has typed cells and at most 1,048,575 customers. NDJSON has a customer a line, as GET shows it.
/// A connection that breaks off before its end means that the file is not whole.
#[utoipa::path(
    get, path = "/customers/export", tag = "Customers", params(ExportParameters, ProfileParameter),
    responses((status = 200, description = "The file.", content(
        (String = "text/csv", example = "id,name,email\r\n0198c1de-5f00-7000-8000-000000000001,Amélie Poulain,amelie@example.com\r\n"),
        (String = "application/x-ndjson"),
        (Vec<u8> = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ))),
    extensions(("x-permission" = json!("customers:export")))
)]
async fn export(
    State(crm): State<Crm>,
    by: Principal,
    pairs: Pairs,
    method: Method,
    headers: HeaderMap,
) -> Result<Response> {
    let export = crm.customers().export(&by, &pairs.into_pairs(), preferred(&headers)).await?;
    answer(export, &method).await
}

/// Export customers of a long rule
///
/// The export with its parameters in a JSON body: `filter`, `search`, `sort`, `fields`, `deleted`, `profile`, `format`,
/// `time_zone`, `delimiter` and `bom`.
#[utoipa::path(
    post, path = "/customers/export", tag = "Customers", request_body = ListBody,
    responses((status = 200, description = "The file.", content(
        (String = "text/csv"),
        (String = "application/x-ndjson"),
        (Vec<u8> = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ))),
    extensions(("x-permission" = json!("customers:export")))
)]
async fn export_matching(
    State(crm): State<Crm>,
    by: Principal,
    pairs: Pairs,
    method: Method,
    headers: HeaderMap,
    Body(body): Body<ListBody>,
) -> Result<Response> {
    pairs.only(&[])?;
    let export = crm.customers().export_matching(&by, &body, preferred(&headers)).await?;
    answer(export, &method).await
}

fn preferred(headers: &HeaderMap) -> ExportFormat {
    let named = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    named.filter_map(ExportFormat::of_accept).next().unwrap_or_default()
}

async fn answer(export: CustomerExport, method: &Method) -> Result<Response> {
    let content_type = HeaderValue::from_static(export.format().content_type());
    let disposition = HeaderValue::try_from(format!("attachment; filename=\"{}\"", export.file_name())).ok();
    // Who asks only for the headers takes no customer with them.
    let content = if *method == Method::HEAD { Content::empty() } else { Content::from_stream(export.start().await?) };
    let mut response = Response::new(content);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    if let Some(disposition) = disposition {
        headers.insert(header::CONTENT_DISPOSITION, disposition);
    }
    // A proxy that gathers the file first would only delay it.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}
