//! The campaign of the sample: sent, told of by the built-in vendor, and so there to be looked at.

use std::time::Duration;

use crm_core::{
    Crm, Error, Result,
    access::Principal,
    campaign::{Campaign, CampaignId, CampaignStatus, NewCampaign, send_due},
    delivery::{MockReceipt, deliver_mock_receipts},
    input::FromInput,
    job::runner,
    record::ORGANIZATION_ID,
    segment::Segment,
    store::Scope,
    text::Line,
};
use tokio::time::sleep;

use super::sample;

/// How long loading waits for the campaigns. What is left of them is sent by the server.
const PATIENCE: Duration = Duration::from_secs(60);
/// The wait between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Launches the campaign where that was not done; nothing where the built-in vendor is switched off.
pub(super) async fn launch(crm: &Crm, by: &Principal) -> Result<()> {
    let named = Segment::name.equals(Line::parse(sample::CAMPAIGN_SEGMENT)?);
    let Some(segment) = crm.repo::<Segment>().first(by.scope(), named).await? else { return Ok(()) };
    let new = NewCampaign::from_json(&sample::campaign(segment.id))?;
    let campaign = match find(crm, by, &new.name).await? {
        Some(campaign) => campaign,
        None => crm.campaigns().create(by, new).await?,
    };
    if campaign.status != CampaignStatus::Draft {
        return Ok(());
    }
    match crm.campaigns().launch(by, campaign.id, None).await {
        Ok(_) | Err(Error::InvalidState(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

async fn find(crm: &Crm, by: &Principal, name: &Line<200>) -> Result<Option<Campaign>> {
    crm.repo::<Campaign>().first(by.scope(), Campaign::name.equals(name.clone())).await
}

/// Sends what is launched, and waits until the vendor has told what became of it.
pub(super) async fn finish(crm: &Crm, organizations: &[Principal]) -> Result<()> {
    let mut open = Vec::new();
    for by in organizations {
        let found = find(crm, by, &Line::parse(sample::CAMPAIGN)?).await?;
        open.extend(found.map(|campaign| (by, campaign.id)));
    }
    let begun = crm.now();
    loop {
        let mut left = Vec::new();
        for (by, campaign) in open {
            if !is_over(crm, by, campaign).await? {
                left.push((by, campaign));
            }
        }
        if left.is_empty() || crm.now().since(begun) > PATIENCE {
            return Ok(());
        }
        open = left;
        runner::run_due(crm).await?;
        send_due(crm).await?;
        deliver_mock_receipts(crm).await?;
        sleep(PAUSE).await;
    }
}

/// Whether nothing more becomes of it.
async fn is_over(crm: &Crm, by: &Principal, campaign: CampaignId) -> Result<bool> {
    let campaign = crm.repo::<Campaign>().get(by.scope(), campaign).await?;
    if campaign.is_some_and(|campaign| matches!(campaign.status, CampaignStatus::Scheduled | CampaignStatus::Sending)) {
        return Ok(false);
    }
    let untold = ORGANIZATION_ID.equals(by.organization);
    Ok(crm.repo::<MockReceipt>().first(Scope::Installation, untold).await?.is_none())
}
