//! Long work.

mod dead_letter;
mod watch;

use axum::{extract::State, response::Response};
use crm_core::{
    Crm,
    access::Principal,
    job::{Job, JobId, Jobs},
    list::{List, ListBody},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    extract::{Body, Pairs, Path},
    listed::{ListParameters, listed},
    problem::Result,
    respond::Record,
    state::AppState,
};

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(search))
        .routes(routes!(get))
        .routes(routes!(cancel))
        .merge(watch::routes())
        .merge(dead_letter::routes())
}

/// List jobs
///
/// Long work that the caller started, newest first; everybody's for those who have `jobs:manage`, as Admins do. A job
/// goes from `queued` to `running` to one of `succeeded`, `failed` and `cancelled`. It outlives the process that runs
/// it: another goes on within seconds where it stopped. What may pass by itself, such as a database that is away, is
/// tried again with growing waits. Jobs are kept for 30 days after their end. Filter by `kind`, `state`, `priority`,
/// `record_type`, `record_id`, `created_by_type`, `created_by_id`, `request_id` and the times.
#[utoipa::path(
    get, path = "/jobs", tag = "Jobs", params(ListParameters),
    responses((status = 200, description = "A page of jobs.", body = List<Job>)),
    extensions(("x-permission" = json!("jobs:read")))
)]
async fn list(State(crm): State<Crm>, by: Principal, pairs: Pairs) -> Result<Response> {
    let request = Jobs::listing().from_pairs(&pairs.into_pairs())?;
    let found = crm.jobs().list(&by, &request).await?;
    listed(found, &request)
}

/// Search jobs
///
/// The list with its parameters in a JSON body, for long rules.
#[utoipa::path(
    post, path = "/jobs/search", tag = "Jobs", request_body = ListBody,
    responses((status = 200, description = "A page of jobs.", body = List<Job>)),
    extensions(("x-permission" = json!("jobs:read")))
)]
async fn search(State(crm): State<Crm>, by: Principal, pairs: Pairs, Body(body): Body<ListBody>) -> Result<Response> {
    pairs.only(&[])?;
    let request = Jobs::listing().from_json(body.as_json())?;
    let found = crm.jobs().list(&by, &request).await?;
    listed(found, &request)
}

/// Get a job
///
/// With its progress: what is done of how much, at which rate, and how many seconds the rest takes. What it is about is
/// named by `record_type` and `record_id`; what came of it is in `result`, why it failed in `error`.
#[utoipa::path(
    get, path = "/jobs/{id}", tag = "Jobs", params(("id" = JobId, Path)),
    responses((status = 200, description = "The job.", body = Job)),
    extensions(("x-permission" = json!("jobs:read")))
)]
async fn get(State(crm): State<Crm>, by: Principal, Path(id): Path<JobId>, pairs: Pairs) -> Result<Record<Job>> {
    pairs.only(&[])?;
    let job = crm.jobs().get(&by, id).await?;
    Ok(Record::new(job.meta.version, job))
}

/// Cancel a job
///
/// One that waits is cancelled at once. One that runs is asked to stop (`cancel_requested`) and ends after the step in
/// hand; what it has done stays done. Asking again changes nothing; a job that has ended answers 409.
#[utoipa::path(
    post, path = "/jobs/{id}/cancel", tag = "Jobs", params(("id" = JobId, Path)),
    responses((status = 200, description = "The job as it is now.", body = Job), (status = 409)),
    extensions(("x-permission" = json!("jobs:write")))
)]
async fn cancel(State(crm): State<Crm>, by: Principal, Path(id): Path<JobId>, pairs: Pairs) -> Result<Record<Job>> {
    pairs.only(&[])?;
    let job = crm.jobs().cancel(&by, id).await?;
    Ok(Record::new(job.meta.version, job))
}
