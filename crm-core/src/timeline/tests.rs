use proptest::prelude::*;
use uuid::Uuid;

use super::{
    TimelineEntry,
    page::{Place, newest},
};
use crate::{store::Value, time::Timestamp};

fn entry(at: i64, id: u128) -> TimelineEntry {
    TimelineEntry {
        at: Timestamp::from_milliseconds(at).unwrap(),
        kind: "x",
        id: Uuid::from_u128(id),
        summary: String::new(),
        data: serde_json::value::to_raw_value(&()).unwrap(),
    }
}

/// What a store answers of one source.
fn page_of(source: &[TimelineEntry], rank: usize, after: Option<Place>, limit: usize) -> Vec<(usize, TimelineEntry)> {
    let mut rows = source.to_vec();
    rows.sort_by_key(|row| std::cmp::Reverse((row.at, row.id)));
    let after = after.map(|place| place.of_source(rank));
    let follows = |row: &TimelineEntry| {
        after.as_ref().is_none_or(|after| {
            let [Value::Timestamp(at)] = after.keys.as_slice() else { panic!("{after:?}") };
            (row.at, row.id) < (*at, after.id)
        })
    };
    rows.into_iter().filter(follows).take(limit).map(|row| (rank, row)).collect()
}

proptest! {
    #[test]
    fn pages_together_are_everything_once_in_order(
        sources in prop::collection::vec(prop::collection::vec(0_i64..6, 0..12), 1..4),
        limit in 1_usize..5,
    ) {
        let mut id = 0;
        let sources: Vec<Vec<TimelineEntry>> = sources
            .into_iter()
            .map(|source| source.into_iter().map(|at| { id += 1; entry(at, id) }).collect())
            .collect();
        let all = sources.iter().enumerate().flat_map(|(rank, source)| source.iter().map(move |one| (rank, one.clone())));
        let (expected, _) = newest(all.collect(), usize::MAX - 1);
        let (mut seen, mut place) = (Vec::new(), None);
        loop {
            let pages = sources.iter().enumerate().flat_map(|(rank, source)| page_of(source, rank, place, limit + 1));
            let (data, last) = newest(pages.collect(), limit);
            seen.extend(data);
            place = last;
            if place.is_none() { break; }
        }
        prop_assert_eq!(seen.len(), expected.len());
        for (one, other) in seen.iter().zip(&expected) {
            prop_assert_eq!(one.id, other.id);
        }
    }
}
