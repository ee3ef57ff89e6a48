use crate::{
    record::{Meta, Record},
    time::Timestamp,
};

crate::record_ids! {
    /// A receipt that waits.
    ParkedReceiptId,
}

/// A receipt for a message that is not known yet: the commit that tells of it is still under way, or its vendor is wrong.
#[derive(Clone, Debug, PartialEq, Record)]
#[record(collection = "parked_receipts", installation, index(organization_id, vendor_message_id), index(created_at))]
pub(crate) struct ParkedReceipt {
    pub(crate) id: ParkedReceiptId,
    /// What the vendor calls the message.
    pub(crate) vendor_message_id: String,
    /// What became of it, by its name on the wire.
    pub(crate) status: String,
    pub(crate) reason: Option<String>,
    pub(crate) at: Timestamp,
    pub(crate) meta: Meta,
}
