use serde::Serialize;
use uuid::Uuid;

use super::{CampaignChannel, CampaignId};
use crate::{
    id::CustomerId,
    record::{Meta, Record},
    time::Timestamp,
};

crate::record_ids! {
    /// A communication.
    CommunicationId,
}

/// What one customer gets of a campaign, and what became of it. There is one at most for each campaign and customer.
#[derive(Clone, Debug, PartialEq, Record, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(example = json!({
    "id": "0198c1de-5f00-7000-8000-000000000002", "campaign_id": "0198c1de-5f00-7000-8000-000000000001",
    "customer_id": "0198c1de-5f00-7000-8000-000000000004", "channel": "mock", "variant": "A", "sequence": 17,
    "address": "+33142685300", "subject": null, "message": "Hi Amélie, spring is here.", "status": "DELIVERED",
    "due_at": null, "attempts": 1, "vendor_message_id": "mock_0198c1de5f007000", "reason": null,
    "sent_at": "2026-03-20T09:00:05.000Z", "delivered_at": "2026-03-20T09:00:07.000Z", "read_at": null,
    "failed_at": null, "organization_id": "0198c1de-5f00-7000-8000-0000000000aa", "version": 4,
    "created_at": "2026-03-20T09:00:01.000Z", "updated_at": "2026-03-20T09:00:07.000Z"
})))]
#[record(
    collection = "communications",
    unique(campaign_id, customer_id),
    index(campaign_id),
    index(campaign_id, status, covers(variant)),
    index(campaign_id, stage, due_at),
    index(customer_id, -sent_at),
    index(vendor_message_id)
)]
pub struct Communication {
    /// The communication's id; the vendor is given it as our reference.
    pub id: CommunicationId,
    /// The campaign.
    pub campaign_id: CampaignId,
    /// The customer.
    pub customer_id: CustomerId,
    /// How it is sent.
    pub channel: CampaignChannel,
    /// Which of the campaign's variants it is; `holdout` for those who are kept out to compare with.
    pub variant: Option<String>,
    /// Its place in the plan, from 1.
    pub sequence: i64,
    /// Where it is sent to: an e-mail address, a phone number; for other channels the customer's id.
    pub address: String,
    /// The subject, as the customer gets it.
    pub subject: Option<String>,
    /// The message, as the customer gets it.
    pub message: String,
    /// What became of it.
    pub status: CommunicationStatus,
    /// Whether it waits or is being sent; absent once neither is so.
    #[serde(skip)]
    pub stage: Option<CommunicationStage>,
    /// When it is sent; while it is being sent, when whoever does so is given up.
    pub due_at: Option<Timestamp>,
    /// Who is sending it.
    #[serde(skip)]
    pub holder: Option<Uuid>,
    /// How often sending it was tried.
    pub attempts: i64,
    /// What the vendor calls it.
    pub vendor_message_id: Option<String>,
    /// Why it was not sent, or what is known of it where nothing is certain.
    pub reason: Option<String>,
    /// When the vendor took it.
    pub sent_at: Option<Timestamp>,
    /// When the vendor's receipt first said that it was sent.
    #[serde(skip)]
    pub confirmed_at: Option<Timestamp>,
    /// When it arrived.
    pub delivered_at: Option<Timestamp>,
    /// When it was read.
    pub read_at: Option<Timestamp>,
    /// When it failed.
    pub failed_at: Option<Timestamp>,
    /// Its organization, version and times.
    #[serde(flatten)]
    pub meta: Meta,
}

/// What became of a communication.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CommunicationStatus {
    /// It waits for its time, or is being sent.
    #[default]
    Queued,
    /// The vendor took it.
    Sent,
    /// It arrived.
    Delivered,
    /// It was read.
    Read,
    /// It was not taken, or did not arrive.
    Failed,
    /// It is not sent: the customer does not want it, cannot be reached, or is kept out.
    Suppressed,
    /// The vendor may have taken it, or not: its receipt will tell. It is not sent again.
    Unknown,
}

impl CommunicationStatus {
    /// Every status.
    pub const ALL: [Self; 7] =
        [Self::Queued, Self::Sent, Self::Delivered, Self::Read, Self::Failed, Self::Suppressed, Self::Unknown];

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "QUEUED",
            Self::Sent => "SENT",
            Self::Delivered => "DELIVERED",
            Self::Read => "READ",
            Self::Failed => "FAILED",
            Self::Suppressed => "SUPPRESSED",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// There is no status of that name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be one of QUEUED, SENT, DELIVERED, READ, FAILED, SUPPRESSED, UNKNOWN")]
pub struct UnknownCommunicationStatus;

/// What is to be done for a communication.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum CommunicationStage {
    /// It is to be sent once it is due.
    Waiting,
    /// Somebody is sending it, or died doing so.
    Sending,
}

impl CommunicationStage {
    /// Every stage.
    pub const ALL: [Self; 2] = [Self::Waiting, Self::Sending];

    /// The name that is stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Sending => "sending",
        }
    }
}

/// There is no stage of that name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be one of waiting, sending")]
pub struct UnknownCommunicationStage;

crate::record::named_types! {
    CommunicationStatus, UnknownCommunicationStatus;
    CommunicationStage, UnknownCommunicationStage;
}
