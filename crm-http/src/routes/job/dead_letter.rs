use axum::{extract::State, response::Response};
use crm_core::{
    Crm,
    access::Principal,
    job::{Dropped, Job, JobId, Jobs, Replayed},
    list::List,
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    extract::{Pairs, Path},
    listed::{ListParameters, listed},
    problem::Result,
    respond::{Json, Record},
    state::AppState,
};

/// Names the jobs that a call is about.
const KIND: &str = "kind";

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, drop_all))
        .routes(routes!(replay_all))
        .routes(routes!(drop_one))
        .routes(routes!(replay))
}

/// List dead letters
///
/// The jobs that failed, of the whole organization: each is kept for 30 days after its end with what it was given, until
/// somebody replays it, once its cause is mended, or drops it. What bulk changes and creations of customers were given is
/// kept for a day, and only where the reason may pass: later they are begun anew. Why a job failed is in `error`, since
/// when in `dead_at`.
/// Filters are those of the list of jobs, such as `kind`.
#[utoipa::path(
    get, path = "/jobs/dead-letters", tag = "Jobs", params(ListParameters),
    responses((status = 200, description = "A page of dead letters.", body = List<Job>)),
    extensions(("x-permission" = json!("jobs:manage")))
)]
async fn list(State(crm): State<Crm>, by: Principal, pairs: Pairs) -> Result<Response> {
    let request = Jobs::listing().from_pairs(&pairs.into_pairs())?;
    let found = crm.jobs().dead_letters().list(&by, &request).await?;
    listed(found, &request)
}

/// Replay a dead letter
///
/// The job goes back into the queue, with all its attempts, and goes on where it stopped. One that is no dead letter, or
/// whose record has changed since so that it cannot be done any more, answers 409.
#[utoipa::path(
    post, path = "/jobs/dead-letters/{id}/replay", tag = "Jobs", params(("id" = JobId, Path)),
    responses((status = 200, description = "The job, queued again.", body = Job), (status = 409)),
    extensions(("x-permission" = json!("jobs:manage")))
)]
async fn replay(State(crm): State<Crm>, by: Principal, Path(id): Path<JobId>, pairs: Pairs) -> Result<Record<Job>> {
    pairs.only(&[])?;
    let job = crm.jobs().dead_letters().replay(&by, id).await?;
    Ok(Record::new(job.meta.version, job))
}

/// Replay all dead letters
///
/// The oldest go first, at most 1000 of them; `has_more` says that there are others.
#[utoipa::path(
    post, path = "/jobs/dead-letters/replay", tag = "Jobs",
    params(("kind" = Option<String>, Query, description = "Only those of this kind.")),
    responses((status = 200, description = "How many were replayed.", body = Replayed)),
    extensions(("x-permission" = json!("jobs:manage")))
)]
async fn replay_all(State(crm): State<Crm>, by: Principal, pairs: Pairs) -> Result<Json<Replayed>> {
    pairs.only(&[KIND])?;
    Ok(Json(crm.jobs().dead_letters().replay_all(&by, pairs.get(KIND)).await?))
}

/// Drop a dead letter
///
/// The job stays in the list of jobs as failed, without what it was given, and cannot be replayed any more.
#[utoipa::path(
    delete, path = "/jobs/dead-letters/{id}", tag = "Jobs", params(("id" = JobId, Path)),
    responses((status = 200, description = "The job.", body = Job), (status = 409)),
    extensions(("x-permission" = json!("jobs:manage")))
)]
async fn drop_one(State(crm): State<Crm>, by: Principal, Path(id): Path<JobId>, pairs: Pairs) -> Result<Record<Job>> {
    pairs.only(&[])?;
    let job = crm.jobs().dead_letters().drop(&by, id).await?;
    Ok(Record::new(job.meta.version, job))
}

/// Drop all dead letters
///
/// The oldest go first, at most 1000 of them; `has_more` says that there are others.
#[utoipa::path(
    delete, path = "/jobs/dead-letters", tag = "Jobs",
    params(("kind" = Option<String>, Query, description = "Only those of this kind.")),
    responses((status = 200, description = "How many were dropped.", body = Dropped)),
    extensions(("x-permission" = json!("jobs:manage")))
)]
async fn drop_all(State(crm): State<Crm>, by: Principal, pairs: Pairs) -> Result<Json<Dropped>> {
    pairs.only(&[KIND])?;
    Ok(Json(crm.jobs().dead_letters().drop_all(&by, pairs.get(KIND)).await?))
}
