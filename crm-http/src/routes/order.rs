use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use crm_core::{
    Crm,
    access::Principal,
    input::AsWritten,
    job::Job,
    list::{List, ListBody},
    order::{NewOrder, NewOrders, Order, OrderBatchReport, OrderDeed, OrderId, OrderInput, ShapedOrder},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    extract::{Body, IfMatch, Pairs, Path},
    problem::Result,
    respond::{Accepted, Created, Json, Record},
    routes::parameters::{JoinParameters, ListParameters},
    state::AppState,
};

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(search))
        .routes(routes!(create_batch))
        .routes(routes!(get, patch))
}

/// List orders
///
/// Those of customers in the caller's sight, the last first. Every field is a filter: `status=paid`, `amount[gte]=100`,
/// `customer_id=…`, `date[gte]=2026-01-01T00:00:00Z`. `search` looks in `external_id`. `include=customer` adds who has
/// bought, `null` for a customer in the bin.
#[utoipa::path(
    get, path = "/orders", tag = "Orders", params(ListParameters, JoinParameters),
    responses((status = 200, description = "A page of orders.", body = List<Order>)),
    extensions(("x-permission" = json!("orders:read")))
)]
async fn list(State(crm): State<Crm>, by: Principal, pairs: Pairs) -> Result<Json<List<ShapedOrder>>> {
    Ok(Json(crm.orders().list(&by, &pairs.into_pairs()).await?))
}

/// Search orders
///
/// The list with its parameters in a JSON body, for long rules.
#[utoipa::path(
    post, path = "/orders/search", tag = "Orders", request_body = ListBody,
    responses((status = 200, description = "A page of orders.", body = List<Order>)),
    extensions(("x-permission" = json!("orders:read")))
)]
async fn search(
    State(crm): State<Crm>,
    by: Principal,
    pairs: Pairs,
    Body(body): Body<ListBody>,
) -> Result<Json<List<ShapedOrder>>> {
    pairs.only(&[])?;
    Ok(Json(crm.orders().search(&by, &body).await?))
}

/// Take an order in
///
/// `amount` is exactly what the items come to, or left out. The customer's `spend`, `visits`, `total_orders`,
/// `total_order_value`, `last_order_date` and `last_active` move in the same commit. An order with an `external_id` that is
/// there already is answered as it is, with 200, so that it can be sent again; where its customer or amount differ, that is
/// a 409 which says so. With `async=true` the order is checked at once, and taken in by a job of high priority: its
/// `result` is `{"order_id": …}`.
#[utoipa::path(
    post, path = "/orders", tag = "Orders", request_body = NewOrder,
    params(JoinParameters,
        ("fields" = Option<String>, Query, description = "Only these fields.", example = "id,amount"),
        ("async" = Option<bool>, Query, description = "Leaves the work to a job.")),
    responses(
        (status = 201, description = "The new order.", body = Order),
        (status = 200, description = "The order that was there with the `external_id`.", body = Order),
        (status = 202, description = "With `async=true`: the job.", body = Job,
            headers(("Location" = String, description = "Where it can be watched."))),
        (status = 404), (status = 409)
    ),
    extensions(("x-permission" = json!("orders:write")))
)]
async fn create(
    State(crm): State<Crm>,
    by: Principal,
    mut pairs: Pairs,
    Body(new): Body<AsWritten<NewOrder>>,
) -> Result<Response> {
    pairs.only(&["async", "fields", "include"])?;
    let orders = crm.orders();
    let shape = orders.shape(&by, pairs.get("fields"), pairs.get("include")).await?;
    if pairs.take_flag("async")? {
        let job = orders.create_later(&by, new).await?;
        return Ok(Accepted::new("jobs", job.id, job).into_response());
    }
    let written = orders.create(&by, new.value).await?;
    let (id, version) = (written.order.id, written.order.meta.version);
    let body = orders.in_shape(&by, &shape, written.order).await?;
    Ok(match written.deed {
        OrderDeed::Created => Created::new("orders", id, version, body).into_response(),
        _ => Record::new(version, body).into_response(),
    })
}

/// Take many orders in
///
/// 1 to 1000 of them, each with its own answer: one that is refused does not spoil the others. One whose `external_id` is
/// there already is `unchanged`, so that a batch can be sent again.
#[utoipa::path(
    post, path = "/orders/batch", tag = "Orders", request_body = NewOrders,
    responses((status = 200, description = "What became of each order.", body = OrderBatchReport)),
    extensions(("x-permission" = json!("orders:write")))
)]
async fn create_batch(
    State(crm): State<Crm>,
    by: Principal,
    pairs: Pairs,
    Body(new): Body<NewOrders>,
) -> Result<Json<OrderBatchReport>> {
    pairs.only(&[])?;
    Ok(Json(crm.orders().create_batch(&by, new).await?))
}

/// Get an order
#[utoipa::path(
    get, path = "/orders/{id}", tag = "Orders",
    params(("id" = OrderId, Path), JoinParameters,
        ("fields" = Option<String>, Query, description = "Only these fields.", example = "id,amount")),
    responses((status = 200, description = "The order.", body = Order)),
    extensions(("x-permission" = json!("orders:read")))
)]
async fn get(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<OrderId>,
    pairs: Pairs,
) -> Result<Record<ShapedOrder>> {
    pairs.only(&["fields", "include"])?;
    let orders = crm.orders();
    let shape = orders.shape(&by, pairs.get("fields"), pairs.get("include")).await?;
    let (version, body) = orders.get_in_shape(&by, &shape, id).await?;
    Ok(Record::new(version, body))
}

/// Change an order
///
/// What is not named stays. The customer's figures move by the difference in the same commit: an order that becomes
/// `cancelled` or `refunded` takes back what it added, and adds it again where it becomes something else. `items` are
/// replaced, and `amount` follows them; `custom` and `metadata` are merged by member.
#[utoipa::path(
    patch, path = "/orders/{id}", tag = "Orders", request_body = OrderInput,
    params(("id" = OrderId, Path), JoinParameters,
        ("fields" = Option<String>, Query, description = "Only these fields.", example = "id,amount")),
    responses((status = 200, description = "The order as it is now.", body = Order), (status = 409), (status = 412)),
    extensions(("x-permission" = json!("orders:write")))
)]
async fn patch(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<OrderId>,
    IfMatch(version): IfMatch,
    pairs: Pairs,
    Body(input): Body<OrderInput>,
) -> Result<Record<ShapedOrder>> {
    pairs.only(&["fields", "include"])?;
    let orders = crm.orders();
    let shape = orders.shape(&by, pairs.get("fields"), pairs.get("include")).await?;
    let order = orders.patch(&by, id, input, version).await?;
    let version = order.meta.version;
    Ok(Record::new(version, orders.in_shape(&by, &shape, order).await?))
}
