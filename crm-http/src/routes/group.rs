use axum::extract::State;
use crm_core::{
    Crm,
    access::Principal,
    customer::{
        CountedGroup, CustomerGroupId, GroupMembers, MembershipChange, NewCustomerGroup, ReplacedCustomerGroup,
    },
    list::{List, ListBody, Picked},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    extract::{Body, IfMatch, Pairs, Path},
    problem::Result,
    respond::{Created, Json, NoContent, Record},
    routes::parameters::ListParameters,
    state::AppState,
};

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(search))
        .routes(routes!(get, replace, remove))
        .routes(routes!(add_members, remove_members))
}

/// List groups
///
/// Static groups of customers; `member_count` counts the members in the caller's sight.
#[utoipa::path(
    get, path = "/customers/groups", tag = "Groups", params(ListParameters),
    responses((status = 200, description = "A page of groups.", body = List<CountedGroup>)),
    extensions(("x-permission" = json!("customers:read")))
)]
async fn list(State(crm): State<Crm>, by: Principal, pairs: Pairs) -> Result<Json<List<Picked>>> {
    let (groups, fields) = crm.customers().list_groups(&by, &pairs.into_pairs()).await?;
    Ok(Json(groups.pick(&fields)?))
}

/// Search groups
///
/// The list with its parameters in a JSON body, for long rules.
#[utoipa::path(
    post, path = "/customers/groups/search", tag = "Groups", request_body = ListBody,
    responses((status = 200, description = "A page of groups.", body = List<CountedGroup>)),
    extensions(("x-permission" = json!("customers:read")))
)]
async fn search(
    State(crm): State<Crm>,
    by: Principal,
    pairs: Pairs,
    Body(body): Body<ListBody>,
) -> Result<Json<List<Picked>>> {
    pairs.only(&[])?;
    let (found, fields) = crm.customers().search_groups(&by, &body).await?;
    Ok(Json(found.pick(&fields)?))
}

/// Create a group
#[utoipa::path(
    post, path = "/customers/groups", tag = "Groups", request_body = NewCustomerGroup,
    responses((status = 201, description = "The new group.", body = CountedGroup), (status = 409)),
    extensions(("x-permission" = json!("customers:write")))
)]
async fn create(
    State(crm): State<Crm>,
    by: Principal,
    pairs: Pairs,
    Body(new): Body<NewCustomerGroup>,
) -> Result<Created<CountedGroup>> {
    pairs.only(&[])?;
    let created = crm.customers().create_group(&by, new).await?;
    Ok(Created::new("customers/groups", created.group.id, created.group.meta.version, created))
}

/// Get a group
#[utoipa::path(
    get, path = "/customers/groups/{id}", tag = "Groups", params(("id" = CustomerGroupId, Path)),
    responses((status = 200, description = "The group.", body = CountedGroup)),
    extensions(("x-permission" = json!("customers:read")))
)]
async fn get(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<CustomerGroupId>,
    pairs: Pairs,
) -> Result<Record<CountedGroup>> {
    pairs.only(&[])?;
    let found = crm.customers().get_group(&by, id).await?;
    Ok(Record::new(found.group.meta.version, found))
}

/// Replace a group
///
/// Its name and description; members stay.
#[utoipa::path(
    put, path = "/customers/groups/{id}", tag = "Groups", request_body = ReplacedCustomerGroup,
    params(("id" = CustomerGroupId, Path)),
    responses((status = 200, description = "The group as it is now.", body = CountedGroup), (status = 409), (status = 412)),
    extensions(("x-permission" = json!("customers:write")))
)]
async fn replace(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<CustomerGroupId>,
    IfMatch(version): IfMatch,
    pairs: Pairs,
    Body(input): Body<ReplacedCustomerGroup>,
) -> Result<Record<CountedGroup>> {
    pairs.only(&[])?;
    let replaced = crm.customers().replace_group(&by, id, input, version).await?;
    Ok(Record::new(replaced.group.meta.version, replaced))
}

/// Delete a group
///
/// Its members stay customers.
#[utoipa::path(
    delete, path = "/customers/groups/{id}", tag = "Groups", params(("id" = CustomerGroupId, Path)),
    responses((status = 204, description = "The group is gone."), (status = 412)),
    extensions(("x-permission" = json!("customers:write")))
)]
async fn remove(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<CustomerGroupId>,
    IfMatch(version): IfMatch,
    pairs: Pairs,
) -> Result<NoContent> {
    pairs.only(&[])?;
    crm.customers().delete_group(&by, id, version).await?;
    Ok(NoContent)
}

/// Put customers into a group
///
/// 1 to 1000 of them; those in it already are left as they are.
#[utoipa::path(
    post, path = "/customers/groups/{id}/members", tag = "Groups", request_body = GroupMembers,
    params(("id" = CustomerGroupId, Path)),
    responses((status = 200, description = "What became of them.", body = MembershipChange), (status = 409)),
    extensions(("x-permission" = json!("customers:write")))
)]
async fn add_members(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<CustomerGroupId>,
    pairs: Pairs,
    Body(members): Body<GroupMembers>,
) -> Result<Json<MembershipChange>> {
    pairs.only(&[])?;
    Ok(Json(crm.customers().add_members(&by, id, &members).await?))
}

/// Take customers out of a group
///
/// 1 to 1000 of them; those not in it are left as they are.
#[utoipa::path(
    delete, path = "/customers/groups/{id}/members", tag = "Groups", request_body = GroupMembers,
    params(("id" = CustomerGroupId, Path)),
    responses((status = 200, description = "What became of them.", body = MembershipChange), (status = 409)),
    extensions(("x-permission" = json!("customers:write")))
)]
async fn remove_members(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<CustomerGroupId>,
    pairs: Pairs,
    Body(members): Body<GroupMembers>,
) -> Result<Json<MembershipChange>> {
    pairs.only(&[])?;
    Ok(Json(crm.customers().remove_members(&by, id, &members).await?))
}
