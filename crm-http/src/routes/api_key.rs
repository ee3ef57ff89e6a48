use axum::{extract::State, response::Response};
use crm_core::{
    Crm,
    access::Principal,
    account::{ApiKey, ApiKeyId, ApiKeys, NewApiKey},
    list::{List, ListBody},
};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    extract::{Body, Pairs, Path},
    listed::{ListParameters, listed},
    problem::Result,
    respond::{Created, NoContent, Record},
    state::AppState,
};

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(search)).routes(routes!(get, revoke))
}

/// List API keys
///
/// Also those that were revoked. Filter by `name`, `prefix`, `permissions`, `read_only`, `expires_at`, `revoked_at`,
/// `last_used_at` and `created_by`.
#[utoipa::path(
    get, path = "/api-keys", tag = "API keys", params(ListParameters),
    responses((status = 200, description = "A page of keys.", body = List<ApiKey>)),
    extensions(("x-permission" = json!("api-keys:read")))
)]
async fn list(State(crm): State<Crm>, by: Principal, pairs: Pairs) -> Result<Response> {
    let request = ApiKeys::listing().from_pairs(&pairs.into_pairs())?;
    let found = crm.api_keys().list(&by, &request).await?;
    listed(found, &request)
}

/// Search API keys
///
/// The list with its parameters in a JSON body, for long rules.
#[utoipa::path(
    post, path = "/api-keys/search", tag = "API keys", request_body = ListBody,
    responses((status = 200, description = "A page of keys.", body = List<ApiKey>)),
    extensions(("x-permission" = json!("api-keys:read")))
)]
async fn search(State(crm): State<Crm>, by: Principal, pairs: Pairs, Body(body): Body<ListBody>) -> Result<Response> {
    pairs.only(&[])?;
    let request = ApiKeys::listing().from_json(body.as_json())?;
    let found = crm.api_keys().list(&by, &request).await?;
    listed(found, &request)
}

/// A key that was just made.
#[derive(Serialize, ToSchema)]
struct CreatedApiKey {
    #[serde(flatten)]
    record: ApiKey,
    /// The key itself, shown this once: send it as `X-API-Key`.
    #[schema(example = "crm_0123456789abcdef_4oPxQ…")]
    key: String,
}

/// Make an API key
///
/// Its holder may do at most what you may. It is shown once and kept as a hash only. To rotate one, make the next
/// while the old one is in use, and revoke the old one then.
#[utoipa::path(
    post, path = "/api-keys", tag = "API keys", request_body = NewApiKey,
    responses((status = 201, description = "The new key.", body = CreatedApiKey), (status = 409)),
    extensions(("x-permission" = json!("api-keys:write")))
)]
async fn create(
    State(crm): State<Crm>,
    by: Principal,
    pairs: Pairs,
    Body(new): Body<NewApiKey>,
) -> Result<Created<CreatedApiKey>> {
    pairs.only(&[])?;
    let created = crm.api_keys().create(&by, new).await?;
    let (id, version) = (created.record.id, created.record.meta.version);
    let body = CreatedApiKey { record: created.record, key: created.key.expose().clone() };
    Ok(Created::new("api-keys", id, version, body))
}

/// Get an API key
///
/// What is kept of it; the key itself is not.
#[utoipa::path(
    get, path = "/api-keys/{id}", tag = "API keys", params(("id" = ApiKeyId, Path)),
    responses((status = 200, description = "The key.", body = ApiKey)),
    extensions(("x-permission" = json!("api-keys:read")))
)]
async fn get(State(crm): State<Crm>, by: Principal, Path(id): Path<ApiKeyId>, pairs: Pairs) -> Result<Record<ApiKey>> {
    pairs.only(&[])?;
    let key = crm.api_keys().get(&by, id).await?;
    Ok(Record::new(key.meta.version, key))
}

/// Revoke an API key
///
/// It ends at once. Its record stays in the list.
#[utoipa::path(
    delete, path = "/api-keys/{id}", tag = "API keys", params(("id" = ApiKeyId, Path)),
    responses((status = 204, description = "Revoked.")),
    extensions(("x-permission" = json!("api-keys:write")))
)]
async fn revoke(State(crm): State<Crm>, by: Principal, Path(id): Path<ApiKeyId>, pairs: Pairs) -> Result<NoContent> {
    pairs.only(&[])?;
    crm.api_keys().revoke(&by, id).await?;
    Ok(NoContent)
}
