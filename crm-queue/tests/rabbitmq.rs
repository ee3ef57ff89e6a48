//! The suite over RabbitMQ.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::{
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use crm_core::{
    id::{OrganizationId, new_uuid},
    port::{
        Clock as _, OperatingSystemRandom, Random as _, SystemClock,
        queue::{Message, Priority, Queue as _, QueueError, SharedQueue, Subscription, Topic, Which},
    },
    store::Json,
};
use crm_queue::{RabbitMqOptions, RabbitMqQueue, suite::Opener};
use crm_test_servers::RabbitMq;
use lapin::{
    BasicProperties, Confirmation, Connection, ConnectionProperties,
    options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeleteOptions},
};

static WORK: Topic = Topic { name: "work", groups: &["workers"] };

/// One for all tests of this process.
static SERVER: LazyLock<RabbitMq> = LazyLock::new(|| RabbitMq::start().unwrap());

/// Queues under a prefix of their own, with delays that a test can wait for.
#[derive(Default)]
struct Prefixes(Mutex<String>);

impl Opener for Prefixes {
    async fn open(&self) -> SharedQueue {
        let mut bytes = [0; 8];
        OperatingSystemRandom.fill(&mut bytes);
        *self.0.lock().unwrap() = format!("t{}", u64::from_le_bytes(bytes));
        self.join().await
    }

    async fn join(&self) -> SharedQueue {
        let options = RabbitMqOptions::new(SERVER.url())
            .prefix(self.0.lock().unwrap().clone())
            .delay_steps([100, 500].map(Duration::from_millis).to_vec())
            .partitions(2)
            .timeout(Duration::from_secs(20));
        Arc::new(RabbitMqQueue::open(&options, Arc::new(SystemClock), Arc::new(OperatingSystemRandom)).unwrap())
    }
}

crm_queue::queue_suite!(open = Prefixes::default());

/// What somebody else put into a queue becomes a dead letter, and holds back nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_none_of_ours_dies() {
    let opener = Prefixes::default();
    let queue = opener.open().await;
    let group = WORK.group("workers").unwrap();
    let mut deliveries = queue.consume(Subscription::new(group)).await.unwrap();
    let name = format!("{}.work.workers.normal", opener.0.lock().unwrap());
    let connection = Connection::connect(&SERVER.url(), ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let dead = async {
        // The queue is there once the consumer has joined.
        loop {
            let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            let sent = channel
                .basic_publish("".into(), name.as_str().into(), options, b"no JSON", BasicProperties::default())
                .await;
            if sent.unwrap().await.unwrap() == Confirmation::Ack(None) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        while queue.depth(group).await.unwrap().dead < 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        dead = tokio::time::timeout(Duration::from_secs(60), dead) => dead.unwrap(),
        delivery = deliveries.next() => panic!("it was handed out: {delivery:?}"),
    }
    let letters = queue.dead_letters(group, None, 10).await.unwrap().letters;
    assert_eq!(letters[0].cause, "it is no message of the CRM");
    assert_eq!(letters[0].message.body.to_value(), "no JSON");
    assert_eq!(queue.replay(group, Which::All).await.unwrap(), 0, "it would only die again");
    assert_eq!(queue.discard(group, Which::All).await.unwrap(), 1);
}

/// What consumers had at hand and handed to nobody is as it was, however often they went away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_had_is_not_counted() {
    let opener = Prefixes::default();
    let queue = opener.open().await;
    let group = WORK.group("workers").unwrap();
    let behind = message(Priority::Low);
    queue.publish(&WORK, std::slice::from_ref(&behind), Duration::ZERO).await.unwrap();
    let subscription = Subscription { prefetch: 1, ..Subscription::new(group) };
    for _ in 0..25 {
        let first = message(Priority::High);
        queue.publish(&WORK, std::slice::from_ref(&first), Duration::ZERO).await.unwrap();
        let mut deliveries = queue.consume(subscription).await.unwrap();
        // Whichever was there first.
        let delivery =
            tokio::time::timeout(Duration::from_secs(60), deliveries.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(delivery.attempt(), 1);
        drop(deliveries);
        let taken = delivery.message().id;
        delivery.acknowledge().await.unwrap();
        if taken == behind.id {
            queue.publish(&WORK, std::slice::from_ref(&behind), Duration::ZERO).await.unwrap();
        }
    }
    assert_eq!(queue.depth(group).await.unwrap().dead, 0);
}

/// Whoever deletes one queue of a group does not keep its consumers from what is published later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_was_deleted_is_made_again() {
    let opener = Prefixes::default();
    let queue = opener.open().await;
    let mut deliveries = queue.consume(Subscription::new(WORK.group("workers").unwrap())).await.unwrap();
    let connection = Connection::connect(&SERVER.url(), ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let name = format!("{}.work.workers.normal", opener.0.lock().unwrap());
    for deletes in [true, false] {
        let message = message(Priority::Normal);
        let next = async {
            // As a relay does: the same again, until it is confirmed.
            while queue.publish(&WORK, std::slice::from_ref(&message), Duration::ZERO).await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            deliveries.next().await
        };
        let next = tokio::time::timeout(Duration::from_secs(60), next).await;
        let delivery = next.unwrap().unwrap().unwrap();
        assert_eq!(delivery.message().id, message.id);
        delivery.acknowledge().await.unwrap();
        if deletes {
            channel.queue_delete(name.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
        }
    }
}

fn message(priority: Priority) -> Message {
    let now = SystemClock.now();
    Message {
        id: new_uuid(now, &OperatingSystemRandom),
        kind: "work.wanted".to_owned(),
        version: 1,
        organization: OrganizationId::INSTALLATION,
        key: None,
        priority,
        published_at: now,
        request_id: None,
        body: Json::default(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_told_and_not_shown() {
    let url = SERVER.url().replace("guest:guest", "guest:hunter2");
    let options = RabbitMqOptions::new(url);
    let queue = RabbitMqQueue::open(&options, Arc::new(SystemClock), Arc::new(OperatingSystemRandom)).unwrap();
    let mut deliveries = queue.consume(Subscription::new(WORK.group("workers").unwrap())).await.unwrap();
    let refused = deliveries.next().await;
    assert!(matches!(refused, Err(QueueError::Unusable(_))), "{refused:?}");
    assert!(!format!("{refused:?} {:?} {queue:?}", queue.health().await).contains("hunter2"));
}
