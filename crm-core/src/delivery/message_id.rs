use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use uuid::Uuid;

use crate::{campaign::CommunicationId, id::OrganizationId};

/// What a message is called where we choose the name: the channel, and behind it in base64url the organization and our
/// reference. So a receipt finds its message, and never one of another organization.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct VendorMessageId<'a> {
    /// The channel.
    pub channel: &'a str,
    /// Whose message it is.
    pub organization: OrganizationId,
    /// Our reference.
    pub reference: Uuid,
}

impl<'a> VendorMessageId<'a> {
    /// Reads a name; nothing where it is another kind of name.
    #[must_use]
    pub fn read(text: &'a str) -> Option<Self> {
        let (channel, ids) = text.split_once('_')?;
        let ids: [u8; 32] = URL_SAFE_NO_PAD.decode(ids).ok()?.try_into().ok()?;
        let (organization, reference) = ids.split_at(16);
        Some(Self {
            channel,
            organization: OrganizationId(Uuid::from_slice(organization).ok()?),
            reference: Uuid::from_slice(reference).ok()?,
        })
    }

    /// The communication that it names.
    #[must_use]
    pub const fn communication(&self) -> CommunicationId {
        CommunicationId(self.reference)
    }
}

impl fmt::Display for VendorMessageId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ids = [0; 32];
        let (organization, reference) = ids.split_at_mut(16);
        organization.copy_from_slice(self.organization.0.as_bytes());
        reference.copy_from_slice(self.reference.as_bytes());
        write!(f, "{}_{}", self.channel, URL_SAFE_NO_PAD.encode(ids))
    }
}
