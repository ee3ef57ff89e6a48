//! What uses segments.

use super::SegmentId;
use crate::{
    access::Principal,
    campaign::{Campaign, CampaignStatus},
    crm::Crm,
    error::{Error, Result},
    store::{Filter, Query},
};

/// So many campaigns are named.
const NAMED: usize = 5;

/// Refuses to go on where a campaign is still to find out who is in a segment. One that knows whom it goes to needs the
/// segment no more.
///
/// # Errors
/// [`Error::Conflict`] naming the campaigns; those of the store.
pub(super) async fn expect_unused(crm: &Crm, by: &Principal, id: SegmentId) -> Result<()> {
    let launched = [CampaignStatus::Scheduled, CampaignStatus::Sending, CampaignStatus::Paused];
    let unplanned: Filter =
        Campaign::segment_id.equals(id).and(Campaign::status.one_of(launched)).and(Campaign::planned_at.missing());
    let found = crm.repo::<Campaign>().find(by.scope(), &Query::new(unplanned, NAMED)).await?;
    if found.records.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = found
        .records
        .iter()
        .map(|campaign| format!("\"{}\" ({}, {})", campaign.name, campaign.status, campaign.id))
        .collect();
    let more = if found.has_more { " and others" } else { "" };
    Err(Error::Conflict(format!(
        "Campaigns are still to go to this segment: {}{more}. Cancel them first.",
        names.join(", ")
    )))
}
