use std::{fmt, str::FromStr};

use serde::Serialize;

use crate::{
    id::UserId,
    record::{Meta, Record},
    secret::Secret,
    text::Line,
    time::Timestamp,
};

crate::record_ids! {
    /// A webhook.
    WebhookId,
}

/// An address that an organization's events are posted to. Its secret is shown when it is made or rotated, and never
/// again.
#[derive(Clone, Debug, Record, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[record(collection = "webhooks", search(url, description), index(-created_at))]
pub struct Webhook {
    /// The webhook's id.
    pub id: WebhookId,
    /// Where events are posted to.
    pub url: String,
    /// What it is for.
    pub description: Option<Line<500>>,
    /// What it listens to: types of events, such as `customer.created`, `customer.*` for all of a kind, `*` for all.
    pub events: Vec<String>,
    /// Whether events are posted.
    pub enabled: bool,
    /// Why it was disabled, where it was not by hand.
    pub disabled_reason: Option<DisabledReason>,
    /// When it was disabled.
    pub disabled_at: Option<Timestamp>,
    /// The names of the headers that are sent with each event. Their values are not shown.
    pub header_names: Vec<String>,
    /// The headers, sealed.
    #[serde(skip)]
    pub headers: Option<Secret<String>>,
    /// The secret, sealed.
    #[serde(skip)]
    pub secret: Secret<String>,
    /// The secret before the last rotation, sealed.
    #[serde(skip)]
    pub previous_secret: Option<Secret<String>>,
    /// Until when events are signed with the secret before the last rotation too.
    pub previous_secret_until: Option<Timestamp>,
    /// Since when every attempt has failed; absent after a success.
    pub failing_since: Option<Timestamp>,
    /// Who made it.
    pub created_by: Option<UserId>,
    /// Its version and times.
    #[serde(flatten)]
    pub meta: Meta,
}

/// Why a webhook was disabled.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum DisabledReason {
    /// The receiver answered 410.
    Gone,
    /// Every attempt of five days failed.
    Failing,
}

impl AsRef<str> for DisabledReason {
    fn as_ref(&self) -> &str {
        match self {
            Self::Gone => "gone",
            Self::Failing => "failing",
        }
    }
}

impl fmt::Display for DisabledReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_ref())
    }
}

/// There is no reason of that name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be one of gone, failing")]
pub struct UnknownDisabledReason;

impl FromStr for DisabledReason {
    type Err = UnknownDisabledReason;

    fn from_str(name: &str) -> Result<Self, UnknownDisabledReason> {
        [Self::Gone, Self::Failing].into_iter().find(|reason| reason.as_ref() == name).ok_or(UnknownDisabledReason)
    }
}

crate::text_field_type!(DisabledReason);
