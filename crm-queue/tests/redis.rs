//! The suite over Redis.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::{
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use crm_core::port::{
    OperatingSystemRandom, Random as _, SystemClock,
    queue::{Queue as _, QueueError, SharedQueue, Subscription, Topic, Which},
};
use crm_queue::{RedisOptions, RedisQueue, suite::Opener};
use crm_test_servers::{Durability, Redis};

static WORK: Topic = Topic { name: "work", groups: &["workers"] };

/// One for all tests of this process.
static SERVER: LazyLock<Redis> = LazyLock::new(|| Redis::start(Durability::None).unwrap());

/// Queues under a prefix of their own.
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
        let options = RedisOptions::new(SERVER.url(0)).prefix(self.0.lock().unwrap().clone());
        Arc::new(RedisQueue::open(&options, Arc::new(SystemClock), Arc::new(OperatingSystemRandom)).unwrap())
    }
}

crm_queue::queue_suite!(open = Prefixes::default());

/// A password that Redis does not know yet is found right once it does.
#[tokio::test]
async fn a_password_may_be_set_later() {
    let server = Redis::start(Durability::None).unwrap();
    let url = server.url(0).replace("redis://", "redis://:hunter2@");
    let queue =
        RedisQueue::open(&RedisOptions::new(url), Arc::new(SystemClock), Arc::new(OperatingSystemRandom)).unwrap();
    let refused = queue.health().await.unwrap_err();
    assert!(matches!(refused, QueueError::Unusable(_)) && !format!("{refused:?}").contains("hunter2"), "{refused:?}");
    let mut connection = redis::Client::open(server.url(0)).unwrap().get_multiplexed_async_connection().await.unwrap();
    let set = redis::cmd("CONFIG").arg(&["SET", "requirepass", "hunter2"]).query_async::<()>(&mut connection).await;
    set.unwrap();
    let answers = async {
        while queue.health().await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), answers).await.unwrap();
}

/// Entries that somebody else put into a stream become dead letters, and hold back nothing.
#[tokio::test]
async fn what_is_none_of_ours_dies() {
    let opener = Prefixes::default();
    let queue = opener.open().await;
    let stream = format!("{{{}:work}}:workers:normal", opener.0.lock().unwrap());
    let mut connection = redis::Client::open(SERVER.url(0)).unwrap().get_multiplexed_async_connection().await.unwrap();
    for fields in [vec![("m", "no JSON"), ("k", "")], vec![("something", "else")], vec![("m", "{}"), ("a", "x")]] {
        let _: String =
            redis::cmd("XADD").arg(&stream).arg("*").arg(&fields).query_async(&mut connection).await.unwrap();
    }
    let group = WORK.group("workers").unwrap();
    let mut deliveries = queue.consume(Subscription::new(group)).await.unwrap();
    let dead = async {
        while queue.depth(group).await.unwrap().dead < 3 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        dead = tokio::time::timeout(Duration::from_secs(30), dead) => dead.unwrap(),
        delivery = deliveries.next() => panic!("it was handed out: {delivery:?}"),
    }
    let letters = queue.dead_letters(group, None, 10).await.unwrap().letters;
    assert!(letters.iter().all(|letter| letter.cause == "it is no message of the CRM"), "{letters:?}");
    assert_eq!(letters[0].message.body.to_value(), "no JSON");
    assert_eq!(queue.discard(group, Which::All).await.unwrap(), 3);
}
