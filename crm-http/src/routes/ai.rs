//! Drafts that spare typing.

use axum::extract::State;
use crm_core::{
    Crm,
    access::Principal,
    ai::{CampaignSummary, MessagesRequest, RuleRequest, SuggestedMessages, SuggestedRule, SummaryRequest},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    extract::{Body, Pairs},
    problem::Result,
    respond::Json,
    state::AppState,
};

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(rule)).routes(routes!(messages)).routes(routes!(summary))
}

/// The refusal of a sentence, beside the usual members of an error.
#[derive(utoipa::ToSchema)]
#[schema(example = json!({
    "status": "error", "message": "These words have no place in a rule.", "code": "unsupported_text",
    "errors": [{"field": "text", "message": "These words have no place in a rule.", "code": "unsupported_text"}],
    "near": "female", "supported": ["spend (an amount)", "visits (a number of times)"],
    "examples": ["customers who haven't visited in 90 days"], "request_id": "0199f3a2-6b1c-7c3e-9d4f-1a2b3c4d5e6f"
}))]
#[expect(dead_code, reason = "describes what the error envelope holds")]
struct RefusedSentence {
    /// `error`.
    status: String,
    /// What is wrong.
    message: String,
    /// `empty`, `too_long`, `unsupported_text`, `missing_field`, `missing_value`, `ambiguous_field`,
    /// `ambiguous_negation`, `unit_mismatch`, `currency_mismatch`, `bad_number`, `value_out_of_range` or
    /// `unbalanced_parenthesis`; `IDEMPOTENCY_MISMATCH` where the `Idempotency-Key` was used for another request.
    code: String,
    /// The same, of the field `text`.
    errors: Vec<serde_json::Value>,
    /// The words that it is about, as they were written.
    near: Option<String>,
    /// What can be asked about.
    supported: Option<Vec<String>>,
    /// Sentences that are understood.
    examples: Option<Vec<String>>,
    /// The request.
    request_id: String,
}

/// Make a rule of a sentence
///
/// Reads which customers are meant: `inactive for 6 months and spent > ₹5K`, `haven't visited in 90 days`, `city is
/// Mumbai or tagged vip`. The rule is a draft to be looked at; nothing is kept. What is taken for granted stands in
/// `assumptions`. Words that cannot be placed are refused by name, never dropped; with `partial` they are set aside, and
/// told in `unparsed`.
#[utoipa::path(
    post, path = "/ai/rules", tag = "AI", request_body = RuleRequest,
    responses((status = 200, description = "The rule, and what it means in words.", body = SuggestedRule),
              (status = 422, description = "The sentence makes no rule.", body = RefusedSentence)),
    extensions(("x-permission" = json!("ai:use")))
)]
async fn rule(
    State(crm): State<Crm>,
    by: Principal,
    pairs: Pairs,
    Body(request): Body<RuleRequest>,
) -> Result<Json<SuggestedRule>> {
    pairs.only(&[])?;
    Ok(Json(crm.ai().rule(&by, &request).await?))
}

/// Draft messages
///
/// At least three messages around a goal, each a template that a campaign of the channel takes as it is: for `sms` of at
/// most 160 characters where the goal allows it, for `email` with a subject. Nothing is kept or sent.
#[utoipa::path(
    post, path = "/ai/messages", tag = "AI", request_body = MessagesRequest,
    responses((status = 200, description = "The drafts.", body = SuggestedMessages)),
    extensions(("x-permission" = json!("ai:use")))
)]
async fn messages(
    State(crm): State<Crm>,
    by: Principal,
    pairs: Pairs,
    Body(request): Body<MessagesRequest>,
) -> Result<Json<SuggestedMessages>> {
    pairs.only(&[])?;
    Ok(Json(crm.ai().messages(&by, &request).await?))
}

/// Tell a campaign in words
///
/// A paragraph about what became of its messages, and the figures that it is about. Every number of the paragraph is among
/// the figures.
#[utoipa::path(
    post, path = "/ai/summary", tag = "AI", request_body = SummaryRequest,
    responses((status = 200, description = "The paragraph and its figures.", body = CampaignSummary), (status = 404)),
    extensions(("x-permission" = json!("ai:use")))
)]
async fn summary(
    State(crm): State<Crm>,
    by: Principal,
    pairs: Pairs,
    Body(request): Body<SummaryRequest>,
) -> Result<Json<CampaignSummary>> {
    pairs.only(&[])?;
    Ok(Json(crm.ai().summary(&by, &request).await?))
}
