use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use uuid::Uuid;

use super::{BATCH, LEASE, Relay, publish_pending};
use crate::{
    Crm, Error, Result,
    event::{Event, EventId, partition_of, set_aside},
    id::OrganizationId,
    port::{EventSink, ManualClock},
    record::{Meta, Record as _},
    store::{Change, Json, Scope, SharedStore, memory::MemoryStore},
    time::Timestamp,
};

/// An event of a record, which is small enough to be told by eye.
pub(super) fn event(id: u128, record: u128, version: i64) -> Event {
    let now = Timestamp::from_milliseconds(1_767_225_600_000).expect("an instant");
    let record_id = Uuid::from_u128(record);
    Event {
        id: EventId(Uuid::from_u128(id)),
        event_type: "customer.updated".to_owned(),
        event_version: 1,
        record_type: "customers".to_owned(),
        record_id,
        record_version: version,
        actor_type: "system".to_owned(),
        actor_id: None,
        request_id: None,
        data: Json::default(),
        partition: Some(partition_of(record_id)),
        published_at: None,
        failures: None,
        held_by: None,
        cause: None,
        meta: Meta::new(OrganizationId::INSTALLATION, now),
    }
}

/// Keeps what it is given, and refuses some.
#[derive(Clone, Default)]
struct Sink {
    taken: Arc<Mutex<Vec<u128>>>,
    refused: Arc<Mutex<BTreeSet<u128>>>,
    away: Arc<Mutex<bool>>,
}

#[async_trait]
impl EventSink for Sink {
    async fn publish(&self, events: &[Event]) -> Result<()> {
        if *self.away.lock().expect("unpoisoned") {
            return Err(Error::Unavailable { message: "away".to_owned(), retry_after: Duration::from_secs(1) });
        }
        let ids: Vec<u128> = events.iter().map(|event| event.id.0.as_u128()).collect();
        if ids.iter().any(|id| self.refused.lock().expect("unpoisoned").contains(id)) {
            return Err(Error::internal("poison"));
        }
        self.taken.lock().expect("unpoisoned").extend(ids);
        Ok(())
    }
}

impl Sink {
    fn taken(&self) -> Vec<u128> {
        std::mem::take(&mut *self.taken.lock().expect("unpoisoned"))
    }
}

struct Place {
    store: SharedStore,
    clock: Arc<ManualClock>,
    sink: Sink,
}

impl Place {
    async fn new() -> Self {
        let store: SharedStore = Arc::new(MemoryStore::new());
        store.migrate(crate::crm::collections(), &|_, _, _| {}).await.expect("the collections are sound");
        let clock = Arc::new(ManualClock::new(event(1, 1, 1).meta.created_at));
        Self { store, clock, sink: Sink::default() }
    }

    fn process(&self) -> Crm {
        Crm::builder(self.store.clone()).clock(Arc::clone(&self.clock)).event_sink(self.sink.clone()).build()
    }

    async fn write(&self, events: &[Event]) {
        let rows = events.iter().map(Event::to_row).collect();
        let insert = Change::Insert { collection: Event::COLLECTION, rows };
        self.store.commit(Scope::Installation, vec![insert]).await.expect("written");
    }
}

/// A poisoned event is set aside, and holds back its own record only.
#[tokio::test]
async fn a_poisoned_event_holds_back_its_own_record() {
    let place = Place::new().await;
    let crm = place.process();
    place.write(&[event(1, 7, 1), event(2, 8, 1), event(3, 7, 2), event(4, 8, 2), event(5, 9, 1)]).await;
    place.sink.refused.lock().expect("unpoisoned").insert(1);
    for _ in 0..20 {
        publish_pending(&crm).await.expect("the store is there");
        place.clock.advance(Duration::from_secs(5));
    }
    assert_eq!(place.sink.taken(), [2, 4, 5], "each once, in order");
    let aside = set_aside::list(&crm, None, 10).await.expect("listed");
    assert_eq!(aside.iter().map(|event| event.id.0.as_u128()).collect::<Vec<_>>(), [1]);
    assert!(aside[0].cause.as_ref().is_some_and(|cause| cause.contains("poison")), "{:?}", aside[0].cause);
    assert_eq!(aside[0].failures, Some(5));

    place.write(&[event(6, 7, 3), event(7, 10, 1)]).await;
    publish_pending(&crm).await.expect("published");
    assert_eq!(place.sink.taken(), [7], "what comes later of its record waits too");
    assert!(!set_aside::replay(&crm, EventId(Uuid::from_u128(3))).await.expect("asked"), "it only waits");

    place.sink.refused.lock().expect("unpoisoned").clear();
    assert!(set_aside::replay(&crm, EventId(Uuid::from_u128(1))).await.expect("replayed"));
    publish_pending(&crm).await.expect("published");
    assert_eq!(place.sink.taken(), [1, 3, 6]);
    assert_eq!(set_aside::list(&crm, None, 10).await.expect("listed"), []);
}

/// More poisoned events than a batch has places do not keep the others waiting.
#[tokio::test]
async fn what_rests_takes_no_places() {
    let place = Place::new().await;
    let crm = place.process();
    let poisoned = 0..BATCH as u128 + 50;
    place.write(&poisoned.clone().map(|id| event(id, 1000 + id, 1)).collect::<Vec<_>>()).await;
    place.write(&[event(1000, 7, 1)]).await;
    place.sink.refused.lock().expect("unpoisoned").extend(poisoned);
    for _ in 0..2 {
        publish_pending(&crm).await.expect("the store is there");
    }
    assert_eq!(place.sink.taken(), [1000]);
}

#[tokio::test]
async fn a_dropped_event_lets_its_record_go_on() {
    let place = Place::new().await;
    let crm = place.process();
    place.write(&[event(1, 7, 1), event(2, 7, 2), event(3, 7, 3)]).await;
    place.sink.refused.lock().expect("unpoisoned").insert(2);
    for _ in 0..20 {
        publish_pending(&crm).await.expect("the store is there");
        place.clock.advance(Duration::from_secs(5));
    }
    assert_eq!(place.sink.taken(), [1]);
    assert!(set_aside::drop(&crm, EventId(Uuid::from_u128(2))).await.expect("dropped"));
    assert!(!set_aside::drop(&crm, EventId(Uuid::from_u128(2))).await.expect("asked"), "it is dropped once");
    publish_pending(&crm).await.expect("published");
    assert_eq!(place.sink.taken(), [3]);
}

/// Who is away takes everything later: nothing is set aside for that.
#[tokio::test]
async fn nothing_is_set_aside_while_nobody_is_there() {
    let place = Place::new().await;
    let crm = place.process();
    place.write(&[event(1, 7, 1), event(2, 8, 1)]).await;
    *place.sink.away.lock().expect("unpoisoned") = true;
    for _ in 0..20 {
        assert!(publish_pending(&crm).await.is_err());
        place.clock.advance(Duration::from_secs(5));
    }
    *place.sink.away.lock().expect("unpoisoned") = false;
    assert_eq!(publish_pending(&crm).await.expect("published"), 2);
    assert_eq!(place.sink.taken(), [1, 2]);
}

/// Two relays share the parts; what one of them has, the other takes when it is silent.
#[tokio::test]
async fn one_relay_at_a_time_publishes_a_part() {
    let place = Place::new().await;
    let (left, right) = (place.process(), place.process());
    let (mut at_left, mut at_right) = (Relay::default(), Relay::default());
    let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
    // Records of two parts.
    place.write(&[event(1, 8, 1)]).await;
    at_left.step(&left, one).await.expect("published");
    assert_eq!(place.sink.taken(), [1]);
    place.write(&[event(2, 8, 2), event(3, 9, 1)]).await;
    at_right.step(&right, two).await.expect("published");
    assert_eq!(place.sink.taken(), [3], "the other part is somebody else's");
    at_left.step(&left, one).await.expect("published");
    assert_eq!(place.sink.taken(), [2]);
    place.write(&[event(4, 8, 3)]).await;
    place.clock.advance(LEASE);
    at_right.step(&right, two).await.expect("published");
    assert_eq!(place.sink.taken(), [4]);
}

/// A record's events come in order though those of others lie between them, and more than a batch.
#[tokio::test]
async fn large_outboxes_are_handed_on_in_order() {
    let place = Place::new().await;
    let crm = place.process();
    let count = 3 * BATCH as u128 + 1;
    let events: Vec<Event> =
        (0..count).map(|number| event(count - number, 7 + number % 2, i64::try_from(number).expect("small"))).collect();
    place.write(&events).await;
    let mut relay = Relay::default();
    while relay.step(&crm, Uuid::from_u128(1)).await.expect("published") {}
    let taken = place.sink.taken();
    for odd in 0..2 {
        let of_record: Vec<u128> = taken.iter().copied().filter(|id| (count - id) % 2 == odd).collect();
        assert!(of_record.iter().rev().is_sorted(), "{of_record:?}");
    }
    assert_eq!(taken.len(), usize::try_from(count).expect("small"));
}
