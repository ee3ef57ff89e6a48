use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use crm_core::{
    Crm,
    access::Principal,
    customer::{
        BatchOptions, BatchReport, Customer, CustomerInput, CustomerPatches, Deed, NewCustomer, NewCustomers,
        OwnProfileInput, ShapedCustomer, WriteOptions,
    },
    error::FieldErrors,
    id::CustomerId,
    input::AsWritten,
    job::{Job, JobId},
    list::{List, ListBody},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    extract::{Body, IfMatch, Pairs, Path},
    problem::Result,
    respond::{Accepted, Created, Json, NoContent, Record},
    routes::parameters::{ListParameters, ProfileParameter, RecordParameters},
    state::AppState,
};

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(search))
        .routes(routes!(create_batch, patch_batch))
        .routes(routes!(me, patch_me))
        .routes(routes!(get, replace, patch, remove))
        .routes(routes!(restore))
        .routes(routes!(undo))
}

/// List customers
///
/// Those in the caller's sight: all, or the own team's and the own. Every field is a filter: `status=active`,
/// `spend[gte]=100`, `tags=vip` (has the tag), `custom.city=Paris`; operators are `eq ne gt gte lt lte in nin contains
/// exists`. `deleted=true` lists the bin instead.
#[utoipa::path(
    get, path = "/customers", tag = "Customers",
    params(ListParameters, ProfileParameter,
        ("deleted" = Option<bool>, Query, description = "Lists the bin, and nothing but the bin, last deleted first.")),
    responses((status = 200, description = "A page of customers.", body = List<Customer>)),
    extensions(("x-permission" = json!("customers:read")))
)]
async fn list(State(crm): State<Crm>, by: Principal, pairs: Pairs) -> Result<Json<List<ShapedCustomer>>> {
    Ok(Json(crm.customers().list(&by, &pairs.into_pairs()).await?))
}

/// Search customers
///
/// The list with its parameters in a JSON body, for long rules.
#[utoipa::path(
    post, path = "/customers/search", tag = "Customers", request_body = ListBody,
    responses((status = 200, description = "A page of customers.", body = List<Customer>)),
    extensions(("x-permission" = json!("customers:read")))
)]
async fn search(
    State(crm): State<Crm>,
    by: Principal,
    pairs: Pairs,
    Body(body): Body<ListBody>,
) -> Result<Json<List<ShapedCustomer>>> {
    pairs.only(&[])?;
    Ok(Json(crm.customers().search(&by, &body).await?))
}

/// Create a customer
///
/// Whoever sees only a team's customers becomes the owner, in the own team, unless the body says otherwise. A customer
/// with the same e-mail, phone (national variants are the same phone) or login is a duplicate; so is one whose values
/// for unique custom fields are taken. With `mode=upsert` the customer with the e-mail, else with the phone, is changed
/// as by PATCH instead, and answered with 200. With `async=true` the fields are checked at once, and the customer is made by
/// a job of high priority: its `result` is `{"customer_id": …}`. A duplicate fails the job with the code `DUPLICATE`.
#[utoipa::path(
    post, path = "/customers", tag = "Customers", request_body = NewCustomer,
    params(RecordParameters,
        ("mode" = Option<String>, Query, description = "`create` (the default) or `upsert`."),
        ("async" = Option<bool>, Query, description = "Leaves the work to a job."),
        ("allow_duplicate_phone" = Option<bool>, Query, description = "Lets the phone be shared with another customer.")),
    responses(
        (status = 201, description = "The new customer.", body = Customer),
        (status = 200, description = "With `mode=upsert`: the customer that was there, as it is now.", body = Customer),
        (status = 202, description = "With `async=true`: the job.", body = Job,
            headers(("Location" = String, description = "Where it can be watched."))),
        (status = 409)
    ),
    extensions(("x-permission" = json!("customers:write")))
)]
async fn create(
    State(crm): State<Crm>,
    by: Principal,
    mut pairs: Pairs,
    Body(new): Body<AsWritten<NewCustomer>>,
) -> Result<Response> {
    pairs.only(&["mode", "async", "allow_duplicate_phone", "profile", "fields"])?;
    let upsert = upsert(&mut pairs)?;
    let options = write_options(&mut pairs, None)?;
    let customers = crm.customers();
    let shape = customers.shape(&by, pairs.get("profile"), pairs.get("fields")).await?;
    if pairs.take_flag("async")? {
        let job = customers.create_later(&by, new, upsert, options).await?;
        return Ok(Accepted::new("jobs", job.id, job).into_response());
    }
    let new = new.value;
    let (customer, deed) = if upsert {
        let written = customers.upsert(&by, new, options).await?;
        (written.customer, written.deed)
    } else {
        (customers.create(&by, new, options).await?, Deed::Created)
    };
    let (id, version) = (customer.id, customer.meta.version);
    let body = shape.of(customer)?;
    Ok(match deed {
        Deed::Created => Created::new("customers", id, version, body).into_response(),
        _ => Record::new(version, body).into_response(),
    })
}

/// Get a customer
#[utoipa::path(
    get, path = "/customers/{id}", tag = "Customers", params(("id" = CustomerId, Path), RecordParameters),
    responses((status = 200, description = "The customer.", body = Customer)),
    extensions(("x-permission" = json!("customers:read")))
)]
async fn get(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<CustomerId>,
    pairs: Pairs,
) -> Result<Record<ShapedCustomer>> {
    pairs.only(&["profile", "fields"])?;
    let customers = crm.customers();
    let shape = customers.shape(&by, pairs.get("profile"), pairs.get("fields")).await?;
    let customer = customers.get(&by, id).await?;
    Ok(Record::new(customer.meta.version, shape.of(customer)?))
}

/// Replace a customer
///
/// Every writable field that is not named gets its default. What GET gave can be put back as it is. Whoever sees only
/// a part of the customers keeps `owner_id`, `team_id` and `user_id` by leaving them out.
#[utoipa::path(
    put, path = "/customers/{id}", tag = "Customers", request_body = CustomerInput,
    params(("id" = CustomerId, Path), RecordParameters,
        ("allow_duplicate_phone" = Option<bool>, Query, description = "Lets the phone be shared with another customer.")),
    responses((status = 200, description = "The customer as it is now.", body = Customer), (status = 409), (status = 412)),
    extensions(("x-permission" = json!("customers:write")))
)]
async fn replace(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<CustomerId>,
    IfMatch(version): IfMatch,
    mut pairs: Pairs,
    Body(input): Body<CustomerInput>,
) -> Result<Record<ShapedCustomer>> {
    pairs.only(&["allow_duplicate_phone", "profile", "fields"])?;
    let options = write_options(&mut pairs, version)?;
    let customers = crm.customers();
    let shape = customers.shape(&by, pairs.get("profile"), pairs.get("fields")).await?;
    let customer = customers.replace(&by, id, input, options).await?;
    Ok(Record::new(customer.meta.version, shape.of(customer)?))
}

/// Change a customer
///
/// What is not named stays. `null` clears a field. Lists are replaced (`add_tags` and `remove_tags` change them),
/// `custom`, `consent` and `metadata` are merged by member.
#[utoipa::path(
    patch, path = "/customers/{id}", tag = "Customers", request_body = CustomerInput,
    params(("id" = CustomerId, Path), RecordParameters,
        ("allow_duplicate_phone" = Option<bool>, Query, description = "Lets the phone be shared with another customer.")),
    responses((status = 200, description = "The customer as it is now.", body = Customer), (status = 409), (status = 412)),
    extensions(("x-permission" = json!("customers:write")))
)]
async fn patch(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<CustomerId>,
    IfMatch(version): IfMatch,
    mut pairs: Pairs,
    Body(input): Body<CustomerInput>,
) -> Result<Record<ShapedCustomer>> {
    pairs.only(&["allow_duplicate_phone", "profile", "fields"])?;
    let options = write_options(&mut pairs, version)?;
    let customers = crm.customers();
    let shape = customers.shape(&by, pairs.get("profile"), pairs.get("fields")).await?;
    let customer = customers.patch(&by, id, input, options).await?;
    Ok(Record::new(customer.meta.version, shape.of(customer)?))
}

/// Delete a customer
///
/// Into the bin, from where POST `/customers/{id}/restore` takes it back for 30 days; its e-mails and phones are free
/// at once. With `hard=true`, which needs the permission `customers:purge`, it is removed for good, from the bin too,
/// and its notes with it.
#[utoipa::path(
    delete, path = "/customers/{id}", tag = "Customers",
    params(("id" = CustomerId, Path), ("hard" = Option<bool>, Query, description = "Removes the customer for good.")),
    responses((status = 204, description = "The customer is deleted."), (status = 412)),
    extensions(("x-permission" = json!("customers:delete")))
)]
async fn remove(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<CustomerId>,
    IfMatch(version): IfMatch,
    mut pairs: Pairs,
) -> Result<NoContent> {
    pairs.only(&["hard"])?;
    if pairs.take_flag("hard")? {
        crm.customers().purge(&by, id, version).await?;
    } else {
        crm.customers().delete(&by, id, version).await?;
    }
    Ok(NoContent)
}

/// Restore a customer
///
/// Out of the bin. Refused with 409 where another customer has its e-mail or phone by now.
#[utoipa::path(
    post, path = "/customers/{id}/restore", tag = "Customers",
    params(("id" = CustomerId, Path), RecordParameters,
        ("allow_duplicate_phone" = Option<bool>, Query, description = "Lets the phone be shared with another customer.")),
    responses((status = 200, description = "The customer as it is now.", body = Customer), (status = 409), (status = 412)),
    extensions(("x-permission" = json!("customers:delete")))
)]
async fn restore(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<CustomerId>,
    IfMatch(version): IfMatch,
    mut pairs: Pairs,
) -> Result<Record<ShapedCustomer>> {
    pairs.only(&["allow_duplicate_phone", "profile", "fields"])?;
    let options = write_options(&mut pairs, version)?;
    let customers = crm.customers();
    let shape = customers.shape(&by, pairs.get("profile"), pairs.get("fields")).await?;
    let customer = customers.restore(&by, id, options).await?;
    Ok(Record::new(customer.meta.version, shape.of(customer)?))
}

/// Create many customers
///
/// 1 to 1000 of them, each with its own answer: one that is refused does not spoil the others. With `mode=upsert` those
/// that are there are changed instead. With `atomic=true` everything is written or nothing, and a refusal is the answer.
#[utoipa::path(
    post, path = "/customers/batch", tag = "Customers", request_body = NewCustomers,
    params(("mode" = Option<String>, Query, description = "`create` (the default) or `upsert`."),
        ("atomic" = Option<bool>, Query, description = "All or none."),
        ("allow_duplicate_phone" = Option<bool>, Query, description = "Lets phones be shared.")),
    responses((status = 200, description = "What became of each customer.", body = BatchReport), (status = 404), (status = 409)),
    extensions(("x-permission" = json!("customers:write")))
)]
async fn create_batch(
    State(crm): State<Crm>,
    by: Principal,
    mut pairs: Pairs,
    Body(new): Body<NewCustomers>,
) -> Result<Json<BatchReport>> {
    pairs.only(&["mode", "atomic", "allow_duplicate_phone"])?;
    let options = BatchOptions { upsert: upsert(&mut pairs)?, ..batch_options(&mut pairs)? };
    Ok(Json(crm.customers().create_batch(&by, new, options).await?))
}

/// Change many customers
///
/// Either `items`, 1 to 1000 of them, each with its `id` and what changes; or a `filter` with `set`, `add_tags` and
/// `remove_tags` for every customer in sight that matches, any number. Written in commits of 100, or in one with
/// `atomic=true` (at most 10,000 matches). Where that takes too long for one request, the answer has `continue_after`:
/// the same request with this id as `after` changes the rest. With `async=true` a job changes them, however long it takes,
/// and goes on by itself where its process ends; its `result` is the report with the first 1000 refusals. Either way the
/// change can be undone for 24 hours by POST `/jobs/{id}/undo`, with the `job_id` of the answer or the job's `id`.
#[utoipa::path(
    patch, path = "/customers/batch", tag = "Customers", request_body = CustomerPatches,
    params(("atomic" = Option<bool>, Query, description = "All or none. Not with `async`."),
        ("async" = Option<bool>, Query, description = "Leaves the work to a job."),
        ("allow_duplicate_phone" = Option<bool>, Query, description = "Lets phones be shared.")),
    responses(
        (status = 200, description = "What became of each customer.", body = BatchReport),
        (status = 202, description = "With `async=true`: the job.", body = Job,
            headers(("Location" = String, description = "Where it can be watched."))),
        (status = 404), (status = 409)
    ),
    extensions(("x-permission" = json!("customers:write")))
)]
async fn patch_batch(
    State(state): State<AppState>,
    by: Principal,
    mut pairs: Pairs,
    Body(patches): Body<AsWritten<CustomerPatches>>,
) -> Result<Response> {
    pairs.only(&["atomic", "async", "allow_duplicate_phone"])?;
    let customers = state.crm().customers();
    if pairs.take_flag("async")? {
        let job = customers.patch_batch_later(&by, patches, batch_options(&mut pairs)?).await?;
        return Ok(Accepted::new("jobs", job.id, job).into_response());
    }
    // Well before the request itself is cut.
    let time_limit = Some(state.options().request_timeout / 2);
    let options = BatchOptions { time_limit, ..batch_options(&mut pairs)? };
    Ok(Json(customers.patch_batch(&by, patches.value, options).await?).into_response())
}

/// Undo a bulk change
///
/// Of customers, by PATCH `/customers/batch`, for 24 hours after its end and once; also of one that failed or was
/// cancelled. A job gives each customer back what the fields were that the change set. Fields that somebody changed since
/// stay as they are: the job's `result` tells how many customers were `restored` and how many `skipped`, and lists the
/// first 1000 of these. It needs the permission `customers:write` too, and `jobs:manage` for what somebody else started.
#[utoipa::path(
    post, path = "/jobs/{id}/undo", tag = "Jobs", params(("id" = JobId, Path)),
    responses(
        (status = 202, description = "The job that undoes it.", body = Job,
            headers(("Location" = String, description = "Where it can be watched."))),
        (status = 404), (status = 409)
    ),
    extensions(("x-permission" = json!("jobs:write")))
)]
async fn undo(State(crm): State<Crm>, by: Principal, Path(id): Path<JobId>, pairs: Pairs) -> Result<Accepted<Job>> {
    pairs.only(&[])?;
    let job = crm.customers().undo_batch(&by, id).await?;
    Ok(Accepted::new("jobs", job.id, job))
}

/// Get the own customer record
///
/// Of the login that asks; 404 where it has none. Tags, groups, metadata, owner and team are for staff and left out.
#[utoipa::path(
    get, path = "/customers/me", tag = "Customers", params(RecordParameters),
    responses((status = 200, description = "The own record.", body = Customer), (status = 404)),
    extensions(("x-permission" = json!("self:customer")))
)]
async fn me(State(crm): State<Crm>, by: Principal, pairs: Pairs) -> Result<Record<ShapedCustomer>> {
    pairs.only(&["profile", "fields"])?;
    let customers = crm.customers();
    let shape = customers.shape(&by, pairs.get("profile"), pairs.get("fields")).await?.for_themselves();
    let customer = customers.me(&by).await?;
    Ok(Record::new(customer.meta.version, shape.of(customer)?))
}

/// Change the own customer record
///
/// Name, phone, consent, and the custom fields that the organization's settings list as `self_service_fields`; the rest
/// is for staff.
#[utoipa::path(
    patch, path = "/customers/me", tag = "Customers", request_body = OwnProfileInput, params(RecordParameters),
    responses((status = 200, description = "The own record as it is now.", body = Customer), (status = 404), (status = 409), (status = 412)),
    extensions(("x-permission" = json!("self:customer")))
)]
async fn patch_me(
    State(crm): State<Crm>,
    by: Principal,
    IfMatch(version): IfMatch,
    pairs: Pairs,
    Body(input): Body<OwnProfileInput>,
) -> Result<Record<ShapedCustomer>> {
    pairs.only(&["profile", "fields"])?;
    let customers = crm.customers();
    let shape = customers.shape(&by, pairs.get("profile"), pairs.get("fields")).await?.for_themselves();
    let customer = customers.patch_me(&by, input, version).await?;
    Ok(Record::new(customer.meta.version, shape.of(customer)?))
}

fn write_options(pairs: &mut Pairs, expected_version: Option<i64>) -> Result<WriteOptions> {
    Ok(WriteOptions { allow_duplicate_phone: pairs.take_flag("allow_duplicate_phone")?, expected_version })
}

fn batch_options(pairs: &mut Pairs) -> Result<BatchOptions> {
    let (atomic, allow_duplicate_phone) = (pairs.take_flag("atomic")?, pairs.take_flag("allow_duplicate_phone")?);
    Ok(BatchOptions { atomic, allow_duplicate_phone, ..BatchOptions::default() })
}

fn upsert(pairs: &mut Pairs) -> Result<bool, FieldErrors> {
    match pairs.take("mode").as_deref() {
        None | Some("create") => Ok(false),
        Some("upsert") => Ok(true),
        Some(_) => Err(FieldErrors::one("mode", "INVALID_CHOICE", "must be create or upsert")),
    }
}
