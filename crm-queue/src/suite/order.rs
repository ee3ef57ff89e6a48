use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crm_core::port::queue::{Message, Priority, QueueError, Subscription};
use tokio::task::JoinSet;

use super::{
    CheckResult, Failure, Opener,
    failure::{ensure, ensure_equal, ensure_error},
    fixture::{WORK, consumer, ensure_empty, message, next, nothing, number, until_depth, within, workers},
};

/// High comes before normal before low: not without exception, but by far.
///
/// # Errors
/// [`super::Failure`] where the queue differs.
pub async fn priorities(opener: &impl Opener) -> CheckResult {
    const EACH: usize = 20;

    let queue = opener.open().await;
    for priority in [Priority::Low, Priority::Normal, Priority::High] {
        let published: Vec<Message> = (0..EACH).map(|number| Message { priority, ..message(number) }).collect();
        queue.publish(&WORK, &published, Duration::ZERO).await?;
    }
    until_depth(&queue, workers()?, "all are ready", |depth| depth.ready == 3 * EACH as u64).await?;
    let mut deliveries = consumer(&queue, workers()?, 1).await?;
    let mut places: BTreeMap<Priority, Vec<usize>> = BTreeMap::new();
    for place in 0..3 * EACH {
        let delivery = next(&mut deliveries, "a message").await?;
        places.entry(delivery.message().priority).or_default().push(place);
        delivery.acknowledge().await?;
    }
    let average = |priority: Priority| {
        let places = places.get(&priority).map_or(&[][..], Vec::as_slice);
        places.iter().sum::<usize>() / places.len().max(1)
    };
    let [high, normal, low] = Priority::ALL.map(average);
    ensure!(high + 5 < normal && normal + 5 < low, "high came at {high}, normal at {normal}, low at {low} on average");
    ensure_empty(&queue, workers()?).await
}

/// A steady flow of the higher does not keep low from its turn.
///
/// # Errors
/// [`super::Failure`] where the queue differs.
pub async fn low_is_not_starved(opener: &impl Opener) -> CheckResult {
    const HIGH: usize = 150;

    let queue = opener.open().await;
    let of = |priority: Priority, count: usize| -> Vec<Message> {
        (0..count).map(|number| Message { priority, ..message(number) }).collect()
    };
    queue.publish(&WORK, &of(Priority::Low, 2), Duration::ZERO).await?;
    queue.publish(&WORK, &of(Priority::High, HIGH), Duration::ZERO).await?;
    let mut deliveries = consumer(&queue, workers()?, 2).await?;
    let mut before = 0;
    loop {
        let delivery = next(&mut deliveries, "a message").await?;
        let priority = delivery.message().priority;
        delivery.acknowledge().await?;
        if priority == Priority::Low {
            break;
        }
        before += 1;
        ensure!(before < HIGH, "low came only after all of high");
    }
    Ok(())
}

/// Messages of a key come in the order published, one at a time, whoever consumes and whatever is retried.
///
/// # Errors
/// [`super::Failure`] where the queue differs.
pub async fn keys_keep_their_order(opener: &impl Opener) -> CheckResult {
    const KEYS: usize = 6;
    const EACH: usize = 15;

    let (queue, other) = (opener.open().await, opener.join().await);
    let keyed = |number: usize| Message { key: Some(format!("record-{}", number % KEYS)), ..message(number) };
    let all: Vec<Message> = (0..KEYS * EACH).map(keyed).collect();
    let (first, rest) = all.split_at(KEYS * 3);
    queue.publish(&WORK, first, Duration::ZERO).await?;
    let seen: Arc<Mutex<Seen>> = Arc::default();
    let mut running = JoinSet::new();
    for consumed in [&queue, &other, &queue] {
        let mut deliveries = consumer(consumed, workers()?, 4).await?;
        let seen = seen.clone();
        running.spawn(async move {
            while !lock(&seen).is_complete(KEYS * EACH) {
                let Ok(next) = tokio::time::timeout(Duration::from_millis(200), deliveries.next()).await else {
                    continue;
                };
                let Some(delivery) = next? else { break };
                let key = delivery.message().key.clone().unwrap_or_default();
                let number = number(delivery.message());
                lock(&seen).begin(&key, number)?;
                tokio::task::yield_now().await;
                let fails = number % 7 == 3 && delivery.attempt() == 1;
                lock(&seen).end(&key, number, !fails);
                if fails { delivery.retry(Duration::from_millis(100)).await? } else { delivery.acknowledge().await? }
            }
            Ok::<(), Failure>(())
        });
    }
    for some in rest.chunks(7) {
        queue.publish(&WORK, some, Duration::ZERO).await?;
    }
    within("every message is dealt with", async {
        while let Some(ended) = running.join_next().await {
            ended.map_err(|error| Failure::new(format!("a consumer ended badly: {error}")))??;
        }
        Ok::<(), Failure>(())
    })
    .await??;
    for (key, numbers) in &lock(&seen).done {
        let sorted: Vec<usize> = {
            let mut numbers = numbers.clone();
            numbers.sort_unstable();
            numbers
        };
        ensure_equal!(numbers, &sorted, "the order of {key}");
    }
    ensure_empty(&queue, workers()?).await
}

/// A message of a key whose lease is over comes again once, before those behind it, also where who had it lets go later.
///
/// # Errors
/// [`super::Failure`] where the queue differs.
pub async fn keys_keep_their_order_after_a_lease(opener: &impl Opener) -> CheckResult {
    if !opener.watches_leases() {
        return Ok(());
    }
    let queue = opener.open().await;
    let published = [0, 1].map(|number| Message { key: Some("record".to_owned()), ..message(number) });
    queue.publish(&WORK, &published, Duration::ZERO).await?;
    let subscription = Subscription { lease: Duration::from_secs(4), ..Subscription::new(workers()?) };
    let mut deliveries = queue.consume(subscription).await?;
    let lost = next(&mut deliveries, "the first").await?;
    ensure_equal!(number(lost.message()), 0, "the first of the key");
    let again = next(&mut deliveries, "the first, whose lease is over").await?;
    ensure_equal!((number(again.message()), again.attempt()), (0, 2), "the message and its attempt");
    ensure_error!(lost.extend().await, QueueError::Lost, "extending a lease that is over");
    drop(lost);
    nothing(&mut deliveries, "with the first of the key in hand").await?;
    again.acknowledge().await?;
    let last = next(&mut deliveries, "the second").await?;
    ensure_equal!((number(last.message()), last.attempt()), (1, 1), "the message and its attempt");
    last.acknowledge().await?;
    ensure_empty(&queue, workers()?).await
}

/// What consumers have seen of each key.
#[derive(Default)]
struct Seen {
    in_hand: HashSet<String>,
    done: BTreeMap<String, Vec<usize>>,
}

impl Seen {
    fn begin(&mut self, key: &str, number: usize) -> CheckResult {
        ensure!(self.in_hand.insert(key.to_owned()), "{number} of {key} came while another of its key was in hand");
        Ok(())
    }

    fn end(&mut self, key: &str, number: usize, done: bool) {
        self.in_hand.remove(key);
        if done {
            self.done.entry(key.to_owned()).or_default().push(number);
        }
    }

    fn is_complete(&self, count: usize) -> bool {
        self.done.values().map(Vec::len).sum::<usize>() >= count
    }
}

fn lock(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
