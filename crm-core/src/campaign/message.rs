//! What a campaign says, read once and written for each customer.

use super::{
    Campaign, CampaignChannel, CampaignVariant,
    input::Draft,
    template::{Form, RenderContext, Template, Vocabulary},
};
use crate::{
    customer::Customer,
    error::{FieldErrors, Result},
    field::FieldSet,
    text::{Line, Text},
};

/// The templates of a campaign: its own, and those of its variants.
#[derive(Clone, Debug)]
pub(super) struct Messages {
    own: Message,
    variants: Vec<Message>,
}

#[derive(Clone, Debug)]
struct Message {
    subject: Option<Template>,
    text: Template,
}

/// What one customer gets.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Rendered {
    pub(super) subject: Option<String>,
    pub(super) text: String,
}

impl Messages {
    /// Reads those of a draft.
    ///
    /// # Errors
    /// Everything that is wrong with them, each by its path.
    pub(super) fn read(draft: &Draft, fields: &FieldSet) -> Result<Self, FieldErrors> {
        Self::read_all(&draft.message, draft.subject.as_ref(), &draft.variants.0, fields)
    }

    /// Reads those of a campaign.
    ///
    /// # Errors
    /// Everything that is wrong with them: they name what is not there any more.
    pub(super) fn of(campaign: &Campaign, fields: &FieldSet) -> Result<Self, FieldErrors> {
        Self::read_all(&campaign.message, campaign.subject.as_ref(), &campaign.variants.0, fields)
    }

    /// Reads those of a message, its subject and its variants.
    ///
    /// # Errors
    /// Everything that is wrong with them, each by its path.
    pub(super) fn read_all(
        message: &Text<20_000>,
        subject: Option<&Line<300>>,
        variants: &[CampaignVariant],
        fields: &FieldSet,
    ) -> Result<Self, FieldErrors> {
        let vocabulary = Vocabulary::of(fields);
        let mut errors = FieldErrors::new();
        let text = errors.take("message", Template::message(message, &vocabulary));
        let subject = subject.and_then(|subject| errors.take("subject", Template::subject(subject, &vocabulary)));
        let own = text.map(|text| Message { subject, text });
        let mut read = Vec::with_capacity(variants.len());
        for (place, variant) in variants.iter().enumerate() {
            let path = |field: &str| format!("variants[{place}].{field}");
            let text = variant.message.as_ref().map(|text| Template::message(text, &vocabulary));
            let text = text.and_then(|text| errors.take(&path("message"), text));
            let subject = variant.subject.as_ref().map(|subject| Template::subject(subject, &vocabulary));
            let subject = subject.and_then(|subject| errors.take(&path("subject"), subject));
            // What a variant does not say, the campaign says.
            read.extend(own.as_ref().map(|own| Message {
                subject: subject.or_else(|| own.subject.clone()),
                text: text.unwrap_or_else(|| own.text.clone()),
            }));
        }
        match own {
            Some(own) if errors.is_empty() => Ok(Self { own, variants: read }),
            _ => Err(errors),
        }
    }

    /// What a customer gets, of the variant at that place or else of the campaign's own.
    pub(super) fn render(
        &self,
        customer: &Customer,
        variant: Option<usize>,
        channel: CampaignChannel,
        context: &RenderContext<'_>,
    ) -> Rendered {
        let message = variant.and_then(|place| self.variants.get(place)).unwrap_or(&self.own);
        let form = if channel == CampaignChannel::Email && message.text.is_html() { Form::Html } else { Form::Text };
        Rendered {
            subject: message.subject.as_ref().map(|subject| subject.render(customer, context, Form::Line)),
            text: message.text.render(customer, context, form),
        }
    }
}
