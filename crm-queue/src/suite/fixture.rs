//! Topics and messages for the checks, and waits that end.

use std::{future::Future, time::Duration};

use crm_core::{
    id::{OrganizationId, new_uuid},
    port::{
        Clock as _, OperatingSystemRandom, SystemClock,
        queue::{Deliveries, Delivery, Depth, Group, Message, Priority, SharedQueue, Subscription, Topic},
    },
    store::Json,
};

use super::failure::{CheckResult, Failure};

/// What most checks publish about.
pub(super) static WORK: Topic = Topic { name: "work", groups: &["workers"] };
/// A topic of which two groups hear.
pub(super) static NEWS: Topic = Topic { name: "news", groups: &["readers", "archive-2"] };

/// The longest that something may take that must happen.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long it is watched that something does not happen.
pub(super) const WATCH: Duration = Duration::from_millis(400);

/// The workers.
pub(super) fn workers() -> Result<Group, Failure> {
    Ok(WORK.group("workers")?)
}

/// A message with a number in its body.
pub(super) fn message(number: usize) -> Message {
    let now = SystemClock.now();
    Message {
        id: new_uuid(now, &OperatingSystemRandom),
        kind: "work.wanted".to_owned(),
        version: 1,
        organization: OrganizationId(new_uuid(now, &OperatingSystemRandom)),
        key: None,
        priority: Priority::Normal,
        published_at: now,
        request_id: None,
        body: Json::from_value(&serde_json::json!({ "number": number })),
    }
}

/// Messages numbered from 0.
pub(super) fn messages(count: usize) -> Vec<Message> {
    (0..count).map(message).collect()
}

/// The number in a message's body.
pub(super) fn number(message: &Message) -> usize {
    message
        .body
        .to_value()
        .get("number")
        .and_then(serde_json::Value::as_u64)
        .map_or(usize::MAX, |number| number as usize)
}

/// The answer, if it comes in time.
pub(super) async fn within<T>(what: &str, future: impl Future<Output = T>) -> Result<T, Failure> {
    tokio::time::timeout(PATIENCE, future)
        .await
        .map_err(|_| Failure::new(format!("{what}: nothing within {PATIENCE:?}")))
}

/// The next delivery, which must come.
pub(super) async fn next(deliveries: &mut Box<dyn Deliveries>, what: &str) -> Result<Delivery, Failure> {
    within(what, deliveries.next()).await??.ok_or_else(|| Failure::new(format!("{what}: the deliveries have ended")))
}

/// Whether nothing comes for a while.
pub(super) async fn nothing(deliveries: &mut Box<dyn Deliveries>, what: &str) -> CheckResult {
    match tokio::time::timeout(WATCH, deliveries.next()).await {
        Err(_) => Ok(()),
        Ok(other) => Err(Failure::new(format!("{what}: something came: {other:?}"))),
    }
}

/// A consumer of the group with this prefetch.
pub(super) async fn consumer(queue: &SharedQueue, group: Group, prefetch: u16) -> Result<Box<dyn Deliveries>, Failure> {
    Ok(queue.consume(Subscription { prefetch, ..Subscription::new(group) }).await?)
}

/// Waits until the depth is such.
pub(super) async fn until_depth(
    queue: &SharedQueue,
    group: Group,
    what: &str,
    holds: impl Fn(&Depth) -> bool,
) -> Result<Depth, Failure> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let depth = queue.depth(group).await?;
        if holds(&depth) {
            return Ok(depth);
        }
        if tokio::time::Instant::now() > deadline {
            return Err(Failure::new(format!("{what}: after {PATIENCE:?} the depth is {depth:?}")));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Whether nothing is left of the group's messages.
pub(super) async fn ensure_empty(queue: &SharedQueue, group: Group) -> CheckResult {
    until_depth(queue, group, "nothing is left", |depth| {
        (depth.ready, depth.delayed, depth.in_hand.unwrap_or(0), depth.dead) == (0, 0, 0, 0)
    })
    .await
    .map(|_| ())
}
