//! How many messages a customer gets over all campaigns.
//!
//! What a customer got lately stands in one record for each channel. A message takes its place there before it is sent, in
//! a commit that checks the record's version: so two campaigns that reach for the last place at once do not both get it.
//! A message that is sent again under the same reference keeps its place.

use std::{collections::HashMap, time::Duration};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::FrequencyCap;
use crate::{
    access::Principal,
    crm::Crm,
    customer::is_race,
    error::{Error, Result},
    id::{CustomerId, uuid_of_hash},
    operation::Operation,
    record::{Meta, Record},
    time::Timestamp,
};

/// So often is a decision made again when others were faster.
const TRIES: usize = 10;

crate::record_ids! {
    /// What a customer got lately on a channel.
    ContactTallyId,
}

/// What a customer got lately on a channel.
#[derive(Clone, Debug, PartialEq, Record)]
#[record(collection = "contact_tallies", index(customer_id))]
pub(crate) struct ContactTally {
    /// Made of the customer and the channel.
    pub(crate) id: ContactTallyId,
    pub(crate) customer_id: CustomerId,
    pub(crate) channel: String,
    pub(crate) places: Places,
    pub(crate) meta: Meta,
}

/// The messages that count, the oldest first.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Places(Vec<Place>);

/// One message.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
struct Place {
    reference: Uuid,
    at: Timestamp,
}

crate::json_field_type!(Places);

impl Places {
    /// Takes a place for a message, if there is one left; answers whether it has one.
    fn take(&mut self, reference: Uuid, cap: FrequencyCap, now: Timestamp) -> bool {
        let span = Duration::from_hours(24).saturating_mul(u32::try_from(cap.days).unwrap_or(1));
        if self.0.iter().any(|place| place.reference == reference) {
            return true;
        }
        let since = now.minus(span);
        self.0.retain(|place| place.at > since);
        let has_room = self.0.len() < usize::try_from(cap.count).unwrap_or(0);
        if has_room {
            self.0.push(Place { reference, at: now });
        }
        has_room
    }
}

fn id_of(customer: CustomerId, channel: &str) -> ContactTallyId {
    let hash = Sha256::new().chain_update(customer.0.as_bytes()).chain_update(channel.as_bytes()).finalize();
    ContactTallyId(uuid_of_hash(hash))
}

/// Takes places for messages; answers in their order which have one.
///
/// # Errors
/// [`Error::Conflict`] where others were always faster; those of the store.
pub(super) async fn take_places(
    crm: &Crm,
    by: &Principal,
    channel: &str,
    cap: FrequencyCap,
    messages: &[(CustomerId, Uuid)],
) -> Result<Vec<bool>> {
    let mut ids: Vec<ContactTallyId> = messages.iter().map(|(customer, _)| id_of(*customer, channel)).collect();
    ids.sort_unstable();
    ids.dedup();
    for _ in 0..TRIES {
        let mut operation = Operation::new(crm, by);
        let now = operation.now();
        let stored = crm.repo::<ContactTally>().get_many(by.scope(), &ids).await?;
        let stored: HashMap<ContactTallyId, ContactTally> = stored.into_iter().map(|tally| (tally.id, tally)).collect();
        let mut tallies = stored.clone();
        let taken: Vec<bool> = messages
            .iter()
            .map(|(customer, reference)| {
                let id = id_of(*customer, channel);
                let tally = tallies.entry(id).or_insert_with(|| ContactTally {
                    id,
                    customer_id: *customer,
                    channel: channel.to_owned(),
                    places: Places::default(),
                    meta: Meta::new(by.organization, now),
                });
                tally.places.take(*reference, cap, now)
            })
            .collect();
        let mut new = Vec::new();
        // In one order everywhere, so that two commits never wait for each other.
        for id in &ids {
            let Some(tally) = tallies.get_mut(id) else { continue };
            match stored.get(id) {
                Some(before) => {
                    operation.update(before, tally);
                }
                None => new.push(tally.clone()),
            }
        }
        operation.insert_all(&new);
        match operation.commit().await {
            Ok(_) => return Ok(taken),
            Err(error) if is_race(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::Conflict("Many campaigns reach for the same customers at once.".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_taken_once_and_come_free() {
        let cap = FrequencyCap { count: 2, days: 7 };
        let day = |days: u64| Timestamp::default().plus(Duration::from_hours(24 * days));
        let mut places = Places::default();
        let reference = Uuid::from_u128;
        assert!(places.take(reference(1), cap, day(1)));
        assert!(places.take(reference(1), cap, day(1)), "sent again it is the same message");
        assert!(places.take(reference(2), cap, day(2)));
        assert!(!places.take(reference(3), cap, day(7)));
        assert!(places.take(reference(2), cap, day(7)));
        assert!(places.take(reference(3), cap, day(8)), "the first is a week old");
        assert!(!places.take(reference(4), cap, day(8)));
        assert_eq!(places.0.len(), 2);
        assert_ne!(id_of(CustomerId(reference(1)), "email"), id_of(CustomerId(reference(1)), "sms"));
    }
}
