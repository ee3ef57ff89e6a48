use axum::{extract::State, http::HeaderMap, response::Response};
use crm_core::{
    Crm,
    access::Principal,
    async_trait,
    error::Error,
    job::{Job, JobId},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    extract::{Pairs, Path},
    problem::Result,
    state::AppState,
    watching::{Look, Watched, watch as watch_until_its_end},
};

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(watch))
}

/// Watch a job
///
/// Server-sent events: `progress` with the job, as GET shows it, whenever it has changed, and `ended` with the job as the
/// last one. The id of an event is the job's version: who connects again with it in `Last-Event-ID`, as browsers do by
/// themselves, is told what is newer, and is answered 204 where the job has ended and nothing is. A connection ends when
/// who watches may do so no longer, and when the server stops. One caller watches at most 20 jobs at once.
#[utoipa::path(
    get, path = "/jobs/{id}/events", tag = "Jobs",
    params(
        ("id" = JobId, Path),
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that was received."),
    ),
    responses(
        (status = 200, description = "The events.", content((
            String = "text/event-stream",
            example = "event: progress\nid: 3\ndata: {\"id\":\"0198c1de-5f00-7000-8000-000000000001\",\"state\":\"running\"}\n\n"
        ))),
        (status = 204, description = "The job has ended, and the client has seen it."),
    ),
    extensions(("x-permission" = json!("jobs:read")))
)]
async fn watch(
    State(state): State<AppState>,
    by: Principal,
    Path(id): Path<JobId>,
    pairs: Pairs,
    headers: HeaderMap,
) -> Result<Response> {
    pairs.only(&[])?;
    watch_until_its_end(state, by, headers, WatchedJob(id)).await
}

struct WatchedJob(JobId);

#[async_trait]
impl Watched for WatchedJob {
    type Shown = Job;

    async fn look(&self, crm: &Crm, by: &Principal) -> Result<Look<Job>, Error> {
        let job = crm.jobs().get(by, self.0).await?;
        Ok(Look { version: job.meta.version.to_string(), has_ended: job.state.has_ended(), shown: job })
    }
}
