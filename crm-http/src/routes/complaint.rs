//! Complaints of customers.

use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use crm_core::{
    Crm,
    access::{Principal, permissions},
    complaint::{ChangedComplaint, Complaint, ComplaintId, Complaints, NewComplaint},
    id::CustomerId,
    list::{List, ListBody},
    related::RelatedKind,
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    extract::{Body, IfMatch, Pairs, Path},
    listed::{ListParameters, listed},
    problem::Result,
    respond::{Created, Json, Record},
    state::AppState,
};

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(search))
        .routes(routes!(get, replace, change))
        .routes(routes!(of_customer))
        .routes(routes!(search_of_customer))
}

/// List complaints
///
/// Those of the customers in the caller's reach, newest first. Filter by `customer_id`, `status`, `priority`,
/// `assigned_to`, `subject`, `resolved_at`, `created_at` and `updated_at`; search looks at the subject and the description.
#[utoipa::path(
    get, path = "/complaints", tag = "Complaints", params(ListParameters),
    responses((status = 200, description = "A page of complaints.", body = List<Complaint>), (status = 409)),
    extensions(("x-permission" = json!("complaints:read")))
)]
async fn list(State(crm): State<Crm>, by: Principal, pairs: Pairs) -> Result<Response> {
    let request = Complaints::listing().from_pairs(&pairs.into_pairs())?;
    listed(crm.complaints().list(&by, &request).await?, &request)
}

/// Search complaints
///
/// The list with its parameters in a JSON body, for long rules.
#[utoipa::path(
    post, path = "/complaints/search", tag = "Complaints", request_body = ListBody,
    responses((status = 200, description = "A page of complaints.", body = List<Complaint>), (status = 409)),
    extensions(("x-permission" = json!("complaints:read")))
)]
async fn search(State(crm): State<Crm>, by: Principal, pairs: Pairs, Body(body): Body<ListBody>) -> Result<Response> {
    pairs.only(&[])?;
    let request = Complaints::listing().from_json(body.as_json())?;
    listed(crm.complaints().list(&by, &request).await?, &request)
}

/// Take down a complaint
///
/// The customer's `total_complaints` and `open_complaints` count it at once; `open` and `in_progress` ones are open.
#[utoipa::path(
    post, path = "/complaints", tag = "Complaints", request_body = NewComplaint,
    responses((status = 201, description = "The new complaint.", body = Complaint), (status = 404)),
    extensions(("x-permission" = json!("complaints:write")))
)]
async fn create(
    State(crm): State<Crm>,
    by: Principal,
    pairs: Pairs,
    Body(new): Body<NewComplaint>,
) -> Result<Created<Complaint>> {
    pairs.only(&[])?;
    let complaint = crm.complaints().create(&by, new).await?;
    Ok(Created::new("complaints", complaint.id, complaint.meta.version, complaint))
}

/// Get a complaint
#[utoipa::path(
    get, path = "/complaints/{id}", tag = "Complaints", params(("id" = ComplaintId, Path)),
    responses((status = 200, description = "The complaint.", body = Complaint)),
    extensions(("x-permission" = json!("complaints:read")))
)]
async fn get(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<ComplaintId>,
    pairs: Pairs,
) -> Result<Record<Complaint>> {
    pairs.only(&[])?;
    let complaint = crm.complaints().get(&by, id).await?;
    Ok(Record::new(complaint.meta.version, complaint))
}

/// Change a complaint
///
/// As PATCH: what is not given stays as it is.
#[utoipa::path(
    put, path = "/complaints/{id}", tag = "Complaints", params(("id" = ComplaintId, Path)),
    request_body = ChangedComplaint,
    responses((status = 200, description = "The complaint as it is now.", body = Complaint), (status = 409), (status = 412)),
    extensions(("x-permission" = json!("complaints:write")))
)]
async fn replace(
    state: State<Crm>,
    by: Principal,
    id: Path<ComplaintId>,
    version: IfMatch,
    pairs: Pairs,
    body: Body<ChangedComplaint>,
) -> Result<Record<Complaint>> {
    change(state, by, id, version, pairs, body).await
}

/// Change some fields of a complaint
///
/// What is not given stays as it is. A complaint goes freely between `open`, `in_progress` and `resolved`; `closed` is the
/// end. A step that it cannot take is 409 `INVALID_STATE`.
#[utoipa::path(
    patch, path = "/complaints/{id}", tag = "Complaints", params(("id" = ComplaintId, Path)),
    request_body = ChangedComplaint,
    responses((status = 200, description = "The complaint as it is now.", body = Complaint), (status = 409), (status = 412)),
    extensions(("x-permission" = json!("complaints:write")))
)]
async fn change(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<ComplaintId>,
    IfMatch(version): IfMatch,
    pairs: Pairs,
    Body(changed): Body<ChangedComplaint>,
) -> Result<Record<Complaint>> {
    pairs.only(&[])?;
    let complaint = crm.complaints().change(&by, id, version, changed).await?;
    Ok(Record::new(complaint.meta.version, complaint))
}

/// List complaints of a customer
///
/// Newest first. Where the operator has named another service that keeps complaints (`COMPLAINT_SERVICE_URL`), they are as
/// that tells them, and only `limit` can be said; while it gives no answer, `degraded` is true, and the answer is what it
/// said last (`as_of`), or nothing, with a word about it in `warnings`.
#[utoipa::path(
    get, path = "/customers/{id}/complaints", tag = "Complaints", params(("id" = CustomerId, Path), ListParameters),
    responses((status = 200, description = "A page of complaints.", body = List<Complaint>)),
    extensions(("x-permission" = json!("complaints:read")))
)]
async fn of_customer(
    State(crm): State<Crm>,
    by: Principal,
    Path(customer): Path<CustomerId>,
    pairs: Pairs,
) -> Result<Response> {
    let pairs = pairs.into_pairs();
    let related = crm.related();
    if related.keeps(RelatedKind::Complaints) {
        let kind = RelatedKind::Complaints;
        let found = related.records(&by, permissions::COMPLAINTS_READ, kind, customer, &pairs).await?;
        return Ok(Json(found).into_response());
    }
    let request = Complaints::listing().from_pairs(&pairs)?;
    listed(crm.complaints().list_of(&by, customer, &request).await?, &request)
}

/// Search complaints of a customer
///
/// The list with its parameters in a JSON body, for long rules.
#[utoipa::path(
    post, path = "/customers/{id}/complaints/search", tag = "Complaints", params(("id" = CustomerId, Path)),
    request_body = ListBody,
    responses((status = 200, description = "A page of complaints.", body = List<Complaint>)),
    extensions(("x-permission" = json!("complaints:read")))
)]
async fn search_of_customer(
    State(crm): State<Crm>,
    by: Principal,
    Path(customer): Path<CustomerId>,
    pairs: Pairs,
    Body(body): Body<ListBody>,
) -> Result<Response> {
    pairs.only(&[])?;
    let request = Complaints::listing().from_json(body.as_json())?;
    listed(crm.complaints().list_of(&by, customer, &request).await?, &request)
}
