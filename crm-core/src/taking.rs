//! Takes messages of a group from the queue, and deals with several at once.

use std::{future::Future, time::Duration};

use tokio::{task::JoinSet, time::sleep};

use crate::port::queue::{Delivery, QueueResult, SharedQueue, Subscription};

/// The pause before the queue is asked again that could not be.
const PAUSE: Duration = Duration::from_secs(5);

/// Has each message dealt with until `stop` resolves or the queue is closed, then waits for those in hand.
pub(crate) async fn run<D>(
    queue: &SharedQueue,
    subscription: Subscription,
    stop: impl Future<Output = ()> + Send,
    deal: impl Fn(Delivery) -> D + Sync,
) where
    D: Future<Output = ()> + Send + 'static,
{
    let mut stop = std::pin::pin!(stop);
    let mut in_hand = JoinSet::new();
    loop {
        tokio::select! {
            () = &mut stop => break,
            taken = take(queue, subscription, &deal, &mut in_hand) => match taken {
                // It was closed.
                Ok(()) => break,
                Err(error) => tracing::error!(
                    topic = subscription.group.topic().name,
                    error = &error as &dyn std::error::Error,
                    "nothing comes from the queue; it will be tried again"
                ),
            },
        }
        tokio::select! {
            () = &mut stop => break,
            () = sleep(PAUSE) => {}
        }
    }
    // One that panicked has given its message back.
    while in_hand.join_next().await.is_some() {}
}

async fn take<D>(
    queue: &SharedQueue,
    subscription: Subscription,
    deal: &(impl Fn(Delivery) -> D + Sync),
    in_hand: &mut JoinSet<()>,
) -> QueueResult<()>
where
    D: Future<Output = ()> + Send + 'static,
{
    let mut deliveries = queue.consume(subscription).await?;
    while let Some(delivery) = deliveries.next().await? {
        while in_hand.try_join_next().is_some() {}
        in_hand.spawn(deal(delivery));
    }
    Ok(())
}
