//! Who may be written to.

use std::collections::HashSet;

use uuid::Uuid;

use super::{ConsentRule, Deliveries, Suppression, caps, consent};
use crate::{
    access::Principal,
    campaign::CampaignChannel,
    contact::Email,
    customer::{Customer, CustomerStatus},
    error::Result,
    store::Query,
};

/// So many addresses are looked up at once.
const LOOK: usize = 500;

/// A message that is about to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// To whom.
    pub customer: &'a Customer,
    /// Its reference: a message that is sent again counts once against the cap.
    pub reference: Uuid,
    /// Where to.
    pub address: &'a str,
}

/// An address as suppressions have it.
pub(super) fn normalised(channel: CampaignChannel, address: &str) -> String {
    let address = address.trim();
    match channel {
        CampaignChannel::Email => {
            Email::parse(address).map_or_else(|_| address.to_lowercase(), |email| email.as_str().to_owned())
        }
        _ => address.to_owned(),
    }
}

impl Deliveries<'_> {
    /// Whether messages about a topic may go by a channel, without regard to frequency caps: in the order of the candidates
    /// nothing where one may, else why not: `deleted`, `blocked`, `no_consent` or `suppressed`.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn may_plan(
        &self,
        by: &Principal,
        channel: CampaignChannel,
        topic: Option<&str>,
        candidates: &[Candidate<'_>],
    ) -> Result<Vec<Option<&'static str>>> {
        let settings = self.crm.organizations().settings(by).await?;
        let rule = settings
            .messaging
            .as_ref()
            .and_then(|messaging| messaging.consent.get(channel.name()).copied())
            .unwrap_or_else(|| ConsentRule::of_channel(channel.name()));
        let addresses: Vec<String> =
            candidates.iter().map(|candidate| normalised(channel, candidate.address)).collect();
        let suppressed = self.suppressed(by, channel, &addresses).await?;
        let refusal = |(candidate, address): (&Candidate<'_>, &String)| {
            let customer = candidate.customer;
            if customer.deleted_at.is_some() {
                Some("deleted")
            } else if customer.status == CustomerStatus::Blocked {
                Some("blocked")
            } else if !consent::allows(&customer.consent, channel.name(), topic, rule) {
                Some("no_consent")
            } else if suppressed.contains(address) {
                Some("suppressed")
            } else {
                None
            }
        };
        Ok(candidates.iter().zip(&addresses).map(refusal).collect())
    }

    /// The same at the moment of sending, with `frequency_cap` where a customer has got enough over all campaigns. Who may
    /// be written to has a place under the cap from now on: the message counts, whatever becomes of it.
    ///
    /// # Errors
    /// Those of the store; [`crate::Error::Conflict`] where many campaigns reach for the same customers at once.
    pub async fn may_send(
        &self,
        by: &Principal,
        channel: CampaignChannel,
        topic: Option<&str>,
        candidates: &[Candidate<'_>],
    ) -> Result<Vec<Option<&'static str>>> {
        let mut refusals = self.may_plan(by, channel, topic, candidates).await?;
        let settings = self.crm.organizations().settings(by).await?;
        let cap = settings.messaging.as_ref().and_then(|messaging| messaging.frequency_caps.get(channel.name()));
        let Some(cap) = cap else { return Ok(refusals) };
        let open: Vec<_> = candidates
            .iter()
            .zip(&refusals)
            .filter(|(_, refusal)| refusal.is_none())
            .map(|(candidate, _)| (candidate.customer.id, candidate.reference))
            .collect();
        if open.is_empty() {
            return Ok(refusals);
        }
        let taken = caps::take_places(self.crm, by, channel.name(), *cap, &open).await?;
        let undecided = refusals.iter_mut().filter(|refusal| refusal.is_none());
        for (refusal, has_place) in undecided.zip(taken) {
            if !has_place {
                *refusal = Some("frequency_cap");
            }
        }
        Ok(refusals)
    }

    /// Which of the addresses are suppressed.
    pub(super) async fn suppressed(
        &self,
        by: &Principal,
        channel: CampaignChannel,
        addresses: &[String],
    ) -> Result<HashSet<String>> {
        let mut suppressed = HashSet::new();
        for addresses in addresses.chunks(LOOK) {
            let filter =
                Suppression::channel.equals(channel).and(Suppression::address.one_of(addresses.iter().cloned()));
            let found = self.crm.repo::<Suppression>().find(by.scope(), &Query::new(filter, LOOK)).await?;
            suppressed.extend(found.records.into_iter().map(|suppression| suppression.address));
        }
        Ok(suppressed)
    }
}
