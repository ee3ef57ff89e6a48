//! What lies between messages and customers: receipts of vendors, the built-in vendor, suppressed addresses, consent, and
//! links by which customers unsubscribe.

mod page;

use axum::{
    Extension,
    body::Body as RawBody,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use crm_core::{
    Crm,
    access::Principal,
    delivery::{
        ChannelState, ConsentEntry, Deliveries, MockSend, NewSuppression, Receipts, Received, SignedReceipts,
        Suppression, SuppressionId,
    },
    error::{Error, FieldErrors},
    id::CustomerId,
    list::{List, ListBody},
};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    edge::{exchange::Exchange, limits},
    extract::{Body, Caller, IfMatch, Pairs, Path, read_json},
    listed::{ListParameters, listed},
    problem::Result,
    respond::{Created, Json, NoContent, Record, json},
    state::AppState,
};

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(receive))
        .routes(routes!(mock_send))
        .routes(routes!(channels))
        .routes(routes!(list_suppressions, suppress))
        .routes(routes!(search_suppressions))
        .routes(routes!(get_suppression, unsuppress))
        .routes(routes!(consent_ledger))
        .routes(routes!(search_consent_ledger))
        .routes(routes!(ask_unsubscribe, unsubscribe))
}

/// Take receipts
///
/// What a vendor says became of messages: one receipt, or an array of at most 1000. Signed by the rules of Standard
/// Webhooks, in the headers `webhook-id`, `webhook-timestamp` (at most 5 minutes old) and `webhook-signature`, with the
/// server's `DELIVERY_RECEIPT_SECRET`; or, with `organization_id`, with the secret of that organization's own vendor (see
/// `GET /messaging/channels`). However often receipts come, and in whatever order, a message ends in the same state.
/// Receipts of messages that are not known yet wait for them for a day.
#[utoipa::path(
    post, path = "/delivery-receipt", tag = "Delivery", request_body = Receipts,
    params(
        ("organization_id" = Option<uuid::Uuid>, Query, description = "The organization whose secret they are signed with."),
        ("webhook-id" = Option<String>, Header, description = "A name of the request.", example = "msg_p5jXN8AQM9LWM0D4loKWxJek"),
        ("webhook-timestamp" = Option<String>, Header, description = "Now, in seconds since 1970.", example = "1773997200"),
        ("webhook-signature" = Option<String>, Header, description = "`v1,` and base64 of the HMAC-SHA-256 of id, timestamp and body with dots between; several with spaces between.", example = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
    ),
    responses((status = 200, description = "What became of them.", body = Received), (status = 401)),
    extensions(("x-permission" = json!("public")))
)]
async fn receive(
    State(state): State<AppState>,
    Extension(exchange): Extension<Exchange>,
    mut pairs: Pairs,
    headers: HeaderMap,
    body: RawBody,
) -> Result<Json<Received>> {
    let bytes = read_json(&headers, body, state.options()).await?;
    let organization = match pairs.take("organization_id") {
        Some(text) => {
            let malformed =
                || FieldErrors::one("organization_id", "INVALID_FORMAT", "must be the id of an organization");
            Some(text.parse().map_err(|_| malformed())?)
        }
        None => None,
    };
    pairs.only(&[])?;
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let signed = SignedReceipts {
        id: text("webhook-id"),
        timestamp: text("webhook-timestamp"),
        signature: text("webhook-signature"),
        organization,
        body: std::str::from_utf8(&bytes)
            .map_err(|_| FieldErrors::one("body", "INVALID_JSON", "is not valid JSON: it is no UTF-8"))?,
    };
    match state.crm().deliveries().receive(signed).await {
        // Vendors are not counted; whoever only says that they are one is.
        Err(error @ Error::Unauthenticated(_)) => {
            limits::of_anybody(&state, &exchange).await?;
            Err(error.into())
        }
        received => Ok(Json(received?)),
    }
}

/// What the built-in vendor answers.
#[derive(Serialize, ToSchema)]
struct MockAccepted {
    /// What its receipts will call the message.
    #[schema(example = "mock_AZjB3l8AcACAAAAAAAAAqgGYwd5fAHAAgAAAAAAAAAI")]
    vendor_message_id: String,
}

/// Give the built-in vendor a message
///
/// It sends nothing, remembers the message, and says in receipts what became of it, as reliably as vendors do: some fail,
/// come late, twice or in the wrong order, as the settings `MOCK_VENDOR_*` say. The same `vendor_ref` is the same message.
/// In production it is switched off, unless `MOCK_VENDOR=on`.
#[utoipa::path(
    post, path = "/mock-send", tag = "Delivery", request_body = MockSend,
    responses((status = 202, description = "The vendor has it.", body = MockAccepted), (status = 409)),
    extensions(("x-permission" = json!("customers:write")))
)]
async fn mock_send(
    State(crm): State<Crm>,
    by: Principal,
    pairs: Pairs,
    Body(message): Body<MockSend>,
) -> Result<Response> {
    pairs.only(&[])?;
    let accepted = crm.deliveries().mock_send(&by, message).await?;
    Ok(json(StatusCode::ACCEPTED, &MockAccepted { vendor_message_id: accepted.vendor_message_id }))
}

/// Every channel.
#[derive(Serialize, ToSchema)]
struct Channels {
    /// The channels.
    data: Vec<ChannelState>,
}

/// List channels
///
/// Whether messages can be sent by each, and what is missing where they cannot.
#[utoipa::path(
    get, path = "/messaging/channels", tag = "Delivery",
    responses((status = 200, description = "Every channel.", body = Channels)),
    extensions(("x-permission" = json!("organization:read")))
)]
async fn channels(State(crm): State<Crm>, by: Principal, pairs: Pairs) -> Result<Json<Channels>> {
    pairs.only(&[])?;
    Ok(Json(Channels { data: crm.deliveries().channels(&by).await? }))
}

/// List suppressed addresses
///
/// Filter by `channel`, `address`, `reason`, `customer_id` and `created_at`.
#[utoipa::path(
    get, path = "/suppressions", tag = "Delivery", params(ListParameters),
    responses((status = 200, description = "A page of suppressed addresses.", body = List<Suppression>)),
    extensions(("x-permission" = json!("customers:read")))
)]
async fn list_suppressions(State(crm): State<Crm>, by: Principal, pairs: Pairs) -> Result<Response> {
    let request = Deliveries::suppression_listing().from_pairs(&pairs.into_pairs())?;
    let found = crm.deliveries().suppressions(&by, &request).await?;
    listed(found, &request)
}

/// Search suppressed addresses
///
/// The list with its parameters in a JSON body, for long rules.
#[utoipa::path(
    post, path = "/suppressions/search", tag = "Delivery", request_body = ListBody,
    responses((status = 200, description = "A page of suppressed addresses.", body = List<Suppression>)),
    extensions(("x-permission" = json!("customers:read")))
)]
async fn search_suppressions(
    State(crm): State<Crm>,
    by: Principal,
    pairs: Pairs,
    Body(body): Body<ListBody>,
) -> Result<Response> {
    pairs.only(&[])?;
    let request = Deliveries::suppression_listing().from_json(body.as_json())?;
    let found = crm.deliveries().suppressions(&by, &request).await?;
    listed(found, &request)
}

/// Suppress an address
///
/// Nothing is sent to it on the channel any more, whoever has it.
#[utoipa::path(
    post, path = "/suppressions", tag = "Delivery", request_body = NewSuppression,
    responses((status = 201, description = "The suppressed address.", body = Suppression), (status = 409)),
    extensions(("x-permission" = json!("customers:write")))
)]
async fn suppress(
    State(crm): State<Crm>,
    by: Principal,
    pairs: Pairs,
    Body(new): Body<NewSuppression>,
) -> Result<Created<Suppression>> {
    pairs.only(&[])?;
    let suppression = crm.deliveries().suppress_address(&by, new).await?;
    Ok(Created::new("suppressions", suppression.id, suppression.meta.version, suppression))
}

/// Get a suppressed address
#[utoipa::path(
    get, path = "/suppressions/{id}", tag = "Delivery",
    responses((status = 200, description = "The suppressed address.", body = Suppression)),
    extensions(("x-permission" = json!("customers:read")))
)]
async fn get_suppression(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<SuppressionId>,
    pairs: Pairs,
) -> Result<Record<Suppression>> {
    pairs.only(&[])?;
    let suppression = crm.deliveries().suppression(&by, id).await?;
    Ok(Record::new(suppression.meta.version, suppression))
}

/// Let messages go to an address again
#[utoipa::path(
    delete, path = "/suppressions/{id}", tag = "Delivery",
    responses((status = 204, description = "Messages go to it again."), (status = 412)),
    extensions(("x-permission" = json!("customers:write")))
)]
async fn unsuppress(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<SuppressionId>,
    IfMatch(version): IfMatch,
    pairs: Pairs,
) -> Result<NoContent> {
    pairs.only(&[])?;
    crm.deliveries().unsuppress(&by, id, version).await?;
    Ok(NoContent)
}

/// List what was said of a customer's consent
///
/// Who said it, when, and where; the newest first. Filter by `channel`, `topic`, `granted`, `at` and `created_at`.
#[utoipa::path(
    get, path = "/customers/{id}/consent-ledger", tag = "Delivery", params(ListParameters),
    responses((status = 200, description = "A page of entries.", body = List<ConsentEntry>)),
    extensions(("x-permission" = json!("customers:read")))
)]
async fn consent_ledger(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<CustomerId>,
    pairs: Pairs,
) -> Result<Response> {
    let request = Deliveries::consent_listing().from_pairs(&pairs.into_pairs())?;
    let found = crm.deliveries().consent_ledger(&by, id, &request).await?;
    listed(found, &request)
}

/// Search what was said of a customer's consent
///
/// The list with its parameters in a JSON body, for long rules.
#[utoipa::path(
    post, path = "/customers/{id}/consent-ledger/search", tag = "Delivery", request_body = ListBody,
    responses((status = 200, description = "A page of entries.", body = List<ConsentEntry>)),
    extensions(("x-permission" = json!("customers:read")))
)]
async fn search_consent_ledger(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<CustomerId>,
    pairs: Pairs,
    Body(body): Body<ListBody>,
) -> Result<Response> {
    pairs.only(&[])?;
    let request = Deliveries::consent_listing().from_json(body.as_json())?;
    let found = crm.deliveries().consent_ledger(&by, id, &request).await?;
    listed(found, &request)
}

/// Ask whether to unsubscribe
///
/// The page behind the link of a message, with a button: opening it changes nothing, since mail scanners open links.
#[utoipa::path(
    get, path = "/unsubscribe/{token}", tag = "Delivery",
    params(("token" = String, Path, description = "The signed token of the link.", min_length = 1)),
    responses((status = 200, description = "The page.", body = String, content_type = "text/html")),
    extensions(("x-permission" = json!("public")))
)]
async fn ask_unsubscribe(
    State(state): State<AppState>,
    Extension(exchange): Extension<Exchange>,
    Path(token): Path<String>,
    headers: HeaderMap,
) -> Result<Response> {
    match state.crm().deliveries().unsubscribe_link(&token) {
        Ok(link) => Ok(page::question(&link)),
        Err(error) => no_link(&state, &exchange, &headers, error).await,
    }
}

/// Unsubscribe
///
/// The customer gets no more messages about the link's topic, or, where it has none, by its channel. One click is enough
/// (RFC 8058), as often as one likes. A form with `everything=yes` means all messages by the channel.
#[utoipa::path(
    post, path = "/unsubscribe/{token}", tag = "Delivery",
    params(("token" = String, Path, description = "The signed token of the link.", min_length = 1)),
    responses((status = 200, description = "A page that says so.", body = String, content_type = "text/html")),
    extensions(("x-permission" = json!("public")))
)]
async fn unsubscribe(
    State(state): State<AppState>,
    Extension(exchange): Extension<Exchange>,
    Caller(context): Caller,
    Path(token): Path<String>,
    headers: HeaderMap,
    body: RawBody,
) -> Result<Response> {
    let bytes = read_json(&headers, body, state.options()).await?;
    let form = String::from_utf8_lossy(&bytes);
    let everything = Pairs::parse(&form).is_ok_and(|pairs| pairs.get("everything") == Some("yes"));
    match state.crm().deliveries().unsubscribe(&token, everything, context).await {
        Ok(link) => Ok(page::done(&link, everything)),
        Err(error) => no_link(&state, &exchange, &headers, error).await,
    }
}

/// What whoever has no link of ours gets. Links of ours are not counted; guesses are.
async fn no_link(state: &AppState, exchange: &Exchange, headers: &HeaderMap, error: Error) -> Result<Response> {
    if !matches!(error, Error::NotFound(_)) {
        return Err(error.into());
    }
    limits::of_anybody(state, exchange).await?;
    let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if accepts.contains("text/html") {
        let mut response = page::unknown();
        *response.status_mut() = StatusCode::NOT_FOUND;
        return Ok(response.into_response());
    }
    Err(error.into())
}
