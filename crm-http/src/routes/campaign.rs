//! Campaigns and what they send.

mod watch;

use axum::{
    extract::{FromRequestParts, State},
    response::Response,
};
use crm_core::{
    Crm,
    access::Principal,
    campaign::{
        Campaign, CampaignDetail, CampaignId, Campaigns, ChangedCampaign, Communication, NewCampaign, ReplacedCampaign,
        Trial, TrialRequest, WithMessages,
    },
    list::{List, ListBody},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    extract::{Body, IfMatch, Pairs, Path},
    listed::{ListParameters, listed},
    problem::Result,
    respond::{Created, Json, NoContent, Record},
    state::AppState,
};

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(search))
        .routes(routes!(get, replace, change, remove))
        .routes(routes!(launch))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(cancel))
        .routes(routes!(test))
        .routes(routes!(communications))
        .routes(routes!(search_communications))
        .merge(watch::routes())
}

/// List campaigns
///
/// Filter by `name`, `status` (`draft`, `scheduled`, `sending`, `paused`, `sent`, `cancelled`, `failed`), `channel`,
/// `segment_id`, `topic`, `schedule_at`, `audience`, `launched_at`, `finished_at`, `created_by` and `created_at`.
#[utoipa::path(
    get, path = "/campaigns", tag = "Campaigns", params(ListParameters),
    responses((status = 200, description = "A page of campaigns.", body = List<Campaign>)),
    extensions(("x-permission" = json!("campaigns:read")))
)]
async fn list(State(crm): State<Crm>, by: Principal, pairs: Pairs) -> Result<Response> {
    let request = Campaigns::listing().from_pairs(&pairs.into_pairs())?;
    let found = crm.campaigns().list(&by, &request).await?;
    listed(found, &request)
}

/// Search campaigns
///
/// The list with its parameters in a JSON body, for long rules.
#[utoipa::path(
    post, path = "/campaigns/search", tag = "Campaigns", request_body = ListBody,
    responses((status = 200, description = "A page of campaigns.", body = List<Campaign>)),
    extensions(("x-permission" = json!("campaigns:read")))
)]
async fn search(State(crm): State<Crm>, by: Principal, pairs: Pairs, Body(body): Body<ListBody>) -> Result<Response> {
    pairs.only(&[])?;
    let request = Campaigns::listing().from_json(body.as_json())?;
    let found = crm.campaigns().list(&by, &request).await?;
    listed(found, &request)
}

/// Write a campaign
///
/// As a draft, or with `launch: true` launched at once, for which `campaigns:send` is needed too. It goes to the customers
/// of a segment (`segment_id`) or to those whom `rules_json` describes. In `message` and `subject` stand variables such as
/// `{{name}}`, `{{custom.city}}` and `{{name | default: "there"}}`; one that is not known is refused with its position.
#[utoipa::path(
    post, path = "/campaigns", tag = "Campaigns", request_body = NewCampaign,
    responses((status = 201, description = "The new campaign.", body = Campaign), (status = 409)),
    extensions(("x-permission" = json!("campaigns:write")))
)]
async fn create(
    State(crm): State<Crm>,
    by: Principal,
    pairs: Pairs,
    Body(new): Body<WithMessages<NewCampaign>>,
) -> Result<Created<Campaign>> {
    pairs.only(&[])?;
    let new = crm.campaigns().read(&by, new).await?;
    let campaign = crm.campaigns().create(&by, new).await?;
    Ok(Created::new("campaigns", campaign.id, campaign.meta.version, campaign))
}

/// Get a campaign
///
/// With its figures as of now, and the first page of its communications: `next_cursor` is the `cursor` of the next page at
/// `/campaigns/{id}/communications`.
#[utoipa::path(
    get, path = "/campaigns/{id}", tag = "Campaigns", params(("id" = CampaignId, Path)),
    responses((status = 200, description = "The campaign.", body = CampaignDetail)),
    extensions(("x-permission" = json!("campaigns:read")))
)]
async fn get(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<CampaignId>,
    pairs: Pairs,
) -> Result<Record<CampaignDetail>> {
    pairs.only(&[])?;
    let detail = crm.campaigns().get(&by, id).await?;
    Ok(Record::new(detail.campaign.meta.version, detail))
}

/// Replace a draft
///
/// What is not given is as in a new campaign. Once it is launched a campaign is not changed any more: 409.
#[utoipa::path(
    put, path = "/campaigns/{id}", tag = "Campaigns", params(("id" = CampaignId, Path)),
    request_body = ReplacedCampaign,
    responses((status = 200, description = "The campaign as it is now.", body = Campaign), (status = 409), (status = 412)),
    extensions(("x-permission" = json!("campaigns:write")))
)]
async fn replace(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<CampaignId>,
    IfMatch(version): IfMatch,
    pairs: Pairs,
    Body(input): Body<WithMessages<ReplacedCampaign>>,
) -> Result<Record<Campaign>> {
    pairs.only(&[])?;
    let input = crm.campaigns().read(&by, input).await?;
    Ok(shown(crm.campaigns().replace(&by, id, version, input).await?))
}

/// Change some fields of a draft
///
/// What is not given stays as it is. Who names a segment means it in the place of rules, and the other way round.
#[utoipa::path(
    patch, path = "/campaigns/{id}", tag = "Campaigns", params(("id" = CampaignId, Path)),
    request_body = ChangedCampaign,
    responses((status = 200, description = "The campaign as it is now.", body = Campaign), (status = 409), (status = 412)),
    extensions(("x-permission" = json!("campaigns:write")))
)]
async fn change(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<CampaignId>,
    IfMatch(version): IfMatch,
    pairs: Pairs,
    Body(changed): Body<WithMessages<ChangedCampaign>>,
) -> Result<Record<Campaign>> {
    pairs.only(&[])?;
    let changed = crm.campaigns().read(&by, changed).await?;
    Ok(shown(crm.campaigns().change(&by, id, version, changed).await?))
}

/// Remove a draft
///
/// A campaign that was launched stays: cancel it.
#[utoipa::path(
    delete, path = "/campaigns/{id}", tag = "Campaigns", params(("id" = CampaignId, Path)),
    responses((status = 204, description = "Removed."), (status = 409), (status = 412)),
    extensions(("x-permission" = json!("campaigns:write")))
)]
async fn remove(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<CampaignId>,
    IfMatch(version): IfMatch,
    pairs: Pairs,
) -> Result<NoContent> {
    pairs.only(&[])?;
    crm.campaigns().remove(&by, id, version).await?;
    Ok(NoContent)
}

/// One step of a campaign that somebody takes.
#[derive(FromRequestParts)]
#[from_request(state(AppState))]
struct Step {
    #[from_request(via(State))]
    crm: Crm,
    by: Principal,
    #[from_request(via(Path))]
    id: CampaignId,
    version: IfMatch,
    pairs: Pairs,
}

impl Step {
    /// What the service is told.
    fn told(&self) -> Result<(Campaigns<'_>, &Principal, CampaignId, Option<i64>)> {
        self.pairs.only(&[])?;
        Ok((self.crm.campaigns(), &self.by, self.id, self.version.0))
    }
}

/// The campaign as it is now.
fn shown(campaign: Campaign) -> Record<Campaign> {
    Record::new(campaign.meta.version, campaign)
}

/// Launch a campaign
///
/// Now, or at `schedule_at` where that is to come. From now on its rule and its messages are frozen: changes of the segment,
/// of fields or of customers change nothing of who gets what, once that is planned. It goes to the customers in your sight.
/// Of two who launch it at once, one does; the other is told 409.
#[utoipa::path(
    post, path = "/campaigns/{id}/launch", tag = "Campaigns", params(("id" = CampaignId, Path)),
    responses((status = 200, description = "The campaign, scheduled or sending.", body = Campaign), (status = 409), (status = 412)),
    extensions(("x-permission" = json!("campaigns:send")))
)]
async fn launch(step: Step) -> Result<Record<Campaign>> {
    let (campaigns, by, id, version) = step.told()?;
    Ok(shown(campaigns.launch(by, id, version).await?))
}

/// Pause a campaign
///
/// Within two seconds nothing more is sent, by any process. What the vendor has been given by then still arrives.
#[utoipa::path(
    post, path = "/campaigns/{id}/pause", tag = "Campaigns", params(("id" = CampaignId, Path)),
    responses((status = 200, description = "The campaign, paused.", body = Campaign), (status = 409), (status = 412)),
    extensions(("x-permission" = json!("campaigns:send")))
)]
async fn pause(step: Step) -> Result<Record<Campaign>> {
    let (campaigns, by, id, version) = step.told()?;
    Ok(shown(campaigns.pause(by, id, version).await?))
}

/// Resume a campaign
///
/// It goes on where it was; nobody gets it twice. At a pace (`throttle_per_minute`), what was not sent meanwhile is not
/// made up for.
#[utoipa::path(
    post, path = "/campaigns/{id}/resume", tag = "Campaigns", params(("id" = CampaignId, Path)),
    responses((status = 200, description = "The campaign, sending.", body = Campaign), (status = 409), (status = 412)),
    extensions(("x-permission" = json!("campaigns:send")))
)]
async fn resume(step: Step) -> Result<Record<Campaign>> {
    let (campaigns, by, id, version) = step.told()?;
    Ok(shown(campaigns.resume(by, id, version).await?))
}

/// Cancel a campaign
///
/// For good. What has not left is given up in the background, and then counts as suppressed, with the reason `cancelled`.
#[utoipa::path(
    post, path = "/campaigns/{id}/cancel", tag = "Campaigns", params(("id" = CampaignId, Path)),
    responses((status = 200, description = "The campaign, cancelled.", body = Campaign), (status = 409), (status = 412)),
    extensions(("x-permission" = json!("campaigns:send")))
)]
async fn cancel(step: Step) -> Result<Record<Campaign>> {
    let (campaigns, by, id, version) = step.told()?;
    Ok(shown(campaigns.cancel(by, id, version).await?))
}

/// Try a campaign
///
/// Sends its messages, of each variant one, to addresses of your own, with the fields of a customer: the one that is named,
/// else the first of the audience. A trial counts nowhere, and no window, consent or cap applies to it.
#[utoipa::path(
    post, path = "/campaigns/{id}/test", tag = "Campaigns", params(("id" = CampaignId, Path)),
    request_body = TrialRequest,
    responses((status = 200, description = "What was sent, and what became of it.", body = Trial), (status = 409)),
    extensions(("x-permission" = json!("campaigns:send")))
)]
async fn test(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<CampaignId>,
    pairs: Pairs,
    Body(request): Body<TrialRequest>,
) -> Result<Json<Trial>> {
    pairs.only(&[])?;
    Ok(Json(crm.campaigns().test(&by, id, &request).await?))
}

/// List communications of a campaign
///
/// What each customer gets and what became of it, in the order of the plan. Filter by `status` (`QUEUED`, `SENT`,
/// `DELIVERED`, `READ`, `FAILED`, `SUPPRESSED`, `UNKNOWN`), `variant`, `customer_id`, `reason`, `vendor_message_id`,
/// `attempts` and `sent_at`. Who sees only a team's customers is shown only theirs: a page may then hold fewer than `limit`,
/// though more follow.
#[utoipa::path(
    get, path = "/campaigns/{id}/communications", tag = "Campaigns", params(("id" = CampaignId, Path), ListParameters),
    responses((status = 200, description = "A page of communications.", body = List<Communication>)),
    extensions(("x-permission" = json!("campaigns:read")))
)]
async fn communications(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<CampaignId>,
    pairs: Pairs,
) -> Result<Response> {
    let request = Campaigns::communication_listing().from_pairs(&pairs.into_pairs())?;
    let found = crm.campaigns().communications(&by, id, &request).await?;
    listed(found, &request)
}

/// Search communications of a campaign
///
/// The list with its parameters in a JSON body, for long rules.
#[utoipa::path(
    post, path = "/campaigns/{id}/communications/search", tag = "Campaigns", params(("id" = CampaignId, Path)),
    request_body = ListBody,
    responses((status = 200, description = "A page of communications.", body = List<Communication>)),
    extensions(("x-permission" = json!("campaigns:read")))
)]
async fn search_communications(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<CampaignId>,
    pairs: Pairs,
    Body(body): Body<ListBody>,
) -> Result<Response> {
    pairs.only(&[])?;
    let request = Campaigns::communication_listing().from_json(body.as_json())?;
    let found = crm.campaigns().communications(&by, id, &request).await?;
    listed(found, &request)
}
