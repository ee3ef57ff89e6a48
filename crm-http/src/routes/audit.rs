//! The audit trail.

use axum::{extract::State, response::Response};
use crm_core::{
    Crm,
    access::Principal,
    audit::{Audit, AuditEntry, AuditEntryId, Verification},
    list::{List, ListBody},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    extract::{Body, Pairs, Path},
    listed::{ListParameters, listed},
    problem::Result,
    respond::{Json, Record},
    state::AppState,
};

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(search)).routes(routes!(verify)).routes(routes!(get))
}

/// List what was done
///
/// Who did what to which record, from where, with the values before and after (secrets masked), newest first. Filter by
/// `action`, `actor_type`, `actor_id`, `record_type`, `record_id`, `ip`, `request_id`, `created_at` and `sequence`.
#[utoipa::path(
    get, path = "/audit", tag = "Audit", params(ListParameters),
    responses((status = 200, description = "A page of entries.", body = List<AuditEntry>)),
    extensions(("x-permission" = json!("audit:read")))
)]
async fn list(State(crm): State<Crm>, by: Principal, pairs: Pairs) -> Result<Response> {
    let request = Audit::listing().from_pairs(&pairs.into_pairs())?;
    let found = crm.audit().list(&by, &request).await?;
    listed(found, &request)
}

/// Search what was done
///
/// The list with its parameters in a JSON body, for long rules.
#[utoipa::path(
    post, path = "/audit/search", tag = "Audit", request_body = ListBody,
    responses((status = 200, description = "A page of entries.", body = List<AuditEntry>)),
    extensions(("x-permission" = json!("audit:read")))
)]
async fn search(State(crm): State<Crm>, by: Principal, pairs: Pairs, Body(body): Body<ListBody>) -> Result<Response> {
    pairs.only(&[])?;
    let request = Audit::listing().from_json(body.as_json())?;
    let found = crm.audit().list(&by, &request).await?;
    listed(found, &request)
}

/// Get one entry
#[utoipa::path(
    get, path = "/audit/{id}", tag = "Audit",
    responses((status = 200, description = "The entry.", body = AuditEntry)),
    extensions(("x-permission" = json!("audit:read")))
)]
async fn get(State(crm): State<Crm>, by: Principal, Path(id): Path<AuditEntryId>) -> Result<Record<AuditEntry>> {
    let entry = crm.audit().get(&by, id).await?;
    Ok(Record::new(entry.meta.version, entry))
}

/// Verify the chain
///
/// Checks every sealed entry of the organization: whether it is as it was sealed and follows the one before. Entries get
/// their seal within seconds; `unsealed` counts those that wait.
#[utoipa::path(
    get, path = "/audit/verify", tag = "Audit",
    responses((status = 200, description = "What the check found.", body = Verification)),
    extensions(("x-permission" = json!("audit:read")))
)]
async fn verify(State(crm): State<Crm>, by: Principal, pairs: Pairs) -> Result<Json<Verification>> {
    pairs.only(&[])?;
    Ok(Json(crm.audit().verify(&by).await?))
}
