use serde::Serialize;

use crate::{
    campaign::CampaignChannel,
    id::CustomerId,
    record::{Meta, Record},
    text::Line,
};

crate::record_ids! {
    /// A suppressed address.
    SuppressionId,
}

/// An address that nothing is sent to on a channel, whoever has it. It outlives a customer who is deleted: an address
/// that complained must not be written to when it comes back with the next import. Only erasing a person removes it.
#[derive(Clone, Debug, PartialEq, Record, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(example = json!({
    "id": "0198c1de-5f00-7000-8000-000000000002", "channel": "email", "address": "gone@example.com",
    "reason": "hard_bounce", "note": null, "customer_id": "0198c1de-5f00-7000-8000-000000000004",
    "organization_id": "0198c1de-5f00-7000-8000-0000000000aa", "version": 1,
    "created_at": "2026-03-20T09:00:05.000Z", "updated_at": "2026-03-20T09:00:05.000Z"
})))]
#[record(collection = "suppressions", search(address), unique(channel, address), index(-created_at))]
pub struct Suppression {
    /// The suppression's id.
    pub id: SuppressionId,
    /// The channel.
    pub channel: CampaignChannel,
    /// The address: an e-mail address in lower case, a phone number in E.164, or what else the channel has.
    pub address: String,
    /// Why.
    pub reason: SuppressionReason,
    /// What somebody noted.
    pub note: Option<Line<500>>,
    /// The customer whose message told so.
    pub customer_id: Option<CustomerId>,
    /// Its organization, version and times.
    #[serde(flatten)]
    pub meta: Meta,
}

/// Why nothing is sent to an address.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum SuppressionReason {
    /// It does not exist.
    HardBounce,
    /// Whoever has it complained.
    Complaint,
    /// Whoever has it wants no messages.
    Unsubscribe,
    /// Somebody of the staff said so.
    Manual,
}

impl SuppressionReason {
    /// Every reason.
    pub const ALL: [Self; 4] = [Self::HardBounce, Self::Complaint, Self::Unsubscribe, Self::Manual];

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::HardBounce => "hard_bounce",
            Self::Complaint => "complaint",
            Self::Unsubscribe => "unsubscribe",
            Self::Manual => "manual",
        }
    }
}

/// There is no reason of that name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be one of hard_bounce, complaint, unsubscribe, manual")]
pub struct UnknownSuppressionReason;

crate::record::named_types! {
    SuppressionReason, UnknownSuppressionReason;
}
