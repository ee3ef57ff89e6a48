//! Who gets which variant of a campaign, and when within its spread: told by a hash of campaign and customer, so that it is
//! the same however often it is asked, on whatever machine, and another for the next campaign.

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{CampaignId, CampaignVariant};
use crate::id::CustomerId;

/// What a customer gets of a campaign.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Share {
    /// Nothing, to compare with.
    Holdout,
    /// The campaign's own message: there are no variants.
    Whole,
    /// The variant at this place of the list.
    Variant(usize),
}

/// What the hash of a customer decides.
#[derive(Clone, Copy, Debug)]
enum Draw {
    Holdout,
    Variant,
    Spread,
}

/// What the customer gets. Whether somebody is held out does not depend on the variants, nor on their weights.
#[must_use]
pub fn share(
    campaign: CampaignId,
    customer: CustomerId,
    holdout_percent: Option<i64>,
    variants: &[CampaignVariant],
) -> Share {
    let held_out = u64::try_from(holdout_percent.unwrap_or(0).clamp(0, 100)).unwrap_or(0);
    if below(draw(campaign, customer, Draw::Holdout), 100) < held_out {
        return Share::Holdout;
    }
    let weight = |variant: &CampaignVariant| u64::try_from(variant.weight).unwrap_or(0).min(1_000_000);
    let total: u64 = variants.iter().map(weight).sum();
    if total == 0 {
        return if variants.is_empty() { Share::Whole } else { Share::Variant(0) };
    }
    let mut place = below(draw(campaign, customer, Draw::Variant), total);
    for (index, variant) in variants.iter().enumerate() {
        match place.checked_sub(weight(variant)) {
            Some(rest) => place = rest,
            None => return Share::Variant(index),
        }
    }
    Share::Whole
}

/// Where in a span of so many milliseconds the customer's message lies: before its end.
pub(super) fn place_in(campaign: CampaignId, customer: CustomerId, span: u64) -> u64 {
    below(draw(campaign, customer, Draw::Spread), span)
}

/// A number below `bound` out of one of all 64 bits, each as often as the others.
fn below(draw: u64, bound: u64) -> u64 {
    u64::try_from((u128::from(draw) * u128::from(bound)) >> 64).unwrap_or(0)
}

fn draw(campaign: CampaignId, customer: CustomerId, what: Draw) -> u64 {
    let mut hash = Sha256::new();
    hash.update(Uuid::from(campaign).as_bytes());
    hash.update(Uuid::from(customer).as_bytes());
    let place = match what {
        Draw::Holdout => 0,
        Draw::Variant => 8,
        Draw::Spread => 16,
    };
    let digest = hash.finalize();
    digest.get(place..place + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::text::Line;

    fn variant(name: &str, weight: i64) -> CampaignVariant {
        CampaignVariant { name: Line::parse(name).expect("a name"), message: None, subject: None, weight }
    }

    fn ids(campaign: u128, customer: u128) -> (CampaignId, CustomerId) {
        (CampaignId(Uuid::from_u128(campaign)), CustomerId(Uuid::from_u128(customer)))
    }

    fn shares(holdout: i64, variants: &[CampaignVariant]) -> Vec<Share> {
        (0..4000)
            .map(|customer| {
                let (campaign, customer) = ids(1, customer);
                share(campaign, customer, Some(holdout), variants)
            })
            .collect()
    }

    #[test]
    fn shares_are_as_large_as_asked_for() {
        let variants = [variant("A", 1), variant("B", 3)];
        let shares = shares(10, &variants);
        for (share, expected) in [(Share::Holdout, 400), (Share::Variant(0), 900), (Share::Variant(1), 2700)] {
            let count = shares.iter().filter(|one| **one == share).count();
            assert!(count.abs_diff(expected) < expected / 5, "{share:?}: {count}");
        }
    }

    #[test]
    fn what_is_held_out_stays_so_whatever_the_variants() {
        let (few, many) = (shares(10, &[]), shares(25, &[variant("A", 1), variant("B", 1)]));
        for (one, other) in few.iter().zip(&many) {
            assert!(*one == Share::Whole || *other == Share::Holdout, "who is held out of little is held out of more");
        }
        assert!(shares(0, &[]).iter().all(|share| *share == Share::Whole));
        assert!(shares(100, &[]).iter().all(|share| *share == Share::Holdout));
        assert!(shares(0, &[variant("A", 0)]).iter().all(|share| *share == Share::Variant(0)));
    }

    /// What is stored of campaigns under way was told by this hash: it must not change.
    #[test]
    fn the_hash_is_the_same_for_ever() {
        let (campaign, customer) = ids(1, 2);
        let places: Vec<u64> = [Draw::Holdout, Draw::Variant, Draw::Spread]
            .map(|what| below(draw(campaign, customer, what), 1000))
            .to_vec();
        assert_eq!(places, EXPECTED);
    }

    /// Of the SHA-256 of the two ids' bytes.
    const EXPECTED: [u64; 3] = [472, 970, 135];

    proptest! {
        #[test]
        fn a_share_is_one_of_those_there_are(
            campaign in any::<u128>(), customer in any::<u128>(), holdout in any::<i64>(),
            weights in proptest::collection::vec(any::<i64>(), 0..5),
        ) {
            let variants: Vec<CampaignVariant> = weights.iter().map(|weight| variant("A", *weight)).collect();
            let (campaign, customer) = ids(campaign, customer);
            let share = share(campaign, customer, Some(holdout), &variants);
            let fits = match share {
                Share::Holdout => holdout > 0,
                Share::Whole => variants.is_empty(),
                Share::Variant(place) => place < variants.len(),
            };
            prop_assert!(fits);
        }
    }
}
