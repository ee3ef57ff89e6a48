//! What lies between a message and the customer: who may be written to, what vendors say of messages, and how customers
//! say that they want no more.
//!
//! - [`gate`](Deliveries::may_send): consent, suppressed addresses, and how many messages somebody gets over all campaigns;
//! - [`Receipt`]: what a vendor says became of a message. Receipts come late, twice, out of order, or before the commit
//!   that they are about: whatever the order, the message ends in the same state;
//! - [`Unsubscribe`]: signed links, good without signing in;
//! - [`MockVendor`]: a vendor inside of the program, that misbehaves as asked.

mod caps;
mod consent;
mod gate;
mod input;
mod message_id;
mod mock;
mod parked;
mod receipt;
mod receive;
mod service;
mod settings;
mod suppression;
mod unsubscribe;
mod webhook_channel;

pub(crate) use self::{
    caps::ContactTally,
    consent::changes_of,
    mock::{forget_old, run},
    parked::ParkedReceipt,
    receive::sweep_parked,
    webhook_channel::WebhookChannel,
};
pub use self::{
    consent::{ConsentEntry, ConsentEntryId, ConsentRule, UnknownConsentRule, allows},
    gate::Candidate,
    input::{MockSend, NewSuppression},
    message_id::VendorMessageId,
    mock::{
        MockMessage, MockMessageId, MockReceipt, MockReceiptId, MockVendor, MockVendorSettings, deliver_mock_receipts,
    },
    receipt::{Receipt, ReceiptStatus, Receipts},
    receive::{Received, SignedReceipts},
    service::{ChannelState, Deliveries, DeliverySettings},
    settings::{FrequencyCap, MessagingSettings},
    suppression::{Suppression, SuppressionId, SuppressionReason, UnknownSuppressionReason},
    unsubscribe::Unsubscribe,
};

#[cfg(test)]
mod tests;
