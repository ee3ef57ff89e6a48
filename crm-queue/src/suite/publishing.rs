use std::{collections::BTreeSet, time::Duration};

use crm_core::{
    port::queue::{MAX_BODY, Message, Priority, QueueError, Subscription, Topic},
    store::Json,
};
use tokio::time::Instant;

use super::{
    CheckResult, Opener,
    failure::{ensure, ensure_equal, ensure_error},
    fixture::{NEWS, WORK, consumer, ensure_empty, message, messages, next, nothing, number, workers},
};

/// Every member of a message comes out as it went in, and each message comes once.
///
/// # Errors
/// [`super::Failure`] where the queue differs.
pub async fn messages_come_as_published(opener: &impl Opener) -> CheckResult {
    let queue = opener.open().await;
    let mut published = messages(100);
    for (place, message) in published.iter_mut().enumerate() {
        message.priority = Priority::ALL[place % 3];
        message.version = u32::try_from(place).unwrap_or(0) + 1;
    }
    published[0].request_id = Some("request-1".to_owned());
    published[1].key = Some("ключ / 1: \"{}\"".to_owned());
    published[2].kind = "x".repeat(128);
    published[3].body =
        Json::from_value(&serde_json::json!({"text": "naïve 😀 \" \\ \n", "list": [1, -2.5, null, true], "": {}}));
    published[4].body = Json::from_value(&serde_json::json!("only a text"));
    queue.publish(&WORK, &[], Duration::ZERO).await?;
    queue.publish(&WORK, &published[..1], Duration::ZERO).await?;
    queue.publish(&WORK, &published[1..], Duration::ZERO).await?;
    let mut deliveries = consumer(&queue, workers()?, 10).await?;
    let mut seen = BTreeSet::new();
    for _ in 0..published.len() {
        let delivery = next(&mut deliveries, "a message that was published").await?;
        let came = delivery.message().clone();
        ensure_equal!(delivery.attempt(), 1, "the attempt of a first delivery");
        let Some(expected) = published.iter().find(|message| message.id == came.id) else {
            return Err(super::Failure::new(format!("nobody published {came:?}")));
        };
        let meaning =
            |message: &Message| (Message { body: Json::default(), ..message.clone() }, message.body.to_value());
        ensure_equal!(meaning(&came), meaning(expected), "a message");
        ensure!(seen.insert(came.id), "{} came twice", came.id);
        delivery.acknowledge().await?;
    }
    nothing(&mut deliveries, "after all were acknowledged").await?;
    ensure_empty(&queue, workers()?).await
}

/// Each group gets each message, whatever the other does with it.
///
/// # Errors
/// [`super::Failure`] where the queue differs.
pub async fn each_group_gets_each_message(opener: &impl Opener) -> CheckResult {
    let queue = opener.open().await;
    queue.publish(&NEWS, &messages(20), Duration::ZERO).await?;
    for (name, rejects) in [("readers", true), ("archive-2", false)] {
        let group = NEWS.group(name)?;
        let mut deliveries = consumer(&queue, group, 5).await?;
        let mut numbers = BTreeSet::new();
        for _ in 0..20 {
            let delivery = next(&mut deliveries, "a message of the group").await?;
            numbers.insert(number(delivery.message()));
            if rejects { delivery.reject("not for us").await? } else { delivery.acknowledge().await? }
        }
        ensure_equal!(numbers, (0..20).collect::<BTreeSet<_>>(), "what {name} got");
    }
    ensure_equal!(queue.dead_letters(NEWS.group("readers")?, None, 100).await?.letters.len(), 20, "dead letters");
    ensure_equal!(queue.depth(NEWS.group("archive-2")?).await?.dead, 0, "dead letters of the other group");
    Ok(())
}

/// The same message published again, as after an answer that did not arrive, comes once or twice with the same id.
///
/// # Errors
/// [`super::Failure`] where the queue differs.
pub async fn repetitions_are_taken(opener: &impl Opener) -> CheckResult {
    let queue = opener.open().await;
    let published = messages(3);
    queue.publish(&WORK, &published[..2], Duration::ZERO).await?;
    queue.publish(&WORK, &published, Duration::ZERO).await?;
    let mut deliveries = consumer(&queue, workers()?, 10).await?;
    let mut seen = BTreeSet::new();
    while seen.len() < 3 {
        let delivery = next(&mut deliveries, "a message that was published").await?;
        seen.insert(number(delivery.message()));
        delivery.acknowledge().await?;
    }
    while let Ok(Ok(Some(delivery))) = tokio::time::timeout(super::fixture::WATCH, deliveries.next()).await {
        ensure!(published.iter().any(|message| message.id == delivery.message().id), "an id that nobody published");
        delivery.acknowledge().await?;
    }
    ensure_empty(&queue, workers()?).await
}

/// Nothing comes before its delay has passed, whatever is published after it.
///
/// # Errors
/// [`super::Failure`] where the queue differs.
pub async fn delays(opener: &impl Opener) -> CheckResult {
    let queue = opener.open().await;
    let mut deliveries = consumer(&queue, workers()?, 10).await?;
    let started = Instant::now();
    let long = Duration::from_millis(1700);
    let short = Duration::from_millis(600);
    queue.publish(&WORK, &[message(2)], long).await?;
    queue.publish(&WORK, &[message(1)], short).await?;
    queue.publish(&WORK, &[message(0)], Duration::ZERO).await?;
    for (expected, delay) in [(0, Duration::ZERO), (1, short), (2, long)] {
        let delivery = next(&mut deliveries, "a delayed message").await?;
        ensure_equal!(number(delivery.message()), expected, "which comes next");
        ensure!(started.elapsed() >= delay, "the message delayed by {delay:?} came after {:?}", started.elapsed());
        ensure_equal!(delivery.attempt(), 1, "the attempt of a delayed message");
        delivery.acknowledge().await?;
    }
    ensure_empty(&queue, workers()?).await
}

/// A body of a megabyte passes, one of ten is refused with nothing sent.
///
/// # Errors
/// [`super::Failure`] where the queue differs.
pub async fn large_bodies(opener: &impl Opener) -> CheckResult {
    let queue = opener.open().await;
    let body = |size: usize| Json::from_trusted(format!("\"{}\"", "x".repeat(size - 2)));
    let too_large = Message { body: body(10_000_000), ..message(1) };
    let published = queue.publish(&WORK, &[message(0), too_large], Duration::ZERO).await;
    ensure_error!(published, QueueError::TooLarge(_), "publishing a body of 10 MB");
    let largest = Message { body: body(MAX_BODY), ..message(2) };
    queue.publish(&WORK, std::slice::from_ref(&largest), Duration::ZERO).await?;
    let mut deliveries = consumer(&queue, workers()?, 1).await?;
    let delivery = next(&mut deliveries, "the largest message").await?;
    ensure!(delivery.message() == &largest, "the largest message came out changed");
    delivery.acknowledge().await?;
    ensure_empty(&queue, workers()?).await
}

/// What does not fit the contract is refused, and nothing is sent.
///
/// # Errors
/// [`super::Failure`] where the queue differs.
pub async fn misuse_is_refused(opener: &impl Opener) -> CheckResult {
    static MISNAMED: Topic = Topic { name: "Wörk", groups: &["workers"] };

    let queue = opener.open().await;
    let group = workers()?;
    let misnamed = queue.publish(&MISNAMED, &[message(0)], Duration::ZERO).await;
    ensure_error!(misnamed, QueueError::Misuse(_), "a topic with a wrong name");
    let nameless = Message { kind: String::new(), ..message(1) };
    let published = queue.publish(&WORK, &[message(0), nameless], Duration::ZERO).await;
    ensure_error!(published, QueueError::Misuse(_), "a message without a kind");
    for subscription in [
        Subscription { prefetch: 0, ..Subscription::new(group) },
        Subscription { prefetch: 1001, ..Subscription::new(group) },
        Subscription { lease: Duration::ZERO, ..Subscription::new(group) },
    ] {
        let joined = queue.consume(subscription).await.map(|_| ());
        ensure_error!(joined, QueueError::Misuse(_), "{subscription:?}");
    }
    for limit in [0, 1001] {
        ensure_error!(queue.dead_letters(group, None, limit).await, QueueError::Misuse(_), "a page of {limit}");
    }
    ensure_error!(queue.dead_letters(group, Some("?"), 1).await, QueueError::Misuse(_), "a page after nowhere");
    queue.health().await?;
    ensure_empty(&queue, group).await
}
