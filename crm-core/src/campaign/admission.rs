//! Whether a message may go to a customer at the moment at which it is sent.

use std::collections::HashMap;

use super::{Campaign, Communication};
use crate::{
    access::Principal,
    crm::Crm,
    customer::Customer,
    delivery::{Candidate, Unsubscribe},
    error::Result,
    id::CustomerId,
};

/// Whether a message may go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Admission {
    /// It may; with the address at which the customer says that no more are wanted.
    Granted(Option<String>),
    /// It may not, and will not.
    Refused(&'static str),
}

/// Why a message does not go to somebody who is not there any more.
const DELETED: &str = "deleted";

/// Whether the messages may go, in their order. Those that may have a place under the customers' frequency caps.
pub(super) async fn admit(
    crm: &Crm,
    campaign: &Campaign,
    claimed: &[Communication],
    customers: &HashMap<CustomerId, Customer>,
) -> Result<Vec<Admission>> {
    let by = Principal::system(campaign.meta.organization_id);
    let candidates: Vec<Candidate<'_>> = claimed
        .iter()
        .filter_map(|communication| {
            let customer = customers.get(&communication.customer_id)?;
            Some(Candidate { customer, reference: communication.id.into(), address: &communication.address })
        })
        .collect();
    let topic = campaign.topic.as_deref();
    let mut refusals = crm.deliveries().may_send(&by, campaign.channel, topic, &candidates).await?.into_iter();
    let admission = |communication: &Communication| {
        if !customers.contains_key(&communication.customer_id) {
            return Admission::Refused(DELETED);
        }
        match refusals.next().flatten() {
            Some(reason) => Admission::Refused(reason),
            None => Admission::Granted(unsubscribe_url(crm, campaign, communication.customer_id)),
        }
    };
    Ok(claimed.iter().map(admission).collect())
}

/// The address at which a customer says that no more such messages are wanted.
pub(super) fn unsubscribe_url(crm: &Crm, campaign: &Campaign, customer: CustomerId) -> Option<String> {
    crm.deliveries().unsubscribe_url(&Unsubscribe {
        organization: campaign.meta.organization_id,
        customer,
        channel: campaign.channel.name().to_owned(),
        topic: campaign.topic.clone(),
    })
}
