use std::{collections::BTreeSet, time::Duration};

use crm_core::port::queue::{ABANDONMENTS, Message, Which};

use super::{
    CheckResult, Opener,
    failure::{ensure, ensure_equal},
    fixture::{WORK, consumer, ensure_empty, message, messages, next, number, until_depth, workers},
};

/// What is rejected is kept with its cause, does not come again by itself, and can be replayed or dropped.
///
/// # Errors
/// [`super::Failure`] where the queue differs.
pub async fn dead_letters_wait_until_they_are_replayed_or_dropped(opener: &impl Opener) -> CheckResult {
    let queue = opener.open().await;
    let group = workers()?;
    let published: Vec<Message> = messages(5);
    queue.publish(&WORK, &published, Duration::ZERO).await?;
    let mut deliveries = consumer(&queue, group, 5).await?;
    for _ in 0..5 {
        let delivery = next(&mut deliveries, "a message").await?;
        if number(delivery.message()) == 0 {
            delivery.acknowledge().await?;
        } else {
            let cause = format!("no use for {} – « {} »", number(delivery.message()), "x".repeat(2000));
            delivery.reject(&cause).await?;
        }
    }
    let depth = until_depth(&queue, group, "dead letters", |depth| depth.dead == 4).await?;
    ensure_equal!((depth.ready, depth.delayed), (0, 0), "ready and delayed");
    let page = queue.dead_letters(group, None, 100).await?;
    ensure_equal!((page.letters.len(), page.next), (4, None), "dead letters on a page");
    for letter in &page.letters {
        let place = number(&letter.message);
        ensure!(
            published.get(place) == Some(&letter.message),
            "the dead letter {:?} is not as published",
            letter.message
        );
        ensure!(letter.cause.starts_with(&format!("no use for {place} – «")), "the cause {:?}", letter.cause);
        ensure_equal!(letter.cause.chars().count(), 1000, "how much of a cause is kept");
        ensure_equal!(letter.attempts, 1, "attempts");
        ensure!(
            letter.died_at.since(letter.message.published_at) < Duration::from_secs(300),
            "died at {}",
            letter.died_at
        );
    }
    ensure_equal!(queue.replay(group, Which::One(published[1].id)).await?, 1, "letters replayed");
    let delivery = next(&mut deliveries, "a letter that is replayed").await?;
    ensure_equal!((number(delivery.message()), delivery.attempt()), (1, 1), "the letter and its attempt");
    delivery.acknowledge().await?;
    ensure_equal!(queue.discard(group, Which::One(published[2].id)).await?, 1, "letters dropped");
    for gone in [published[0].id, published[1].id, published[2].id] {
        ensure_equal!(queue.replay(group, Which::One(gone)).await?, 0, "letters replayed that are not there");
        ensure_equal!(queue.discard(group, Which::One(gone)).await?, 0, "letters dropped that are not there");
    }
    ensure_equal!(queue.replay(group, Which::All).await?, 2, "letters replayed");
    let mut again = BTreeSet::new();
    for _ in 0..2 {
        let delivery = next(&mut deliveries, "a letter that is replayed").await?;
        again.insert(number(delivery.message()));
        delivery.reject("still no use").await?;
    }
    ensure_equal!(again, BTreeSet::from([3, 4]), "what was replayed");
    ensure_equal!(queue.discard(group, Which::All).await?, 2, "letters dropped");
    ensure_equal!(queue.dead_letters(group, None, 100).await?.letters.len(), 0, "dead letters at the end");
    ensure_empty(&queue, group).await
}

/// Pages of dead letters have each once, in the order in which they died.
///
/// # Errors
/// [`super::Failure`] where the queue differs.
pub async fn dead_letters_come_in_pages(opener: &impl Opener) -> CheckResult {
    let queue = opener.open().await;
    let group = workers()?;
    queue.publish(&WORK, &messages(25), Duration::ZERO).await?;
    let mut deliveries = consumer(&queue, group, 1).await?;
    let mut died = Vec::new();
    for _ in 0..25 {
        let delivery = next(&mut deliveries, "a message").await?;
        died.push(number(delivery.message()));
        delivery.reject("a cause").await?;
        // So that no two die in the same millisecond.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let mut listed = Vec::new();
    let mut after: Option<String> = None;
    for size in [10, 10, 5] {
        let page = queue.dead_letters(group, after.as_deref(), 10).await?;
        ensure_equal!(page.letters.len(), size, "letters on a page");
        listed.extend(page.letters.iter().map(|letter| number(&letter.message)));
        after = page.next;
    }
    ensure_equal!(after, None, "where the last page says that another begins");
    ensure_equal!(listed, died, "the letters of all pages");
    until_depth(&queue, group, "dead letters after they were looked at", |depth| depth.dead == 25).await?;
    ensure_equal!(queue.discard(group, Which::All).await?, 25, "letters dropped");
    Ok(())
}

/// A message that ends every consumer becomes a dead letter, and the others go on.
///
/// # Errors
/// [`super::Failure`] where the queue differs.
pub async fn poison_dies(opener: &impl Opener) -> CheckResult {
    let queue = opener.open().await;
    let group = workers()?;
    let poison = message(0);
    queue.publish(&WORK, &[poison.clone(), message(1)], Duration::ZERO).await?;
    let mut deliveries = consumer(&queue, group, 1).await?;
    let mut drops = 0;
    let mut other = false;
    while drops < ABANDONMENTS {
        let delivery = next(&mut deliveries, "a message").await?;
        if delivery.message().id == poison.id {
            drop(delivery);
            drops += 1;
        } else {
            delivery.acknowledge().await?;
            other = true;
        }
    }
    until_depth(&queue, group, "the poison is dead", |depth| depth.dead == 1).await?;
    if !other {
        next(&mut deliveries, "the other message").await?.acknowledge().await?;
    }
    let letters = queue.dead_letters(group, None, 10).await?.letters;
    ensure_equal!(letters.iter().map(|letter| letter.message.id).collect::<Vec<_>>(), vec![poison.id], "who is dead");
    ensure!(!letters[0].cause.is_empty(), "the poison died for no cause");
    ensure_equal!(letters[0].attempts, ABANDONMENTS, "attempts");
    Ok(())
}
