use std::time::Duration;

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue},
    response::{
        IntoResponse as _, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use crm_core::{
    access::{Principal, RequestContext},
    error::Error,
    job::{Job, JobId},
};
use futures::{Stream, stream};
use tokio::time::{Instant, sleep};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    extract::{Pairs, Path, authenticate_again, key_of},
    problem::Result,
    respond::NoContent,
    state::AppState,
    watching::Watching,
};

/// The version of the job that a client has seen last, as browsers send it when they connect again.
const LAST_EVENT_ID: &str = "last-event-id";
/// How often the job is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How often it is looked at whether the client may still watch.
const CHECK: Duration = Duration::from_secs(15);
/// How long a client waits before it connects again.
const RETRY: Duration = Duration::from_secs(2);
/// When another try may find room.
const FULL: Duration = Duration::from_secs(10);

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
    // What is no version was seen of nothing that there is.
    let seen = headers.get(LAST_EVENT_ID).and_then(|seen| seen.to_str().ok()?.trim().parse::<i64>().ok());
    let job = state.crm().jobs().get(&by, id).await?;
    if job.state.has_ended() && seen >= Some(job.meta.version) {
        return Ok(NoContent.into_response());
    }
    let watching = state.watchers().begin(&key_of(&by)).ok_or(Error::RateLimited { retry_after: FULL })?;
    let context = by.context.clone();
    let watch =
        Watch { state, by, headers, context, id, seen, checked: Instant::now(), over: false, _watching: watching };
    let mut response = Sse::new(watch.into_stream()).keep_alive(KeepAlive::new().interval(CHECK)).into_response();
    // A proxy that gathers the answer would only delay it.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// Somebody who watches a job.
struct Watch {
    state: AppState,
    by: Principal,
    headers: HeaderMap,
    context: RequestContext,
    id: JobId,
    /// The version that was told last.
    seen: Option<i64>,
    /// When it was last looked at whether they may.
    checked: Instant,
    over: bool,
    _watching: Watching,
}

impl Watch {
    fn into_stream(self) -> impl Stream<Item = Result<Event, axum::Error>> {
        stream::unfold(self, async |mut watch| {
            let job = watch.next().await?;
            let told = event(&job);
            watch.seen = Some(job.meta.version);
            watch.over = job.state.has_ended();
            Some((told, watch))
        })
    }

    /// The job once it is newer than what was told; nothing where there is no more to tell, or nobody who may be told.
    async fn next(&mut self) -> Option<Job> {
        while !self.over {
            if self.checked.elapsed() >= CHECK {
                self.by = authenticate_again(&self.state, &self.headers, self.context.clone()).await.ok()?;
                self.checked = Instant::now();
            }
            match self.state.crm().jobs().get(&self.by, self.id).await {
                Ok(job) if self.seen < Some(job.meta.version) => return Some(job),
                // Nothing new; or the store is away: the client is not to blame.
                Ok(_) | Err(Error::Unavailable { .. }) => {}
                Err(_) => return None,
            }
            tokio::select! {
                () = sleep(LOOK) => {}
                () = self.state.options().stopping.cancelled() => return None,
            }
        }
        None
    }
}

fn event(job: &Job) -> Result<Event, axum::Error> {
    let name = if job.state.has_ended() { "ended" } else { "progress" };
    Event::default().event(name).id(job.meta.version.to_string()).retry(RETRY).json_data(job)
}
