use axum::{extract::State, response::Response};
use crm_core::{
    Crm,
    access::Principal,
    account::{Agents, ChangedAgent, NewAgent, User},
    id::UserId,
    list::{List, ListBody},
};
use serde::Serialize;
use utoipa::ToSchema;
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

/// List staff
///
/// A team lead sees the own team. Filter by `name`, `email`, `phone`, `role`, `team_id`, `active`, `skills`,
/// `max_concurrent_queries` and `totp_enabled`.
#[utoipa::path(
    get, path = "/admin/agents", tag = "Staff", params(ListParameters),
    responses((status = 200, description = "A page of staff users.", body = List<User>)),
    extensions(("x-permission" = json!("users:read")))
)]
async fn list(State(crm): State<Crm>, by: Principal, pairs: Pairs) -> Result<Response> {
    let request = Agents::listing().from_pairs(&pairs.into_pairs())?;
    let found = crm.agents().list(&by, &request).await?;
    listed(found, &request)
}

/// Search staff
///
/// The list with its parameters in a JSON body, for long rules.
#[utoipa::path(
    post, path = "/admin/agents/search", tag = "Staff", request_body = ListBody,
    responses((status = 200, description = "A page of staff users.", body = List<User>)),
    extensions(("x-permission" = json!("users:read")))
)]
async fn search(State(crm): State<Crm>, by: Principal, pairs: Pairs, Body(body): Body<ListBody>) -> Result<Response> {
    pairs.only(&[])?;
    let request = Agents::listing().from_json(body.as_json())?;
    let found = crm.agents().list(&by, &request).await?;
    listed(found, &request)
}

/// A staff user who was just added.
#[derive(Serialize, ToSchema)]
struct CreatedAgent {
    #[serde(flatten)]
    user: User,
    /// The password that was made up, shown this once. Absent where one was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    initial_password: Option<String>,
}

/// Add a staff user
///
/// With a password, or with one that is made up and shown once. An Admin gives the roles `Admin`, `TL`, `QA` and
/// `Agent`. An e-mail address that has an account, anywhere in the installation, is 409.
#[utoipa::path(
    post, path = "/admin/agents", tag = "Staff", request_body = NewAgent,
    responses((status = 201, description = "The new staff user.", body = CreatedAgent), (status = 409)),
    extensions(("x-permission" = json!("users:write")))
)]
async fn create(
    State(crm): State<Crm>,
    by: Principal,
    pairs: Pairs,
    Body(new): Body<NewAgent>,
) -> Result<Created<CreatedAgent>> {
    pairs.only(&[])?;
    let created = crm.agents().create(&by, new).await?;
    let initial_password = created.initial_password.map(|password| password.expose().clone());
    let (id, version) = (created.user.id, created.user.meta.version);
    Ok(Created::new("admin/agents", id, version, CreatedAgent { user: created.user, initial_password }))
}

/// Get a staff user
#[utoipa::path(
    get, path = "/admin/agents/{id}", tag = "Staff", params(("id" = UserId, Path)),
    responses((status = 200, description = "The staff user.", body = User)),
    extensions(("x-permission" = json!("users:read")))
)]
async fn get(State(crm): State<Crm>, by: Principal, Path(id): Path<UserId>, pairs: Pairs) -> Result<Record<User>> {
    pairs.only(&[])?;
    let user = crm.agents().get(&by, id).await?;
    Ok(Record::new(user.meta.version, user))
}

/// Change a staff user
///
/// What is absent stays. A new role, a new password and `active: false` end the person's sessions at once;
/// `totp_enabled: false` removes a second factor that was lost, and ends them too. Nobody changes the own role, and
/// the last active Admin stays one: 409.
#[utoipa::path(
    put, path = "/admin/agents/{id}", tag = "Staff", params(("id" = UserId, Path)), request_body = ChangedAgent,
    responses((status = 200, description = "The staff user as it is now.", body = User), (status = 409), (status = 412)),
    extensions(("x-permission" = json!("users:write")))
)]
async fn change(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<UserId>,
    IfMatch(version): IfMatch,
    pairs: Pairs,
    Body(changed): Body<ChangedAgent>,
) -> Result<Record<User>> {
    pairs.only(&[])?;
    let user = crm.agents().update(&by, id, changed, version).await?;
    Ok(Record::new(user.meta.version, user))
}

/// Remove a staff user
///
/// The sessions end at once, and the e-mail address is free again. What the person did stays under the person's name.
#[utoipa::path(
    delete, path = "/admin/agents/{id}", tag = "Staff", params(("id" = UserId, Path)),
    responses((status = 204, description = "Removed."), (status = 409), (status = 412)),
    extensions(("x-permission" = json!("users:write")))
)]
async fn remove(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<UserId>,
    IfMatch(version): IfMatch,
    pairs: Pairs,
) -> Result<NoContent> {
    pairs.only(&[])?;
    crm.agents().remove(&by, id, version).await?;
    Ok(NoContent)
}
