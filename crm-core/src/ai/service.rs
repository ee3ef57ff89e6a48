use std::time::Duration;

use futures::TryStreamExt as _;
use serde::Serialize;

use super::sentence::{Code, Language, Reading, Refusal, read};
use crate::{
    access::{Principal, permissions},
    crm::Crm,
    customer::{Customer, CustomerGroup},
    error::{Error, Result},
    input::Input,
    limit::{Bucket, Policy},
    rule::Rule,
    store::Query,
    tenancy::Currency,
};

/// How many requests an organization has.
const REQUESTS: Policy = Policy::new("ai", 600, Duration::from_mins(1));
/// More groups than this are not looked for in a sentence.
const MOST_GROUPS: usize = 1000;
/// More tags than this are not.
const MOST_TAGS: usize = 5000;

/// Drafts for people: nothing here is kept, sent or launched.
#[derive(Clone, Copy, Debug)]
pub struct Ai<'a> {
    pub(super) crm: &'a Crm,
}

impl Crm {
    /// Rules from sentences, drafts of messages, and campaigns told in a paragraph.
    #[must_use]
    pub const fn ai(&self) -> Ai<'_> {
        Ai { crm: self }
    }
}

/// Who wrote it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The model at `AI_BASE_URL`; what it said was checked.
    Model,
    /// This server, without asking anybody.
    Offline,
}

/// A sentence to be made a rule.
#[derive(Clone, Debug, Input)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RuleRequest {
    /// Which customers are meant, in words; at most 500 characters.
    #[cfg_attr(feature = "openapi", schema(max_length = 500, example = "Users inactive for 6 months and spent > ₹5K"))]
    pub text: String,
    /// Whether words that cannot be placed are set aside, and told in `unparsed`.
    pub partial: Option<bool>,
    /// Whether the customers are counted; they are where it is not said.
    pub preview: Option<bool>,
}

/// A rule made of a sentence: a draft, to be looked at before it is used.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(example = json!({
    "rules_json": {"and": [
        {"field": "inactive_days", "op": ">", "value": 180}, {"field": "spend", "op": ">", "value": 5000}
    ]},
    "explanation": "inactive for more than 180 days and spend is more than 5000",
    "assumptions": ["6 months are counted as 180 days."], "source": "offline", "count": 42
})))]
pub struct SuggestedRule {
    /// The rule, as segments and filters take it.
    pub rules_json: Rule,
    /// The rule in words.
    pub explanation: String,
    /// What was taken for granted where the sentence leaves it open.
    pub assumptions: Vec<String>,
    /// With `partial`: the words that were set aside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unparsed: Option<Vec<String>>,
    /// Who read the sentence.
    pub source: Source,
    /// How many of the customers in sight match now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

impl Ai<'_> {
    /// Makes a rule of a sentence.
    ///
    /// # Errors
    /// [`Error::Sentence`] with what of it cannot be placed, [`Error::RateLimited`], [`Error::Forbidden`] without
    /// `ai:use`.
    pub async fn rule(&self, by: &Principal, request: &RuleRequest) -> Result<SuggestedRule> {
        self.admit(by).await?;
        let language = self.language(by, &request.text).await?;
        let partial = request.partial.unwrap_or(false);
        let read = read(&request.text, &language, partial);
        let by_model = match &read {
            Err(Refusal { code: Code::Empty | Code::TooLong, .. }) => None,
            _ => self.rule_of_model(by, &request.text, language.catalog()).await,
        };
        let (Reading { rule, assumptions, unparsed }, source) = match by_model {
            Some(rule) => {
                let note = "A language model has read the sentence: look at what it makes of it.".to_owned();
                (Reading { rule, assumptions: vec![note], unparsed: Vec::new() }, Source::Model)
            }
            None => (read.map_err(Box::new)?, Source::Offline),
        };
        let counts = request.preview.unwrap_or(true) && by.permissions.has(permissions::CUSTOMERS_READ);
        let count = if counts {
            Some(self.crm.repo::<Customer>().count_visible(by, rule.filter(self.crm.now())).await?)
        } else {
            None
        };
        Ok(SuggestedRule {
            explanation: rule.to_string(),
            rules_json: rule,
            assumptions,
            unparsed: partial.then_some(unparsed),
            source,
            count,
        })
    }

    /// Whether the principal may ask, and the organization has not asked too often.
    pub(super) async fn admit(&self, by: &Principal) -> Result<()> {
        by.may(permissions::AI_USE)?;
        let key = by.organization.to_string();
        let verdict = self.crm.limits().request(self.crm.now(), &[Bucket { policy: &REQUESTS, key: &key }]).await;
        verdict.retry_after.map_or(Ok(()), |retry_after| Err(Error::RateLimited { retry_after }))
    }

    /// The organization's own words. Its groups and tags are looked up only for a sentence that speaks of some.
    async fn language(&self, by: &Principal, text: &str) -> Result<Language> {
        let customers = self.crm.customers();
        let context = customers.context(by).await?;
        let currency = match self.crm.organizations().settings(by).await {
            Ok(organization) => organization.currency,
            Err(Error::NotFound(_)) => Currency::USD,
            Err(error) => return Err(error),
        };
        let mut language = Language::new(customers.catalog(by).await?, currency);
        for field in context.fields.live() {
            language = language.with_field(&field.key, &field.label);
        }
        if !by.permissions.has(permissions::CUSTOMERS_READ) {
            return Ok(language);
        }
        let text = text.to_lowercase();
        if text.contains("group") {
            let query = Query::new(CustomerGroup::removed_at.missing(), MOST_GROUPS);
            let groups = self.crm.repo::<CustomerGroup>().stream(by.scope(), query);
            let groups: Vec<CustomerGroup> = groups.try_collect().await?;
            language = language.with_groups(groups.into_iter().map(|group| (group.id.to_string(), group.name.into())));
        }
        if text.contains("tag") {
            let tags = customers.tags(by, None).await?;
            language = language.with_tags(tags.into_iter().take(MOST_TAGS).map(|tag| tag.tag));
        }
        Ok(language)
    }
}
