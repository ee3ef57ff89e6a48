//! What there is of one person: merged, told in order of time, handed out, erased.

use axum::{
    body::Body as Content,
    extract::State,
    http::{HeaderValue, Method, header},
    response::{IntoResponse as _, Response},
};
use crm_core::{
    Crm, Error,
    access::{Principal, permissions},
    customer::{Customer, CustomerMergeId, LikelyDuplicates, MergeReport, MergeRequest},
    id::CustomerId,
    list::List,
    order::Order,
    personal_data::{Erasure, ErasureReport},
    related::RelatedKind,
    timeline::TimelineEntry,
};
use futures::TryStreamExt as _;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    extract::{Body, IfMatch, Pairs, Path},
    problem::Result,
    respond::{Json, Record},
    routes::parameters::ListParameters,
    state::AppState,
};

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(duplicates))
        .routes(routes!(merge))
        .routes(routes!(undo_merge))
        .routes(routes!(timeline))
        .routes(routes!(orders))
        .routes(routes!(personal_data))
        .routes(routes!(erase))
}

/// List likely duplicates
///
/// Customers in sight who may be one person, by name: each with those before it in that order who are like it, and those
/// who share a phone with it, wherever they are. `score` is between 0 and 1, `reasons` say why: `same_name` `similar_name`
/// `shared_phone` `phone_ending` `email_variant` `same_email_name` `same_place`. A page looks at 5,000 customers at most, so
/// that it may be short, or empty, while `has_more` is true: go on with `next_cursor`.
#[utoipa::path(
    get, path = "/customers/duplicates", tag = "Customers",
    params(
        ("min_score" = Option<f64>, Query, description = "Only those of this score or more; 0.5 where it is left out.",
            minimum = 0, maximum = 1),
        ("limit" = Option<u8>, Query, description = "The most customers of a page.", minimum = 1, maximum = 100),
        ("cursor" = Option<String>, Query, description = "What an earlier page gave as `next_cursor`.", min_length = 1)
    ),
    responses((status = 200, description = "A page of customers with their likely duplicates.",
        body = List<LikelyDuplicates>)),
    extensions(("x-permission" = json!("customers:read")))
)]
async fn duplicates(State(crm): State<Crm>, by: Principal, pairs: Pairs) -> Result<Json<List<LikelyDuplicates>>> {
    Ok(Json(crm.customers().likely_duplicates(&by, &pairs.into_pairs()).await?))
}

/// Merge a duplicate
///
/// The duplicate goes into the customer of the address: notes, orders, complaints and whatever else points to it point to
/// the one that is kept, figures are added exactly, e-mails, phones, tags and groups united, and of each consent the
/// stricter holds. Of other fields the kept customer's value is taken, the duplicate's where that one has none, unless
/// `fields` says otherwise. The duplicate goes into the bin, and answers 404 from then on. With `dry_run` nothing is
/// written. For 30 days POST `/customers/{id}/merge/undo` takes it back.
#[utoipa::path(
    post, path = "/customers/{id}/merge", tag = "Customers", params(("id" = CustomerId, Path)),
    request_body = MergeRequest,
    responses((status = 200, description = "What it came to, or would come to.", body = MergeReport), (status = 409), (status = 412)),
    extensions(("x-permission" = json!("customers:merge")))
)]
async fn merge(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<CustomerId>,
    IfMatch(version): IfMatch,
    pairs: Pairs,
    Body(request): Body<MergeRequest>,
) -> Result<Record<MergeReport>> {
    pairs.only(&[])?;
    let report = crm.customers().merge(&by, id, &request, version).await?;
    Ok(Record::new(report.customer.meta.version, report))
}

/// Undo a merge
///
/// The last one of the customer that was kept, or the one that `merge_id` names. The duplicate comes out of the bin, what
/// moved and still points to the kept customer points to it again, and its share of the figures goes back. Fields that
/// somebody changed since stay as they are.
#[utoipa::path(
    post, path = "/customers/{id}/merge/undo", tag = "Customers",
    params(("id" = CustomerId, Path), ("merge_id" = Option<CustomerMergeId>, Query, description = "Which merge.")),
    responses((status = 200, description = "The kept customer as it is now.", body = Customer), (status = 404), (status = 409)),
    extensions(("x-permission" = json!("customers:merge")))
)]
async fn undo_merge(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<CustomerId>,
    pairs: Pairs,
) -> Result<Record<Customer>> {
    pairs.only(&["merge_id"])?;
    let wrong = |_| Error::invalid("merge_id", "INVALID_FORMAT", "must be the id of a merge");
    let merge = pairs.get("merge_id").map(str::parse::<CustomerMergeId>).transpose().map_err(wrong)?;
    let customer = crm.customers().undo_merge(&by, id, merge).await?;
    Ok(Record::new(customer.meta.version, customer))
}

/// Get the timeline of a customer
///
/// Everything about the customer, newest first: orders, complaints, notes, messages, and, with the permission
/// `audit:read`, changes. `type` picks some of them.
#[utoipa::path(
    get, path = "/customers/{id}/timeline", tag = "Customers",
    params(
        ("id" = CustomerId, Path),
        ("type" = Option<String>, Query, description = "`order`, `complaint`, `note`, `communication`, `change`, separated by commas.",
            example = "order,note", min_length = 1),
        ("limit" = Option<u8>, Query, description = "The most entries of a page.", minimum = 1, maximum = 100),
        ("cursor" = Option<String>, Query, description = "What an earlier page gave as `next_cursor`.", min_length = 1)
    ),
    responses((status = 200, description = "A page of the timeline.", body = List<TimelineEntry>)),
    extensions(("x-permission" = json!("customers:read")))
)]
async fn timeline(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<CustomerId>,
    pairs: Pairs,
) -> Result<Json<List<TimelineEntry>>> {
    Ok(Json(crm.timeline().list(&by, id, &pairs.into_pairs()).await?))
}

/// List orders of a customer
///
/// The last first, with everything that GET `/orders` takes. Where the operator has named another service that keeps orders
/// (`ORDER_SERVICE_URL`), they are as that tells them, and only `limit` can be said; while it gives no answer, `degraded` is
/// true, and the answer is what it said last (`as_of`), or nothing, with a word about it in `warnings`.
#[utoipa::path(
    get, path = "/customers/{id}/orders", tag = "Orders", params(("id" = CustomerId, Path), ListParameters),
    responses((status = 200, description = "A page of orders.", body = List<Order>)),
    extensions(("x-permission" = json!("orders:read")))
)]
async fn orders(State(crm): State<Crm>, by: Principal, Path(id): Path<CustomerId>, pairs: Pairs) -> Result<Response> {
    let mut pairs = pairs.into_pairs();
    let related = crm.related();
    if related.keeps(RelatedKind::Orders) {
        let found = related.records(&by, permissions::ORDERS_READ, RelatedKind::Orders, id, &pairs).await?;
        return Ok(Json(found).into_response());
    }
    by.may(permissions::ORDERS_READ)?;
    crm.customers().get(&by, id).await?;
    pairs.push(("customer_id".to_owned(), id.to_string()));
    Ok(Json(crm.orders().list(&by, &pairs).await?).into_response())
}

/// Get everything that is kept of a person
///
/// One JSON document with a list for each kind of record, also for a customer in the bin, streamed. That it was asked for
/// is noted in the audit trail.
#[utoipa::path(
    get, path = "/customers/{id}/personal-data", tag = "Customers", params(("id" = CustomerId, Path)),
    responses((status = 200, description = "The document.", body = Object)),
    extensions(("x-permission" = json!("personal-data:read")))
)]
async fn personal_data(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<CustomerId>,
    pairs: Pairs,
    method: Method,
) -> Result<Response> {
    pairs.only(&[])?;
    let document = crm.personal_data().export(&by, id).await?;
    let content = if method == Method::HEAD {
        Content::empty()
    } else {
        Content::from_stream(document.parts().map_err(|error| {
            tracing::warn!(error = &error as &dyn std::error::Error, "a document of personal data was cut short");
            error
        }))
    };
    let mut response = Response::new(content);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let name = HeaderValue::try_from(format!("attachment; filename=\"personal-data-{id}.json\""));
    if let Ok(name) = name {
        headers.insert(header::CONTENT_DISPOSITION, name);
    }
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// Forget a person
///
/// For good. The customer goes, with notes, complaints, login and duplicates that were merged into it; orders and messages
/// stay as numbers, without anything that says whose they were; audit entries lose their values, and the chain stays
/// intact. A job then looks for traces where no index leads to.
#[utoipa::path(
    post, path = "/customers/{id}/erase", tag = "Customers", params(("id" = CustomerId, Path)), request_body = Erasure,
    responses((status = 200, description = "What was erased.", body = ErasureReport), (status = 404)),
    extensions(("x-permission" = json!("personal-data:erase")))
)]
async fn erase(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<CustomerId>,
    pairs: Pairs,
    Body(erasure): Body<Erasure>,
) -> Result<Json<ErasureReport>> {
    pairs.only(&[])?;
    Ok(Json(crm.personal_data().erase(&by, id, &erasure).await?))
}
