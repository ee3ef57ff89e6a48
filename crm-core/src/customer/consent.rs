use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    CustomerInput, Customers,
    ask::{Ask, WriteOptions},
};
use crate::{access::Principal, error::Result, id::CustomerId, input::Patch, time::Timestamp};

/// What somebody has agreed to on one channel, since when, and where it was said.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Consent {
    /// Whether messages may be sent.
    pub granted: bool,
    /// Since when.
    pub at: Timestamp,
    /// Where it was said, such as `web form`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// Consent by channel (`email`, `sms`, `whatsapp`, …). A channel that is not named was never asked about.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct Consents(pub BTreeMap<String, Consent>);

crate::json_field_type!(Consents);

/// What is said about one channel; without an instant it holds from when it is written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConsentChange {
    /// Whether messages may be sent.
    pub granted: bool,
    /// Since when, where it is known.
    pub at: Option<Timestamp>,
    /// Where it was said.
    pub source: Option<String>,
}

impl Consents {
    /// The consents after a change: a channel with `None` is forgotten. Saying again what holds already changes nothing,
    /// so that the instant stays the one at which it began.
    #[must_use]
    pub fn changed(&self, changes: &BTreeMap<String, Option<ConsentChange>>, now: Timestamp) -> Self {
        let mut channels = self.0.clone();
        for (channel, change) in changes {
            let Some(change) = change else {
                channels.remove(channel);
                continue;
            };
            let before = channels.get(channel).filter(|before| before.granted == change.granted);
            let at = change.at.or(before.map(|before| before.at)).unwrap_or(now);
            let source = change.source.clone().or_else(|| before.and_then(|before| before.source.clone()));
            channels.insert(channel.clone(), Consent { granted: change.granted, at, source });
        }
        Self(channels)
    }
}

impl Customers<'_> {
    /// Notes that a customer wants no more messages by a channel, or about one of its topics (`channel:topic`).
    ///
    /// # Errors
    /// [`crate::Error::NotFound`]; [`crate::Error::Invalid`] where consent is kept of as many channels as there can be.
    pub(crate) async fn refuse(&self, by: &Principal, id: CustomerId, name: String, source: &str) -> Result<()> {
        let change = ConsentChange { granted: false, at: None, source: Some(source.to_owned()) };
        let consent = Patch::Set(BTreeMap::from([(name, Some(change))]));
        let input = CustomerInput { consent, ..CustomerInput::default() };
        self.write_one(by, Ask::Merge(id, input), WriteOptions::default()).await?;
        Ok(())
    }
}
