use std::{fmt, time::Duration};

use async_trait::async_trait;
use futures::{StreamExt as _, stream};
use uuid::Uuid;

use crate::{
    crm::Crm,
    id::{CustomerId, OrganizationId},
    store::Json,
};

/// A way by which messages reach customers, such as e-mail.
///
/// Whoever implements it bounds the time of a call: at most 30 seconds.
#[async_trait]
pub trait Channel: Send + Sync + 'static {
    /// What campaigns call it: `email`, `sms`, …
    fn name(&self) -> &'static str;

    /// Whether a message that is sent again under the same reference arrives once. Only then is a message sent again of
    /// which it is not known whether the vendor took it.
    fn repeatable(&self) -> bool {
        false
    }

    /// How many messages are with the vendor at once, 1–64. Where the process dies, of so many nobody knows whether they
    /// were sent, unless they may be sent again.
    fn at_once(&self) -> usize {
        16
    }

    /// Whether messages of the organization can be sent, as far as that can be told without sending one.
    ///
    /// # Errors
    /// What is missing, for a person.
    async fn ready(&self, _crm: &Crm, _organization: OrganizationId) -> Result<(), String> {
        Ok(())
    }

    /// Hands one message to the vendor.
    ///
    /// # Errors
    /// [`SendFailure`]: whether the vendor has it is what the three differ in.
    async fn send(&self, crm: &Crm, message: OutgoingMessage) -> Result<Accepted, SendFailure>;

    /// Hands several messages of one organization to the vendor. The answers are in the order of the messages.
    async fn send_all(&self, crm: &Crm, messages: Vec<OutgoingMessage>) -> Vec<Result<Accepted, SendFailure>> {
        stream::iter(messages).map(|message| self.send(crm, message)).buffered(self.at_once().max(1)).collect().await
    }
}

/// A message for one customer.
#[derive(Clone, Debug, PartialEq)]
pub struct OutgoingMessage {
    /// Our reference: the same whenever this message is sent again.
    pub reference: Uuid,
    /// Whose message it is.
    pub organization: OrganizationId,
    /// The campaign; nothing where it is no campaign's.
    pub campaign: Option<Uuid>,
    /// Who it is for.
    pub customer: CustomerId,
    /// Where it goes: an e-mail address, a phone number, or what else the channel needs.
    pub address: String,
    /// The subject, where the channel has one.
    pub subject: Option<String>,
    /// What it says.
    pub text: String,
    /// Whether `text` is HTML.
    pub html: bool,
    /// A template that the vendor knows, as it was given with the campaign.
    pub template: Option<Json>,
    /// What the message is about, as consent names it.
    pub topic: Option<String>,
    /// Where the customer says that no more are wanted.
    pub unsubscribe_url: Option<String>,
}

/// The vendor has the message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Accepted {
    /// What the vendor calls it: its receipts name it so.
    pub vendor_message_id: String,
}

/// The vendor has no message, or it is not known whether it has.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum SendFailure {
    /// The vendor does not take it, and will not: it is not sent again.
    Refused(String),
    /// The vendor says that there is nobody at the address: it is not sent again, nor is anything else to that address.
    NoSuchAddress(String),
    /// It was certainly not sent, for a reason that passes: it is sent again.
    NotSent {
        /// Why.
        reason: String,
        /// How long the vendor asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// It may have been sent: only its receipt tells.
    Ambiguous(String),
}

impl SendFailure {
    /// Not sent for a reason that passes.
    #[must_use]
    pub fn not_sent(reason: impl Into<String>) -> Self {
        Self::NotSent { reason: reason.into(), retry_after: None }
    }
}

impl fmt::Display for SendFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(reason)
            | Self::NoSuchAddress(reason)
            | Self::NotSent { reason, .. }
            | Self::Ambiguous(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for SendFailure {}

/// The channels that a CRM has, each name once.
#[derive(Clone, Default)]
pub(crate) struct Channels(Vec<std::sync::Arc<dyn Channel>>);

impl Channels {
    /// With one more; it takes the place of another of the same name.
    pub(crate) fn add(&mut self, channel: std::sync::Arc<dyn Channel>) {
        self.0.retain(|one| one.name() != channel.name());
        self.0.push(channel);
    }

    pub(crate) fn find(&self, name: &str) -> Option<&dyn Channel> {
        self.0.iter().find(|channel| channel.name() == name).map(AsRef::as_ref)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|channel| channel.name())
    }
}
