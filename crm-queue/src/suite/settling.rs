use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crm_core::port::queue::{QueueError, Subscription};
use tokio::{task::JoinSet, time::Instant};

use super::{
    CheckResult, Failure, Opener,
    failure::{ensure, ensure_equal, ensure_error},
    fixture::{WORK, consumer, ensure_empty, message, messages, next, nothing, number, within, workers},
};

/// A message that is to be retried comes again after its time, with its attempts counted.
///
/// # Errors
/// [`super::Failure`] where the queue differs.
pub async fn retries(opener: &impl Opener) -> CheckResult {
    let queue = opener.open().await;
    queue.publish(&WORK, &[message(7)], Duration::ZERO).await?;
    let mut deliveries = consumer(&queue, workers()?, 1).await?;
    let mut delivery = next(&mut deliveries, "the message").await?;
    for (attempt, delay) in [(1, 700), (2, 0), (3, 100), (4, 0)] {
        ensure_equal!(delivery.attempt(), attempt, "the attempt");
        ensure_equal!(number(delivery.message()), 7, "the message");
        let (delay, asked) = (Duration::from_millis(delay), Instant::now());
        delivery.retry(delay).await?;
        delivery = next(&mut deliveries, "the next attempt").await?;
        ensure!(asked.elapsed() >= delay, "retried after {:?}, not {delay:?}", asked.elapsed());
    }
    ensure_equal!(queue.depth(workers()?).await?.dead, 0, "dead letters");
    delivery.acknowledge().await?;
    ensure_empty(&queue, workers()?).await
}

/// A delivery that is dropped without an answer, as by a panic, comes back to somebody soon.
///
/// # Errors
/// [`super::Failure`] where the queue differs.
pub async fn dropped_deliveries_come_back(opener: &impl Opener) -> CheckResult {
    let queue = opener.open().await;
    queue.publish(&WORK, &messages(5), Duration::ZERO).await?;
    let subscription = Subscription { lease: Duration::from_hours(1), ..Subscription::new(workers()?) };
    let mut deliveries = queue.consume(subscription).await?;
    let mut dropped = Vec::new();
    for _ in 0..5 {
        dropped.push(next(&mut deliveries, "a message").await?);
    }
    drop(dropped);
    for _ in 0..5 {
        let delivery = next(&mut deliveries, "a message that was dropped").await?;
        ensure_equal!(delivery.attempt(), 2, "the attempt after a drop");
        delivery.acknowledge().await?;
    }
    ensure_empty(&queue, workers()?).await
}

/// A consumer that hangs loses its messages to others when its lease is over, and is told so.
///
/// # Errors
/// [`super::Failure`] where the queue differs.
pub async fn expired_leases_are_given_to_others(opener: &impl Opener) -> CheckResult {
    if !opener.watches_leases() {
        return Ok(());
    }
    let (queue, other) = (opener.open().await, opener.join().await);
    queue.publish(&WORK, &messages(3), Duration::ZERO).await?;
    // With its hands full, so that it does not get them again itself.
    let brief = Subscription { lease: Duration::from_secs(3), prefetch: 3, ..Subscription::new(workers()?) };
    let mut hanging = queue.consume(brief).await?;
    let mut lost = Vec::new();
    for _ in 0..3 {
        lost.push(next(&mut hanging, "a message").await?);
    }
    // A broker may go by the lease of whoever takes over.
    let mut deliveries = other.consume(brief).await?;
    for _ in 0..3 {
        let delivery = next(&mut deliveries, "a message whose lease is over").await?;
        ensure!(delivery.attempt() >= 2, "attempt {} after a lease", delivery.attempt());
        delivery.acknowledge().await?;
    }
    for delivery in lost {
        ensure_error!(delivery.extend().await, QueueError::Lost, "extending a lease that is over");
        ensure_error!(delivery.acknowledge().await, QueueError::Lost, "acknowledging what somebody else has done");
    }
    ensure_empty(&queue, workers()?).await
}

/// A lease that is extended lasts.
///
/// # Errors
/// [`super::Failure`] where the queue differs.
pub async fn extended_leases_last(opener: &impl Opener) -> CheckResult {
    let (queue, other) = (opener.open().await, opener.join().await);
    queue.publish(&WORK, &[message(0)], Duration::ZERO).await?;
    let subscription = Subscription { lease: Duration::from_secs(5), ..Subscription::new(workers()?) };
    let mut deliveries = queue.consume(subscription).await?;
    let delivery = next(&mut deliveries, "the message").await?;
    let mut others = other.consume(subscription).await?;
    let begun = Instant::now();
    while begun.elapsed() <= subscription.lease {
        nothing(&mut others, "while the lease is extended").await?;
        delivery.extend().await?;
    }
    delivery.acknowledge().await?;
    ensure_empty(&queue, workers()?).await
}

/// No more deliveries than the prefetch are unanswered.
///
/// # Errors
/// [`super::Failure`] where the queue differs.
pub async fn no_more_than_the_prefetch(opener: &impl Opener) -> CheckResult {
    let queue = opener.open().await;
    queue.publish(&WORK, &messages(9), Duration::ZERO).await?;
    let mut deliveries = consumer(&queue, workers()?, 3).await?;
    let mut in_hand = Vec::new();
    for _ in 0..3 {
        in_hand.push(next(&mut deliveries, "a message").await?);
    }
    nothing(&mut deliveries, "with the prefetch in hand").await?;
    for _ in 0..6 {
        if let Some(delivery) = in_hand.pop() {
            delivery.acknowledge().await?;
        }
        in_hand.push(next(&mut deliveries, "a message after one was acknowledged").await?);
    }
    for delivery in in_hand {
        delivery.acknowledge().await?;
    }
    ensure_empty(&queue, workers()?).await
}

/// With many consumers in two processes that acknowledge, retry, drop and leave, every message is dealt with.
///
/// # Errors
/// [`super::Failure`] where the queue differs.
pub async fn nothing_is_lost_among_racing_consumers(opener: &impl Opener) -> CheckResult {
    const COUNT: usize = 300;

    let (queue, other) = (opener.open().await, opener.join().await);
    let done: Arc<Mutex<BTreeMap<usize, usize>>> = Arc::default();
    let mut running = JoinSet::new();
    for place in 0..6_usize {
        let queue = if place % 2 == 0 { queue.clone() } else { other.clone() };
        let done = done.clone();
        let group = workers()?;
        running.spawn(async move {
            let mut deliveries = consumer(&queue, group, 5).await?;
            let mut taken = 0_usize;
            while done.lock().unwrap_or_else(PoisonError::into_inner).len() < COUNT {
                let Ok(next) = tokio::time::timeout(Duration::from_millis(200), deliveries.next()).await else {
                    continue;
                };
                let Some(delivery) = next? else { break };
                taken += 1;
                let number = number(delivery.message());
                match (number + taken * 3) % 11 {
                    0 if delivery.attempt() < 5 => delivery.retry(Duration::ZERO).await?,
                    1 if delivery.attempt() < 5 => drop(delivery),
                    _ => {
                        delivery.acknowledge().await?;
                        *done.lock().unwrap_or_else(PoisonError::into_inner).entry(number).or_default() += 1;
                    }
                }
                if taken.is_multiple_of(40) {
                    // Leaves with what it has, and comes back.
                    drop(deliveries);
                    deliveries = consumer(&queue, group, 5).await?;
                }
            }
            Ok::<(), Failure>(())
        });
    }
    for some in messages(COUNT).chunks(25) {
        queue.publish(&WORK, some, Duration::ZERO).await?;
    }
    within("every message is dealt with", async {
        while let Some(ended) = running.join_next().await {
            ended.map_err(|error| Failure::new(format!("a consumer ended badly: {error}")))??;
        }
        Ok::<(), Failure>(())
    })
    .await??;
    let done = done.lock().unwrap_or_else(PoisonError::into_inner).clone();
    ensure_equal!(done.keys().copied().collect::<Vec<_>>(), (0..COUNT).collect::<Vec<_>>(), "what was dealt with");
    let twice: Vec<usize> = done.iter().filter(|(_, times)| **times > 1).map(|(number, _)| *number).collect();
    ensure!(twice.is_empty(), "acknowledged more than once, though nobody crashed: {twice:?}");
    ensure_empty(&queue, workers()?).await
}
