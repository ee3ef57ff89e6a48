use axum::extract::State;
use crm_core::{
    Crm,
    access::Principal,
    tenancy::{ChangedOrganization, Organization},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    extract::{Body, IfMatch, Pairs},
    problem::Result,
    respond::Record,
    state::AppState,
};

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(get, change))
}

/// Get your organization
#[utoipa::path(
    get, path = "/admin/organization", tag = "Organization",
    responses((status = 200, description = "The organization.", body = Organization), (status = 404)),
    extensions(("x-permission" = json!("organization:read")))
)]
async fn get(State(crm): State<Crm>, by: Principal, pairs: Pairs) -> Result<Record<Organization>> {
    pairs.only(&[])?;
    let organization = crm.organizations().get(&by).await?;
    Ok(Record::new(organization.meta.version, organization))
}

/// Change your organization
///
/// What is absent stays. A new currency converts no amounts.
#[utoipa::path(
    put, path = "/admin/organization", tag = "Organization", request_body = ChangedOrganization,
    responses(
        (status = 200, description = "The organization as it is now.", body = Organization), (status = 404), (status = 412)
    ),
    extensions(("x-permission" = json!("organization:write")))
)]
async fn change(
    State(crm): State<Crm>,
    by: Principal,
    IfMatch(version): IfMatch,
    pairs: Pairs,
    Body(changed): Body<ChangedOrganization>,
) -> Result<Record<Organization>> {
    pairs.only(&[])?;
    let organization = crm.organizations().update(&by, changed, version).await?;
    Ok(Record::new(organization.meta.version, organization))
}
