//! Campaigns that a queue hands out: what it loses, doubles, holds up or cannot take changes nothing of what is sent.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tokio::sync::oneshot;

use super::*;
use crate::port::queue::{
    DeadLetters, Deliveries, Delivery, Depth, Group, Message, Queue, QueueError, QueueResult, Receipt, Settlement,
    SharedQueue, Subscription, Topic, Which,
};

/// A queue of tests, in this process.
#[derive(Default)]
struct Belt {
    waiting: Arc<Mutex<VecDeque<Message>>>,
    more: Arc<Notify>,
    published: AtomicUsize,
    rejected: Arc<Mutex<Vec<String>>>,
    /// It does not answer.
    away: AtomicBool,
    /// Nobody gets anything from it.
    ignored: bool,
    /// Each message comes twice.
    doubles: bool,
    /// Each second message is lost.
    loses: bool,
}

#[async_trait]
impl Queue for Belt {
    async fn publish(&self, _: &'static Topic, messages: &[Message], _: Duration) -> QueueResult<()> {
        if self.away.load(Ordering::Relaxed) {
            return Err(QueueError::unavailable("away"));
        }
        for message in messages {
            let count = self.published.fetch_add(1, Ordering::Relaxed);
            if self.loses && count % 2 == 1 {
                continue;
            }
            for _ in 0..if self.doubles { 2 } else { 1 } {
                self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push_back(message.clone());
            }
        }
        self.more.notify_waiters();
        Ok(())
    }

    async fn consume(&self, _: Subscription) -> QueueResult<Box<dyn Deliveries>> {
        let (waiting, more) = (Arc::clone(&self.waiting), Arc::clone(&self.more));
        Ok(Box::new(Taken { waiting, more, rejected: Arc::clone(&self.rejected), ignored: self.ignored }))
    }

    async fn depth(&self, _: Group) -> QueueResult<Depth> {
        if self.away.load(Ordering::Relaxed) {
            return Err(QueueError::unavailable("away"));
        }
        let ready = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).len();
        Ok(Depth { ready: ready.try_into().unwrap_or(u64::MAX), ..Depth::default() })
    }

    async fn dead_letters(&self, _: Group, _: Option<&str>, _: usize) -> QueueResult<DeadLetters> {
        Ok(DeadLetters::default())
    }

    async fn replay(&self, _: Group, _: Which) -> QueueResult<u64> {
        Ok(0)
    }

    async fn discard(&self, _: Group, _: Which) -> QueueResult<u64> {
        Ok(0)
    }

    async fn health(&self) -> QueueResult<()> {
        Ok(())
    }

    fn engine(&self) -> &'static str {
        "belt"
    }

    async fn close(&self) {}
}

struct Taken {
    waiting: Arc<Mutex<VecDeque<Message>>>,
    more: Arc<Notify>,
    rejected: Arc<Mutex<Vec<String>>>,
    ignored: bool,
}

#[async_trait]
impl Deliveries for Taken {
    async fn next(&mut self) -> QueueResult<Option<Delivery>> {
        loop {
            let more = self.more.notified();
            let taken = if self.ignored {
                None
            } else {
                self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
            };
            match taken {
                Some(message) => {
                    return Ok(Some(Delivery::new(message, 1, Box::new(Answer(Arc::clone(&self.rejected))))));
                }
                None => more.await,
            }
        }
    }
}

struct Answer(Arc<Mutex<Vec<String>>>);

#[async_trait]
impl Receipt for Answer {
    async fn settle(&self, settlement: Settlement) -> QueueResult<()> {
        if let Settlement::Reject(cause) = settlement {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(cause);
        }
        Ok(())
    }

    async fn extend(&self) -> QueueResult<()> {
        Ok(())
    }

    fn abandon(&self) {}
}

/// Two processes with the queue send a campaign to 900 customers to its end, each of whom gets it once.
async fn sent(shop: &Shop, belt: &Arc<Belt>) -> CampaignId {
    shop.customers(named(900)).await;
    let campaign = shop.draft(json!({"launch": true})).await;
    runner::run_due(&shop.crm).await.expect("planned");
    let processes = [2, 3].map(|seed| {
        let crm = Crm::builder(Arc::clone(&shop.store) as SharedStore)
            .clock(Arc::clone(&shop.clock))
            .random(SeededRandom::new(seed))
            .mock_vendor(None)
            .channel(shop.vendor.clone())
            .queue(Arc::clone(belt) as SharedQueue)
            .build();
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(send::run(crm, async move {
            let _ = stopped.await;
        }));
        (stop, running)
    });
    while shop.status(campaign.id).await != CampaignStatus::Sent {
        // The clock of the campaign goes on with that of the test.
        tokio::time::sleep(Duration::from_millis(20)).await;
        shop.clock.advance(Duration::from_millis(20));
    }
    for (stop, running) in processes {
        let _ = stop.send(());
        running.await.expect("ended");
    }
    assert_eq!(shop.figures(campaign.id).await, [0, 900, 0, 0, 0]);
    let came = shop.vendor.came();
    assert_eq!(came.len(), 900);
    assert!(came.values().all(|count| *count == 1), "nobody may get it twice");
    campaign.id
}

#[tokio::test(start_paused = true)]
async fn a_queue_hands_out_what_is_due() {
    for (doubles, loses) in [(false, false), (true, false), (false, true)] {
        let shop = Shop::open(false).await;
        let belt = Arc::new(Belt { doubles, loses, ..Belt::default() });
        sent(&shop, &belt).await;
        // 16 are with such a vendor at once.
        let enough = if doubles { 900 / 16 / 2 } else { 900 / 16 };
        assert!(belt.published.load(Ordering::Relaxed) >= enough, "{:?}", belt.published);
        assert_eq!(*belt.rejected.lock().unwrap_or_else(PoisonError::into_inner), [""; 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn without_its_queue_a_campaign_is_sent_all_the_same() {
    let away = Belt { away: AtomicBool::new(true), ..Belt::default() };
    for belt in [away, Belt { ignored: true, ..Belt::default() }] {
        let shop = Shop::open(true).await;
        sent(&shop, &Arc::new(belt)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_batch_of_a_campaign_is_set_aside() {
    let shop = Shop::open(true).await;
    let belt = Arc::new(Belt::default());
    let message = |version: u32, body: serde_json::Value| Message {
        id: Uuid::nil(),
        kind: "campaign.portion".to_owned(),
        version,
        organization: shop.by.organization,
        key: None,
        priority: crate::port::queue::Priority::Normal,
        published_at: shop.crm.now(),
        request_id: None,
        body: crate::store::Json::from_value(&body),
    };
    let unknown = json!({"campaign_id": Uuid::from_u128(1)});
    belt.waiting.lock().unwrap_or_else(PoisonError::into_inner).extend([
        message(1, json!({"campaign": 7})),
        message(2, unknown.clone()),
        // A campaign that has ended, or never was.
        message(1, unknown),
    ]);
    sent(&shop, &belt).await;
    let mut rejected = belt.rejected.lock().unwrap_or_else(PoisonError::into_inner).clone();
    rejected.sort_unstable();
    assert_eq!(rejected, ["a version that this program does not know", "it names no campaign"]);
}
