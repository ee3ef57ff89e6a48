use axum::{extract::State, response::Response};
use crm_core::{
    Crm,
    access::Principal,
    id::TeamId,
    list::{List, ListBody},
    tenancy::{ChangedTeam, NewTeam, Team, TeamWithMembers, Teams},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    extract::{Body, IfMatch, Pairs, Path},
    listed::{ListParameters, listed},
    problem::Result,
    respond::{Created, NoContent, Record},
    state::AppState,
};

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(search)).routes(routes!(get, change, remove))
}

/// List teams
///
/// Filter by `name`, `description` and `lead_id`.
#[utoipa::path(
    get, path = "/teams", tag = "Staff", params(ListParameters),
    responses((status = 200, description = "A page of teams.", body = List<Team>)),
    extensions(("x-permission" = json!("teams:read")))
)]
async fn list(State(crm): State<Crm>, by: Principal, pairs: Pairs) -> Result<Response> {
    let request = Teams::listing().from_pairs(&pairs.into_pairs())?;
    let found = crm.teams().list(&by, &request).await?;
    listed(found, &request)
}

/// Search teams
///
/// The list with its parameters in a JSON body, for long rules.
#[utoipa::path(
    post, path = "/teams/search", tag = "Staff", request_body = ListBody,
    responses((status = 200, description = "A page of teams.", body = List<Team>)),
    extensions(("x-permission" = json!("teams:read")))
)]
async fn search(State(crm): State<Crm>, by: Principal, pairs: Pairs, Body(body): Body<ListBody>) -> Result<Response> {
    pairs.only(&[])?;
    let request = Teams::listing().from_json(body.as_json())?;
    let found = crm.teams().list(&by, &request).await?;
    listed(found, &request)
}

/// Add a team
///
/// Who is given as lead or member leaves the team that the person was in.
#[utoipa::path(
    post, path = "/teams", tag = "Staff", request_body = NewTeam,
    responses((status = 201, description = "The new team.", body = TeamWithMembers), (status = 409)),
    extensions(("x-permission" = json!("teams:write")))
)]
async fn create(
    State(crm): State<Crm>,
    by: Principal,
    pairs: Pairs,
    Body(new): Body<NewTeam>,
) -> Result<Created<TeamWithMembers>> {
    pairs.only(&[])?;
    let created = crm.teams().create(&by, new).await?;
    Ok(Created::new("teams", created.team.id, created.team.meta.version, created))
}

/// Get a team with its members
#[utoipa::path(
    get, path = "/teams/{id}", tag = "Staff", params(("id" = TeamId, Path)),
    responses((status = 200, description = "The team.", body = TeamWithMembers)),
    extensions(("x-permission" = json!("teams:read")))
)]
async fn get(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<TeamId>,
    pairs: Pairs,
) -> Result<Record<TeamWithMembers>> {
    pairs.only(&[])?;
    let found = crm.teams().get(&by, id).await?;
    Ok(Record::new(found.team.meta.version, found))
}

/// Change a team
///
/// What is absent stays; `member_ids` names all members. A team lead changes the name and the description of the own
/// team only.
#[utoipa::path(
    put, path = "/teams/{id}", tag = "Staff", params(("id" = TeamId, Path)), request_body = ChangedTeam,
    responses((status = 200, description = "The team as it is now.", body = TeamWithMembers), (status = 409), (status = 412)),
    extensions(("x-permission" = json!("teams:write")))
)]
async fn change(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<TeamId>,
    IfMatch(version): IfMatch,
    pairs: Pairs,
    Body(changed): Body<ChangedTeam>,
) -> Result<Record<TeamWithMembers>> {
    pairs.only(&[])?;
    let changed = crm.teams().update(&by, id, changed, version).await?;
    Ok(Record::new(changed.team.meta.version, changed))
}

/// Delete a team
///
/// One that still has members is 409: move them first.
#[utoipa::path(
    delete, path = "/teams/{id}", tag = "Staff", params(("id" = TeamId, Path)),
    responses((status = 204, description = "The team is gone."), (status = 409), (status = 412)),
    extensions(("x-permission" = json!("teams:write")))
)]
async fn remove(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<TeamId>,
    IfMatch(version): IfMatch,
    pairs: Pairs,
) -> Result<NoContent> {
    pairs.only(&[])?;
    crm.teams().remove(&by, id, version).await?;
    Ok(NoContent)
}
