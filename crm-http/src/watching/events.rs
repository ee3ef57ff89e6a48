//! Server-sent events of something that goes on for a while, until it has ended.

use std::time::Duration;

use axum::{
    http::{HeaderMap, HeaderValue},
    response::{
        IntoResponse as _, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use crm_core::{Crm, access::Principal, async_trait, error::Error, time::Timestamp};
use futures::{Stream, stream};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::Watching;
use crate::{
    extract::{authenticate_again, key_of},
    problem::Result,
    respond::NoContent,
    state::AppState,
};

/// What a client has seen last, as browsers send it when they connect again.
const LAST_EVENT_ID: &str = "last-event-id";
/// How often it is looked at, where looking takes a moment.
const LOOK: Duration = Duration::from_millis(500);
/// Of the time, looking takes no more than a part in so many.
const SHARE: u32 = 10;
/// How often it is looked at whether the client may still watch.
const CHECK: Duration = Duration::from_secs(15);
/// How long a client waits before it connects again.
const RETRY: Duration = Duration::from_secs(2);
/// When another try may find room.
const FULL: Duration = Duration::from_secs(10);

/// Something to watch.
#[async_trait]
pub(crate) trait Watched: Send + Sync + 'static {
    /// What is shown of it.
    type Shown: Serialize + Send;
    /// It is over where it has ended and nothing has changed for so long.
    const QUIET: Duration = Duration::ZERO;

    /// How it is now.
    async fn look(&self, crm: &Crm, by: &Principal) -> Result<Look<Self::Shown>, Error>;
}

/// How something is that is watched.
#[derive(Debug)]
pub(crate) struct Look<T> {
    /// The id of the event: another whenever there is something new.
    pub(crate) version: String,
    /// Whether it has ended.
    pub(crate) has_ended: bool,
    /// What is shown.
    pub(crate) shown: T,
}

/// Tells what changes as `progress`, and as `ended` at last; 204 where it has ended and the client has seen that.
pub(crate) async fn watch<W: Watched>(
    state: AppState,
    by: Principal,
    headers: HeaderMap,
    watched: W,
) -> Result<Response> {
    let seen = headers.get(LAST_EVENT_ID).and_then(|seen| Some(seen.to_str().ok()?.trim().to_owned()));
    let look = watched.look(state.crm(), &by).await?;
    if look.has_ended && seen.as_deref() == Some(&*look.version) {
        return Ok(NoContent.into_response());
    }
    let watching = state.watchers().begin(&key_of(&by)).ok_or(Error::RateLimited { retry_after: FULL })?;
    let changed = state.crm().now();
    let watch = Watch { state, by, headers, watched, seen, changed, checked: Instant::now(), over: false, watching };
    let mut response = Sse::new(watch.into_stream()).keep_alive(KeepAlive::new().interval(CHECK)).into_response();
    // A proxy that gathers the answer would only delay it.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// Somebody who watches.
struct Watch<W> {
    state: AppState,
    by: Principal,
    headers: HeaderMap,
    watched: W,
    /// The version that was told last.
    seen: Option<String>,
    /// When something was new.
    changed: Timestamp,
    /// When it was last looked at whether they may.
    checked: Instant,
    over: bool,
    #[expect(dead_code, reason = "counts until it is dropped")]
    watching: Watching,
}

impl<W: Watched> Watch<W> {
    fn into_stream(self) -> impl Stream<Item = Result<Event, axum::Error>> {
        stream::unfold(self, async |mut watch| {
            let look = watch.next().await?;
            let name = if watch.over { "ended" } else { "progress" };
            let told = Event::default().event(name).id(&look.version).retry(RETRY).json_data(&look.shown);
            watch.seen = Some(look.version);
            Some((told, watch))
        })
    }

    /// How it is once there is something new, or it is over; nothing where there is no more to tell, or nobody who may be
    /// told.
    async fn next(&mut self) -> Option<Look<W::Shown>> {
        while !self.over {
            if self.checked.elapsed() >= CHECK {
                let context = self.by.context.clone();
                self.by = authenticate_again(&self.state, &self.headers, context).await.ok()?;
                self.checked = Instant::now();
            }
            let begun = Instant::now();
            match self.watched.look(self.state.crm(), &self.by).await {
                Ok(look) => {
                    let now = self.state.crm().now();
                    let is_new = self.seen.as_ref() != Some(&look.version);
                    if is_new {
                        self.changed = now;
                    }
                    self.over = look.has_ended && now.since(self.changed) >= W::QUIET;
                    if is_new || self.over {
                        return Some(look);
                    }
                }
                // The client is not to blame.
                Err(Error::Unavailable { .. }) => {}
                Err(_) => return None,
            }
            tokio::select! {
                () = sleep(LOOK.max(begun.elapsed() * SHARE)) => {}
                () = self.state.options().stopping.cancelled() => return None,
            }
        }
        None
    }
}
