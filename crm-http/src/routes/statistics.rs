use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use crm_core::{
    Crm,
    access::Principal,
    customer::{Customer, Deed, ShapedCustomer},
    id::{CustomerId, UserId},
    job::Job,
    statistics::{CustomerStatistics, FigureChange, InternalCustomer},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    extract::{Body, Pairs, Path},
    problem::Result,
    respond::{Accepted, Created, Json, Record},
    routes::parameters::RecordParameters,
    state::AppState,
};

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(of))
        .routes(routes!(me))
        .routes(routes!(verify))
        .routes(routes!(create_internal))
        .routes(routes!(change_figures))
        .routes(routes!(internal_of_user))
}

/// Get what a customer comes to
///
/// Orders, complaints, and how recently, how often and for how much the customer buys (`rfm`), each scored from 1 to 5:
/// recency and frequency by fixed cuts, what was spent by the organization's quintiles, which are at most 10 minutes old.
#[utoipa::path(
    get, path = "/customers/{id}/statistics", tag = "Customers", params(("id" = CustomerId, Path)),
    responses((status = 200, description = "What the customer comes to.", body = CustomerStatistics)),
    extensions(("x-permission" = json!("customers:read")))
)]
async fn of(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<CustomerId>,
    pairs: Pairs,
) -> Result<Json<CustomerStatistics>> {
    pairs.only(&[])?;
    Ok(Json(crm.statistics().of(&by, id).await?))
}

/// Get what the own customer record comes to
///
/// Of the login that asks, without scores; 404 where it has none.
#[utoipa::path(
    get, path = "/customers/me/statistics", tag = "Customers",
    responses((status = 200, description = "What the own record comes to.", body = CustomerStatistics), (status = 404)),
    extensions(("x-permission" = json!("self:customer")))
)]
async fn me(State(crm): State<Crm>, by: Principal, pairs: Pairs) -> Result<Json<CustomerStatistics>> {
    pairs.only(&[])?;
    Ok(Json(crm.statistics().me(&by).await?))
}

/// Verify the figures of customers
///
/// A job works the figures of all customers out anew, from their opening parts and their orders. Its `result` tells how many
/// `customers` it has looked at, how many `drifted`, and lists the first 1000 of these in `drift` with what is stored and
/// what was expected. With `repair=true` it puts them right. The same is looked at every night, without repairing.
#[utoipa::path(
    post, path = "/customers/statistics/verify", tag = "Customers",
    params(("repair" = Option<bool>, Query, description = "Puts figures right that are wrong.")),
    responses((status = 202, description = "The job.", body = Job,
        headers(("Location" = String, description = "Where it can be watched.")))),
    extensions(("x-permission" = json!("statistics:verify")))
)]
async fn verify(State(crm): State<Crm>, by: Principal, mut pairs: Pairs) -> Result<Accepted<Job>> {
    pairs.only(&["repair"])?;
    let repair = pairs.take_flag("repair")?;
    let job = crm.statistics().verify_later(&by, repair).await?;
    Ok(Accepted::new("jobs", job.id, job))
}

/// Make a customer of a login of another service
///
/// For services with a key. Whoever is there with the `user_id` is answered as they are, with 200, so that the service can
/// tell it again.
#[utoipa::path(
    post, path = "/customers/internal/create", tag = "Customers", request_body = InternalCustomer, params(RecordParameters),
    responses(
        (status = 201, description = "The new customer.", body = Customer),
        (status = 200, description = "The customer who was there with the `user_id`.", body = Customer),
        (status = 409)
    ),
    extensions(("x-permission" = json!("customers:write")))
)]
async fn create_internal(
    State(crm): State<Crm>,
    by: Principal,
    pairs: Pairs,
    Body(new): Body<InternalCustomer>,
) -> Result<Response> {
    pairs.only(&["profile", "fields"])?;
    let shape = crm.customers().shape(&by, pairs.get("profile"), pairs.get("fields")).await?;
    let written = crm.statistics().create_internal(&by, new).await?;
    let (id, version) = (written.customer.id, written.customer.meta.version);
    let body = shape.of(written.customer)?;
    Ok(match written.deed {
        Deed::Created => Created::new("customers", id, version, body).into_response(),
        _ => Record::new(version, body).into_response(),
    })
}

/// Move figures of a customer
///
/// For services with a key that keep orders themselves: `increment` adds, `set` sets, all at once; a figure named outside of
/// both is set. What orders here have added stays.
#[utoipa::path(
    patch, path = "/customers/internal/{id}/statistics", tag = "Customers", request_body = FigureChange,
    params(("id" = CustomerId, Path), RecordParameters),
    responses((status = 200, description = "The customer as it is now.", body = Customer)),
    extensions(("x-permission" = json!("customers:write")))
)]
async fn change_figures(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<CustomerId>,
    pairs: Pairs,
    Body(change): Body<FigureChange>,
) -> Result<Record<ShapedCustomer>> {
    pairs.only(&["profile", "fields"])?;
    let shape = crm.customers().shape(&by, pairs.get("profile"), pairs.get("fields")).await?;
    let customer = crm.statistics().change_figures(&by, id, &change).await?;
    Ok(Record::new(customer.meta.version, shape.of(customer)?))
}

/// Get the customer of a login
///
/// For services with a key.
#[utoipa::path(
    get, path = "/customers/internal/user/{user_id}", tag = "Customers",
    params(("user_id" = UserId, Path, description = "The login."), RecordParameters),
    responses((status = 200, description = "The customer.", body = Customer)),
    extensions(("x-permission" = json!("customers:read")))
)]
async fn internal_of_user(
    State(crm): State<Crm>,
    by: Principal,
    Path(user): Path<UserId>,
    pairs: Pairs,
) -> Result<Record<ShapedCustomer>> {
    pairs.only(&["profile", "fields"])?;
    let shape = crm.customers().shape(&by, pairs.get("profile"), pairs.get("fields")).await?;
    let customer = crm.statistics().internal_of_user(&by, user).await?;
    Ok(Record::new(customer.meta.version, shape.of(customer)?))
}
