//! Segments.

use axum::{extract::State, response::Response};
use crm_core::{
    Crm,
    access::Principal,
    customer::{Customer, ShapedCustomer},
    id::CustomerId,
    list::{List, ListBody},
    segment::{
        ChangedSegment, NewSegment, PreviewedRules, ReplacedSegment, SegmentExplanation, SegmentId, SegmentPreview,
        SegmentVersion, Segments, ShownSegment, WithRules,
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    extract::{Body, IfMatch, Pairs, Path},
    listed::{ListParameters, listed},
    problem::Result,
    respond::{Created, Json, NoContent, Record},
    routes::parameters::ProfileParameter,
    state::AppState,
};

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(search))
        .routes(routes!(preview_rules))
        .routes(routes!(get, replace, change, remove))
        .routes(routes!(preview))
        .routes(routes!(customers))
        .routes(routes!(search_customers))
        .routes(routes!(explain))
        .routes(routes!(history))
        .routes(routes!(search_history))
}

/// List segments
///
/// Search `name` and `description`; filter by `name`, `description`, `dynamic`, `state`, `created_by`, `rules_version` and
/// the times.
#[utoipa::path(
    get, path = "/segments", tag = "Segments", params(ListParameters),
    responses((status = 200, description = "A page of segments.", body = List<ShownSegment>)),
    extensions(("x-permission" = json!("segments:read")))
)]
async fn list(State(crm): State<Crm>, by: Principal, pairs: Pairs) -> Result<Response> {
    let request = Segments::listing().from_pairs(&pairs.into_pairs())?;
    let found = crm.segments().list(&by, &request).await?;
    listed(found, &request)
}

/// Search segments
///
/// The list with its parameters in a JSON body, for long rules.
#[utoipa::path(
    post, path = "/segments/search", tag = "Segments", request_body = ListBody,
    responses((status = 200, description = "A page of segments.", body = List<ShownSegment>)),
    extensions(("x-permission" = json!("segments:read")))
)]
async fn search(State(crm): State<Crm>, by: Principal, pairs: Pairs, Body(body): Body<ListBody>) -> Result<Response> {
    pairs.only(&[])?;
    let request = Segments::listing().from_json(body.as_json())?;
    let found = crm.segments().list(&by, &request).await?;
    listed(found, &request)
}

/// Make a segment
///
/// `rules_json` is a rule over customers, as `filter` of a list is: conditions on every field, on `custom.<key>`, on tags
/// and groups, on days of inactivity, and on orders, such as
/// `{"orders":{"within_last":"90d","count":{"op":">=","value":2}}}`. What is wrong with it is told with its path,
/// such as `rules_json.and[1].value`. A dynamic segment is whoever matches when it is asked for. With `dynamic: false` it
/// is whoever matches now: a job takes them down, and until it is done the segment's `state` is `building`.
#[utoipa::path(
    post, path = "/segments", tag = "Segments", request_body = NewSegment,
    responses((status = 201, description = "The new segment.", body = ShownSegment), (status = 409)),
    extensions(("x-permission" = json!("segments:write")))
)]
async fn create(
    State(crm): State<Crm>,
    by: Principal,
    pairs: Pairs,
    Body(new): Body<WithRules<NewSegment>>,
) -> Result<Created<ShownSegment>> {
    pairs.only(&[])?;
    let shown = crm.segments().create(&by, new).await?;
    let (id, version) = (shown.segment.id, shown.segment.meta.version);
    Ok(Created::new("segments", id, version, shown))
}

/// Try rules
///
/// How many of the customers in the caller's sight match, and the first ten of them, newest first. Nothing is kept.
#[utoipa::path(
    post, path = "/segments/preview", tag = "Segments", request_body = PreviewedRules,
    responses((status = 200, description = "How many, and the first of them.", body = SegmentPreview)),
    extensions(("x-permission" = json!("segments:read")))
)]
async fn preview_rules(
    State(crm): State<Crm>,
    by: Principal,
    pairs: Pairs,
    Body(rules): Body<WithRules<PreviewedRules>>,
) -> Result<Json<SegmentPreview>> {
    pairs.only(&[])?;
    Ok(Json(crm.segments().preview_rules(&by, rules).await?))
}

/// Get a segment
///
/// `broken` says why its rules cannot be answered any more, such as that a custom field was archived.
#[utoipa::path(
    get, path = "/segments/{id}", tag = "Segments", params(("id" = SegmentId, Path)),
    responses((status = 200, description = "The segment.", body = ShownSegment)),
    extensions(("x-permission" = json!("segments:read")))
)]
async fn get(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<SegmentId>,
    pairs: Pairs,
) -> Result<Record<ShownSegment>> {
    pairs.only(&[])?;
    let shown = crm.segments().get(&by, id).await?;
    Ok(Record::new(shown.segment.meta.version, shown))
}

/// Replace a segment
///
/// What is left out is cleared. Rules that it had stay in its history. A static segment keeps its rules.
#[utoipa::path(
    put, path = "/segments/{id}", tag = "Segments", params(("id" = SegmentId, Path)), request_body = ReplacedSegment,
    responses((status = 200, description = "The segment as it is now.", body = ShownSegment), (status = 409), (status = 412)),
    extensions(("x-permission" = json!("segments:write")))
)]
async fn replace(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<SegmentId>,
    IfMatch(version): IfMatch,
    pairs: Pairs,
    Body(segment): Body<WithRules<ReplacedSegment>>,
) -> Result<Record<ShownSegment>> {
    pairs.only(&[])?;
    let shown = crm.segments().replace(&by, id, version, segment).await?;
    Ok(Record::new(shown.segment.meta.version, shown))
}

/// Change some fields of a segment
///
/// What is not given stays as it is.
#[utoipa::path(
    patch, path = "/segments/{id}", tag = "Segments", params(("id" = SegmentId, Path)), request_body = ChangedSegment,
    responses((status = 200, description = "The segment as it is now.", body = ShownSegment), (status = 409), (status = 412)),
    extensions(("x-permission" = json!("segments:write")))
)]
async fn change(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<SegmentId>,
    IfMatch(version): IfMatch,
    pairs: Pairs,
    Body(changed): Body<WithRules<ChangedSegment>>,
) -> Result<Record<ShownSegment>> {
    pairs.only(&[])?;
    let shown = crm.segments().change(&by, id, version, changed).await?;
    Ok(Record::new(shown.segment.meta.version, shown))
}

/// Remove a segment
///
/// Its customers stay. Refused with 409 while a campaign that is launched has still to find out who is in it; the message
/// names the campaign.
#[utoipa::path(
    delete, path = "/segments/{id}", tag = "Segments", params(("id" = SegmentId, Path)),
    responses((status = 204, description = "It is gone."), (status = 409), (status = 412)),
    extensions(("x-permission" = json!("segments:write")))
)]
async fn remove(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<SegmentId>,
    IfMatch(version): IfMatch,
    pairs: Pairs,
) -> Result<NoContent> {
    pairs.only(&[])?;
    crm.segments().remove(&by, id, version).await?;
    Ok(NoContent)
}

/// Preview a segment
///
/// How many of the customers in the caller's sight are in it now, and the first ten of them, newest first. Who sees all
/// customers leaves the number with the segment, as `member_count`. Refused with 409 while the segment is broken, or while
/// the members of a static one are being taken.
#[utoipa::path(
    get, path = "/segments/{id}/preview", tag = "Segments", params(("id" = SegmentId, Path)),
    responses((status = 200, description = "How many, and the first of them.", body = SegmentPreview), (status = 409)),
    extensions(("x-permission" = json!("segments:read")))
)]
async fn preview(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<SegmentId>,
    pairs: Pairs,
) -> Result<Json<SegmentPreview>> {
    pairs.only(&[])?;
    Ok(Json(crm.segments().preview(&by, id).await?))
}

/// List the customers of a segment
///
/// Those in the caller's sight, with everything that `/customers` can be asked beside. Relative times count from the first
/// page. A cursor ends with a change of the segment's rules.
#[utoipa::path(
    get, path = "/segments/{id}/customers", tag = "Segments",
    params(("id" = SegmentId, Path), ListParameters, ProfileParameter),
    responses((status = 200, description = "A page of customers.", body = List<Customer>), (status = 409)),
    extensions(("x-permission" = json!("segments:read")))
)]
async fn customers(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<SegmentId>,
    pairs: Pairs,
) -> Result<Json<List<ShapedCustomer>>> {
    Ok(Json(crm.segments().customers(&by, id, &pairs.into_pairs()).await?))
}

/// Search the customers of a segment
///
/// The list with its parameters in a JSON body, for long rules.
#[utoipa::path(
    post, path = "/segments/{id}/customers/search", tag = "Segments", params(("id" = SegmentId, Path)),
    request_body = ListBody,
    responses((status = 200, description = "A page of customers.", body = List<Customer>), (status = 409)),
    extensions(("x-permission" = json!("segments:read")))
)]
async fn search_customers(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<SegmentId>,
    pairs: Pairs,
    Body(body): Body<ListBody>,
) -> Result<Json<List<ShapedCustomer>>> {
    pairs.only(&[])?;
    Ok(Json(crm.segments().search_customers(&by, id, &body).await?))
}

/// Explain why a customer is in a segment
///
/// Or why not: the rules with `result` in each part, and in each condition `seen`, the value that the customer has.
#[utoipa::path(
    get, path = "/segments/{id}/explain/{customer_id}", tag = "Segments",
    params(("id" = SegmentId, Path), ("customer_id" = CustomerId, Path)),
    responses((status = 200, description = "The tree of the rules.", body = SegmentExplanation), (status = 409)),
    extensions(("x-permission" = json!("segments:read")))
)]
async fn explain(
    State(crm): State<Crm>,
    by: Principal,
    Path((id, customer)): Path<(SegmentId, CustomerId)>,
    pairs: Pairs,
) -> Result<Json<SegmentExplanation>> {
    pairs.only(&[])?;
    Ok(Json(crm.segments().explain(&by, id, customer).await?))
}

/// List the rules that a segment had
///
/// The newest first. Filter by `number`, `changed_by` and `at`.
#[utoipa::path(
    get, path = "/segments/{id}/history", tag = "Segments", params(("id" = SegmentId, Path), ListParameters),
    responses((status = 200, description = "A page of rules.", body = List<SegmentVersion>)),
    extensions(("x-permission" = json!("segments:read")))
)]
async fn history(State(crm): State<Crm>, by: Principal, Path(id): Path<SegmentId>, pairs: Pairs) -> Result<Response> {
    let request = Segments::history_listing().from_pairs(&pairs.into_pairs())?;
    let found = crm.segments().history(&by, id, &request).await?;
    listed(found, &request)
}

/// Search the rules that a segment had
///
/// The list with its parameters in a JSON body.
#[utoipa::path(
    post, path = "/segments/{id}/history/search", tag = "Segments", params(("id" = SegmentId, Path)),
    request_body = ListBody,
    responses((status = 200, description = "A page of rules.", body = List<SegmentVersion>)),
    extensions(("x-permission" = json!("segments:read")))
)]
async fn search_history(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<SegmentId>,
    pairs: Pairs,
    Body(body): Body<ListBody>,
) -> Result<Response> {
    pairs.only(&[])?;
    let request = Segments::history_listing().from_json(body.as_json())?;
    let found = crm.segments().history(&by, id, &request).await?;
    listed(found, &request)
}
