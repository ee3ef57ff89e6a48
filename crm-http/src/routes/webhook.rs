//! Outgoing webhooks.

use axum::{extract::State, response::Response};
use crm_core::{
    Crm,
    access::Principal,
    event::EVENT_TYPES,
    list::{List, ListBody},
    webhook::{
        ChangedWebhook, CreatedWebhook, NewWebhook, ReplayRequest, Webhook, WebhookDelivery, WebhookDeliveryId,
        WebhookId, Webhooks,
    },
};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    extract::{Body, IfMatch, Pairs, Path},
    listed::{ListParameters, listed},
    problem::Result,
    respond::{Created, Json, NoContent, Record},
    state::AppState,
};

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(search))
        .routes(routes!(event_types))
        .routes(routes!(get, replace, change, remove))
        .routes(routes!(rotate_secret))
        .routes(routes!(test))
        .routes(routes!(replay_since))
        .routes(routes!(deliveries))
        .routes(routes!(search_deliveries))
        .routes(routes!(delivery))
        .routes(routes!(replay))
}

/// List webhooks
///
/// Filter by `enabled`, `events`, `failing_since`, `disabled_at` and `created_at`.
#[utoipa::path(
    get, path = "/webhooks", tag = "Webhooks", params(ListParameters),
    responses((status = 200, description = "A page of webhooks.", body = List<Webhook>)),
    extensions(("x-permission" = json!("webhooks:read")))
)]
async fn list(State(crm): State<Crm>, by: Principal, pairs: Pairs) -> Result<Response> {
    let request = Webhooks::listing().from_pairs(&pairs.into_pairs())?;
    let found = crm.webhooks().list(&by, &request).await?;
    listed(found, &request)
}

/// Search webhooks
///
/// The list with its parameters in a JSON body, for long rules.
#[utoipa::path(
    post, path = "/webhooks/search", tag = "Webhooks", request_body = ListBody,
    responses((status = 200, description = "A page of webhooks.", body = List<Webhook>)),
    extensions(("x-permission" = json!("webhooks:read")))
)]
async fn search(State(crm): State<Crm>, by: Principal, pairs: Pairs, Body(body): Body<ListBody>) -> Result<Response> {
    pairs.only(&[])?;
    let request = Webhooks::listing().from_json(body.as_json())?;
    let found = crm.webhooks().list(&by, &request).await?;
    listed(found, &request)
}

/// A webhook whose secret was just made.
#[derive(Serialize, ToSchema)]
struct WebhookWithSecret {
    #[serde(flatten)]
    record: Webhook,
    /// What events are signed with, shown this once.
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    secret: String,
}

impl From<CreatedWebhook> for WebhookWithSecret {
    fn from(created: CreatedWebhook) -> Self {
        Self { secret: created.secret.expose().clone(), record: created.record }
    }
}

/// Make a webhook
///
/// From now on each event of the named types is posted to the address, signed by the rules of Standard Webhooks. Keep
/// the secret: it is shown this once. The address must be one of the public internet, by `https` on port 443 or 8443;
/// private networks are reached only where the operator names them in `OUTBOUND_ALLOW_SUBNETS`. At most 50 webhooks.
#[utoipa::path(
    post, path = "/webhooks", tag = "Webhooks", request_body = NewWebhook,
    responses((status = 201, description = "The new webhook with its secret.", body = WebhookWithSecret), (status = 409)),
    extensions(("x-permission" = json!("webhooks:write")))
)]
async fn create(
    State(crm): State<Crm>,
    by: Principal,
    pairs: Pairs,
    Body(new): Body<NewWebhook>,
) -> Result<Created<WebhookWithSecret>> {
    pairs.only(&[])?;
    let created = crm.webhooks().create(&by, new).await?;
    let (id, version) = (created.record.id, created.record.meta.version);
    Ok(Created::new("webhooks", id, version, created.into()))
}

/// A type of event.
#[derive(Serialize, ToSchema)]
struct EventTypeShown {
    /// Its name.
    name: &'static str,
    /// When it is told.
    description: &'static str,
    /// What its `data` holds.
    data: &'static str,
}

/// Every type of event.
#[derive(Serialize, ToSchema)]
struct EventTypes {
    /// The types, by name.
    data: Vec<EventTypeShown>,
}

/// List types of events
#[utoipa::path(
    get, path = "/webhooks/event-types", tag = "Webhooks",
    responses((status = 200, description = "Every type of event.", body = EventTypes)),
    extensions(("x-permission" = json!("webhooks:read")))
)]
async fn event_types(by: Principal, pairs: Pairs) -> Result<Json<EventTypes>> {
    pairs.only(&[])?;
    by.may(crm_core::access::permissions::WEBHOOKS_READ)?;
    let shown = EVENT_TYPES.iter().map(|declared| EventTypeShown {
        name: declared.name,
        description: declared.meaning,
        data: declared.data,
    });
    Ok(Json(EventTypes { data: shown.collect() }))
}

/// Get a webhook
#[utoipa::path(
    get, path = "/webhooks/{id}", tag = "Webhooks", params(("id" = WebhookId, Path)),
    responses((status = 200, description = "The webhook.", body = Webhook)),
    extensions(("x-permission" = json!("webhooks:read")))
)]
async fn get(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<WebhookId>,
    pairs: Pairs,
) -> Result<Record<Webhook>> {
    pairs.only(&[])?;
    let webhook = crm.webhooks().get(&by, id).await?;
    Ok(Record::new(webhook.meta.version, webhook))
}

/// Change a webhook
///
/// As PATCH: what is not given stays as it is.
#[utoipa::path(
    put, path = "/webhooks/{id}", tag = "Webhooks", params(("id" = WebhookId, Path)), request_body = ChangedWebhook,
    responses((status = 200, description = "The webhook as it is now.", body = Webhook), (status = 412)),
    extensions(("x-permission" = json!("webhooks:write")))
)]
async fn replace(
    state: State<Crm>,
    by: Principal,
    id: Path<WebhookId>,
    version: IfMatch,
    pairs: Pairs,
    body: Body<ChangedWebhook>,
) -> Result<Record<Webhook>> {
    change(state, by, id, version, pairs, body).await
}

/// Change some fields of a webhook
///
/// What is not given stays as it is. `enabled: true` gives a webhook another chance that was disabled.
#[utoipa::path(
    patch, path = "/webhooks/{id}", tag = "Webhooks", params(("id" = WebhookId, Path)), request_body = ChangedWebhook,
    responses((status = 200, description = "The webhook as it is now.", body = Webhook), (status = 412)),
    extensions(("x-permission" = json!("webhooks:write")))
)]
async fn change(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<WebhookId>,
    IfMatch(version): IfMatch,
    pairs: Pairs,
    Body(changed): Body<ChangedWebhook>,
) -> Result<Record<Webhook>> {
    pairs.only(&[])?;
    let webhook = crm.webhooks().change(&by, id, version, changed).await?;
    Ok(Record::new(webhook.meta.version, webhook))
}

/// Remove a webhook
///
/// With its deliveries, which go in the background. What waits to be sent is not sent any more.
#[utoipa::path(
    delete, path = "/webhooks/{id}", tag = "Webhooks", params(("id" = WebhookId, Path)),
    responses((status = 204, description = "Removed."), (status = 412)),
    extensions(("x-permission" = json!("webhooks:write")))
)]
async fn remove(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<WebhookId>,
    IfMatch(version): IfMatch,
    pairs: Pairs,
) -> Result<NoContent> {
    pairs.only(&[])?;
    crm.webhooks().remove(&by, id, version).await?;
    Ok(NoContent)
}

/// Rotate the secret of a webhook
///
/// The new secret is shown this once. For 24 hours each event carries two signatures, one by each secret, so that the
/// receiver can change over in peace.
#[utoipa::path(
    post, path = "/webhooks/{id}/rotate-secret", tag = "Webhooks", params(("id" = WebhookId, Path)),
    responses((status = 200, description = "The webhook with its new secret.", body = WebhookWithSecret)),
    extensions(("x-permission" = json!("webhooks:write")))
)]
async fn rotate_secret(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<WebhookId>,
    pairs: Pairs,
) -> Result<Record<WebhookWithSecret>> {
    pairs.only(&[])?;
    let rotated = crm.webhooks().rotate_secret(&by, id).await?;
    Ok(Record::new(rotated.record.meta.version, rotated.into()))
}

/// Try a webhook
///
/// Sends the event `webhook.test`, whatever the webhook listens to and also where it is disabled. What became of it is
/// in the delivery.
#[utoipa::path(
    post, path = "/webhooks/{id}/test", tag = "Webhooks", params(("id" = WebhookId, Path)),
    responses((status = 201, description = "The delivery, on its way.", body = WebhookDelivery), (status = 409)),
    extensions(("x-permission" = json!("webhooks:write")))
)]
async fn test(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<WebhookId>,
    pairs: Pairs,
) -> Result<Created<WebhookDelivery>> {
    pairs.only(&[])?;
    let delivery = crm.webhooks().test(&by, id).await?;
    let path = format!("webhooks/{id}/deliveries");
    Ok(Created::new(&path, delivery.id, delivery.meta.version, delivery))
}

/// How many events are sent again.
#[derive(Serialize, ToSchema)]
#[schema(as = ReplayedDeliveries)]
struct Replayed {
    /// So many.
    replayed: u64,
}

/// Send the events of a span of time again
///
/// Those that failed, also because the webhook was disabled, or with `state: all` the delivered ones too. Each has the
/// `webhook-id` that it had. Deliveries are kept for 30 days. Of more than 5,000 the rest is made due in the background;
/// until that is done another such request is refused with 409.
#[utoipa::path(
    post, path = "/webhooks/{id}/replay", tag = "Webhooks", params(("id" = WebhookId, Path)),
    request_body = ReplayRequest,
    responses((status = 200, description = "How many are on their way.", body = Replayed)),
    extensions(("x-permission" = json!("webhooks:write")))
)]
async fn replay_since(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<WebhookId>,
    pairs: Pairs,
    Body(request): Body<ReplayRequest>,
) -> Result<Json<Replayed>> {
    pairs.only(&[])?;
    Ok(Json(Replayed { replayed: crm.webhooks().replay_since(&by, id, &request).await? }))
}

/// List deliveries of a webhook
///
/// Newest first. Each has its last attempts: when, the status, how many milliseconds it took, and the first KB of the
/// answer. Kept for 30 days. Filter by `state` (`pending`, `delivered`, `failed`), `event_type`, `event_id`, `attempts`,
/// `last_status`, `last_attempt_at` and `created_at`.
#[utoipa::path(
    get, path = "/webhooks/{id}/deliveries", tag = "Webhooks", params(("id" = WebhookId, Path), ListParameters),
    responses((status = 200, description = "A page of deliveries.", body = List<WebhookDelivery>)),
    extensions(("x-permission" = json!("webhooks:read")))
)]
async fn deliveries(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<WebhookId>,
    pairs: Pairs,
) -> Result<Response> {
    let request = Webhooks::delivery_listing().from_pairs(&pairs.into_pairs())?;
    let found = crm.webhooks().deliveries(&by, id, &request).await?;
    listed(found, &request)
}

/// Search deliveries of a webhook
///
/// The list with its parameters in a JSON body, for long rules.
#[utoipa::path(
    post, path = "/webhooks/{id}/deliveries/search", tag = "Webhooks", params(("id" = WebhookId, Path)),
    request_body = ListBody,
    responses((status = 200, description = "A page of deliveries.", body = List<WebhookDelivery>)),
    extensions(("x-permission" = json!("webhooks:read")))
)]
async fn search_deliveries(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<WebhookId>,
    pairs: Pairs,
    Body(body): Body<ListBody>,
) -> Result<Response> {
    pairs.only(&[])?;
    let request = Webhooks::delivery_listing().from_json(body.as_json())?;
    let found = crm.webhooks().deliveries(&by, id, &request).await?;
    listed(found, &request)
}

/// Get a delivery
#[utoipa::path(
    get, path = "/webhooks/{id}/deliveries/{delivery}", tag = "Webhooks",
    params(("id" = WebhookId, Path), ("delivery" = WebhookDeliveryId, Path, description = "The delivery's id.")),
    responses((status = 200, description = "The delivery.", body = WebhookDelivery)),
    extensions(("x-permission" = json!("webhooks:read")))
)]
async fn delivery(
    State(crm): State<Crm>,
    by: Principal,
    Path((id, delivery)): Path<(WebhookId, WebhookDeliveryId)>,
    pairs: Pairs,
) -> Result<Record<WebhookDelivery>> {
    pairs.only(&[])?;
    let delivery = crm.webhooks().delivery(&by, id, delivery).await?;
    Ok(Record::new(delivery.meta.version, delivery))
}

/// Send an event again
///
/// Under the `webhook-id` that it had, with retries as if it were new.
#[utoipa::path(
    post, path = "/webhooks/{id}/deliveries/{delivery}/replay", tag = "Webhooks",
    params(("id" = WebhookId, Path), ("delivery" = WebhookDeliveryId, Path, description = "The delivery's id.")),
    responses((status = 200, description = "The delivery, on its way.", body = WebhookDelivery)),
    extensions(("x-permission" = json!("webhooks:write")))
)]
async fn replay(
    State(crm): State<Crm>,
    by: Principal,
    Path((id, delivery)): Path<(WebhookId, WebhookDeliveryId)>,
    pairs: Pairs,
) -> Result<Record<WebhookDelivery>> {
    pairs.only(&[])?;
    let delivery = crm.webhooks().replay(&by, id, delivery).await?;
    Ok(Record::new(delivery.meta.version, delivery))
}
