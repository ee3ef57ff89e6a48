use std::time::Duration;

use axum::{extract::State, http::HeaderMap, response::Response};
use crm_core::{
    Crm,
    access::Principal,
    async_trait,
    campaign::{CampaignId, CampaignProgress, CampaignStatus},
    error::Error,
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    extract::{Pairs, Path},
    problem::Result,
    state::AppState,
    watching::{Look, Watched, watch as watch_until_its_end},
};

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(watch))
}

/// Watch a campaign
///
/// Server-sent events: `progress` with the campaign and its `statistics` whenever one of them has changed, and `ended` once
/// the campaign is sent, cancelled or failed and no receipt has come for ten seconds. Who connects again with the id of the
/// last event in `Last-Event-ID`, as browsers do by themselves, is told what is newer, and is answered 204 where the
/// campaign has ended and nothing is. One caller has at most 20 such connections at once.
#[utoipa::path(
    get, path = "/campaigns/{id}/events", tag = "Campaigns",
    params(
        ("id" = CampaignId, Path),
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that was received."),
    ),
    responses(
        (status = 200, description = "The events.", content((
            String = "text/event-stream",
            example = "event: progress\nid: 4-120-70-50-12-0-0-0-0\ndata: {\"id\":\"0198c1de-5f00-7000-8000-000000000001\",\"status\":\"sending\"}\n\n"
        ))),
        (status = 204, description = "The campaign has ended, and the client has seen it."),
    ),
    extensions(("x-permission" = json!("campaigns:read")))
)]
async fn watch(
    State(state): State<AppState>,
    by: Principal,
    Path(id): Path<CampaignId>,
    pairs: Pairs,
    headers: HeaderMap,
) -> Result<Response> {
    pairs.only(&[])?;
    watch_until_its_end(state, by, headers, WatchedCampaign(id)).await
}

struct WatchedCampaign(CampaignId);

#[async_trait]
impl Watched for WatchedCampaign {
    type Shown = CampaignProgress;
    /// Receipts come after the last message has left.
    const QUIET: Duration = Duration::from_secs(10);

    async fn look(&self, crm: &Crm, by: &Principal) -> Result<Look<CampaignProgress>, Error> {
        let shown = crm.campaigns().progress(by, self.0).await?;
        let counts = &shown.statistics.counts;
        let figures = [
            counts.audience,
            counts.queued,
            counts.sent,
            counts.delivered,
            counts.read,
            counts.failed,
            counts.suppressed,
            counts.unknown,
        ];
        let figures = figures.map(|figure| figure.to_string()).join("-");
        Ok(Look {
            version: format!("{}-{figures}", shown.campaign.meta.version),
            has_ended: matches!(
                shown.campaign.status,
                CampaignStatus::Sent | CampaignStatus::Cancelled | CampaignStatus::Failed
            ),
            shown,
        })
    }
}
