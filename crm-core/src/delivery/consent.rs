//! Whether a customer has agreed to messages, and the ledger of what was said.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{
    access::Principal,
    crm::Crm,
    customer::{Consents, Customer},
    error::FieldErrors,
    id::CustomerId,
    input::{self, FromInput},
    record::{Meta, Record},
    time::Timestamp,
};

crate::record_ids! {
    /// An entry of the ledger.
    ConsentEntryId,
}

/// What was said of a customer's consent at some instant. Entries are never changed, and go with their customer.
#[derive(Clone, Debug, PartialEq, Record, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(example = json!({
    "id": "0198c1de-5f00-7000-8000-000000000002", "customer_id": "0198c1de-5f00-7000-8000-000000000004",
    "channel": "email", "topic": "offers", "granted": false, "at": "2026-03-20T09:00:05.000Z",
    "source": "unsubscribe link", "author_type": "system", "author_id": null, "ip": "203.0.113.7",
    "organization_id": "0198c1de-5f00-7000-8000-0000000000aa", "version": 1,
    "created_at": "2026-03-20T09:00:05.000Z", "updated_at": "2026-03-20T09:00:05.000Z"
})))]
#[record(collection = "consent_ledger", index(customer_id, -created_at))]
pub struct ConsentEntry {
    /// The entry's id.
    pub id: ConsentEntryId,
    /// Whose consent it is.
    pub customer_id: CustomerId,
    /// The channel.
    pub channel: String,
    /// What it is about, where it is not about everything on the channel.
    pub topic: Option<String>,
    /// Whether messages may be sent; absent where what was said before was taken back.
    pub granted: Option<bool>,
    /// Since when that holds.
    pub at: Timestamp,
    /// Where it was said.
    pub source: Option<String>,
    /// Who wrote it down: `user`, `api_key`, `service` or `system`.
    pub author_type: String,
    /// The person or key who did.
    pub author_id: Option<Uuid>,
    /// From which address.
    pub ip: Option<String>,
    /// Its organization, version and times.
    #[serde(flatten)]
    pub meta: Meta,
}

/// What a change of a customer says of their consent.
pub(crate) fn changes_of(
    crm: &Crm,
    by: &Principal,
    before: Option<&Customer>,
    after: &Customer,
    now: Timestamp,
) -> Vec<ConsentEntry> {
    let nothing = Consents::default();
    let before = before.map_or(&nothing, |before| &before.consent);
    if *before == after.consent {
        return Vec::new();
    }
    let entry = |name: &str, granted: Option<bool>, at: Timestamp, source: Option<String>| {
        let (channel, topic) = name.split_once(':').map_or((name, None), |(channel, topic)| (channel, Some(topic)));
        ConsentEntry {
            id: crm.new_id_at(now),
            customer_id: after.id,
            channel: channel.to_owned(),
            topic: topic.map(str::to_owned),
            granted,
            at,
            source,
            author_type: by.actor.kind().to_owned(),
            author_id: by.actor.id(),
            ip: by.context.ip.map(|ip| ip.to_string()),
            meta: Meta::new(by.organization, now),
        }
    };
    let said = after.consent.0.iter().filter(|(name, consent)| before.0.get(*name) != Some(*consent));
    let said = said.map(|(name, consent)| entry(name, Some(consent.granted), consent.at, consent.source.clone()));
    let forgotten = before.0.keys().filter(|name| !after.consent.0.contains_key(*name));
    said.chain(forgotten.map(|name| entry(name, None, now, None))).collect()
}

/// Whether customers must agree before, or must not have refused.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ConsentRule {
    /// Only who has agreed is written to.
    OptIn,
    /// Whoever has not refused is written to.
    OptOut,
}

impl ConsentRule {
    /// Every rule.
    pub const ALL: [Self; 2] = [Self::OptIn, Self::OptOut];

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OptIn => "opt_in",
            Self::OptOut => "opt_out",
        }
    }

    /// What holds on a channel of which the organization says nothing: what the law of most places asks for.
    #[must_use]
    pub fn of_channel(channel: &str) -> Self {
        if matches!(channel, "mock" | "webhook") { Self::OptOut } else { Self::OptIn }
    }
}

/// There is no rule of that name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be one of opt_in, opt_out")]
pub struct UnknownConsentRule;

impl fmt::Display for ConsentRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ConsentRule {
    type Err = UnknownConsentRule;

    fn from_str(name: &str) -> Result<Self, UnknownConsentRule> {
        Self::ALL.into_iter().find(|rule| rule.name() == name).ok_or(UnknownConsentRule)
    }
}

impl FromInput for ConsentRule {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        let unknown = |error: UnknownConsentRule| FieldErrors::one("", "INVALID_CHOICE", error.to_string());
        input::text(json)?.parse().map_err(unknown)
    }
}

/// Whether a message about the topic may go by the channel. Who has refused the channel gets nothing by it, whatever was
/// said of topics. Else what was said of the topic counts, then what was said of the channel, then the rule.
#[must_use]
pub fn allows(consents: &Consents, channel: &str, topic: Option<&str>, rule: ConsentRule) -> bool {
    let said = |name: &str| consents.0.get(name).map(|consent| consent.granted);
    let channel_said = said(channel);
    if channel_said == Some(false) {
        return false;
    }
    let topic_said = topic.and_then(|topic| said(&format!("{channel}:{topic}")));
    topic_said.or(channel_said).unwrap_or(rule == ConsentRule::OptOut)
}
