use axum::extract::State;
use crm_core::{
    Crm,
    access::Principal,
    customer::{MergedTags, RenamedTag, TagChange, TagCount},
    list::List,
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    extract::{Body, Pairs},
    problem::Result,
    respond::Json,
    state::AppState,
};

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(rename)).routes(routes!(merge))
}

/// List tags
///
/// Of the customers in the caller's sight, with how many have each; always with the total.
#[utoipa::path(
    get, path = "/customers/tags", tag = "Tags",
    params(
        ("search" = Option<String>, Query, description = "A part of the tag; case and accents make no difference."),
        ("sort" = Option<String>, Query, description = "`tag` (the default) or `count`, each also with `-`.", example = "-count"),
        ("limit" = Option<u8>, Query, description = "The most tags of a page.", minimum = 1, maximum = 100),
        ("cursor" = Option<String>, Query, description = "What an earlier page gave as `next_cursor`."),
        ("page" = Option<u32>, Query, description = "The number of the page, from 1.", minimum = 1),
        ("count" = Option<bool>, Query, description = "Changes nothing: tags are always counted.")
    ),
    responses((status = 200, description = "A page of tags.", body = List<TagCount>)),
    extensions(("x-permission" = json!("customers:read")))
)]
async fn list(State(crm): State<Crm>, by: Principal, pairs: Pairs) -> Result<Json<List<TagCount>>> {
    Ok(Json(crm.customers().list_tags(&by, &pairs.into_pairs()).await?))
}

/// Rename a tag
///
/// At every customer in the caller's sight that has it. 404 where none has.
#[utoipa::path(
    post, path = "/customers/tags/rename", tag = "Tags", request_body = RenamedTag,
    responses((status = 200, description = "How many customers were changed.", body = TagChange), (status = 404)),
    extensions(("x-permission" = json!("tags:write")))
)]
async fn rename(
    State(crm): State<Crm>,
    by: Principal,
    pairs: Pairs,
    Body(renamed): Body<RenamedTag>,
) -> Result<Json<TagChange>> {
    pairs.only(&[])?;
    Ok(Json(crm.customers().rename_tag(&by, &renamed).await?))
}

/// Merge tags
///
/// Several into one, at every customer in the caller's sight that has one of them. 404 where none has.
#[utoipa::path(
    post, path = "/customers/tags/merge", tag = "Tags", request_body = MergedTags,
    responses((status = 200, description = "How many customers were changed.", body = TagChange), (status = 404)),
    extensions(("x-permission" = json!("tags:write")))
)]
async fn merge(
    State(crm): State<Crm>,
    by: Principal,
    pairs: Pairs,
    Body(merged): Body<MergedTags>,
) -> Result<Json<TagChange>> {
    pairs.only(&[])?;
    Ok(Json(crm.customers().merge_tags(&by, &merged).await?))
}
