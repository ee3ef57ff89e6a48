//! Links by which customers say that they want no more messages.
//!
//! A link holds who it is for, the channel and the topic, and is signed. It is good for ever, since messages lie in
//! mailboxes for years; with a new encryption key the old ones verify links that they signed.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

use super::Deliveries;
use crate::{
    access::{Principal, RequestContext},
    error::{Error, Result},
    id::{CustomerId, OrganizationId},
    secret::hmac_sha256,
};

/// What the key is derived for.
const PURPOSE: &str = "unsubscribe links";
/// The first byte: what follows may be another one day.
const VERSION: u8 = 1;
/// How much of the signature is kept, in bytes.
const SIGNATURE: usize = 16;
/// The longest token.
const LONGEST: usize = 300;
/// Where it was said.
const SOURCE: &str = "unsubscribe link";

/// What a link says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unsubscribe {
    /// Whose customer it is.
    pub organization: OrganizationId,
    /// Who wants no more.
    pub customer: CustomerId,
    /// The channel.
    pub channel: String,
    /// What they want no more messages about; nothing for all of the channel.
    pub topic: Option<String>,
}

impl Unsubscribe {
    /// The signed form.
    fn token(&self, key: &[u8]) -> String {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(self.organization.0.as_bytes());
        bytes.extend_from_slice(self.customer.0.as_bytes());
        bytes.extend_from_slice(self.channel.as_bytes());
        if let Some(topic) = &self.topic {
            bytes.push(b':');
            bytes.extend_from_slice(topic.as_bytes());
        }
        let signature = hmac_sha256(key, &bytes);
        bytes.extend(signature.iter().take(SIGNATURE));
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a signed form.
    fn read(token: &str, keys: &[[u8; 32]]) -> Option<Self> {
        if token.len() > LONGEST {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (said, signature) = bytes.split_at_checked(bytes.len().checked_sub(SIGNATURE)?)?;
        let is_ours = |key: &[u8; 32]| -> bool {
            hmac_sha256(key, said).get(..SIGNATURE).is_some_and(|own| own.ct_eq(signature).into())
        };
        if !keys.iter().any(is_ours) {
            return None;
        }
        let (version, said) = said.split_first()?;
        let (organization, said) = said.split_at_checked(16)?;
        let (customer, said) = said.split_at_checked(16)?;
        let name = std::str::from_utf8(said).ok()?;
        let (channel, topic) = name.split_once(':').map_or((name, None), |(channel, topic)| (channel, Some(topic)));
        (*version == VERSION).then_some(Self {
            organization: OrganizationId(Uuid::from_slice(organization).ok()?),
            customer: CustomerId(Uuid::from_slice(customer).ok()?),
            channel: channel.to_owned(),
            topic: topic.map(str::to_owned),
        })
    }
}

impl Deliveries<'_> {
    /// The address at which a customer says that no more are wanted; nothing where the server does not know its own public
    /// address.
    #[must_use]
    pub fn unsubscribe_url(&self, unsubscribe: &Unsubscribe) -> Option<String> {
        let base = self.settings().public_url.as_deref()?;
        let token = unsubscribe.token(&self.crm.derived_key(PURPOSE));
        Some(format!("{}/api/v1/unsubscribe/{token}", base.trim_end_matches('/')))
    }

    /// What a link says.
    ///
    /// # Errors
    /// [`Error::NotFound`] where it is none of ours.
    pub fn unsubscribe_link(&self, token: &str) -> Result<Unsubscribe> {
        Unsubscribe::read(token, &self.crm.derived_keys(PURPOSE)).ok_or(Error::NotFound("link"))
    }

    /// Takes it that a customer wants no more messages about what the link names, or, with `everything`, by its channel
    /// at all. However often it is said, it is said once. For a customer who is gone there is nothing to do.
    ///
    /// # Errors
    /// [`Error::NotFound`] where the link is none of ours; those of the store.
    pub async fn unsubscribe(&self, token: &str, everything: bool, context: RequestContext) -> Result<Unsubscribe> {
        let link = self.unsubscribe_link(token)?;
        let by = Principal::system(link.organization).with_context(context);
        let name = match &link.topic {
            Some(topic) if !everything => format!("{}:{topic}", link.channel),
            _ => link.channel.clone(),
        };
        match self.crm.customers().refuse(&by, link.customer, name, SOURCE).await {
            // So much was said of topics that there is no room for one more.
            Err(Error::Invalid(_)) => {
                self.crm.customers().refuse(&by, link.customer, link.channel.clone(), SOURCE).await?;
            }
            Err(Error::NotFound(_)) => {}
            refused => refused?,
        }
        Ok(link)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn link(topic: Option<&str>) -> Unsubscribe {
        Unsubscribe {
            organization: OrganizationId(Uuid::from_u128(1)),
            customer: CustomerId(Uuid::from_u128(2)),
            channel: "email".to_owned(),
            topic: topic.map(str::to_owned),
        }
    }

    #[test]
    fn a_link_says_what_was_signed() {
        let (old, new) = ([1; 32], [2; 32]);
        for topic in [None, Some("offers")] {
            let token = link(topic).token(&old);
            assert_eq!(Unsubscribe::read(&token, &[new, old]), Some(link(topic)), "an older key verifies");
            assert_eq!(Unsubscribe::read(&token, &[new]), None);
            for place in 0..token.len() {
                let mut changed = token.clone().into_bytes();
                changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
                let changed = String::from_utf8(changed).expect("ASCII");
                let read = Unsubscribe::read(&changed, &[old]);
                // The last characters hold bits that mean nothing.
                assert!(read.is_none() || read == Some(link(topic)), "{place}");
            }
        }
    }

    proptest! {
        #[test]
        fn nothing_else_is_a_link(token in "[A-Za-z0-9_-]{0,120}|\\PC{0,20}") {
            prop_assert_eq!(Unsubscribe::read(&token, &[[1; 32]]), None);
        }
    }
}
