//! Whether a message may go to a customer at the moment at which it is sent.

use std::collections::HashMap;

use super::{Campaign, Communication};
use crate::{
    access::Principal,
    crm::Crm,
    customer::{Customer, CustomerStatus},
    error::Result,
    id::CustomerId,
    time::Timestamp,
};

/// Whether a message may go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Admission {
    /// It may; with the address where the customer says that no more are wanted.
    Granted(Option<String>),
    /// It may not, and will not.
    Refused(String),
    /// Not before then.
    Later(Timestamp, String),
}

/// Whether the messages may go, in their order.
pub(super) async fn admit(
    _crm: &Crm,
    _campaign: &Campaign,
    claimed: &[Communication],
    customers: &HashMap<CustomerId, Customer>,
) -> Result<Vec<Admission>> {
    let admission = |communication: &Communication| match customers.get(&communication.customer_id) {
        None => Admission::Refused("deleted".to_owned()),
        Some(customer) if customer.deleted_at.is_some() => Admission::Refused("deleted".to_owned()),
        Some(customer) if customer.status == CustomerStatus::Blocked => Admission::Refused("blocked".to_owned()),
        Some(_) => Admission::Granted(None),
    };
    Ok(claimed.iter().map(admission).collect())
}

/// Applies receipts that came before it was written that the messages were sent.
pub(super) async fn settle(_crm: &Crm, _by: &Principal, _vendor_message_ids: &[String]) -> Result<()> {
    Ok(())
}
