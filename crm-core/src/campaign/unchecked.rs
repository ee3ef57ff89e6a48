//! Bodies that are not refused before their rules and messages were looked at too, so that everything wrong is told at once.

use serde_json::value::RawValue;

use super::{CampaignVariants, Campaigns, message::Messages};
use crate::{
    access::{Principal, permissions::CAMPAIGNS_WRITE},
    error::{FieldErrors, Result},
    input::{FromInput, Members},
    rule::Rule,
    text::{Line, Text},
};

/// A body with rules and messages in it, not yet refused: these are checked against the organization's fields, so that what
/// is wrong with them is told together with everything else.
#[derive(Clone, Debug)]
pub struct WithMessages<T> {
    /// The whole, or what is wrong with it.
    input: Result<T, FieldErrors>,
    /// What rules and messages there are, as far as they can be read by themselves.
    rules: Option<Box<RawValue>>,
    message: Option<Text<20_000>>,
    subject: Option<Line<300>>,
    variants: CampaignVariants,
}

impl<T: FromInput> FromInput for WithMessages<T> {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        let mut members = Members::parse(json)?;
        let given = |json: Option<&RawValue>| json.filter(|json| json.get() != "null").map(ToOwned::to_owned);
        let rules = given(members.take(&["rules_json"]));
        let message = members.take(&["message"]).and_then(|json| Text::from_input(json).ok());
        let subject = members.take(&["subject"]).and_then(|json| Line::from_input(json).ok());
        let variants = members.take(&["variants"]).and_then(|json| CampaignVariants::from_input(json).ok());
        Ok(Self { input: T::from_input(json), rules, message, subject, variants: variants.unwrap_or_default() })
    }
}

impl Campaigns<'_> {
    /// The body, or everything that is wrong with it.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] with every wrong field, those within rules and messages too; [`crate::Error::Forbidden`]
    /// without `campaigns:write`; those of the store.
    pub async fn read<T>(&self, by: &Principal, body: WithMessages<T>) -> Result<T> {
        by.may(CAMPAIGNS_WRITE)?;
        let WithMessages { input, rules, message, subject, variants } = body;
        let mut errors = FieldErrors::new();
        if let Some(input) = errors.take("", input) {
            // What is within its rules and messages is told when it is written.
            return Ok(errors.or(input)?);
        }
        if let Some(rules) = rules {
            let catalog = self.crm.customers().catalog(by).await?;
            errors.take("", Rule::from_json(&rules, &catalog, "rules_json"));
        }
        let context = self.crm.customers().context(by).await?;
        if let Some(message) = message.or_else(|| Text::parse("-").ok()) {
            errors.take("", Messages::read_all(&message, subject.as_ref(), &variants.0, &context.fields));
        }
        Err(errors.into())
    }
}
