use std::collections::{BTreeSet, HashMap, VecDeque};

use uuid::Uuid;

use super::BATCH;
use crate::{
    crm::Crm,
    error::Result,
    event::{Event, set_aside},
    store::{Query, Scope},
    time::Timestamp,
};

/// Events that may be handed on, those of each record in the order of its versions.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) ready: Vec<Event>,
    /// Records of which an event was set aside, and which.
    pub(super) held_back: Vec<(Uuid, Uuid)>,
}

impl Batch {
    /// Everything that waits of the records of these events: some of it may have come since, or lie behind other
    /// records' events.
    pub(super) async fn load(crm: &Crm, picked: &[Event]) -> Result<Self> {
        let records: BTreeSet<Uuid> = picked.iter().map(|event| event.record_id).collect();
        let mut of_records = Query::new(Event::record_id.one_of(records).and(Event::published_at.missing()), 4 * BATCH);
        // Where there is more, what is left out comes after what is not.
        of_records.sort = vec![Event::record_version.ascending()];
        let events = crm.repo::<Event>().find(Scope::Installation, &of_records).await?.records;
        Ok(Self::of(events, crm.now()))
    }

    fn of(mut events: Vec<Event>, now: Timestamp) -> Self {
        events.sort_by_key(|event| event.id);
        // The order of different records stays as it is.
        let places: Vec<Uuid> = events.iter().map(|event| event.record_id).collect();
        let mut of_records: HashMap<Uuid, Vec<Event>> = HashMap::new();
        for event in events {
            of_records.entry(event.record_id).or_default().push(event);
        }
        let mut batch = Self::default();
        let mut ready: HashMap<Uuid, VecDeque<Event>> = HashMap::new();
        for (record, mut events) in of_records {
            if let Some(by) = events.iter().find_map(|event| event.held_by) {
                if events.iter().any(|event| event.held_by.is_none()) {
                    batch.held_back.push((record, by));
                }
                continue;
            }
            events.sort_by_key(|event| event.record_version);
            if !events.first().is_some_and(|first| set_aside::rests(first, now)) {
                ready.insert(record, events.into());
            }
        }
        let next = |record| ready.get_mut(record).and_then(VecDeque::pop_front);
        batch.ready = places.iter().filter_map(next).collect();
        batch
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{event::relay::tests::event, time::Timestamp};

    fn now() -> Timestamp {
        Timestamp::from_milliseconds(1_767_225_600_000).expect("an instant")
    }

    /// The ids and versions of what may be handed on.
    fn ready(events: Vec<Event>) -> Vec<(u128, i64)> {
        let batch = Batch::of(events, now());
        batch.ready.iter().map(|event| (event.id.0.as_u128(), event.record_version)).collect()
    }

    #[test]
    fn each_record_is_in_the_order_of_its_versions() {
        // The clock of who wrote the second version was behind.
        let events = vec![event(3, 7, 1), event(1, 7, 2), event(2, 8, 1), event(4, 7, 3), event(5, 7, 3)];
        assert_eq!(ready(events), [(3, 1), (2, 1), (1, 2), (4, 3), (5, 3)]);
    }

    #[test]
    fn what_was_set_aside_holds_back_its_record() {
        let poison = Event { held_by: Some(Uuid::from_u128(1)), ..event(1, 7, 1) };
        let batch = Batch::of(vec![poison.clone(), event(2, 7, 2), event(3, 8, 1)], now());
        assert_eq!(batch.held_back, [(Uuid::from_u128(7), Uuid::from_u128(1))]);
        assert_eq!(batch.ready, [event(3, 8, 1)]);
        let behind = Event { held_by: Some(Uuid::from_u128(1)), ..event(2, 7, 2) };
        let batch = Batch::of(vec![poison, behind], now());
        assert!(batch.held_back.is_empty() && batch.ready.is_empty(), "{batch:?}");
    }

    #[test]
    fn what_has_failed_rests_before_it_is_tried_again() {
        let mut failed = Event { failures: Some(2), ..event(1, 7, 1) };
        failed.meta.updated_at = now();
        assert_eq!(ready(vec![failed.clone(), event(2, 7, 2), event(3, 8, 1)]), [(3, 1)]);
        failed.meta.updated_at = now().minus(Duration::from_secs(10));
        assert_eq!(ready(vec![failed, event(2, 7, 2)]), [(1, 1), (2, 2)]);
    }
}
