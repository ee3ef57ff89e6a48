use std::sync::LazyLock;

use serde::Serialize;
use serde_json::json;

use super::{ConsentEntry, NewSuppression, Suppression, SuppressionId, SuppressionReason, gate::normalised};
use crate::{
    access::{
        Principal,
        permissions::{CUSTOMERS_READ, CUSTOMERS_WRITE, ORGANIZATION_READ, ORGANIZATION_WRITE},
    },
    campaign::CampaignChannel,
    contact::{Email, Phone},
    crm::Crm,
    customer::{CUSTOMER, Customer},
    error::{Error, FieldErrors, Result},
    id::{CustomerId, OrganizationId},
    list::{self, List, ListRequest, Listing},
    operation::Operation,
    record::{CREATED_AT, Meta},
    rule::{Catalog, CatalogField},
    secret::{Secret, hmac_sha256},
    webhook::SigningSecret,
};

/// What the key of receipts is derived for, where no secret is set.
const RECEIPTS: &str = "delivery receipts";
/// What the keys of organizations' own vendors are derived for.
const VENDORS: &str = "vendors of organizations";
const MISSING: Error = Error::NotFound("suppression");

static SUPPRESSIONS: LazyLock<Catalog> = LazyLock::new(|| {
    Catalog::new(<Suppression as crate::record::Record>::COLLECTION)
        .with(CatalogField::column(CREATED_AT))
        .with(CatalogField::column(Suppression::channel))
        .with(CatalogField::column(Suppression::address))
        .with(CatalogField::column(Suppression::reason).options(SuppressionReason::ALL.map(SuppressionReason::name)))
        .with(CatalogField::column(Suppression::customer_id))
});

/// The fields of a suppression as it is shown.
const SUPPRESSION_SHOWN: [&str; 10] = [
    "id",
    "organization_id",
    "channel",
    "address",
    "reason",
    "note",
    "customer_id",
    "version",
    "created_at",
    "updated_at",
];

static LEDGER: LazyLock<Catalog> = LazyLock::new(|| {
    Catalog::new(<ConsentEntry as crate::record::Record>::COLLECTION)
        .with(CatalogField::column(CREATED_AT))
        .with(CatalogField::column(ConsentEntry::channel))
        .with(CatalogField::column(ConsentEntry::topic))
        .with(CatalogField::column(ConsentEntry::granted))
        .with(CatalogField::column(ConsentEntry::at))
});

/// The fields of an entry as it is shown.
const LEDGER_SHOWN: [&str; 14] = [
    "id",
    "organization_id",
    "customer_id",
    "channel",
    "topic",
    "granted",
    "at",
    "source",
    "author_type",
    "author_id",
    "ip",
    "version",
    "created_at",
    "updated_at",
];

/// What the installation says of delivery.
#[derive(Clone, Debug, Default)]
pub struct DeliverySettings {
    /// What vendors sign receipts with; a key made of the encryption key where it is not said.
    pub receipt_secret: Option<SigningSecret>,
    /// The public address of the server, such as `https://crm.example.com`: what links in messages begin with. Without it
    /// there are no links by which customers unsubscribe.
    pub public_url: Option<String>,
}

/// A channel, and whether messages can be sent by it.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChannelState {
    /// What campaigns call it.
    pub name: &'static str,
    /// Whether messages can be sent.
    pub ready: bool,
    /// What is missing, where they cannot.
    pub reason: Option<String>,
    /// Of the channel `webhook`, for who may change the organization: what messages are signed with, and receipts of the
    /// organization's own vendor are to be signed with.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))]
    pub secret: Option<String>,
}

/// What lies between messages and customers.
#[derive(Clone, Copy, Debug)]
pub struct Deliveries<'a> {
    pub(super) crm: &'a Crm,
}

impl Crm {
    /// Delivery: consent, suppressed addresses, receipts.
    #[must_use]
    pub const fn deliveries(&self) -> Deliveries<'_> {
        Deliveries { crm: self }
    }
}

impl<'a> Deliveries<'a> {
    pub(super) fn settings(self) -> &'a DeliverySettings {
        self.crm.delivery_settings()
    }

    /// What receipts of any organization may be signed with, the one that we sign with first.
    pub(super) fn receipt_secrets(self) -> Vec<SigningSecret> {
        match &self.settings().receipt_secret {
            Some(secret) => vec![secret.clone()],
            None => self.crm.derived_keys(RECEIPTS).iter().map(|key| SigningSecret::of_bytes(key.to_vec())).collect(),
        }
    }

    /// What messages to an organization's own vendor are signed with, the newest first.
    pub(super) fn organization_secrets(self, organization: OrganizationId) -> Vec<SigningSecret> {
        let keys = self.crm.derived_keys(VENDORS);
        let secret = |key: &[u8; 32]| SigningSecret::of_bytes(hmac_sha256(key, organization.0.as_bytes()).to_vec());
        keys.iter().map(secret).collect()
    }

    /// What a list of suppressions can be asked.
    #[must_use]
    pub fn suppression_listing() -> Listing<'static> {
        Listing::new(&SUPPRESSIONS).sortable(&["created_at"]).fields(&SUPPRESSION_SHOWN)
    }

    /// What a list of what was said of consent can be asked.
    #[must_use]
    pub fn consent_listing() -> Listing<'static> {
        Listing::new(&LEDGER).sortable(&["created_at"]).fields(&LEDGER_SHOWN)
    }

    /// The suppressed addresses.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `customers:read`; those of the store.
    pub async fn suppressions(&self, by: &Principal, request: &ListRequest) -> Result<List<Suppression>> {
        by.may(CUSTOMERS_READ)?;
        list::everything(self.crm, by, request, crate::store::Filter::ALL).await
    }

    /// One suppressed address.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `customers:read`, [`Error::NotFound`].
    pub async fn suppression(&self, by: &Principal, id: SuppressionId) -> Result<Suppression> {
        by.may(CUSTOMERS_READ)?;
        self.crm.repo::<Suppression>().get(by.scope(), id).await?.ok_or(MISSING)
    }

    /// Suppresses an address: nothing is sent to it on the channel any more. It is kept as customers have it, so that it is
    /// found again however it was written.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `customers:write`, [`Error::Invalid`] where the channel has no such addresses,
    /// [`Error::Duplicate`] where it is suppressed already.
    pub async fn suppress_address(&self, by: &Principal, new: NewSuppression) -> Result<Suppression> {
        by.may(CUSTOMERS_WRITE)?;
        let channel = new.channel.0;
        let mut errors = FieldErrors::new();
        let address = match channel {
            CampaignChannel::Email => Email::parse(&new.address).map(|email| email.as_str().to_owned()),
            CampaignChannel::Sms | CampaignChannel::Whatsapp => {
                let country = self.crm.organizations().settings(by).await?.country;
                Phone::parse(&new.address, country).map(|phone| phone.as_str().to_owned())
            }
            CampaignChannel::Mock | CampaignChannel::Webhook => Ok(normalised(channel, &new.address)),
        };
        let address = errors.take("address", address).unwrap_or_default();
        errors.or(())?;
        let mut operation = Operation::new(self.crm, by);
        let now = operation.now();
        let suppression = Suppression {
            id: self.crm.new_id_at(now),
            channel,
            address,
            reason: new.reason.unwrap_or(SuppressionReason::Manual),
            note: new.note,
            customer_id: None,
            meta: Meta::new(by.organization, now),
        };
        operation.insert(&suppression);
        operation.audit::<Suppression>("suppression.created", suppression.id, None, Some(json!(suppression)));
        operation.commit().await?;
        Ok(suppression)
    }

    /// Lets messages go to an address again.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `customers:write`, [`Error::NotFound`], [`Error::VersionConflict`].
    pub async fn unsuppress(&self, by: &Principal, id: SuppressionId, expected_version: Option<i64>) -> Result<()> {
        by.may(CUSTOMERS_WRITE)?;
        let suppression = self.crm.repo::<Suppression>().get(by.scope(), id).await?.ok_or(MISSING)?;
        suppression.meta.expect(expected_version)?;
        let mut operation = Operation::new(self.crm, by);
        operation.delete(&suppression);
        operation.audit::<Suppression>("suppression.deleted", id, Some(json!(suppression)), None);
        operation.commit().await?;
        Ok(())
    }

    /// What was said of a customer's consent, the newest first where no order is asked for.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `customers:read`, [`Error::NotFound`] where there is no such customer in sight.
    pub async fn consent_ledger(
        &self,
        by: &Principal,
        customer: CustomerId,
        request: &ListRequest,
    ) -> Result<List<ConsentEntry>> {
        by.may(CUSTOMERS_READ)?;
        self.crm.repo::<Customer>().visible(by, customer, CUSTOMER).await?;
        list::everything(self.crm, by, request, ConsentEntry::customer_id.equals(customer)).await
    }

    /// The channels that there are.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `organization:read`.
    pub async fn channels(&self, by: &Principal) -> Result<Vec<ChannelState>> {
        by.may(ORGANIZATION_READ)?;
        let is_trusted = by.may(ORGANIZATION_WRITE).is_ok();
        let mut states = Vec::new();
        for channel in CampaignChannel::ALL {
            let name = channel.name();
            let ready = self.ready(by, name).await;
            let secret = if is_trusted && name == "webhook" { self.organization_secret(by.organization) } else { None };
            states.push(ChannelState {
                name,
                ready: ready.is_ok(),
                reason: ready.err(),
                secret: secret.map(|secret| secret.expose().clone()),
            });
        }
        Ok(states)
    }

    /// Whether messages of the organization can be sent by a channel.
    ///
    /// # Errors
    /// What is missing, for a person.
    pub async fn ready(&self, by: &Principal, channel: &str) -> Result<(), String> {
        match self.crm.channel(channel) {
            Some(found) => found.ready(self.crm, by.organization).await,
            None => Err(format!("The channel {channel} is not set up on this server.")),
        }
    }

    fn organization_secret(self, organization: OrganizationId) -> Option<Secret<String>> {
        self.organization_secrets(organization).first().map(SigningSecret::text)
    }
}

impl DeliverySettings {
    /// A secret for receipts: by the rules of Standard Webhooks (`whsec_` and base64 of 24 to 64 bytes), or any other text
    /// of at least 32 bytes, which is the key as it stands.
    #[must_use]
    pub fn receipt_secret_of(text: &str) -> Option<SigningSecret> {
        if text.starts_with("whsec_") {
            return text.parse().ok();
        }
        (text.len() >= crate::secret::SHORTEST_SECRET).then(|| SigningSecret::of_bytes(text.as_bytes().to_vec()))
    }
}
