use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use serde_json::value::RawValue;

use super::RelatedKind;
use crate::{
    id::{CustomerId, OrganizationId},
    time::Timestamp,
};

/// So many bytes of answers are kept in all.
const MOST_BYTES: usize = 16 * 1024 * 1024;
/// A longer answer is not kept.
const LONGEST: usize = 256 * 1024;
/// What is older is not told any more.
const OLDEST: Duration = Duration::from_hours(24);

type Key = (OrganizationId, RelatedKind, CustomerId);

/// What services said last, the oldest given up first.
#[derive(Default)]
pub(crate) struct LastAnswers(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    answers: HashMap<Key, Answer>,
    /// The keys in the order in which they were kept, with the number that says whether it is the newest.
    order: VecDeque<(Key, u64)>,
    bytes: usize,
    number: u64,
}

struct Answer {
    records: Vec<Box<RawValue>>,
    at: Timestamp,
    bytes: usize,
    number: u64,
}

impl fmt::Debug for LastAnswers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LastAnswers(…)")
    }
}

impl LastAnswers {
    /// Keeps an answer in the place of the one before.
    pub(crate) fn keep(
        &self,
        organization: OrganizationId,
        kind: RelatedKind,
        customer: CustomerId,
        records: &[Box<RawValue>],
        now: Timestamp,
    ) {
        let key = (organization, kind, customer);
        let bytes = records.iter().map(|record| record.get().len() + 32).sum::<usize>() + 128;
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.forget(&key);
        if bytes > LONGEST {
            return;
        }
        kept.number += 1;
        let number = kept.number;
        kept.bytes += bytes;
        kept.answers.insert(key, Answer { records: records.to_vec(), at: now, bytes, number });
        kept.order.push_back((key, number));
        // Keys that were kept again stand in the order twice: they cost room too.
        while kept.bytes > MOST_BYTES || kept.order.len() > 2 * kept.answers.len() + 16 {
            let Some((oldest, number)) = kept.order.pop_front() else { break };
            if kept.answers.get(&oldest).is_some_and(|answer| answer.number == number) {
                if kept.bytes > MOST_BYTES {
                    kept.forget(&oldest);
                } else {
                    kept.order.push_back((oldest, number));
                }
            }
        }
    }

    /// What was said last, and when.
    pub(crate) fn last(
        &self,
        organization: OrganizationId,
        kind: RelatedKind,
        customer: CustomerId,
        now: Timestamp,
    ) -> Option<(Vec<Box<RawValue>>, Timestamp)> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = kept.answers.get(&(organization, kind, customer))?;
        (now.since(answer.at) <= OLDEST).then(|| (answer.records.clone(), answer.at))
    }

    /// Forgets what was said of a customer.
    pub(crate) fn forget(&self, organization: OrganizationId, customer: CustomerId) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for kind in [RelatedKind::Orders, RelatedKind::Complaints] {
            kept.forget(&(organization, kind, customer));
        }
    }
}

impl Kept {
    fn forget(&mut self, key: &Key) {
        if let Some(answer) = self.answers.remove(key) {
            self.bytes -= answer.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_and_answers_grow_old() {
        let answers = LastAnswers::default();
        let organization = OrganizationId(uuid::Uuid::from_u128(1));
        let customer = |number: u128| CustomerId(uuid::Uuid::from_u128(number));
        let now = Timestamp::from_milliseconds(1_767_225_600_000).unwrap();
        let long = RawValue::from_string(format!("\"{}\"", "x".repeat(100_000))).unwrap();
        let (orders, records) = (RelatedKind::Orders, [long]);
        for number in 0..1000 {
            answers.keep(organization, orders, customer(number), &records, now);
            answers.keep(organization, orders, customer(number), &records, now);
        }
        let kept = answers.0.lock().unwrap();
        assert!(
            kept.bytes <= MOST_BYTES && kept.answers.len() > 100 && kept.order.len() < 1000,
            "{}",
            kept.order.len()
        );
        drop(kept);
        assert!(answers.last(organization, orders, customer(0), now).is_none(), "the oldest goes first");
        assert!(answers.last(organization, orders, customer(999), now).is_some());
        assert!(answers.last(organization, RelatedKind::Complaints, customer(999), now).is_none());
        assert!(answers.last(organization, orders, customer(999), now.plus(OLDEST * 2)).is_none());
        answers.forget(organization, customer(999));
        assert!(answers.last(organization, orders, customer(999), now).is_none());
    }
}
