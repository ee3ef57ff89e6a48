//! From a broker to a consumer: a pump takes messages while fewer than the prefetch are unanswered, and the consumer
//! gets them when it asks.

use std::{sync::Arc, time::Duration};

use crm_core::{
    async_trait,
    port::queue::{Deliveries, Delivery, Message, QueueError, QueueResult, Receipt, Settlement, Subscription},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::Instant,
};

/// A receipt of a message that may not have reached the consumer yet.
pub(crate) trait HeldReceipt: Receipt {
    /// Gives the message back as if it had never been taken.
    fn release(&self);
}

/// A message on its way to the consumer. Dropped on the way, it is released.
pub(crate) struct Parcel {
    message: Option<Message>,
    attempt: u32,
    receipt: Option<Box<dyn HeldReceipt>>,
    permit: Option<OwnedSemaphorePermit>,
    taken_at: Instant,
}

impl Drop for Parcel {
    fn drop(&mut self) {
        if let Some(receipt) = self.receipt.take() {
            receipt.release();
        }
    }
}

/// A receipt whose place among the prefetched is free again when it is gone.
struct Permitted {
    receipt: Box<dyn HeldReceipt>,
    _permit: Option<OwnedSemaphorePermit>,
}

#[async_trait]
impl Receipt for Permitted {
    async fn settle(&self, settlement: Settlement) -> QueueResult<()> {
        self.receipt.settle(settlement).await
    }

    async fn extend(&self) -> QueueResult<()> {
        self.receipt.extend().await
    }

    fn abandon(&self) {
        self.receipt.abandon();
    }
}

/// What a pump hands over through.
pub(crate) struct Handing {
    sender: mpsc::Sender<QueueResult<Parcel>>,
    places: Arc<Semaphore>,
    stopped: watch::Receiver<bool>,
}

impl Handing {
    /// Both ends for a subscription. The pump ends when the consumer is gone, and when `closed` says so.
    pub(crate) fn new(subscription: &Subscription, closed: watch::Receiver<bool>) -> (Self, Box<dyn Deliveries>) {
        let (sender, receiver) = mpsc::channel(usize::from(subscription.prefetch));
        let places = Arc::new(Semaphore::new(usize::from(subscription.prefetch)));
        let handing = Self { sender, places, stopped: closed.clone() };
        (handing, Box::new(Handed { receiver, lease: subscription.lease, closed }))
    }

    /// Waits until the consumer is gone or the queue is closed.
    pub(crate) async fn ended(&self) {
        let mut stopped = self.stopped.clone();
        tokio::select! {
            () = self.sender.closed() => {}
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
    }

    /// Waits for one place, then takes as many as are free, so that a broker is asked for many at once.
    pub(crate) async fn places(&self) -> Vec<OwnedSemaphorePermit> {
        let mut places = Vec::new();
        places.extend(self.places.clone().acquire_owned().await);
        while let Ok(place) = self.places.clone().try_acquire_owned() {
            places.push(place);
        }
        places
    }

    /// Waits for one place.
    pub(crate) async fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.places.clone().acquire_owned().await.ok()
    }

    /// Whether a place is free.
    pub(crate) fn has_place(&self) -> bool {
        self.places.available_permits() > 0
    }

    /// Whether the queue is closed.
    pub(crate) fn is_closed(&self) -> bool {
        *self.stopped.borrow()
    }

    /// Waits until the queue is closed.
    pub(crate) async fn closed(&self) {
        let _ = self.stopped.clone().wait_for(|stopped| *stopped).await;
    }

    /// Hands a message over.
    pub(crate) async fn hand(
        &self,
        message: Message,
        attempt: u32,
        receipt: Box<dyn HeldReceipt>,
        permit: OwnedSemaphorePermit,
    ) {
        let parcel = Parcel {
            message: Some(message),
            attempt,
            receipt: Some(receipt),
            permit: Some(permit),
            taken_at: Instant::now(),
        };
        // A consumer that is gone lets the parcel drop, which releases it.
        let _ = self.sender.send(Ok(parcel)).await;
    }

    /// Tells the consumer that there will be no more, and why.
    pub(crate) async fn fail(&self, error: QueueError) {
        let _ = self.sender.send(Err(error)).await;
    }
}

struct Handed {
    receiver: mpsc::Receiver<QueueResult<Parcel>>,
    lease: Duration,
    closed: watch::Receiver<bool>,
}

#[async_trait]
impl Deliveries for Handed {
    async fn next(&mut self) -> QueueResult<Option<Delivery>> {
        loop {
            if *self.closed.borrow() {
                return Ok(None);
            }
            let received = tokio::select! {
                received = self.receiver.recv() => received,
                _ = self.closed.wait_for(|closed| *closed) => return Ok(None),
            };
            let mut parcel = match received {
                Some(Ok(parcel)) => parcel,
                Some(Err(error)) => return Err(error),
                None => return Ok(None),
            };
            // It waited for the consumer: its lease may be nearly over, or be somebody else's.
            if parcel.taken_at.elapsed() > self.lease / 3
                && let Some(receipt) = &parcel.receipt
                && receipt.extend().await.is_err()
            {
                continue;
            }
            let (Some(message), Some(receipt)) = (parcel.message.take(), parcel.receipt.take()) else { continue };
            let receipt = Permitted { receipt, _permit: parcel.permit.take() };
            return Ok(Some(Delivery::new(message, parcel.attempt, Box::new(receipt))));
        }
    }
}
