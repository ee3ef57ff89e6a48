use serde::Serialize;
use serde_json::json;

use super::{
    Campaign, CampaignId, Campaigns, CommunicationStatus, TrialRequest, admission,
    input::Draft,
    message::{Messages, Rendered},
    template::{self, RenderContext},
};
use crate::{
    access::{
        Principal,
        permissions::{CAMPAIGNS_SEND, CUSTOMERS_READ},
    },
    customer::Customer,
    error::{Error, Result},
    id::{CustomerId, new_uuid},
    operation::Operation,
    port::{OutgoingMessage, SendFailure},
    repo::Visible as _,
    rule::Rule,
    store::Query,
};

/// What became of a trial.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = CampaignTrial))]
pub struct Trial {
    /// The customer whose name and fields are in the messages.
    pub customer_id: CustomerId,
    /// What was sent: of each variant one to each address.
    pub results: Vec<TrialResult>,
}

/// One message of a trial.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TrialResult {
    /// Where it went.
    pub to: String,
    /// Which variant it is.
    pub variant: Option<String>,
    /// The subject.
    pub subject: Option<String>,
    /// The message.
    pub message: String,
    /// `SENT`, `FAILED` or `UNKNOWN`.
    pub status: CommunicationStatus,
    /// What the vendor calls it.
    pub vendor_message_id: Option<String>,
    /// Why it was not sent.
    pub reason: Option<String>,
}

impl Campaigns<'_> {
    /// Sends the campaign's messages to addresses of one's own, now, whatever its status is. A trial counts nowhere, and
    /// no window, consent or cap applies to it.
    ///
    /// # Errors
    /// [`Error::InvalidState`] where nothing is sent on the channel here, or where nobody is named and nobody in sight is
    /// in the audience; [`Error::NotFound`], also for the customer; [`Error::Forbidden`] without `campaigns:send` and
    /// `customers:read`.
    pub async fn test(&self, by: &Principal, id: CampaignId, request: &TrialRequest) -> Result<Trial> {
        by.may(CAMPAIGNS_SEND)?;
        by.may(CUSTOMERS_READ)?;
        let campaign = self.stored(by, id).await?;
        self.check(by, &Draft::of(&campaign)?).await.or_else(|error| match error {
            // What was launched has its rule beside its segment.
            Error::Invalid(_) if campaign.launched_at.is_some() => Ok(None),
            other => Err(other),
        })?;
        let channel = self.reach(by, campaign.channel).await?;
        let customer = match request.customer_id {
            Some(customer) => self.crm.repo::<Customer>().visible(by, customer, "customer").await?,
            None => self.first(by, &campaign).await?,
        };
        let fields = self.crm.customers().context(by).await?.fields;
        let messages = Messages::of(&campaign, &fields)?;
        let organization = self.crm.organizations().settings(by).await?;
        let url = admission::unsubscribe_url(self.crm, &campaign, customer.id);
        let context = RenderContext { organization: &organization, unsubscribe_url: url.as_deref() };
        let variants: Vec<(Option<usize>, Option<String>)> = if campaign.variants.0.is_empty() {
            vec![(None, None)]
        } else {
            let named = campaign.variants.0.iter().enumerate();
            named.map(|(place, variant)| (Some(place), Some(variant.name.to_string()))).collect()
        };
        let mut operation = Operation::new(self.crm, by);
        let what = json!({"messages": variants.len() * request.to.0.len(), "customer_id": customer.id});
        operation.audit::<Campaign>("campaign.tested", id, None, Some(what));
        operation.commit().await?;
        let (mut results, mut outgoing) = (Vec::new(), Vec::new());
        for address in &request.to.0 {
            for (place, variant) in &variants {
                let Rendered { subject, text } = messages.render(&customer, *place, campaign.channel, &context);
                outgoing.push(OutgoingMessage {
                    reference: new_uuid(self.crm.now(), self.crm.random()),
                    organization: by.organization,
                    campaign: None,
                    customer: customer.id,
                    address: address.to_string(),
                    subject: subject.clone(),
                    html: template::begins_html(&text),
                    text: text.clone(),
                    template: campaign.template.clone(),
                    topic: campaign.topic.clone(),
                    unsubscribe_url: url.clone(),
                });
                results.push(TrialResult {
                    to: address.to_string(),
                    variant: variant.clone(),
                    subject,
                    message: text,
                    status: CommunicationStatus::Unknown,
                    vendor_message_id: None,
                    reason: None,
                });
            }
        }
        let answers = channel.send_all(self.crm, outgoing).await;
        for (result, answer) in results.iter_mut().zip(answers) {
            match answer {
                Ok(accepted) => {
                    result.status = CommunicationStatus::Sent;
                    result.vendor_message_id = Some(accepted.vendor_message_id);
                }
                Err(failure) => {
                    if !matches!(failure, SendFailure::Ambiguous(_)) {
                        result.status = CommunicationStatus::Failed;
                    }
                    result.reason = Some(failure.to_string());
                }
            }
        }
        Ok(Trial { customer_id: customer.id, results })
    }

    /// Somebody in sight to whom the campaign goes.
    async fn first(&self, by: &Principal, campaign: &Campaign) -> Result<Customer> {
        let filter = match (&campaign.rules, campaign.segment_id) {
            (Some(rules), _) => {
                let rule = Rule::parse(rules.as_str(), &self.crm.customers().catalog(by).await?, "rules_json")?;
                Customer::visible_to(by).and(rule.filter(self.crm.now()))
            }
            (None, Some(segment)) => self.crm.segments().audience(by, segment).await?.filter,
            (None, None) => Customer::visible_to(by),
        };
        let found = self.crm.repo::<Customer>().find(by.scope(), &Query::new(filter, 1)).await?.records.pop();
        let nobody = "Nobody in sight is in the audience: name a customer_id whose fields the message takes.";
        found.ok_or_else(|| Error::InvalidState(nobody.to_owned()))
    }
}
