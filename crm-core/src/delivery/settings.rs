use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::consent::ConsentRule;
use crate::{
    campaign::CampaignChannel,
    error::FieldErrors,
    input::{FromInput, Input, Members},
};

/// The most messages that a cap lets through: as many are remembered for each customer.
const LARGEST_CAP: i64 = 100;
/// The longest span of a cap, in days.
const LONGEST_CAP: i64 = 90;
/// The longest address.
const LONGEST_URL: usize = 2048;

/// How an organization writes to its customers.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(example = json!({
    "consent": {"email": "opt_in", "sms": "opt_in"}, "frequency_caps": {"email": {"count": 3, "days": 7}},
    "webhook_url": "https://example.com/messages"
})))]
#[serde(default)]
pub struct MessagingSettings {
    /// For each channel whether customers must have agreed (`opt_in`), or must not have refused (`opt_out`). Where
    /// nothing is said: `opt_in` for `email`, `sms` and `whatsapp`, `opt_out` for `mock` and `webhook`.
    pub consent: BTreeMap<String, ConsentRule>,
    /// For each channel how many messages a customer gets in so many days, over all campaigns.
    pub frequency_caps: BTreeMap<String, FrequencyCap>,
    /// Where messages of the channel `webhook` are posted to.
    pub webhook_url: Option<String>,
}

/// So many messages in so many days.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FrequencyCap {
    /// At most so many, 1 to 100.
    pub count: i64,
    /// In so many days, 1 to 90; to the hour.
    pub days: i64,
}

crate::json_field_type!(MessagingSettings);

impl FromInput for FrequencyCap {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        #[derive(Input)]
        struct Given {
            count: i64,
            days: i64,
        }
        let Given { count, days } = Given::from_input(json)?;
        let mut errors = FieldErrors::new();
        for (field, value, largest) in [("count", count, LARGEST_CAP), ("days", days, LONGEST_CAP)] {
            if !(1..=largest).contains(&value) {
                errors.add(field, "OUT_OF_RANGE", format!("must be between 1 and {largest}"));
            }
        }
        errors.or(Self { count, days })
    }
}

/// Members by the name of a channel.
struct ByChannel<T>(BTreeMap<String, T>);

impl<T: FromInput> FromInput for ByChannel<T> {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        let mut errors = FieldErrors::new();
        let mut channels = BTreeMap::new();
        for (channel, json) in Members::parse(json)?.into_rest() {
            let shown: String = channel.chars().take(40).collect();
            if channel.parse::<CampaignChannel>().is_err() {
                errors.add(shown, "UNKNOWN_FIELD", "is no channel: there are mock, whatsapp, email, sms and webhook");
            } else if let Some(value) = errors.take(&shown, T::from_input(json)) {
                channels.insert(shown, value);
            }
        }
        errors.or(Self(channels))
    }
}

impl FromInput for MessagingSettings {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        #[derive(Input)]
        struct Given {
            consent: Option<ByChannel<ConsentRule>>,
            frequency_caps: Option<ByChannel<FrequencyCap>>,
            webhook_url: Option<String>,
        }
        let Given { consent, frequency_caps, webhook_url } = Given::from_input(json)?;
        if let Some(address) = &webhook_url {
            let known = url::Url::parse(address).is_ok_and(|url| matches!(url.scheme(), "https" | "http"));
            if !known || address.len() > LONGEST_URL {
                return Err(FieldErrors::one("webhook_url", "INVALID_URL", "must be an https address"));
            }
        }
        Ok(Self {
            consent: consent.map(|by| by.0).unwrap_or_default(),
            frequency_caps: frequency_caps.map(|by| by.0).unwrap_or_default(),
            webhook_url,
        })
    }
}
