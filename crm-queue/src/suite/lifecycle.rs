use std::time::Duration;

use crm_core::port::queue::{QueueError, Subscription, Which};

use super::{
    CheckResult, Opener,
    failure::{ensure, ensure_equal, ensure_error},
    fixture::{WORK, consumer, ensure_empty, message, messages, next, within, workers},
};

/// A consumer that leaves gives back what it was not asked for yet, uncounted; what is in hand stays there.
///
/// # Errors
/// [`super::Failure`] where the queue differs.
pub async fn consumers_that_leave_give_back(opener: &impl Opener) -> CheckResult {
    let queue = opener.open().await;
    queue.publish(&WORK, &messages(10), Duration::ZERO).await?;
    let subscription = Subscription { lease: Duration::from_hours(1), ..Subscription::new(workers()?) };
    let mut leaving = queue.consume(subscription).await?;
    let in_hand = next(&mut leaving, "a message").await?;
    drop(leaving);
    let mut deliveries = consumer(&queue, workers()?, 10).await?;
    for _ in 0..9 {
        let delivery = next(&mut deliveries, "a message that was given back").await?;
        ensure_equal!(delivery.attempt(), 1, "the attempt of a message that nobody had");
        delivery.acknowledge().await?;
    }
    in_hand.acknowledge().await?;
    ensure_empty(&queue, workers()?).await
}

/// What a process had in hand when it closed its queue comes to another.
///
/// # Errors
/// [`super::Failure`] where the queue differs.
pub async fn queues_that_close_give_back(opener: &impl Opener) -> CheckResult {
    let (queue, other) = (opener.open().await, opener.join().await);
    queue.publish(&WORK, &messages(10), Duration::ZERO).await?;
    let subscription = Subscription { lease: Duration::from_millis(800), prefetch: 4, ..Subscription::new(workers()?) };
    let mut leaving = queue.consume(subscription).await?;
    let in_hand = next(&mut leaving, "a message").await?;
    queue.close().await;
    let mut deliveries = other.consume(subscription).await?;
    for _ in 0..10 {
        next(&mut deliveries, "a message of the queue that closed").await?.acknowledge().await?;
    }
    ensure!(in_hand.acknowledge().await.is_err(), "what somebody else has done was acknowledged once more");
    ensure_empty(&other, workers()?).await
}

/// A closed queue publishes and tells nothing, and its consumers end.
///
/// # Errors
/// [`super::Failure`] where the queue differs.
pub async fn a_closed_queue_is_closed(opener: &impl Opener) -> CheckResult {
    let queue = opener.open().await;
    let mut deliveries = consumer(&queue, workers()?, 1).await?;
    let waiting = tokio::spawn(async move { deliveries.next().await.map(|delivery| delivery.is_none()) });
    queue.close().await;
    let ended = within("a consumer of a closed queue", waiting).await?;
    ensure!(matches!(ended, Ok(Ok(true))), "a consumer of a closed queue got {ended:?}");
    ensure_error!(queue.publish(&WORK, &[message(0)], Duration::ZERO).await, QueueError::Closed, "publishing");
    let joined = queue.consume(Subscription::new(workers()?)).await.map(|_| ());
    ensure_error!(joined, QueueError::Closed, "joining");
    ensure_error!(queue.depth(workers()?).await, QueueError::Closed, "the depth");
    ensure_error!(queue.dead_letters(workers()?, None, 10).await, QueueError::Closed, "the dead letters");
    ensure_error!(queue.replay(workers()?, Which::All).await, QueueError::Closed, "replaying");
    ensure_error!(queue.discard(workers()?, Which::All).await, QueueError::Closed, "discarding");
    ensure!(queue.health().await.is_err(), "a closed queue is healthy");
    queue.close().await;
    let other = opener.join().await;
    ensure_equal!(other.depth(workers()?).await?.ready, 0, "messages in the end");
    Ok(())
}
