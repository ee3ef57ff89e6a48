use serde_json::value::RawValue;
use uuid::Uuid;

use super::SuppressionReason;
use crate::{
    campaign::CampaignChannel,
    error::FieldErrors,
    id::CustomerId,
    input::{FromInput, Input, text},
    text::{Line, Text},
};

/// An address that nothing is to be sent to.
#[derive(Clone, Debug, Input)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[input(refuse(id, customer_id, version, created_at, updated_at))]
pub struct NewSuppression {
    /// The channel.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "email"))]
    pub channel: GivenChannel,
    /// The address: an e-mail address, a phone number as customers may have it, or for other channels the customer's id.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "gone@example.com"))]
    pub address: Line<320>,
    /// Why; `manual` where it is not said.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, example = "manual"))]
    pub reason: Option<SuppressionReason>,
    /// Something to remember.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub note: Option<Line<500>>,
}

/// A message for the built-in vendor.
#[derive(Clone, Debug, Input)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MockSend {
    /// The campaign.
    pub campaign_id: Uuid,
    /// Who it is for.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = Uuid))]
    pub customer_id: CustomerId,
    /// What it says.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "Hi Amélie, spring is here."))]
    pub message: Text<20_000>,
    /// What the sender calls it: a message that is sent again under the same name is the same message.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, example = "spring-17"))]
    pub vendor_ref: Option<Line<200>>,
}

/// A channel by its name.
#[derive(Clone, Copy, Debug)]
pub struct GivenChannel(pub(super) CampaignChannel);

impl FromInput for GivenChannel {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        let channel: Result<CampaignChannel, _> = text(json)?.parse();
        channel.map(Self).map_err(|unknown| FieldErrors::one("", "INVALID_CHOICE", unknown.to_string()))
    }
}

impl FromInput for SuppressionReason {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        let reason: Result<Self, _> = text(json)?.parse();
        reason.map_err(|unknown: super::UnknownSuppressionReason| {
            FieldErrors::one("", "INVALID_CHOICE", unknown.to_string())
        })
    }
}
